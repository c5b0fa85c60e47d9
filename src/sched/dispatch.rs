//! What is started next: the launch that the phase of the run asks for, and whether it may start yet.

use std::num::NonZero;
use std::ops::Range;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::plan::folding::Folding;
use crate::report::Note;
use crate::rsync::command::Copying;
use crate::rsync::exit;
use crate::rsync::options::Delete;
use crate::scan::Weight;

use super::input::{Command, Release};
use super::phase::Phase;
use super::slots::{Running, State};
use super::{LaunchId, Scheduler, Start, Work};

/// While the scan is running, waiting buckets are launched after this long, even if they are little work.
const LONGEST_WAIT: Duration = Duration::from_millis(900);
/// Launches are started ahead only this long: in a longer run they save nothing worth mentioning, and a connection that stays idle may be cut.
const LONGEST_AHEAD: Duration = Duration::from_secs(60);
/// rsync reads a list byte by byte, so that arguments are faster than a longer list.
pub(crate) const MOST_LISTED: usize = 16 * 1024;
/// With more split directories, looking through all of them repeatedly would take too long.
const MOST_DIRECTORIES_AHEAD: usize = 256;

impl Scheduler {
    pub(super) fn start_all(&mut self) {
        while self.working() < self.processes().min(self.retry.at_once).get()
            && self.steering.may_start()
            && !self.pausing()
            && self.slots.free().is_some()
        {
            if !self.start_one() {
                break;
            }
        }
    }

    fn start_one(&mut self) -> bool {
        if self.stopping() || self.one_rsync.is_none() && !self.has_bandwidth() {
            return false;
        }
        let is_safe_to_delete = self.is_safe_to_delete();
        match &mut self.phase {
            Phase::Transfer if !self.policy.survey => self.start_transfer(),
            // Repairs run alone, because they may change the modes of directories.
            Phase::Repair if self.slots.is_idle() => {
                let Some(bucket) = self.repair.pop() else { return false };
                let how = Copying { repair: true, ..self.copying(&[bucket]) };
                self.start(Work::Repair(bucket), Some(how));
                true
            }
            Phase::Clean | Phase::Delete(_) if !is_safe_to_delete => false,
            Phase::Clean => {
                let taken = self.queue.take(self.processes(), self.policy.room, u32::MAX, false);
                let any = !taken.is_empty();
                if any {
                    self.start(Work::Clean(taken), None);
                }
                any
            }
            Phase::Delete(parts) => match parts.pop() {
                Some(part) => {
                    self.start(Work::Delete(part), None);
                    true
                }
                None => false,
            },
            Phase::Attributes { parts, .. } => match parts.pop() {
                Some(part) => {
                    if !self.release_attributes(&part) {
                        self.start(Work::Attributes(part), None);
                    }
                    true
                }
                None => false,
            },
            Phase::Remove => match self.next_removals() {
                Some(buckets) => {
                    self.start(Work::Remove(buckets), None);
                    true
                }
                None => false,
            },
            Phase::Transfer | Phase::Repair | Phase::Done => false,
        }
    }

