//! What only one rsync does exactly: each rule was a difference, or could not be shown to be none, when random trees were compared with
//! one rsync.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::config::Config;
use crate::rsync::command::Removal;
use crate::rsync::options::{Delete, Meaning, Opt, Options, Superuser};

use super::{bandwidth, launches};

/// Combinations of options that one rsync has to do, with the reason.
pub(super) fn by_options(options: &Options, meaning: &Meaning, is_root: bool) -> Option<&'static str> {
    let merges = meaning.per_dir_merge || meaning.cvs_exclude;
    let deletes = meaning.delete.is_some();
    let backup_inside = meaning.backup_dir.as_deref().is_some_and(|dir| !is_outside(Path::new(dir)));
    let has = |opt: Opt| options.has(opt);
    let fuzzy = has(Opt::Fuzzy);
    let looks_twice = launches::removal(meaning) == Removal::SinglesLast;
    let elsewhere = [Opt::IgnoreTimes, Opt::IgnoreExisting, Opt::LinkDest, Opt::CopyDest, Opt::CompareDest];
    let follows = meaning.copy_links || meaning.copy_dirlinks || meaning.copy_unsafe_links;
    let late = matches!(meaning.delete, Some(Delete::After | Delete::Delay));
    let prints = prints(options, meaning);
    let rules: [(bool, &str); 44] = [
        (prints_paths(options), "%f is printed as a path from where rsync was started"),
        (deletes && merges, "rules that files at the destination give protect what is there from deletion"),
        (deletes && meaning.one_file_system > 1, "with -xx a mount point is deleted at the destination"),
        (deletes && meaning.out_format.is_some(), "deletions are printed in a format of the user's"),
        (
            deletes && meaning.ignore_existing,
            "with --ignore-existing entries of another kind stay, and what is in them counts as an error",
        ),
        (
            meaning.delete_excluded && meaning.backup && meaning.backup_dir.is_none(),
            "--delete-excluded deletes backups, but not those it has just made",
        ),
        (
            deletes
                && meaning.backup
                && meaning.backup_dir.is_none()
                && (may_include(options) || has_odd_suffix(options)),
            "backups may be deleted because of the rules, but not those that one rsync has just made",
        ),
        (
            meaning.safe_links && meaning.backup,
            "a link that --safe-links leaves out gets no backup, but it would from a launch that only makes directories",
        ),
        (
            meaning.backup_dir.is_some() && !is_root,
            "directories without u+w in --backup-dir are a race even for one rsync",
        ),
        (
            meaning.hard_links && meaning.backup,
            "of names of one inode, those are backed up that one rsync comes upon later",
        ),
        (
            meaning.backup_dir.is_some() && meaning.delete == Some(Delete::Before),
            "with --delete-before directories in --backup-dir get the modes that were at the destination",
        ),
        (
            prints && meaning.delete == Some(Delete::Before),
            "with --delete-before a directory is printed with the time it has after deletion",
        ),
        (
            (meaning.partial_dir.is_some() || meaning.delay_updates) && (meaning.per_dir_merge || may_include(options)),
            "the rules may include a directory with the name of the partial directory, in which rsync removes files",
        ),
        (
            meaning.superuser == Superuser::Yes && !is_root,
            "what --super attempts and is not allowed to do depends on the order",
        ),
        (meaning.hard_links && merges, "hard links may cross directories that must stay whole"),
        (meaning.verbose > 1, "what rsync says of itself would be said many times"),
        (fuzzy && !meaning.perms, "with --fuzzy and without --perms a file gets its mode from what is beside it"),
        (
            fuzzy && meaning.ignore_existing,
            "with --fuzzy and --ignore-existing a directory may keep the time of the copy",
        ),
        (fuzzy && meaning.hard_links, "with --fuzzy and --hard-links a directory may be written into by several"),
        (fuzzy && meaning.append, "with --fuzzy and --append a file may take the end of what is beside it"),
        (
            looks_twice && (!meaning.times || elsewhere.into_iter().any(has)),
            "a second look at a file, before it is removed from the source, would not find it up to date",
        ),
        (
            follows && meaning.one_file_system > 0,
            "with --one-file-system a link that is followed may lead to another file system",
        ),
        (follows && meaning.hard_links, "links that are followed may lead to names of one inode"),
        (
            meaning.copy_links && meaning.has_filter_rules,
            "whether a link that leads nowhere is an error depends on the rules",
        ),
        (
            late && meaning.delete_excluded,
            "excluded entries that are in the way are deleted at once, all others after everything was copied",
        ),
        (late && meaning.remove_source_files, "directories have other times when deletion looks at them again"),
        (
            meaning.chmod && !meaning.perms,
            "without --perms the mode of a new directory depends on what is above it, which --chmod changes",
        ),
        (
            meaning.acls && !meaning.perms,
            "with --acls and without --perms the special bits of a directory depend on when it is looked at",
        ),
        (
            meaning.xattrs && !meaning.perms,
            "with --xattrs and without --perms a directory gets special bits when its attributes are set",
        ),
        (
            has(Opt::LinkDest) && !meaning.perms && !is_root,
            "without --perms a directory at the destination that may not be written is not made writable for links into it",
        ),
        (has(Opt::Atimes) && prints, "with --atimes reading a file changes what is printed of its other names"),
        (
            !is_root && meaning.backup && (!meaning.times || has(Opt::IgnoreTimes)),
            "a launch that is repeated with other modes would back up what the first has copied",
        ),
        (
            !is_root && meaning.ignore_existing,
            "with --ignore-existing a directory that may not be written is not made writable for what is copied into it",
        ),
        (
            meaning.dry_run && [Opt::LinkDest, Opt::CopyDest, Opt::CompareDest].into_iter().any(has),
            "a directory to compare with is looked for elsewhere if DEST is not made",
        ),
        (
            prints && meaning.remove_source_files && meaning.hard_links,
            "which name of a file is printed as its copy depends on what was looked at first",
        ),
        (
            has(Opt::CompareDest) && meaning.hard_links,
            "rsync waits for ever where a second name of a special file that needs no copy takes the place of something",
        ),
        (
            meaning.safe_links && meaning.hard_links,
            "rsync may wait for ever where a symbolic link that it leaves out has several names",
        ),
        (
            meaning.inplace && meaning.hard_links && !is_root,
            "rsync may wait for ever for the other names of a file that it may not write in place",
        ),
        (has(Opt::CopyDevices) && meaning.hard_links, "rsync fails at devices it cannot open among names of one inode"),
        (
            meaning.dry_run && meaning.max_delete.is_some(),
            "what --max-delete keeps is taken for gone when deletion is only pretended",
        ),
        (
            has(Opt::Inplace) && has(Opt::BackupDir),
            "rsync makes no backup where the directory for it is there already (--inplace)",
        ),
        (has(Opt::CopyAs), "with --copy-as another user reads the source than the one that scans it"),
        (backup_inside, "the backup directory lies inside the destination"),
        (bandwidth::limit(meaning).is_err(), "the bandwidth limit is not one that can be shared"),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map(|(_, why)| why)
}

