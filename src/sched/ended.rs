//! What the end of a launch changes.

use crate::bucket::Bucket;
use crate::report::{LaunchResult, Note};
use crate::rsync::exit;
use crate::rsync::options::Delete;
use crate::scan::Weight;

use super::input::{Command, Ending, NotLaunched, Report};
use super::outcome::{BROKEN_RETRIES, Case, Outcome, outcome};
use super::phase::Phase;
use super::slots::{Running, State};
use super::{LaunchId, Scheduler, Task, Work};

impl Scheduler {
    pub(super) fn ended(&mut self, launch: LaunchId, report: &Report) {
        let Some(running) = self.slots.remove(launch) else { return };
        let now = self.now;
        self.bandwidth.iter_mut().for_each(|bandwidth| bandwidth.ends(launch, report.sent, now));
        // Findings were already reported to the user, so they count whatever the outcome is.
        self.found(&report.after);
        let case = self.case(&running, report);
        let outcome = outcome(self.rules, &case);
        let (code, denied) = (case.code(), case.is_denied(self.policy.as_root));
        let (sender_failed, came_to_nothing) = (case.sender_failed(), case.came_to_nothing());
        let held = case.held;
        let Running { work, slot, weight, .. } = running;
        if let Work::Create(_) = work {
            self.spine.creating = false;
            self.spine.standing = 0;
            self.spine.was_made |= matches!(outcome, Outcome::Settle(_));
        }
        if !matches!(outcome, Outcome::Nothing | Outcome::NotAhead | Outcome::NotLaunched(_)) {
            self.touched |= may_have_changed(report);
        }
        self.tell_hosts(slot, &outcome, &work, weight, report);
        if outcome.is_heard() && !came_to_nothing {
            self.commands.push(Command::TellHeld(launch));
        }
        if outcome.counts() {
            self.commands.push(Command::Accept(launch));
            // If the bucket is repaired, the repair lists its failures.
            if code == exit::PARTIAL && (!denied || self.stopping()) {
                self.commands.push(Command::NoteFailures { launch, code });
            }
            self.sender_failed |= sender_failed;
        }
        let (decided, had_failed) = (self.commands.len(), self.stopping());
        match outcome {
            Outcome::Nothing => {}
            Outcome::NotAhead => {
                self.goes_ahead = false;
                // An attributes launch that was started ahead has taken no part from the phase, so that nothing is put back.
                if !matches!(work, Work::Attributes(_)) || running.state.works() {
                    self.put_back(work);
                }
                self.dismiss_all();
            }
            Outcome::NotLaunched(why) => self.not_launched(work, running.state, why),
            Outcome::MakePlace => self.make_place(work),
            Outcome::TakeTurns => self.take_turns(work),
            Outcome::PutBack => self.put_back(work),
            Outcome::Abort => self.commands.push(Command::Abort(launch)),
            Outcome::Elsewhere(code, whose) => self.elsewhere(slot, work, report, (code, whose)),
            Outcome::FallBack => self.fall_back(code, report.said.complaint.as_deref()),
            Outcome::OnceMore => self.once_more(work, report),
            Outcome::Fail(code) => self.fail(code),
            Outcome::Again { code, most } => self.again(work, report, code, most),
            Outcome::AgainAfterPause(code) => self.after_pause(work, report, code),
            Outcome::AgainWithWholeLists(code) => {
                self.whole_lists = true;
                self.again(work, report, code, BROKEN_RETRIES);
            }
            Outcome::AgainWithFewer(code) => {
                self.fewer_at_once();
                self.again(work, report, code, u32::MAX);
            }
            Outcome::MakeRoom => self.make_room(),
            Outcome::Settle(code) => {
                // A launch that was stopped by a pause says nothing about the time of others.
                if !held {
                    self.learn(&work, slot, weight, report);
                }
                self.settle(launch, work, weight, code, denied, report);
            }
        }
        let result = result(outcome, had_failed, self.stopping());
        // This command precedes the commands that may end the run.
        self.commands.insert(decided, Command::Decided { launch, result });
    }

    fn case<'a>(&self, running: &'a Running, report: &'a Report) -> Case<'a> {
        let policy = &self.policy;
        let parallel = policy.one_rsync.is_none() && self.one_rsync.is_none();
        // One rsync must be able to finish what several have begun.
        let may_have_begun = self.slots.any_copies() || !self.retry.repeated.is_empty() || self.aside.is_some();
        let has_moved = (policy.removes || policy.access_times) && may_have_begun;
        let may_end = !self.copied && !has_moved || policy.repeatable && policy.harm.is_none();
        let repeats = policy.repeatable && policy.harm.is_none();
        Case {
            work: &running.work,
            state: running.state,
            crowded: running.crowded,
            held: running.held || report.was_held,
            report,
            stopping: self.stopping(),
            fell_back: self.fell_back,
            others: self.slots.len(),
            on_hosts: policy.on_hosts,
            elsewhere: policy.elsewhere,
            turned_away: self.retry.turned_away,
            dest_made: self.spine.dest_made,
            dest_is_local: policy.dest_is_local,
            launches: self.launches,
            may_fall_back: parallel && may_end && !policy.gitignore && !self.resumes && !policy.stops_itself,
            may_repeat: repeats
                && policy.retries > 0
                && !running.work.buckets().iter().any(|bucket| self.retry.tries.contains_key(&bucket.id)),
            may_make_room: self.may_make_room(&running.work),
            stops_itself: policy.stops_itself,
            pretends: policy.pretends,
            deletes: policy.deletes,
        }
    }