    fn start_transfer(&mut self) -> bool {
        if self.one_rsync.is_some() {
            let is_free = !self.spine.creating && self.slots.is_idle() && (!self.fell_back || self.slots.is_empty());
            if is_free && std::mem::take(&mut self.one_waits) {
                self.queue.clear();
                self.repair.clear();
                self.start(Work::Everything, None);
            }
            return false;
        }
        let slots = self.steering.most;
        if !self.scanned {
            // A tree in which nothing was split may still be left to one rsync. The listing of another machine arrives late, and all at once.
            let told_for = self.first_found.map(|since| self.now.duration_since(since));
            if told_for.is_none_or(|told_for| told_for < self.policy.short_scan) {
                return false;
            }
            // Several launches are certain: DEST can be created meanwhile, unless rsync prints a line for it, or something has to be deleted first.
            let early = slots.get() > 1 && self.queue.is_worth_two();
            let silent = !self.policy.prints && self.policy.deletes != Some(Delete::Before);
            if early && silent && !self.spine.dest_made && !self.spine.creating {
                self.create();
                return true;
            }
            if self.policy.waits_for_scan() {
                return false;
            }
            let waited = self.now.duration_since(self.last_start) >= LONGEST_WAIT && !self.queue.is_empty();
            if !waited && !self.queue.worth_starting(slots) {
                return false;
            }
        } else if self.only_created && !self.resumes {
            if self.meeting.name.is_some() && !self.spine.dest_made && self.spine.len() > 0 {
                // Whether names meet is tested in the directories that this creates.
                if !self.spine.creating {
                    self.create();
                    return true;
                }
                return false;
            }
            // Whether one rsync does everything is decided when no launch is creating directories.
            match self.why_one() {
                Decision::Waits => return false,
                Decision::One(why) => {
                    self.becomes_one(why.to_owned());
                    return !self.spine.creating;
                }
                Decision::Several => {}
            }
        }
        if self.queue.is_empty() && !self.lacks_spine() {
            return false;
        }
        let needed = (self.queue.spine_needed() as usize).min(self.spine.len()) > self.spine.created;
        let wanted = !self.spine.dest_made || needed || self.lacks_spine();
        if wanted && !self.spine.creating {
            self.create();
            return true;
        }
        if !self.spine.dest_made {
            return self.start_copy_ahead();
        }
        let (taken, slot) = self.take_for_a_slot(slots);
        if taken.is_empty() {
            return self.start_copy_ahead();
        }
        if !self.has_bandwidth_for(&taken) {
            self.put_back(Work::Copy(taken));
            return false;
        }
        let Some(taken) = self.in_time(taken) else { return false };
        let how = self.copying(&taken);
        self.start_in(slot, Work::Copy(taken), Some(how), false);
        true
    }

    /// The buckets for a launch, and the slot that gets them: as many as suit its host. If they would take too long on a much slower host, a faster one is
    /// tried. The result is empty if no suitable slot is free.
    fn take_for_a_slot(&mut self, slots: NonZero<usize>) -> (Vec<Bucket>, usize) {
        let mut slot = self.slots.free();
        while let Some(free) = slot {
            let (pace, room, created) = (self.slots.pace(free), self.policy.room, self.created_for_buckets());
            let taken = self.queue.take_at(pace, slots, room, created, !self.scanned);
            if !taken.is_empty() || !pace.is_slow() {
                return (taken, free);
            }
            slot = self.slots.free_faster(free);
        }
        (Vec::new(), 0)
    }

    /// How many split directories exist, as buckets count them ([`Bucket::spine_before`]).
    fn created_for_buckets(&self) -> u32 {
        self.for_buckets(self.spine.created)
    }

    fn for_buckets(&self, exist: usize) -> u32 {
        let are_all = self.scanned && exist == self.spine.len();
        if are_all { u32::MAX } else { exist as u32 }
    }

