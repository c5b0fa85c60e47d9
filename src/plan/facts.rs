//! The facts that the rules of [`super::fallback`] check: about the command line, and about its sources and a local DEST.
//!
//! Facts are gathered in steps, and the expensive ones only if no rule has applied so far. A fact that was not determined yet is false, so that no rule applies
//! because of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Access;

use crate::config::Config;
use crate::endpoint::{Form, Source};
use crate::first_pass::Wish;
use crate::rsync::command::Removal;
use crate::rsync::filter::{self, Filters};
use crate::rsync::options::{Aliases, Class, Meaning, Opt, Options, Setting, Verdict};
use crate::scan;

use super::aux_dirs::{self, COMPARED};
use super::receiver::Receiver;
use super::relative::Relative;
use super::sources::{Found, real_path, resolve};
use super::{bandwidth, launches, mounts, pull, rooted};

/// All facts that rules may check.
pub(super) struct Facts {
    /// The options that each launch would get.
    pub options: Options,
    /// What the options mean together, and in this environment.
    pub meaning: Meaning,
    /// The first option that only one rsync can follow.
    pub option: Option<Verdict>,
    /// Why it is not certain which filter rules apply.
    pub unclear_rules: Option<filter::Unclear>,
    /// An option to which an alias of popt gives another meaning.
    pub alias: Option<String>,
    /// The rsyncs that write are known to run as root.
    pub writes_as_root: bool,
    /// DEST is a path, on this machine or on the hosts.
    pub dest_is_path: bool,
    /// The sources are on another machine.
    pub pulls: bool,
    /// Facts about sources on another machine.
    pub pull: PullFacts,
    /// The receiver stores what it may not set in extended attributes, but the sender does not read these.
    pub fakes_super: bool,
    /// The launches run on source hosts.
    pub on_hosts: bool,
    /// Something needs the figures of what was copied.
    pub figures: bool,
    /// Directories without `u+rwx` are not split.
    pub locked_whole: bool,
    /// Facts about the sources.
    pub sources: SourceFacts,
    /// Facts about DEST.
    pub dest: DestFacts,
    /// rsync was asked, and its rules may leave only one name of the sources.
    pub rules_leave_a_name: bool,
    /// The names of all sources do not fit into the launch that deletes.
    pub too_many_names: bool,
    /// The user did not ask for several processes, nor for anything that needs them.
    pub one_process: bool,
}

/// Facts about the sources. The usual value of each is false, because each is a reason to look closer.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SourceFacts {
    /// There are no sources.
    pub none: bool,
    /// There are several sources.
    pub several: bool,
    /// A source was not found.
    pub missing: bool,
    /// A source is not a directory.
    pub file: bool,
    /// A source is a symbolic link.
    pub link: bool,
    /// A source is a directory that cannot be read.
    pub unreadable: bool,
    /// There are several sources, and the one that gives its attributes to DEST must not be split.
    pub whole_in_dest: bool,
    /// A source was typed as a path from the root.
    pub rooted: bool,
    /// Lines about a source that was typed from the root cannot be distinguished from others.
    pub rooted_unclear: bool,
    /// With `--relative`, the name of a source is not certain unless links are followed.
    pub odd_relative: bool,
    /// Two sources copy the same name to DEST.
    pub same_name: bool,
    /// A source is the same as another one, or lies inside it.
    pub nested: bool,
    /// Entries of the sources may be visible on several paths, and hard links are kept.
    pub found_again: bool,
}

/// Facts about sources on another machine.
#[derive(Debug, Default, Clone)]
pub(super) struct PullFacts {
    /// The path of a source may be interpreted there.
    pub odd_word: bool,
    /// No single source argument leads to all of them.
    pub apart: bool,
    /// An option for which pulling was not compared with one rsync.
    pub option: Option<String>,
    /// rsyncs can perhaps be held in the source.
    pub may_be_held: bool,
    /// rsyncs cannot be held in the source, as a trial showed, although something is deleted.
    pub not_held: bool,
    /// Rules are read from files.
    pub rules_in_files: bool,
    /// The source was not found there.
    pub nowhere: bool,
    /// The source is not a directory.
    pub no_directory: bool,
    /// Why the source cannot be scanned.
    pub unlisted: Option<String>,
}