    /// Tells the host pool how a launch on one of its hosts ended.
    fn tell_hosts(&mut self, slot: usize, outcome: &Outcome, work: &Work, weight: Weight, report: &Report) {
        let stopping = self.stopping();
        let Some(hosts) = &mut self.slots.hosts else { return };
        match outcome {
            Outcome::Elsewhere(..) => {}
            outcome if !stopping && (outcome.is_heard() || *outcome == Outcome::FallBack) => {
                let buckets = if let Work::Copy(buckets) = work { buckets.len() as u64 } else { 0 };
                hosts.won(slot, buckets, weight, report.ran);
            }
            _ => hosts.left(slot),
        }
    }

    fn not_launched(&mut self, work: Work, state: State, why: NotLaunched) {
        self.launches -= 1;
        match why {
            NotLaunched::NothingLeft { told } => self.books.skip(work.tasks(), told),
            NotLaunched::Alone => self.copy_alone(work.buckets().to_vec()),
            NotLaunched::Stands { other_times } => {
                let Work::Create(part) = work else { return };
                // If the directories exist already, most files usually do as well.
                self.queue.expect_little(true);
                self.spine.other_times |= other_times;
                self.created(part.end);
            }
            NotLaunched::Made => {
                let Work::Create(part) = work else { return };
                self.touched = true;
                self.spine.was_made = true;
                self.spine.other_times = true;
                self.created(part.end);
            }
            NotLaunched::AsCreated => self.books.done(work.tasks()),
            NotLaunched::NoList => {
                self.goes_ahead = false;
                // An attributes launch that was started ahead has taken no part from the phase, so that nothing is put back.
                if !matches!(work, Work::Attributes(_)) || state.works() {
                    self.put_back(work);
                }
            }
            NotLaunched::Stopped => {}
        }
    }

    pub(super) fn drains(&mut self, launch: LaunchId) {
        self.slots.drains(launch);
        if let Some(Work::Create(part)) = self.slots.get(launch).map(|running| &running.work) {
            self.spine.standing = part.end;
        }
    }

    fn created(&mut self, end: usize) {
        let entries = (end - self.spine.created) as u64;
        self.done += Weight { entries, bytes: 0 };
        self.spine.created = end;
        self.spine.dest_made = true;
    }

    /// Learns from the duration of a launch what later ones will take.
    fn learn(&mut self, work: &Work, slot: usize, weight: Weight, report: &Report) {
        let seconds = report.ran.as_secs_f64();
        if let Work::Copy(_) = work {
            self.fit.learn(weight, seconds);
            let model = self.fit.model();
            self.queue.learned(model);
            if let Some(hosts) = &mut self.slots.hosts {
                hosts.took(slot, seconds / (model.launch + model.work(weight)));
            }
        } else {
            self.fit.bound(seconds);
            self.queue.goes_by(self.fit.model());
        }
    }

    fn settle(&mut self, launch: LaunchId, work: Work, weight: Weight, code: u8, denied: bool, report: &Report) {
        self.retry.succeeded();
        if !work.copies() {
            self.books.done(work.tasks());
        }
        match work {
            Work::Create(part) => self.created(part.end),
            Work::Copy(buckets) if code == exit::PARTIAL && denied => {
                self.done += weight;
                self.copied = true;
                self.repeats(&Work::Copy(buckets.clone()), report);
                self.repair.extend(buckets);
                // A repair does not run into the other failures again, so they count now.
                if report.said.otherwise {
                    self.soft.add(code);
                }
                return;
            }
            Work::Copy(buckets) => {
                self.done += weight;
                self.copied(launch, code, &buckets);
            }
            Work::Repair(bucket) => {
                self.done += weight;
                self.alone.remove(&bucket.id);
                self.copied(launch, code, &[bucket]);
            }
            Work::Everything => {
                self.books.settle_all();
                // This includes buckets that other launches had copied before.
                self.removals.clear();
                // The one rsync runs itself into everything that the scan could not read, as far as that is part of the transfer.
                self.soft = exit::RunCode::default();
            }
            // Someone else has already removed the name, so that nothing is left to do.
            Work::Remove(_) if code == exit::VANISHED => return,
            Work::Clean(_) | Work::Remove(_) | Work::Delete(_) | Work::Attributes(_) => {}
        }
        self.soft.add(code);
    }

