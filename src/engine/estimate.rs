//! How much of a run is done, and how long the rest will take. Pure: it is called with the figures of the run several times a second.
//!
//! The rest is what the scan has found, and is still expected to find, minus what is done. The speed is that of the last minutes. How much an entry costs
//! compared with a byte comes from launches that have ended ([`CostModel`]). Whatever the two cost, the rest takes no less than the shorter, and no more than
//! the longer, of two times: that for the entries alone and that for the bytes alone. The fewer launches have ended, the more of this interval is in the range.
//! A run never ends before its longest launch.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cost::CostModel;
use crate::scan::{Unfound, Weight};

/// The speed is measured over the last part of a run, `PART_OF_RUN` of it, within these limits in seconds.
const SHORTEST_WINDOW: f64 = 60.0;
const LONGEST_WINDOW: f64 = 900.0;
const PART_OF_RUN: f64 = 0.25;
/// The speed of the last seconds may differ from that of the window.
const RECENT: f64 = 15.0;
/// A shorter time has too few samples for a speed.
const LEAST: f64 = 2.5;
/// If the last look was longer ago than this, multi-sync was stopped, or blocked by its own output: that time is no part of any speed.
const ABSENT: f64 = 5.0;
/// The number of samples that are kept: enough for one per second in a short window, fewer in a long one.
const SAMPLES: usize = 128;
/// Bytes that an rsync writes for each entry besides its content, for example in the list of files.
const TALK: u64 = 128;
/// A launch without progress figures counts as done according to its age, but never more than this part of it.
const MOST_BY_AGE: f64 = 0.9;
/// The seconds that a running launch, and the end of a run, take in any case.
const MOMENT: f64 = 1.0;
/// The most seconds that an entry may cost besides its bytes: a few round trips to a distant server.
const SLOWEST_ENTRY: f64 = 0.05;
/// Looking at a steady flow for this many seconds is worth as much as one launch that has ended.
const SECONDS_OF_A_LAUNCH: f64 = 5.0;
/// However much is known, the end may be off by this part.
const LEAST_DOUBT: f64 = 0.08;
/// Not all uncertainties become true at once. When everything was found, the range is this part of their sum (`docs/eta.md`: with half of it, nine of ten
/// ranges contained the end).
const PART_OF_DOUBTS: f64 = 0.6;
/// The expected range of the total, relative to the last run of the same source and destination: trees grow rather than shrink.
const LAST_RUN: (f64, f64) = (0.95, 1.15);

/// The figures of a run at one moment.
#[derive(Debug, Clone)]
pub(super) struct Look<'a> {
    /// The time since this part of the run began.
    pub at: Duration,
    /// What launches have done that have ended, including those of earlier parts of the run.
    pub ended: Weight,
    /// The number of these launches.
    pub launches: u64,
    pub flights: &'a [Flight],
    pub found: Weight,
    /// What the scan has still to find: unknown, or nothing once it has ended.
    pub unfound: Option<Unfound>,
    pub scanned: bool,
    /// What the last run of the same source and destination found.
    pub last_run: Option<Weight>,
    pub cost: CostModel,
    pub processes: usize,
}

/// A running launch that copies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub weight: Weight,
    /// What it reports as done.
    pub done: Weight,
    /// The bytes that it has moved.
    pub moved: u64,
    pub age: Duration,
}

/// What is expected of the rest of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outlook {
    /// How much of the work is done, from 0 to 1. It never decreases.
    pub fraction: Option<f64>,
    /// The time that is left.
    pub left: Option<Left>,
    /// The expected total.
    pub whole: Option<Weight>,
}

/// The time until everything is copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    pub likely: Duration,
    /// The range that contains the end in eight of ten cases.
    pub range: (Duration, Duration),
}

/// Entries and bytes, possibly in fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Amount {
    entries: f64,
    bytes: f64,
}

impl Amount {
    fn of(weight: Weight) -> Amount {
        Amount { entries: weight.entries as f64, bytes: weight.bytes as f64 }
    }

    fn work(self, cost: &CostModel) -> f64 {
        self.entries * cost.entry + self.bytes * cost.byte
    }

    fn less(self, other: Amount) -> Amount {
        Amount { entries: (self.entries - other.entries).max(0.0), bytes: (self.bytes - other.bytes).max(0.0) }
    }

    fn times(self, factor: f64) -> Amount {
        Amount { entries: self.entries * factor, bytes: self.bytes * factor }
    }

    fn most(self, other: Amount) -> Amount {
        Amount { entries: self.entries.max(other.entries), bytes: self.bytes.max(other.bytes) }
    }