/// Facts about a local DEST, and about directories there that options name.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct DestFacts {
    /// DEST does not exist.
    pub new: bool,
    /// Neither DEST nor its parent directory exists.
    pub parent_missing: bool,
    /// Something is mounted inside DEST.
    pub mount: bool,
    /// DEST is created in a directory that is copied.
    pub made_in_source: bool,
    /// DEST lies inside a source, or a source inside DEST, possibly through mounts.
    pub meets_source: bool,
    /// The backup directory lies inside DEST, or may do so.
    pub backup_dir: bool,
    /// The backup directory is created in a directory that is copied.
    pub backup_dir_made_in_source: bool,
    /// A directory to compare with lies inside DEST.
    pub compared: bool,
    /// The directory for temporary files lies inside DEST.
    pub temp_dir: bool,
}

impl Facts {
    /// The facts that follow from the command line alone. `options` are those that each launch would get, and `filters` their filter rules, unless it is
    /// unclear which apply.
    pub fn of(
        config: &Config,
        options: &Options,
        environment: impl Fn(&str) -> Option<OsString>,
        receiver: Receiver,
        filters: &Filters,
        unclear_rules: Option<filter::Unclear>,
    ) -> Facts {
        let meaning = options.meaning_with(&environment);
        let mut verdicts = config.options.verdicts_with(environment).into_iter();
        Facts {
            option: verdicts.find(|verdict| verdict.class == Class::Plain),
            unclear_rules,
            alias: Aliases::installed().redefined(),
            writes_as_root: receiver.is_root(),
            dest_is_path: config.destination.is_local(),
            pulls: config.pulls(),
            fakes_super: fakes_super(config),
            pull: PullFacts {
                odd_word: pull::has_odd_word(&config.sources),
                apart: pull::are_apart(&config.sources),
                option: pull::not_compared(&config.options),
                may_be_held: pull::may_be_held(config),
                not_held: false,
                rules_in_files: filters.in_files,
                nowhere: false,
                no_directory: false,
                unlisted: None,
            },
            on_hosts: !config.hosts.is_empty(),
            figures: config.figures || config.options.shows().stats > 1,
            locked_whole: receiver.locked(config, &meaning).keep_whole,
            options: options.clone(),
            meaning,
            sources: SourceFacts::default(),
            dest: DestFacts::default(),
            rules_leave_a_name: false,
            too_many_names: false,
            one_process: false,
        }
    }

    /// Adds the facts about the sources and DEST.
    pub fn look(&mut self, config: &Config, found: &Found, relative: Option<&[Relative]>, whole: &Whole<'_>) {
        let real: Vec<PathBuf> = found.present.iter().map(|(source, _)| real_path(source, config)).collect();
        self.sources = SourceFacts::of(config, found, &real, &self.meaning, relative, whole);
        self.dest = DestFacts::of(config, found, &real, &self.options, &self.meaning, relative);
    }

    /// Whether an option was typed, and not only to turn it off.
    pub fn has(&self, opt: Opt) -> bool {
        self.options.has(opt)
    }

    /// Whether a directory to compare with was named.
    pub fn compares(&self) -> bool {
        COMPARED.into_iter().any(|opt| self.has(opt))
    }

    /// Whether extraneous entries at DEST are deleted.
    pub fn deletes(&self) -> bool {
        self.meaning.delete.is_some()
    }

    /// Whether directories may contain files with rules.
    pub fn merges(&self) -> bool {
        self.meaning.per_dir_merge || self.meaning.cvs_exclude
    }

    /// Whether a symbolic link may be copied as what it points to.
    pub fn follows(&self) -> bool {
        self.meaning.copy_links || self.meaning.copy_dirlinks || self.meaning.copy_unsafe_links
    }

    /// Whether rsync prints a line about each entry that it changes.
    pub fn prints(&self) -> bool {
        prints(&self.options, &self.meaning)
    }

    /// Whether such lines are printed where multi-sync does not produce them: in a format of the user's, or in a log file.
    pub fn prints_elsewhere(&self) -> bool {
        self.meaning.out_format.is_some() || self.meaning.log_file.is_some()
    }

    /// Whether source files are checked again before they are removed.
    pub fn looks_twice(&self) -> bool {
        launches::removal(&self.meaning) == Removal::SinglesLast
    }

    /// Whether `--bwlimit` cannot be read.
    pub fn has_odd_limit(&self) -> bool {
        bandwidth::limit(&self.meaning).is_err()
    }

