//! The rules by which one rsync does the whole run, one per row. Each rule comes from a difference that was found when results for random trees were compared
//! with those of one rsync, or from a case in which a difference could not be excluded.
//!
//! Two things are not in this table. What each option means on its own is in the table of options (`Class::Plain`), and needs only one rule here. And a server
//! refuses something only when it is asked, so that this is left to the engine.

use crate::rsync::filter::Unclear;
use crate::rsync::options::{Delete, Opt, Superuser};

use super::facts::Facts;

/// A reason why one rsync does everything.
pub(super) struct Rule {
    /// The name of the rule, which stays the same if the text changes.
    pub id: &'static str,
    /// Whether it applies.
    pub applies: fn(&Facts) -> bool,
    /// What the user is told.
    reason: Reason,
    /// The arguments of an rsync command line to which this rule is the first one that applies, for root or for another user. Without operands, it copies from
    /// `src/` to `dst/`. The test of this table tries each example.
    pub example: &'static str,
}

enum Reason {
    Text(&'static str),
    /// A text about the particular case, and one for the documentation.
    Of(fn(&Facts) -> Option<String>, &'static str),
}

impl Rule {
    /// What the user is told.
    pub fn reason(&self, facts: &Facts) -> String {
        match self.reason {
            Reason::Text(text) => text.to_owned(),
            Reason::Of(text, _) => text(facts).unwrap_or_default(),
        }
    }
}

/// The first rule that applies.
pub(super) fn find(facts: &Facts) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.applies)(facts))
}

/// All rules, for the documentation: the name, the example, and the reason.
pub fn listed() -> impl Iterator<Item = [&'static str; 3]> {
    RULES.iter().map(|rule| {
        let (Reason::Text(reason) | Reason::Of(_, reason)) = rule.reason;
        [rule.id, rule.example, reason]
    })
}

/// The rule for a source and DEST that are inside each other. The single rsync then gets one more option.
pub(super) const NESTED: &str = "dest-in-source";

const fn rule(id: &'static str, applies: fn(&Facts) -> bool, reason: &'static str, example: &'static str) -> Rule {
    Rule { id, applies, reason: Reason::Text(reason), example }
}

