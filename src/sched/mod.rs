//! The scheduler decides what a run does next, only from its inputs: it uses no clock, thread, file or process. [`Scheduler::handle`] takes events
//! and returns commands; the engine carries the commands out and reports the results.
//!
//! The result is that of one rsync because of this order: a split directory is created before a bucket below it starts, each subtree belongs to one
//! launch, and after the last launch that could write into split directories, extraneous entries in them are deleted (if anything is to be deleted),
//! and their attributes are set. Everything that is found stays in the [`books`] until it is done, or skipped and reported.

mod bandwidth;
mod books;
mod dispatch;
mod ended;
mod host_pool;
mod input;
#[cfg(test)]
mod model;
mod outcome;
mod phase;
mod policy;
mod retry;
mod share;
mod slots;
mod steering;
mod tuner;
mod work;

use std::collections::HashSet;
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::cost::{CostModel, Fit};
use crate::plan::folding::Folding;
use crate::queue::{Coalesce, Queue};
use crate::report::{Failed, HostFigures, Note, Step};
use crate::rsync::exit::{self, RunCode};
use crate::scan::Weight;

use bandwidth::Bandwidth;
use books::Books;
use books::Task;
pub(crate) use dispatch::MOST_LISTED;
pub(crate) use host_pool::HostPool;
pub(crate) use input::{Command, Directory, Ending, Findings, Input, NotLaunched, Release, Report, Symptoms, Verdict};
use outcome::Rule;
use phase::Phase;
pub(crate) use policy::{Before, Policy};
use retry::Retry;
use slots::SlotTable;
pub(crate) use steering::InForce;
use steering::Steering;
use tuner::Tuner;
pub(crate) use work::{LaunchId, Start, Work};

/// The split directories, as far as the order of launches depends on them. Parents come before their children.
#[derive(Debug, Default)]
struct Spine {
    /// The length of each one's argument in bytes.
    arguments: Vec<usize>,
    /// How many exist at the destination.
    created: usize,
    /// How many exist together with those of a launch that is only exiting. Launches that wait for them may begin.
    standing: usize,
    /// A launch is creating some of them.
    creating: bool,
    /// A launch has created some of them.
    was_made: bool,
    /// At least one lacks `u+rwx`.
    locked: bool,
    /// Some existed already, with other times.
    other_times: bool,
    /// DEST exists.
    dest_made: bool,
}

/// Names of the source that may be a single name at the destination, and what is known of them.
#[derive(Debug, Default)]
struct Meeting {
    /// The first such name for which no answer is known yet.
    name: Option<String>,
    asks: bool,
    answer: Option<Folding>,
    /// Some names are one name at the destination: nothing is deleted.
    is_one: bool,
}

/// Decides what a run does next, see the [module](self).
pub(crate) struct Scheduler {
    policy: Policy,
    rules: &'static [Rule],
    began: Instant,
    now: Instant,
    last_start: Instant,
    phase: Phase,
    queue: Queue,
    fit: Fit,
    tuner: Option<Tuner>,
    bandwidth: Option<Bandwidth>,
    slots: SlotTable,
    steering: Steering,
    spine: Spine,
    books: Books,
    retry: Retry,
    meeting: Meeting,
    /// When the first result of the scan arrived.
    first_found: Option<Instant>,
    scanned: bool,
    /// An earlier part of the run has started launches.
    resumes: bool,
    next_launch: LaunchId,
    /// The launches of this part of the run.
    launches: u64,
    /// No launch has started except those that create split directories.
    only_created: bool,
    /// Missing sources were reported.
    named_missing: bool,
    /// Buckets that are copied while nothing else runs.
    repair: Vec<Bucket>,
    /// Buckets among `repair` that no launch has copied yet.
    alone: HashSet<u64>,
    /// Buckets whose names are removed from the source at the end.
    removals: Vec<Bucket>,
    /// Buckets in whose subtrees extraneous entries are still to be deleted.
    to_clean: Vec<Bucket>,
    /// Why one rsync does everything, if it does.
    one_rsync: Option<String>,
    /// This one rsync has not started yet.
    one_waits: bool,
    /// The server refuses what several rsyncs need.
    fell_back: bool,
    /// An rsync lost its list, so that the others read their lists as a whole.
    whole_lists: bool,
    /// Something in the source could not be read: then rsync deletes nothing.
    sender_failed: bool,
    /// Something was copied.
    copied: bool,
    /// A launch changed something at the destination, or may have. Known only of launches that report it ([`Policy::marks_changes`]).
    touched: bool,
    /// Launches are started ahead.
    goes_ahead: bool,
    done: Weight,
    /// What running launches have completed.
    in_flight: Weight,
    soft: RunCode,
    failed: Option<u8>,
    /// Work was set aside, and the run fails with this code when everything else was copied.
    aside: Option<u8>,
    interrupted: bool,
    finished: bool,
    commands: Vec<Command>,
}

