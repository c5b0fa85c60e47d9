//! One launch: a thread that owns one rsync, follows what it prints, and reports its end whatever happens.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::report::Event;
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::output::{Line, Transcript};
use crate::scan::Weight;
use crate::supervise::{Ended, Stream, Supervisor};

/// Lines remembered so that a second pass over the same directories does not repeat them.
const LINES_REMEMBERED: usize = 10_000;

/// How a launch ended and what it said, summed up.
pub(super) struct End {
    pub ended: Result<Ended>,
    pub transcript: Transcript,
    pub ran: Duration,
}

/// How far a running rsync says it is.
#[derive(Default)]
pub(super) struct Meter {
    checked: AtomicU64,
    listed: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// The part of `weight` that is dealt with. Of files that are up to date rsync counts the entry, not the bytes.
    pub fn done(&self, weight: Weight) -> Weight {
        let checked = self.checked.load(Ordering::Relaxed);
        let listed = self.listed.load(Ordering::Relaxed).max(weight.entries).max(1);
        let by_entries = (weight.bytes as f64 * (checked as f64 / listed as f64)) as u64;
        Weight {
            entries: checked.min(weight.entries),
            bytes: self.bytes.load(Ordering::Relaxed).max(by_entries).min(weight.bytes),
        }
    }
}

/// Complaints about spine directories: made when they are created, not to be repeated when their attributes are set.
#[derive(Default)]
pub(super) struct Said(Mutex<HashSet<Vec<u8>>>);

/// What of its output a launch tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    All,
    /// All, and complaints are remembered.
    AllAndRemember,
    /// Complaints that are not remembered.
    New,
    /// Complaints, and on standard output only what is about deletion: everything else was printed before.
    Deletions,
}

impl Said {
    fn is_news(&self, line: &[u8], tells: Tells) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match tells {
            Tells::All => true,
            Tells::AllAndRemember => {
                if lines.len() < LINES_REMEMBERED {
                    lines.insert(line.to_vec());
                }
                true
            }
            Tells::New | Tells::Deletions => !lines.contains(line),
        }
    }
}

/// Lines of `-i` and `-v` about what is deleted, and the one about what could not be.
fn is_about_deletion(line: &[u8]) -> bool {
    [&b"*deleting "[..], b"deleting ", b"cannot delete non-empty directory: "]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// Runs to the end. Never panics.
pub(super) fn run(
    invocation: &Invocation,
    supervisor: &Supervisor,
    meter: &Arc<Meter>,
    said: &Said,
    tells: Tells,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> End {
    let began = Instant::now();
    let mut transcript = Transcript::default();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        supervisor.run(invocation, &mut |stream, line| match stream {
            Stream::Stdout => match transcript.stdout(line) {
                Line::Progress(progress) => {
                    meter.checked.store(progress.checked, Ordering::Relaxed);
                    meter.listed.store(progress.listed, Ordering::Relaxed);
                    meter.bytes.store(progress.bytes, Ordering::Relaxed);
                }
                Line::Statistics => {}
                Line::Other if tells == Tells::Deletions && !is_about_deletion(line) => {}
                Line::Other => tell(Event::Said(line)),
            },
            Stream::Stderr => {
                if transcript.stderr(line) && said.is_news(line, tells) {
                    tell(Event::Complained(line));
                }
            }
        })
    }))
    .unwrap_or_else(|_| Err(Error::usage("the thread that ran an rsync panicked").exit(exit::TERMINATED)));
    End { ended, transcript, ran: began.elapsed() }
}