#[rustfmt::skip] // A table: name, condition, reason and example of each rule on two or three lines.
static RULES: &[Rule] = &[
    // Rules about the command line alone, checked before any source is looked at.
    Rule {
        id: "option", applies: |f| f.option.is_some(), example: "-aK",
        reason: Reason::Of(|f| f.option.as_ref().map(|option| format!("{}: {}", option.option, option.why)),
            "an option that only one rsync can follow"),
    },
    rule("rules-clear", |f| f.unclear_rules == Some(Unclear::Clears),
        "a filter rule clears the list of rules", "-a --exclude-from=clears"),
    rule("rules-more", |f| f.unclear_rules == Some(Unclear::MoreThanPatterns),
        "a filter file contains more than patterns", "-a -f '. merges'"),
    rule("rules-named-by-path", |f| f.unclear_rules == Some(Unclear::NamedByPath),
        "a per-directory filter file is named by a path", "-a -f ': a/rules'"),
    rule("rules-unreadable", |f| f.unclear_rules == Some(Unclear::Unreadable),
        "a filter file cannot be read", "-a --exclude-from=none"),
    Rule {
        id: "alias", applies: |f| f.alias.is_some(), example: "-aH",
        reason: Reason::Of(|f| f.alias.as_ref().map(|name| format!("{name} is an alias in a popt file")),
            "an option is an alias in a popt file"),
    },
    rule("receiver-log", Facts::receiver_logs,
        "several processes cannot share the log file of the receiving side", "-a -M--log-file=log"),
    rule("receiver-deletes", |f| f.options.receiver_alone_deletes(),
        "only the receiving side is told to delete", "-a -M--delete"),
    rule("paths-printed", Facts::prints_paths,
        "%f prints paths relative to the directory in which rsync was started", "-a --out-format=%f"),
    rule("delete-rule-files", |f| f.deletes() && f.merges(),
        "per-directory filter files at the destination protect entries there from deletion", "-aF --delete"),
    rule("delete-xx", |f| f.deletes() && f.meaning.one_file_system > 1,
        "with -xx, a mount point is deleted at the destination", "-axx --delete"),
    rule("delete-format", |f| f.deletes() && f.meaning.out_format.is_some(),
        "deletions are printed in the format that --out-format gives", "-a --delete --out-format=%n"),
    rule("delete-ignore-existing", |f| f.deletes() && f.meaning.ignore_existing,
        "with --ignore-existing, an entry of another type stays at the destination, and what belongs inside it counts as an error", "-a --delete --ignore-existing"),
    rule("delete-excluded-backups", |f| f.meaning.delete_excluded && backs_up_beside(f),
        "--delete-excluded deletes older backups, but not those that the same rsync has just made", "-ab --delete-excluded"),
    rule("delete-backups", |f| f.deletes() && backs_up_beside(f) && (f.may_include() || f.has_odd_suffix()),
        "filter rules may cause older backups to be deleted, but not those that the same rsync has just made", "-ab --delete --include=x"),
    rule("safe-links-backup", |f| f.meaning.safe_links && f.meaning.backup,
        "one rsync makes no backup of a link that --safe-links leaves out, but an rsync that only creates directories would", "-ab --safe-links"),
    rule("backup-dir-user", |f| f.meaning.backup_dir.is_some() && !f.writes_as_root,
        "directories without u+w in --backup-dir cause a race even within one rsync", "-ab --backup-dir=../old"),
    rule("hard-links-backup", |f| f.meaning.hard_links && f.meaning.backup,
        "of several hard-linked names, one rsync backs up those that it reaches later", "-aHb"),
    rule("backup-dir-delete-before", |f| f.meaning.backup_dir.is_some() && f.meaning.delete == Some(Delete::Before),
        "with --delete-before, directories in --backup-dir get the modes that they had at the destination", "-ab --backup-dir=../old --delete-before"),
    rule("print-delete-before", |f| f.prints() && f.meaning.delete == Some(Delete::Before),
        "with --delete-before, a directory is printed with the time that it has after the deletion", "-av --delete-before"),
    rule("partial-dir-rules", |f| (f.meaning.partial_dir.is_some() || f.meaning.delay_updates) && (f.meaning.per_dir_merge || f.may_include()),
        "filter rules may include a directory that is named like the partial directory, in which rsync removes files", "-a --partial-dir=p --include=x"),
    rule("super-user", |f| f.meaning.superuser == Superuser::Yes && !f.writes_as_root,
        "which attempts of --super are refused depends on the order of the work", "-a --super"),
    rule("hard-links-rule-files", |f| f.meaning.hard_links && f.merges(),
        HARD_LINKS_IN_WHOLE, "-aHF"),
    rule("verbose", |f| f.meaning.verbose > 1,
        "with -vv, each rsync would repeat the messages about rsync itself", "-avv"),
    rule("fuzzy-perms", |f| f.has(Opt::Fuzzy) && !f.meaning.perms,
        "with --fuzzy and without --perms, a file gets its mode from a similar file beside it", "-rlty"),
    rule("fuzzy-ignore-existing", |f| f.has(Opt::Fuzzy) && f.meaning.ignore_existing,
        "with --fuzzy and --ignore-existing, a directory may keep the time at which it was copied", "-ay --ignore-existing"),
    rule("fuzzy-hard-links", |f| f.has(Opt::Fuzzy) && f.meaning.hard_links,
        "with --fuzzy and --hard-links, several rsyncs may write into one directory", "-ayH"),
    rule("fuzzy-append", |f| f.has(Opt::Fuzzy) && f.meaning.append,
        "with --fuzzy and --append, a file may get the end of a similar file beside it", "-ay --append"),
    rule("remove-looks-twice", |f| f.looks_twice() && (!f.meaning.times || f.has(Opt::IgnoreTimes) || f.has(Opt::IgnoreExisting) || f.compares()),
        "before a file is removed from the source it is checked again, and with these options it would not be found up to date", "-aI --remove-source-files"),
    rule("follow-x", |f| f.follows() && f.meaning.one_file_system > 0,
        "with --one-file-system, a link that is followed may lead to another file system", "-aLx"),
    rule("follow-hard-links", |f| f.follows() && f.meaning.hard_links,
        "links that are followed may lead to several names of one file", "-aLH"),
    rule("follow-rules", |f| f.meaning.copy_links && f.meaning.has_filter_rules,
        "whether a dangling link is an error depends on the filter rules", "-aL --exclude=x"),
    rule("late-delete-excluded", |f| deletes_late(f) && f.meaning.delete_excluded,
        "excluded entries that are in the way are deleted immediately, all others after everything has been copied", "-a --delete-after --delete-excluded"),
    rule("late-delete-remove", |f| deletes_late(f) && f.meaning.remove_source_files,
        "removing source files changes the times of directories before the deletion looks at them again", "-a --delete-delay --remove-source-files"),
    rule("chmod-perms", |f| f.meaning.chmod && !f.meaning.perms,
        "without --perms, the mode of a new directory depends on the directory above it, which --chmod changes", "-rlt --chmod=u+w"),
    rule("acls-perms", |f| f.meaning.acls && !f.meaning.perms,
        "with --acls and without --perms, the special mode bits of a directory depend on when rsync looks at it", "-rltA --no-perms"),
    rule("xattrs-perms", |f| f.meaning.xattrs && !f.meaning.perms,
        "with --xattrs and without --perms, a directory gets special mode bits when its attributes are set", "-rltX"),
    rule("link-dest-perms", |f| f.has(Opt::LinkDest) && !f.meaning.perms && !f.writes_as_root,
        "without --perms, rsync does not make a directory at the destination writable in order to create links in it", "-rlt --link-dest=../old"),
    rule("atimes-print", |f| f.has(Opt::Atimes) && f.prints(),
        "with --atimes, reading a file changes what is printed about its other names", "-aUv"),
    rule("backup-again", |f| !f.writes_as_root && f.meaning.backup && (!f.meaning.times || f.has(Opt::IgnoreTimes)),
        "an rsync that is repeated after a change of modes would back up what the first one copied", "-rlb"),
    rule("ignore-existing-user", |f| !f.writes_as_root && f.meaning.ignore_existing,
        "with --ignore-existing, rsync does not make a directory at the destination writable in order to copy into it", "-a --ignore-existing"),
    rule("dry-run-compare", |f| f.meaning.dry_run && f.compares(),
        "rsync looks for the directory of --compare-dest, --copy-dest or --link-dest elsewhere if it does not create DEST", "-an --copy-dest=../old"),
    rule("remove-hard-links-print", |f| f.prints() && f.meaning.remove_source_files && f.meaning.hard_links,
        "which name of a hard-linked file is printed as the copied one depends on which was looked at first", "-aHv --remove-source-files"),
    rule("compare-dest-hard-links", |f| f.has(Opt::CompareDest) && f.meaning.hard_links,
        "rsync hangs if a second name of a special file that need not be copied replaces another entry", "-aH --compare-dest=../old"),
    rule("safe-links-hard-links", |f| f.meaning.safe_links && f.meaning.hard_links,
        "rsync may hang if a symbolic link that it leaves out has several names", "-aH --safe-links"),
    rule("inplace-hard-links", |f| f.meaning.inplace && f.meaning.hard_links && !f.writes_as_root,
        "rsync may hang, waiting for the other names of a file that it is not permitted to write in place", "-aH --inplace"),
    rule("copy-devices-hard-links", |f| f.has(Opt::CopyDevices) && f.meaning.hard_links,
        "rsync fails if it cannot open a device that has several names", "-aH --copy-devices"),
    rule("dry-run-max-delete", |f| f.meaning.dry_run && f.meaning.max_delete.is_some(),
        "in a dry run, rsync assumes that entries which --max-delete keeps are gone", "-an --delete --max-delete=0"),
    rule("inplace-backup-dir", |f| f.has(Opt::Inplace) && f.has(Opt::BackupDir),
        "with --inplace, rsync makes no backup if the directory for it exists already", "-ab --inplace --backup-dir=../old"),
    rule("copy-as", |f| f.has(Opt::CopyAs),
        "with --copy-as, the user who reads the source is not the one who scans it", "-a --copy-as=nobody"),
    rule("backup-dir-inside", Facts::may_back_up_inside,
        "the backup directory lies inside the destination", "-ab --backup-dir=old"),
    rule("bwlimit", Facts::has_odd_limit,
        "the bandwidth limit cannot be divided among several rsyncs", "-a --bwlimit=x"),
    rule("delete-before", |f| f.meaning.delete == Some(Delete::Before),
        "--delete-before makes room before the copy, but extraneous entries in split directories are deleted last", "-a --delete-before"),
    rule("dry-run-counts", |f| f.meaning.dry_run && f.figures && (!f.dest_is_path || f.on_hosts),
        "in a dry run, each of several rsyncs counts the directories above its files as created, and this machine does not know which of them exist", "-an src/ host:dst"),
    rule("hard-links-locked", |f| f.meaning.hard_links && f.locked_whole,
        HARD_LINKS_IN_WHOLE, "-aHA"),
    rule("backup-dir-delete", |f| f.meaning.backup_dir.is_some() && f.deletes() && (!f.dest_is_path || f.on_hosts),
        "the backup directory may lead back into the destination, and its content would then be deleted", "-ab --backup-dir=../old --delete"),
    rule("x-delete-remote", |f| f.meaning.one_file_system > 0 && f.deletes() && !f.dest_is_path,
        "with --one-file-system, a mount at the destination is protected from deletion", "-ax --delete src/ host:dst"),
    rule("fake-super-acls", |f| f.meaning.acls && f.fakes_super,
        "with --fake-super, rsync loses the ACL of a directory that it creates, and keeps that of one that exists", "-aA --fake-super host:src dst"),
    rule("pull-apart", |f| f.pulls && f.pull.apart,
        "several sources on another machine are not named below one common directory", "-a host:/src :other dst"),
    rule("pull-delete", |f| f.pulls && f.deletes() && !f.pull.may_be_held,
        "if another directory took the place of the source, several rsyncs would delete what that one lacks; to prevent this, the source has to be HOST:DIR/ (with the slash at the end), reached through a remote shell", "-a --delete host:src dst"),
    rule("pull-word", |f| f.pulls && f.pull.odd_word,
        "the other machine may interpret the name of a source as something else", "-a 'host:s*' dst"),
    Rule {
        id: "pull-option", applies: |f| f.pulls && f.pull.option.is_some(), example: "-a --open-noatime host:src dst",
        reason: Reason::Of(|f| f.pull.option.as_ref().map(|option| format!("pulling with {option} has not been compared with one rsync")),
            "pulling with an option that has not been compared with one rsync"),
    },
    rule("pull-rule-files", |f| f.pulls && f.pull.rules_in_files,
        "filter files are read line by line, but names for another machine are separated by NUL, and rsync cannot do both", "-a -f '. rules' host:src dst"),

    // Rules about directories that options name.
    rule("backup-dir-in-dest", |f| f.meaning.backup_dir.is_some() && f.dest.backup_dir,
        "the backup directory leads into the destination", "-ab --backup-dir=../dst/old"),
    rule("compare-in-dest", |f| f.dest.compared,
        "the directory of --compare-dest, --copy-dest or --link-dest lies inside the destination", "-a --compare-dest=old"),
    rule("temp-dir-in-dest", |f| f.deletes() && f.dest.temp_dir,
        "the temporary directory lies inside the destination, where its content may be deleted", "-a --delete --temp-dir=new"),

    // Rules about the sources and DEST.
    rule("no-source", |f| f.sources.none,
        "no source was found", "-a --ignore-missing-args gone dst/"),
    rule("relative-missing", |f| f.meaning.relative && f.sources.missing,
        "with --relative, a source that is not found does not bring the directories above it", "-aR src gone dst/"),
    rule("relative-rooted", |f| f.meaning.relative && prints_names_of_sources(f) && (f.sources.rooted_unclear || f.sources.rooted && f.prints_elsewhere()),
        "with --relative, absolute names are printed with their leading slash", "-avR /usr src dst/"),
    rule("file", |f| f.sources.file && !f.sources.several,
        "the source is a single file", "-a file dst/"),
    rule("several-unreadable", |f| f.sources.several && f.sources.unreadable,
        "one of several sources cannot be read", "-a src other dst/"),
    rule("whole-in-dest", |f| f.sources.whole_in_dest,
        "a source that must not be split gives its attributes to DEST, while other rsyncs write into DEST", "-aF ruled/ src dst/"),
    rule("existing-new", |f| f.meaning.existing && f.dest.new,
        "DEST does not exist, so that --existing leaves hardly anything to do", "-a --existing src/ new"),
    rule("follow-source", |f| f.follows() && f.sources.link,
        "a source is a link that may be followed", "-aL link src dst/"),
    rule("rules-missing-parent", |f| f.meaning.has_filter_rules && !f.meaning.mkpath && f.dest.parent_missing,
        "what rsync does about a missing parent of DEST depends on what the filter rules leave", "-a --exclude=x src/ none/new"),
    rule("relative-file", |f| f.sources.file && f.meaning.relative,
        "with --relative, a source is not a directory", "-aR file src dst/"),
    rule("file-rules", |f| f.sources.file && f.meaning.has_filter_rules,
        "a source that is a file may be excluded, and rsync does not create DEST for nothing", "-a --exclude=x file src dst/"),
    rule("file-fuzzy", |f| f.sources.file && f.has(Opt::Fuzzy),
        "with --fuzzy, files in the same directory must be copied by one rsync", "-ay file src dst/"),
    rule("file-hard-links", |f| f.sources.file && f.meaning.hard_links,
        "a source that is a file may have hard links in the other sources", "-aH file src dst/"),
    rule("missing-delete", |f| f.sources.missing && f.deletes() && !f.meaning.ignore_errors,
        "a source is missing, and rsync then deletes nothing", "-a --delete src gone dst/"),
    rule("relative-odd", |f| f.sources.odd_relative,
        "with --relative, a source is not a plain path", "-aR ./src dst/"),
    rule("same-name", |f| f.sources.same_name,
        "several sources contain the same name", "-a src/a other/a dst/"),
    rule("remove-nested", |f| f.meaning.remove_source_files && f.sources.nested,
        "one source lies inside another, and what is copied from one is removed from the other", "-a --remove-source-files src src/a dst/"),
    rule("backup-dir-in-source", |f| f.dest.backup_dir_made_in_source,
        "the backup directory would be created inside a directory that is copied", "-ab --backup-dir=../src/old"),
    rule("x-delete-mount", |f| f.meaning.one_file_system > 0 && f.deletes() && f.dest.mount,
        "with --one-file-system, the mount inside the destination is protected from deletion", "-ax --delete"),
    rule("relative-dest", |f| f.dest.made_in_source,
        "DEST would be created inside a directory that is copied", "-aR src/a src/new"),
    rule(NESTED, |f| f.dest.meets_source,
        "source and destination lie inside each other", "-a ./ dst/"),

    // Rules for which something had to be asked or counted.
    rule("rules-leave-a-name", |f| f.rules_leave_a_name,
        "filter rules may leave nothing of the sources but a name", "-a --exclude=a src new"),
    rule("too-many-names", |f| f.too_many_names,
        "the sources have more names than the rsync that deletes can take", "-a --delete src other dst/"),
    rule("pull-not-held", |f| f.pull.not_held,
        "several rsyncs delete only if each can be held in the source directory, and the other machine does not permit this or does not confirm it", "-a --delete host:src/ dst"),
    rule("pull-nowhere", |f| f.pull.nowhere,
        "the source could not be listed: the other machine was not reached, or has no such source", "-a host:gone dst"),
    Rule {
        id: "pull-unlisted", applies: |f| f.pull.unlisted.is_some(), example: "-a host::module/src dst",
        reason: Reason::Of(|f| f.pull.unlisted.clone(), "nothing on the other machine provides what has to be known about the source"),
    },
    rule("pull-no-directory", |f| f.pull.no_directory,
        "the source on the other machine is not a directory", "-a host:file dst"),
    rule("one-process", |f| f.one_process,
        "one process was asked for, and no bucket limit", "-a"),
];

const HARD_LINKS_IN_WHOLE: &str = "hard links may connect directories that must not be split";

fn backs_up_beside(facts: &Facts) -> bool {
    facts.meaning.backup && facts.meaning.backup_dir.is_none()
}

fn deletes_late(facts: &Facts) -> bool {
    matches!(facts.meaning.delete, Some(Delete::After | Delete::Delay))
}

fn prints_names_of_sources(facts: &Facts) -> bool {
    facts.meaning.verbose > 0 || facts.meaning.itemize > 0 || facts.prints_elsewhere()
}

#[cfg(test)]
mod tests;
