//! What changes a job while it goes on.

use std::num::NonZero;

use super::CancelHandle;
use crate::error::Result;
use crate::steer::{self, Change};

/// Changes a job from another thread while it goes on. Clones belong to the same job. What changes is told as
/// [`Event::Steered`](super::Event::Steered).
///
/// What is set before the job begins is in force when it does. Where one rsync does it all, it can be paused, and its number and its bandwidth stay.
#[derive(Debug, Clone)]
pub struct JobHandle(pub(super) CancelHandle);

impl JobHandle {
    /// Has so many rsyncs copy at once: on all source hosts together, if there are some, and at most, if their number is found by trying. Those that are
    /// too many come to their end. Fewer run where the other side does not let in so many.
    ///
    /// # Errors
    /// This process may not open as many files.
    pub fn set_processes(&self, count: NonZero<usize>) -> Result<()> {
        steer::check_processes(Some(count))?;
        self.change(Change { processes: Some(count), ..Change::default() });
        Ok(())
    }

    /// Limits all rsyncs together that start from now on, in KiB a second; `None` is no limit. Those that run keep what they were started with.
    pub fn set_bandwidth(&self, kib_per_second: Option<NonZero<u64>>) {
        self.change(Change { bandwidth: Some(kib_per_second), ..Change::default() });
    }

    /// Stops what runs (SIGSTOP), and starts nothing more, until [`JobHandle::resume`]. What is at the other end may give up a connection that is silent for
    /// so long; its work is done again then. When this process is killed in a pause what is stopped stays so, unless there is a guardian as the command
    /// has.
    pub fn pause(&self) {
        self.change(Change { pause: Some(true), ..Change::default() });
    }

    /// Ends a pause, unless there is another reason for it.
    pub fn resume(&self) {
        self.change(Change { pause: Some(false), ..Change::default() });
    }

    /// Lets what runs come to its end, and ends the job then, so that it can be [resumed](super::Job::resume). A pause ends.
    pub fn wind_down(&self) {
        self.change(Change { stop: true, ..Change::default() });
    }

    fn change(&self, change: Change) {
        self.0.0.copy.adjust(change);
    }
}
