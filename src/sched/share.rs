//! The share of `--bwlimit` that a launch gets, and whether one is free.

use std::num::NonZero;

use super::bandwidth::Bandwidth;
use super::{LaunchId, Scheduler, Work};
use crate::bucket::Bucket;
use crate::scan::Weight;

impl Scheduler {
    /// Whether there is enough bandwidth for a launch of these buckets, which were taken from the queue.
    pub(super) fn has_bandwidth_for(&mut self, taken: &[Bucket]) -> bool {
        let (waiting, settled) = (self.queue.weight(), self.is_settled());
        let weight = taken.iter().map(|bucket| bucket.weight).sum();
        let Some(bandwidth) = &mut self.bandwidth else { return true };
        bandwidth.share(weight, waiting, settled, self.now).is_some()
    }

    /// Whether there is enough bandwidth for any launch.
    pub(super) fn has_bandwidth(&mut self) -> bool {
        let Some(bandwidth) = &mut self.bandwidth else { return true };
        bandwidth.has_room(self.now)
    }

    /// Whether nothing more will be added to the waiting work.
    pub(super) fn is_settled(&self) -> bool {
        self.scanned && !self.spine.creating
    }

    /// The share of a launch; 0 means no limit. One rsync for everything has its limit in its own options, unless the limit was changed since.
    pub(super) fn limit(&mut self, launch: LaunchId, work: &Work, weight: Weight) -> Option<u64> {
        if work.is_everything() {
            let limit = self.bandwidth.as_ref().map_or(0, Bandwidth::total);
            return self.steering.limits_anew.then_some(limit);
        }
        let (waiting, settled, alone) = (self.queue.weight(), self.is_settled(), self.slots.is_empty());
        let bandwidth = self.bandwidth.as_mut()?;
        let share = match work {
            Work::Copy(_) => bandwidth.share(weight, waiting, settled, self.now),
            _ => bandwidth.even(alone, self.now),
        };
        let share = share.unwrap_or(NonZero::<u64>::MIN);
        bandwidth.starts(launch, share, weight, self.now);
        Some(share.get())
    }
}
