//! rsync's option table as data: every name an rsync from 3.1 to 3.5.0 accepts, whether a value follows, and how far multi-sync can
//! give the option to many rsync processes without changing the result.
//!
//! Names and arity come from rsync(1), OPTION SUMMARY, and from asking the program itself (`rsync NAME --version` refuses an unknown
//! name); the test in `options.rs` asks it again. Values and combinations that change a class are not here but in `verdict.rs`.

use Class::{Native, Plain, Refused, Special, Whole};
use Takes::{Command, Input, Nothing, Number, Output, Pattern, Rule, Text};

/// How far an option may go to many rsync processes and still leave what one rsync would have left. Ordered: the greatest class of a
/// command line is the class of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Goes to every launch unchanged and is exact.
    Native,
    /// Exact only with help from multi-sync: a plan, a share, or its own output.
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
    /// A C integer (decimal, `0x` or leading `0`), which rsync checks while it parses.
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

/// One row of the option table.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// The long name without dashes; `-D`, `-F` and `-P` have none.
    pub long: Option<&'static str>,
    /// The one-letter name.
    pub short: Option<u8>,
    /// Other long names of the same option.
    pub aliases: &'static [&'static str],
    /// Every name that turns the option off (`no-perms`, `no-p`); the first is the one every version knows.
    pub negations: &'static [&'static str],
    /// What follows the option.
    pub takes: Takes,
    /// Its class when it is on, whatever its value; an option that only matters with some values has the class it then has.
    pub class: Class,
    /// The reason for the class, for people; empty for [`Class::Native`].
    pub why: &'static str,
}

impl Spec {
    /// The name used in this crate: the long one, else the letter.
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

/// The whole table, grouped as rsync(1) groups its options.
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

/// A row; `""` and `0` stand for a name that does not exist.
const fn row(
    long: &'static str,
    short: u8,
    aliases: &'static [&'static str],
    negations: &'static [&'static str],
    takes: Takes,
    class: Class,
    why: &'static str,
) -> Spec {
    Spec {
        long: if long.is_empty() { None } else { Some(long) },
        short: if short == 0 { None } else { Some(short) },
        aliases,
        negations,
        takes,
        class,
        why,
    }
}

