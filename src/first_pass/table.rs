//! With which of rsync's options there is a first pass: each row has options and a reason. If it is not certain, there is none.
//!
//! The rsync that follows finds files that are up to date. Therefore an option prevents a first pass if rsync treats a new file in another way than one that is
//! up to date, or prints something about it.

use crate::rsync::options::{Meaning, Opt, Options, Superuser};

/// What the first pass creates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Makes {
    /// Files get the owner of the source.
    pub owner: bool,
    /// Files get the group of the source.
    pub group: bool,
    /// Only files of the own group are created, because only rsync finds out whether another group may be set.
    pub own_group_only: bool,
    /// Runs of zeros become holes.
    pub sparse: bool,
    /// Files with several names are left to rsync.
    pub single_names_only: bool,
    /// Files with extended attributes or ACLs are left to rsync.
    pub plain_only: bool,
    /// Split directories are created as well, before any rsync was started. rsync is known to accept these options together.
    pub split: bool,
}

/// What an option means for a first pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has no effect.
    None,
    /// The first pass does what the option says.
    Followed,
    /// It prevents a first pass.
    Off,
}

struct Row {
    role: Role,
    why: &'static str,
    options: &'static [Opt],
}

const fn row(role: Role, why: &'static str, options: &'static [Opt]) -> Row {
    Row { role, why, options }
}

const PRINTS: &str = "rsync would not report what the first pass has created";
const RULES: &str = "an entry may be left out of the transfer";
const COMPARES: &str = "rsync may treat a file differently if it exists already";
const OTHER_FILES: &str = "rsync would use other files besides those of the source";
const LINKS: &str = "a symbolic link may be followed";
const ATTRIBUTES: &str = "files get attributes other than those of the source";
const WRITES: &str = "files are written in a different way";
const NO_COPY: &str = "this is not an ordinary copy";
const UNTOUCHED: &str = "it applies to entries that a first pass does not create";
const LATER: &str = "rsync does this when it checks the entry";
const NO_DELETION: &str = "a directory that is new holds nothing to delete";
const NO_EFFECT: &str = "it does not change the result of a copy to this machine";