    /// Whether one rsync copies everything that the scan found, and why. Asked before any launch has copied.
    fn why_one(&mut self) -> Decision {
        if self.meeting.name.is_some() {
            let Some(answer) = self.folding() else { return Decision::Waits };
            let name = self.meeting.name.take().unwrap_or_default();
            match answer {
                Folding::Tells => {}
                // With deletion, even one rsync may delete what it has copied under the other name (3.5.0 with `--delete-after` leaves nothing at all, and
                // exits with 0). Therefore nothing is deleted, and the user is told.
                Folding::Folds if self.policy.deletes.is_some() => self.tell_meeting(name),
                Folding::Folds | Folding::Unknown => {
                    if self.policy.tells_how {
                        self.note(Note::NamesMeet { name });
                    }
                    return Decision::One(
                        "names in the source differ only in case, or in the form of a letter, and may be the same name at the destination",
                    );
                }
            }
        }
        // One rsync would delete, or would copy ignored entries: each directory with an ignored entry was split.
        if self.meeting.is_one || self.policy.gitignore && self.spine.len() > 0 {
            return Decision::Several;
        }
        if self.keeps() {
            return Decision::One(
                "something cannot be read, and only a single rsync knows what it may then still delete",
            );
        }
        if self.policy.prints && self.policy.unlocks && self.spine.locked {
            return Decision::One("directories without u+rwx would be printed with other modes");
        }
        if self.bandwidth.is_some() && self.queue.is_nearly_one() {
            return Decision::One(
                "one part is nearly the whole tree, and the bandwidth limit is for all rsyncs together",
            );
        }
        let all = self.queue.take(self.steering.most, self.policy.room, u32::MAX, false);
        let one = self.queue.is_empty();
        all.into_iter().for_each(|bucket| self.queue.push(bucket));
        if one && !(self.policy.makes_much && self.spine.len() > 0 && self.queue.is_worth_two()) {
            Decision::One("the tree is too small for several rsyncs")
        } else {
            Decision::Several
        }
    }

    fn becomes_one(&mut self, why: String) {
        self.commands.push(Command::OneRsync(why.clone()));
        self.one_rsync = Some(why);
        self.queue.clear();
        self.one_waits = true;
    }

    /// Whether the destination distinguishes the names; `None` if that is not known yet, and then it is asked.
    fn folding(&mut self) -> Option<Folding> {
        let answer = self.meeting.answer.take();
        if answer.is_none() && !std::mem::replace(&mut self.meeting.asks, true) {
            self.commands.push(Command::AskFolding);
        }
        answer
    }

    /// Decides, when everything was copied and before anything is deleted, whether names that meet are one name at the destination. `None` if that is not known
    /// yet.
    pub(super) fn keep_what_meets(&mut self) -> Option<()> {
        let answer = self.folding()?;
        if let Some(name) = self.meeting.name.take()
            && answer != Folding::Tells
        {
            self.tell_meeting(name);
        }
        Some(())
    }

    fn tell_meeting(&mut self, name: String) {
        self.meeting.is_one = true;
        self.soft.add(exit::PARTIAL);
        self.sender_failed = true;
        self.commands.push(Command::TellMeeting(name));
    }

    /// Starts a launch that creates split directories. It finds nothing to do if they exist already as rsync would make them.
    fn create(&mut self) {
        if !self.spine.dest_made {
            self.name_missing_sources();
        }
        let part = self.spine.fitting(self.spine.created, self.policy.room);
        self.spine.creating = true;
        self.start(Work::Create(part), None);
    }

    /// How a launch copies these buckets, all of one kind.
    fn copying(&self, buckets: &[Bucket]) -> Copying {
        let is_repeated = |bucket: &Bucket| self.retry.repeated.contains(&bucket.id);
        Copying {
            repair: false,
            keep: self.keeps() || self.meeting.is_one || self.policy.deletes_late(),
            exposed: buckets[0].exposed,
            singles: buckets[0].singles,
            again: self.resumes || buckets.iter().any(is_repeated),
            whole_list: self.whole_lists,
            listed: false,
            unmarked: self.touched,
        }
    }

    /// How a launch that is started ahead copies. It must not depend on anything that may change before the launch is released.
    fn copying_ahead(&self, buckets: &[Bucket]) -> Copying {
        Copying { listed: true, unmarked: false, ..self.copying(buckets) }
    }

    /// Deletion stops as soon as something in the source is known to be unreadable, as in one rsync, or if it would concern what was moved.
    fn keeps(&self) -> bool {
        self.retry.spares || self.sender_failed && self.policy.keeps_if_failed()
    }

