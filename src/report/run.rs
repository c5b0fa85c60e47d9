//! What is told of a run as a whole: what it was asked for, how it is done, its steps, and its end.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::first_pass::Made;
use crate::rsync::output::Figures;
use crate::scan::Weight;

/// A run that begins, or goes on. Nothing was copied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// The arguments of `multi-sync` that ask for it, or for the same.
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
    /// The source hosts on which they run; this machine if there are none.
    pub hosts: Vec<String>,
    /// The version of rsync here, or the oldest one of the hosts.
    pub rsync_version: String,
    /// The run directory.
    pub run_directory: PathBuf,
    /// The run goes on with an earlier part.
    pub resumes: bool,
    /// Nothing is copied.
    pub dry_run: bool,
}

/// What a run consists of. Each has its own scan and its own launches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// The copy.
    #[default]
    Copy,
    /// rsync is asked what it would still do.
    Verify,
}

/// How a part of a run is done; told when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// The part.
    pub part: Part,
    /// Why one rsync does it all, if it does.
    pub one_rsync: Option<String>,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The source host of each slot; none if all are on this machine.
    pub slots: Vec<String>,
}

/// What a part of a run does. One step begins when the one before it has ended; those with nothing to do are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// Reads the sources, creates split directories, and copies.
    #[default]
    Copy,
    /// Copies what has to be copied while nothing else runs.
    Repair,
    /// Deletes in what was copied.
    Clean,
    /// Deletes in split directories.
    Delete,
    /// Sets the attributes of split directories.
    Attributes,
    /// Removes from the source what was copied.
    Remove,
    /// Nothing: it is over.
    Done,
}

/// What was changed while the run goes on, as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adjusted {
    /// The most rsyncs at once.
    pub processes: usize,
    /// The bandwidth of all rsyncs together that start from now on, in KiB a second; `None` is no limit.
    pub bandwidth: Option<NonZero<u64>>,
    /// Nothing is started, and what runs is stopped.
    pub paused: bool,
    /// The run ends when what runs has come to its end.
    pub winds_down: bool,
}

/// Sums of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Totals {
    /// Found by the scan.
    pub found: Weight,
    /// Dealt with: all that was found, unless the job ended early.
    pub done: Weight,
    /// Entries that the scan could not read.
    pub unread: u64,
    /// Buckets that were packed.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended before its time.
    pub buckets_left: u64,
    /// Directories that were split between launches.
    pub split_directories: u64,
    /// rsyncs that were started.
    pub launches: u64,
    /// How many of them ended in a way that their work had to be done once more.
    pub retried: u64,
    /// Files whose content rsyncs transferred; 0 where a single rsync was not asked for figures.
    pub transferred_files: u64,
    /// The length of these files in bytes.
    pub transferred_bytes: u64,
    /// What was made before the rsyncs looked at it. It is not among what they transferred.
    pub made: Made,
    /// rsync's own figures, added up; `None` where a single rsync was not asked for them.
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
    /// It was ended before its time.
    pub interrupted: bool,
    /// What ended it as a whole, or kept it from beginning.
    pub failure: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// How many differences were found, if rsync was asked.
    pub differences: Option<u64>,
    /// The run directory that is left, if one is.
    pub run_directory: Option<PathBuf>,
    /// What there is to do next: lines for a person, the last of which says what to type.
    pub advice: Vec<String>,
}

impl Part {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Copy => "copy",
            Part::Verify => "verify",
        }
    }
}

impl Step {
    /// A word for it.
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
