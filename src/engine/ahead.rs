//! Launches that are started ahead. To another machine a launch shakes hands for longer than it then takes to begin (240 of 395 ms where a
//! round trip takes 50), so while the launch that others have to wait for goes on, the next ones connect already: those that copy while the
//! spine is made, and the one that sets its attributes while the last ones copy. They get their names on standard input (rsync(1),
//! `--files-from`) when they may begin, and have read and written nothing before.
//!
//! Meanwhile there is one process more than there are slots, which only waits. A daemon that lets nobody else in is not asked again.

use std::ffi::OsString;
use std::io::{PipeWriter, Write};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::report::{Event, Note};
use crate::rsync::command::{Copying, Invocation};
use crate::rsync::exit;
use crate::thread;

use super::launch::{Awaited, Tells};
use super::spine::Part;
use super::{Job, Run, Running, Stage};

/// A run that takes so long gains nothing worth mentioning, and a connection on which nothing travels may be cut.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// How long those that wait are given to go.
const PLACE_IS_MADE: Duration = Duration::from_millis(500);
/// So often in a row one launch is turned away for which there should be a place, before that is an error; and before anything has worked.
const LONGEST_TURN: u32 = 20;
const FIRST_TURNS: u32 = 2;
/// rsync reads a list byte by byte: of more bytes than this arguments are the faster way.
const MOST_BYTES: usize = 16 * 1024;
/// A larger spine would be looked through again and again.
const LARGEST_SPINE: usize = 256;

/// When a launch that was started begins with its work.
pub(super) enum Begins {
    AtOnce,
    /// When it gets its names.
    Ahead(Ahead),
    /// It has got them.
    Begun,
    /// Not at all: what it was to do is done otherwise.
    Never,
}

/// What belongs to a launch that waits for its names.
pub(super) struct Ahead {
    names: PipeWriter,
    begun: Arc<AtomicBool>,
    /// It was started with them, and cannot do what needs others.
    arguments: Vec<OsString>,
}

impl Running {
    pub(super) fn waits(&self) -> bool {
        matches!(self.begins, Begins::Ahead(_))
    }

    fn works(&self) -> bool {
        matches!(self.begins, Begins::AtOnce | Begins::Begun)
    }
}

impl Run<'_, '_> {
    /// Whether no launch does anything, or is still to copy.
    pub(super) fn is_idle(&self) -> bool {
        let is_to_copy = |running: &Running| running.waits() && matches!(running.job, Job::Buckets(_));
        !self.running.values().any(|running| running.works() || is_to_copy(running))
    }

    /// A slot in which nothing copies, while launches wait.
    pub(super) fn slot_beside(&self) -> Option<usize> {
        self.running.values().any(Running::waits).then(|| self.slot_without_copy()).flatten()
    }

    /// The first slot in which nothing copies: its connection is open if there is one, whatever else goes through it.
    pub(super) fn slot_without_copy(&self) -> Option<usize> {
        let copies = |running: &Running| {
            matches!(running.job, Job::Buckets(_)) && !matches!(running.begins, Begins::Never) && !running.only_ends
        };
        self.places.free(|slot| self.running.values().any(|running| running.slot == slot && copies(running)))
    }

    /// The slot of a launch: where others run or ran, for one that waits.
    pub(super) fn slot_for(&self, job: &Job, begins: &Begins) -> usize {
        let slot = match (begins, job) {
            (Begins::Ahead(_), Job::Buckets(_)) => self.slot_without_copy(),
            (Begins::Ahead(_), _) => None,
            _ => self.free_slot(),
        };
        slot.unwrap_or(0)
    }

    fn may_go_ahead(&self) -> bool {
        // After a connection has failed nobody tries how many are too many.
        self.goes_ahead
            && !self.fell_back
            && self.at_once == self.config.processes
            && self.started.elapsed() < LONGEST_RUN
    }

