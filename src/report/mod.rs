//! What a run tells while it goes on and when it has ended: plain values, which others print.

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

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Found by the scan.
    pub found: Weight,
    /// Dealt with by rsyncs, those still running included: never less than before, and never more than was found.
    pub done: Weight,
    /// What it does.
    pub phase: Phase,
    /// The scan has ended.
    pub scanned: bool,
    /// Somebody, a timetable or a throttle has paused it. Nobody knows then when it will have ended.
    #[serde(default)]
    pub paused: bool,
    /// rsyncs that run.
    pub running: usize,
    /// Buckets that wait.
    pub waiting: usize,
    /// Since the start.
    pub elapsed: Duration,
    /// Bytes that rsyncs transfer per second now, if that is known.
    pub rate: Option<u64>,
    /// Time in which everything will be copied if all goes on as now, if that is known. While the scan goes on, what it has still to find is part
    /// of it, as far as that can be told from what it has found.
    pub left: Option<Duration>,
    /// Between these [`Progress::left`] will be eight of ten times.
    pub range: Option<(Duration, Duration)>,
    /// How much of the work is done, from 0 to 1; never less than before.
    pub fraction: Option<f64>,
    /// What everything will weigh, if that is known.
    pub expected: Option<Weight>,
}

/// What a run does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// No rsync has reached the other machine yet.
    Connecting,
    /// Scans and copies.
    #[default]
    Copying,
    /// Deletes what is too much, and sets the attributes of directories.
    Finishing,
    /// It is over.
    Ended,
}

impl Progress {
    /// How much of the work is done; 100 only when the run is over. While the scan goes on it is an estimate, and rather too small.
    pub fn percent(&self) -> Option<u8> {
        // Of a list of names that one rsync reads nothing is known.
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
    /// The exit code, as one rsync would have given it.
    pub code: RunCode,
    /// The run was interrupted.
    pub interrupted: bool,
    /// It was asked to end when what ran had come to its end, and did so before its time.
    pub stopped: bool,
    /// It was ended because its time was (`--end-at`, the end of a job of Slurm).
    pub out_of_time: bool,
    /// Why one plain rsync did it, if it did.
    pub plain: Option<String>,
    /// Found by the scan.
    pub found: Weight,
    /// Dealt with: all that was found, unless the run ended early.
    pub done: Weight,
    /// Buckets that were written.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended before its time.
    pub buckets_left: u64,
    /// Something was neither done nor told to be left out: an error of ours.
    pub unaccounted: bool,
    /// Something was made at the destination, as far as known.
    pub begun: bool,
    /// It could not be written down how far the run came: it cannot be taken up again.
    pub unrecorded: bool,
    /// Sum over the buckets.
    pub packed: Weight,
    /// rsync processes that ran at once, in the end.
    pub processes: usize,
    /// rsync processes that were started.
    pub launches: u64,
    /// How many of them ended in a way that they had to be started once more.
    pub retried: u64,
    /// Spine directories: those that were split.
    pub spine: u64,
    /// Sums of what the rsyncs transferred.
    pub figures: Figures,
    /// What was made before the rsyncs looked at it.
    pub made: Made,
    /// Why nothing was to be.
    pub no_first_pass: Option<String>,
    /// There are such sums: one rsync that does it all is not always asked for them.
    pub has_figures: bool,
    /// Entries the scan could not read, by what it says of each; the first [`Summary::NAMED`] of them.
    pub scan_errors: Vec<String>,
    /// Number of entries the scan could not read.
    pub scan_error_count: u64,
    /// What rsyncs said on standard error.
    pub complaints: Complained,
    /// Directories that were not split although they outgrew a bucket: how many for each reason, and one of them.
    pub kept_whole: BTreeMap<KeptWhole, (u64, String)>,
    /// What each source host has done, if there were some.
    pub hosts: Vec<HostFigures>,
    /// What `--verify` found to differ.
    pub differences: Option<u64>,
    /// The bucket directory, if it was kept.
    pub bucket_dir: Option<PathBuf>,
    /// Time of the scan.
    pub scan_time: Duration,
    /// Sum over all rsyncs of the time each ran.
    pub rsync_time: Duration,
    /// Time of the run.
    pub total_time: Duration,
}

impl Summary {
    /// How many failures are remembered by name.
    pub const NAMED: usize = 1000;
}

/// What one source host has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFigures {
    /// The host.
    pub host: String,
    /// rsyncs at once.
    pub slots: usize,
    /// Buckets that were copied from it.
    pub buckets: u64,
    /// How many of them were still to be copied when the run was ended before its time.
    pub buckets_left: u64,
    /// Something was neither done nor told to be left out: an error of ours.
    pub unaccounted: bool,
    /// Sum over them.
    pub done: Weight,
    /// rsyncs that were started.
    pub launches: u64,
    /// Those that were lost with it or its connections, and done again.
    pub lost: u64,
    /// The exit code of the last of them.
    pub why: Option<u8>,
    /// Sum over its rsyncs of the time each ran.
    pub busy: Duration,
    /// Time in which it was not used after a loss.
    pub aside: Duration,
    /// It was set aside when the run ended.
    pub is_aside: bool,
}

/// What rsyncs said on standard error: how much, and its beginning.
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
    /// Of output that was handed on as it came.
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
    /// Tells as `tell` does, and takes note of complaints.
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
