//! The engine carries out what the scheduler decides. It has one loop ([`driver`]) that receives all events and never blocks on anything else, a thread
//! for each launch ([`launch`]) that reports its end whatever happens, and the scan in threads that can be left behind if they hang.

mod after;
mod commands;
mod context;
mod created;
#[cfg(test)]
mod damage;
mod driver;
mod estimate;
mod failures;
mod feed;
mod first;
mod follow;
mod gate;
mod judge;
mod last_look;
mod launch;
mod ledger;
mod logs;
mod meeting;
mod meter;
mod naming;
mod places;
mod policy;
mod prepare;
mod resume;
mod said;
mod scans;
pub mod simulation;
mod small;
mod spine;
mod standing;
mod statistics;
mod steward;
mod tempo;
mod userlog;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::first_pass::Wish;
use crate::plan::{Plan, Strategy};
use crate::report::{Complaints, Event, Note, Part, Phase, Planned, Progress, Summary};
use crate::rsync::command::Removal;
use crate::rsync::options::Delete;
use crate::rsync::output::Figures;
use crate::run_dir::journal::Record;
use crate::scan::{Watch, Weight};
use crate::sched::Scheduler;
use crate::steer::{self, Change, Timetable};
use crate::supervise::{Stop, Supervisor};
use crate::thread;

use context::Context;
use driver::{Driver, Message, State};
use feed::{Found, Inputs};
use ledger::Known;
pub use ledger::Ledger;
use places::{Slots, Ways};
use said::Said;
use small::Division;
use statistics::Statistics;
pub use steward::Answer;
use steward::Desk;

/// Stops or changes a run from another thread, such as one that waits for signals. Clones belong to the same run.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Controls>);

#[derive(Debug, Default)]
struct Controls {
    supervisor: Supervisor,
    watch: Watch,
    interrupted: AtomicBool,
    asked: AtomicBool,
    desk: Arc<Desk>,
}

impl Control {
    /// Ends the run: no more rsyncs are started, and running ones get SIGTERM so that they remove their temporary files. A second
    /// call kills them.
    pub fn interrupt(&self) {
        let again = self.0.interrupted.swap(true, Ordering::SeqCst);
        self.0.watch.stop();
        self.0.supervisor.stop(if again { Stop::Kill } else { Stop::Terminate });
    }

    /// Asks the run to report its progress as [`Event::Asked`], as soon as it can.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
    }

    /// The supervisor that starts the children; [`Plan::make`] needs it.
    pub fn supervisor(&self) -> &Supervisor {
        &self.0.supervisor
    }

    /// Whether [`Control::interrupt`] was called.
    pub fn interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// A control for another run of the same job. Both share their requests for changes, but each is interrupted separately.
    pub fn with_the_same_hand(&self) -> Control {
        Control(Arc::new(Controls { desk: Arc::clone(&self.0.desk), ..Controls::default() }))
    }

    /// Changes the settings in force.
    pub fn adjust(&self, change: Change) {
        self.0.desk.ask(change);
    }

    /// Accepts requests for changes that other processes make in this run directory.
    pub fn listen(&self, dir: &Path) {
        self.0.desk.listen(dir);
    }

    fn desk(&self) -> &Arc<Desk> {
        &self.0.desk
    }

    fn watch(&self) -> &Watch {
        &self.0.watch
    }

    fn take_question(&self) -> bool {
        self.0.asked.swap(false, Ordering::SeqCst)
    }

    fn abort(&self) {
        self.0.watch.stop();
        self.0.supervisor.stop(Stop::Terminate);
    }
}