#[rustfmt::skip] // A table.
static ROWS: &[Row] = &[
    row(Role::Followed, "this is what a first pass creates: directories, and regular files with content, mode and time", &[
        Opt::Archive, Opt::Recursive, Opt::Perms, Opt::Times,
    ]),
    row(Role::Followed, "root sets owner and group; for other users, only files of their own group are created", &[
        Opt::Owner, Opt::Group,
    ]),
    row(Role::Followed, "a file with several names is left to rsync", &[Opt::HardLinks]),
    row(Role::Followed, "a file that has ACLs or extended attributes is left to rsync", &[Opt::Acls, Opt::Xattrs]),
    row(Role::Followed, "runs of zeros become holes", &[Opt::Sparse]),
    row(Role::Followed, "a mount point is never entered", &[Opt::OneFileSystem]),
    row(Role::Followed, "the bandwidth share of a launch covers its first pass and its rsync", &[Opt::Bwlimit]),
    row(Role::None, UNTOUCHED, &[
        Opt::Links, Opt::SafeLinks, Opt::MungeLinks, Opt::D, Opt::Devices, Opt::Specials, Opt::DropD,
        Opt::OmitLinkTimes, Opt::IgnoreMissingArgs,
    ]),
    row(Role::None, LATER, &[Opt::OmitDirTimes, Opt::NumericIds]),
    row(Role::None, NO_DELETION, &[
        Opt::Delete, Opt::DeleteDuring, Opt::DeleteDelay, Opt::DeleteAfter, Opt::DeleteExcluded, Opt::Force, Opt::IgnoreErrors,
    ]),
    row(Role::None, NO_EFFECT, &[
        Opt::Quiet, Opt::Motd, Opt::HumanReadable, Opt::EightBitOutput, Opt::Outbuf, Opt::IncRecursive, Opt::Dirs, Opt::ImpliedDirs,
        Opt::From0, Opt::Executability, Opt::ChecksumChoice, Opt::ChecksumSeed, Opt::WholeFile, Opt::BlockSize, Opt::Partial, Opt::Mkpath,
        Opt::Compress, Opt::OldCompress, Opt::NewCompress, Opt::CompressChoice, Opt::CompressLevel, Opt::CompressThreads, Opt::SkipCompress,
        Opt::Rsh, Opt::RsyncPath, Opt::OldArgs, Opt::SecludedArgs, Opt::Timeout, Opt::Contimeout, Opt::BlockingIo, Opt::Address, Opt::Port,
        Opt::Sockopts, Opt::Ipv4, Opt::Ipv6, Opt::PasswordFile, Opt::EarlyInput, Opt::TrustSender, Opt::MaxAlloc, Opt::Qsort,
    ]),
    row(Role::Off, PRINTS, &[
        Opt::Verbose, Opt::Info, Opt::Debug, Opt::Stderr, Opt::Msgs2stderr, Opt::Stats, Opt::ItemizeChanges, Opt::OutFormat, Opt::LogFile,
        Opt::LogFileFormat, Opt::Progress, Opt::P,
    ]),
    row(Role::Off, RULES, &[
        Opt::Exclude, Opt::Include, Opt::Filter, Opt::ExcludeFrom, Opt::IncludeFrom, Opt::F, Opt::CvsExclude, Opt::MaxSize, Opt::MinSize,
        Opt::PruneEmptyDirs, Opt::FilesFrom, Opt::OldDirs, Opt::PartialDir, Opt::DelayUpdates,
    ]),
    row(Role::Off, "the directories above a source belong to the transfer", &[Opt::Relative]),
    row(Role::Off, COMPARES, &[
        Opt::Checksum, Opt::IgnoreTimes, Opt::SizeOnly, Opt::ModifyWindow, Opt::Update, Opt::Existing, Opt::IgnoreExisting, Opt::Backup,
        Opt::BackupDir, Opt::Suffix,
    ]),
    row(Role::Off, OTHER_FILES, &[Opt::Fuzzy, Opt::CompareDest, Opt::CopyDest, Opt::LinkDest]),
    row(Role::Off, LINKS, &[
        Opt::CopyLinks, Opt::CopyUnsafeLinks, Opt::CopyDirlinks, Opt::KeepDirlinks, Opt::InsecureLinks, Opt::ConfineRoot,
    ]),
    row(Role::Off, ATTRIBUTES, &[
        Opt::Chmod, Opt::Usermap, Opt::Groupmap, Opt::Chown, Opt::CopyAs, Opt::Super, Opt::FakeSuper, Opt::Crtimes, Opt::Iconv,
    ]),
    row(Role::Off, "reading a source file changes its access time", &[Opt::Atimes, Opt::OpenNoatime]),
    row(Role::Off, WRITES, &[
        Opt::Preallocate, Opt::Inplace, Opt::Append, Opt::AppendVerify, Opt::Fsync, Opt::TempDir, Opt::CopyDevices, Opt::WriteDevices,
    ]),
    row(Role::Off, "what is removed or deleted depends on what rsync copies", &[
        Opt::RemoveSourceFiles, Opt::DeleteBefore, Opt::DeleteMissingArgs, Opt::MaxDelete,
    ]),
    row(Role::Off, "it applies only to the receiving rsync", &[Opt::RemoteOption]),
    row(Role::Off, "an old protocol does not transfer fractions of a second", &[Opt::Protocol]),
    row(Role::Off, "it stops rsync, but not the first pass before it", &[Opt::StopAfter, Opt::StopAt]),
    row(Role::Off, NO_COPY, &[
        Opt::Help, Opt::Version, Opt::ListOnly, Opt::DryRun, Opt::WriteBatch, Opt::OnlyWriteBatch, Opt::ReadBatch, Opt::Daemon, Opt::Config,
        Opt::Dparam, Opt::Detach, Opt::Server, Opt::Sender,
    ]),
];

/// All rows, for the documentation: the options, their role, and the reason.
pub fn listed() -> impl Iterator<Item = (&'static [Opt], Role, &'static str)> {
    ROWS.iter().map(|row| (row.options, row.role, row.why))
}

