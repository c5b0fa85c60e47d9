//! What a list of options means in total: the state of rsync after reading it, for those options that a plan has to know. Values stay as typed; combinations
//! that rsync refuses are left to rsync.
//!
//! Sources: rsync(1), and dry runs of rsync 3.5.0 where the manual page leaves the order open.

use super::rule::Rule;
use super::{Opt, Setting, info};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// When rsync deletes what the source does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// `--delete` or `--delete-excluded` alone: rsync chooses.
    Auto,
    /// Before anything is copied.
    Before,
    /// Directory by directory, while copying.
    During,
    /// Found while copying, done at the end.
    Delay,
    /// After everything is copied.
    After,
}

/// When rsync stops by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// This number of minutes after its start.
    After(OsString),
    /// At this local time.
    At(OsString),
}

/// Whether the receiver acts as the super-user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superuser {
    /// If it is the super-user.
    Auto,
    /// It tries to act as the super-user.
    Yes,
    /// It does not act as the super-user.
    No,
    /// It keeps owners and devices in extended attributes.
    Fake,
}

/// The state of rsync after its options. Made by [`Options::meaning`](super::Options::meaning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Directories are descended into.
    pub recursive: bool,
    /// `-r` itself was given: unlike the one in `-a` it survives `--files-from`.
    pub recursive_by_name: bool,
    /// Whether directories are transferred at all (also true if recursive).
    pub dirs: bool,
    /// Names keep their path from the source argument on.
    pub relative: bool,
    /// False after `--no-implied-dirs`; matters with `relative` only.
    pub implied_dirs: bool,
    /// The list of names.
    pub files_from: Option<OsString>,
    /// Lists and filter files are separated by NUL.
    pub from0: bool,
    /// 1 with `-x`, 2 with `-xx`.
    pub one_file_system: u8,
    /// Directories without files are left out.
    pub prune_empty_dirs: bool,
    /// Symbolic links are copied as such.
    pub links: bool,
    /// Every symbolic link is followed.
    pub copy_links: bool,
    /// Symbolic links to directories are followed.
    pub copy_dirlinks: bool,
    /// Symbolic links out of the tree are followed.
    pub copy_unsafe_links: bool,
    /// Symbolic links out of the tree are skipped.
    pub safe_links: bool,
    /// A symbolic link to a directory at the destination counts as that directory.
    pub keep_dirlinks: bool,
    /// Hard links are kept.
    pub hard_links: bool,
    /// Permissions are kept (`-A` turns them on).
    pub perms: bool,
    /// Executability is kept.
    pub executability: bool,
    /// Permissions are changed by `--chmod`.
    pub chmod: bool,
    /// Access control lists are kept.
    pub acls: bool,
    /// Extended attributes are kept.
    pub xattrs: bool,
    /// Modification times are kept.
    pub times: bool,
    /// Except those of directories.
    pub omit_dir_times: bool,
    /// Owners are kept.
    pub owner: bool,
    /// Groups are kept.
    pub group: bool,
    /// Device files are copied.
    pub devices: bool,
    /// Sockets and FIFOs are copied.
    pub specials: bool,
    /// See [`Superuser`].
    pub superuser: Superuser,
    /// When extraneous entries are deleted, if at all.
    pub delete: Option<Delete>,
    /// Excluded entries are deleted too.
    pub delete_excluded: bool,
    /// The most deletions; deletions that make room for another kind of entry count as well.
    pub max_delete: Option<u32>,
    /// A directory that is not empty may be deleted to make room for something else.
    pub force: bool,
    /// Deletes in spite of read errors.
    pub ignore_errors: bool,
    /// A missing source argument is no error.
    pub ignore_missing_args: bool,
    /// A missing source argument is deleted at the destination.
    pub delete_missing_args: bool,
    /// Copied files are removed from the source.
    pub remove_source_files: bool,
    /// Any rule from `--include`, `--exclude`, `--filter`, their files, `-F` or `-C`.
    pub has_filter_rules: bool,
    /// One of the rules forgets the rules before it.
    pub clears_filter_rules: bool,
    /// `-C`: rules from `CVSIGNORE`, `~/.cvsignore` and `.cvsignore` in every directory.
    pub cvs_exclude: bool,
    /// Rules are read from a file in every directory (`-F`, `:` rules, `-C`).
    pub per_dir_merge: bool,
    /// Existing entries at the destination are kept as backups.
    pub backup: bool,
    /// The directory for backups, relative to the destination.
    pub backup_dir: Option<OsString>,
    /// The suffix of backups, if the user has given one.
    pub suffix: Option<OsString>,
    /// Files are changed in place (also by `--append` and `--write-devices`).
    pub inplace: bool,
    /// Only the missing end of a file is written.
    pub append: bool,
    /// Runs of zeros become holes.
    pub sparse: bool,
    /// Partially copied files are kept.
    pub partial: bool,
    /// The directory for them as typed (or from `RSYNC_PARTIAL_DIR`), if there is one: a relative one also hides source
    /// directories of that name.
    pub partial_dir: Option<OsString>,
    /// Files get their final names only at the end.
    pub delay_updates: bool,
    /// Nothing new is created.
    pub existing: bool,
    /// Nothing that exists is changed.
    pub ignore_existing: bool,
    /// Missing parents of the destination are created.
    pub mkpath: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// The sources are listed only.
    pub list_only: bool,
    /// How many `-v`.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// How many `-i`.
    pub itemize: u8,
    /// One line per change in this format.
    pub out_format: Option<OsString>,
    /// A summary is printed (`--stats`, `--info=stats`).
    pub stats: bool,
    /// Progress is shown (`--progress`, `-P`, `--info=progress`).
    pub progress: bool,
    /// 0 digits only, 1 rsync's default, more with every `-h`.
    pub human_readable: u8,
    /// Where the transfer is logged.
    pub log_file: Option<OsString>,
    /// The limit as typed; `None` if there is no limit.
    pub bwlimit: Option<OsString>,
    /// When rsync ends by itself.
    pub stop: Option<Stop>,
    /// Seconds without data after which rsync gives up; 0 means never.
    pub timeout: i32,
    /// The remote shell (or `RSYNC_RSH`); `None` means ssh.
    pub rsh: Option<OsString>,
    /// A forced protocol version.
    pub protocol: Option<i32>,
    /// The character sets (or `RSYNC_ICONV`).
    pub iconv: Option<OsString>,
}