    fn copied(&mut self, launch: LaunchId, code: u8, buckets: &[Bucket]) {
        self.copied = true;
        self.is_copied(buckets);
        self.commands.push(Command::Count(launch));
        self.books.done(buckets.iter().map(|bucket| Task::Copy(bucket.id)));
        let ids = buckets.iter().map(|bucket| bucket.id);
        let (cut, whole): (Vec<u64>, Vec<u64>) = ids.partition(|id| self.books.is_cut(*id));
        let (sender_failed, again) = (self.sender_failed, self.is_spoilt());
        for (buckets, code) in [(whole, code), (cut, exit::PARTIAL)] {
            if !buckets.is_empty() {
                self.commands.push(Command::Done { launch, code, sender_failed, again, buckets });
            }
        }
    }

    /// Notes what is still to be done with copied buckets. If deletion comes after everything was copied, it is a step of its own, because a launch does not
    /// know when the others have copied. Single names are removed later, too: rsync itself checks again whether a name was copied before it removes it.
    pub(super) fn is_copied(&mut self, buckets: &[Bucket]) {
        if self.policy.deletes_late() {
            self.books.open(buckets.iter().map(|bucket| Task::Clean(bucket.id)));
            self.to_clean.extend_from_slice(buckets);
        }
        if self.policy.removes_singles && !self.policy.pretends {
            let singles: Vec<Bucket> = buckets.iter().filter(|bucket| bucket.singles).copied().collect();
            self.books.open(singles.iter().map(|bucket| Task::Remove(bucket.id)));
            self.removals.extend(singles);
        }
    }

    /// Leaves the run to one rsync, because a server refuses what several rsyncs need.
    fn fall_back(&mut self, code: u8, said: Option<&str>) {
        let why = said.unwrap_or(exit::meaning(code)).to_owned();
        if self.policy.tells_how {
            self.note(Note::ServerRefuses { why });
        }
        self.fell_back = true;
        let why = "the server refuses what several rsyncs need".to_owned();
        self.commands.push(Command::OneRsync(why.clone()));
        self.one_rsync = Some(why);
        self.one_waits = true;
        self.phase = Phase::Transfer;
        self.repair.clear();
        self.removals.clear();
        self.to_clean.clear();
        self.dismiss_all();
        self.queue.clear();
    }

    /// Whether one rsync may do the rest after the destination ran out of room. While launches copy, extraneous entries of split directories are still there,
    /// but one rsync deletes as it copies. This is not done if copying again would change more than what failed.
    fn may_make_room(&self, work: &Work) -> bool {
        let policy = &self.policy;
        let copies = matches!(work, Work::Copy(_) | Work::Create(_));
        // The run is already left to one rsync, because another launch ran out of room.
        if self.one_waits && copies {
            return true;
        }
        let deletes = matches!(policy.deletes, Some(Delete::Auto | Delete::During));
        let may = deletes && copies && self.scanned && self.phase == Phase::Transfer && self.one_rsync.is_none();
        let again = policy.repeatable && policy.harm.is_none() && !policy.gitignore;
        let here = !policy.on_hosts && !self.resumes && !self.stopping();
        may && again && here
    }

    fn make_room(&mut self) {
        if self.one_waits {
            return;
        }
        const WHY: &str = "there is not enough room for everything until extraneous entries are deleted";
        self.commands.push(Command::OneRsync(WHY.to_owned()));
        self.one_rsync = Some(WHY.to_owned());
        self.note(Note::OneRsyncForTheRest { why: WHY.to_owned() });
        self.dismiss_all();
        self.one_waits = true;
    }
}

/// What is reported about a launch. `ending`: the run was already ending before this launch ended. `ends`: it is ending now.
fn result(outcome: Outcome, ending: bool, ends: bool) -> LaunchResult {
    match outcome {
        Outcome::Settle(exit::OK) => LaunchResult::Done,
        Outcome::Settle(_) => LaunchResult::Partial,
        _ if ending => LaunchResult::Stopped,
        Outcome::Nothing | Outcome::NotLaunched(_) => LaunchResult::Unused,
        Outcome::Abort | Outcome::Fail(_) | Outcome::FallBack | Outcome::MakeRoom => LaunchResult::Failed,
        _ if ends => LaunchResult::Failed,
        Outcome::NotAhead
        | Outcome::MakePlace
        | Outcome::TakeTurns
        | Outcome::PutBack
        | Outcome::Elsewhere(..)
        | Outcome::OnceMore
        | Outcome::AgainAfterPause(_)
        | Outcome::Again { .. }
        | Outcome::AgainWithWholeLists(_)
        | Outcome::AgainWithFewer(_) => LaunchResult::Again,
    }
}

/// Whether the launch changed something at the destination, or may have.
fn may_have_changed(report: &Report) -> bool {
    let in_order = matches!(report.ending, Ending::Ended(ended) if ended.code() == exit::OK);
    !in_order || report.said.changes
}
