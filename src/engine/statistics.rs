//! What is counted during a run: the progress, and the totals at the end. No decision depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::report::closing::Closing;
use crate::report::{Event, Live, Phase, Progress, Running, Summary};
use crate::rsync::exit;
use crate::rsync::output::{Counts, Figures};
use crate::run_dir::journal::State;
use crate::scan::{KeptWhole, Weight};
use crate::sched::{InForce, LaunchId, Scheduler, Work};

use super::context::Context;
use super::driver::Started;
use super::estimate::{Estimate, Flight, Look, Outlook};
use super::launch::End;
use super::meter::{Meter, Reading};
use super::said::Said;
use super::tempo::Tempo;
use super::userlog::UserLog;

/// How often the progress is reported.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often the progress is computed if it is not displayed, because a user may ask for it.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How often the progress is written to the run directory, for other processes that ask.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// What the scan has still to find matters only if the scan takes longer than this.
const LONG_SCAN: Duration = Duration::from_secs(1);

pub(super) struct Statistics {
    summary: Summary,
    started: Instant,
    tempo: Tempo,
    estimate: Estimate,
    outlook: Outlook,
    /// The most that was ever done, so that no figure decreases.
    most: Weight,
    /// What an earlier part of the run has done.
    before: Weight,
    /// The number of launches that copied and have ended.
    copied: u64,
    buckets_done: u64,
    buckets_failed: u64,
    not_copied: u64,
    /// When the progress was last computed, and last written.
    looked: Instant,
    noted: Instant,
    scanned: bool,
    /// The bytes that launches transferred which have ended.
    moved: u64,
    /// The number of launches that have not ended.
    running: usize,
    /// An rsync has reached the other side.
    answered: bool,
    /// An rsync may ask the user something before it has reached the other side.
    asks: bool,
    /// The output of the one rsync for everything is passed on unchanged.
    verbatim: bool,
    /// The one rsync has done everything.
    did_it_all: bool,
    /// The directories above units, by their paths in the transfer, if entries are counted.
    above: BTreeSet<Vec<u8>>,
    /// What the last run of the same source and destination found.
    last_run: Option<Arc<OnceLock<Weight>>>,
}

/// The progress of a run, and who has to get it.
pub(super) struct Standing {
    pub live: Live,
    pub is_to_note: bool,
    pub is_to_tell: bool,
}

impl Statistics {
    pub fn new(one_rsync: Option<String>, verbatim: bool, no_first_pass: Option<String>) -> Statistics {
        let now = Instant::now();
        Statistics {
            summary: Summary { plain: one_rsync, no_first_pass, ..Summary::default() },
            started: now,
            tempo: Tempo::default(),
            estimate: Estimate::default(),
            outlook: Outlook::default(),
            most: Weight::default(),
            before: Weight::default(),
            copied: 0,
            buckets_done: 0,
            buckets_failed: 0,
            not_copied: 0,
            looked: now,
            noted: now,
            scanned: false,
            moved: 0,
            running: 0,
            answered: false,
            asks: false,
            verbatim,
            did_it_all: false,
            above: BTreeSet::new(),
            last_run: None,
        }
    }

    /// Why one rsync does everything, if it does.
    pub fn one_rsync(&self) -> Option<&str> {
        self.summary.plain.as_deref()
    }

    pub fn does_it_all(&mut self, why: String) {
        self.summary.plain = Some(why);
    }

    pub fn packed(&mut self, weight: Weight) {
        self.summary.buckets += 1;
        self.summary.packed += weight;
    }

    /// Takes over what an earlier part of the run has done.
    pub fn was_done(&mut self, before: &State) {
        self.buckets_done = before.done.len() as u64;
        self.buckets_failed = before.done.values().filter(|code| **code == exit::PARTIAL).count() as u64;
        self.not_copied = before.failures.count() as u64;
        self.before = before.done_weight();
    }

    pub fn bucket_done(&mut self, count: usize, code: u8) {
        self.buckets_done += count as u64;
        self.buckets_failed += if code == exit::PARTIAL { count as u64 } else { 0 };
    }

    /// Whether the scan is taking so long that the result of an earlier run would help, and that was not asked for yet.
    pub fn misses_last_run(&self) -> bool {
        !self.scanned && self.last_run.is_none() && self.started.elapsed() >= LONG_SCAN
    }

    pub fn last_run(&mut self, found: Arc<OnceLock<Weight>>) {
        self.last_run = Some(found);
    }

    pub fn not_copied(&mut self, names: u64) {
        self.not_copied += names;
    }

    pub fn kept_whole(&mut self, why: KeptWhole, path: String) {
        self.summary.kept_whole.entry(why).or_insert((0, path)).0 += 1;
    }

    pub fn scanned(&mut self) {
        self.scanned = true;
    }

    pub fn scan_took(&mut self, took: Duration) {
        self.summary.scan_time = took;
    }

    pub fn unread(&mut self, text: String) {
        self.summary.scan_error_count += 1;
        if self.summary.scan_errors.len() < Summary::NAMED {
            self.summary.scan_errors.push(text);
        }
    }

    pub fn retried(&mut self) {
        self.summary.retried += 1;
    }

