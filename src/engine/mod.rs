//! The engine: scan, buckets, launches, spine; one coordinator that hears of everything and never waits for any one of them.
//!
//! The order that makes the result that of one rsync: a spine directory is created before a bucket below it starts, each subtree
//! belongs to one launch, and after the last launch that could write into spine directories they are cleaned (if anything is to be
//! deleted) and get their attributes. A thread owns each launch and reports its end whatever happens, so the coordinator always
//! hears of it.

mod ahead;
mod bandwidth;
mod books;
mod closing;
#[cfg(test)]
mod damage;
mod ends;
mod failures;
mod fallback;
mod feed;
mod handover;
mod judge;
mod launch;
mod ledger;
mod logs;
mod meeting;
mod meter;
mod naming;
mod pace;
mod places;
mod pool;
mod resume;
mod small;
mod spine;
mod standing;
mod starts;
mod userlog;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, BucketDir};
use crate::config::Config;
use crate::cost::Fit;
use crate::error::{Error, Result};
use crate::journal::Record;
use crate::plan::{Plan, Strategy};
use crate::queue::{Coalesce, Queue};
use crate::report::{Complaints, Event, Failed, Note, Summary};
use crate::rsync::command::Removal;
use crate::rsync::exit::{self, RunCode};
use crate::rsync::options::Delete;
use crate::scan::{ScanError, Watch, Weight};
use crate::supervise::{Stop, Supervisor};
use crate::thread;
use ahead::Begins;
use bandwidth::Bandwidth;
use books::{Books, Task};
pub use failures::{FAILED_NAMES, FAILED_TEXT};
use feed::{Found, Inputs};
use launch::{End, Said};
use ledger::Known;
pub use ledger::Ledger;
use meter::Meter;
use naming::Naming;
use pace::Pace;
use places::{Slots, Ways};
use small::Division;
use spine::SpineList;
use standing::Tempo;
use userlog::UserLog;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);
/// What ends before is not worth waiting for the disk, unless the user has named a place for it.
const SHORT: Duration = Duration::from_secs(5);
/// While the scan goes on, what is there is launched after this long, even if it is little.
const LONGEST_WAIT: Duration = Duration::from_millis(900);
/// The way to stop a run from another thread, such as one that waits for signals.
#[derive(Debug, Default)]
pub struct Control {
    supervisor: Supervisor,
    watch: Watch,
    interrupted: AtomicBool,
    asked: AtomicBool,
}

impl Control {
    /// Ends the run: nothing more is started, and running rsyncs get SIGTERM so that they remove their temporary files. A second
    /// call kills them.
    pub fn interrupt(&self) {
        let again = self.interrupted.swap(true, Ordering::SeqCst);
        self.watch.stop();
        self.supervisor.stop(if again { Stop::Kill } else { Stop::Terminate });
    }

    /// Has the run tell where it stands, as [`Event::Asked`], as soon as it can.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Where children are started; [`Plan::make`] needs it.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Whether [`Control::interrupt`] was called.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    fn abort(&self) {
        self.watch.stop();
        self.supervisor.stop(Stop::Terminate);
    }
}

