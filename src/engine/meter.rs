//! How far a running rsync is: by its own progress lines if it was asked for them, otherwise by the number of bytes it has written.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::rsync::output::Progress;
use crate::scan::Weight;

/// An rsync that has written more bytes than this has had an answer, because it only continues after the other side has greeted (`exchange_protocols`).
const GREETING: u64 = 128;

/// What is known of one launch.
#[derive(Default)]
pub(super) struct Meter {
    /// The rsync was asked for progress lines (`--info=progress2`).
    tells: bool,
    checked: AtomicU64,
    listed: AtomicU64,
    bytes: AtomicU64,
    answered: AtomicBool,
    leader: AtomicU32,
    /// Created by the first pass.
    made_entries: AtomicU64,
    made_bytes: AtomicU64,
}

/// How far a launch is at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// The bytes that it has transferred.
    pub moved: u64,
    /// The part of its weight that is done.
    pub done: Weight,
    /// It has reached the other side.
    pub answered: bool,
}

impl Meter {
    pub fn new(tells: bool) -> Meter {
        Meter { tells, ..Meter::default() }
    }

    /// Sets the process of the launch after it was started.
    pub fn belongs_to(&self, leader: u32) {
        self.leader.store(leader, Ordering::Relaxed);
    }

    pub fn hear(&self, progress: Progress) {
        self.checked.store(progress.checked, Ordering::Relaxed);
        self.listed.store(progress.listed, Ordering::Relaxed);
        self.bytes.store(progress.bytes, Ordering::Relaxed);
    }

    /// Adds what the first pass created. The rsync will look at it again.
    pub fn made(&self, entries: u64, bytes: u64) {
        self.made_entries.fetch_add(entries, Ordering::Relaxed);
        self.made_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn made_bytes(&self) -> u64 {
        self.made_bytes.load(Ordering::Relaxed)
    }

    pub fn answers(&self, answers: bool) {
        self.answered.fetch_or(answers, Ordering::Relaxed);
    }

    /// How far the launch is, if its work has this weight.
    pub fn read(&self, weight: Weight) -> Reading {
        let answered = self.answered.load(Ordering::Relaxed);
        let written = if self.tells && answered { 0 } else { self.written() };
        let moved = self.made_bytes() + if self.tells { self.bytes.load(Ordering::Relaxed) } else { written };
        Reading { moved, done: self.part(weight, moved), answered: answered || written > GREETING }
    }

    /// The bytes that it has transferred.
    pub fn moved(&self) -> u64 {
        self.made_bytes() + if self.tells { self.bytes.load(Ordering::Relaxed) } else { self.written() }
    }

    /// The part of `weight` that is done. For files that are up to date, rsync reports the entries, but their bytes are not known before it ends. rsync also
    /// counts the directories above a unit, as the first entries; these are not part of its weight.
    pub fn done(&self, weight: Weight) -> Weight {
        self.part(weight, if weight.bytes > 0 { self.moved() } else { 0 })
    }

    fn part(&self, weight: Weight, moved: u64) -> Weight {
        let above = self.listed.load(Ordering::Relaxed).saturating_sub(weight.entries);
        let checked = self.checked.load(Ordering::Relaxed).saturating_sub(above);
        let entries = checked.max(self.made_entries.load(Ordering::Relaxed));
        Weight { entries: entries.min(weight.entries), bytes: moved.min(weight.bytes) }
    }

    /// The bytes that the process itself has written so far (proc_pid_io(5)); 0 if it has ended, or belongs to another user.
    fn written(&self) -> u64 {
        let leader = self.leader.load(Ordering::Relaxed);
        // No process was started yet.
        if leader == 0 {
            return 0;
        }
        let figures = fs::read_to_string(format!("/proc/{leader}/io")).unwrap_or_default();
        let written = figures.lines().find_map(|line| line.strip_prefix("wchar: ")?.trim().parse().ok());
        written.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_a_unit_and_bytes_of_files_that_are_up_to_date_are_no_progress() {
        let meter = Meter::new(true);
        let weight = Weight { entries: 2, bytes: 1000 };
        let at = |checked, bytes| {
            meter.hear(Progress { bytes, checked, listed: 5 });
            meter.done(weight)
        };
        assert_eq!(at(3, 0), Weight::default());
        assert_eq!(at(3, 400), Weight { entries: 0, bytes: 400 });
        assert_eq!(at(4, 400), Weight { entries: 1, bytes: 400 });
        assert_eq!(at(5, 2000), weight);
        assert_eq!(Meter::default().done(weight), Weight::default());
    }

    #[test]
    fn who_does_not_tell_is_known_by_what_it_writes() {
        let meter = Meter::new(false);
        assert_eq!((meter.moved(), meter.read(Weight::default()).answered), (0, false));
        meter.belongs_to(std::process::id());
        fs::write("/dev/null", [0; 4096]).unwrap();
        let reading = meter.read(Weight { entries: 1, bytes: 4096 });
        assert!(reading.moved >= 4096 && reading.answered && reading.done.bytes == 4096);
    }
}