    pub fn is_unrecorded(&mut self) {
        self.summary.unrecorded = true;
    }

    pub fn is_unaccounted(&mut self) {
        self.summary.unaccounted = true;
    }

    pub fn starts(&mut self, config: &Config, everything: bool, verbatim: bool) {
        self.running += 1;
        if everything {
            self.verbatim = verbatim;
            self.asks = config.asks && !config.stays_here() && config.hosts.is_empty();
        }
    }

    /// Adds the figures of a launch that has ended, whatever is decided about it.
    pub fn ended(&mut self, work: &Work, end: &End) {
        self.running = self.running.saturating_sub(1);
        self.summary.launches += u64::from(end.launched);
        self.moved += end.moved;
        self.summary.rsync_time += end.report.ran.saturating_sub(end.made.took);
        self.summary.made += end.made;
        self.summary.figures += match work {
            Work::Everything => end.figures,
            // A dry run does not create the directories, so that each launch that meets them would count them.
            Work::Create(_) if end.pretends => Figures { created: Counts::default(), ..end.figures.of_changes() },
            _ => end.figures.of_changes(),
        };
        self.summary.has_figures |= end.has_figures;
        let settled = end.code.is_some_and(exit::is_settled);
        self.answered |= settled;
        self.copied += u64::from(settled && work.copies());
        self.did_it_all |= settled && work.is_everything();
    }

    /// Adds what a launch found below its units. The directories above them are subtracted, because each launch counts them, and each launch of a dry run also
    /// counts them as created.
    pub fn count(&mut self, end: &mut End) {
        let Figures { files, total_size, .. } = end.figures;
        self.summary.figures.total_size += total_size;
        let above = std::mem::take(&mut end.above);
        if !end.counts {
            return;
        }
        let below = files.dir.saturating_sub(above.len() as u64);
        self.summary.figures.files += Counts { dir: below, ..files };
        let created = &mut self.summary.figures.created.dir;
        *created = created.saturating_sub(end.missing);
        self.above.extend(above);
    }