impl Scheduler {
    /// A scheduler for a run that begins `now`, or that continues after what was done `before`.
    pub fn new(policy: Policy, hosts: Option<HostPool>, before: Before, now: Instant) -> Scheduler {
        let coalesce = if policy.one_bucket_a_launch { Coalesce::Never } else { Coalesce::ByCost };
        let mut scheduler = Scheduler {
            rules: outcome::RULES,
            began: now,
            now,
            last_start: now,
            phase: Phase::Transfer,
            queue: Queue::new(policy.guess, coalesce).opening(policy.opening),
            fit: Fit::new(policy.guess),
            tuner: policy.adapts.then(|| Tuner::new(policy.processes)),
            bandwidth: policy.bwlimit.map(|limit| Bandwidth::new(limit, policy.processes)),
            slots: SlotTable::new(policy.processes, hosts),
            steering: Steering::new(policy.processes),
            spine: Spine::default(),
            books: Books::default(),
            retry: Retry::new(),
            meeting: Meeting { is_one: before.names_meet, ..Meeting::default() },
            first_found: None,
            scanned: false,
            resumes: before.launches > 0,
            next_launch: before.launches,
            launches: 0,
            only_created: true,
            named_missing: false,
            repair: Vec::new(),
            alone: HashSet::new(),
            removals: Vec::new(),
            to_clean: Vec::new(),
            one_waits: policy.one_rsync.is_some() && !policy.survey,
            one_rsync: policy.one_rsync.clone(),
            fell_back: false,
            whole_lists: false,
            sender_failed: before.sender_failed,
            copied: false,
            touched: false,
            goes_ahead: policy.goes_ahead,
            done: before.done,
            in_flight: Weight::default(),
            soft: RunCode::default(),
            failed: None,
            aside: None,
            interrupted: false,
            finished: false,
            commands: Vec::new(),
            policy,
        };
        before.codes.iter().for_each(|code| scheduler.soft.add(*code));
        scheduler.is_copied(&before.buckets);
        let dirs_again = before.dirs_again || before.removed && scheduler.policy.dir_times;
        if before.again || dirs_again {
            scheduler.copies_again(before.again, dirs_again);
        }
        scheduler
    }