/// Does what was planned. `buckets` is the bucket directory of this run.
///
/// The exit code of the summary is the truth about the whole: it is 0 only if every entry that the scan found was handed to an
/// rsync that ended with 0, and the attributes of every split directory were set afterwards.
///
/// # Errors
/// The run could not be done at all: the scan could not start, a bucket file could not be written or read, or rsync could not be
/// started. What rsync failed to copy is no error here but in the summary.
pub fn run(
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Summary> {
    run_recorded(config, plan, buckets, None, control, tell)
}

/// Like [`run`], and writes down in `ledger` how far it came. A ledger that was opened where a run had not come to its end makes this
/// one go on: buckets that are done are not launched again, and a scan that was complete is not repeated.
///
/// # Errors
/// As [`run`]; also when the ledger can no longer be written.
pub fn run_recorded(
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    ledger: Option<Ledger>,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Summary> {
    let mut ledger = ledger;
    let ways = Ways::new(config, plan, buckets, &control.supervisor)?;
    let known = match &mut ledger {
        Some(ledger) => {
            if let Strategy::Plain(why) = &plan.strategy {
                ledger.take(Record::OneRsync { why: why.clone() })?;
            }
            resume::look(ledger, config, plan, buckets, &ways, &control.supervisor)?;
            let late = matches!(plan.deletes, Some(Delete::After | Delete::Delay));
            ledger.check(buckets, late || plan.recipe.removal == Removal::SinglesLast)?;
            Known::of(ledger.before(), buckets, &plan.recipe.base)?
        }
        None => Known::default(),
    };
    let (sender, receiver) = mpsc::channel();
    let plan = &plan.holding_sources(buckets.path());
    let guess = small::guess(config, plan);
    let division = Division::of(config, plan, guess).filter(|_| ledger.as_ref().is_none_or(Ledger::is_new));
    let complaints = Complaints::default();
    let tell = &complaints.noted(tell);
    let ending = Arc::<AtomicBool>::default();
    std::thread::scope(|scope| {
        let mut run = Run {
            config,
            plan,
            buckets,
            control,
            tell,
            scope,
            sender,
            ways: &ways,
            places: Slots::new(config),
            ledger,
            started: Instant::now(),
            last_start: Instant::now(),
            stage: Stage::Transfer,
            queue: Queue::new(guess, if config.limits_given { Coalesce::Never } else { Coalesce::ByCost })
                .opening(small::opening(plan)),
            fit: Fit::new(guess),
            pace: config.adapts.then(|| Pace::new(config.processes)),
            room: plan.recipe.argument_room(),
            running: HashMap::new(),
            spine: SpineList::default(),
            naming: Naming::new(config, plan),
            books: Books::default(),
            scanned: false,
            tries: HashMap::new(),
            repair: Vec::new(),
            removals: Vec::new(),
            to_clean: Vec::new(),
            parts: Vec::new(),
            whole_lists: false,
            sender_failed: false,
            fell_back: false,
            copied: false,
            met: None,
            names_meet: false,
            faults: HashMap::new(),
            plain_waits: false,
            verbatim: false,
            stalls_told: false,
            touched: false,
            goes_ahead: plan.goes_ahead,
            pause_until: None,
            turned_away: 0,
            bandwidth: plan.bwlimit.map(|limit| Bandwidth::new(limit, config.processes)),
            at_once: config.processes,
            most_at_once: config.processes,
            done: Weight::default(),
            moved: 0,
            tempo: Tempo::default(),
            looked: Instant::now(),
            answered: false,
            asks: false,
            alone: HashSet::new(),
            soft: RunCode::default(),
            failed: None,
            said: Arc::new(Said::after(plan.header)),
            above: BTreeSet::new(),
            user_log: None,
            log_opened: false,
            dest_noted: false,
            next_bucket: 0,
            noted: Instant::now(),
            sync_due: false,
            syncing: false,
            ending: Arc::clone(&ending),
            summary: Summary::default(),
        };
        // The scope waits for all threads, also if something panics.
        let _ending = Ending { control, ways: &ways, ending };
        run.take_over();
        run.begin(known, division);
        let outcome = run.coordinate(&receiver).and_then(|()| run.close(&receiver));
        if outcome.is_err() {
            control.abort();
        }
        outcome.map(|()| Summary { complaints: complaints.take(), ..run.finish() })
    })
}

/// Ends what runs without end when it goes, and what still runs if that is by a panic.
struct Ending<'a> {
    control: &'a Control,
    ways: &'a Ways,
    ending: Arc<AtomicBool>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.ways.close();
        if std::thread::panicking() {
            self.control.abort();
        }
    }
}

