//! `--bwlimit` as the limit of all rsyncs together. rsync's own limit is fixed when it starts, so each launch gets a share at its start. The shares of all
//! running launches never exceed the limit, and the launch with the most to send gets the most.
//!
//! The share of a launch is the limit, in proportion to its part of the bytes that are left, but at least an even share. So all launches end together, and the
//! last ones get what the others had before. If the share is not free yet, the launch waits until others have ended. Pure: the time is an argument.

use std::collections::HashMap;
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::rsync::bandwidth::steady;
use crate::scan::Weight;

/// Bytes that an entry takes on the wire besides its content.
const ENTRY: u64 = 64;
/// For so long rsync sends without a limit before it waits (3.5.0, `sleep_for_bwlimit`).
const BURST: Duration = Duration::from_millis(100);
/// A launch starts with this part of its share, rather than wait for the rest.
const ENOUGH: f64 = 0.5;
/// While the scan may find more, no launch gets more than this many even shares: it would keep the bandwidth from work that is found later.
const UNSETTLED: f64 = 2.0;

/// The limit, and the share of each launch, in KiB a second.
pub(crate) struct Bandwidth {
    /// The limit that the user asked for.
    asked: NonZero<u64>,
    /// The limit that is distributed: the largest one that rsync keeps steadily.
    limit: u64,
    /// An even share.
    even: u64,
    held: HashMap<u64, Held>,
    /// Shares of launches that ended before rsync had waited for their last bytes, and when each becomes free.
    owed: Vec<(Instant, u64)>,
    /// A launch had to wait: no share is asked for before this time, unless a launch ends.
    refused: Option<Instant>,
}

struct Held {
    share: u64,
    bytes: u64,
    since: Instant,
}

impl Held {
    /// Bytes that the launch still has to send.
    fn left(&self, now: Instant) -> u64 {
        let sent = (self.share as f64 * 1024.0 * now.duration_since(self.since).as_secs_f64()) as u64;
        self.bytes.saturating_sub(sent)
    }
}

impl Bandwidth {
    pub fn new(limit: NonZero<u64>, processes: NonZero<usize>) -> Bandwidth {
        let (held, owed) = (HashMap::new(), Vec::new());
        let mut bandwidth = Bandwidth { asked: limit, limit: 0, even: 1, held, owed, refused: None };
        bandwidth.change(limit, processes);
        bandwidth
    }

    /// The limit that the user asked for.
    pub fn limit(&self) -> NonZero<u64> {
        self.asked
    }

    /// The limit for all launches together.
    pub fn total(&self) -> u64 {
        self.limit
    }

    /// Sets another limit for launches that start from now on. Running launches keep their shares until they end, and these still count.
    pub fn change(&mut self, limit: NonZero<u64>, processes: NonZero<usize>) {
        self.asked = limit;
        self.limit = steady(limit.get());
        self.share_among(processes);
    }

    /// Sets how many launches are to run at once.
    pub fn share_among(&mut self, processes: NonZero<usize>) {
        self.even = (self.limit / processes.get() as u64).max(1);
        self.refused = None;
    }

    /// The share of a launch that copies `weight`, while `waiting` is left besides. `settled` means that nothing more will be found. `None` if the launch has
    /// to wait until others have ended.
    pub fn share(&mut self, weight: Weight, waiting: Weight, settled: bool, now: Instant) -> Option<NonZero<u64>> {
        let free = self.free(now);
        let own = bytes(weight);
        let running: u64 = self.held.values().map(|held| held.left(now)).sum();
        let all = own.saturating_add(bytes(waiting)).saturating_add(running);
        let part = self.limit as f64 * own as f64 / all.max(1) as f64;
        let even = self.even as f64;
        let too_early = !settled && part > (UNSETTLED * even).max(self.limit as f64 / UNSETTLED);
        let wanted = part.max(even).min(self.limit as f64);
        let last = settled && waiting == Weight::default();
        let share = if last { free } else { free.min(wanted.ceil() as u64) };
        let share = NonZero::new(share).filter(|_| !too_early && free as f64 >= ENOUGH * wanted);
        self.refused = share.is_none().then(|| now + BURST);
        share
    }

    /// Whether a launch can get a share now.
    pub fn has_room(&mut self, now: Instant) -> bool {
        self.refused.is_none_or(|until| until <= now) && self.even(false, now).is_some()
    }

    /// The share of a launch that copies nothing. `alone` means that no other launch runs: it gets all that is free.
    pub fn even(&mut self, alone: bool, now: Instant) -> Option<NonZero<u64>> {
        let free = self.free(now);
        let share = if alone { free } else { free.min(self.even) };
        NonZero::new(share).filter(|_| free as f64 >= ENOUGH * self.even as f64)
    }

    pub fn starts(&mut self, launch: u64, share: NonZero<u64>, weight: Weight, now: Instant) {
        self.held.insert(launch, Held { share: share.get(), bytes: bytes(weight), since: now });
    }

    /// The share of the launch becomes free when the bytes that it has `sent` would have passed within it. `None` if that number is unknown.
    pub fn ends(&mut self, launch: u64, sent: Option<u64>, now: Instant) {
        let Some(held) = self.held.remove(&launch) else { return };
        self.refused = None;
        let until = match sent {
            Some(sent) => held.since + Duration::from_secs_f64(sent as f64 / (held.share as f64 * 1024.0)),
            None => now + BURST,
        };
        self.owed.push((until.min(now + BURST * 2), held.share));
    }

