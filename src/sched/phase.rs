//! The phases of a run, and when each is over.

use std::ops::Range;

use crate::report::Failed;
use crate::rsync::command::argument_cost;
use crate::rsync::exit;

use super::{Command, Scheduler, Spine, Task};

/// What the run is doing now. A phase ends when none of its work is running or waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Split directories are created, and buckets are copied.
    Transfer,
    /// Buckets are copied that have to be copied alone.
    Repair,
    /// Extraneous entries inside the subtrees of buckets are deleted.
    Clean,
    /// Extraneous entries directly inside these parts of the split directories are deleted.
    Delete(Vec<Range<usize>>),
    /// The attributes of these parts of the split directories are set. `looks_first`: they may be right already, so that this is checked first.
    Attributes {
        parts: Vec<Range<usize>>,
        looks_first: bool,
    },
    /// What was copied is removed from the source.
    Remove,
    Done,
}

impl Spine {
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// The longest part that begins with directory `from` and whose arguments fit into one launch.
    pub fn fitting(&self, from: usize, room: usize) -> Range<usize> {
        let mut taken = 0;
        for (place, bytes) in self.arguments.iter().enumerate().skip(from) {
            taken += argument_cost(bytes + 1);
            if taken > room && place > from {
                return from..place;
            }
        }
        from..self.len()
    }

    /// All split directories, in parts that fit into one launch each.
    pub fn parts(&self, room: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < self.len() {
            let part = self.fitting(from, room);
            from = part.end;
            parts.push(part);
        }
        parts
    }
}

impl Scheduler {
    /// Starts what can be started, and goes to the next phase when the current one is over.
    pub(super) fn advance(&mut self) {
        // A stopped launch would receive its names only after the pause.
        if self.stopping() || self.steering.paused {
            return;
        }
        self.release_copies();
        loop {
            self.start_all();
            self.prestart_attributes();
            let over = self.slots.is_idle() && self.scanned && !self.pausing() && !self.one_waits;
            let next = match &self.phase {
                Phase::Transfer if over && self.policy.survey => {
                    self.name_missing_sources();
                    Some(Phase::Done)
                }
                Phase::Transfer if over && self.queue.is_empty() && !self.lacks_spine() => Some(Phase::Repair),
                Phase::Repair if over && self.repair.is_empty() => self.after_copying(),
                Phase::Clean if over && self.queue.is_empty() && self.is_safe_to_delete() => {
                    Some(Phase::Delete(self.open_parts()))
                }
                Phase::Clean if over && !self.is_safe_to_delete() => {
                    self.stop_deleting();
                    Some(Phase::Attributes { parts: self.open_parts(), looks_first: false })
                }
                Phase::Delete(parts) if over && !parts.is_empty() && !self.is_safe_to_delete() => {
                    let parts = parts.clone();
                    self.stop_deleting();
                    Some(Phase::Attributes { parts, looks_first: false })
                }
                // Launches that delete also set the attributes. If source files are removed, though, they may not see what was removed, so that attributes are
                // set in a phase of its own.
                Phase::Delete(parts) if over && parts.is_empty() => {
                    let parts = if self.policy.removes { self.open_parts() } else { Vec::new() };
                    Some(Phase::Attributes { parts, looks_first: false })
                }
                Phase::Attributes { parts, .. } if over && parts.is_empty() => Some(Phase::Remove),
                Phase::Remove if over && self.removals.is_empty() => Some(Phase::Done),
                _ => None,
            };
            match next {
                Some(next) => self.phase = next,
                None => return,
            }
        }
    }

    /// The phase after everything was copied; `None` if that is not known yet.
    fn after_copying(&mut self) -> Option<Phase> {
        let nothing = Phase::Attributes { parts: Vec::new(), looks_first: false };
        // One rsync for everything leaves nothing to do, not even for directories that were created before it.
        if self.one_rsync.is_some() {
            return Some(nothing);
        }
        if let Some(code) = self.aside {
            self.fail(code);
            return None;
        }
        if self.policy.deletes.is_some() && self.meeting.name.is_some() {
            self.keep_what_meets()?;
        }
        if self.may_delete() {
            std::mem::take(&mut self.to_clean).into_iter().for_each(|bucket| self.queue.push(bucket));
            return Some(Phase::Clean);
        }
        // The user has been told that nothing is deleted.
        let kept: Vec<Task> = self.to_clean.drain(..).map(|bucket| Task::Clean(bucket.id)).collect();
        self.books.skip(kept, true);
        if !self.spine.dest_made || self.policy.pretends {
            return Some(nothing);
        }
        let differ = self.directories_differ();
        let unmarked = self.policy.marks_changes && !self.touched && !self.resumes;
        if !differ && !self.policy.watches_dest && unmarked {
            return Some(nothing);
        }
        let looks_first = !differ && self.policy.watches_dest;
        Some(Phase::Attributes { parts: self.open_attribute_parts(), looks_first })
    }

