//! The loop of a run: receives all events, passes them to the scheduler, and carries out its commands. It never waits for a single launch, for the scan, or for
//! the disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::plan::folding::Folding;
use crate::report::{self, Adjusted, Event, Failed, Note, Running, Step};
use crate::rsync::exit;
use crate::run_dir::Ended;
use crate::run_dir::durable::{self, BucketsKept};
use crate::run_dir::journal::Record;
use crate::scan::{ScanError, Weight};
use crate::sched::{Directory, Input, LaunchId, Release, Scheduler, Verdict, Work};
use crate::thread;

use super::context::{self, Context};
use super::feed;
use super::gate::Gate;
use super::last_look::LastLook;
use super::launch::End;
use super::ledger::{self, Ledger};
use super::meter::Meter;
use super::places::{Slots, Ways};
use super::said::Said;
use super::statistics::{Standing, Statistics};
use super::steward::Orders;
use super::tempo::Pace;
use super::userlog::UserLog;

/// How often the driver checks the clock.
const TICK: Duration = Duration::from_millis(200);
/// A shorter run does not wait for the disk, unless the user has named a run directory.
const SHORT: Duration = Duration::from_secs(5);
/// How long the driver waits for a scan that was stopped, because it may hang with the source.
const SCAN_ENDS: Duration = Duration::from_millis(500);

/// An event that the driver receives.
pub(super) enum Message {
    Scan(feed::Found),
    Prepared(LaunchId, context::Found),
    Released(LaunchId, Release, context::Found, Option<Error>),
    /// The rsync of a launch that waited for its names has read them, see [`super::gate`].
    Entered(LaunchId),
    /// A launch has done all its work, and others may take its place.
    Draining(LaunchId),
    Ended(LaunchId, Box<End>),
    Folding(Folding),
    /// Whether a host that was set aside is reachable.
    Answered(usize, bool),
    /// All bucket files are on the disk, or the run ended first.
    Synced(Result<Option<BucketsKept>>),
    /// Settings that are to be in force from now on.
    Steer(Orders),
}

/// A launch that has started and not ended.
pub(super) struct Started {
    pub work: Work,
    pub weight: Weight,
    pub meter: Arc<Meter>,
    /// Releases the launch, if it waits for its names.
    pub gate: Option<Gate>,
    /// Its rsync is known to have entered the source.
    pub entered: bool,
    /// What was reported about the launch when its rsync was started.
    pub told: Arc<OnceLock<report::Launch>>,
    pub since: Instant,
    pub pace: Pace,
}

impl Started {
    /// What is reported about the launch while it is running; `None` before its rsync is started, and while that waits for its names.
    pub fn running(&self, weight: Weight, done: Weight, age: Duration, rate: Option<u64>) -> Option<Running> {
        let launch = self.told.get().filter(|_| self.gate.is_none())?;
        Some(Running { launch: launch.clone(), weight, done, age, rate })
    }
}

pub(super) struct Driver<'scope, 'env> {
    pub context: Arc<Context>,
    pub tell: &'env (dyn Fn(Event<'_>) + Sync),
    pub scope: &'scope Scope<'scope, 'env>,
    pub sender: Sender<Message>,
    pub ways: &'env Ways,
    pub slots: Slots,
    pub ledger: Option<Ledger>,
    pub scheduler: Scheduler,
    pub statistics: Statistics,
    pub said: Arc<Said>,
    pub started: Instant,
    /// The bucket files are not needed any more.
    pub ending: Arc<AtomicBool>,
    /// The last look at the source, if it has begun.
    pub last_look: Option<LastLook<'scope>>,
    pub state: State,
}

