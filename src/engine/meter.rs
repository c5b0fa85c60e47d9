//! How far a running rsync is: by its own word where it was asked to tell, else by what it has written.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::rsync::output::Progress;
use crate::scan::Weight;

/// Who has written more than this has been answered: rsync greets, and goes on when it was greeted (`exchange_protocols`).
const GREETING: u64 = 128;

/// What is known of one launch.
#[derive(Default)]
pub(super) struct Meter {
    /// It was asked to tell (`--info=progress2`).
    tells: bool,
    checked: AtomicU64,
    listed: AtomicU64,
    bytes: AtomicU64,
    answered: AtomicBool,
    leader: AtomicU32,
    /// Made by the first pass.
    made_entries: AtomicU64,
    made_bytes: AtomicU64,
}

/// How far a launch is at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// Bytes that it has transferred.
    pub moved: u64,
    /// The part of its weight that is dealt with.
    pub done: Weight,
    /// It has reached the other side.
    pub answered: bool,
}

impl Meter {
    pub fn new(tells: bool) -> Meter {
        Meter { tells, ..Meter::default() }
    }

    /// Its process was started.
    pub fn belongs_to(&self, leader: u32) {
        self.leader.store(leader, Ordering::Relaxed);
    }

    pub fn hear(&self, progress: Progress) {
        self.checked.store(progress.checked, Ordering::Relaxed);
        self.listed.store(progress.listed, Ordering::Relaxed);
        self.bytes.store(progress.bytes, Ordering::Relaxed);
    }

    /// So much more was made before its rsync, which looks at it once more.
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

    /// How far it is with what weighs so much.
    pub fn read(&self, weight: Weight) -> Reading {
        let answered = self.answered.load(Ordering::Relaxed);
        let written = if self.tells && answered { 0 } else { self.written() };
        let moved = self.made_bytes() + if self.tells { self.bytes.load(Ordering::Relaxed) } else { written };
        Reading { moved, done: self.part(weight, moved), answered: answered || written > GREETING }
    }

    /// Bytes that it has transferred.
    pub fn moved(&self) -> u64 {
        self.made_bytes() + if self.tells { self.bytes.load(Ordering::Relaxed) } else { self.written() }
    }

    /// The part of `weight` that is dealt with. Of files that are up to date rsync counts the entry, and nobody knows their bytes before it
    /// has ended; the directories above a unit are entries for it, the first ones, and not of its weight.
    pub fn done(&self, weight: Weight) -> Weight {
        self.part(weight, if weight.bytes > 0 { self.moved() } else { 0 })
    }

    fn part(&self, weight: Weight, moved: u64) -> Weight {
        let above = self.listed.load(Ordering::Relaxed).saturating_sub(weight.entries);
        let checked = self.checked.load(Ordering::Relaxed).saturating_sub(above);
        let entries = checked.max(self.made_entries.load(Ordering::Relaxed));
        Weight { entries: entries.min(weight.entries), bytes: moved.min(weight.bytes) }
    }

    /// What the process itself has written so far (proc_pid_io(5)); of a process that has ended, or is another user's, nothing.
    fn written(&self) -> u64 {
        let leader = self.leader.load(Ordering::Relaxed);
        // Nothing was started yet.
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
