//! Live counts of a scan, and the means to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Weight;
use super::levels::{Levels, Unfound};

/// Live counts of a scan, and the means to stop it. It is shared with the code that shows progress. Each scan needs its own: counts would add up, and a scan
/// with one that was stopped ends at once.
#[derive(Debug, Default)]
pub struct Watch {
    entries: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    roots: AtomicU64,
    levels: Levels,
    stop: AtomicBool,
    awaited: AtomicBool,
}

/// What a scan has found so far, in the form in which another machine reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    entries: u64,
    directories: u64,
    bytes: u64,
    roots: u64,
    levels: Vec<[u64; 3]>,
}

impl Watch {
    /// What was found so far.
    pub(crate) fn counts(&self) -> Counts {
        let Weight { entries, bytes } = self.found();
        let (directories, roots) = (self.directories(), self.roots.load(Ordering::Relaxed));
        Counts { entries, directories, bytes, roots, levels: self.levels.counts() }
    }

    /// Adds what was found elsewhere since `before`, and sets `before` to `now`.
    pub(crate) fn count_more(&self, before: &mut Counts, now: Counts) {
        let entries = now.entries.saturating_sub(before.entries);
        let bytes = now.bytes.saturating_sub(before.bytes);
        self.count(now.directories.saturating_sub(before.directories), Weight { entries, bytes });
        self.roots.fetch_add(now.roots.saturating_sub(before.roots), Ordering::Relaxed);
        for (depth, level) in now.levels.iter().enumerate() {
            let before = before.levels.get(depth).copied().unwrap_or_default();
            self.levels.add(depth, std::array::from_fn(|at| level[at].saturating_sub(before[at])));
        }
        *before = now;
    }

    /// Found so far: entries and bytes.
    pub fn found(&self) -> Weight {
        Weight { entries: self.entries.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Found so far: directories, which are among the entries.
    pub fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    /// Makes the scan end early. Entries that it has not read by then are in no event.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Sets whether other work is idle because it waits for the scan.
    pub(crate) fn set_awaited(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Whether other work is idle because it waits for the scan, as last set.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Counts a source that needs no scan.
    pub(crate) fn count_single(&self, weight: Weight) {
        self.count(0, weight);
    }

    /// Whether [`Watch::stop`] was called: then a scan that has ended may not have read everything.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How much the scan still has to find; `None` if too little is known for an estimate.
    pub(crate) fn unfound(&self) -> Option<Unfound> {
        self.levels.unfound(self.roots.load(Ordering::Relaxed))
    }

    pub(super) fn count_root(&self) {
        self.roots.fetch_add(1, Ordering::Relaxed);
        self.count(1, Weight { entries: 1, bytes: 0 });
    }

    /// Counts what was found in a directory at this depth below its source; `is_read` means that the directory is complete.
    pub(super) fn count_in(&self, depth: usize, directories: u64, weight: Weight, is_read: bool) {
        self.count(directories, weight);
        self.levels.count(depth, directories, weight.entries - directories, is_read);
    }

    pub(super) fn count(&self, directories: u64, weight: Weight) {
        self.entries.fetch_add(weight.entries, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.bytes.fetch_add(weight.bytes, Ordering::Relaxed);
    }
}