/// The state of the driver.
#[derive(Default)]
pub(super) struct State {
    pub launches: BTreeMap<LaunchId, Started>,
    /// How many rsyncs were started or got their names.
    pub begun: u64,
    /// Launches that have ended, until the scheduler has decided about them.
    pub ended: HashMap<LaunchId, End>,
    pub inputs: Vec<Input>,
    pub user_log: Option<Arc<UserLog>>,
    pub log_opened: bool,
    scanned: bool,
    /// The journal has the identity of DEST.
    pub dest_noted: bool,
    interrupted: bool,
    pub step: Step,
    /// The settings in force, as last reported.
    pub in_force: Option<Adjusted>,
    stalls_told: bool,
    /// The lowest number that no bucket has.
    next_bucket: u64,
    /// The bucket files have to be synced to the disk.
    sync_due: bool,
    /// A thread is syncing them.
    syncing: bool,
    /// The number of the orders that are among the inputs.
    pub ordered: Option<u64>,
}

impl State {
    /// The state at the start, with the first inputs of the scheduler.
    pub fn beginning(inputs: Vec<Input>) -> State {
        let as_planned = Adjusted { processes: 0, bandwidth: None, paused: false, winds_down: false };
        let in_force = (!inputs.is_empty()).then_some(as_planned);
        State { inputs, in_force, ..State::default() }
    }
}

impl Driver<'_, '_> {
    /// Runs until the verdict.
    ///
    /// # Errors
    /// The run could not be done at all.
    pub fn run(&mut self, receiver: &Receiver<Message>) -> Result<Verdict> {
        self.notice_earlier()?;
        loop {
            if self.context.config.adapts {
                self.state
                    .inputs
                    .push(Input::InFlight(self.statistics.in_flight(meters(&self.state.launches, &self.context))));
            }
            if self.context.control.interrupted() && !std::mem::replace(&mut self.state.interrupted, true) {
                self.state.inputs.push(Input::Interrupted);
            }
            let inputs = std::mem::take(&mut self.state.inputs);
            let commands = self.scheduler.handle(Instant::now(), inputs);
            self.context.control.watch().set_awaited(self.scheduler.awaits_scan());
            self.tell_step();
            self.begin_last_look();
            for command in commands {
                if let Some(verdict) = self.carry_out(command)? {
                    self.await_scan(receiver)?;
                    return Ok(verdict);
                }
            }
            self.state.ended.clear();
            if let Some(number) = self.state.ordered.take() {
                self.context.control.desk().carried_out(number, self.scheduler.in_force());
            }
            self.with_ledger(Ledger::flush)?;
            match receiver.recv_timeout(self.patience()) {
                Ok(message) => {
                    self.hear(message)?;
                    while let Ok(message) = receiver.try_recv() {
                        self.hear(message)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.state.inputs.push(Input::Tick),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the driver holds a sender itself"),
            }
            self.look_at_the_stalls();
            self.look_at_the_progress();
            let waits = self.context.buckets.is_optional() && self.started.elapsed() < SHORT;
            if self.state.sync_due && !waits {
                self.state.sync_due = false;
                self.sync_buckets();
            }
        }
    }

    /// Reports again what an earlier part of the run could not read.
    fn notice_earlier(&mut self) -> Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let notes = ledger.notes();
        let before = ledger.before().clone();
        notes.into_iter().for_each(|text| (self.tell)(Event::Note(Note::CopiedAgain { text })));
        for (text, vanished, _) in before.unread.iter().filter(|_| before.scanned.is_some()) {
            self.note_unread(text.clone(), *vanished);
        }
        for bucket in before.buckets.values() {
            self.statistics.packed(bucket.weight);
        }
        self.statistics.was_done(&before);
        Ok(())
    }

    /// How long the driver may wait for the next message.
    fn patience(&self) -> Duration {
        self.scheduler.next_change().map_or(TICK, |at| TICK.min(at.saturating_duration_since(Instant::now())))
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Scan(found) => self.hear_scan(found)?,
            Message::Prepared(launch, found) => {
                self.state.begun += 1;
                self.take(&found)?;
                self.state.inputs.push(Input::Prepared(launch, found.findings));
                let gate = self.state.launches.get_mut(&launch).and_then(|started| started.gate.as_mut());
                if let Some(how) = gate.and_then(|gate| gate.asked.take()) {
                    self.release(launch, how);
                }
            }
            Message::Released(launch, release, found, error) => {
                if let Some(error) = error.filter(|_| !self.stopping()) {
                    return Err(error);
                }
                self.take(&found)?;
                self.state.inputs.push(Input::Prepared(launch, found.findings));
                self.state.inputs.push(Input::Released(launch, release));
            }
            Message::Entered(launch) => {
                self.state.launches.get_mut(&launch).into_iter().for_each(|started| started.entered = true);
            }
            Message::Draining(launch) => self.state.inputs.push(Input::Draining(launch)),
            Message::Ended(launch, mut end) => {
                if let Some(started) = self.state.launches.remove(&launch) {
                    end.moved = started.meter.moved().max(end.figures.transferred_bytes + end.made.bytes);
                    end.told = started.told.get().cloned();
                    self.statistics.ended(&started.work, &end);
                }
                if end.report.said.out_of_reach && !self.stopping() && self.context.plan.recipe.handles.give_up() {
                    (self.tell)(Event::Note(Note::SourcesByPath));
                }
                self.take(&std::mem::take(&mut end.found))?;
                self.state.inputs.push(Input::Ended(launch, Box::new(end.report.clone())));
                self.state.ended.insert(launch, *end);
            }
            Message::Folding(answer) => self.state.inputs.push(Input::Folding(answer)),
            Message::Answered(host, is_there) => self.state.inputs.push(Input::HostAnswered(host, is_there)),
            Message::Steer(orders) => self.steer(orders),
            Message::Synced(synced) => {
                self.state.syncing = false;
                self.with_ledger(|ledger| match synced? {
                    Some(kept) => ledger.sync_scanned(kept),
                    None => Ok(()),
                })?;
            }
        }
        Ok(())
    }