    /// What running launches have done.
    pub fn in_flight<'a>(&self, meters: impl Iterator<Item = (&'a Meter, Weight)>) -> Weight {
        meters.map(|(meter, weight)| meter.done(weight)).sum()
    }

    /// The progress of the run, if it is due, or if somebody has `asked`.
    pub fn standing(
        &mut self,
        asked: bool,
        launches: &mut BTreeMap<LaunchId, Started>,
        context: &Context,
        scheduler: &Scheduler,
    ) -> Option<Standing> {
        let every = if context.config.progress { TELL_EVERY } else { UNWATCHED };
        if self.looked.elapsed() < every && !asked {
            return None;
        }
        self.looked = Instant::now();
        let found = context.control.watch().found();
        let (mut flights, mut running) = (Vec::new(), BTreeMap::new());
        let (mut moved, mut in_flight) = (self.moved, Weight::default());
        for started in launches.values_mut() {
            // One rsync for everything was started before everything was found.
            let weight = if started.work.is_everything() { found } else { started.weight };
            let Reading { moved: of_one, done, answered } = started.meter.read(weight);
            moved += of_one;
            in_flight += done;
            self.answered |= answered;
            let age = self.looked.duration_since(started.since);
            let rate = started.pace.look(self.looked, of_one);
            if started.gate.is_some() {
                continue;
            }
            if started.work.copies() {
                flights.push(Flight { weight, done, moved: of_one, age });
            }
            // A launch that is only exiting may share its slot with a later one.
            if let Some(one) = started.running(weight, done, age, rate) {
                running.insert(one.launch.slot, one);
            }
        }
        self.tempo.look(self.looked, moved);
        let ended = self.done(context, scheduler);
        self.be_done(ended + in_flight);
        self.expect(ended, &flights, found, context, scheduler);
        let connects = self.running > 0 && !self.answered && !context.config.stays_here();
        let phase = match scheduler.is_finishing() {
            true if scheduler.is_done() => Phase::Ended,
            true => Phase::Finishing,
            false if connects => Phase::Connecting,
            false => Phase::Copying,
        };
        let is_to_note = self.noted.elapsed() >= NOTE_EVERY;
        if is_to_note {
            self.noted = self.looked;
        }
        // A question to the user would be overwritten by the progress line.
        let asks = self.asks && phase == Phase::Connecting;
        let is_to_tell = context.config.progress && !self.verbatim && !asks;
        let live = self.live(phase, running.into_values().collect(), context, scheduler);
        Some(Standing { live, is_to_note, is_to_tell })
    }

    fn expect(&mut self, ended: Weight, flights: &[Flight], found: Weight, context: &Context, scheduler: &Scheduler) {
        // A new scan finds at least what was found before.
        let found =
            Weight { entries: found.entries.max(self.before.entries), bytes: found.bytes.max(self.before.bytes) };
        self.outlook = self.estimate.look(&Look {
            at: self.started.elapsed(),
            ended,
            launches: self.copied,
            flights,
            found,
            unfound: context.control.watch().unfound().filter(|_| !self.scanned),
            scanned: self.scanned,
            last_run: self.last_run.as_ref().and_then(|last| last.get()).copied(),
            cost: scheduler.cost(),
            processes: scheduler.processes().get(),
        });
    }

    fn be_done(&mut self, done: Weight) {
        self.most = Weight { entries: self.most.entries.max(done.entries), bytes: self.most.bytes.max(done.bytes) };
    }

    fn done(&self, context: &Context, scheduler: &Scheduler) -> Weight {
        if self.did_it_all { context.control.watch().found() } else { scheduler.done() }
    }

    /// The progress at the end of the run.
    pub fn last(&mut self, context: &Context, scheduler: &Scheduler) -> Live {
        self.be_done(self.done(context, scheduler));
        self.live(Phase::Ended, Vec::new(), context, scheduler)
    }

    fn live(&self, phase: Phase, launches: Vec<Running>, context: &Context, scheduler: &Scheduler) -> Live {
        let InForce { winds_down, .. } = scheduler.in_force();
        Live {
            progress: self.progress(phase, context, scheduler),
            minute: self.tempo.rate_of_minute(),
            buckets: self.summary.buckets,
            buckets_done: self.buckets_done,
            buckets_failed: self.buckets_failed,
            split: context.spine().len() as u64,
            not_copied: self.not_copied,
            unread: self.summary.scan_error_count,
            retried: self.summary.retried,
            one_rsync: self.summary.plain.clone(),
            winds_down,
            launches,
        }
    }

    fn progress(&self, phase: Phase, context: &Context, scheduler: &Scheduler) -> Progress {
        let found = context.control.watch().found();
        let (before, most) = (self.before, self.most);
        let found = match self.scanned {
            true => found,
            // What was done before was also found before.
            false => Weight { entries: found.entries.max(before.entries), bytes: found.bytes.max(before.bytes) },
        };
        // A file that grows while it is copied may be larger than what was found.
        let done = Weight { entries: most.entries.min(found.entries), bytes: most.bytes.min(found.bytes) };
        let paused = scheduler.in_force().paused && phase != Phase::Ended;
        let left = self.outlook.left.filter(|_| phase == Phase::Copying && !paused);
        Progress {
            found,
            done,
            phase,
            scanned: self.scanned,
            paused,
            running: scheduler.working(),
            waiting: scheduler.waiting(),
            elapsed: self.started.elapsed(),
            rate: self.tempo.rate(),
            left: left.map(|left| left.likely),
            range: left.map(|left| left.range),
            fraction: self.outlook.fraction,
            expected: if self.scanned { Some(found) } else { self.outlook.whole },
        }
    }

    /// Prints the last lines, unless one rsync has done everything and printed them itself, or the run ended before everything was done.
    pub fn close_output(
        &mut self,
        context: &Context,
        said: &Arc<Said>,
        user_log: Option<&UserLog>,
        over: bool,
        soft: u8,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) {
        if self.summary.plain.is_some() || self.summary.launches == 0 {
            return;
        }
        let mut above = std::mem::take(&mut self.above);
        above.extend(context.spine().paths().map(<[u8]>::to_vec));
        self.summary.figures.files.dir += above.len() as u64;
        if context.plan.recipe.dry_run {
            self.summary.figures.created.dir += context.missing(&above);
        }
        let closing = Closing {
            figures: self.summary.figures,
            shows: context.plan.shows,
            dry_run: context.plan.recipe.dry_run,
            took: self.started.elapsed(),
        };
        if over {
            said.begin(tell);
            closing.lines().iter().for_each(|line| tell(Event::Said(line.as_bytes())));
        }
        if let Some(log) = user_log {
            let failed = !over || soft != exit::OK;
            // In the log, `--quiet` does not apply.
            log.close(&Closing { shows: context.config.options.shows(), ..closing }, over, failed);
        }
    }

    /// Reports the totals after everything has ended.
    pub fn summary(mut self, context: &Context, scheduler: &Scheduler, tell: &(dyn Fn(Event<'_>) + Sync)) -> Summary {
        let now = Instant::now();
        let done = self.done(context, scheduler);
        self.tempo.look(now, self.moved);
        self.be_done(done);
        let last = self.progress(Phase::Ended, context, scheduler);
        if context.config.progress && !self.verbatim {
            tell(Event::Progress(last));
        }
        tell(Event::Standing(last));
        let found = context.control.watch().found();
        Summary {
            code: scheduler.code(),
            // An interruption after the end has no effect.
            interrupted: scheduler.is_interrupted(),
            stopped: scheduler.is_wound_down(),
            out_of_time: scheduler.is_out_of_time(),
            only_spoilt: scheduler.has_only_spoilt(),
            begun: scheduler.has_begun(),
            buckets_left: if scheduler.stopping() { scheduler.buckets_left() } else { 0 },
            found,
            done: if context.config.dry_run { found } else { done },
            bucket_dir: context.config.keep.then(|| context.buckets.path().to_owned()),
            spine: context.spine().len() as u64,
            processes: scheduler.processes().get(),
            hosts: scheduler.host_figures(now),
            total_time: self.started.elapsed(),
            ..self.summary
        }
    }
}
