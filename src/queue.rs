//! The queue: which buckets wait, in what order they leave, and how many go into one launch.
//!
//! Starting an rsync has a price (a process, over ssh a handshake). Therefore one launch takes several buckets while much is left, and fewer as the queue
//! drains, so that all slots finish together (guided self-scheduling, Polychronopoulos and Kuck 1987). Buckets with the largest expected time leave first;
//! otherwise neighbours stay together. If the destination seems to hold everything already, entries are shared evenly. Pure: no clock, no process.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZero;

use crate::bucket::Bucket;
use crate::cost::CostModel;
use crate::scan::Weight;

/// How many buckets one launch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coalesce {
    /// As many as make the launch worth its price.
    ByCost,
    /// One, because the user chose the size of a bucket.
    Never,
}

/// The least work of a launch, as a multiple of the price of a launch, as long as that price is only a guess. It is high because the destination may be up to
/// date, and then the work takes less time than expected. An even share for each slot is enough in any case.
const WORTH_LAUNCHES: f64 = 12.0;
/// The same, when the price has been measured.
const WORTH_KNOWN: f64 = 6.0;
/// A launch takes an even share of the remaining work, divided by this. By simulation (`benches/queue.rs`): with 2 the price of the launches is too high, with
/// 1 the slots do not finish together.
const CAUTION: f64 = 1.25;
/// Less work than this many times the price of a launch is not divided at all, because the split directories need launches too.
const WORTH_TWO: f64 = 6.0;
/// The waiting buckets are sorted again only if the cost of a byte, relative to that of an entry, has changed by this factor.
const REORDERS: f64 = 4.0;
/// Sorting takes time in proportion to the number of waiting buckets. If more than `ORDERED_AT_ONCE` wait, they are sorted at most once in as many launches as
/// would take them at `BUCKETS_A_LAUNCH` each: many short launches on many hosts change the expectation more often than that (10^6 buckets: 75 % of the
/// coordinator's time).
const ORDERED_AT_ONCE: usize = 1 << 15;
const BUCKETS_A_LAUNCH: usize = 2048;
/// Seconds for an entry that rsync only compares: rsync 3.5 on tmpfs with nothing to do.
const LOOKED_AT: f64 = 6e-6;
/// If the destination seems to hold much already, entries are shared evenly, whatever their size. This is not done if copying everything after all could take
/// longer than this many seconds.
const LONG: f64 = 10.0;
/// While the scan is running, launches wait until there are this many seconds of work for each slot.
const FIRST_SECONDS: f64 = 1.0;
/// Slots whose speeds differ by less than this factor count as equally fast.
const ALIKE: f64 = 1.5;
/// A slot that needs this many times longer than usual gets no bucket with which it would still be busy when the others have finished everything else...
const MUCH_SLOWER: f64 = 2.0;
/// ... even if the bucket takes this many times longer than expected.
const MISJUDGED: f64 = 1.5;
/// A host of unknown speed gets a trial launch only if at least this many buckets wait for each slot.
const WORTH_A_TRY: usize = 16;

/// The speed of the slot that asks for work, compared with the others, and how much it may get at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How many times longer than expected work takes in this slot.
    pub slower: f64,
    /// The same for all slots together.
    pub usual: f64,
    /// The most seconds that a launch may take in this slot, unless a single bucket takes longer.
    pub longest: f64,
    /// The speed of the slot is unknown: its first launch is small.
    pub is_new: bool,
}

impl Default for Pace {
    /// All slots are equally fast.
    fn default() -> Self {
        Pace { slower: 1.0, usual: 1.0, longest: f64::INFINITY, is_new: false }
    }
}

impl Pace {
    /// How many times longer work takes in this slot than elsewhere; 1 if the difference may be chance.
    fn ratio(self) -> f64 {
        let ratio = self.slower / self.usual;
        if (1.0 / ALIKE..=ALIKE).contains(&ratio) { 1.0 } else { ratio }
    }

    /// Whether this slot is so slow that it may be better to wait for another one.
    pub fn is_slow(self) -> bool {
        self.slower > MUCH_SLOWER * self.usual
    }
}