/// Carries out a plan. `buckets` is the bucket directory of this run.
///
/// The exit code of the summary is that of the whole run: it is 0 only if every entry that the scan found was handed to an
/// rsync that ended with 0, and the attributes of every split directory were set afterwards.
///
/// # Errors
/// The run could not be done at all: the scan could not start, a bucket file could not be written or read, or rsync could not be
/// started. If rsync failed to copy an entry, this is not an error here, but part of the summary.
pub fn run(
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Summary> {
    run_recorded(config, plan, buckets, None, control, tell)
}

/// Like [`run`], but records its progress in `ledger`. If the ledger is that of a run that did not complete, this run continues it:
/// finished buckets are not launched again, and a complete scan is not repeated.
///
/// # Errors
/// As [`run`]; also if the ledger can no longer be written.
pub fn run_recorded(
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    ledger: Option<Ledger>,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Summary> {
    let mut ledger = ledger;
    let ways = Ways::new(config, plan, buckets)?;
    let known = match &mut ledger {
        Some(ledger) => {
            ledger.is_about(pair(config));
            if let Strategy::Plain(why) = &plan.strategy {
                ledger.take(Record::OneRsync { why: why.clone() })?;
            }
            resume::look(ledger, config, plan, buckets, &ways, control.supervisor())?;
            let late = matches!(plan.deletes, Some(Delete::After | Delete::Delay));
            ledger.check(buckets, late || plan.recipe.removal == Removal::SinglesLast)?;
            Known::of(ledger.before(), buckets)?
        }
        None => Known::default(),
    };
    if known.complete.is_some() || plan.strategy != Strategy::Parallel {
        // No scan will read these listings.
        plan.far.iter().flat_map(|far| &far.begun).for_each(|begun| begun.stop());
    }
    let plan = plan.holding_sources(buckets.path());
    let guess = small::guess(config, &plan);
    let division = Division::of(config, &plan, guess).filter(|_| ledger.as_ref().is_none_or(Ledger::is_new));
    let complaints = Complaints::default();
    let tell = &complaints.noted(tell);
    tell_how(config, &plan, tell);
    let one_rsync = match &plan.strategy {
        Strategy::Plain(why) => Some(why.clone()),
        Strategy::Parallel => None,
    };
    let no_first_pass = plan.first_pass.as_ref().err().filter(|_| config.first_pass == Wish::On && one_rsync.is_none());
    let statistics =
        Statistics::new(one_rsync.clone(), one_rsync.is_some() && plan.asked.is_none(), no_first_pass.cloned());
    let mut slots = Slots::new(config, &plan);
    let part = if config.verify_only { Part::Verify } else { Part::Copy };
    let processes = config.processes.get();
    tell(Event::Planned(&Planned { part, one_rsync: one_rsync.clone(), processes, slots: slots.hosts() }));
    let before = ledger.as_ref().map(|ledger| policy::before(ledger.before())).unwrap_or_default();
    let policy = policy::of(config, &plan, guess, ways.short_scan());
    let (inputs, changes) = control.desk().begin(config, &plan, first_look(config, control)?);
    changes.iter().for_each(|change| tell(Event::Steered(change)));
    inputs.iter().for_each(|input| slots.hear(input));
    let scheduler = Scheduler::new(policy, slots.pool(config.host_timeout), before, Instant::now());
    let context = Arc::new(Context::new(config, plan, buckets, control));
    let (sender, receiver) = mpsc::channel();
    let ending = Arc::<AtomicBool>::default();
    std::thread::scope(|scope| {
        // The scope waits for its threads even after a panic.
        let _ending = Ending { control, ways: &ways, ending: Arc::clone(&ending) };
        let _steward = steward::start(&context, &sender)?;
        start_scan(&context, known, division, &sender);
        let mut driver = Driver {
            said: Arc::new(Said::after(context.plan.header, greeting(&context))),
            context,
            tell,
            scope,
            sender,
            ways: &ways,
            slots,
            ledger,
            scheduler,
            statistics,
            started: Instant::now(),
            ending,
            last_look: None,
            state: State::beginning(inputs),
        };
        let done = driver.run(&receiver).and_then(|verdict| driver.close(verdict, &receiver));
        if done.is_err() {
            control.abort();
        }
        done.map(|summary| Summary { complaints: complaints.take(), ..summary })
    })
}

/// The summary of a run that had nothing to do: one rsync has checked everything, and has printed these figures.
pub fn nothing_to_do(config: &Config, figures: Figures, began: Instant, tell: &(dyn Fn(Event<'_>) + Sync)) -> Summary {
    let why = "everything is up to date".to_owned();
    let (part, processes) = (Part::Copy, config.processes.get());
    tell(Event::Planned(&Planned { part, one_rsync: Some(why.clone()), processes, slots: Vec::new() }));
    let found = Weight { entries: figures.files.total(), bytes: figures.total_size };
    let took = began.elapsed();
    let phase = Phase::Ended;
    let last = Progress {
        found,
        done: found,
        phase,
        scanned: true,
        elapsed: took,
        fraction: Some(1.0),
        ..Progress::default()
    };
    if config.progress {
        tell(Event::Progress(last));
    }
    tell(Event::Standing(last));
    Summary {
        plain: Some(why),
        found,
        done: found,
        processes: 1,
        launches: 1,
        figures,
        has_figures: true,
        rsync_time: took,
        total_time: took,
        ..Summary::default()
    }
}

/// How full the destination is, if a throttle depends on it.
fn first_look(config: &Config, control: &Control) -> Result<Option<f64>> {
    if !config.throttles.looks_at_destination() {
        return Ok(None);
    }
    let dest = PathBuf::from(config.destination.as_typed(&config.cwd));
    Ok(thread::apart(move || steer::percent_full(&dest), || control.interrupted())?.flatten())
}

/// Identifies runs of the same source and destination.
fn pair(config: &Config) -> String {
    let is_local = !config.pulls();
    let sources = config.source_words().into_iter().map(|word| match is_local {
        true => config.cwd.join(word).into_os_string(),
        false => word,
    });
    let destination = config.destination_word();
    let destination =
        if config.destination.is_local() { config.cwd.join(destination).into() } else { destination.to_owned() };
    let words: Vec<String> = sources.chain([destination]).map(|word| Printable::os(&word).to_string()).collect();
    words.join("\n")
}

/// Tells the user if the number of rsyncs, or their bandwidth, will differ from the settings.
fn tell_how(config: &Config, plan: &Plan, tell: &(dyn Fn(Event<'_>) + Sync)) {
    let sets_bandwidth = config.timetable.as_ref().is_some_and(Timetable::sets_bandwidth);
    if sets_bandwidth && plan.strategy != Strategy::Parallel {
        tell(Event::Note(Note::BandwidthStays));
    }
    if !config.tells_how {
        return;
    }
    if config.adapts {
        tell(Event::Note(Note::Adapts { most: config.processes.get() }));
    }
    if let Strategy::Plain(why) = &plan.strategy
        && config.processes.get() > 1
    {
        tell(Event::Note(Note::OneRsync { why: why.clone() }));
    }
}

/// The greeting of a daemon, if one rsync would have printed it.
fn greeting(context: &Context) -> Vec<Vec<u8>> {
    let Context { config, plan, .. } = context;
    let is_heard = !plan.quiet && !config.verify_only && !config.counts_deletions;
    plan.far.iter().filter(|_| is_heard).flat_map(|far| far.greeting.clone()).collect()
}

/// Starts the scan. Nothing waits for its thread, because a directory of the source may hang.
fn start_scan(context: &Arc<Context>, known: Known, division: Option<Division>, sender: &Sender<Message>) {
    let (context, its_sender) = (Arc::clone(context), sender.clone());
    let started = thread::detach(move || {
        // The driver only goes away after the run has ended.
        let tell = |found| drop(its_sender.send(Message::Scan(found)));
        let inputs = Inputs {
            config: &context.config,
            plan: &context.plan,
            buckets: &context.buckets,
            supervisor: context.control.supervisor(),
            watch: context.control.watch(),
            room: context.room,
            known,
            division,
        };
        if catch_unwind(AssertUnwindSafe(|| feed::feed(&inputs, &tell))).is_err() {
            let error = Error::internal("the thread of the scan panicked");
            tell(Found::End(Err(error)));
        }
    });
    if let Err(error) = started {
        let _ = sender.send(Message::Scan(Found::End(Err(error))));
    }
}

/// When dropped, ends everything that would otherwise run for ever, and, after a panic, everything that still runs.
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