    /// As many buckets as fit into the arguments of one launch.
    fn next_removals(&mut self) -> Option<Vec<Bucket>> {
        let mut taken = vec![self.removals.pop()?];
        let mut room = self.policy.room.saturating_sub(taken[0].argument_bytes);
        while let Some(next) = self.removals.last()
            && next.argument_bytes <= room
            && next.exposed == taken[0].exposed
        {
            room -= next.argument_bytes;
            taken.extend(self.removals.pop());
        }
        Some(taken)
    }

    fn start(&mut self, work: Work, how: Option<Copying>) {
        let slot = self.slots.free().unwrap_or(0);
        self.start_in(slot, work, how, false);
    }

    fn start_in(&mut self, slot: usize, work: Work, how: Option<Copying>, ahead: bool) {
        let launch = self.next_launch;
        self.next_launch += 1;
        self.launches += 1;
        self.last_start = self.now;
        self.only_created &= matches!(work, Work::Create(_));
        let weight = match &work {
            Work::Copy(buckets) => buckets.iter().map(|bucket| bucket.weight).sum(),
            Work::Repair(bucket) if self.alone.contains(&bucket.id) => bucket.weight,
            _ => Weight::default(),
        };
        let limit = self.limit(launch, &work, weight);
        self.books.starts(work.tasks());
        let looks_first = match (&work, &self.phase) {
            (Work::Create(_), _) => true,
            (Work::Attributes(_), Phase::Attributes { looks_first, .. }) => *looks_first,
            _ => false,
        };
        let first = matches!(work, Work::Create(_)) && !self.spine.dest_made && !self.policy.dest_is_local;
        let crowded = self.goes_ahead && !work.is_everything();
        let state = if ahead { State::Prestarted } else { State::Working { prestarted: false } };
        self.slots.insert(launch, Running { work: work.clone(), slot, weight, state, crowded, held: false });
        let ordinary = self.fell_back;
        let start = Start { launch, slot, work, how, ahead, looks_first, first, ordinary, limit, weight };
        self.commands.push(Command::Start(Box::new(start)));
    }

    /// Defers these buckets: they are copied one at a time after all others.
    pub(super) fn copy_alone(&mut self, buckets: Vec<Bucket>) {
        self.alone.extend(buckets.iter().map(|bucket| bucket.id));
        self.repair.extend(buckets);
    }
}

/// Whether one rsync does everything.
enum Decision {
    Waits,
    One(&'static str),
    Several,
}

/// Launches that are started ahead.
impl Scheduler {
    fn may_go_ahead(&self) -> bool {
        // After a failed connection, no launch is tried that the server may refuse.
        self.goes_ahead
            && !self.fell_back
            && self.retry.at_once >= self.steering.most
            && self.steering.may_start()
            && self.elapsed() < LONGEST_AHEAD
    }

    /// Starts a launch that copies as soon as the split directories that are being created exist.
    fn start_copy_ahead(&mut self) -> bool {
        let created = self.slots.creates_up_to().filter(|_| self.may_go_ahead());
        let Some(created) = created else { return false };
        // Buckets that do not fit into the list would be taken and put back each time.
        let room = self.policy.room.min(MOST_LISTED);
        let taken = self.queue.take(self.steering.most, room, created as u32, !self.scanned);
        if taken.is_empty() {
            return false;
        }
        let how = self.copying_ahead(&taken);
        let bytes: usize = taken.iter().map(|bucket| bucket.argument_bytes).sum();
        // Unless rsync itself guards exposed names, a launch with a list differs from one with arguments.
        if bytes > MOST_LISTED || how.exposed && !self.policy.lists_exposed {
            self.put_back(Work::Copy(taken));
            return false;
        }
        let work = Work::Copy(taken);
        let Some(slot) = self.slots.place_ahead(&work) else {
            self.put_back(work);
            return false;
        };
        self.start_in(slot, work, Some(how), true);
        true
    }

