//! How fast a run goes now, and how long what is left will take. Only what rsyncs have said or written counts, so that a line of progress never
//! says more than the destination holds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cost::CostModel;
use crate::scan::Weight;

/// What happened longer ago says nothing of now.
const WINDOW: Duration = Duration::from_secs(10);
/// A shorter time says nothing yet.
const SHORTEST: Duration = Duration::from_secs(1);
/// Who looks so rarely was stopped, or held up by its own output: that time is no part of any rate.
const ABSENT: Duration = Duration::from_secs(3);
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
    pub fn look(&mut self, at: Instant, done: Weight, moved: u64) {
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

    /// The most that was done up to now.
    pub fn most(&self) -> Weight {
        self.most
    }

    /// The first sample of the window, the last one, and the seconds between them.
    fn window(&self) -> Option<(Sample, Sample, f64)> {
        let (first, last) = (*self.samples.front()?, *self.samples.back()?);
        let took = last.at.duration_since(first.at);
        (took >= SHORTEST).then_some((first, last, took.as_secs_f64()))
    }

    /// Bytes per second that rsyncs transfer now; `None` if that is not known yet.
    pub fn rate(&self) -> Option<u64> {
        self.window().map(|(first, last, seconds)| ((last.moved - first.moved) as f64 / seconds) as u64)
    }

    /// The time in which the rest will be done if all goes on as it does now; `None` where nothing of it goes on. What entries and bytes cost
    /// is known from launches that have ended.
    pub fn left(&self, found: Weight, cost: &CostModel) -> Option<Duration> {
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