    fn hear_scan(&mut self, found: feed::Found) -> Result<()> {
        match found {
            feed::Found::Spine(dir) => {
                self.record_found(&ledger::spine_record(&dir))?;
                let argument_bytes = dir.argument.as_ref().map_or(0, Vec::len);
                self.state.inputs.push(Input::Directory(Directory { argument_bytes, locked: dir.locked }));
                self.context.spine().push(dir);
                // A split directory means several launches, and the first one will come soon.
                self.ways.open(&self.slots.place(0), self.context.control.supervisor());
            }
            feed::Found::Buckets(closed) => {
                for bucket in &closed {
                    self.state.next_bucket = self.state.next_bucket.max(bucket.id + 1);
                    if !self.replays() {
                        self.statistics.packed(bucket.weight);
                        self.record_found(&ledger::bucket_record(bucket))?;
                    }
                }
                self.state.inputs.push(Input::Buckets(closed));
            }
            feed::Found::KeptWhole(why, path) => self.statistics.kept_whole(why, path),
            feed::Found::Meets(name) => self.state.inputs.push(Input::Meets(name)),
            feed::Found::LookUp(seconds) => self.state.inputs.push(Input::LookUp(seconds)),
            feed::Found::News(news) => self.tell_news(news),
            feed::Found::Unread(error) => self.unread(&error)?,
            feed::Found::End(scanned) => {
                self.state.scanned = true;
                match scanned {
                    Ok(Some(took)) => self.all_is_found(took)?,
                    // A scan that was stopped must not be taken for complete.
                    Ok(None) => {}
                    // The earlier reason counts.
                    Err(_) if self.stopping() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn all_is_found(&mut self, took: Duration) -> Result<()> {
        self.statistics.scanned();
        self.state.inputs.push(Input::ScanEnded);
        let replays = self.replays();
        (self.tell)(Event::ScanEnded { found: self.context.control.watch().found(), took: (!replays).then_some(took) });
        if replays {
            return Ok(());
        }
        self.statistics.scan_took(took);
        if self.statistics.one_rsync().is_none() {
            let Weight { entries, bytes } = self.context.control.watch().found();
            self.record(&Record::Scanned { entries, bytes })?;
            self.state.sync_due = true;
        }
        Ok(())
    }

    /// Whether the run is ending before everything is done.
    fn stopping(&self) -> bool {
        self.context.control.interrupted() || self.context.control.supervisor().stopped()
    }

    /// Whether an earlier part of the run had completed the scan.
    fn replays(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.before().scanned.is_some())
    }

    fn unread(&mut self, error: &ScanError) -> Result<()> {
        let (config, plan) = (&self.context.config, &self.context.plan);
        // One rsync for everything runs into this error itself, and knows whether the entry is excluded.
        if self.statistics.one_rsync().is_some() {
            return Ok(());
        }
        // The launch that gets the entry reports the error: its rsync may have the capability to read it, a rule may exclude it, or it may be readable again by
        // then. But that is too late for deletion, and with `--gitignore`, rsync may copy an entry that the scan would leave out.
        let keeps_if_failed = plan.deletes.is_some() && !plan.ignore_errors;
        let told_by_rsync = !keeps_if_failed && !config.dry_run && !plan.gitignore;
        let (text, vanished, in_unit) = (error.to_string(), error.vanished(), error.in_unit);
        if told_by_rsync && in_unit {
            // If the run is resumed, names of hard-linked files may have appeared.
            let matters = plan.hard_links;
            return if matters { self.record(&Record::Unread { text, vanished, in_unit }) } else { Ok(()) };
        }
        self.record(&Record::Unread { text: text.clone(), vanished, in_unit })?;
        self.note_unread(text, vanished);
        Ok(())
    }

    pub(super) fn note_unread(&mut self, text: String, vanished: bool) {
        self.state.inputs.push(Input::Unread { vanished });
        (self.tell)(Event::Failed(Failed::Unread { text: text.clone(), vanished }));
        self.statistics.unread(text);
    }

    /// Reports and records the findings of a launch that was prepared or has ended.
    fn take(&mut self, found: &context::Found) -> Result<()> {
        for failed in &found.unread {
            (self.tell)(Event::Failed(failed.clone()));
            self.record(&Record::Unread { text: failed.to_string(), vanished: false, in_unit: false })?;
        }
        found.failed.iter().for_each(|failed| (self.tell)(Event::Failed(failed.clone())));
        let buckets = found.findings.cut.clone();
        self.with_ledger(|ledger| ledger.failed("copy", exit::PARTIAL, buckets, &found.failures))
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<()> {
        self.with_ledger(|ledger| ledger.write(record))
    }

    /// Writes to the journal. If that fails and the user has not asked for a journal, the run continues without it.
    pub(super) fn with_ledger(&mut self, write: impl FnOnce(&mut Ledger) -> Result<()>) -> Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        match write(ledger) {
            Err(error) if self.context.buckets.is_optional() => {
                self.ledger = None;
                self.statistics.is_unrecorded();
                (self.tell)(Event::Note(Note::Unrecorded { why: error.to_string() }));
                Ok(())
            }
            other => other,
        }
    }

    /// Records what the scan found. One rsync for everything does not need these records.
    fn record_found(&mut self, record: &Record) -> Result<()> {
        if self.replays() || self.statistics.one_rsync().is_some() { Ok(()) } else { self.record(record) }
    }

    /// Syncs the bucket files, and then the journal record that the scan is complete. This is done in a thread, because the disk may be busy.
    fn sync_buckets(&mut self) {
        let Some(ledger) = self.ledger.as_ref().filter(|_| !self.context.buckets.has_moved()) else { return };
        let before: Vec<u64> = ledger.before().buckets.keys().copied().collect();
        let new = ledger.before().next_bucket..self.state.next_bucket;
        let (context, sender, ending) = (Arc::clone(&self.context), self.sender.clone(), Arc::clone(&self.ending));
        let started = thread::start(self.scope, move || {
            let all = before.iter().copied().chain(new);
            let synced = durable::sync_buckets(&context.buckets, all, &|| ending.load(Ordering::SeqCst));
            // The driver only goes away before its time if it has failed.
            let _ = sender.send(Message::Synced(synced));
        });
        // A resumed run scans again what is not on the disk.
        self.state.syncing = started.is_ok();
    }

    /// Waits for a scan that was stopped. If it hangs with the source, it is left behind, and its results are dropped.
    fn await_scan(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        let until = Instant::now() + SCAN_ENDS;
        while !self.state.scanned
            && let Ok(message) = receiver.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.hear(message)?;
        }
        Ok(())
    }

    /// Reports once that `--stall` cannot work here.
    fn look_at_the_stalls(&mut self) {
        if !self.state.stalls_told && self.context.control.supervisor().cannot_see() {
            self.state.stalls_told = true;
            (self.tell)(Event::Note(Note::StallsUnseen));
        }
    }

    fn look_at_the_progress(&mut self) {
        let asked = self.context.control.take_question();
        if let Some(ledger) = self.ledger.as_ref().filter(|_| self.statistics.misses_last_run()) {
            self.statistics.last_run(ledger.find_last_run());
        }
        let launches = &mut self.state.launches;
        let standing = self.statistics.standing(asked, launches, &self.context, &self.scheduler);
        let Some(Standing { live, is_to_note, is_to_tell }) = standing else { return };
        if asked {
            (self.tell)(Event::Asked(&live));
        }
        if is_to_tell && self.context.config.shows_launches {
            (self.tell)(Event::Launches(&live.launches));
        }
        if is_to_tell {
            (self.tell)(Event::Progress(live.progress));
        }
        if is_to_note && let Some(ledger) = &mut self.ledger {
            ledger.note_standing(&live, None);
        }
        (self.tell)(Event::Standing(live.progress));
    }

    /// Ends the run after the last launch: writes the last record, and prints the last lines.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn close(mut self, verdict: Verdict, receiver: &Receiver<Message>) -> Result<crate::report::Summary> {
        let over = self.scheduler.is_done();
        let soft = self.scheduler.soft_code();
        // If nothing is left to do, nobody will resume the run; and a user who interrupts it should not have to wait for the disk.
        if self.state.interrupted || over && soft == exit::OK {
            self.ending.store(true, Ordering::SeqCst);
        }
        while self.state.syncing
            && let Ok(message) = receiver.recv()
        {
            self.hear(message)?;
        }
        match verdict {
            // Without the last record, the run cannot be taken for complete.
            Verdict::Unaccounted(complaint) => {
                self.statistics.is_unaccounted();
                (self.tell)(Event::Failed(Failed::Other(complaint)));
            }
            Verdict::Complete(_) => self.record(&Record::Finished { code: soft })?,
            Verdict::Stopped if over => self.record(&Record::Finished { code: soft })?,
            Verdict::Stopped => {}
        }
        self.statistics.close_output(&self.context, &self.said, self.state.user_log.as_deref(), over, soft, self.tell);
        let removed = self.context.buckets.is_optional() && over && soft == exit::OK;
        if let Some(ledger) = self.ledger.as_mut().filter(|_| !removed) {
            let live = self.statistics.last(&self.context, &self.scheduler);
            let (code, interrupted) = (self.scheduler.code().get(), self.scheduler.is_interrupted());
            ledger.note_standing(&live, Some(Ended { code, interrupted }));
        }
        self.with_ledger(|ledger| ledger.close(removed))?;
        Ok(self.statistics.summary(&self.context, &self.scheduler, self.tell))
    }
}

/// The meters of the running launches, each with the weight of the launch.
fn meters<'a>(
    launches: &'a BTreeMap<LaunchId, Started>,
    context: &Context,
) -> impl Iterator<Item = (&'a Meter, Weight)> + Clone + use<'a> {
    let found = context.control.watch().found();
    // One rsync for everything was started before everything was found.
    launches
        .values()
        .map(move |started| (&*started.meter, if started.work.is_everything() { found } else { started.weight }))
}