    /// Starts a launch that copies as soon as the spine directories that are being made are there.
    pub(super) fn start_copy_ahead(&mut self) -> Result<bool> {
        let created = self.running.values().find_map(|running| match running.job {
            Job::Create(known) if running.works() => Some(known),
            _ => None,
        });
        let Some(created) = created.filter(|_| self.may_go_ahead()) else { return Ok(false) };
        // What is too much would be taken and put back with each message.
        let room = self.room.min(MOST_BYTES);
        let taken = self.queue.take(self.config.processes, room, created, !self.scanned);
        let Some(first) = taken.first() else { return Ok(false) };
        let how = self.copying_ahead(*first);
        let bytes: usize = taken.iter().map(|bucket| bucket.argument_bytes).sum();
        // Without rsync's own care about exposed names a list means another launch than arguments.
        if bytes <= MOST_BYTES && (!first.exposed || self.plan.recipe.lists) {
            let units = self.arguments(&taken)?;
            if self.goes_alone(&units, how) {
                self.copy_alone(taken);
                return Ok(true);
            }
            let invocation = self.plan.recipe.buckets(units, how, self.room);
            if !invocation.input.is_empty() {
                self.start_ahead(Job::Buckets(taken), invocation, self.tells_copying(how))?;
                return Ok(true);
            }
        }
        self.put_back(Job::Buckets(taken));
        Ok(false)
    }

    /// Starts the launch that sets the attributes of the spine when everything was copied: it is known that there will be one.
    pub(super) fn start_end_ahead(&mut self) -> Result<()> {
        let copies = |running: &Running| matches!(running.job, Job::Buckets(_)) && running.works();
        let last = self.stage == Stage::Transfer && self.scanned && self.queue.is_empty() && self.repair.is_empty();
        // Where lines are printed it has to be quiet, and then nobody sees whether it got its names.
        let comes = self.touched && !self.plan.prints && self.plan.deletes.is_none();
        let comes = comes && self.spine.len() <= LARGEST_SPINE;
        let only_copies = !self.running.is_empty() && self.running.values().all(copies);
        if !last || !comes || !only_copies || !self.may_go_ahead() {
            return Ok(());
        }
        let parts = self.spine.parts(self.room);
        let [range] = &parts[..] else { return Ok(()) };
        let invocation = self.attributes(&self.spine.part(range.clone(), true), true);
        if !invocation.input.is_empty() && invocation.input.len() <= MOST_BYTES {
            self.start_ahead(Job::Attributes(range.clone()), invocation, Tells::New)?;
        }
        Ok(())
    }

    /// What is not known when it starts is no part of how it copies.
    fn copying_ahead(&self, bucket: Bucket) -> Copying {
        Copying { listed: true, unmarked: false, ..self.copying(bucket) }
    }

    fn start_ahead(&mut self, job: Job, invocation: Invocation, tells: Tells) -> Result<()> {
        let pipe = std::io::pipe();
        let (reader, writer) =
            pipe.map_err(|cause| Error::usage("cannot make a pipe").because(cause).exit(exit::IPC))?;
        let begun = Arc::<AtomicBool>::default();
        let arguments = invocation.arguments.clone();
        let begins = Begins::Ahead(Ahead { names: writer, begun: Arc::clone(&begun), arguments });
        self.start_as(job, invocation, tells, begins, Some(Awaited { names: reader, begun }))
    }

