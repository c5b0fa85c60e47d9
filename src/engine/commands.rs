//! How the commands of the scheduler are carried out: by starting the thread of a launch, handing over names, writing a record, or reporting an event.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::far::crew::News;
use crate::plan::{self, FarScan};
use crate::report::{Event, Failed, LaunchEnd, LaunchResult, Note};
use crate::rsync::command::Copying;
use crate::run_dir::failed::{Failure, UNLISTED};
use crate::run_dir::journal::Record;
use crate::run_dir::layout::FAILED_TEXT;
use crate::sched::{Command, Input, LaunchId, Start, Verdict, Work};
use crate::steer::Timetable;
use crate::thread;

use super::context::Context;
use super::driver::{Driver, Message, Started};
use super::gate::gate;
use super::launch::{End, Launch};
use super::ledger::Ledger;
use super::meeting;
use super::meter::Meter;
use super::tempo::Pace;
use super::userlog::UserLog;

impl Driver<'_, '_> {
    /// Carries out a command. Returns the verdict if it was the last command.
    pub(super) fn carry_out(&mut self, command: Command) -> Result<Option<Verdict>> {
        match command {
            Command::Start(start) => self.start(*start)?,
            Command::Release { launch, how } => {
                if let Some(work) = self.state.launches.get(&launch).map(|started| started.work.clone()) {
                    self.note_start(launch, &work)?;
                }
                let gate = self.state.launches.get_mut(&launch).and_then(|started| started.gate.as_mut());
                match gate {
                    Some(gate) if !gate.is_prepared() => gate.asked = Some(how),
                    _ => self.release(launch, how),
                }
            }
            Command::Dismiss(launch) => {
                self.state.launches.get_mut(&launch).into_iter().for_each(|started| started.gate = None);
            }
            Command::TellHeld(launch) => self.tell_held(launch),
            Command::Accept(launch) => self.accept(launch),
            Command::NoteFailures { launch, code } => self.note_failures(launch, code)?,
            Command::Count(launch) => {
                if let Some(end) = self.state.ended.get_mut(&launch) {
                    self.statistics.count(end);
                }
            }
            Command::Done { launch, code, sender_failed, again, buckets } => {
                self.note_dest(launch)?;
                self.statistics.bucket_done(buckets.len(), code);
                self.record(&Record::Done { launch, code, sender_failed, again, buckets })?;
            }
            Command::Retried => self.statistics.retried(),
            Command::Decided { launch, result } => self.tell_decided(launch, result),
            Command::HostBack(host) => (self.tell)(Event::HostBack(&self.slots.host(host).to_string())),
            Command::Note(note) => (self.tell)(Event::Note(note)),
            Command::Failed(failed) => (self.tell)(Event::Failed(failed)),
            Command::TellMissing => self.tell_missing(),
            Command::TellMeeting(name) => {
                let text = format!("{name} {}", meeting::MEETS);
                self.record(&Record::Unread { text: text.clone(), vanished: false, in_unit: false })?;
                (self.tell)(Event::Failed(Failed::Unread { text: text.clone(), vanished: false }));
                self.statistics.unread(text);
            }
            Command::AskFolding => {
                let (context, sender) = (Arc::clone(&self.context), self.sender.clone());
                thread::detach(move || drop(sender.send(Message::Folding(context.folding()))))?;
            }
            Command::Probe(host) => self.probe(host),
            Command::OneRsync(why) => self.becomes_one(why),
            Command::Abort(launch) => {
                let error = self.state.ended.get_mut(&launch).and_then(|end| end.error.take());
                return Err(error.unwrap_or_else(|| Error::system("an rsync failed")));
            }
            Command::Pause => self.context.control.supervisor().pause(),
            Command::Continue => self.context.control.supervisor().go_on(),
            Command::Stop => self.context.control.abort(),
            Command::Finish(verdict) => {
                if let Verdict::Complete(_) = verdict {
                    self.look_at_far_source()?;
                }
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    /// Reports which hosts take part in the scan.
    pub(super) fn tell_news(&self, news: News) {
        let note = match news {
            News::Joined { host, by } => Note::HostScans { host, by: by.to_owned() },
            News::Lost { host, why } => Note::HostScansNot { host, why },
        };
        (self.tell)(Event::Note(note));
    }

    fn tell_held(&self, launch: LaunchId) {
        let held = self.state.ended.get(&launch).map(|end| &end.held[..]).unwrap_or_default();
        let new = held.iter().filter(|(line, nth)| self.said.is_first(line, *nth));
        new.for_each(|(line, _)| (self.tell)(Event::Complained(line)));
    }

    fn accept(&mut self, launch: LaunchId) {
        let Some(end) = self.state.ended.get_mut(&launch) else { return };
        let mut spine = self.context.spine();
        spine.note_unmade(&std::mem::take(&mut end.unmade));
        spine.blocked.append(&mut std::mem::take(&mut end.blocked).into_iter().collect());
    }

    /// Records which directory DEST is, as the first launch that is done has found it.
    fn note_dest(&mut self, launch: LaunchId) -> Result<()> {
        let dest = self.state.ended.get(&launch).and_then(|end| end.dest);
        if let Some(place) = dest.filter(|_| !self.state.dest_noted) {
            self.record(&Record::Dest { place })?;
        }
        self.state.dest_noted = true;
        Ok(())
    }

    fn tell_decided(&mut self, launch: LaunchId, result: LaunchResult) {
        let Some(end) = self.state.ended.get_mut(&launch) else { return };
        if let Some(launch) = end.told.take() {
            let figures = end.has_figures.then_some(end.figures);
            let (code, ran, moved) = (end.code, end.report.ran, end.moved);
            let made = end.made.is_any().then_some(end.made);
            (self.tell)(Event::LaunchEnded(&LaunchEnd { launch, result, code, ran, moved, made, figures }));
        }
    }

    fn tell_missing(&self) {
        let plan = &self.context.plan;
        for line in plan.far.iter().flat_map(FarScan::said_of_missing) {
            (self.tell)(Event::Complained(line));
        }
        for (source, why) in plan.missing.iter().filter(|_| plan.far.is_none()) {
            (self.tell)(Event::Failed(Failed::Source { source: source.clone(), why: *why }));
        }
    }

    /// Asks in a thread whether a host or an address is reachable.
    fn probe(&mut self, host: usize) {
        let (name, ways, context) = (self.slots.host(host).clone(), self.ways, Arc::clone(&self.context));
        let sender = self.sender.clone();
        // The driver only goes away before its time if it has failed.
        let tell = move |is_there| drop(sender.send(Message::Answered(host, is_there)));
        let asked = match ways.are_addresses() {
            // When the run ends, an address that does not answer is not waited for.
            true => thread::detach(move || {
                tell(plan::leads_there_again(&context.config, host, context.control.supervisor()));
            }),
            false => thread::start(self.scope, move || {
                tell(ways.answers(&name, context.control.supervisor()));
            })
            .map(drop),
        };
        if asked.is_err() {
            self.state.inputs.push(Input::HostAnswered(host, false));
        }
    }

    fn becomes_one(&mut self, why: String) {
        (self.tell)(Event::OneRsync(&why));
        self.context.control.desk().is_one_rsync(&why);
        if self.context.config.timetable.as_ref().is_some_and(Timetable::sets_bandwidth) {
            (self.tell)(Event::Note(Note::BandwidthStays));
        }
        self.statistics.does_it_all(why);
    }

    fn start(&mut self, start: Start) -> Result<()> {
        let Start { launch, .. } = start;
        let everything = start.work.is_everything();
        if everything {
            self.make_way()?;
        }
        let place = self.slots.place(start.slot);
        if !everything {
            self.said.greet(self.tell);
            self.ways.open(&place, self.context.control.supervisor());
        }
        if !start.ahead {
            self.note_start(launch, &start.work)?;
        }
        let plan = &self.context.plan;
        let verbatim = everything && self.context.asked(&start).is_none();
        self.statistics.starts(&self.context.config, everything, verbatim);
        let meter = Arc::new(Meter::new(plan.recipe.progress && !verbatim));
        let (gate, awaited) = if start.ahead { Some(gate()?) } else { None }.unzip();
        let weight = start.weight;
        let (told, now) = (Arc::default(), Instant::now());
        let started = Started {
            work: start.work.clone(),
            weight,
            meter: Arc::clone(&meter),
            gate,
            entered: false,
            told: Arc::clone(&told),
            since: now,
            pace: Pace::new(now),
        };
        self.state.launches.insert(launch, started);
        // One rsync for everything writes the log file itself. The changes of the other two kinds were logged before, or are not for the user.
        let logs = !matches!(start.work, Work::Everything | Work::Attributes(_) | Work::Remove(_));
        let user_log = if logs { self.opened_log() } else { None };
        let task = Launch {
            context: Arc::clone(&self.context),
            start,
            place,
            ways: self.ways,
            said: Arc::clone(&self.said),
            meter,
            told,
            awaited,
            user_log,
            sender: self.sender.clone(),
            tell: self.tell,
        };
        if let Err(error) = thread::start(self.scope, move || task.run()) {
            let _ = self.sender.send(Message::Ended(launch, Box::new(End::failed(error))));
        }
        Ok(())
    }

    /// Records that a launch copies or removes, before it can.
    fn note_start(&mut self, launch: LaunchId, work: &Work) -> Result<()> {
        let buckets = match work {
            Work::Copy(_) | Work::Repair(_) => work.buckets().iter().map(|bucket| bucket.id).collect(),
            Work::Remove(_) => Vec::new(),
            _ => return Ok(()),
        };
        self.record(&Record::Started { launch, buckets })?;
        self.with_ledger(Ledger::flush)
    }

    /// Prepares the run directory for a single rsync that does everything.
    fn make_way(&mut self) -> Result<()> {
        // Bucket files that are still being synced are not needed any more.
        self.ending.store(true, Ordering::SeqCst);
        let Context { config, plan, buckets, .. } = &*self.context;
        if !config.keep && plan.one_rsync_meets(config, buckets) {
            // From now on, nothing is written to the directory.
            self.ledger.iter_mut().for_each(Ledger::stop_noting);
            buckets.vacate();
            // The journal was in the directory.
            self.ledger = None;
        }
        let why = self.statistics.one_rsync().unwrap_or_default().to_owned();
        self.with_ledger(|ledger| ledger.take(Record::OneRsync { why }))
    }

    pub(super) fn release(&mut self, launch: LaunchId, how: Option<Copying>) {
        let Some(started) = self.state.launches.get_mut(&launch) else { return };
        let Some(gate) = started.gate.take() else { return };
        self.state.begun += 1;
        gate.open(launch, started.work.clone(), how, &self.context, &self.sender);
    }

    /// The user's log file, opened when the first launch needs it.
    fn opened_log(&mut self) -> Option<Arc<UserLog>> {
        let plan = &self.context.plan;
        if !std::mem::replace(&mut self.state.log_opened, true)
            && let Some((path, typed)) = &plan.user_log
        {
            let opened = UserLog::open(path, typed, self.context.buckets.path(), plan.lists_first, self.tell);
            self.state.user_log = opened.map(Arc::new);
        }
        self.state.user_log.clone()
    }

    /// Records what a launch failed to do.
    fn note_failures(&mut self, launch: LaunchId, code: u8) -> Result<()> {
        let Some(end) = self.state.ended.get_mut(&launch) else { return Ok(()) };
        let failures = std::mem::take(&mut end.failures);
        let (phase, buckets) = (end.phase, std::mem::take(&mut end.buckets));
        self.statistics.not_copied(failures.count());
        if self.ledger.is_none() {
            return Ok(());
        }
        let names =
            failures.read(|batch| self.with_ledger(|ledger| ledger.failed(phase, code, buckets.clone(), &batch)))?;
        if names == 0 {
            return Ok(());
        }
        (self.tell)(Event::Note(Note::Unlisted { list: FAILED_TEXT.into(), names }));
        let said = format!("{names} {UNLISTED}");
        let unlisted = [Failure { name: None, said: said.into_bytes() }];
        self.with_ledger(|ledger| ledger.failed(phase, code, buckets, &unlisted))
    }
}
