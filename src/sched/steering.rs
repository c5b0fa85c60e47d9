//! What is changed while a run goes on: how many launches, how much bandwidth, a pause, and an end that lets finish what runs.

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

/// What others have set for a run that is under way.
pub(super) struct Steering {
    /// rsyncs at once, at most: what was asked for last.
    pub most: NonZero<usize>,
    /// Nothing is started, and what runs is stopped.
    pub paused: bool,
    /// Nothing is started any more. The run ends when nothing runs.
    pub winds_down: bool,
    /// What is left would not end in time. Nothing is started any more either.
    pub out_of_time: bool,
    /// The bandwidth was changed: it is another one than one rsync for everything would be given by the words of the user.
    pub limits_anew: bool,
}

impl Steering {
    pub fn new(most: NonZero<usize>) -> Steering {
        Steering { most, paused: false, winds_down: false, out_of_time: false, limits_anew: false }
    }

    /// Whether something may be started.
    pub fn may_start(&self) -> bool {
        !self.paused && !self.winds_down && !self.out_of_time
    }
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InForce {
    /// As many as were asked for.
    pub most: NonZero<usize>,
    /// As many as may run: fewer where the other side lets in no more, or the number is found by measuring.
    pub processes: NonZero<usize>,
    /// In KiB a second, of all together.
    pub bandwidth: Option<NonZero<u64>>,
    pub paused: bool,
    pub winds_down: bool,
    /// Launches that have not ended.
    pub running: usize,
}

impl Scheduler {
    /// Launches that run stay as they are: they end, or have the bandwidth that they were started with.
    pub(super) fn adjust(&mut self, processes: Option<NonZero<usize>>, bandwidth: Option<Option<NonZero<u64>>>) {
        if let Some(most) = processes {
            // Those that wait for their names would be too many when they get them.
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

    /// Holds up everything, until [`Scheduler::go_on`].
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
            // Nobody was asked meanwhile whether it is there.
            self.slots.hosts.iter_mut().for_each(HostPool::waits_anew);
            self.commands.push(Command::Continue);
        }
    }

    /// Ends the run when what runs has come to its end. What is paused goes on, or it would not come to its end.
    pub(super) fn wind_down(&mut self) {
        if !std::mem::replace(&mut self.steering.winds_down, true) {
            self.go_on();
            self.dismiss_all();
        }
    }

    /// Ends a run that winds down once nothing runs. What is left is what a run leaves whose time was over.
    pub(super) fn end_if_wound_down(&mut self) {
        let Steering { winds_down, out_of_time, .. } = self.steering;
        let over = (winds_down || out_of_time) && self.slots.is_empty() && self.phase != Phase::Done;
        if over && !self.stopping() {
            self.tell_failure(if winds_down { Failed::Stopped } else { Failed::TimeEnds });
            self.fail(exit::TIMEOUT);
        }
    }

    /// Those of the buckets, taken from the queue, that a launch ends in time, as far as can be told; the others wait again. None if it would not end one: then nothing is
    /// started any more. As long as no launch of this part of the run has copied anything, one is tried whatever is expected: a run that goes on again and again
    /// comes to its end.
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

    /// The time for the run has ended before the run.
    pub fn is_out_of_time(&self) -> bool {
        self.steering.out_of_time && self.failed == Some(exit::TIMEOUT)
    }

    /// The run has ended before its time because somebody has asked for that.
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