    /// Whether split directories may lack attributes since they were created.
    pub(super) fn directories_differ(&self) -> bool {
        // The directories above a source of `--relative` were created with `u+rwx` as well, although the scan did not look at their modes.
        let modes_differ = self.policy.unlocks && (self.spine.locked || self.policy.implied_dirs);
        modes_differ || self.spine.other_times
    }

    /// Whether everything in the source could be read, as far as is known, or errors are to be ignored; and nothing that was moved would be deleted.
    pub(super) fn is_safe_to_delete(&self) -> bool {
        !self.retry.spares && (!self.sender_failed || self.policy.ignore_errors)
    }

    /// A read error of the source appeared while entries were being deleted. Nothing more is deleted, as in one rsync.
    fn stop_deleting(&mut self) {
        if !self.retry.spares {
            self.soft.add(exit::PARTIAL);
            self.tell_failure(Failed::NothingMoreDeleted);
        }
        let kept = self.queue.take_all();
        self.books.skip(kept.iter().map(|bucket| Task::Clean(bucket.id)).collect::<Vec<_>>(), true);
    }

    fn open_parts(&mut self) -> Vec<Range<usize>> {
        self.open_parts_of(self.policy.room)
    }

    /// The parts whose attributes are set. On hosts, there are as many parts as are worth a launch, so that many directories are not done one after another.
    fn open_attribute_parts(&mut self) -> Vec<Range<usize>> {
        /// The directories of a launch take at least this many times as long as the launch itself costs.
        const WORTH: f64 = 6.0;
        let model = self.fit.model();
        let worth = (self.spine.len() as f64 * model.entry / (WORTH * model.launch)) as usize;
        let count = worth.min(self.processes().get());
        // The launch that was started ahead sets the attributes of all directories.
        if !self.policy.on_hosts || count < 2 || !self.slots.waiting().is_empty() {
            return self.open_parts();
        }
        let all: usize = self.spine.arguments.iter().map(|bytes| argument_cost(bytes + 1)).sum();
        self.open_parts_of(self.policy.room.min(all.div_ceil(count)))
    }

    fn open_parts_of(&mut self, room: usize) -> Vec<Range<usize>> {
        let parts = self.spine.parts(room);
        self.books.open(parts.iter().map(|part| Task::Part(part.start)));
        parts
    }

    /// Whether extraneous entries may be deleted. Not after an error on the sending side, because entries that could not be read would be deleted.
    fn may_delete(&mut self) -> bool {
        if self.meeting.is_one {
            return false;
        }
        // If no source was split, there are no split directories, but the copied subtrees still have to be cleaned. The same holds for a resumed run that finds
        // nothing else to do.
        let splits = self.spine.dest_made && self.spine.len() > 0;
        let wanted = self.policy.deletes.is_some() && (splits || !self.to_clean.is_empty());
        let unsafe_now = !self.is_safe_to_delete();
        if wanted && unsafe_now && !self.retry.spares {
            self.soft.add(exit::PARTIAL);
            self.tell_failure(Failed::NothingDeleted { in_split_only: !self.policy.deletes_late() });
        }
        wanted && !unsafe_now
    }

    /// Whether split directories still have to be created. They are created even if no bucket that needs them is left, because an earlier part of the run
    /// copied those, or everything in them was left out.
    pub(super) fn lacks_spine(&self) -> bool {
        self.one_rsync.is_none() && self.scanned && self.spine.created < self.spine.len()
    }

    pub(super) fn name_missing_sources(&mut self) {
        if std::mem::replace(&mut self.named_missing, true) || !self.policy.missing_sources {
            return;
        }
        self.soft.add(exit::PARTIAL);
        self.sender_failed = true;
        self.commands.push(Command::TellMissing);
    }
}