    fn plus(self, other: Amount) -> Amount {
        Amount { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: f64,
    done: Amount,
}

/// A likely time, and its range.
#[derive(Debug, Clone, Copy)]
struct Seconds {
    low: f64,
    likely: f64,
    high: f64,
}

/// The estimate, with what it has seen of the run so far.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    samples: VecDeque<Sample>,
    /// The most that was ever done, so that work is not counted twice when a launch that broke off is repeated.
    done: Amount,
    fraction: f64,
    last: Option<f64>,
}

impl Estimate {
    /// Takes new figures, and returns what is expected.
    pub fn look(&mut self, look: &Look<'_>) -> Outlook {
        let at = look.at.as_secs_f64();
        let whole = look.whole();
        let running = look.flights.iter().fold(Amount::default(), |sum, flight| sum.plus(flight.credit(look)));
        self.done = self.done.most(Amount::of(look.ended).plus(running));
        self.keep(at, !look.flights.is_empty());
        let Some(whole) = whole else { return Outlook { left: None, ..self.outlook(None) } };
        let most = whole.high.work(&look.cost);
        if most > 0.0 {
            let part = self.done.work(&look.cost) / most;
            self.fraction = self.fraction.max(part.clamp(0.0, 1.0));
        }
        Outlook { left: self.left(look, &whole, at).map(Left::of), ..self.outlook(Some(whole.likely)) }
    }

    fn outlook(&self, whole: Option<Amount>) -> Outlook {
        let whole = whole.map(|whole| Weight { entries: whole.entries as u64, bytes: whole.bytes as u64 });
        Outlook { fraction: whole.map(|_| self.fraction), left: None, whole }
    }

    fn keep(&mut self, at: f64, runs: bool) {
        if self.last.is_some_and(|last| at - last > ABSENT) {
            self.samples.clear();
        }
        self.last = Some(at);
        // Before the first launch copies, there is no speed.
        if self.samples.is_empty() && !runs {
            return;
        }
        let window = (at * PART_OF_RUN).clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let now = Sample { at, done: self.done };
        // The last sample always has the current figures. A new one is added only if the one before is old enough.
        let apart = window / SAMPLES as f64;
        let before = self.samples.len().checked_sub(2).and_then(|before| self.samples.get(before)).copied();
        match self.samples.back_mut() {
            Some(last) if before.is_some_and(|before| at - before.at < apart) => *last = now,
            _ => self.samples.push_back(now),
        }
        while self.samples.get(1).is_some_and(|second| at - second.at >= window) {
            self.samples.pop_front();
        }
    }

    /// How much was done in the last `window` seconds, and how long that really took.
    fn gained(&self, window: f64) -> Option<(Amount, f64)> {
        let last = self.samples.back()?;
        let first = self.samples.iter().find(|sample| last.at - sample.at <= window)?;
        let took = last.at - first.at;
        (took >= LEAST.min(window)).then(|| (last.done.less(first.done), took))
    }

    fn left(&self, look: &Look<'_>, whole: &Whole, at: f64) -> Option<Seconds> {
        let cost = &look.cost;
        let (gained, took) = self.gained(f64::INFINITY)?;
        let speed = gained.work(cost) / took;
        if speed <= 0.0 {
            return None;
        }
        let rest = |all: Amount| all.less(self.done);
        let by_work = |rest: Amount| rest.work(cost) / speed;
        let likely = by_work(rest(whole.likely));
        // The times that result if only entries, or only bytes, cost anything.
        let alone =
            |rest: f64, gained: f64| if rest <= 0.0 { Some(0.0) } else { (gained > 0.0).then(|| rest * took / gained) };
        let bounds = |rest: Amount| {
            let by = [alone(rest.entries, gained.entries), alone(rest.bytes, gained.bytes)];
            let known = || by.iter().flatten().copied();
            let unknown = if by.contains(&None) { 2.0 * by_work(rest) } else { 0.0 };
            let high = known().fold(by_work(rest).max(unknown), f64::max);
            // However, an entry never takes longer than on a slow, distant server.
            let entries = rest.entries * SLOWEST_ENTRY / look.processes.max(1) as f64;
            let slowest = by_work(rest).max(by[1].unwrap_or(f64::INFINITY) + entries);
            (known().fold(by_work(rest), f64::min), high.min(slowest))
        };
        let doubt = 1.0 / (1.0 + look.launches as f64 / (2 * look.processes.max(1)) as f64);
        let toward = |from: f64, to: f64| from + doubt * (to - from);
        let mut low = toward(by_work(rest(whole.low)), bounds(rest(whole.low)).0);
        let mut high = toward(by_work(rest(whole.high)), bounds(rest(whole.high)).1);
        // The current speed may also last.
        if let Some((now, took)) = self.gained(RECENT).filter(|(now, _)| now.work(cost) > 0.0) {
            let now = (rest(whole.likely).work(cost) * took / now.work(cost)).clamp(likely / 2.0, likely * 2.0);
            (low, high) = (low.min(now), high.max(now));
        }
        let jitter = LEAST_DOUBT + 0.25 / (1.0 + look.launches as f64 + took / SECONDS_OF_A_LAUNCH).sqrt();
        // Slots do not end together: on average, half of them still work on a part of a launch.
        let launch = at * look.flights.len() as f64 / look.launches.max(1) as f64;
        let launch = if look.launches > 0 { launch.min(likely) } else { 0.0 };
        let likely = likely + launch / 4.0;
        let (low, high) = (low * (1.0 - jitter), high * (1.0 + jitter) + launch);
        let part = if look.scanned { PART_OF_DOUBTS } else { 1.0 };
        let toward_likely = |bound: f64| likely + part * (bound - likely);
        let mut left =
            Seconds { low: toward_likely(low) - MOMENT, likely, high: toward_likely(high.max(likely)) + MOMENT };
        if !look.scanned {
            left = left.at_least(look.scan_left(at));
        }
        look.flights.iter().filter_map(Flight::left).for_each(|of_one| left = left.at_least(of_one));
        Some(left)
    }
}

impl Seconds {
    /// Takes into account something else that has to end first.
    fn at_least(self, other: Seconds) -> Seconds {
        Seconds { low: self.low.max(other.low), likely: self.likely.max(other.likely), high: self.high.max(other.high) }
    }
}

impl Left {
    fn of(seconds: Seconds) -> Left {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds.max(MOMENT)).unwrap_or(Duration::MAX);
        let Seconds { low, likely, high } = seconds;
        Left { likely: time(likely), range: (time(low.min(likely)), time(high.max(likely))) }
    }
}

