//! The number of processes of a run that finds it by itself: measures what gets done, and lets [`Adapt`] judge. It is told the time.

use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::adapt::Adapt;
use crate::cost::CostModel;
use crate::scan::Weight;

/// How long all processes must have been busy before their rate counts.
const OBSERVED: Duration = Duration::from_secs(3);

pub(crate) struct Tuner {
    adapt: Adapt,
    /// Since when so many have been busy, and what was done by then.
    since: Option<(Instant, Weight)>,
}

impl Tuner {
    pub fn new(most: NonZero<usize>) -> Tuner {
        Tuner { adapt: Adapt::new(most.get()), since: None }
    }

    /// No more than so many are tried from now on.
    pub fn bound(&mut self, most: NonZero<usize>) {
        self.adapt.bound(most.get());
        self.since = None;
    }

    /// What happens now says nothing.
    pub fn rest(&mut self) {
        self.since = None;
    }

    pub fn processes(&self) -> NonZero<usize> {
        NonZero::new(self.adapt.processes()).unwrap_or(NonZero::<usize>::MIN)
    }

    /// Looks at the run: what runs, and what was done so far.
    pub fn look(&mut self, running: usize, done: Weight, cost: &CostModel, now: Instant) {
        // Fewer may run where nothing waits; more, until those that were too many have ended.
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
