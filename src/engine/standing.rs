//! Where a run stands: what was dealt with, how fast it goes now, and how long what is left will take. Only what rsyncs have said or written
//! counts, so that a line of progress never says more than the destination holds.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cost::CostModel;
use crate::report::{Event, Phase, Progress};
use crate::scan::Weight;

use super::{Job, Run, Running, Stage, TICK};

/// What happened longer ago says nothing of now.
const WINDOW: Duration = Duration::from_secs(10);
/// A shorter time says nothing yet.
const SHORTEST: Duration = Duration::from_secs(1);
/// Who looks so rarely was stopped, or held up by its own output: that time is no part of any rate.
const ABSENT: Duration = Duration::from_secs(3);
/// How often a run is looked at that nobody watches: somebody may ask.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How often it is written down, for who asks from outside.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// What a run has done in the last seconds.
#[derive(Debug, Default)]
pub(super) struct Tempo {
    samples: VecDeque<Sample>,
    /// The most that was ever done: what a launch loses that breaks off is not counted twice, and no figure goes back.
    most: Weight,
    moved: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    done: Weight,
    /// Bytes that rsyncs have transferred.
    moved: u64,
}

impl Tempo {
    fn look(&mut self, at: Instant, done: Weight, moved: u64) {
        self.most = Weight { entries: self.most.entries.max(done.entries), bytes: self.most.bytes.max(done.bytes) };
        self.moved = self.moved.max(moved);
        if self.samples.back().is_some_and(|last| at.duration_since(last.at) > ABSENT) {
            self.samples.clear();
        }
        self.samples.push_back(Sample { at, done: self.most, moved: self.moved });
        while self.samples.get(1).is_some_and(|second| at.duration_since(second.at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The first sample of the window, the last one, and the seconds between them.
    fn window(&self) -> Option<(Sample, Sample, f64)> {
        let (first, last) = (*self.samples.front()?, *self.samples.back()?);
        let took = last.at.duration_since(first.at);
        (took >= SHORTEST).then_some((first, last, took.as_secs_f64()))
    }

    /// Bytes per second that rsyncs transfer now; `None` if that is not known yet.
    fn rate(&self) -> Option<u64> {
        self.window().map(|(first, last, seconds)| ((last.moved - first.moved) as f64 / seconds) as u64)
    }

    /// The time in which the rest will be done if all goes on as it does now; `None` where nothing of it goes on. What entries and bytes cost
    /// is known from launches that have ended.
    fn left(&self, found: Weight, cost: &CostModel) -> Option<Duration> {
        let (first, last, seconds) = self.window()?;
        let rest = |all: Weight, part: Weight| Weight {
            entries: all.entries.saturating_sub(part.entries),
            bytes: all.bytes.saturating_sub(part.bytes),
        };
        let (gained, left) = (rest(last.done, first.done), rest(found, last.done));
        let by_work = (cost.work(gained) > 0.0).then(|| cost.work(left) * seconds / cost.work(gained))?;
        // What bytes cost is not known where something else than this machine limits them.
        let by_bytes = if gained.bytes > 0 { left.bytes as f64 * seconds / gained.bytes as f64 } else { 0.0 };
        let left = Duration::try_from_secs_f64(by_work.max(by_bytes)).ok()?;
        // What runs takes a moment more.
        Some(left.max(Duration::from_secs(1)))
    }
}

impl Run<'_, '_> {
    /// What was dealt with, also by launches that have not ended.
    pub(super) fn done_so_far(&self) -> Weight {
        let found = self.control.watch.found();
        // One rsync for everything was started before all was found.
        let weight = |running: &Running| if let Job::Plain = running.job { found } else { running.weight };
        self.done + self.running.values().map(|running| running.meter.done(weight(running))).sum::<Weight>()
    }

    /// Looks at the run, and tells where it stands to whom wants to know.
    pub(super) fn look_at_the_progress(&mut self) {
        let every = if self.config.progress { TICK } else { UNWATCHED };
        let is_asked = self.control.asked.swap(false, Ordering::SeqCst);
        if self.looked.elapsed() < every && !is_asked {
            return;
        }
        self.looked = Instant::now();
        let moved = self.moved + self.running.values().map(|running| running.meter.moved()).sum::<u64>();
        self.tempo.look(self.looked, self.done_so_far(), moved);
        self.answered |= self.running.values().any(|running| running.meter.is_answered());
        let progress = self.progress(self.phase());
        if is_asked {
            (self.tell)(Event::Asked(progress));
        }
        if self.noted.elapsed() >= NOTE_EVERY
            && let Some(ledger) = &self.ledger
        {
            self.noted = Instant::now();
            ledger.note_progress(&progress);
        }
        // A question stands where the line would be.
        let asks = self.asks && progress.phase == Phase::Connecting;
        if self.config.progress && !self.verbatim && !asks {
            (self.tell)(Event::Progress(progress));
        }
    }

    /// The last word, after everything has ended.
    pub(super) fn tell_the_end(&mut self) {
        if self.config.progress && !self.verbatim {
            self.tempo.look(Instant::now(), self.done, self.moved);
            (self.tell)(Event::Progress(self.progress(Phase::Ended)));
        }
    }

    fn phase(&self) -> Phase {
        let starts = !self.running.is_empty() && !self.answered && !self.config.destination.is_local();
        match self.stage {
            Stage::Transfer | Stage::Repair if starts => Phase::Connecting,
            Stage::Transfer | Stage::Repair => Phase::Copying,
            Stage::Clean | Stage::Delete | Stage::Attributes | Stage::Remove => Phase::Finishing,
            Stage::Done => Phase::Ended,
        }
    }

    fn progress(&self, phase: Phase) -> Progress {
        let found = self.control.watch.found();
        let most = self.tempo.most;
        // What grows while it is copied is more than was found.
        let done = Weight { entries: most.entries.min(found.entries), bytes: most.bytes.min(found.bytes) };
        Progress {
            found,
            done,
            phase,
            scanned: self.scanned,
            running: self.working(),
            waiting: self.queue.len(),
            elapsed: self.started.elapsed(),
            rate: self.tempo.rate(),
            left: self.tempo.left(found, &self.fit.model()).filter(|_| self.scanned && phase == Phase::Copying),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(entries: u64, bytes: u64) -> Weight {
        Weight { entries, bytes }
    }

    const COST: CostModel = CostModel { launch: 0.0, entry: 1.0, byte: 0.001 };

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut tempo, began) = (Tempo::default(), Instant::now());
        let second = |n: u64| began + Duration::from_secs(n);
        tempo.look(second(0), weight(0, 0), 0);
        assert_eq!((tempo.rate(), tempo.left(weight(10, 10), &COST)), (None, None));
        for n in 1..=20 {
            tempo.look(second(n), weight(n, 1000 * n), 1000 * n);
        }
        assert_eq!(tempo.rate(), Some(1000));
        assert_eq!(tempo.left(weight(100, 40_000), &COST), Some(Duration::from_secs(50)));
        // The link is dead now.
        for n in 21..=31 {
            tempo.look(second(n), weight(20, 20_000), 20_000);
        }
        assert_eq!((tempo.rate(), tempo.left(weight(100, 40_000), &COST)), (Some(0), None));
    }

    #[test]
    fn in_the_middle_of_a_large_file_bytes_tell_the_time_and_never_none() {
        let (mut tempo, began) = (Tempo::default(), Instant::now());
        for n in 0..5 {
            tempo.look(began + Duration::from_secs(n), weight(9, 1000 * n), 1000 * n);
        }
        assert_eq!(tempo.left(weight(10, 10_000), &COST), Some(Duration::from_secs(7)));
        assert_eq!(tempo.left(weight(9, 4000), &COST), Some(Duration::from_secs(1)), "something runs");
        // Many small files were done meanwhile.
        let cheap = CostModel { byte: 1e-9, ..COST };
        tempo.look(began + Duration::from_secs(4), weight(20_000, 4000), 4000);
        assert_eq!(tempo.left(weight(20_000, 10_000), &cheap), Some(Duration::from_secs(6)));
    }

    #[test]
    fn nothing_goes_back_and_time_in_which_nobody_looked_does_not_count() {
        let (mut tempo, began) = (Tempo::default(), Instant::now());
        let second = |n: u64| began + Duration::from_secs(n);
        tempo.look(second(0), weight(5, 500), 500);
        tempo.look(second(1), weight(2, 100), 100);
        assert_eq!((tempo.most, tempo.rate()), (weight(5, 500), Some(0)));
        tempo.look(second(60), weight(6, 600), 600);
        assert_eq!(tempo.rate(), None);
        tempo.look(second(62), weight(8, 800), 800);
        assert_eq!(tempo.rate(), Some(100));
    }
}