/// Buckets that wait for a launch.
#[derive(Debug)]
pub struct Queue {
    cost: CostModel,
    coalesce: Coalesce,
    /// The cost model was measured by launches of this run.
    knows: bool,
    /// Much is expected to be at the destination already.
    little: bool,
    /// The seconds that opening a slot takes, for example to connect. A slot is not opened for less work than that.
    opening: f64,
    /// The cost model by which the waiting buckets are sorted.
    ordered_by: CostModel,
    /// Launches since the buckets were last sorted.
    launches: usize,
    /// Buckets leave in the order of the scan, because large ones are not expected to take longer.
    as_scanned: bool,
    waiting: BTreeMap<(Reverse<i32>, u64), Bucket>,
    weight: Weight,
    /// The most that has ever waited.
    most: Weight,
    spine_needed: u32,
}

impl Queue {
    /// An empty queue.
    pub fn new(cost: CostModel, coalesce: Coalesce) -> Self {
        let (weight, most) = Default::default();
        Queue {
            cost,
            coalesce,
            knows: false,
            little: false,
            opening: 0.0,
            ordered_by: cost,
            launches: 0,
            as_scanned: false,
            waiting: BTreeMap::new(),
            weight,
            most,
            spine_needed: 0,
        }
    }

    /// Sets how many seconds it takes to open a slot before its first launch, for example to connect. No more slots are used than have that much work each.
    #[must_use]
    pub fn opening(mut self, seconds: f64) -> Self {
        self.opening = seconds;
        self
    }

    /// Sets whether the destination seems to hold much already. Then rsync is expected only to compare entries, until the first launch has ended.
    pub fn expect_little(&mut self, little: bool) {
        self.little = little;
    }

    fn looks_only(&self) -> bool {
        self.little && !self.knows && self.coalesce == Coalesce::ByCost && self.cost.work(self.most) <= LONG
    }

    /// The expected seconds for this work, without the price of the launch.
    fn work(&self, weight: Weight) -> f64 {
        if self.looks_only() { weight.entries as f64 * LOOKED_AT } else { self.cost.work(weight) }
    }

    /// Uses a cost model measured by launches that have ended. Launches may be smaller from now on, so that all slots finish together.
    pub fn learned(&mut self, cost: CostModel) {
        self.knows = true;
        self.goes_by(cost);
    }

    /// Uses another cost model from now on. The waiting buckets are sorted again only if the cost of a byte, relative to that of an entry, has changed much.
    pub fn goes_by(&mut self, cost: CostModel) {
        self.cost = cost;
        let change = (cost.byte / cost.entry) / (self.ordered_by.byte / self.ordered_by.entry);
        if !(1.0 / REORDERS..=REORDERS).contains(&change) && self.may_order() {
            self.ordered_by = cost;
            self.order();
        }
    }

    fn may_order(&self) -> bool {
        let waiting = self.waiting.len();
        waiting <= ORDERED_AT_ONCE || self.launches >= waiting / BUCKETS_A_LAUNCH
    }

    fn order(&mut self) {
        self.launches = 0;
        let all = std::mem::take(&mut self.waiting);
        self.waiting = all.into_values().map(|bucket| (self.key(&bucket), bucket)).collect();
    }

    /// Costs are sorted in classes, by powers of two: buckets of similar cost keep the order of the scan, so that neighbours meet in one launch.
    fn key(&self, bucket: &Bucket) -> (Reverse<i32>, u64) {
        let class = self.ordered_by.work(bucket.weight).max(f64::MIN_POSITIVE).log2().floor() as i32;
        (Reverse(if self.as_scanned { 0 } else { class }), bucket.id)
    }

    /// Adds a bucket, or puts one back that is to be launched again.
    pub fn push(&mut self, bucket: Bucket) {
        self.weight += bucket.weight;
        self.spine_needed = self.spine_needed.max(bucket.spine_before);
        if self.cost.work(self.weight) > self.cost.work(self.most) {
            self.most = self.weight;
        }
        self.waiting.insert(self.key(&bucket), bucket);
    }