    /// Lets launches begin whose spine directories are there, and those end that have waited for too long.
    pub(super) fn begin_copies(&mut self) -> Result<()> {
        if self.started.elapsed() >= LONGEST_RUN {
            self.dismiss_all();
        }
        for (launch, job) in self.waiting() {
            let Job::Buckets(buckets) = &job else { continue };
            let stands = |bucket: &Bucket| bucket.spine_before <= self.spine.created;
            if !self.spine.dest_made || !buckets.iter().all(stands) {
                continue;
            }
            let how = self.copying_ahead(buckets[0]);
            let begun = match self.launchable(buckets)? {
                Some(units) => self.hand_names(launch, self.plan.recipe.buckets(units, how, self.room))?,
                // Nothing is left of it: that was said.
                None => {
                    self.dismiss(launch);
                    true
                }
            };
            if !begun {
                self.put_back(job);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> Vec<(u64, Job)> {
        let waiting = self.running.iter().filter(|(_, running)| running.waits());
        waiting.map(|(launch, running)| (*launch, running.job.clone())).collect()
    }

    /// Lets the launch begin that sets these attributes; `false` if none waits that could.
    pub(super) fn begin_end(&mut self, range: &Range<usize>, part: &Part) -> Result<bool> {
        let sets = |running: &Running| matches!(&running.job, Job::Attributes(waiting) if waiting == range);
        let waiting = self.running.iter().find(|(_, running)| running.waits() && sets(running));
        let Some(launch) = waiting.map(|(launch, _)| *launch) else { return Ok(false) };
        self.hand_names(launch, self.attributes(part, true))
    }

    /// Hands a launch its names, if they are those of a launch with the same arguments; otherwise it ends.
    fn hand_names(&mut self, launch: u64, invocation: Invocation) -> Result<bool> {
        let Some(running) = self.running.get_mut(&launch) else { return Ok(false) };
        let Begins::Ahead(Ahead { mut names, begun, arguments }) =
            std::mem::replace(&mut running.begins, Begins::Never)
        else {
            return Ok(false);
        };
        if invocation.arguments != arguments || invocation.input.is_empty() {
            return Ok(false);
        }
        running.begins = Begins::Begun;
        begun.store(true, Ordering::SeqCst);
        self.last_start = Instant::now();
        thread::start(self.scope, move || {
            // An rsync that reads no more says why itself.
            let _ = names.write_all(&invocation.input);
        })?;
        Ok(true)
    }

    /// Lets a launch end that was to begin: a list without names leaves rsync nothing to do.
    fn dismiss(&mut self, launch: u64) {
        self.running.get_mut(&launch).into_iter().for_each(|running| running.begins = Begins::Never);
    }

    /// Lets all end that wait; what they were to copy waits again.
    pub(super) fn dismiss_all(&mut self) {
        for (launch, job) in self.waiting() {
            self.dismiss(launch);
            self.copy_otherwise(job);
        }
    }

    /// A launch was not let in: those that wait make place for it, and nothing is started ahead any more.
    pub(super) fn make_place(&mut self, job: Job) {
        self.goes_ahead = false;
        self.pause_until = Some(Instant::now() + PLACE_IS_MADE);
        self.dismiss_all();
        self.put_back(job);
    }

    /// A launch was not let in while others of this run had their places: from now on no more than these run at once, and it is no failure.
    /// The other side may not have noticed yet that the last one is gone. `false` if that has lasted too long, or is somebody else's.
    pub(super) fn takes_turns(&mut self, job: &Job) -> bool {
        if matches!(job, Job::Plain) || !self.config.hosts.is_empty() {
            return false;
        }
        if let Some(others) = NonZero::new(self.running.len()) {
            let first = self.most_at_once == self.config.processes && others < self.most_at_once;
            if first && self.config.tells_how {
                (self.tell)(Event::Note(Note::FewerAtOnce));
            }
            self.most_at_once = self.most_at_once.min(others);
            self.at_once = self.at_once.min(others);
        } else {
            self.turned_away += 1;
            if self.turned_away > if self.spine.dest_made { LONGEST_TURN } else { FIRST_TURNS } {
                return false;
            }
        }
        self.pause_until = Some(Instant::now() + PLACE_IS_MADE);
        true
    }

    /// What has to be done otherwise because a launch that was started ahead has done nothing: it ended before it could begin, or it is a program
    /// in the place of rsync that does not hand on what it reads, and all went well with no file. This way is not tried again.
    pub(super) fn has_done_nothing(&mut self, job: &Job, begins: &Begins, nothing: bool) -> bool {
        match begins {
            Begins::AtOnce => return false,
            Begins::Begun if !nothing => return false,
            Begins::Begun => self.put_back(job.clone()),
            Begins::Ahead(_) => self.copy_otherwise(job.clone()),
            Begins::Never => return true,
        }
        self.goes_ahead = false;
        self.dismiss_all();
        true
    }

    fn copy_otherwise(&mut self, job: Job) {
        if let Job::Buckets(_) = job {
            self.put_back(job);
        }
    }
}