    /// Starts, ahead of time, the launch that sets the attributes of split directories after everything was copied, if it is certain to be needed.
    pub(super) fn prestart_attributes(&mut self) {
        let last = self.phase == Phase::Transfer && self.scanned && self.queue.is_empty() && self.repair.is_empty();
        // If rsync prints lines, this launch must be quiet, and then nothing shows whether it received its names. Copying into directories that were just
        // created changes their times. With a local DEST, rsync is not asked to mark changes, so `touched` may be unset.
        let changes = self.touched || self.policy.watches_dest && self.spine.was_made;
        let set_back = self.policy.sets_times_back && !self.directories_differ();
        let comes = changes && !set_back && !self.policy.prints && self.policy.deletes.is_none();
        let few = self.spine.len() <= MOST_DIRECTORIES_AHEAD;
        // More launches may run than `--processes` if that was lowered meanwhile.
        let fits = self.working() <= self.processes().get();
        if !last || !comes || !few || !fits || !self.slots.only_copies() || !self.may_go_ahead() {
            return;
        }
        let bytes: usize = self.spine.arguments.iter().map(|bytes| bytes + 1).sum();
        let parts = self.spine.parts(self.policy.room);
        if let [part] = &parts[..]
            && bytes <= MOST_LISTED
        {
            let work = Work::Attributes(part.clone());
            // A host or address that was set aside may lead to another directory when it comes back, so that no launch is started ahead on it.
            if let Some(slot) = self.slots.place_ahead(&work) {
                self.start_in(slot, work, None, true);
            }
        }
    }

    /// Releases the launches whose split directories exist, and dismisses those that have waited too long.
    pub(super) fn release_copies(&mut self) {
        if self.elapsed() >= LONGEST_AHEAD {
            self.dismiss_all();
        }
        for (launch, work) in self.slots.waiting() {
            let Work::Copy(buckets) = &work else { continue };
            let standing = self.spine.standing.max(self.spine.created);
            let stands = |bucket: &Bucket| bucket.spine_before <= self.for_buckets(standing);
            // DEST may have been created without any split directory.
            let exists = self.spine.dest_made || standing > 0;
            if exists && buckets.iter().all(stands) && self.slots.may_release(self.processes()) {
                let how = self.copying_ahead(buckets);
                self.release(launch, Some(how));
            }
        }
    }

    /// Releases the waiting launch that sets these attributes; `false` if none waits.
    fn release_attributes(&mut self, part: &Range<usize>) -> bool {
        let waiting = self.slots.waiting();
        let sets = |work: &Work| matches!(work, Work::Attributes(waiting) if waiting == part);
        let Some((launch, _)) = waiting.iter().find(|(_, work)| sets(work)) else { return false };
        self.release(*launch, None);
        true
    }

    fn release(&mut self, launch: LaunchId, how: Option<Copying>) {
        self.slots.set(launch, State::Releasing);
        self.last_start = self.now;
        self.commands.push(Command::Release { launch, how });
    }

    pub(super) fn released(&mut self, launch: LaunchId, release: Release) {
        let Some(running) = self.slots.get(launch).filter(|running| running.state == State::Releasing) else { return };
        let work = running.work.clone();
        match release {
            Release::Begun => self.slots.set(launch, State::Working { prestarted: true }),
            Release::Otherwise => {
                self.slots.set(launch, State::Dismissed);
                self.put_back(work);
            }
            Release::NothingLeft { told } => {
                self.slots.set(launch, State::Dismissed);
                self.books.skip(work.tasks(), told);
            }
        }
    }

    /// Dismisses all waiting launches, and puts their buckets back into the queue.
    pub(super) fn dismiss_all(&mut self) {
        for (launch, work) in self.slots.waiting() {
            self.slots.set(launch, State::Dismissed);
            self.commands.push(Command::Dismiss(launch));
            if let Work::Copy(_) = work {
                self.put_back(work);
            }
        }
    }
}