/// Whether rsync prints a line about each entry that it changes.
pub(super) fn prints(options: &Options, meaning: &Meaning) -> bool {
    meaning.verbose > 0 || meaning.itemize > 0 || meaning.out_format.is_some() || options.shows().names > 0
}

/// Whether a format of the user's has `%f`, with or without a width (rsyncd.conf(5), "log format").
fn prints_paths(options: &Options) -> bool {
    options.settings().iter().any(|setting| {
        let is_format = matches!(setting.spec.id, Opt::OutFormat | Opt::LogFileFormat);
        let format = setting.value.as_deref().unwrap_or_default().as_bytes();
        let mut pieces = format.split(|byte| *byte == b'%').skip(1);
        let is_width = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'\'');
        is_format && pieces.any(|piece| piece.iter().find(|byte| !is_width(byte)) == Some(&b'f'))
    })
}

/// Whether a rule of the user's may let in what rsync's own rules exclude. `--exclude='+ NAME'` includes as well (rsync(1), "FILTER RULES").
fn may_include(options: &Options) -> bool {
    options.settings().iter().any(|setting| match setting.spec.id {
        Opt::Include | Opt::IncludeFrom | Opt::ExcludeFrom | Opt::Filter => true,
        Opt::Exclude => setting.value.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"+")),
        _ => false,
    })
}

/// Whether the rule by which rsync protects backups, `P *SUFFIX`, does not stand for the names that end so.
fn has_odd_suffix(options: &Options) -> bool {
    let suffix = options.settings().iter().rfind(|setting| setting.spec.id == Opt::Suffix);
    let value = suffix.and_then(|setting| setting.value.as_ref());
    value.is_some_and(|suffix| suffix.as_bytes().iter().any(|byte| b"*?[\\/".contains(byte)))
}

/// One process that copies to this machine, whose run nobody wants to take up again: what it starts is one rsync anyway, and need not
/// wait for the scan.
pub(super) fn by_config(config: &Config) -> Option<&'static str> {
    let one = config.processes.get() == 1 && !config.adapts && config.hosts.is_empty();
    let divides = config.limits_given || config.gitignore;
    let keeps = config.buckets.is_some() || config.keep || config.dry_run || config.stall.is_some();
    let near = config.destination.is_local();
    (one && near && !divides && !keeps).then_some("there is one process, and no limit for a bucket")
}

/// Whether a backup directory, which is relative to DEST, certainly lies outside of it. An absolute one might be inside.
fn is_outside(dir: &Path) -> bool {
    dir.components().next() == Some(Component::ParentDir)
}
