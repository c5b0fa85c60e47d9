//! Counts what became of many cases, and prints it.

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
    /// For each reason: how many, and with which options.
    plain: BTreeMap<String, (u64, BTreeSet<String>)>,
    launches: u64,
    pub elapsed: Duration,
}

impl Tally {
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

/// The options that are more than handed on, without their values, and the form of the sources.
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
