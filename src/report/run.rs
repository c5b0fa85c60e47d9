//! The data about a run as a whole: what it was asked for, how it is done, its steps, and its end.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::first_pass::Made;
use crate::rsync::output::Figures;
use crate::scan::Weight;

/// A run that begins or continues. Nothing was copied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// Arguments of `multi-sync` that request this run, or an equivalent one.
    pub arguments: Vec<OsString>,
    /// The directory to which relative names are relative.
    pub current_dir: PathBuf,
    /// The sources, as they were typed.
    pub sources: Vec<OsString>,
    /// The destination, as it was typed.
    pub destination: OsString,
    /// rsync's options.
    pub rsync_options: Vec<OsString>,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The source hosts on which they run; empty for this machine.
    pub hosts: Vec<String>,
    /// The version of rsync here, or the oldest one of the hosts.
    pub rsync_version: String,
    /// The run directory.
    pub run_directory: PathBuf,
    /// Whether the run continues an earlier part.
    pub resumes: bool,
    /// Whether nothing is copied.
    pub dry_run: bool,
}

/// The parts of a run. Each has its own scan and its own launches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// The copy.
    #[default]
    Copy,
    /// Asks rsync what it would still change.
    Verify,
}

/// How a part of a run is done; reported when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// The part.
    pub part: Part,
    /// Why one rsync does everything, if it does.
    pub one_rsync: Option<String>,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The source host of each slot; empty if all are on this machine.
    pub slots: Vec<String>,
}

/// The steps of a part. A step begins when the one before it has ended; steps without work are skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// Reads the sources, creates split directories, and copies.
    #[default]
    Copy,
    /// Copies units that must be copied while nothing else runs.
    Repair,
    /// Deletes inside units that were copied.
    Clean,
    /// Deletes in split directories.
    Delete,
    /// Sets the attributes of split directories.
    Attributes,
    /// Removes files that were copied from the source.
    Remove,
    /// Nothing more: the part is over.
    Done,
}

/// The settings of a run from now on, after a change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adjusted {
    /// The most rsyncs at once.
    pub processes: usize,
    /// The bandwidth for all rsyncs together that start from now on, in KiB a second; `None` means no limit.
    pub bandwidth: Option<NonZero<u64>>,
    /// Whether nothing is started, and running rsyncs are stopped.
    pub paused: bool,
    /// Whether the run ends when the running rsyncs have finished.
    pub winds_down: bool,
}

/// Sums of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Totals {
    /// Found by the scan.
    pub found: Weight,
    /// Processed: everything that was found, unless the job ended early.
    pub done: Weight,
    /// Entries that the scan could not read.
    pub unread: u64,
    /// Buckets that were packed.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended early.
    pub buckets_left: u64,
    /// Directories that were split between launches.
    pub split_directories: u64,
    /// rsyncs that were started.
    pub launches: u64,
    /// How many of them ended in a way that their work had to be repeated.
    pub retried: u64,
    /// Files whose content rsyncs transferred; 0 if a single rsync was not asked for statistics.
    pub transferred_files: u64,
    /// The length of these files in bytes.
    pub transferred_bytes: u64,
    /// What first passes created before the rsyncs looked. It is not contained in what rsyncs transferred.
    pub made: Made,
    /// The sum of rsync's own statistics; `None` if a single rsync was not asked for them.
    pub figures: Option<Figures>,
    /// The time of the scan.
    pub scan: Duration,
    /// The sum of the times that rsyncs ran.
    pub rsyncs: Duration,
    /// The time the job took.
    pub elapsed: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunEnd {
    /// The exit code.
    pub code: u8,
    /// Whether it was ended early.
    pub interrupted: bool,
    /// The error that ended it as a whole, or kept it from beginning.
    pub failure: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// How many differences were found, if `--verify` was used.
    pub differences: Option<u64>,
    /// The run directory, if it remains.
    pub run_directory: Option<PathBuf>,
    /// What the user can do next: lines for users, the last of which says what to type.
    pub advice: Vec<String>,
}

impl Part {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Copy => "copy",
            Part::Verify => "verify",
        }
    }
}

impl Step {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Copy => "copy",
            Step::Repair => "repair",
            Step::Clean => "clean",
            Step::Delete => "delete",
            Step::Attributes => "attributes",
            Step::Remove => "remove",
            Step::Done => "done",
        }
    }
}
