//! What a run reports while it is running and when it has ended: plain values, which other modules print.

pub mod advice;
pub mod closing;
mod event;
mod launch;
mod live;
pub mod progress;
mod run;
pub mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::Printable;
use crate::first_pass::Made;
use crate::rsync::exit::RunCode;
use crate::rsync::output::Figures;
use crate::scan::{KeptWhole, Weight};
use crate::supervise::{Lines, Stream};

pub use event::{Event, Failed, Note, Withheld};
pub use launch::{Launch, LaunchEnd, LaunchKind, LaunchResult};
pub use live::{Live, Running};
pub use run::{Adjusted, Part, Planned, RunEnd, Started, Step, Totals};

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Found by the scan.
    pub found: Weight,
    /// Processed by rsyncs, including running ones: never less than before, and never more than was found.
    pub done: Weight,
    /// What the run is doing.
    pub phase: Phase,
    /// Whether the scan has ended.
    pub scanned: bool,
    /// Whether a user, a timetable or a throttle has paused it. Its end cannot be estimated then.
    #[serde(default)]
    pub paused: bool,
    /// The number of running rsyncs.
    pub running: usize,
    /// The number of waiting buckets.
    pub waiting: usize,
    /// The time since the start.
    pub elapsed: Duration,
    /// The bytes per second that rsyncs transfer now, if that is known.
    pub rate: Option<u64>,
    /// The estimated time until everything is copied, if it is known. While the scan is running, this includes an estimate of what the scan still has to
    /// find.
    pub left: Option<Duration>,
    /// The range that contains the true value of [`Progress::left`] in eight of ten cases.
    pub range: Option<(Duration, Duration)>,
    /// The part of the work that is done, from 0 to 1; never less than before.
    pub fraction: Option<f64>,
    /// The estimated weight of everything, if it is known.
    pub expected: Option<Weight>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// No rsync has reached the other machine yet.
    Connecting,
    /// It scans and copies.
    #[default]
    Copying,
    /// It deletes extraneous entries, and sets the attributes of directories.
    Finishing,
    /// It is over.
    Ended,
}

impl Progress {
    /// The part of the work that is done; 100 only when the run is over. While the scan is running it is an estimate, and rather too low.
    pub fn percent(&self) -> Option<u8> {
        // Nothing is known if a single rsync reads a list of names.
        let is_known = self.found != Weight::default();
        let is_over = self.phase == Phase::Ended && self.scanned && self.done == self.found && is_known;
        match self.fraction {
            _ if is_over => Some(100),
            Some(fraction) => Some(((fraction * 100.0) as u8).min(99)),
            None => None,
        }
    }
}

/// A run that has ended.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The exit code, as one rsync would have returned it.
    pub code: RunCode,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether it was asked to end when the running rsyncs had finished, and therefore ended early.
    pub stopped: bool,
    /// Whether it was ended because its time was over (`--end-at`, or the end of a Slurm job).
    pub out_of_time: bool,
    /// Why a single rsync did it, if it did.
    pub plain: Option<String>,
    /// Found by the scan.
    pub found: Weight,
    /// Processed: everything that was found, unless the run ended early.
    pub done: Weight,
    /// Buckets that were written.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended early.
    pub buckets_left: u64,
    /// Whether there is work that was neither done nor reported as left out: a bug in multi-sync.
    pub unaccounted: bool,
    /// Whether nothing is left to do although the code is 23: what was copied again ([`Failed::MovedBefore`], [`Failed::ReadBefore`]) cannot be repaired.
    pub only_spoilt: bool,
    /// Whether something was written at the destination, as far as known.
    pub begun: bool,
    /// Whether the progress of the run could not be recorded, so that it cannot be resumed.
    pub unrecorded: bool,
    /// The total weight of the buckets.
    pub packed: Weight,
    /// The number of rsync processes at once, at the end.
    pub processes: usize,
    /// rsync processes that were started.
    pub launches: u64,
    /// How many of them ended in a way that they had to be repeated.
    pub retried: u64,
    /// Spine directories: those that were split.
    pub spine: u64,
    /// The sum of the rsyncs' statistics.
    pub figures: Figures,
    /// What first passes created before the rsyncs looked.
    pub made: Made,
    /// Why there was no first pass.
    pub no_first_pass: Option<String>,
    /// Whether there are such sums: a single rsync is not always asked for statistics.
    pub has_figures: bool,
    /// Entries that the scan could not read, as lines of text; the first [`Summary::NAMED`] of them.
    pub scan_errors: Vec<String>,
    /// The number of entries that the scan could not read.
    pub scan_error_count: u64,
    /// The lines of rsyncs on standard error.
    pub complaints: Complained,
    /// Directories that were not split although they are larger than a bucket: for each reason, how many, and one of them.
    pub kept_whole: BTreeMap<KeptWhole, (u64, String)>,
    /// What each source host has done, if there were any.
    pub hosts: Vec<HostFigures>,
    /// The number of differences that `--verify` has found.
    pub differences: Option<u64>,
    /// The bucket directory, if it was kept.
    pub bucket_dir: Option<PathBuf>,
    /// Time of the scan.
    pub scan_time: Duration,
    /// The sum of the times that all rsyncs ran.
    pub rsync_time: Duration,
    /// Time of the run.
    pub total_time: Duration,
}

impl Summary {
    /// How many failures are stored by name.
    pub const NAMED: usize = 1000;
}

/// What one source host has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFigures {
    /// The host.
    pub host: String,
    /// The number of rsyncs at once.
    pub slots: usize,
    /// Buckets that were copied from it.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended early.
    pub buckets_left: u64,
    /// Whether there is work that was neither done nor reported as left out: a bug in multi-sync.
    pub unaccounted: bool,
    /// The total weight of its buckets.
    pub done: Weight,
    /// rsyncs that were started.
    pub launches: u64,
    /// Those that were lost with it or its connections, and repeated.
    pub lost: u64,
    /// The exit code of the last lost one.
    pub why: Option<u8>,
    /// The sum of the times that its rsyncs ran.
    pub busy: Duration,
    /// The time in which it was not used after a loss.
    pub aside: Duration,
    /// Whether it was set aside when the run ended.
    pub is_aside: bool,
}

/// The lines of rsyncs on standard error: their number, and the first ones.
#[derive(Debug, Clone, Default)]
pub struct Complained {
    /// Number of lines.
    pub count: u64,
    /// The first [`Summary::NAMED`] of them, printable.
    pub lines: Vec<String>,
}

/// Collects complaints from the events of a run.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    all: Complained,
    /// Splits output that is passed on as it comes into lines.
    lines: Lines,
}

impl Default for Heard {
    fn default() -> Heard {
        Heard { all: Complained::default(), lines: Lines::new(Stream::Stderr) }
    }
}

impl Complained {
    fn add(&mut self, line: &[u8]) {
        self.count += 1;
        if self.lines.len() < Summary::NAMED {
            self.lines.push(Printable::bytes(line).to_string());
        }
    }
}

impl Complaints {
    /// Passes each event to `tell`, and collects complaints.
    pub fn noted(&self, tell: &(dyn Fn(Event<'_>) + Sync)) -> impl Fn(Event<'_>) + Sync {
        |event: Event<'_>| {
            match event {
                Event::Complained(line) => self.lock().all.add(line),
                Event::Output(Stream::Stderr, bytes) => {
                    let Heard { all, lines } = &mut *self.lock();
                    lines.feed(bytes, &mut |_, line| all.add(line));
                }
                _ => {}
            }
            tell(event);
        }
    }

    pub fn take(&self) -> Complained {
        std::mem::take(&mut self.lock().all)
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