    /// When more bandwidth becomes free without the end of a launch.
    pub fn next_change(&self) -> Option<Instant> {
        self.owed.iter().map(|(until, _)| *until).chain(self.refused).min()
    }

    fn free(&mut self, now: Instant) -> u64 {
        self.owed.retain(|(until, _)| *until > now);
        let taken = self.held.values().map(|held| held.share).chain(self.owed.iter().map(|(_, share)| *share));
        self.limit.saturating_sub(taken.sum())
    }
}

fn bytes(weight: Weight) -> u64 {
    weight.bytes.saturating_add(weight.entries.saturating_mul(ENTRY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn bandwidth(limit: u64, processes: usize) -> Bandwidth {
        let mut bandwidth = Bandwidth::new(NonZero::new(limit).unwrap(), NonZero::new(processes).unwrap());
        bandwidth.limit = limit;
        bandwidth.share_among(NonZero::new(processes).unwrap());
        bandwidth
    }

    fn of(mib: u64) -> Weight {
        Weight { entries: 0, bytes: mib * MIB }
    }

    /// Starts a launch, if it gets a share.
    fn start(bandwidth: &mut Bandwidth, launch: u64, mib: u64, waiting: u64, now: Instant) -> Option<u64> {
        let share = bandwidth.share(of(mib), of(waiting), true, now)?;
        bandwidth.starts(launch, share, of(mib), now);
        Some(share.get())
    }

    #[test]
    fn equal_launches_get_equal_parts_and_the_last_what_is_left() {
        let mut bandwidth = bandwidth(4096, 4);
        let now = Instant::now();
        let shares: Vec<_> =
            (0..4).map(|launch| start(&mut bandwidth, launch, 40, 40 * (3 - launch), now).unwrap()).collect();
        assert_eq!(shares, [1024; 4]);
        assert_eq!(start(&mut bandwidth, 4, 1, 0, now), None);
        for launch in 0..3 {
            bandwidth.ends(launch, Some(0), now);
        }
        assert_eq!(start(&mut bandwidth, 4, 1, 0, now), Some(3072));
    }

    #[test]
    fn what_is_largest_gets_nearly_all() {
        let mut bandwidth = bandwidth(40960, 8);
        let now = Instant::now();
        let share = start(&mut bandwidth, 0, 200, 2, now).unwrap();
        assert!(share > 40000, "{share}");
        assert_eq!(start(&mut bandwidth, 1, 1, 1, now), None, "it waits rather than crawl");
        bandwidth.ends(0, Some(0), now);
        assert!(start(&mut bandwidth, 1, 1, 1, now).is_some());
    }

    #[test]
    fn nothing_large_starts_before_all_is_known() {
        let mut bandwidth = bandwidth(4096, 8);
        let now = Instant::now();
        assert_eq!(bandwidth.share(of(100), of(0), false, now), None);
        assert_eq!(bandwidth.share(of(10), of(90), false, now).unwrap().get(), 512);
    }

    #[test]
    fn bytes_that_were_not_waited_for_are_owed() {
        let mut bandwidth = bandwidth(1024, 1);
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        start(&mut bandwidth, 0, 1, 1, now).unwrap();
        bandwidth.ends(0, Some(MIB / 8), at(20));
        assert_eq!(bandwidth.even(true, at(50)), None);
        assert_eq!(bandwidth.next_change(), Some(at(125)));
        assert_eq!(bandwidth.even(true, at(126)).unwrap().get(), 1024);
    }

    #[test]
    fn a_limit_that_is_lowered_counts_what_runs_until_it_ends() {
        let mut bandwidth = bandwidth(4096, 4);
        let now = Instant::now();
        for launch in 0..2 {
            start(&mut bandwidth, launch, 40, 120, now).unwrap();
        }
        bandwidth.change(NonZero::new(1024).unwrap(), NonZero::new(2).unwrap());
        assert_eq!(start(&mut bandwidth, 2, 40, 40, now), None, "2048 are taken of 1024");
        bandwidth.ends(0, Some(0), now);
        assert_eq!(start(&mut bandwidth, 2, 40, 40, now), None, "1024 are taken of 1024");
        bandwidth.ends(1, Some(0), now);
        assert_eq!(start(&mut bandwidth, 2, 40, 40, now), Some(steady(1024).div_ceil(2)));
        bandwidth.change(NonZero::new(8192).unwrap(), NonZero::new(2).unwrap());
        assert_eq!(start(&mut bandwidth, 3, 40, 0, now), Some(steady(8192) - steady(1024).div_ceil(2)));
    }

    proptest! {
        /// The shares never exceed the limit, and a launch that runs alone may always start.
        #[test]
        fn the_total_holds(limit in 1_u64..100_000, processes in 1_usize..64, sizes in prop::collection::vec(0_u64..1000, 1..60)) {
            let mut bandwidth = bandwidth(limit, processes);
            let mut now = Instant::now();
            let mut waiting: u64 = sizes.iter().sum();
            for (launch, size) in sizes.iter().enumerate() {
                waiting -= size;
                while start(&mut bandwidth, launch as u64, *size, waiting, now).is_none() {
                    let ends = *bandwidth.held.keys().min().expect("a launch that is alone may start");
                    let sent = bandwidth.held[&ends].bytes;
                    bandwidth.ends(ends, Some(sent), now);
                    now += Duration::from_secs(1);
                }
                prop_assert!(bandwidth.held.values().map(|held| held.share).sum::<u64>() <= limit);
            }
        }
    }
}