    /// Handles events in the order in which they happened, and returns the commands to carry out.
    pub fn handle(&mut self, now: Instant, inputs: impl IntoIterator<Item = Input>) -> Vec<Command> {
        self.now = now;
        self.slots.hosts.iter_mut().for_each(|hosts| hosts.tick(now));
        inputs.into_iter().for_each(|input| self.hear(input));
        if !self.finished {
            self.look_at_the_clock();
            self.look_at_the_rate();
            self.look_at_the_hosts();
            self.advance();
            self.end_if_wound_down();
            self.finish_if_over();
        }
        std::mem::take(&mut self.commands)
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Directory(Directory { argument_bytes, locked }) => {
                self.first_found.get_or_insert(self.now);
                self.spine.arguments.push(argument_bytes);
                self.spine.locked |= locked;
            }
            // A single rsync may have begun before the scan found everything. It runs itself into whatever cannot be read.
            Input::Buckets(_) | Input::Unread { .. } if self.one_rsync.is_some() => {}
            Input::Buckets(buckets) => {
                for bucket in buckets {
                    self.books.open([Task::Copy(bucket.id)]);
                    self.queue.push(bucket);
                }
            }
            Input::Meets(name) => drop(self.meeting.name.get_or_insert(name)),
            Input::LookUp(seconds) => {
                self.fit.expect(seconds);
                self.queue.goes_by(self.fit.model());
            }
            Input::Unread { vanished } => {
                self.soft.add(if vanished { exit::VANISHED } else { exit::PARTIAL });
                self.sender_failed |= !vanished;
            }
            Input::ScanEnded => self.scanned = true,
            Input::InFlight(weight) => self.in_flight = weight,
            Input::Prepared(launch, findings) => {
                self.found(&findings);
                if self.slots.get(launch).is_some_and(|running| matches!(running.work, Work::Create(_))) {
                    self.queue.expect_little(false);
                }
            }
            Input::Released(launch, release) => self.released(launch, release),
            Input::Draining(launch) => self.drains(launch),
            Input::Ended(launch, report) => self.ended(launch, &report),
            Input::Folding(answer) => {
                self.meeting.asks = false;
                self.meeting.answer = Some(answer);
            }
            Input::HostAnswered(host, is_there) => {
                let now = self.now;
                self.slots.hosts.iter_mut().for_each(|hosts| hosts.answered(host, is_there, now));
                self.commands.extend(is_there.then_some(Command::HostBack(host)));
            }
            Input::Adjust { processes, bandwidth } => self.adjust(processes, bandwidth),
            Input::Pause => self.pause(),
            Input::Continue => self.go_on(),
            Input::WindDown => self.wind_down(),
            Input::Interrupted => {
                self.interrupted = !self.finished;
                // A stopped launch would not end.
                self.go_on();
            }
            Input::Tick => {}
        }
    }

    fn found(&mut self, findings: &Findings) {
        if findings.partial {
            self.soft.add(exit::PARTIAL);
        }
        self.sender_failed |= findings.sender_failed;
        findings.cut.iter().for_each(|bucket| self.books.cut(*bucket));
        if findings.dest_lost {
            self.fail(crate::error::EXIT_FILE_IO);
        }
        if findings.source_lost {
            self.fail(exit::PARTIAL);
        }
    }

    /// Whether the user has interrupted the run.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether the run is ending before everything is done.
    pub fn stopping(&self) -> bool {
        self.failed.is_some() || self.interrupted
    }

    fn fail(&mut self, code: u8) {
        if !self.interrupted {
            self.failed.get_or_insert(code);
            self.commands.push(Command::Stop);
        }
    }

    fn note(&mut self, note: Note) {
        self.commands.push(Command::Note(note));
    }

    fn tell_failure(&mut self, failed: Failed) {
        self.commands.push(Command::Failed(failed));
    }

    fn elapsed(&self) -> Duration {
        self.now.duration_since(self.began)
    }

    /// `--stop-after` limits the whole run, not each rsync.
    fn look_at_the_clock(&mut self) {
        let over = self.policy.stop_after.is_some_and(|limit| self.elapsed() >= limit);
        if over && !self.stopping() && self.phase != Phase::Done {
            self.tell_failure(Failed::TimeIsOver);
            self.fail(exit::TIMEOUT);
        }
        let ends = self.policy.ends_after.is_some_and(|limit| self.elapsed() >= limit);
        if ends && !self.stopping() && self.phase != Phase::Done {
            self.tell_failure(Failed::TimeEnds);
            self.steering.out_of_time = true;
            self.fail(exit::TIMEOUT);
        }
    }

    fn look_at_the_rate(&mut self) {
        let (done, working) = (self.done + self.in_flight, self.working());
        if let Some(tuner) = self.tuner.as_mut().filter(|_| self.phase == Phase::Transfer) {
            if self.steering.paused {
                return tuner.rest();
            }
            tuner.look(working, done, &self.fit.model(), self.now);
        }
    }

    /// Asks the hosts that were set aside whether they are reachable, and ends the run if none was usable for too long.
    fn look_at_the_hosts(&mut self) {
        if self.stopping() || self.phase == Phase::Done || self.steering.paused {
            return;
        }
        let Some(hosts) = &mut self.slots.hosts else { return };
        for (host, _) in hosts.due(self.now) {
            self.commands.push(Command::Probe(host));
        }
        if let Some(code) = hosts.stranded(self.now) {
            let waited = hosts.timeout();
            self.tell_failure(Failed::NoHost { waited });
            self.fail(code);
        }
    }

    fn finish_if_over(&mut self) {
        let is_stopped = self.stopping() && self.slots.is_empty();
        if !is_stopped && self.phase != Phase::Done {
            return;
        }
        self.finished = true;
        let verdict = match self.books.close() {
            _ if self.stopping() || self.policy.survey => Verdict::Stopped,
            Ok(closed) => Verdict::Complete(closed),
            Err(complaint) => {
                self.soft.add(exit::PARTIAL);
                Verdict::Unaccounted(complaint)
            }
        };
        self.commands.push(Command::Finish(verdict));
    }

    /// How many rsyncs may run at once now.
    pub fn processes(&self) -> NonZero<usize> {
        self.tuner.as_ref().map_or(self.steering.most, Tuner::processes)
    }

    /// How many running launches count towards `--processes`.
    pub fn working(&self) -> usize {
        self.slots.working(self.processes())
    }

    /// When something becomes due without an input, if that is before the next regular call.
    pub fn next_change(&self) -> Option<Instant> {
        self.bandwidth.as_ref().and_then(Bandwidth::next_change)
    }

    /// Whether everything is copied, and only later steps (deletion, attributes) are left.
    pub fn is_finishing(&self) -> bool {
        !matches!(self.phase, Phase::Transfer | Phase::Repair)
    }

    /// Whether everything is being copied, and, as far as is known, nothing will be started after that.
    pub fn is_at_last_copies(&self) -> bool {
        let is_last = self.phase == Phase::Transfer && self.scanned && self.queue.is_empty() && self.repair.is_empty();
        let sets_back = self.policy.sets_times_back && !self.directories_differ();
        let needs_more = self.policy.deletes.is_some() || self.policy.removes_singles || !sets_back;
        is_last && !needs_more && self.slots.waiting().is_empty()
    }

    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done && !self.stopping()
    }

    /// The current step of the run.
    pub fn step(&self) -> Step {
        match self.phase {
            Phase::Transfer => Step::Copy,
            Phase::Repair => Step::Repair,
            Phase::Clean => Step::Clean,
            Phase::Delete(_) => Step::Delete,
            Phase::Attributes { .. } => Step::Attributes,
            Phase::Remove => Step::Remove,
            Phase::Done => Step::Done,
        }
    }

    /// Whether another launch could run, but the scan has not found enough work for it yet.
    pub fn awaits_scan(&self) -> bool {
        let may_run = self.phase == Phase::Transfer && !self.steering.paused && !self.stopping();
        may_run && !self.scanned && self.working() < self.processes().get()
    }

    /// The number of waiting buckets.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The number of buckets that are still to be copied.
    pub fn buckets_left(&self) -> u64 {
        self.books.buckets_left()
    }

    /// The entries and bytes done by launches that have ended.
    pub fn done(&self) -> Weight {
        self.done
    }

    pub fn cost(&self) -> CostModel {
        self.fit.model()
    }

    /// Whether something was created at the destination, as far as is known.
    pub fn has_begun(&self) -> bool {
        self.copied || self.spine.dest_made
    }

    /// The exit code of the run so far: the most severe one among the interruption, the code that ended the run, and the codes of completed launches.
    pub fn code(&self) -> RunCode {
        let mut code = RunCode::default();
        if self.interrupted {
            code.add(exit::INTERRUPTED);
        }
        self.failed.into_iter().for_each(|failed| code.add(failed));
        code.add(self.soft_code());
        code
    }

    pub fn soft_code(&self) -> u8 {
        let mut code = self.soft;
        if self.is_spoilt() {
            code.add(exit::PARTIAL);
        }
        code.get()
    }

    /// Whether something was copied again, and is not as it was.
    fn is_spoilt(&self) -> bool {
        self.retry.moved_before || self.retry.read_before
    }

    /// Whether the run is as complete as it will ever be, although it has failed: what was copied again is not as it was.
    pub fn has_only_spoilt(&self) -> bool {
        self.is_spoilt() && self.soft.get() != exit::PARTIAL
    }

    pub fn host_figures(&self, now: Instant) -> Vec<HostFigures> {
        self.slots.hosts.as_ref().map_or_else(Vec::new, |hosts| hosts.figures(now))
    }
}