/// What the coordinator hears.
enum Message {
    Found(Found),
    Ended(u64, Box<End>),
    /// A launch has done everything, and others may have its place.
    OnlyEnds(u64),
    /// A host that was set aside is there, or is not.
    Answered(usize, bool),
    /// The disk has the files of all buckets, or the run ended before.
    Synced(Result<bool>),
}

/// What a launch is for.
#[derive(Debug, Clone)]
enum Job {
    /// Creates the spine directories below this number.
    Create(u32),
    Buckets(Vec<Bucket>),
    /// A bucket that ended with 23, once more and alone.
    Repair(Bucket),
    /// Deletes inside the subtrees of these buckets.
    Clean(Vec<Bucket>),
    /// Removes the single names of these buckets from the source.
    Remove(Vec<Bucket>),
    /// Deletes in this part of the spine, and sets its attributes.
    Delete(Range<usize>),
    /// Sets the attributes of this part of the spine.
    Attributes(Range<usize>),
    /// One rsync for everything.
    Plain,
}

impl Job {
    /// What it settles; a launch that copies everything settles all.
    fn tasks(&self) -> Vec<Task> {
        match self {
            Job::Buckets(buckets) => buckets.iter().map(|bucket| Task::Copy(bucket.id)).collect(),
            Job::Repair(bucket) => vec![Task::Copy(bucket.id)],
            Job::Clean(buckets) => buckets.iter().map(|bucket| Task::Clean(bucket.id)).collect(),
            Job::Remove(buckets) => buckets.iter().map(|bucket| Task::Remove(bucket.id)).collect(),
            Job::Delete(range) | Job::Attributes(range) => vec![Task::Part(range.start)],
            Job::Create(_) | Job::Plain => Vec::new(),
        }
    }

    /// A word for people.
    fn phase(&self) -> &'static str {
        match self {
            Job::Create(_) => "create",
            Job::Buckets(_) | Job::Plain => "copy",
            Job::Repair(_) => "repair",
            Job::Remove(_) => "remove",
            Job::Clean(_) | Job::Delete(_) => "delete",
            Job::Attributes(_) => "attributes",
        }
    }
}

struct Running {
    job: Job,
    slot: usize,
    weight: Weight,
    meter: Arc<Meter>,
    begins: Begins,
    /// Launches that were started ahead may have taken its place.
    crowded: bool,
    /// It has done everything, and sleeps before it ends.
    only_ends: bool,
}

/// What the run does now. A stage ends when nothing of it runs or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Transfer,
    Repair,
    Clean,
    Delete,
    Attributes,
    Remove,
    Done,
}

