//! rsync's options as data: every name that an rsync from 3.1 to 3.5.0 accepts, with an id ([`Opt`]) that the rest of the program uses, whether a value
//! follows, what the option concerns, and whether it can be given to many rsync processes without changing the result.
//!
//! Names, and which of them take a value, come from rsync(1), OPTION SUMMARY, and from asking the program itself (`rsync NAME --version` refuses an unknown
//! name). The test in `options.rs` asks it again. Values and combinations that change a class are in `verdict.rs`.

use Class::{Native, Plain, Refused, Special, Whole};
use Repeats::{Adds, Counts, Once};
use Takes::{Command, Input, Nothing, Number, Output, Pattern, Rule, Text};

/// Whether an option can be given to many rsync processes with the same result as one rsync. The order matters: the greatest class of a command line is the
/// class of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Given to every launch unchanged; the result is exact.
    Native,
    /// Exact only with help from multi-sync: a plan, a share, or output of its own.
    Special,
    /// Exact only if certain directories are never split.
    Whole,
    /// Only one rsync over the whole transfer gives the same result.
    Plain,
    /// Makes no sense for many processes, or belongs to another program.
    Refused,
}

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Takes {
    /// Nothing; a value is an error.
    Nothing,
    /// Any bytes.
    Text,
    /// A C integer (decimal, `0x` or leading `0`), which rsync checks during parsing.
    Number,
    /// A file on this machine that is read; relative to the working directory.
    Input,
    /// A file on this machine that is written; relative to the working directory.
    Output,
    /// A command line whose first word is a program on this machine.
    Command,
    /// One filter rule, which may name a file to merge.
    Rule,
    /// One include or exclude pattern.
    Pattern,
}

/// What an option concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// What rsync prints or logs, and how.
    Printing,
    /// Which entries of the sources belong to the transfer.
    Selection,
    /// Which of them are regarded as up to date.
    Comparison,
    /// Symbolic and hard links.
    Links,
    /// Modes, owners, times, and the kinds of special files.
    Attributes,
    /// How the content of a file is sent and written.
    Content,
    /// What is removed at the destination or from the sources.
    Deletion,
    /// How another machine is reached, rather than what is done there.
    Connection,
    /// How fast and how long.
    Timing,
    /// What rsync does instead of a transfer, and its internals.
    Mode,
}

/// The effect of typing an option more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeats {
    /// The same as typing it once; of several values the last one counts.
    Once,
    /// It is strengthened (`-vv`).
    Counts,
    /// Each value is used (`--exclude`).
    Adds,
}

/// One row of the option table.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which option it is.
    pub id: Opt,
    /// The long name without dashes; `-D`, `-F` and `-P` have none.
    pub long: Option<&'static str>,
    /// The one-letter name.
    pub short: Option<u8>,
    /// Other long names of the same option.
    pub aliases: &'static [&'static str],
    /// Every name that turns the option off (`no-perms`, `no-p`); the first is known to every version.
    pub negations: &'static [&'static str],
    /// What follows the option.
    pub takes: Takes,
    /// The effect of typing it again.
    pub repeats: Repeats,
    /// What it concerns.
    pub group: Group,
    /// Its class if it is on, whatever its value. An option that matters only with some values has the class that it has with these.
    pub class: Class,
    /// The reason for the class, shown to users; empty for [`Class::Native`].
    pub why: &'static str,
}

impl Opt {
    /// The row of this option.
    pub fn spec(self) -> &'static Spec {
        &TABLE[self as usize]
    }
}

impl Spec {
    /// The name used in this crate: the long name, otherwise the letter.
    pub fn name(&self) -> &'static str {
        match (self.long, self.short) {
            (Some(long), _) => long,
            (None, Some(b'D')) => "D",
            (None, Some(b'F')) => "F",
            (None, _) => "P",
        }
    }

    /// The option as a person would look it up: `--hard-links (-H)`, `--delete`, `-F`.
    pub fn shown(&self) -> String {
        match (self.long, self.short) {
            (Some(long), Some(short)) => format!("--{long} (-{})", char::from(short)),
            (Some(long), None) => format!("--{long}"),
            (None, _) => format!("-{}", self.name()),
        }
    }

    /// Whether a value follows.
    pub fn takes_value(&self) -> bool {
        self.takes != Takes::Nothing
    }
}