    /// Whether the backup directory may lie inside DEST. It is relative to DEST, and lies outside for certain only if it begins with `..`; an absolute one
    /// might be inside.
    pub fn may_back_up_inside(&self) -> bool {
        let first = |dir: &OsString| Path::new(dir).components().next() != Some(Component::ParentDir);
        self.meaning.backup_dir.as_ref().is_some_and(first)
    }

    /// Whether a format of the user's contains `%f`, with or without a width (rsyncd.conf(5), "log format").
    pub fn prints_paths(&self) -> bool {
        self.options.settings().iter().any(|setting| {
            let is_format = matches!(setting.spec.id, Opt::OutFormat | Opt::LogFileFormat);
            let format = setting.value.as_deref().unwrap_or_default().as_bytes();
            let mut pieces = format.split(|byte| *byte == b'%').skip(1);
            let is_width = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'\'');
            is_format && pieces.any(|piece| piece.iter().find(|byte| !is_width(byte)) == Some(&b'f'))
        })
    }

    /// Whether a rule of the user's may include what rsync's own rules exclude. `--exclude='+ NAME'` also includes (rsync(1), "FILTER RULES").
    pub fn may_include(&self) -> bool {
        self.options.settings().iter().any(|setting| match setting.spec.id {
            Opt::Include | Opt::IncludeFrom | Opt::ExcludeFrom | Opt::Filter => true,
            Opt::Exclude => setting.value.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"+")),
            _ => false,
        })
    }

    /// Whether the rule with which rsync protects backups, `P *SUFFIX`, does not match the names with this suffix.
    pub fn has_odd_suffix(&self) -> bool {
        self.meaning.suffix.as_ref().is_some_and(|suffix| suffix.as_bytes().iter().any(|byte| b"*?[\\/".contains(byte)))
    }

    /// Whether the receiving side of a copy to this machine gets a log file. It would look for that in the directory in which rsync is started.
    pub fn receiver_logs(&self) -> bool {
        self.dest_is_path
            && self.options.settings().iter().any(|setting| {
                let word = setting.value.as_deref().unwrap_or_default().as_bytes();
                setting.spec.id == Opt::RemoteOption && word.starts_with(b"--log-file")
            })
    }
}

/// Whether only the receiving side is told to fake attributes that it may not set.
fn fakes_super(config: &Config) -> bool {
    let is_told = |setting: &Setting| {
        setting.spec.id == Opt::RemoteOption && setting.value.as_deref().is_some_and(|word| word == "--fake-super")
    };
    match config.pulls() {
        true => config.options.mentions(&[Opt::FakeSuper]),
        false => config.options.settings().iter().any(is_told),
    }
}

/// Whether rsync prints a line about each entry that it changes.
pub(super) fn prints(options: &Options, meaning: &Meaning) -> bool {
    meaning.verbose > 0 || meaning.itemize > 0 || meaning.out_format.is_some() || options.shows().names > 0
}

/// Whether one process copies to this machine, in a run that does not have to be resumable. A single rsync does this, and need not wait for the scan.
pub(super) fn asks_for_one_process(config: &Config) -> bool {
    let one = config.processes.get() == 1 && !config.adapts && config.hosts.is_empty();
    let divides = config.limits_given || config.gitignore;
    let keeps = config.buckets.is_some() || config.keep || config.dry_run || config.stall.is_some();
    let makes = config.first_pass == Wish::On;
    one && config.destination.is_local() && !divides && !keeps && !makes
}

impl SourceFacts {
    fn of(
        config: &Config,
        found: &Found,
        real: &[PathBuf],
        meaning: &Meaning,
        relative: Option<&[Relative]>,
        whole: &Whole<'_>,
    ) -> SourceFacts {
        let sources = &found.present;
        let several = sources.len() > 1;
        let is_readable = |source: &Source| {
            let path = source.base(&config.cwd).join(source.name().unwrap_or_default());
            rustix::fs::access(&path, Access::READ_OK | Access::EXEC_OK).is_ok()
        };
        let into_dest = |source: &Source| several && source.form() == Form::Contents;
        let same_name = match relative {
            Some(all) => all.iter().enumerate().any(|(at, one)| all[..at].iter().any(|other| one.meets(other))),
            None if config.pulls() => pull::share_a_name(&config.sources),
            None => !meaning.relative && overlap(config, sources),
        };
        SourceFacts {
            none: sources.is_empty() && !config.pulls(),
            several,
            missing: !found.missing.is_empty(),
            file: sources.iter().any(|(_, metadata)| !metadata.is_dir()),
            link: sources.iter().any(|(_, metadata)| metadata.is_symlink()),
            unreadable: sources.iter().any(|(source, metadata)| metadata.is_dir() && !is_readable(source)),
            whole_in_dest: sources
                .iter()
                .any(|(source, metadata)| into_dest(source) && whole.is(&source.base(&config.cwd), metadata)),
            rooted: sources.iter().any(|(source, _)| rooted::is_rooted(source)),
            rooted_unclear: rooted::are_unclear(sources),
            odd_relative: meaning.relative && relative.is_none(),
            same_name,
            nested: are_nested(real),
            // What is mounted on another machine is not known here.
            found_again: meaning.hard_links && (config.pulls() || mounts::found_again(real)),
        }
    }
}

