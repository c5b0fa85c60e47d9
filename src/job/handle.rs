//! Changes a job while it is running.

use std::num::NonZero;

use super::CancelHandle;
use crate::error::Result;
use crate::steer::{self, Change};

/// Changes a job from another thread while it is running. Clones belong to the same job. Each change is reported as [`Event::Steered`](super::Event::Steered).
///
/// A change that is made before the job begins takes effect at its beginning. If one rsync does everything, it can be paused, but its number and its bandwidth
/// cannot be changed.
#[derive(Debug, Clone)]
pub struct JobHandle(pub(super) CancelHandle);

impl JobHandle {
    /// Sets how many rsyncs run at once: on all source hosts together, if there are any. If the best number is found by trying, this is its upper limit.
    /// Surplus rsyncs are not interrupted. Fewer run if the other side accepts fewer.
    ///
    /// # Errors
    /// This process may not open enough files.
    pub fn set_processes(&self, count: NonZero<usize>) -> Result<()> {
        steer::check_processes(Some(count))?;
        self.change(Change { processes: Some(count), ..Change::default() });
        Ok(())
    }

    /// Sets the limit for all rsyncs together in KiB a second; `None` means no limit. It applies to rsyncs that start from now on; running ones keep the limit
    /// with which they were started.
    pub fn set_bandwidth(&self, kib_per_second: Option<NonZero<u64>>) {
        self.change(Change { bandwidth: Some(kib_per_second), ..Change::default() });
    }

    /// Stops the running rsyncs (SIGSTOP), and starts no more, until [`JobHandle::resume`]. The other end may give up a connection that is silent for too long;
    /// its work is then done again. If this process is killed during a pause, the rsyncs remain stopped, unless there is a guardian, as the command has.
    pub fn pause(&self) {
        self.change(Change { pause: Some(true), ..Change::default() });
    }

    /// Ends a pause, unless there is another reason for it.
    pub fn resume(&self) {
        self.change(Change { pause: Some(false), ..Change::default() });
    }

    /// Ends the job when the running rsyncs have ended, so that it can be [resumed](super::Job::resume). This also ends a pause.
    pub fn wind_down(&self) {
        self.change(Change { stop: true, ..Change::default() });
    }

    fn change(&self, change: Change) {
        self.0.0.copy.adjust(change);
    }
}
