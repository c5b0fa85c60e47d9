//! What is known before the first launch: the expected price of a launch, and whether a tree is so small that the usual buckets would leave slots without work.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::cost::CostModel;
use crate::endpoint::Target;
use crate::plan::{Plan, Strategy};
use crate::scan::{Limits, Weight, is_elsewhere};

/// The seconds of an ssh handshake; `DAEMON` is the same for a daemon. Through an open connection, a launch takes no longer than on this machine (61 ms on
/// loopback).
const SSH: f64 = 0.25;
/// The same for a shell that stays on a host.
const SHELL: f64 = 0.01;
const DAEMON: f64 = 0.1;
/// The price of an ssh connection that launches share: processor time of both ends on loopback.
const SSH_CONNECTION: f64 = 0.15;
/// The seconds for a byte to another machine, at 50 MB a second.
const FAR_BYTE: f64 = 20e-9;
/// With this many buckets per slot, all slots end together.
const BUCKETS: u64 = 8;
/// Work is not divided further if a slot would have less than this many launches' worth of it.
const WORTH: f64 = 2.0;

/// The expected cost of launches before one has ended.
pub(super) fn guess(config: &Config, plan: &Plan) -> CostModel {
    let near = CostModel::default();
    let through_hosts = if config.hosts.is_empty() { 0.0 } else { SHELL };
    let (handshake, byte) = match config.far_end() {
        Target::Local => (0.0, near.byte),
        Target::Ssh { .. } if plan.route.is_some() => (0.0, FAR_BYTE),
        Target::Ssh { .. } => (SSH, FAR_BYTE),
        Target::Daemon { .. } => (DAEMON, FAR_BYTE),
    };
    CostModel { launch: near.launch + handshake + through_hosts, byte, ..near }
}

/// The seconds that it takes to open a slot before its first launch.
pub(super) fn opening(plan: &Plan) -> f64 {
    if plan.route.is_some() { SSH_CONNECTION } else { 0.0 }
}

/// A shorter scan says nothing about its source.
const SHORTEST_SCAN: Duration = Duration::from_millis(50);
/// Each thread of a scan has at least this many names to look at, if there are enough.
const NAMES_A_THREAD: u64 = 32;

/// How often the response time of a destination is measured; the shortest one counts.
const LOOKS: u32 = 4;
/// The least number of operations of an rsync for a new file, one after another: to look it up, for a temporary file (two), to write, to set owner, mode and
/// time, and to rename.
const QUESTIONS_OF_A_NEW_FILE: f64 = 8.0;

/// How a tree is divided that fits into fewer buckets than there are slots, but is worth several launches, for example 272 large files over a slow link.
pub(super) struct Division {
    /// A small tree has at most this many entries.
    pub most: u64,
    slots: u64,
    usual: Limits,
    guess: CostModel,
    /// The number of threads that mainly wait for a source on a network file system.
    waiting: Option<NonZero<usize>>,
    /// The seconds that an entry takes at least at a destination on a network file system.
    dest: f64,
}

impl Division {
    /// `None` if the user gave limits, or if further launches would have nothing to do.
    pub fn of(config: &Config, plan: &Plan, guess: CostModel) -> Option<Division> {
        let slots = config.processes.get() as u64;
        let parallel = plan.strategy == Strategy::Parallel && !config.dry_run;
        let most = config.limits.entries.get().saturating_mul(slots);
        let waits = || plan.far.is_none() && plan.trees.iter().any(|tree| is_elsewhere(&tree.root.path()));
        (slots > 1 && !config.limits_given && parallel && !plan.trees.is_empty()).then(|| Division {
            most,
            slots,
            usual: config.limits,
            guess,
            waiting: waits().then_some(plan.scan_threads),
            dest: dest_answers(config) * if plan.is_dest_new { QUESTIONS_OF_A_NEW_FILE } else { 1.0 },
        })
    }

    /// The seconds that an entry takes at least, if a scan has found this much in this time: rsync looks up each name as well, but one after another. With 1 ms
    /// for each operation (FUSE), one rsync took 115 s for 9,500 files, which were too few for several rsyncs.
    ///
    /// A slow destination has the same effect, because one rsync also looks up the names there one after another.
    pub fn look_up(&self, found: Weight, took: Duration) -> f64 {
        let Some(threads) = self.waiting.filter(|_| took >= SHORTEST_SCAN && found.entries > 0) else {
            return self.dest;
        };
        let busy = (threads.get() as u64).min(found.entries / NAMES_A_THREAD).max(1);
        self.dest.max(busy as f64 * took.as_secs_f64() / found.entries as f64)
    }

    /// The limits of buckets in a tree of this weight, if each entry takes at least this many seconds.
    pub fn limits(&self, found: Weight, look_up: f64) -> Limits {
        let Division { slots, usual, .. } = self;
        let guess = self.guess.with_entries_of(look_up);
        if guess.work(found) < WORTH * guess.launch * *slots as f64 {
            return *usual;
        }
        let part = |all: u64, usual: NonZero<u64>| {
            NonZero::new(all.div_ceil(BUCKETS.saturating_mul(*slots))).map_or(usual, |part| part.min(usual))
        };
        Limits { entries: part(found.entries, usual.entries), bytes: part(found.bytes, usual.bytes) }
    }
}

/// The seconds that a local DEST on a network file system needs to report that a name does not exist; 0 for other destinations. Each name is used only once,
/// because the answer would be cached.
fn dest_answers(config: &Config) -> f64 {
    let dest = PathBuf::from(config.destination.as_typed(&config.cwd));
    let here = config.destination.is_local() && config.hosts.is_empty();
    let there = dest.ancestors().find(|path| path.is_dir()).filter(|path| here && is_elsewhere(path));
    let Some(there) = there else { return 0.0 };
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let answer = |at: u32| {
        let name = there.join(format!(".multi-sync-{random:016x}-{at}"));
        let asked = Instant::now();
        // Only the time matters.
        let _ = name.symlink_metadata();
        asked.elapsed().as_secs_f64()
    };
    (0..LOOKS).map(answer).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_divided_by_how_long_it_took_to_scan() {
        let limit = |count| NonZero::new(count).unwrap();
        let usual = Limits { entries: limit(100_000), bytes: limit(1 << 40) };
        let division = Division {
            most: 400_000,
            slots: 4,
            usual,
            guess: CostModel::default(),
            waiting: NonZero::new(32),
            dest: 0.0,
        };
        let found = |entries| Weight { entries, bytes: 0 };
        let entries = |entries, seconds| {
            let look_up = division.look_up(found(entries), Duration::from_secs_f64(seconds));
            division.limits(found(entries), look_up).entries.get()
        };
        assert_eq!(entries(6400, 0.02), 100_000, "it may be chance");
        assert_eq!(entries(6400, 1.0), 200);
        assert_eq!(entries(20, 0.2), 100_000, "so few have one thread");
        let near = Division { waiting: None, ..division };
        assert_eq!(near.look_up(found(6400), Duration::from_secs(1)), 0.0);
        let late = Division { dest: 1e-3, ..near };
        assert_eq!(late.limits(found(6400), late.look_up(found(6400), Duration::ZERO)).entries.get(), 200);
    }
}