impl DestFacts {
    fn of(
        config: &Config,
        found: &Found,
        real: &[PathBuf],
        options: &Options,
        meaning: &Meaning,
        relative: Option<&[Relative]>,
    ) -> DestFacts {
        let sources = &found.present;
        let lies_there = |opts: &[Opt]| aux_dirs::any_meets_dest(config, options, opts);
        let mut facts = DestFacts {
            backup_dir: lies_there(&[Opt::BackupDir]),
            compared: lies_there(&COMPARED),
            temp_dir: lies_there(&[Opt::TempDir]),
            backup_dir_made_in_source: aux_dirs::backups_are_made_in_sources(config, meaning, real, relative),
            ..DestFacts::default()
        };
        if !config.destination.is_local() {
            return facts;
        }
        let typed = PathBuf::from(config.destination.as_typed(&config.cwd));
        facts.new = !typed.exists();
        facts.parent_missing = facts.new && typed.parent().is_some_and(|parent| !parent.is_dir());
        let dest = resolve(&typed);
        facts.mount = !mounts::none_below(&dest);
        // rsync reads the time of the parent directory before it creates DEST.
        let above = dest.parent().filter(|_| !dest.exists());
        facts.made_in_source =
            above.is_some_and(|above| relative.is_some_and(|all| all.iter().any(|source| source.sends(above))));
        facts.meets_source = sources.iter().zip(real).any(|((_, metadata), path)| {
            let by_path = dest.starts_with(path) || path.starts_with(&dest);
            by_path || metadata.is_dir() && mounts::share(path, &dest)
        });
        facts
    }
}

/// Which directories must not be split.
pub(super) struct Whole<'a> {
    /// Directories without `u+rwx`.
    pub locked: bool,
    /// Directories that contain a link which may lead out of the source to a directory.
    pub unsafe_links: bool,
    /// Directories that contain one of these names.
    pub merge_files: &'a [OsString],
}

impl Whole<'_> {
    fn is(&self, dir: &Path, metadata: &fs::Metadata) -> bool {
        // Well below the length up to which the scan splits directories.
        const LONG_PATH: usize = 3000;
        dir.as_os_str().len() > LONG_PATH
            || self.locked && metadata.permissions().mode() & 0o700 != 0o700
            || self.merge_files.iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
            || self.unsafe_links && fs::File::open(dir).is_ok_and(scan::holds_unsafe_link)
    }
}

/// Whether a source is the same as another one, or lies inside it.
fn are_nested(real: &[PathBuf]) -> bool {
    let mut paths: Vec<&PathBuf> = real.iter().collect();
    paths.sort();
    // In this order, a directory is directly followed by its contents.
    paths.windows(2).any(|pair| pair[1].starts_with(pair[0]))
}

/// Whether a name at the top of the destination comes from more than one source. One rsync decides which of them wins.
fn overlap(config: &Config, sources: &[(Source, fs::Metadata)]) -> bool {
    let mut names: Vec<&OsStr> = sources.iter().filter_map(|(source, _)| source.name()).collect();
    let contents: Vec<PathBuf> = sources
        .iter()
        .filter(|(source, _)| source.name().is_none())
        .map(|(source, _)| source.base(&config.cwd))
        .collect();
    let many = contents.len() > 1;
    let inside = contents.iter().any(|base| names.iter().any(|name| fs::symlink_metadata(base.join(name)).is_ok()));
    names.sort();
    many || inside || names.windows(2).any(|pair| pair[0] == pair[1])
}