struct Run<'scope, 'env> {
    config: &'env Config,
    plan: &'env Plan,
    buckets: &'env BucketDir,
    control: &'env Control,
    tell: &'env (dyn Fn(Event<'_>) + Sync),
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Message>,
    ways: &'env Ways,
    places: Slots,
    ledger: Option<Ledger>,
    started: Instant,
    last_start: Instant,
    stage: Stage,
    queue: Queue,
    fit: Fit,
    /// Finds the number of processes, if the user leaves it to us.
    pace: Option<Pace>,
    room: usize,
    running: HashMap<u64, Running>,
    spine: SpineList,
    /// What rsync's names stand for.
    naming: Naming,
    books: Books,
    scanned: bool,
    /// Failed launches of a bucket, or of the spine ([`SPINE_TRIES`]).
    tries: HashMap<u64, u32>,
    repair: Vec<Bucket>,
    /// Buckets whose names are to be removed from the source at the end.
    removals: Vec<Bucket>,
    /// Buckets in which is still to be deleted.
    to_clean: Vec<Bucket>,
    /// Parts of the spine that wait in the stages after the transfer.
    parts: Vec<Range<usize>>,
    /// An rsync lost its list: the others read it whole.
    whole_lists: bool,
    /// Something of the source could not be read: rsync deletes nothing then.
    sender_failed: bool,
    /// The server allows less than several rsyncs need: one does it all, and how others end is of no interest.
    fell_back: bool,
    /// Something was copied.
    copied: bool,
    /// A name that may be one with another at the destination.
    met: Option<String>,
    /// Some are: nothing is deleted.
    names_meet: bool,
    /// Where buckets have failed for reasons of their own, on hosts that work: the host, and the launches that had succeeded by then.
    faults: HashMap<u64, (usize, u64)>,
    /// The one rsync for everything has to start once more, on another host.
    plain_waits: bool,
    /// What the one rsync for everything prints is handed on as it comes.
    verbatim: bool,
    stalls_told: bool,
    /// A launch has changed something at the destination, or may have: known of launches that are asked for it.
    touched: bool,
    /// Launches are started ahead, see `ahead`.
    goes_ahead: bool,
    pause_until: Option<Instant>,
    /// Launches in a row that were not let in although no other ran.
    turned_away: u32,
    /// `--bwlimit`, and who has what of it.
    bandwidth: Option<Bandwidth>,
    /// How many may run now: fewer after a connection failed, and one more after each success.
    at_once: NonZero<usize>,
    /// How many that can be at most: fewer where a daemon has not let more in.
    most_at_once: NonZero<usize>,
    done: Weight,
    /// Bytes that launches have transferred which are over.
    moved: u64,
    tempo: Tempo,
    /// When the progress was last looked at.
    looked: Instant,
    /// An rsync has reached the other side.
    answered: bool,
    /// One may ask the user something before it does.
    asks: bool,
    /// Buckets that no launch was given yet, although they are no longer in the queue.
    alone: HashSet<u64>,
    soft: RunCode,
    failed: Option<u8>,
    said: Arc<Said>,
    /// Directories above units, by their names in the transfer, where entries are counted.
    above: BTreeSet<Vec<u8>>,
    /// What the user wants to have written down, once several rsyncs do something.
    user_log: Option<Arc<UserLog>>,
    log_opened: bool,
    /// The journal says what DEST is.
    dest_noted: bool,
    /// The least number that no bucket has.
    next_bucket: u64,
    /// When progress was written down last.
    noted: Instant,
    /// The disk is to be told to keep the files of the buckets.
    sync_due: bool,
    /// It is being told so.
    syncing: bool,
    /// Nobody needs that any more.
    ending: Arc<AtomicBool>,
    summary: Summary,
}

impl<'scope, 'env> Run<'scope, 'env> {
    /// What an earlier part of the run has done counts.
    fn take_over(&mut self) {
        let Some(ledger) = &mut self.ledger else { return };
        let notes = ledger.notes();
        let before = ledger.before().clone();
        notes.into_iter().for_each(|note| (self.tell)(Event::Note(Note::CopiedAgain { text: note })));
        self.done = before.done_weight();
        self.sender_failed = before.sender_failed;
        before.done.values().for_each(|code| self.soft.add(*code));
        let done: Vec<Bucket> = before.done.keys().filter_map(|id| before.buckets.get(id)).copied().collect();
        self.remove_later(&done);
        self.clean_later(&done);
        for (text, vanished, _) in before.unread.iter().filter(|_| before.scanned.is_some()) {
            self.names_meet |= text.ends_with(meeting::MEETS);
            self.note_unread(text.clone(), *vanished);
        }
        for bucket in before.buckets.values() {
            self.summary.buckets += 1;
            self.summary.packed += bucket.weight;
        }
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        self.with_ledger(|ledger| ledger.write(record))
    }

