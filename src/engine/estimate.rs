//! How much of a run is done, and how long the rest will take: pure, fed with what is seen several times a second.
//!
//! The rest is what was found, or will be as far as the scan tells, less what is done. Time is known from the speed of the last minutes, and what an
//! entry costs beside a byte from launches that have ended ([`CostModel`]). If entries and bytes cost time at all, then whatever they cost, the rest
//! takes between what it would if entries alone did and if bytes alone did: the less launches have told, the more of that is in the range. No run
//! ends before its longest launch.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cost::CostModel;
use crate::scan::{Unfound, Weight};

/// The speed is that of so long at least, and of the last part of a long run.
const SHORTEST_WINDOW: f64 = 60.0;
const LONGEST_WINDOW: f64 = 900.0;
const PART_OF_RUN: f64 = 0.25;
/// What was done in this time may tell of another speed.
const RECENT: f64 = 15.0;
/// Less time than this says nothing.
const LEAST: f64 = 2.5;
/// Who looks so rarely was stopped, or held up by its own output: that time is no part of any speed.
const ABSENT: f64 = 5.0;
/// Samples that are kept: enough for a second each in a window, and further apart in a long one.
const SAMPLES: usize = 128;
/// What an rsync has written that is about names, not content (its list of files), for each entry.
const TALK: u64 = 128;
/// The part of a launch that is taken for done because of its age alone is never more than this.
const MOST_BY_AGE: f64 = 0.9;
/// What runs takes a moment more, and so does what comes after the last launch.
const MOMENT: f64 = 1.0;
/// An entry costs no more seconds than this, bytes apart: some round trips to a server that is far away.
const SLOWEST_ENTRY: f64 = 0.05;
/// So long a look at a steady flow says as much as a launch that has ended.
const SECONDS_OF_A_LAUNCH: f64 = 5.0;
/// Whatever is known, the end may be off by this part.
const LEAST_DOUBT: f64 = 0.08;
/// Not all doubts come true at once: so much of what they amount to is the range once everything was found (`docs/eta.md`: with half of it nine of ten
/// looks held the end).
const PART_OF_DOUBTS: f64 = 0.6;
/// Of the last run of the same source and destination: trees grow rather than shrink.
const LAST_RUN: (f64, f64) = (0.95, 1.15);

/// What is seen of a run at one moment.
#[derive(Debug, Clone)]
pub(super) struct Look<'a> {
    /// Since this part of the run began.
    pub at: Duration,
    /// Of launches that have ended, in earlier parts of the run too.
    pub ended: Weight,
    /// How many have.
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

/// A launch that copies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub weight: Weight,
    /// What it says that it has dealt with.
    pub done: Weight,
    /// Bytes that it has moved.
    pub moved: u64,
    pub age: Duration,
}

/// What is expected of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outlook {
    /// How much of the work is done, from 0 to 1: never less than before.
    pub fraction: Option<f64>,
    /// The time that is left.
    pub left: Option<Left>,
    /// What it all will weigh.
    pub whole: Option<Weight>,
}

/// Seconds until everything is copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    pub likely: Duration,
    /// Eight of ten times the end comes between these.
    pub range: (Duration, Duration),
}

/// Entries and bytes, in parts.
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

/// Time that is likely, and its range.
#[derive(Debug, Clone, Copy)]
struct Seconds {
    low: f64,
    likely: f64,
    high: f64,
}

/// What was seen of a run.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    samples: VecDeque<Sample>,
    /// What a launch loses that breaks off is not counted twice.
    done: Amount,
    fraction: f64,
    last: Option<f64>,
}

impl Estimate {
    /// Takes in what is seen, and says what is expected.
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
        // Before anything is copied there is no speed.
        if self.samples.is_empty() && !runs {
            return;
        }
        let window = (at * PART_OF_RUN).clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let now = Sample { at, done: self.done };
        // The last one stands for now, whenever the one before was.
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

    /// What was done in the last so many seconds, and how long that took.
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
        // Whatever entries and bytes cost beside each other.
        let alone =
            |rest: f64, gained: f64| if rest <= 0.0 { Some(0.0) } else { (gained > 0.0).then(|| rest * took / gained) };
        let bounds = |rest: Amount| {
            let by = [alone(rest.entries, gained.entries), alone(rest.bytes, gained.bytes)];
            let known = || by.iter().flatten().copied();
            let unknown = if by.contains(&None) { 2.0 * by_work(rest) } else { 0.0 };
            let high = known().fold(by_work(rest).max(unknown), f64::max);
            // But no entry takes longer than a slow server takes for one.
            let entries = rest.entries * SLOWEST_ENTRY / look.processes.max(1) as f64;
            let slowest = by_work(rest).max(by[1].unwrap_or(f64::INFINITY) + entries);
            (known().fold(by_work(rest), f64::min), high.min(slowest))
        };
        let doubt = 1.0 / (1.0 + look.launches as f64 / (2 * look.processes.max(1)) as f64);
        let toward = |from: f64, to: f64| from + doubt * (to - from);
        let mut low = toward(by_work(rest(whole.low)), bounds(rest(whole.low)).0);
        let mut high = toward(by_work(rest(whole.high)), bounds(rest(whole.high)).1);
        // It may go on as it does now.
        if let Some((now, took)) = self.gained(RECENT).filter(|(now, _)| now.work(cost) > 0.0) {
            let now = (rest(whole.likely).work(cost) * took / now.work(cost)).clamp(likely / 2.0, likely * 2.0);
            (low, high) = (low.min(now), high.max(now));
        }
        let jitter = LEAST_DOUBT + 0.25 / (1.0 + look.launches as f64 + took / SECONDS_OF_A_LAUNCH).sqrt();
        // Slots do not end together: half of them go on for a part of a launch.
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
    /// Something else takes this long.
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

/// What everything weighs, or will.
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
            // What is not found yet is like what was found.
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

    /// Seconds that the scan goes on.
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
    /// Bytes of content that it has moved.
    fn content(&self) -> u64 {
        self.moved.saturating_sub(TALK * (self.weight.entries + 1))
    }

    /// What of it counts as done. One that moves nothing looks at what is there already, and tells of that at its end: then it goes by what
    /// such launches take.
    fn credit(&self, look: &Look<'_>) -> Amount {
        let (weight, done) = (Amount::of(self.weight), Amount::of(self.done));
        if self.content() > 0 {
            let part = if weight.bytes > 0.0 { (done.bytes / weight.bytes).min(1.0) } else { 0.0 };
            // Who does not count entries has done as many of them as of the bytes.
            return Amount { entries: done.entries.max(part * weight.entries), bytes: done.bytes };
        }
        if look.launches == 0 {
            return done;
        }
        let expected = look.cost.launch + weight.work(&look.cost);
        let part = (self.age.as_secs_f64() / expected.max(f64::MIN_POSITIVE)).min(MOST_BY_AGE);
        weight.times(part).most(done)
    }

    /// Seconds until it ends, if its bytes tell.
    fn left(&self) -> Option<Seconds> {
        /// Before that it has not come into its stride.
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