impl Meaning {
    /// Whether backups lie next to the files.
    fn makes_backups_beside(&self) -> bool {
        self.backup && self.backup_dir.as_ref().is_none_or(|dir| dir.is_empty())
    }

    /// Whether directories get their modification times. With backups next to the files they do not (rsync(1), `--backup`: it implies `--omit-dir-times`).
    pub fn sets_dir_times(&self) -> bool {
        self.times && !self.omit_dir_times && !self.makes_backups_beside()
    }

    /// The rule that protects backups which lie next to the files, if there are any. rsync adds it to the user's rules when it deletes (rsync(1),
    /// `--backup`).
    pub fn backup_rule(&self) -> Option<OsString> {
        const USUAL: &str = "~";
        let beside = self.makes_backups_beside();
        let suffix = self.suffix.as_deref().unwrap_or(OsStr::new(USUAL));
        beside.then(|| [OsStr::new("P *"), suffix].into_iter().collect())
    }

    /// Applies the settings in order, and then what rsync derives at the end.
    pub(super) fn of(settings: &[Setting], env: impl Fn(&str) -> Option<OsString>) -> Meaning {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut reader = Reader { iconv: env("RSYNC_ICONV"), ..Reader::default() };
        let mut meaning = Meaning::nothing();
        for setting in settings {
            meaning.read(setting, &mut reader);
        }
        meaning.derive(reader, env);
        meaning
    }

    /// The state of rsync without options.
    fn nothing() -> Meaning {
        Meaning {
            recursive: false,
            recursive_by_name: false,
            dirs: false,
            relative: false,
            implied_dirs: true,
            files_from: None,
            from0: false,
            one_file_system: 0,
            prune_empty_dirs: false,
            links: false,
            copy_links: false,
            copy_dirlinks: false,
            copy_unsafe_links: false,
            safe_links: false,
            keep_dirlinks: false,
            hard_links: false,
            perms: false,
            executability: false,
            chmod: false,
            acls: false,
            xattrs: false,
            times: false,
            omit_dir_times: false,
            owner: false,
            group: false,
            devices: false,
            specials: false,
            superuser: Superuser::Auto,
            delete: None,
            delete_excluded: false,
            max_delete: None,
            force: false,
            ignore_errors: false,
            ignore_missing_args: false,
            delete_missing_args: false,
            remove_source_files: false,
            has_filter_rules: false,
            clears_filter_rules: false,
            cvs_exclude: false,
            per_dir_merge: false,
            backup: false,
            backup_dir: None,
            suffix: None,
            inplace: false,
            append: false,
            sparse: false,
            partial: false,
            partial_dir: None,
            delay_updates: false,
            existing: false,
            ignore_existing: false,
            mkpath: false,
            dry_run: false,
            list_only: false,
            verbose: 0,
            quiet: false,
            itemize: 0,
            out_format: None,
            stats: false,
            progress: false,
            human_readable: 1,
            log_file: None,
            bwlimit: None,
            stop: None,
            timeout: 0,
            rsh: None,
            protocol: None,
            iconv: None,
        }
    }