    /// Writes something down. Where the user has not asked for that, the run goes on without it if it cannot be written.
    fn with_ledger(&mut self, write: impl FnOnce(&mut Ledger) -> Result<()>) -> Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        match write(ledger) {
            Err(error) if self.buckets.is_optional() => {
                self.ledger = None;
                self.summary.unrecorded = true;
                (self.tell)(Event::Note(Note::Unrecorded { why: error.to_string() }));
                Ok(())
            }
            other => other,
        }
    }

    /// What the scan finds; one rsync for everything needs nothing of it.
    fn record_found(&mut self, record: &Record) -> Result<()> {
        if self.replays() || self.summary.plain.is_some() { Ok(()) } else { self.record(record) }
    }

    fn begin(&mut self, known: Known, division: Option<Division>) {
        if self.config.adapts && self.config.tells_how {
            let most = self.config.processes.get();
            (self.tell)(Event::Note(Note::Adapts { most }));
        }
        if let Strategy::Plain(why) = &self.plan.strategy {
            self.summary.plain = Some(why.clone());
            self.plain_waits = true;
            self.verbatim = self.plan.asked.is_none();
            if self.config.processes.get() > 1 && self.config.tells_how {
                (self.tell)(Event::Note(Note::OneRsync { why: why.clone() }));
            }
        }
        let inputs = Inputs {
            config: self.config,
            plan: self.plan,
            buckets: self.buckets,
            supervisor: &self.control.supervisor,
            watch: &self.control.watch,
            room: self.room,
            known,
            division,
        };
        let sender = self.sender.clone();
        // The coordinator is gone only after it has failed.
        let started = thread::start(self.scope, move || {
            let tell = |found| drop(sender.send(Message::Found(found)));
            if catch_unwind(AssertUnwindSafe(|| feed::feed(&inputs, &tell))).is_err() {
                let error = Error::usage("the thread of the scan panicked").exit(exit::TERMINATED);
                tell(Found::End(Err(error)));
            }
        });
        if let Err(error) = started {
            let _ = self.sender.send(Message::Found(Found::End(Err(error))));
        }
    }

    fn coordinate(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        loop {
            self.look_at_the_clock();
            self.look_at_the_pace();
            self.look_at_the_hosts();
            self.look_at_the_stalls();
            self.advance()?;
            let stopping = self.stopping() && self.running.is_empty() && self.scanned;
            if stopping || self.stage == Stage::Done {
                return Ok(());
            }
            match receiver.recv_timeout(self.patience()) {
                Ok(message) => {
                    self.hear(message)?;
                    while let Ok(message) = receiver.try_recv() {
                        self.hear(message)?;
                    }
                    self.with_ledger(Ledger::flush)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the coordinator holds a sender itself"),
            }
            self.look_at_the_progress();
            let waits = self.buckets.is_optional() && self.started.elapsed() < SHORT;
            if self.sync_due && !waits {
                self.sync_due = false;
                self.sync_buckets();
            }
        }
    }

    /// How long nothing has to be looked at if nothing is heard.
    fn patience(&self) -> Duration {
        let more_is_free = self.bandwidth.as_ref().and_then(Bandwidth::next_change);
        more_is_free.map_or(TICK, |at| TICK.min(at.saturating_duration_since(Instant::now())))
    }

    /// Has the disk keep the files of the buckets, and then the journal that says that there are no others. In a thread of its own: the disk may
    /// have much else to write.
    fn sync_buckets(&mut self) {
        let Some(ledger) = self.ledger.as_ref().filter(|_| !self.buckets.has_moved()) else { return };
        let before: Vec<u64> = ledger.before().buckets.keys().copied().collect();
        let new = ledger.before().next_bucket..self.next_bucket;
        let (buckets, sender, ending) = (self.buckets, self.sender.clone(), Arc::clone(&self.ending));
        let started = thread::start(self.scope, move || {
            let all = before.iter().copied().chain(new);
            let synced = buckets.sync(all, &|| ending.load(Ordering::SeqCst));
            // The coordinator is gone only after it has failed.
            let _ = sender.send(Message::Synced(synced));
        });
        // What is not on the disk is found by a new scan.
        self.syncing = started.is_ok();
    }

    /// The last record, where the run came to its end.
    fn close(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        let over = self.stage == Stage::Done && !self.stopping();
        // Nobody takes up a run that has left nothing to do, and who interrupts one does not wait for the disk.
        if self.control.interrupted() || over && self.soft.get() == exit::OK {
            self.ending.store(true, Ordering::SeqCst);
        }
        while self.syncing
            && let Ok(message) = receiver.recv()
        {
            self.hear(message)?;
        }
        let complaint = self.books.complaint().filter(|_| over && !self.config.dry_run);
        if let Some(text) = complaint {
            // No last record: nobody is to take it for done.
            self.soft.add(exit::PARTIAL);
            self.summary.unaccounted = true;
            (self.tell)(Event::Failed(Failed::Other(text)));
        } else if over {
            self.record(&Record::Finished { code: self.soft.get() })?;
        }
        self.close_output();
        let removed = self.buckets.is_optional() && over && self.soft.get() == exit::OK;
        self.with_ledger(|ledger| ledger.close(removed))
    }

    fn finish(mut self) -> Summary {
        self.tell_the_end();
        let mut code = RunCode::default();
        if self.control.interrupted() {
            code.add(exit::INTERRUPTED);
        }
        self.failed.into_iter().for_each(|failed| code.add(failed));
        code.add(self.soft.get());
        self.summary.code = code;
        self.summary.interrupted = self.control.interrupted();
        self.summary.begun = self.copied || self.spine.dest_made;
        self.summary.buckets_left = if self.stopping() { self.books.buckets_left() } else { 0 };
        self.summary.found = self.control.watch.found();
        self.summary.done = if self.config.dry_run { self.summary.found } else { self.done };
        self.summary.bucket_dir = self.config.keep.then(|| self.buckets.path().to_owned());
        self.summary.spine = self.spine.len() as u64;
        self.summary.processes = self.slots().get();
        self.summary.hosts = self.places.figures();
        self.summary.total_time = self.started.elapsed();
        self.summary
    }

    fn stopping(&self) -> bool {
        self.failed.is_some() || self.control.interrupted()
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Found(Found::Spine(dir)) => {
                self.record_found(&ledger::spine_record(&dir))?;
                self.spine.push(dir);
                // There will be several launches, and the first comes soon.
                self.ways.open(self.scope, &self.places.place(0));
            }
            Message::Found(Found::Buckets(closed)) => {
                for bucket in closed {
                    self.next_bucket = self.next_bucket.max(bucket.id + 1);
                    if !self.replays() {
                        self.summary.buckets += 1;
                        self.summary.packed += bucket.weight;
                        self.record_found(&ledger::bucket_record(&bucket))?;
                    }
                    self.books.open([Task::Copy(bucket.id)]);
                    self.queue.push(bucket);
                }
            }
            Message::Found(Found::KeptWhole(why, path)) => {
                self.summary.kept_whole.entry(why).or_insert((0, path)).0 += 1;
            }
            Message::Found(Found::Meets(name)) => drop(self.met.get_or_insert(name)),
            Message::Found(Found::Unread(error)) => self.unread(&error)?,
            Message::Found(Found::End(scanned)) => {
                self.scanned = true;
                match scanned {
                    Ok(_) if self.replays() => {}
                    Ok(took) => {
                        self.summary.scan_time = took;
                        if !self.stopping() && self.summary.plain.is_none() {
                            let Weight { entries, bytes } = self.control.watch.found();
                            self.record(&Record::Scanned { entries, bytes })?;
                            self.sync_due = true;
                        }
                    }
                    // What came first counts.
                    Err(_) if self.stopping() => {}
                    Err(error) => return Err(error),
                }
            }
            Message::Ended(launch, end) => self.ended(launch, *end)?,
            Message::Synced(synced) => {
                self.syncing = false;
                self.with_ledger(|ledger| if synced? { ledger.sync() } else { Ok(()) })?;
            }
            Message::OnlyEnds(launch) => {
                self.running.get_mut(&launch).into_iter().for_each(|running| running.only_ends = true);
            }
            Message::Answered(host, is_there) => {
                self.places.pool.iter_mut().for_each(|pool| pool.answered(host, is_there, Instant::now()));
            }
        }
        Ok(())
    }

    /// The scan was complete before.
    fn replays(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.before().scanned.is_some())
    }

    fn unread(&mut self, error: &ScanError) -> Result<()> {
        // rsync meets it too, and knows whether it is excluded.
        if let Strategy::Plain(_) = self.plan.strategy {
            return Ok(());
        }
        // An rsync with capabilities may read it, rules may exclude it, and it may be readable again by then: the launch that gets it tells.
        // What it says comes too late for deletion, and a copy of what `--gitignore` leaves out would be no error of rsync's.
        let told_by_rsync = !self.keeps_if_failed() && !self.config.dry_run && !self.plan.gitignore;
        if told_by_rsync && error.in_unit {
            return Ok(());
        }
        let (text, vanished, in_unit) = (error.to_string(), error.vanished(), error.in_unit);
        if self.summary.plain.is_none() {
            self.record(&Record::Unread { text: text.clone(), vanished, in_unit })?;
        }
        self.note_unread(text, vanished);
        Ok(())
    }

    fn note_unread(&mut self, text: String, vanished: bool) {
        self.soft.add(if vanished { exit::VANISHED } else { exit::PARTIAL });
        self.sender_failed |= !vanished;
        (self.tell)(Event::Failed(Failed::Unread { text: text.clone(), vanished }));
        self.summary.scan_error_count += 1;
        if self.summary.scan_errors.len() < Summary::NAMED {
            self.summary.scan_errors.push(text);
        }
    }

    /// How many processes may run now.
    fn slots(&self) -> NonZero<usize> {
        self.pace.as_ref().map_or(self.config.processes, Pace::processes)
    }

    fn look_at_the_pace(&mut self) {
        let (done, working) = (self.done_so_far(), self.working());
        if let Some(pace) = self.pace.as_mut().filter(|_| self.stage == Stage::Transfer) {
            pace.look(working, done, &self.fit.model());
        }
    }

    /// Asks hosts that were set aside whether they are there, and ends the run if none was for too long.
    fn look_at_the_hosts(&mut self) {
        if self.stopping() || self.stage == Stage::Done {
            return;
        }
        let Some(pool) = &mut self.places.pool else { return };
        let now = Instant::now();
        for (at, host) in pool.due(now) {
            let (ways, supervisor, sender) = (self.ways, &self.control.supervisor, self.sender.clone());
            let asked = thread::start(self.scope, move || {
                // The coordinator is gone only after it has failed.
                let _ = sender.send(Message::Answered(at, ways.answers(&host, supervisor)));
            });
            if asked.is_err() {
                pool.answered(at, false, now);
            }
        }
        if let Some(code) = pool.stranded(now) {
            (self.tell)(Event::Failed(Failed::NoHost { waited: self.config.host_timeout }));
            self.fail(code);
        }
    }

    /// Tells once where `--stall` can do nothing.
    fn look_at_the_stalls(&mut self) {
        if !self.stalls_told && self.control.supervisor.cannot_see() {
            self.stalls_told = true;
            (self.tell)(Event::Note(Note::StallsUnseen));
        }
    }

    /// `--stop-after` is about the run, not about each rsync.
    fn look_at_the_clock(&mut self) {
        let over = self.plan.stop_after.is_some_and(|limit| self.started.elapsed() >= limit);
        if over && !self.stopping() && self.stage != Stage::Done {
            (self.tell)(Event::Failed(Failed::TimeIsOver));
            self.fail(exit::TIMEOUT);
        }
    }

    /// Starts what can be started, and goes to the next stage when one is over.
    fn advance(&mut self) -> Result<()> {
        if self.stopping() {
            return Ok(());
        }
        self.begin_copies()?;
        loop {
            while self.working() < self.slots().min(self.at_once).get() && !self.pausing() && self.free_slot().is_some()
            {
                if !self.start_one()? {
                    break;
                }
            }
            self.start_end_ahead()?;
            let over = self.is_idle() && self.scanned && !self.pausing() && !self.plain_waits;
            match self.stage {
                Stage::Transfer if over && (self.queue.is_empty() && !self.lacks_spine() || self.config.dry_run) => {
                    self.stage = if self.config.dry_run { Stage::Done } else { Stage::Repair };
                    if self.config.dry_run {
                        self.name_missing_sources();
                    }
                }
                Stage::Repair if over && self.repair.is_empty() => {
                    // One rsync for everything has left nothing to do, also of directories that were made before it.
                    if self.summary.plain.is_some() {
                        self.stage = Stage::Attributes;
                    } else if self.may_delete()? {
                        let to_clean = std::mem::take(&mut self.to_clean);
                        self.books.open(to_clean.iter().map(|bucket| Task::Clean(bucket.id)));
                        to_clean.into_iter().for_each(|bucket| self.queue.push(bucket));
                        self.stage = Stage::Clean;
                    } else {
                        if self.spine.dest_made && !self.plan.recipe.dry_run && !self.is_untouched() {
                            self.open_parts();
                        }
                        self.stage = Stage::Attributes;
                    }
                }
                Stage::Clean if over && self.queue.is_empty() => {
                    self.open_parts();
                    self.stage = Stage::Delete;
                }
                Stage::Delete if over && self.parts.is_empty() => {
                    // Otherwise the same launches have set the attributes.
                    if self.plan.recipe.removal != Removal::None {
                        self.open_parts();
                    }
                    self.stage = Stage::Attributes;
                }
                Stage::Attributes if over && self.parts.is_empty() => self.stage = Stage::Remove,
                Stage::Remove if over && self.removals.is_empty() => self.stage = Stage::Done,
                _ => return Ok(()),
            }
        }
    }

    fn open_parts(&mut self) {
        self.parts = self.spine.parts(self.room);
        self.books.open(self.parts.iter().map(|part| Task::Part(part.start)));
    }

    fn pausing(&self) -> bool {
        self.pause_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether spine directories still have the attributes they were created with: a run that found nothing to do.
    fn is_untouched(&self) -> bool {
        // What is above a source of --relative was not looked at, and was made with `u+rwx` all the same.
        let implied = self.plan.trees.iter().any(|tree| !tree.above.is_empty());
        let modes_differ = self.plan.recipe.unlock && (self.spine.locked || implied);
        let watched = self.plan.watched_dest.as_deref();
        let differ = modes_differ || !self.spine.other_times.is_empty();
        let unchanged = match watched {
            Some(dest) => self.spine.unchanged_since(dest),
            None => self.plan.recipe.marks_changes && !self.touched && !self.resumes(),
        };
        !differ && unchanged
    }

    /// Deletions in the spine come last, and not after an error on the sending side: what could not be read would be deleted.
    fn may_delete(&mut self) -> Result<bool> {
        if self.plan.deletes.is_some() && self.keeps_what_meets()? {
            return Ok(false);
        }
        // Sources that were not split have no part of the spine, and what was copied of them is still to be cleaned, also by a run that goes on
        // and finds nothing else to do.
        let splits = self.spine.dest_made && self.spine.len() > 0;
        let wanted = self.plan.deletes.is_some() && (splits || !self.to_clean.is_empty());
        let unsafe_now = self.sender_failed && !self.plan.ignore_errors;
        if wanted && unsafe_now {
            self.soft.add(exit::PARTIAL);
            (self.tell)(Event::Failed(Failed::NothingDeleted { in_split_only: !self.deletes_late() }));
        }
        Ok(wanted && !unsafe_now)
    }
}