/// What a first pass creates with these options.
///
/// # Errors
/// The reason why there is no first pass.
pub fn find(options: &Options, meaning: &Meaning, as_root: bool) -> Result<Makes, String> {
    let off = ROWS.iter().filter(|row| row.role == Role::Off);
    let mut typed = off.flat_map(|row| row.options.iter().map(|opt| (*opt, row.why)));
    if let Some((opt, why)) = typed.find(|(opt, _)| options.has(*opt)) {
        return Err(format!("{}: {why}", opt.spec().shown()));
    }
    let lacks = |option: Opt| format!("without {}, {ATTRIBUTES}", option.spec().shown());
    if !meaning.perms {
        return Err(lacks(Opt::Perms));
    }
    if !meaning.times {
        return Err(lacks(Opt::Times));
    }
    // These may also come from the environment.
    if meaning.partial_dir.is_some() || meaning.has_filter_rules || meaning.cvs_exclude {
        return Err(RULES.to_owned());
    }
    if meaning.iconv.is_some() || meaning.superuser != Superuser::Auto {
        return Err(ATTRIBUTES.to_owned());
    }
    Ok(Makes {
        owner: as_root && meaning.owner,
        group: as_root && meaning.group,
        own_group_only: !as_root && meaning.group,
        sparse: meaning.sparse,
        single_names_only: meaning.hard_links,
        plain_only: meaning.acls || meaning.xattrs,
        split: is_taken(options),
    })
}

/// Whether rsync certainly accepts these options, if it knows each of them. Otherwise rsync has to check them before anything is created: some options are only
/// for a daemon, and some may have an invalid value.
fn is_taken(options: &Options) -> bool {
    const ALSO: [Opt; 3] = [Opt::WholeFile, Opt::HumanReadable, Opt::Quiet];
    let is_usual = |row: &&Row| row.role == Role::Followed || [UNTOUCHED, LATER, NO_DELETION].contains(&row.why);
    let usual = |opt: &Opt| ALSO.contains(opt) || ROWS.iter().filter(is_usual).any(|row| row.options.contains(opt));
    options.settings().iter().all(|setting| usual(&setting.spec.id)) && options.delete_times() < 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsync::options::{Takes, specs};

    fn why(text: &str, root: bool) -> Result<Makes, String> {
        let options = Options::parse_str(text.as_ref()).unwrap_or_else(|error| panic!("{text}: {error}"));
        find(&options, &options.meaning(), root)
    }

    #[test]
    fn every_option_has_one_row() {
        for spec in specs() {
            let rows = ROWS.iter().filter(|row| row.options.contains(&spec.id)).count();
            assert_eq!(rows, 1, "{}", spec.shown());
        }
    }

    #[test]
    fn each_option_that_is_off_says_why_and_no_other_is_the_reason() {
        for row in ROWS {
            for opt in row.options {
                let spec = opt.spec();
                let value = match spec.takes {
                    Takes::Nothing => "",
                    Takes::Number => "=1",
                    Takes::Rule => "=- x",
                    _ => "=x",
                };
                let word = match spec.long {
                    Some(long) => format!("--{long}{value}"),
                    None => format!("-{}", spec.name()),
                };
                let options = Options::parse(&["-a", &word]).unwrap_or_else(|error| panic!("{word}: {error}"));
                let found = find(&options, &options.meaning(), true);
                match row.role {
                    Role::Off => assert_eq!(found, Err(format!("{}: {}", spec.shown(), row.why)), "{word}"),
                    _ => assert!(found.is_ok(), "{word}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_made_follows_the_options_and_the_user() {
        let all = Makes { owner: true, group: true, split: true, ..Makes::default() };
        assert_eq!(why("-a", true), Ok(all));
        assert_eq!(why("-aHAX", true), Ok(Makes { single_names_only: true, plain_only: true, ..all }));
        assert_eq!(why("-aS --numeric-ids --delete", true), Ok(Makes { sparse: true, ..all }));
        assert_eq!(why("-a", false), Ok(Makes { own_group_only: true, split: true, ..Makes::default() }));
        assert_eq!(why("-rpt", true), Ok(Makes { split: true, ..Makes::default() }));
        for text in ["-a --contimeout=5", "-a --compress-choice=none", "-a --delete-after --delete-during"] {
            assert_eq!(why(text, true), Ok(Makes { split: false, ..all }), "{text}");
        }
        assert_eq!(why("-av --no-v", true), Err(format!("--verbose (-v): {PRINTS}")));
        for text in ["-rlt", "-a --no-p", "-a --no-t", "-r"] {
            assert!(why(text, true).unwrap_err().starts_with("without"), "{text}");
        }
        let options = Options::parse(&["-a"]).unwrap();
        let env = |name: &str| (name == "RSYNC_PARTIAL_DIR").then(|| ".p".into());
        let with_partial = Options::parse(&["-a", "--partial"]).unwrap();
        assert!(find(&options, &options.meaning_with(env), true).is_ok());
        assert!(find(&with_partial, &with_partial.meaning_with(env), true).is_err());
    }
}