/// What everything weighs, or will weigh.
struct Whole {
    low: Amount,
    likely: Amount,
    high: Amount,
}

impl Look<'_> {
    fn whole(&self) -> Option<Whole> {
        let found = Amount::of(self.found);
        if self.scanned {
            return Some(Whole { low: found, likely: found, high: found });
        }
        let from_scan = self.unfound.filter(|_| self.found.entries > 0).map(|unfound| {
            // What is not found yet is assumed to be like what was found.
            let with = |entries: f64| found.plus(found.times(entries / found.entries));
            Whole { low: with(unfound.range.0), likely: with(unfound.entries), high: with(unfound.range.1) }
        });
        let Some(last) = self.last_run.map(Amount::of) else { return from_scan };
        let (shrunk, grown) = LAST_RUN;
        Some(Whole {
            low: found.most(last.times(shrunk)),
            likely: found.most(last),
            high: found.most(last.times(grown)),
        })
    }

    /// How long the scan will go on.
    fn scan_left(&self, at: f64) -> Seconds {
        let found = self.found.entries.max(1) as f64;
        let of = |entries: f64| entries * at / found;
        match (self.last_run, self.unfound) {
            (Some(last), _) => {
                let more = of((last.entries as f64 - found).max(0.0));
                Seconds { low: more * LAST_RUN.0, likely: more, high: more * LAST_RUN.1 }
            }
            (None, Some(unfound)) => {
                Seconds { low: of(unfound.range.0), likely: of(unfound.entries), high: of(unfound.range.1) }
            }
            (None, None) => Seconds { low: 0.0, likely: 0.0, high: 0.0 },
        }
    }
}

impl Flight {
    /// The bytes of content that the launch has moved.
    fn content(&self) -> u64 {
        self.moved.saturating_sub(TALK * (self.weight.entries + 1))
    }

    /// How much of the launch counts as done. A launch that moves nothing compares what exists already, and reports that only at its end; until then, its age
    /// is compared with the expected time.
    fn credit(&self, look: &Look<'_>) -> Amount {
        let (weight, done) = (Amount::of(self.weight), Amount::of(self.done));
        if self.content() > 0 {
            let part = if weight.bytes > 0.0 { (done.bytes / weight.bytes).min(1.0) } else { 0.0 };
            // If rsync does not report the number of entries, it is derived from the bytes.
            return Amount { entries: done.entries.max(part * weight.entries), bytes: done.bytes };
        }
        if look.launches == 0 {
            return done;
        }
        let expected = look.cost.launch + weight.work(&look.cost);
        let part = (self.age.as_secs_f64() / expected.max(f64::MIN_POSITIVE)).min(MOST_BY_AGE);
        weight.times(part).most(done)
    }

    /// The time until the launch ends, if its bytes allow an estimate.
    fn left(&self) -> Option<Seconds> {
        /// In its first seconds, a launch has not reached its speed.
        const YOUNG: f64 = 2.0;
        let age = self.age.as_secs_f64();
        let content = self.content() as f64;
        if content <= 0.0 || age < YOUNG {
            return None;
        }
        let likely = (self.weight.bytes as f64 - content).max(0.0) * age / content;
        Some(Seconds { low: 0.8 * likely, likely, high: 1.25 * likely })
    }
}

#[cfg(test)]
mod tests;
