//! Finds the best number of processes: measures the progress, and lets [`Adapt`] judge it. The time is an argument.

use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::adapt::Adapt;
use crate::cost::CostModel;
use crate::scan::Weight;

/// For so long all processes must have been busy before their rate counts.
const OBSERVED: Duration = Duration::from_secs(3);

pub(crate) struct Tuner {
    adapt: Adapt,
    /// Since when this many processes have been busy, and how much was done at that time.
    since: Option<(Instant, Weight)>,
}

impl Tuner {
    pub fn new(most: NonZero<usize>) -> Tuner {
        Tuner { adapt: Adapt::new(most.get()), since: None }
    }

    /// Limits the number of processes from now on.
    pub fn bound(&mut self, most: NonZero<usize>) {
        self.adapt.bound(most.get());
        self.since = None;
    }

    /// Discards the current measurement, because what happens now is not typical.
    pub fn rest(&mut self) {
        self.since = None;
    }

    pub fn processes(&self) -> NonZero<usize> {
        NonZero::new(self.adapt.processes()).unwrap_or(NonZero::<usize>::MIN)
    }

    /// Takes a measurement: the launches that run, and what is done so far.
    pub fn look(&mut self, running: usize, done: Weight, cost: &CostModel, now: Instant) {
        // Fewer launches may run if nothing waits, and more until the superfluous ones have ended.
        if running != self.adapt.processes() {
            self.since = None;
            return;
        }
        let (since, before) = *self.since.get_or_insert((now, done));
        let elapsed = now.duration_since(since);
        if elapsed < OBSERVED {
            return;
        }
        let gained = Weight {
            entries: done.entries.saturating_sub(before.entries),
            bytes: done.bytes.saturating_sub(before.bytes),
        };
        self.adapt.observe(cost.work(gained) / elapsed.as_secs_f64());
        self.since = None;
    }
}
