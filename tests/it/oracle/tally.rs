//! Counts the results of many cases, and prints the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::case::Case;
use super::generate::is_native;
use super::judge::{Outcome, Verdict};

#[derive(Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub identical: u64,
    pub different: BTreeSet<u64>,
    pub unstable: BTreeSet<u64>,
    known: BTreeMap<&'static str, BTreeSet<u64>>,
    refused: BTreeMap<String, u64>,
    nobody: u64,
    failed: u64,
    split: u64,
    unsplit: u64,
    whole: BTreeMap<String, u64>,
    /// For each reason: the number of cases, and their options.
    plain: BTreeMap<String, (u64, BTreeSet<String>)>,
    launches: u64,
    /// Cases in which a first pass created something.
    made: u64,
    pub elapsed: Duration,
}

/// What a run of many cases must reach to be significant.
pub struct Floors {
    /// Cases that really ran.
    pub cases: u64,
    /// The least percentage of cases that were split.
    pub split: u64,
    /// The largest percentage for each of these.
    pub unstable: u64,
    pub known: u64,
    pub refused: u64,
}

pub const FLOORS: Floors = Floors { cases: 1, split: 30, unstable: 3, known: 1, refused: 10 };

impl Tally {
    /// Panics with the figures that are not as required.
    #[track_caller]
    pub fn expect_floors(&self, floors: &Floors) {
        let missed = self.missed(floors);
        assert!(missed.is_empty(), "these cases prove nothing: {}", missed.join("; "));
    }

    fn missed(&self, floors: &Floors) -> Vec<String> {
        let known = self.known.values().map(BTreeSet::len).sum::<usize>() as u64;
        let mut missed = Vec::new();
        if self.cases < floors.cases {
            missed.push(format!("{} cases ran, not {}", self.cases, floors.cases));
        }
        if self.split * 100 < self.cases * floors.split {
            missed.push(format!("{} of {} were split, less than {} %", self.split, self.cases, floors.split));
        }
        for (what, count, percent) in [
            ("unstable", self.unstable.len() as u64, floors.unstable),
            ("known", known, floors.known),
            ("refused", self.refused.values().sum(), floors.refused),
        ] {
            // Fractions of cases are rounded up.
            if count > (self.cases * percent).div_ceil(100) {
                missed.push(format!("{count} of {} were {what}, more than {percent} %", self.cases));
            }
        }
        missed
    }

    pub fn add(&mut self, case: &Case, verdict: &Verdict) {
        self.cases += 1;
        self.nobody += u64::from(case.nobody);
        match &verdict.outcome {
            Outcome::Identical => self.identical += 1,
            Outcome::Different => drop(self.different.insert(case.seed)),
            Outcome::Unstable => drop(self.unstable.insert(case.seed)),
            Outcome::Known(cause) => drop(self.known.entry(cause).or_default().insert(case.seed)),
            Outcome::Refused(option) => *self.refused.entry(option.clone()).or_default() += 1,
        }
        let Some(one) = &verdict.one else { return };
        self.failed += u64::from(!one.status.success());
        let way = &verdict.way;
        self.launches += way.launches;
        self.made += u64::from(way.made);
        for why in &way.whole {
            *self.whole.entry(why.clone()).or_default() += 1;
        }
        match &way.plain {
            Some(why) => {
                let (count, with) = self.plain.entry(why.clone()).or_default();
                *count += 1;
                with.insert(combination(case));
            }
            None if way.split > 0 => self.split += 1,
            None if way.launches > 0 => self.unsplit += 1,
            None => {}
        }
    }
}

/// The options that multi-sync has to understand, without their values, and the form of the sources.
fn combination(case: &Case) -> String {
    let short = |word: &String| word.split_once('=').map_or(word.clone(), |(name, _)| format!("{name}="));
    let special = case.options.iter().skip(1).filter(|group| !is_native(group));
    let mut words: Vec<String> = special.flatten().map(short).collect();
    words.sort();
    words.dedup();
    if case.sources.len() > 1 {
        words.push(format!("{} sources", case.sources.len()));
    }
    if words.is_empty() { "nothing special".into() } else { words.join(" ") }
}

fn seeds(seeds: &BTreeSet<u64>) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} cases in {seconds:.0} s ({:.1} a second), {} of them as nobody, {} in which one rsync ends with an error",
            self.cases,
            self.cases as f64 / seconds,
            self.nobody,
            self.failed
        )?;
        writeln!(f, "identical:          {}", self.identical)?;
        writeln!(f, "different:          {} {}", self.different.len(), seeds(&self.different))?;
        writeln!(f, "unstable:           {} {}", self.unstable.len(), seeds(&self.unstable))?;
        writeln!(f, "known:              {}", self.known.values().map(BTreeSet::len).sum::<usize>())?;
        for (cause, of) in &self.known {
            writeln!(f, "    {:>6} {cause}: {}", of.len(), seeds(of))?;
        }
        writeln!(f, "refused:            {}", self.refused.values().sum::<u64>())?;
        for (option, count) in &self.refused {
            writeln!(f, "    {count:>6} {option}")?;
        }
        writeln!(f, "split:              {} ({} rsyncs in all)", self.split, self.launches)?;
        writeln!(f, "with a first pass:  {}", self.made)?;
        writeln!(f, "several, no split:  {}", self.unsplit)?;
        writeln!(f, "left dirs whole:    {}", self.whole.values().sum::<u64>())?;
        for (why, count) in &self.whole {
            writeln!(f, "    {count:>6} {why}")?;
        }
        writeln!(f, "plain:              {}", self.plain.values().map(|(count, _)| count).sum::<u64>())?;
        for (why, (count, with)) in &self.plain {
            writeln!(f, "    {count:>6} {why}")?;
            with.iter().try_for_each(|combination| writeln!(f, "             {combination}"))?;
        }
        Ok(())
    }
}

#[test]
fn floors_are_floors() {
    let good = || Tally { cases: 200, split: 60, unstable: (0..6).collect(), ..Tally::default() };
    let known = |count| BTreeMap::from([("a cause", (0..count).collect())]);
    let floors = Floors { cases: 200, ..FLOORS };
    let expected: [(Tally, &[&str]); 6] = [
        (Tally { known: known(2), ..good() }, &[]),
        (Tally { cases: 199, ..good() }, &["199 cases ran, not 200"]),
        (Tally { split: 59, ..good() }, &["59 of 200 were split, less than 30 %"]),
        (Tally { unstable: (0..7).collect(), ..good() }, &["7 of 200 were unstable, more than 3 %"]),
        (Tally { known: known(3), ..good() }, &["3 of 200 were known, more than 1 %"]),
        (Tally { refused: BTreeMap::from([("x".into(), 21)]), ..good() }, &["21 of 200 were refused, more than 10 %"]),
    ];
    for (tally, missed) in expected {
        assert_eq!(tally.missed(&floors), missed);
    }
}
