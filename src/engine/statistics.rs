//! What is counted while a run goes on and read by nobody who decides: where it stands, and the sums at its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::report::closing::Closing;
use crate::report::{Event, Phase, Progress, Summary};
use crate::rsync::exit;
use crate::rsync::output::{Counts, Figures};
use crate::scan::{KeptWhole, Weight};
use crate::sched::{Scheduler, Work};

use super::context::Context;
use super::launch::End;
use super::meter::Meter;
use super::said::Said;
use super::tempo::Tempo;
use super::userlog::UserLog;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often a run is looked at that nobody watches: somebody may ask.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How often it is written down, for who asks from outside.
const NOTE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Statistics {
    summary: Summary,
    started: Instant,
    tempo: Tempo,
    /// When the progress was last looked at, and written down.
    looked: Instant,
    noted: Instant,
    scanned: bool,
    /// Bytes that launches have transferred which are over.
    moved: u64,
    /// Launches that have not ended.
    running: usize,
    /// An rsync has reached the other side.
    answered: bool,
    /// One may ask the user something before it does.
    asks: bool,
    /// What the one rsync for everything prints is handed on as it comes.
    verbatim: bool,
    /// It has done everything.
    did_it_all: bool,
    /// Directories above units, by their names in the transfer, where entries are counted.
    above: BTreeSet<Vec<u8>>,
}

/// Where a run stands, and who is to know.
pub(super) struct Standing {
    pub progress: Progress,
    pub is_to_note: bool,
    pub is_to_tell: bool,
}

impl Statistics {
    pub fn new(one_rsync: Option<String>, verbatim: bool) -> Statistics {
        let now = Instant::now();
        Statistics {
            summary: Summary { plain: one_rsync, ..Summary::default() },
            started: now,
            tempo: Tempo::default(),
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
        }
    }

    /// Why one rsync does it all, if it does.
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
            self.asks = config.asks && !config.destination.is_local() && config.hosts.is_empty();
        }
    }

    /// A launch has ended, whatever is decided about it.
    pub fn ended(&mut self, work: &Work, end: &End) {
        self.running = self.running.saturating_sub(1);
        self.summary.launches += u64::from(end.launched);
        self.moved += end.moved;
        self.summary.rsync_time += end.report.ran;
        self.summary.figures += match work {
            Work::Everything => end.figures,
            // Made by none, they would be counted by each that comes upon them.
            Work::Create(_) if end.pretends => Figures { created: Counts::default(), ..end.figures.of_changes() },
            _ => end.figures.of_changes(),
        };
        self.summary.has_figures |= end.has_figures;
        let settled = end.code.is_some_and(exit::is_settled);
        self.answered |= settled;
        self.did_it_all |= settled && work.is_everything();
    }

    /// Adds what a launch has found below its units. Directories above them are counted by each launch, and in a dry run made by each.
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

    /// What running launches have dealt with.
    pub fn in_flight<'a>(&self, meters: impl Iterator<Item = (&'a Meter, Weight)>) -> Weight {
        meters.map(|(meter, weight)| meter.done(weight)).sum()
    }

    /// Where the run stands, if it is time to look or somebody has `asked`.
    pub fn standing<'a>(
        &mut self,
        asked: bool,
        meters: impl Iterator<Item = (&'a Meter, Weight)> + Clone,
        context: &Context,
        scheduler: &Scheduler,
    ) -> Option<Standing> {
        let every = if context.config.progress { TELL_EVERY } else { UNWATCHED };
        if self.looked.elapsed() < every && !asked {
            return None;
        }
        self.looked = Instant::now();
        let moved = self.moved + meters.clone().map(|(meter, _)| meter.moved()).sum::<u64>();
        self.answered |= meters.clone().any(|(meter, _)| meter.is_answered());
        let done = self.done(context, scheduler) + self.in_flight(meters);
        self.tempo.look(self.looked, done, moved);
        let connects = self.running > 0 && !self.answered && !context.config.destination.is_local();
        let phase = match scheduler.is_finishing() {
            true if scheduler.is_done() => Phase::Ended,
            true => Phase::Finishing,
            false if connects => Phase::Connecting,
            false => Phase::Copying,
        };
        let progress = self.progress(phase, context, scheduler);
        let is_to_note = self.noted.elapsed() >= NOTE_EVERY;
        if is_to_note {
            self.noted = self.looked;
        }
        // A question stands where the line would be.
        let asks = self.asks && phase == Phase::Connecting;
        let is_to_tell = context.config.progress && !self.verbatim && !asks;
        Some(Standing { progress, is_to_note, is_to_tell })
    }

    fn done(&self, context: &Context, scheduler: &Scheduler) -> Weight {
        if self.did_it_all { context.control.watch().found() } else { scheduler.done() }
    }

    fn progress(&self, phase: Phase, context: &Context, scheduler: &Scheduler) -> Progress {
        let found = context.control.watch().found();
        let most = self.tempo.most();
        // What grows while it is copied is more than was found.
        let done = Weight { entries: most.entries.min(found.entries), bytes: most.bytes.min(found.bytes) };
        Progress {
            found,
            done,
            phase,
            scanned: self.scanned,
            running: scheduler.working(),
            waiting: scheduler.waiting(),
            elapsed: self.started.elapsed(),
            rate: self.tempo.rate(),
            left: self.tempo.left(found, &scheduler.cost()).filter(|_| self.scanned && phase == Phase::Copying),
        }
    }

    /// The last lines, unless one rsync has done it all and said them itself, or the run was ended before its time.
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
            // It is not for who wants it quiet.
            log.close(&Closing { shows: context.config.options.shows(), ..closing }, over, failed);
        }
    }

    /// The last word, after everything has ended, and the sums.
    pub fn summary(mut self, context: &Context, scheduler: &Scheduler, tell: &(dyn Fn(Event<'_>) + Sync)) -> Summary {
        let now = Instant::now();
        let done = self.done(context, scheduler);
        self.tempo.look(now, done, self.moved);
        let last = self.progress(Phase::Ended, context, scheduler);
        if context.config.progress && !self.verbatim {
            tell(Event::Progress(last));
        }
        tell(Event::Standing(last));
        let found = context.control.watch().found();
        Summary {
            code: scheduler.code(),
            // What comes after the end ends nothing.
            interrupted: scheduler.is_interrupted(),
            stopped: scheduler.is_wound_down(),
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