#[rustfmt::skip] // A table: one row per line.
static TABLE: &[Spec] = &[
    // What is printed.
    row("help",                0,    &[], &[], Nothing, Refused, "it prints rsync's help and copies nothing"),
    row("version",             b'V', &[], &[], Nothing, Refused, "it prints rsync's version and copies nothing"),
    row("verbose",             b'v', &[], &["no-verbose", "no-v"], Nothing, Special, "the output of many processes has to read like that of one"),
    row("info",                0,    &[], &[], Text, Plain, "the output of many processes has to read like that of one"),
    row("debug",               0,    &[], &[], Text, Plain, "the output of many processes has to read like that of one"),
    row("stderr",              0,    &[], &[], Text, Plain, "multi-sync reads the errors of every rsync process"),
    row("msgs2stderr",         0,    &[], &["no-msgs2stderr"], Nothing, Plain, "multi-sync reads the errors of every rsync process"),
    row("quiet",               b'q', &[], &[], Nothing, Special, "multi-sync itself decides what is printed"),
    row("motd",                0,    &[], &["no-motd"], Nothing, Native, ""),
    row("stats",               0,    &[], &[], Nothing, Special, "the counts of all processes are added up"),
    row("human-readable",      b'h', &[], &["no-human-readable", "no-h"], Nothing, Native, ""),
    row("8-bit-output",        b'8', &[], &["no-8-bit-output", "no-8"], Nothing, Native, ""),
    row("outbuf",              0,    &[], &[], Text, Native, ""),
    row("itemize-changes",     b'i', &[], &["no-itemize-changes", "no-i"], Nothing, Special, "directories are visited more than once, so lines would repeat"),
    row("out-format",          0,    &["log-format"], &[], Text, Special, "directories are visited more than once, so lines would repeat"),
    row("log-file",            0,    &[], &[], Output, Special, "directories are visited more than once, so lines would repeat"),
    row("log-file-format",     0,    &[], &[], Text, Native, ""),
    row("progress",            0,    &[], &["no-progress"], Nothing, Special, "multi-sync shows the progress of the whole"),
    row("",                    b'P', &[], &[], Nothing, Special, "multi-sync shows the progress of the whole; --partial is passed on"),
    row("list-only",           0,    &[], &[], Nothing, Plain, "a listing is not a transfer"),
    row("dry-run",             b'n', &[], &[], Nothing, Special, "directories are visited more than once, so lines would repeat"),

    // What is selected from the sources.
    row("archive",             b'a', &[], &[], Nothing, Native, ""),
    row("recursive",           b'r', &[], &["no-recursive", "no-r"], Nothing, Native, ""),
    row("inc-recursive",       0,    &["i-r"], &["no-inc-recursive", "no-i-r"], Nothing, Native, ""),
    row("dirs",                b'd', &[], &["no-dirs", "no-d"], Nothing, Native, ""),
    row("old-dirs",            0,    &["old-d"], &[], Nothing, Native, ""),
    row("relative",            b'R', &[], &["no-relative", "no-R"], Nothing, Special, "the parents of each source belong to the transfer"),
    row("implied-dirs",        0,    &["i-d"], &["no-implied-dirs", "no-i-d"], Nothing, Special, "the parents of each source need a treatment of their own"),
    row("one-file-system",     b'x', &[], &["no-one-file-system", "no-x"], Nothing, Special, "mount points have to be found before the tree is divided"),
    row("prune-empty-dirs",    b'm', &[], &["no-prune-empty-dirs", "no-m"], Nothing, Plain, "whether a directory is empty is known only after the whole of it was seen"),
    row("files-from",          0,    &[], &[], Input, Plain, "the list says what is copied, and is not divided"),
    row("from0",               b'0', &[], &["no-from0"], Nothing, Native, ""),
    row("ignore-missing-args", 0,    &[], &[], Nothing, Special, "it is about the sources, and every process gets other ones"),
    row("delete-missing-args", 0,    &[], &[], Nothing, Plain, "an entry that vanished since the scan would be deleted"),
    row("exclude",             0,    &[], &[], Pattern, Special, "a directory that is divided must be tested against the rules first"),
    row("include",             0,    &[], &[], Pattern, Special, "a directory that is divided must be tested against the rules first"),
    row("filter",              b'f', &[], &[], Rule, Special, "a directory that is divided must be tested against the rules first"),
    row("exclude-from",        0,    &[], &[], Input, Special, "a directory that is divided must be tested against the rules first"),
    row("include-from",        0,    &[], &[], Input, Special, "a directory that is divided must be tested against the rules first"),
    row("",                    b'F', &[], &[], Nothing, Whole, "a directory with a .rsync-filter file cannot be divided"),
    row("cvs-exclude",         b'C', &[], &[], Nothing, Whole, "a directory with a .cvsignore file cannot be divided"),
    row("max-size",            0,    &[], &[], Text, Native, ""),
    row("min-size",            0,    &[], &[], Text, Native, ""),

    // What is compared, and which files are updated.
    row("checksum",            b'c', &[], &["no-checksum", "no-c"], Nothing, Native, ""),
    row("checksum-choice",     0,    &["cc"], &[], Text, Native, ""),
    row("checksum-seed",       0,    &[], &[], Number, Native, ""),
    row("ignore-times",        b'I', &[], &[], Nothing, Native, ""),
    row("size-only",           0,    &[], &[], Nothing, Native, ""),
    row("modify-window",       b'@', &[], &[], Number, Native, ""),
    row("update",              b'u', &[], &[], Nothing, Native, ""),
    row("existing",            0,    &["ignore-non-existing"], &[], Nothing, Native, ""),
    row("ignore-existing",     0,    &[], &[], Nothing, Native, ""),
    row("fuzzy",               b'y', &[], &["no-fuzzy", "no-y"], Nothing, Native, ""),
    row("compare-dest",        0,    &[], &[], Text, Native, ""),
    row("copy-dest",           0,    &[], &[], Text, Native, ""),
    row("link-dest",           0,    &[], &[], Text, Native, ""),

    // Links.
    row("links",               b'l', &[], &["no-links", "no-l"], Nothing, Native, ""),
    row("copy-links",          b'L', &[], &[], Nothing, Special, "what a link leads to stays whole"),
    row("copy-unsafe-links",   0,    &[], &[], Nothing, Special, "what a link leads to stays whole"),
    row("copy-dirlinks",       b'k', &[], &[], Nothing, Special, "what a link leads to stays whole"),
    row("keep-dirlinks",       b'K', &[], &[], Nothing, Plain, "a link at the destination may lead one process into the directories of another"),
    row("safe-links",          0,    &[], &[], Nothing, Native, ""),
    row("munge-links",         0,    &[], &["no-munge-links"], Nothing, Native, ""),
    row("insecure-links",      0,    &[], &["no-insecure-links"], Nothing, Native, ""),
    row("confine-root",        0,    &[], &[], Text, Native, ""),
    row("hard-links",          b'H', &[], &["no-hard-links", "no-H"], Nothing, Special, "all names of one file must reach the same process"),

    // Attributes.
    row("perms",               b'p', &[], &["no-perms", "no-p"], Nothing, Native, ""),
    row("executability",       b'E', &[], &[], Nothing, Native, ""),
    row("chmod",               0,    &[], &[], Text, Native, ""),
    row("acls",                b'A', &[], &["no-acls", "no-A"], Nothing, Native, ""),
    row("xattrs",              b'X', &[], &["no-xattrs", "no-X"], Nothing, Native, ""),
    row("owner",               b'o', &[], &["no-owner", "no-o"], Nothing, Native, ""),
    row("group",               b'g', &[], &["no-group", "no-g"], Nothing, Native, ""),
    row("numeric-ids",         0,    &[], &["no-numeric-ids"], Nothing, Native, ""),
    row("usermap",             0,    &[], &[], Text, Native, ""),
    row("groupmap",            0,    &[], &[], Text, Native, ""),
    row("chown",               0,    &[], &[], Text, Native, ""),
    row("copy-as",             0,    &[], &[], Text, Native, ""),
    row("super",               0,    &[], &["no-super"], Nothing, Native, ""),
    row("fake-super",          0,    &[], &[], Nothing, Native, ""),
    row("times",               b't', &[], &["no-times", "no-t"], Nothing, Native, ""),
    row("atimes",              b'U', &[], &["no-atimes", "no-U"], Nothing, Native, ""),
    row("open-noatime",        0,    &[], &["no-open-noatime"], Nothing, Native, ""),
    row("crtimes",             b'N', &[], &["no-crtimes", "no-N"], Nothing, Native, ""),
    row("omit-dir-times",      b'O', &[], &["no-omit-dir-times", "no-O"], Nothing, Native, ""),
    row("omit-link-times",     b'J', &[], &["no-omit-link-times", "no-J"], Nothing, Native, ""),
    row("",                    b'D', &[], &["no-D"], Nothing, Native, ""),
    row("devices",             0,    &[], &["no-devices"], Nothing, Native, ""),
    row("specials",            0,    &[], &["no-specials"], Nothing, Native, ""),
    row("drop-D",              0,    &[], &["no-drop-D"], Nothing, Native, ""),
    row("copy-devices",        0,    &[], &[], Nothing, Native, ""),
    row("write-devices",       0,    &[], &["no-write-devices"], Nothing, Native, ""),

    // How a file is written.
    row("sparse",              b'S', &[], &["no-sparse", "no-S"], Nothing, Native, ""),
    row("preallocate",         0,    &[], &[], Nothing, Native, ""),
    row("inplace",             0,    &[], &["no-inplace"], Nothing, Native, ""),
    row("append",              0,    &[], &["no-append"], Nothing, Native, ""),
    row("append-verify",       0,    &[], &[], Nothing, Native, ""),
    row("whole-file",          b'W', &[], &["no-whole-file", "no-W"], Nothing, Native, ""),
    row("block-size",          b'B', &[], &[], Text, Native, ""),
    row("fsync",               0,    &[], &[], Nothing, Native, ""),
    row("temp-dir",            b'T', &[], &[], Text, Native, ""),
    row("partial",             0,    &[], &["no-partial"], Nothing, Native, ""),
    row("partial-dir",         0,    &[], &[], Text, Special, "rsync skips source directories of that name, so the scan has to skip them too"),
    row("delay-updates",       0,    &[], &["no-delay-updates"], Nothing, Special, "the files of one directory must reach the same process"),
    row("backup",              b'b', &[], &["no-backup"], Nothing, Native, ""),
    row("backup-dir",          0,    &[], &[], Text, Special, "a backup directory inside the destination is seen by the other processes"),
    row("suffix",              0,    &[], &[], Text, Native, ""),
    row("mkpath",              0,    &[], &["no-mkpath"], Nothing, Native, ""),

    // What is removed.
    row("delete",              0,    &[], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("delete-before",       0,    &[], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("delete-during",       0,    &["del"], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("delete-delay",        0,    &[], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("delete-after",        0,    &[], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("delete-excluded",     0,    &[], &[], Nothing, Special, "divided directories are cleaned in a step of their own, after all copying"),
    row("max-delete",          0,    &[], &[], Number, Plain, "rsync counts per process"),
    row("force",               0,    &[], &["no-force"], Nothing, Native, ""),
    row("ignore-errors",       0,    &[], &["no-ignore-errors"], Nothing, Special, "it decides whether divided directories are cleaned after an error"),
    row("remove-source-files", 0,    &["remove-sent-files"], &[], Nothing, Special, "removing changes the times of source directories that are still to be copied"),

    // The connection.
    row("rsh",                 b'e', &[], &[], Command, Native, ""),
    row("rsync-path",          0,    &[], &[], Text, Native, ""),
    row("remote-option",       b'M', &[], &[], Text, Native, ""),
    row("old-args",            0,    &[], &["no-old-args"], Nothing, Native, ""),
    row("secluded-args",       b's', &["protect-args"], &["no-protect-args", "no-secluded-args", "no-s"], Nothing, Native, ""),
    row("trust-sender",        0,    &[], &[], Nothing, Native, ""),
    row("iconv",               0,    &[], &["no-iconv"], Text, Plain, "a name that cannot be converted changes what is done with DEST itself"),
    row("protocol",            0,    &[], &[], Number, Native, ""),
    row("compress",            b'z', &[], &["no-compress", "no-z"], Nothing, Native, ""),
    row("old-compress",        0,    &[], &[], Nothing, Native, ""),
    row("new-compress",        0,    &[], &[], Nothing, Native, ""),
    row("compress-choice",     0,    &["zc"], &[], Text, Native, ""),
    row("compress-level",      0,    &["zl"], &[], Number, Native, ""),
    row("compress-threads",    0,    &["zt"], &[], Number, Native, ""),
    row("skip-compress",       0,    &[], &[], Text, Native, ""),
    row("bwlimit",             0,    &[], &["no-bwlimit"], Text, Special, "the limit has to be shared among the processes"),
    row("timeout",             0,    &[], &["no-timeout"], Number, Native, ""),
    row("contimeout",          0,    &[], &["no-contimeout"], Number, Native, ""),
    row("stop-after",          0,    &["time-limit"], &[], Text, Special, "all processes must stop at one point in time"),
    row("stop-at",             0,    &[], &[], Text, Special, "all processes must stop at one point in time"),
    row("blocking-io",         0,    &[], &["no-blocking-io"], Nothing, Native, ""),
    row("address",             0,    &[], &[], Text, Native, ""),
    row("port",                0,    &[], &[], Number, Native, ""),
    row("sockopts",            0,    &[], &[], Text, Native, ""),
    row("ipv4",                b'4', &[], &[], Nothing, Native, ""),
    row("ipv6",                b'6', &[], &[], Nothing, Native, ""),
    row("password-file",       0,    &[], &[], Input, Native, ""),
    row("early-input",         0,    &[], &[], Input, Native, ""),
    row("max-alloc",           0,    &[], &[], Text, Native, ""),
    row("qsort",               0,    &[], &[], Nothing, Native, ""),

    // Other ways to run rsync.
    row("write-batch",         0,    &[], &[], Output, Plain, "a batch file is the stream of one process"),
    row("only-write-batch",    0,    &[], &[], Output, Plain, "a batch file is the stream of one process"),
    row("read-batch",          0,    &[], &[], Input, Refused, "there is no source to divide"),
    row("daemon",              0,    &[], &[], Nothing, Refused, "it starts a server"),
    row("config",              0,    &[], &[], Text, Refused, "it is an option of rsync's server"),
    row("dparam",              0,    &[], &[], Text, Refused, "it is an option of rsync's server"),
    row("detach",              0,    &[], &["no-detach"], Nothing, Refused, "it is an option of rsync's server"),
    row("server",              0,    &[], &[], Nothing, Refused, "only rsync gives it to its own other half"),
    row("sender",              0,    &[], &[], Nothing, Refused, "only rsync gives it to its own other half"),
];