/// The whole table, by groups.
pub fn specs() -> &'static [Spec] {
    TABLE
}

/// The row of a letter.
pub(super) fn by_letter(letter: u8) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.short == Some(letter))
}

/// The row of a long name without its dashes, and whether that name turns the option off.
pub(super) fn by_name(name: &[u8]) -> Option<(&'static Spec, bool)> {
    TABLE.iter().find_map(|spec| {
        let is = |candidate: &&str| candidate.as_bytes() == name;
        if spec.long.iter().chain(spec.aliases).any(is) {
            Some((spec, false))
        } else {
            spec.negations.iter().any(is).then_some((spec, true))
        }
    })
}

/// All long names, for a hint after a typing error.
pub(super) fn long_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|spec| spec.long.iter().chain(spec.aliases).chain(spec.negations).copied())
}

/// Makes [`Opt`] and its table from the same rows, so that they always have the same options. A row is: id, long name, letter, other names, names that turn
/// it off, and then the columns of [`Spec`] in their order. `""` and `0` stand for a name that does not exist.
macro_rules! table {
    ($($group:ident {$(
        $id:ident: $long:literal $short:literal $aliases:tt, $negations:tt, $takes:ident, $repeats:ident, $class:ident, $why:literal;
    )*})*) => {
        /// The id of an rsync option, whichever of its names was typed. The id is named after the long name, or after the letter if there is no long name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "rsync(1) describes each")]
        pub enum Opt {
            $($($id,)*)*
        }

        static TABLE: &[Spec] = &[$($(
            Spec {
                id: Opt::$id,
                long: long($long),
                short: letter($short),
                aliases: &$aliases,
                negations: &$negations,
                takes: $takes,
                repeats: $repeats,
                group: Group::$group,
                class: $class,
                why: $why,
            },
        )*)*];
    };
}

