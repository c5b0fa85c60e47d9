//! Changes while the run goes on: the number of launches, the bandwidth, a pause, and an end after the running launches.

use std::num::NonZero;

use crate::bucket::Bucket;
use crate::report::{Failed, Note};
use crate::rsync::exit;
use crate::scan::Weight;

use super::bandwidth::Bandwidth;
use super::host_pool::HostPool;
use super::phase::Phase;
use super::work::Work;
use super::{Command, Scheduler};

/// The settings that were changed for a run.
pub(super) struct Steering {
    /// The most rsyncs that may run at once, as last asked for.
    pub most: NonZero<usize>,
    /// Nothing is started, and running launches are stopped.
    pub paused: bool,
    /// Nothing more is started, and the run ends when nothing is running.
    pub winds_down: bool,
    /// The rest would not end in time. Nothing more is started.
    pub out_of_time: bool,
    /// The bandwidth was changed, so that the limit in the user's own options is no longer right for one rsync that does everything.
    pub limits_anew: bool,
}

impl Steering {
    pub fn new(most: NonZero<usize>) -> Steering {
        Steering { most, paused: false, winds_down: false, out_of_time: false, limits_anew: false }
    }

    /// Whether launches may be started.
    pub fn may_start(&self) -> bool {
        !self.paused && !self.winds_down && !self.out_of_time
    }
}

/// The settings in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InForce {
    /// The number of rsyncs that was asked for.
    pub most: NonZero<usize>,
    /// The number that may run: lower if the other side accepts no more, or if the best number is found by measuring.
    pub processes: NonZero<usize>,
    /// The limit of all rsyncs together, in KiB a second.
    pub bandwidth: Option<NonZero<u64>>,
    pub paused: bool,
    pub winds_down: bool,
    /// The launches that have not ended.
    pub running: usize,
}

impl Scheduler {
    /// Changes the settings. Running launches are not interrupted, and keep the bandwidth with which they were started.
    pub(super) fn adjust(&mut self, processes: Option<NonZero<usize>>, bandwidth: Option<Option<NonZero<u64>>>) {
        if let Some(most) = processes {
            // When the waiting launches received their names, too many would be working.
            if most < self.steering.most {
                self.dismiss_all();
            }
            self.steering.most = most;
            self.slots.resize(most);
            self.tuner.iter_mut().for_each(|tuner| tuner.bound(most));
            self.bandwidth.iter_mut().for_each(|bandwidth| bandwidth.share_among(most));
        }
        if let Some(limit) = bandwidth {
            self.steering.limits_anew |= self.bandwidth.as_ref().map(Bandwidth::limit) != limit;
            match (limit, &mut self.bandwidth) {
                (Some(limit), Some(bandwidth)) => bandwidth.change(limit, self.steering.most),
                (Some(limit), none) => *none = Some(Bandwidth::new(limit, self.steering.most)),
                (None, bandwidth) => *bandwidth = None,
            }
        }
    }

    /// Stops everything until [`Scheduler::go_on`].
    pub(super) fn pause(&mut self) {
        let Steering { paused, winds_down, .. } = self.steering;
        let pauses = !paused && !winds_down && !self.stopping() && !self.finished;
        if pauses {
            self.steering.paused = true;
            self.slots.hold();
            self.commands.push(Command::Pause);
        }
    }

    pub(super) fn go_on(&mut self) {
        if std::mem::take(&mut self.steering.paused) {
            // Hosts were not asked during the pause, so that the time without a usable host begins again.
            self.slots.hosts.iter_mut().for_each(HostPool::waits_anew);
            self.commands.push(Command::Continue);
        }
    }

    /// Ends the run when the running launches have ended. A pause is ended first, because a stopped launch would not end.
    pub(super) fn wind_down(&mut self) {
        if !std::mem::replace(&mut self.steering.winds_down, true) {
            self.go_on();
            self.dismiss_all();
        }
    }

    /// Ends the run, if it is winding down, once nothing is running. It ends like a run whose time is over.
    pub(super) fn end_if_wound_down(&mut self) {
        let Steering { winds_down, out_of_time, .. } = self.steering;
        let over = (winds_down || out_of_time) && self.slots.is_empty() && self.phase != Phase::Done;
        if over && !self.stopping() {
            self.tell_failure(if winds_down { Failed::Stopped } else { Failed::TimeEnds });
            self.fail(exit::TIMEOUT);
        }
    }

    /// From buckets that were taken from the queue, returns those that one launch is expected to finish in time, and puts the others back. `None` if it would
    /// not finish any; then nothing more is started. As long as this part of the run has copied nothing, one bucket is tried in any case, so that a run that is
    /// resumed repeatedly comes to its end.
    pub(super) fn in_time(&mut self, mut taken: Vec<Bucket>) -> Option<Vec<Bucket>> {
        let Some(limit) = self.policy.ends_after else { return Some(taken) };
        let (left, model) = (limit.saturating_sub(self.elapsed()).as_secs_f64(), self.fit.model());
        let ends = |taken: &[Bucket]| {
            let weight: Weight = taken.iter().map(|bucket| bucket.weight).sum();
            model.launch + model.work(weight) <= left
        };
        let mut late = Vec::new();
        while !ends(&taken) && taken.len() > 1 {
            late.extend(taken.pop());
        }
        if !late.is_empty() {
            self.put_back(Work::Copy(late));
        }
        if ends(&taken) || !self.copied {
            return Some(taken);
        }
        self.put_back(Work::Copy(taken));
        self.steering.out_of_time = true;
        self.note(Note::NoTimeLeft);
        self.dismiss_all();
        None
    }

    /// Whether the time of the run was over before the run was complete.
    pub fn is_out_of_time(&self) -> bool {
        self.steering.out_of_time && self.failed == Some(exit::TIMEOUT)
    }

    /// Whether the run ended early because someone asked for that, or because its time was nearly over.
    pub fn is_wound_down(&self) -> bool {
        (self.steering.winds_down || self.steering.out_of_time) && self.failed == Some(exit::TIMEOUT)
    }

    pub fn in_force(&self) -> InForce {
        let Steering { most, paused, winds_down, .. } = self.steering;
        InForce {
            most,
            processes: self.processes().min(self.retry.at_once),
            bandwidth: self.bandwidth.as_ref().map(Bandwidth::limit),
            paused,
            winds_down,
            running: self.slots.len(),
        }
    }
}
