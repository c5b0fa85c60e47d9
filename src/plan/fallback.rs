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
        "a filter rule clears the list", "-a --exclude-from=clears"),
    rule("rules-more", |f| f.unclear_rules == Some(Unclear::MoreThanPatterns),
        "a filter file holds more than patterns", "-a -f '. merges'"),
    rule("rules-named-by-path", |f| f.unclear_rules == Some(Unclear::NamedByPath),
        "a per-directory filter file is named by a path", "-a -f ': a/rules'"),
    rule("rules-unreadable", |f| f.unclear_rules == Some(Unclear::Unreadable),
        "a filter file cannot be read", "-a --exclude-from=none"),
    Rule {
        id: "alias", applies: |f| f.alias.is_some(), example: "-aH",
        reason: Reason::Of(|f| f.alias.as_ref().map(|name| format!("{name} is an alias in a file of popt")),
            "an option is an alias in a file of popt"),
    },
    rule("receiver-log", Facts::receiver_logs,
        "the log file of the receiving side is one process's", "-a -M--log-file=log"),
    rule("receiver-deletes", |f| f.options.receiver_alone_deletes(),
        "only the receiving side is told to delete", "-a -M--delete"),
    rule("paths-printed", Facts::prints_paths,
        "%f is printed as a path from where rsync was started", "-a --out-format=%f"),
    rule("delete-rule-files", |f| f.deletes() && f.merges(),
        "rules that files at the destination give protect what is there from deletion", "-aF --delete"),
    rule("delete-xx", |f| f.deletes() && f.meaning.one_file_system > 1,
        "with -xx a mount point is deleted at the destination", "-axx --delete"),
    rule("delete-format", |f| f.deletes() && f.meaning.out_format.is_some(),
        "deletions are printed in a format of the user's", "-a --delete --out-format=%n"),
    rule("delete-ignore-existing", |f| f.deletes() && f.meaning.ignore_existing,
        "with --ignore-existing entries of another kind stay, and what is in them counts as an error", "-a --delete --ignore-existing"),
    rule("delete-excluded-backups", |f| f.meaning.delete_excluded && backs_up_beside(f),
        "--delete-excluded deletes backups, but not those it has just made", "-ab --delete-excluded"),
    rule("delete-backups", |f| f.deletes() && backs_up_beside(f) && (f.may_include() || f.has_odd_suffix()),
        "backups may be deleted because of the rules, but not those that one rsync has just made", "-ab --delete --include=x"),
    rule("safe-links-backup", |f| f.meaning.safe_links && f.meaning.backup,
        "a link that --safe-links leaves out gets no backup, but it would from a launch that only makes directories", "-ab --safe-links"),
    rule("backup-dir-user", |f| f.meaning.backup_dir.is_some() && !f.writes_as_root,
        "directories without u+w in --backup-dir are a race even for one rsync", "-ab --backup-dir=../old"),
    rule("hard-links-backup", |f| f.meaning.hard_links && f.meaning.backup,
        "of names of one inode, those are backed up that one rsync comes upon later", "-aHb"),
    rule("backup-dir-delete-before", |f| f.meaning.backup_dir.is_some() && f.meaning.delete == Some(Delete::Before),
        "with --delete-before directories in --backup-dir get the modes that were at the destination", "-ab --backup-dir=../old --delete-before"),
    rule("print-delete-before", |f| f.prints() && f.meaning.delete == Some(Delete::Before),
        "with --delete-before a directory is printed with the time it has after deletion", "-av --delete-before"),
    rule("partial-dir-rules", |f| (f.meaning.partial_dir.is_some() || f.meaning.delay_updates) && (f.meaning.per_dir_merge || f.may_include()),
        "the rules may include a directory with the name of the partial directory, in which rsync removes files", "-a --partial-dir=p --include=x"),
    rule("super-user", |f| f.meaning.superuser == Superuser::Yes && !f.writes_as_root,
        "what --super attempts and is not allowed to do depends on the order", "-a --super"),
    rule("hard-links-rule-files", |f| f.meaning.hard_links && f.merges(),
        HARD_LINKS_IN_WHOLE, "-aHF"),
    rule("verbose", |f| f.meaning.verbose > 1,
        "what rsync says of itself would be said many times", "-avv"),
    rule("fuzzy-perms", |f| f.has(Opt::Fuzzy) && !f.meaning.perms,
        "with --fuzzy and without --perms a file gets its mode from what is beside it", "-rlty"),
    rule("fuzzy-ignore-existing", |f| f.has(Opt::Fuzzy) && f.meaning.ignore_existing,
        "with --fuzzy and --ignore-existing a directory may keep the time of the copy", "-ay --ignore-existing"),
    rule("fuzzy-hard-links", |f| f.has(Opt::Fuzzy) && f.meaning.hard_links,
        "with --fuzzy and --hard-links a directory may be written into by several", "-ayH"),
    rule("fuzzy-append", |f| f.has(Opt::Fuzzy) && f.meaning.append,
        "with --fuzzy and --append a file may take the end of what is beside it", "-ay --append"),
    rule("remove-looks-twice", |f| f.looks_twice() && (!f.meaning.times || f.has(Opt::IgnoreTimes) || f.has(Opt::IgnoreExisting) || f.compares()),
        "a second look at a file, before it is removed from the source, would not find it up to date", "-aI --remove-source-files"),
    rule("follow-x", |f| f.follows() && f.meaning.one_file_system > 0,
        "with --one-file-system a link that is followed may lead to another file system", "-aLx"),
    rule("follow-hard-links", |f| f.follows() && f.meaning.hard_links,
        "links that are followed may lead to names of one inode", "-aLH"),
    rule("follow-rules", |f| f.meaning.copy_links && f.meaning.has_filter_rules,
        "whether a link that leads nowhere is an error depends on the rules", "-aL --exclude=x"),
    rule("late-delete-excluded", |f| deletes_late(f) && f.meaning.delete_excluded,
        "excluded entries that are in the way are deleted at once, all others after everything was copied", "-a --delete-after --delete-excluded"),
    rule("late-delete-remove", |f| deletes_late(f) && f.meaning.remove_source_files,
        "directories have other times when deletion looks at them again", "-a --delete-delay --remove-source-files"),
    rule("chmod-perms", |f| f.meaning.chmod && !f.meaning.perms,
        "without --perms the mode of a new directory depends on what is above it, which --chmod changes", "-rlt --chmod=u+w"),
    rule("acls-perms", |f| f.meaning.acls && !f.meaning.perms,
        "with --acls and without --perms the special bits of a directory depend on when it is looked at", "-rltA --no-perms"),
    rule("xattrs-perms", |f| f.meaning.xattrs && !f.meaning.perms,
        "with --xattrs and without --perms a directory gets special bits when its attributes are set", "-rltX"),
    rule("link-dest-perms", |f| f.has(Opt::LinkDest) && !f.meaning.perms && !f.writes_as_root,
        "without --perms a directory at the destination that may not be written is not made writable for links into it", "-rlt --link-dest=../old"),
    rule("atimes-print", |f| f.has(Opt::Atimes) && f.prints(),
        "with --atimes reading a file changes what is printed of its other names", "-aUv"),
    rule("backup-again", |f| !f.writes_as_root && f.meaning.backup && (!f.meaning.times || f.has(Opt::IgnoreTimes)),
        "a launch that is repeated with other modes would back up what the first has copied", "-rlb"),
    rule("ignore-existing-user", |f| !f.writes_as_root && f.meaning.ignore_existing,
        "with --ignore-existing a directory that may not be written is not made writable for what is copied into it", "-a --ignore-existing"),
    rule("dry-run-compare", |f| f.meaning.dry_run && f.compares(),
        "a directory to compare with is looked for elsewhere if DEST is not made", "-an --copy-dest=../old"),
    rule("remove-hard-links-print", |f| f.prints() && f.meaning.remove_source_files && f.meaning.hard_links,
        "which name of a file is printed as its copy depends on what was looked at first", "-aHv --remove-source-files"),
    rule("compare-dest-hard-links", |f| f.has(Opt::CompareDest) && f.meaning.hard_links,
        "rsync waits for ever where a second name of a special file that needs no copy takes the place of something", "-aH --compare-dest=../old"),
    rule("safe-links-hard-links", |f| f.meaning.safe_links && f.meaning.hard_links,
        "rsync may wait for ever where a symbolic link that it leaves out has several names", "-aH --safe-links"),
    rule("inplace-hard-links", |f| f.meaning.inplace && f.meaning.hard_links && !f.writes_as_root,
        "rsync may wait for ever for the other names of a file that it may not write in place", "-aH --inplace"),
    rule("copy-devices-hard-links", |f| f.has(Opt::CopyDevices) && f.meaning.hard_links,
        "rsync fails at devices it cannot open among names of one inode", "-aH --copy-devices"),
    rule("dry-run-max-delete", |f| f.meaning.dry_run && f.meaning.max_delete.is_some(),
        "what --max-delete keeps is taken for gone when deletion is only pretended", "-an --delete --max-delete=0"),
    rule("inplace-backup-dir", |f| f.has(Opt::Inplace) && f.has(Opt::BackupDir),
        "rsync makes no backup where the directory for it is there already (--inplace)", "-ab --inplace --backup-dir=../old"),
    rule("copy-as", |f| f.has(Opt::CopyAs),
        "with --copy-as another user reads the source than the one that scans it", "-a --copy-as=nobody"),
    rule("backup-dir-inside", Facts::may_back_up_inside,
        "the backup directory lies inside the destination", "-ab --backup-dir=old"),
    rule("bwlimit", Facts::has_odd_limit,
        "the bandwidth limit is not one that can be shared", "-a --bwlimit=x"),
    rule("delete-before", |f| f.meaning.delete == Some(Delete::Before),
        "--delete-before makes room for what is copied, and what is too much in a directory that is split goes last", "-a --delete-before"),
    rule("dry-run-counts", |f| f.meaning.dry_run && f.figures && (!f.dest_is_path || f.on_hosts),
        "in a dry run each of several counts as created what is above its files, and which of that is there is not known here", "-an src/ host:dst"),
    rule("hard-links-locked", |f| f.meaning.hard_links && f.locked_whole,
        HARD_LINKS_IN_WHOLE, "-aHA"),
    rule("backup-dir-delete", |f| f.meaning.backup_dir.is_some() && f.deletes() && (!f.dest_is_path || f.on_hosts),
        "a backup directory that may lead back into the destination would be cleaned with it", "-ab --backup-dir=../old --delete"),
    rule("x-delete-remote", |f| f.meaning.one_file_system > 0 && f.deletes() && !f.dest_is_path,
        "with --one-file-system a mount at the destination is protected from deletion", "-ax --delete src/ host:dst"),
    rule("fake-super-acls", |f| f.meaning.acls && f.fakes_super,
        "with --fake-super rsync forgets the access list of a directory that it makes, and keeps that of one that is there", "-aA --fake-super host:src dst"),
    rule("pull-apart", |f| f.pulls && f.pull.apart,
        "several sources on another machine have no directory in common by which they are named", "-a host:/src :other dst"),
    rule("pull-delete", |f| f.pulls && f.deletes() && !f.pull.may_be_held,
        "several rsyncs would delete here what a directory that is put in the place of the source does not have; they can be kept only in HOST:DIR/, with a slash at its end and reached through a shell", "-a --delete host:src dst"),
    rule("pull-word", |f| f.pulls && f.pull.odd_word,
        "a name of a source may be read as something else on another machine", "-a 'host:s*' dst"),
    Rule {
        id: "pull-option", applies: |f| f.pulls && f.pull.option.is_some(), example: "-a --open-noatime host:src dst",
        reason: Reason::Of(|f| f.pull.option.map(|option| format!("--{option} was not compared with one rsync where sources are on another machine")),
            "an option was not compared with one rsync where sources are on another machine"),
    },
    rule("pull-rule-files", |f| f.pulls && f.pull.rules_in_files,
        "rules in files are read line by line, and names for another machine are not", "-a -f '. rules' host:src dst"),

    // Rules about directories that options name.
    rule("backup-dir-in-dest", |f| f.meaning.backup_dir.is_some() && f.dest.backup_dir,
        "the backup directory leads into the destination", "-ab --backup-dir=../dst/old"),
    rule("compare-in-dest", |f| f.dest.compared,
        "a directory to compare with lies inside the destination", "-a --compare-dest=old"),
    rule("temp-dir-in-dest", |f| f.deletes() && f.dest.temp_dir,
        "the temporary directory lies inside the destination, where deletion finds it", "-a --delete --temp-dir=new"),

    // Rules about the sources and DEST.
    rule("no-source", |f| f.sources.none,
        "no source is found", "-a --ignore-missing-args gone dst/"),
    rule("relative-missing", |f| f.meaning.relative && f.sources.missing,
        "with --relative a source that is not found does not bring the directories above it", "-aR src gone dst/"),
    rule("relative-rooted", |f| f.meaning.relative && prints_names_of_sources(f) && (f.sources.rooted_unclear || f.sources.rooted && f.prints_elsewhere()),
        "with --relative absolute names are printed with their slash", "-avR /usr src dst/"),
    rule("file", |f| f.sources.file && !f.sources.several,
        "the source is a single file", "-a file dst/"),
    rule("several-unreadable", |f| f.sources.several && f.sources.unreadable,
        "one of several sources cannot be read", "-a src other dst/"),
    rule("whole-in-dest", |f| f.sources.whole_in_dest,
        "a source that has to stay whole gives its attributes to DEST, which others write into", "-aF ruled/ src dst/"),
    rule("existing-new", |f| f.meaning.existing && f.dest.new,
        "with --existing and no DEST hardly anything is done", "-a --existing src/ new"),
    rule("follow-source", |f| f.follows() && f.sources.link,
        "a source is a link that may be followed", "-aL link src dst/"),
    rule("rules-missing-parent", |f| f.meaning.has_filter_rules && !f.meaning.mkpath && f.dest.parent_missing,
        "how a missing parent of DEST is answered depends on what the rules leave", "-a --exclude=x src/ none/new"),
    rule("relative-file", |f| f.sources.file && f.meaning.relative,
        "a source under --relative is no directory", "-aR file src dst/"),
    rule("file-rules", |f| f.sources.file && f.meaning.has_filter_rules,
        "a source that is a file may be excluded, and DEST is not made for nothing", "-a --exclude=x file src dst/"),
    rule("file-fuzzy", |f| f.sources.file && f.has(Opt::Fuzzy),
        "with --fuzzy files beside each other need one rsync", "-ay file src dst/"),
    rule("file-hard-links", |f| f.sources.file && f.meaning.hard_links,
        "a source that is a file may have links in the other sources", "-aH file src dst/"),
    rule("missing-delete", |f| f.sources.missing && f.deletes() && !f.meaning.ignore_errors,
        "a source is missing, which keeps rsync from deleting", "-a --delete src gone dst/"),
    rule("relative-odd", |f| f.sources.odd_relative,
        "a source under --relative is not a plain path", "-aR ./src dst/"),
    rule("same-name", |f| f.sources.same_name,
        "several sources bring the same name", "-a src/a other/a dst/"),
    rule("remove-nested", |f| f.meaning.remove_source_files && f.sources.nested,
        "sources lie inside each other, and what one of them brings is removed from the other", "-a --remove-source-files src src/a dst/"),
    rule("backup-dir-in-source", |f| f.dest.backup_dir_made_in_source,
        "the directory for backups is made in one that is sent", "-ab --backup-dir=../src/old"),
    rule("x-delete-mount", |f| f.meaning.one_file_system > 0 && f.deletes() && f.dest.mount,
        "with --one-file-system the mount inside the destination is protected from deletion", "-ax --delete"),
    rule("relative-dest", |f| f.dest.made_in_source,
        "DEST is made in a directory that is sent", "-aR src/a src/new"),
    rule(NESTED, |f| f.dest.meets_source,
        "source and destination lie inside each other", "-a ./ dst/"),

    // Rules for which something had to be asked or counted.
    rule("rules-leave-a-name", |f| f.rules_leave_a_name,
        "the rules may leave of the sources no more than a name", "-a --exclude=a src new"),
    rule("too-many-names", |f| f.too_many_names,
        "the names of all sources are more than the launch that deletes can take", "-a --delete src other dst/"),
    rule("pull-not-held", |f| f.pull.not_held,
        "several rsyncs delete only where each can be kept in the source, and the other machine does not allow or show that", "-a --delete host:src/ dst"),
    rule("pull-nowhere", |f| f.pull.nowhere,
        "the source cannot be seen on the other machine", "-a host:gone dst"),
    Rule {
        id: "pull-unlisted", applies: |f| f.pull.unlisted.is_some(), example: "-a host::module/src dst",
        reason: Reason::Of(|f| f.pull.unlisted.clone(), "nothing on the other machine tells of the source what has to be known"),
    },
    rule("pull-no-directory", |f| f.pull.no_directory,
        "the source on the other machine is no directory", "-a host:file dst"),
    rule("one-process", |f| f.one_process,
        "there is one process, and no limit for a bucket", "-a"),
];

const HARD_LINKS_IN_WHOLE: &str = "hard links may cross directories that must stay whole";

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