    fn read(&mut self, setting: &Setting, reader: &mut Reader) {
        let on = !setting.negated;
        let value = || setting.value.clone();
        let count = |level: u8| if on { level.saturating_add(1) } else { 0 };
        if let Some(rule) = Rule::of(setting) {
            self.has_filter_rules = true;
            self.clears_filter_rules |= rule == Rule::Clear;
            self.per_dir_merge |= matches!(rule, Rule::DirMerge { .. });
        }
        match setting.spec.id {
            Opt::Archive => {
                reader.recurse.get_or_insert(Recurse::Archive);
                self.links = true;
                self.perms = true;
                self.times = true;
                self.group = true;
                self.owner = true;
                self.devices = true;
                self.specials = true;
            }
            Opt::Recursive => reader.recurse = on.then_some(Recurse::ByName),
            Opt::Dirs => reader.dirs = if on { Dirs::Yes } else { Dirs::No },
            Opt::OldDirs => reader.dirs = Dirs::Old,
            Opt::Relative => reader.relative = Some(on),
            Opt::ImpliedDirs => self.implied_dirs = on,
            Opt::FilesFrom => self.files_from = value(),
            Opt::From0 => self.from0 = on,
            Opt::OneFileSystem => self.one_file_system = count(self.one_file_system),
            Opt::PruneEmptyDirs => self.prune_empty_dirs = on,
            Opt::Links => self.links = on,
            Opt::CopyLinks => self.copy_links = true,
            Opt::CopyDirlinks => self.copy_dirlinks = true,
            Opt::CopyUnsafeLinks => self.copy_unsafe_links = true,
            Opt::SafeLinks => self.safe_links = true,
            Opt::KeepDirlinks => self.keep_dirlinks = true,
            Opt::HardLinks => self.hard_links = on,
            Opt::Perms => self.perms = on,
            Opt::Executability => self.executability = true,
            Opt::Chmod => self.chmod = true,
            Opt::Acls => {
                self.acls = on;
                self.perms |= on;
            }
            Opt::Xattrs => self.xattrs = on,
            Opt::Times => self.times = on,
            Opt::OmitDirTimes => self.omit_dir_times = on,
            Opt::Owner => self.owner = on,
            Opt::Group => self.group = on,
            Opt::D => {
                self.devices = on;
                self.specials = on;
            }
            Opt::Devices => self.devices = on,
            Opt::Specials => self.specials = on,
            Opt::Super => self.superuser = if on { Superuser::Yes } else { Superuser::No },
            Opt::FakeSuper => self.superuser = Superuser::Fake,
            Opt::Delete => reader.delete = true,
            Opt::DeleteBefore => reader.delete_before = true,
            Opt::DeleteDuring => reader.delete_during = Some(Delete::During),
            Opt::DeleteDelay => reader.delete_during = Some(Delete::Delay),
            Opt::DeleteAfter => reader.delete_after = true,
            Opt::DeleteExcluded => self.delete_excluded = true,
            Opt::MaxDelete => self.max_delete = setting.number().map(|n| u32::try_from(n).unwrap_or(0)),
            Opt::Force => self.force = on,
            Opt::IgnoreErrors => self.ignore_errors = on,
            Opt::IgnoreMissingArgs => self.ignore_missing_args = true,
            Opt::DeleteMissingArgs => self.delete_missing_args = true,
            Opt::RemoveSourceFiles => self.remove_source_files = true,
            Opt::ExcludeFrom | Opt::IncludeFrom => self.has_filter_rules = true,
            Opt::F => {
                self.has_filter_rules = true;
                self.per_dir_merge = true;
            }
            Opt::CvsExclude => {
                self.has_filter_rules = true;
                self.per_dir_merge = true;
                self.cvs_exclude = true;
            }
            Opt::Backup => self.backup = on,
            Opt::BackupDir => self.backup_dir = value(),
            Opt::Suffix => self.suffix = value(),
            Opt::Inplace => self.inplace = on,
            Opt::Append => self.append = on,
            Opt::AppendVerify => self.append = true,
            Opt::WriteDevices => reader.write_devices = on,
            Opt::Sparse => self.sparse = on,
            Opt::Partial => self.partial = on,
            Opt::PartialDir => self.partial_dir = value(),
            Opt::DelayUpdates => self.delay_updates = on,
            Opt::Existing => self.existing = true,
            Opt::IgnoreExisting => self.ignore_existing = true,
            Opt::Mkpath => self.mkpath = on,
            Opt::DryRun => self.dry_run = true,
            Opt::ListOnly => self.list_only = true,
            Opt::Verbose => self.verbose = count(self.verbose),
            Opt::Quiet => self.quiet = true,
            Opt::ItemizeChanges => self.itemize = count(self.itemize),
            Opt::OutFormat => self.out_format = value(),
            Opt::Stats => self.stats = true,
            Opt::Progress => self.progress = on,
            Opt::P => {
                self.progress = true;
                self.partial = true;
            }
            Opt::Info => {
                for (word, level) in setting.value.as_deref().into_iter().flat_map(info::words) {
                    match word.as_slice() {
                        b"stats" => reader.info_stats = level > 0,
                        b"progress" => reader.info_progress = level > 0,
                        _ => {}
                    }
                }
            }
            Opt::HumanReadable => self.human_readable = count(self.human_readable),
            Opt::LogFile => self.log_file = value(),
            Opt::Bwlimit => self.bwlimit = value().filter(|limit| !(limit == "0" || limit.is_empty())),
            Opt::StopAfter => self.stop = value().map(Stop::After),
            Opt::StopAt => self.stop = value().map(Stop::At),
            Opt::Timeout => self.timeout = setting.number().unwrap_or(0),
            Opt::Rsh => self.rsh = value(),
            Opt::Protocol => self.protocol = setting.number(),
            Opt::Iconv => reader.iconv = value(),
            _ => {}
        }
    }