const fn long(name: &'static str) -> Option<&'static str> {
    if name.is_empty() { None } else { Some(name) }
}

const fn letter(name: u8) -> Option<u8> {
    if name == 0 { None } else { Some(name) }
}

table! {
    Printing {
        Verbose:           "verbose"              b'v'  [], ["no-verbose", "no-v"], Nothing, Counts, Special, "the output of several rsyncs must read like that of one";
        Info:              "info"                 0     [], [], Text, Adds, Plain, "the output of several rsyncs must read like that of one";
        Debug:             "debug"                0     [], [], Text, Adds, Plain, "the output of several rsyncs must read like that of one";
        Stderr:            "stderr"               0     [], [], Text, Once, Plain, "multi-sync reads the errors of every rsync process";
        Msgs2stderr:       "msgs2stderr"          0     [], ["no-msgs2stderr"], Nothing, Once, Plain, "multi-sync reads the errors of every rsync process";
        Quiet:             "quiet"                b'q'  [], [], Nothing, Once, Special, "multi-sync itself decides what is printed";
        Motd:              "motd"                 0     [], ["no-motd"], Nothing, Once, Native, "";
        Stats:             "stats"                0     [], [], Nothing, Once, Special, "the counts of all processes are added up";
        HumanReadable:     "human-readable"       b'h'  [], ["no-human-readable", "no-h"], Nothing, Counts, Native, "";
        EightBitOutput:    "8-bit-output"         b'8'  [], ["no-8-bit-output", "no-8"], Nothing, Once, Native, "";
        Outbuf:            "outbuf"               0     [], [], Text, Once, Native, "";
        ItemizeChanges:    "itemize-changes"      b'i'  [], ["no-itemize-changes", "no-i"], Nothing, Counts, Special, "directories are visited more than once, so lines would repeat";
        OutFormat:         "out-format"           0     ["log-format"], [], Text, Once, Special, "directories are visited more than once, so lines would repeat";
        LogFile:           "log-file"             0     [], [], Output, Once, Special, "directories are visited more than once, so lines would repeat";
        LogFileFormat:     "log-file-format"      0     [], [], Text, Once, Native, "";
        Progress:          "progress"             0     [], ["no-progress"], Nothing, Once, Special, "multi-sync shows the progress of the whole run";
        P:                 ""                     b'P'  [], [], Nothing, Once, Special, "multi-sync shows the progress of the whole run; --partial is passed on";
    }
    Selection {
        Archive:           "archive"              b'a'  [], [], Nothing, Once, Native, "";
        Recursive:         "recursive"            b'r'  [], ["no-recursive", "no-r"], Nothing, Once, Native, "";
        IncRecursive:      "inc-recursive"        0     ["i-r"], ["no-inc-recursive", "no-i-r"], Nothing, Once, Native, "";
        Dirs:              "dirs"                 b'd'  [], ["no-dirs", "no-d"], Nothing, Once, Native, "";
        OldDirs:           "old-dirs"             0     ["old-d"], [], Nothing, Once, Native, "";
        Relative:          "relative"             b'R'  [], ["no-relative", "no-R"], Nothing, Once, Special, "the directories above each source belong to the transfer";
        ImpliedDirs:       "implied-dirs"         0     ["i-d"], ["no-implied-dirs", "no-i-d"], Nothing, Once, Special, "the directories above each source are handled separately";
        OneFileSystem:     "one-file-system"      b'x'  [], ["no-one-file-system", "no-x"], Nothing, Counts, Special, "mount points must be found before the tree is divided";
        PruneEmptyDirs:    "prune-empty-dirs"     b'm'  [], ["no-prune-empty-dirs", "no-m"], Nothing, Once, Plain, "rsync knows whether a directory is empty only after it has seen everything below it";
        FilesFrom:         "files-from"           0     [], [], Input, Once, Plain, "multi-sync does not divide the list of what is copied";
        From0:             "from0"                b'0'  [], ["no-from0"], Nothing, Once, Native, "";
        IgnoreMissingArgs: "ignore-missing-args"  0     [], [], Nothing, Once, Special, "it applies to the sources, and each rsync gets different ones";
        Exclude:           "exclude"              0     [], [], Pattern, Adds, Special, "before a directory is split, it must be tested against the filter rules";
        Include:           "include"              0     [], [], Pattern, Adds, Special, "before a directory is split, it must be tested against the filter rules";
        Filter:            "filter"               b'f'  [], [], Rule, Adds, Special, "before a directory is split, it must be tested against the filter rules";
        ExcludeFrom:       "exclude-from"         0     [], [], Input, Adds, Special, "before a directory is split, it must be tested against the filter rules";
        IncludeFrom:       "include-from"         0     [], [], Input, Adds, Special, "before a directory is split, it must be tested against the filter rules";
        F:                 ""                     b'F'  [], [], Nothing, Counts, Whole, "a directory with a .rsync-filter file cannot be split";
        CvsExclude:        "cvs-exclude"          b'C'  [], [], Nothing, Once, Whole, "a directory with a .cvsignore file cannot be split";
        MaxSize:           "max-size"             0     [], [], Text, Once, Native, "";
        MinSize:           "min-size"             0     [], [], Text, Once, Native, "";
    }
    Comparison {
        Checksum:          "checksum"             b'c'  [], ["no-checksum", "no-c"], Nothing, Once, Native, "";
        IgnoreTimes:       "ignore-times"         b'I'  [], [], Nothing, Once, Native, "";
        SizeOnly:          "size-only"            0     [], [], Nothing, Once, Native, "";
        ModifyWindow:      "modify-window"        b'@'  [], [], Number, Once, Native, "";
        Update:            "update"               b'u'  [], [], Nothing, Once, Native, "";
        Existing:          "existing"             0     ["ignore-non-existing"], [], Nothing, Once, Native, "";
        IgnoreExisting:    "ignore-existing"      0     [], [], Nothing, Once, Native, "";
        Fuzzy:             "fuzzy"                b'y'  [], ["no-fuzzy", "no-y"], Nothing, Counts, Native, "";
        CompareDest:       "compare-dest"         0     [], [], Text, Adds, Native, "";
        CopyDest:          "copy-dest"            0     [], [], Text, Adds, Native, "";
        LinkDest:          "link-dest"            0     [], [], Text, Adds, Native, "";
    }
    Links {
        Links:             "links"                b'l'  [], ["no-links", "no-l"], Nothing, Once, Native, "";
        CopyLinks:         "copy-links"           b'L'  [], [], Nothing, Once, Special, "a directory to which a followed link leads is not split";
        CopyUnsafeLinks:   "copy-unsafe-links"    0     [], [], Nothing, Once, Special, "a directory to which a followed link leads is not split";
        CopyDirlinks:      "copy-dirlinks"        b'k'  [], [], Nothing, Once, Special, "a directory to which a followed link leads is not split";
        KeepDirlinks:      "keep-dirlinks"        b'K'  [], [], Nothing, Once, Plain, "a link at the destination may lead one rsync into the directories of another";
        SafeLinks:         "safe-links"           0     [], [], Nothing, Once, Native, "";
        MungeLinks:        "munge-links"          0     [], ["no-munge-links"], Nothing, Once, Native, "";
        InsecureLinks:     "insecure-links"       0     [], ["no-insecure-links"], Nothing, Once, Native, "";
        ConfineRoot:       "confine-root"         0     [], [], Text, Once, Native, "";
        HardLinks:         "hard-links"           b'H'  [], ["no-hard-links", "no-H"], Nothing, Once, Special, "all names of a file must be copied by the same rsync";
    }
    Attributes {
        Perms:             "perms"                b'p'  [], ["no-perms", "no-p"], Nothing, Once, Native, "";
        Executability:     "executability"        b'E'  [], [], Nothing, Once, Native, "";
        Chmod:             "chmod"                0     [], [], Text, Adds, Native, "";
        Acls:              "acls"                 b'A'  [], ["no-acls", "no-A"], Nothing, Once, Native, "";
        Xattrs:            "xattrs"               b'X'  [], ["no-xattrs", "no-X"], Nothing, Counts, Native, "";
        Owner:             "owner"                b'o'  [], ["no-owner", "no-o"], Nothing, Once, Native, "";
        Group:             "group"                b'g'  [], ["no-group", "no-g"], Nothing, Once, Native, "";
        NumericIds:        "numeric-ids"          0     [], ["no-numeric-ids"], Nothing, Once, Native, "";
        Usermap:           "usermap"              0     [], [], Text, Once, Native, "";
        Groupmap:          "groupmap"             0     [], [], Text, Once, Native, "";
        Chown:             "chown"                0     [], [], Text, Once, Native, "";
        CopyAs:            "copy-as"              0     [], [], Text, Once, Native, "";
        Super:             "super"                0     [], ["no-super"], Nothing, Once, Native, "";
        FakeSuper:         "fake-super"           0     [], [], Nothing, Once, Native, "";
        Times:             "times"                b't'  [], ["no-times", "no-t"], Nothing, Once, Native, "";
        Atimes:            "atimes"               b'U'  [], ["no-atimes", "no-U"], Nothing, Counts, Native, "";
        OpenNoatime:       "open-noatime"         0     [], ["no-open-noatime"], Nothing, Once, Native, "";
        Crtimes:           "crtimes"              b'N'  [], ["no-crtimes", "no-N"], Nothing, Once, Native, "";
        OmitDirTimes:      "omit-dir-times"       b'O'  [], ["no-omit-dir-times", "no-O"], Nothing, Once, Native, "";
        OmitLinkTimes:     "omit-link-times"      b'J'  [], ["no-omit-link-times", "no-J"], Nothing, Once, Native, "";
        D:                 ""                     b'D'  [], ["no-D"], Nothing, Once, Native, "";
        Devices:           "devices"              0     [], ["no-devices"], Nothing, Once, Native, "";
        Specials:          "specials"             0     [], ["no-specials"], Nothing, Once, Native, "";
        DropD:             "drop-D"               0     [], ["no-drop-D"], Nothing, Once, Native, "";
        CopyDevices:       "copy-devices"         0     [], [], Nothing, Once, Native, "";
        WriteDevices:      "write-devices"        0     [], ["no-write-devices"], Nothing, Once, Native, "";
    }
    Content {
        ChecksumChoice:    "checksum-choice"      0     ["cc"], [], Text, Once, Native, "";
        ChecksumSeed:      "checksum-seed"        0     [], [], Number, Once, Native, "";
        Sparse:            "sparse"               b'S'  [], ["no-sparse", "no-S"], Nothing, Once, Native, "";
        Preallocate:       "preallocate"          0     [], [], Nothing, Once, Native, "";
        Inplace:           "inplace"              0     [], ["no-inplace"], Nothing, Once, Native, "";
        Append:            "append"               0     [], ["no-append"], Nothing, Once, Native, "";
        AppendVerify:      "append-verify"        0     [], [], Nothing, Once, Native, "";
        WholeFile:         "whole-file"           b'W'  [], ["no-whole-file", "no-W"], Nothing, Once, Native, "";
        BlockSize:         "block-size"           b'B'  [], [], Text, Once, Native, "";
        Fsync:             "fsync"                0     [], [], Nothing, Once, Native, "";
        TempDir:           "temp-dir"             b'T'  [], [], Text, Once, Native, "";
        Partial:           "partial"              0     [], ["no-partial"], Nothing, Once, Native, "";
        PartialDir:        "partial-dir"          0     [], [], Text, Once, Special, "rsync skips source directories of that name, so the scan must skip them too";
        DelayUpdates:      "delay-updates"        0     [], ["no-delay-updates"], Nothing, Once, Special, "the files of a directory must be copied by the same rsync";
        Backup:            "backup"               b'b'  [], ["no-backup"], Nothing, Once, Native, "";
        BackupDir:         "backup-dir"           0     [], [], Text, Once, Special, "other rsyncs would see a backup directory inside the destination";
        Suffix:            "suffix"               0     [], [], Text, Once, Native, "";
        Mkpath:            "mkpath"               0     [], ["no-mkpath"], Nothing, Once, Native, "";
        Compress:          "compress"             b'z'  [], ["no-compress", "no-z"], Nothing, Counts, Native, "";
        OldCompress:       "old-compress"         0     [], [], Nothing, Once, Native, "";
        NewCompress:       "new-compress"         0     [], [], Nothing, Once, Native, "";
        CompressChoice:    "compress-choice"      0     ["zc"], [], Text, Once, Native, "";
        CompressLevel:     "compress-level"       0     ["zl"], [], Number, Once, Native, "";
        CompressThreads:   "compress-threads"     0     ["zt"], [], Number, Once, Native, "";
        SkipCompress:      "skip-compress"        0     [], [], Text, Once, Native, "";
    }
    Deletion {
        Delete:            "delete"               0     [], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteBefore:      "delete-before"        0     [], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteDuring:      "delete-during"        0     ["del"], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteDelay:       "delete-delay"         0     [], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteAfter:       "delete-after"         0     [], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteExcluded:    "delete-excluded"      0     [], [], Nothing, Once, Special, "extraneous entries directly inside split directories are deleted in a separate step, after everything has been copied";
        DeleteMissingArgs: "delete-missing-args"  0     [], [], Nothing, Once, Plain, "an entry that vanished since the scan would be deleted";
        MaxDelete:         "max-delete"           0     [], [], Number, Once, Plain, "each rsync would count only its own deletions";
        Force:             "force"                0     [], ["no-force"], Nothing, Once, Native, "";
        IgnoreErrors:      "ignore-errors"        0     [], ["no-ignore-errors"], Nothing, Once, Special, "it decides whether entries in split directories are deleted after an error";
        RemoveSourceFiles: "remove-source-files"  0     ["remove-sent-files"], [], Nothing, Once, Special, "removing files changes the times of source directories that have yet to be copied";
    }
    Connection {
        Rsh:               "rsh"                  b'e'  [], [], Command, Once, Native, "";
        RsyncPath:         "rsync-path"           0     [], [], Text, Once, Native, "";
        RemoteOption:      "remote-option"        b'M'  [], [], Text, Adds, Native, "";
        OldArgs:           "old-args"             0     [], ["no-old-args"], Nothing, Once, Native, "";
        SecludedArgs:      "secluded-args"        b's'  ["protect-args"], ["no-protect-args", "no-secluded-args", "no-s"], Nothing, Once, Native, "";
        Iconv:             "iconv"                0     [], ["no-iconv"], Text, Once, Plain, "a name that cannot be converted changes what rsync does with DEST itself";
        Protocol:          "protocol"             0     [], [], Number, Once, Native, "";
        Timeout:           "timeout"              0     [], ["no-timeout"], Number, Once, Native, "";
        Contimeout:        "contimeout"           0     [], ["no-contimeout"], Number, Once, Native, "";
        BlockingIo:        "blocking-io"          0     [], ["no-blocking-io"], Nothing, Once, Native, "";
        Address:           "address"              0     [], [], Text, Once, Native, "";
        Port:              "port"                 0     [], [], Number, Once, Native, "";
        Sockopts:          "sockopts"             0     [], [], Text, Once, Native, "";
        Ipv4:              "ipv4"                 b'4'  [], [], Nothing, Once, Native, "";
        Ipv6:              "ipv6"                 b'6'  [], [], Nothing, Once, Native, "";
        PasswordFile:      "password-file"        0     [], [], Input, Once, Native, "";
        EarlyInput:        "early-input"          0     [], [], Input, Once, Native, "";
    }
    Timing {
        Bwlimit:           "bwlimit"              0     [], ["no-bwlimit"], Text, Once, Special, "the limit must be divided among the rsyncs";
        StopAfter:         "stop-after"           0     ["time-limit"], [], Text, Once, Special, "all rsyncs must stop at the same time";
        StopAt:            "stop-at"              0     [], [], Text, Once, Special, "all rsyncs must stop at the same time";
    }
    Mode {
        Help:              "help"                 0     [], [], Nothing, Once, Refused, "it prints rsync's help and copies nothing";
        Version:           "version"              b'V'  [], [], Nothing, Once, Refused, "it prints rsync's version and copies nothing";
        ListOnly:          "list-only"            0     [], [], Nothing, Once, Plain, "a listing is not a transfer";
        DryRun:            "dry-run"              b'n'  [], [], Nothing, Once, Special, "directories are visited more than once, so lines would repeat";
        TrustSender:       "trust-sender"         0     [], [], Nothing, Once, Native, "";
        MaxAlloc:          "max-alloc"            0     [], [], Text, Once, Native, "";
        Qsort:             "qsort"                0     [], [], Nothing, Once, Native, "";
        WriteBatch:        "write-batch"          0     [], [], Output, Once, Plain, "a batch file records the data stream of a single rsync";
        OnlyWriteBatch:    "only-write-batch"     0     [], [], Output, Once, Plain, "a batch file records the data stream of a single rsync";
        ReadBatch:         "read-batch"           0     [], [], Input, Once, Refused, "there is no source to divide";
        Daemon:            "daemon"               0     [], [], Nothing, Once, Refused, "it starts a daemon";
        Config:            "config"               0     [], [], Text, Once, Refused, "it is an option of the rsync daemon";
        Dparam:            "dparam"               0     [], [], Text, Adds, Refused, "it is an option of the rsync daemon";
        Detach:            "detach"               0     [], ["no-detach"], Nothing, Once, Refused, "it is an option of the rsync daemon";
        Server:            "server"               0     [], [], Nothing, Once, Refused, "only rsync itself passes it, to the rsync at the other end";
        Sender:            "sender"               0     [], [], Nothing, Once, Refused, "only rsync itself passes it, to the rsync at the other end";
    }
}