    /// Removes all waiting buckets.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.weight = Weight::default();
    }

    /// Takes all waiting buckets, in the order in which they would leave.
    pub fn take_all(&mut self) -> Vec<Bucket> {
        self.weight = Weight::default();
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// The number of waiting buckets.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no bucket waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The weight of all waiting buckets together.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Whether a launch should start now, while the scan still adds buckets.
    pub fn worth_starting(&self, slots: NonZero<usize>) -> bool {
        match self.coalesce {
            Coalesce::Never => !self.is_empty(),
            Coalesce::ByCost => self.work(self.weight) / slots.get() as f64 >= FIRST_SECONDS,
        }
    }

    /// Whether the work found so far is certain to be worth more than one launch.
    pub fn is_worth_two(&self) -> bool {
        self.coalesce == Coalesce::Never || self.cost.work(self.most) >= WORTH_TWO * self.cost.launch
    }

    /// Whether one bucket holds nearly all bytes, and the others together are not worth launches of their own. Then several rsyncs cannot share the work.
    pub fn is_nearly_one(&self) -> bool {
        let largest =
            self.waiting.values().map(|bucket| bucket.weight).max_by_key(|weight| weight.bytes).unwrap_or_default();
        let entries = self.weight.entries.saturating_sub(largest.entries);
        let others = Weight { entries, bytes: self.weight.bytes.saturating_sub(largest.bytes) };
        let nearly = others.bytes <= self.weight.bytes / 10;
        self.coalesce == Coalesce::ByCost && nearly && self.cost.work(others) < WORTH_TWO * self.cost.launch
    }

    /// The largest number of split directories that any bucket of this queue needs.
    pub fn spine_needed(&self) -> u32 {
        self.spine_needed
    }

    /// Takes the buckets of one launch: only buckets whose split directories exist (the first `created` of them), at most `room` bytes of arguments, all of one
    /// kind, and a share of the work that keeps `slots` busy to the end. `more` means that the scan still adds buckets. The result is empty only if no bucket
    /// is ready.
    ///
    /// ```
    /// use std::num::NonZero;
    /// use multi_sync::harness::{bucket, cost::CostModel, queue::{Coalesce, Queue}};
    /// use multi_sync::scan::Weight;
    ///
    /// let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
    /// for id in 0..64 {
    ///     let weight = Weight { entries: 1000, bytes: 1 << 30 };
    ///     queue.push(bucket(id, weight, 0));
    /// }
    /// let slots = NonZero::new(4).unwrap();
    /// let first = queue.take(slots, 1 << 20, 0, false).len();
    /// let mut last = first;
    /// while !queue.is_empty() { last = queue.take(slots, 1 << 20, 0, false).len(); }
    /// assert_eq!((first, last), (13, 1));
    /// ```
    pub fn take(&mut self, slots: NonZero<usize>, room: usize, created: u32, more: bool) -> Vec<Bucket> {
        self.take_at(Pace::default(), slots, room, created, more)
    }

    /// The same as [`Queue::take`], for a slot of known speed. The result is also empty if every ready bucket would take too long in this slot.
    pub fn take_at(&mut self, pace: Pace, slots: NonZero<usize>, room: usize, created: u32, more: bool) -> Vec<Bucket> {
        self.launches += 1;
        if self.as_scanned != self.looks_only() && self.may_order() {
            self.as_scanned = !self.as_scanned;
            self.order();
        }
        let tries = pace.is_new && self.len() >= WORTH_A_TRY * slots.get();
        let share = if tries { 0.0 } else { (self.share(slots, more) / pace.ratio()).min(pace.longest / pace.slower) };
        // The time until all work is done, if each slot takes a share that suits its speed.
        let rest = self.work(self.weight) * pace.usual / slots.get() as f64;
        let takes_too_long = |work: f64| pace.is_slow() && work * pace.slower * MISJUDGED > rest;
        let (mut taken, mut work, mut arguments, mut kind) = (Vec::new(), 0.0, 0, None);
        let mut all = self.waiting.iter();
        // A trial launch starts with the smallest bucket.
        while let Some((key, bucket)) = if tries { all.next_back() } else { all.next() } {
            let own_kind = (bucket.exposed, bucket.singles);
            if bucket.spine_before > created || *kind.get_or_insert(own_kind) != own_kind {
                continue;
            }
            let next = self.work(bucket.weight);
            if takes_too_long(next) {
                continue;
            }
            // A bucket that exceeds the share by less than half its work still comes closer to the share than leaving it out.
            let full = work + next / 2.0 > share || arguments + bucket.argument_bytes > room;
            if !taken.is_empty() && full {
                break;
            }
            taken.push(*key);
            work += next;
            arguments += bucket.argument_bytes;
            if self.coalesce == Coalesce::Never {
                break;
            }
        }
        let buckets: Vec<Bucket> = taken.iter().filter_map(|key| self.waiting.remove(key)).collect();
        for bucket in &buckets {
            self.weight.entries -= bucket.weight.entries;
            self.weight.bytes -= bucket.weight.bytes;
        }
        buckets
    }

    fn share(&self, slots: NonZero<usize>, more: bool) -> f64 {
        let (left, most) = (self.work(self.weight), self.work(self.most));
        // Whether the work is divided, and how many slots are opened, depends on the cost of copying everything, even if little is expected to be done.
        let all = self.cost.work(self.most);
        let worth_opening = if self.opening > 0.0 { (all / self.opening).floor().max(1.0) } else { f64::INFINITY };
        let slots = (slots.get() as f64).min(worth_opening);
        if slots == 1.0 || all < WORTH_TWO * self.cost.launch {
            return left;
        }
        if more {
            return left / slots;
        }
        // Guided self-scheduling: a part of an even share of what is left. The lower bound is an even share of the most that ever waited, cut into as many
        // launches as are worth their price; on a small tree that is one for each slot.
        let even = most / slots;
        let worth = if self.knows { WORTH_KNOWN } else { WORTH_LAUNCHES };
        let launches = (even / (worth * self.cost.launch)).round().max(1.0);
        let share = (left / (CAUTION * slots)).max(even / launches);
        // A small rest is included.
        if left < share * 1.25 { left } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Content;
    use proptest::prelude::*;

    fn bucket(id: u64, entries: u64, bytes: u64, spine_before: u32) -> Bucket {
        Bucket {
            id,
            weight: Weight { entries, bytes },
            units: 1,
            argument_bytes: 100,
            spine_before,
            exposed: false,
            singles: false,
            content: Content::default(),
        }
    }

    fn slots(n: usize) -> NonZero<usize> {
        NonZero::new(n).unwrap()
    }

    #[test]
    fn an_explicit_limit_means_one_bucket_a_launch() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::Never);
        (0..5).for_each(|id| queue.push(bucket(id, 10, 10, 0)));
        assert_eq!(queue.take(slots(1), 1 << 20, 0, false).len(), 1);
        assert_eq!(queue.len(), 4);
    }

    #[test]
    fn one_slot_takes_everything_and_the_largest_leaves_first() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
        queue.push(bucket(0, 10, 10, 0));
        queue.push(bucket(1, 10, 1 << 40, 0));
        let ids: Vec<u64> = queue.take(slots(1), 1 << 20, 0, false).iter().map(|b| b.id).collect();
        assert_eq!(ids, [1, 0]);
    }

    #[test]
    fn a_large_bucket_beside_little_is_nearly_one() {
        for (entries, bytes, nearly) in [(3000, 1 << 20, true), (3000, 1 << 26, false), (300_000, 1 << 20, false)] {
            let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
            queue.push(bucket(0, entries, bytes, 0));
            queue.push(bucket(1, 1, 200 << 20, 0));
            assert_eq!(queue.is_nearly_one(), nearly, "{entries} entries, {bytes} bytes");
        }
        let mut queue = Queue::new(CostModel::default(), Coalesce::Never);
        queue.push(bucket(0, 1, 200 << 20, 0));
        assert!(!queue.is_nearly_one(), "who chose the size of a bucket has several");
    }

    #[test]
    fn a_bucket_waits_for_its_spine() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
        queue.push(bucket(0, 10, 10, 3));
        queue.push(bucket(1, 10, 10, 2));
        assert_eq!(queue.spine_needed(), 3);
        let ids: Vec<u64> = queue.take(slots(1), 1 << 20, 2, true).iter().map(|b| b.id).collect();
        assert_eq!(ids, [1]);
        assert!(queue.take(slots(1), 1 << 20, 2, true).is_empty());
    }

    #[test]
    fn a_slot_is_not_opened_for_less_than_that_takes() {
        let cost = CostModel { launch: 0.06, entry: 20e-6, byte: 0.0 };
        for (opening, launches) in [(0.0, 4), (0.15, 2), (0.25, 1)] {
            let mut queue = Queue::new(cost, Coalesce::ByCost).opening(opening);
            (0..20).for_each(|id| queue.push(bucket(id, 1000, 0, 0)));
            let mut taken = 0;
            while !queue.is_empty() {
                queue.take(slots(4), 1 << 20, 0, false);
                taken += 1;
            }
            assert_eq!(taken, launches, "{opening}");
        }
    }

    #[test]
    fn a_slow_slot_gets_less_and_nothing_that_would_hold_up_the_end() {
        let cost = CostModel { launch: 0.02, entry: 1e-3, byte: 1e-9 };
        let filled = |count: u64| {
            let mut queue = Queue::new(cost, Coalesce::ByCost);
            queue.learned(cost);
            (0..count).for_each(|id| queue.push(bucket(id, 1000, 0, 0)));
            queue
        };
        let at = |slower: f64| Pace { slower, usual: 1.0, longest: 60.0, is_new: false };
        let take = |queue: &mut Queue, pace: Pace| queue.take_at(pace, slots(4), 1 << 20, 0, false).len();
        let mut queue = filled(4000);
        assert_eq!(take(&mut queue, Pace::default()), 800, "a part of an even share, if that may be long");
        assert_eq!((take(&mut queue, at(1.0)), take(&mut queue, at(1.4)), take(&mut queue, at(10.0))), (60, 43, 6));
        // Others finish all 8 buckets in two seconds, but the slow slot would need ten seconds for one.
        let mut queue = filled(8);
        assert_eq!((take(&mut queue, at(10.0)), take(&mut queue, at(2.0)), queue.len()), (0, 1, 7));
        // A host of unknown speed first gets a small bucket.
        let mut queue = filled(100);
        queue.push(bucket(500, 10, 1 << 40, 0));
        queue.push(bucket(501, 10, 0, 0));
        let taken = queue.take_at(Pace { is_new: true, ..at(1.0) }, slots(4), 1 << 20, 0, false);
        assert_eq!(taken.iter().map(|bucket| bucket.id).collect::<Vec<_>>(), [501]);
    }

    #[test]
    fn exposed_buckets_leave_apart_and_do_not_hold_up_others() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
        for (id, spine_before, exposed) in [(0, 9, true), (1, 0, false), (2, 0, true), (3, 0, false)] {
            queue.push(Bucket { exposed, ..bucket(id, 10, 10, spine_before) });
        }
        let mut take = || queue.take(slots(1), 1 << 20, 0, false).iter().map(|b| b.id).collect::<Vec<u64>>();
        assert_eq!((take(), take(), take()), (vec![1, 3], vec![2], vec![]));
    }

    #[test]
    fn where_little_is_expected_entries_are_shared_evenly() {
        let shares = |little: bool, large: u64| {
            let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
            (0..8).for_each(|id| queue.push(bucket(id, 1000, large, 0)));
            (8..90).for_each(|id| queue.push(bucket(id, 1000, 0, 0)));
            queue.expect_little(little);
            let mut launches = Vec::new();
            while !queue.is_empty() {
                let launch = queue.take(slots(2), 1 << 20, 0, false);
                launches.push(launch.iter().map(|bucket| bucket.weight.entries).sum::<u64>());
            }
            launches
        };
        assert_eq!(shares(true, 1 << 28), [45_000, 45_000]);
        assert!(shares(false, 1 << 28).len() > 2);
        // Copying everything, if the destination has changed after all, would be too much for one launch.
        assert_eq!(shares(true, 1 << 30), shares(false, 1 << 30));
    }

    #[test]
    fn where_little_is_expected_the_scan_is_waited_for() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
        (0..200).for_each(|id| queue.push(bucket(id, 1000, 0, 0)));
        assert!(queue.worth_starting(slots(2)));
        queue.expect_little(true);
        assert!(!queue.worth_starting(slots(2)));
    }

    #[test]
    fn what_was_learned_changes_the_order() {
        let mut queue = Queue::new(CostModel::default(), Coalesce::Never);
        queue.push(bucket(0, 100_000, 0, 0));
        queue.push(bucket(1, 1, 1 << 28, 0));
        let slow_bytes = CostModel { byte: 150e-9, ..CostModel::default() };
        queue.learned(slow_bytes);
        assert_eq!(queue.take(slots(1), 1 << 20, 0, false)[0].id, 1);
    }

    proptest! {
        #[test]
        fn every_bucket_leaves_once_within_the_room(
            sizes in prop::collection::vec((1u64..5000, 0u64..1 << 34), 1..200),
            count in 1usize..64,
            room in 50usize..2000,
            little: bool,
        ) {
            let mut queue = Queue::new(CostModel::default(), Coalesce::ByCost);
            queue.expect_little(little);
            for (id, (entries, bytes)) in sizes.iter().enumerate() {
                queue.push(bucket(id as u64, *entries, *bytes, 0));
            }
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let launch = queue.take(slots(count), room, 0, false);
                prop_assert!(!launch.is_empty());
                prop_assert!(launch.len() == 1 || launch.len() * 100 <= room);
                seen.extend(launch.iter().map(|b| b.id));
            }
            seen.sort();
            prop_assert_eq!(seen, (0..sizes.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(queue.weight(), Weight::default());
        }
    }
}