    fn derive(&mut self, reader: Reader, env: impl Fn(&str) -> Option<OsString>) {
        let listed = self.files_from.is_some();
        self.recursive_by_name = reader.recurse == Some(Recurse::ByName);
        self.recursive = match (reader.dirs, reader.recurse) {
            // The old spelling recurses, but comes with an exclude rule of its own that stops it below the first level.
            (Dirs::Old, _) | (_, None) => false,
            (_, Some(Recurse::Archive)) => !listed,
            (_, Some(Recurse::ByName)) => true,
        };
        self.dirs = match reader.dirs {
            Dirs::Yes | Dirs::Old => true,
            Dirs::Unset => self.recursive || listed || self.list_only,
            Dirs::No => self.recursive || self.list_only,
        };
        self.relative = reader.relative.unwrap_or(listed);

        self.delete = match reader {
            Reader { delete_before: true, .. } => Some(Delete::Before),
            Reader { delete_after: true, .. } => Some(Delete::After),
            Reader { delete_during: Some(when), .. } => Some(when),
            _ if reader.delete || self.delete_excluded => Some(Delete::Auto),
            _ => None,
        };
        self.backup |= self.backup_dir.as_ref().is_some_and(|dir| !dir.is_empty());
        self.stats |= reader.info_stats;
        self.progress |= reader.info_progress;

        self.inplace |= self.append || reader.write_devices;
        // As in rsync: the environment variable is used only if partially copied files are kept and nothing else decides where.
        if self.partial_dir.is_none() && self.partial && !self.inplace && !self.delay_updates {
            self.partial_dir = env("RSYNC_PARTIAL_DIR");
        }
        self.partial_dir.take_if(|dir| !is_a_directory_of_its_own(dir));
        self.partial |= self.partial_dir.is_some() || self.delay_updates;

        self.rsh = self.rsh.take().or_else(|| env("RSYNC_RSH"));
        self.iconv = reader.iconv.filter(|sets| !(sets == "-" || sets.is_empty()));
    }
}

/// Neither empty nor another spelling of `.`, which both mean "no partial directory".
fn is_a_directory_of_its_own(dir: &OsStr) -> bool {
    Path::new(dir).components().any(|part| part != Component::CurDir) && !dir.as_bytes().is_empty()
}

/// State that is needed only while reading.
#[derive(Default)]
struct Reader {
    recurse: Option<Recurse>,
    dirs: Dirs,
    relative: Option<bool>,
    delete: bool,
    delete_before: bool,
    delete_during: Option<Delete>,
    delete_after: bool,
    write_devices: bool,
    info_stats: bool,
    info_progress: bool,
    iconv: Option<OsString>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Recurse {
    Archive,
    ByName,
}

#[derive(Default, Clone, Copy)]
enum Dirs {
    #[default]
    Unset,
    No,
    Yes,
    Old,
}

#[cfg(test)]
mod tests;
