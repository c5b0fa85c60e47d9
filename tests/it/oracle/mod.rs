//! The oracle: does multi-sync have the result of one rsync?
//!
//! [`generate`] makes a [`case`] from a seed, [`judge`] runs it both ways and compares everything that can be compared, [`known`] recognises differences that
//! are caused by one rsync itself, [`place`] is where it runs, [`saved`] keeps cases in files, [`shrink`] makes a differing case small, [`tally`] counts.

pub mod case;
pub mod generate;
pub mod judge;
pub mod known;
pub mod place;
pub mod random;
pub mod regressions;
pub mod saved;
pub mod shrink;
pub mod tally;
pub mod world;

use std::env;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use case::Case;
use judge::{Court, Outcome, Verdict};
use random::Random;
use tally::Tally;

/// The first seed of a normal test run, which is always the same, so that it does not fail by chance.
const USUAL: u64 = 7_000_000;

/// A run of many cases, one for each seed.
pub struct Sweep {
    pub from: u64,
    pub cases: u64,
    /// No new case begins after this time.
    pub within: Duration,
    pub program: PathBuf,
    /// Only cases whose options contain this; the others are not counted.
    pub only: Option<String>,
}

impl Sweep {
    /// This number of cases, beginning with seed 0.
    pub fn of(cases: u64) -> Sweep {
        Sweep { from: 0, cases, within: Duration::from_secs(600), program: program(), only: None }
    }

    /// From the environment: without `ORACLE_CASES`, this number of cases with seeds that are always the same; with it, the given number of new cases.
    pub fn from_env(cases: u64) -> Sweep {
        let wanted = number("ORACLE_CASES");
        let fresh = || {
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
            Random::new(nanos as u64).next() >> 24
        };
        let usual = || if wanted.is_some() { fresh() } else { USUAL };
        let sweep = Sweep::of(wanted.unwrap_or(cases));
        Sweep {
            from: number("ORACLE_FROM").unwrap_or_else(usual),
            within: if wanted.is_some() { Duration::MAX } else { sweep.within },
            only: env::var("ORACLE_ONLY").ok(),
            ..sweep
        }
    }

    /// Runs several cases at once, until `make` has no more. `seen` gets each case that was judged.
    pub fn run(
        &self,
        make: &(dyn Fn(u64) -> Option<Case> + Sync),
        seen: &(dyn Fn(&Case, &Verdict, &Court) + Sync),
    ) -> Tally {
        let began = Instant::now();
        // During most of the time of a case rsync sleeps.
        let threads = std::thread::available_parallelism().map_or(2, |count| (2 * count.get()).clamp(1, 16));
        let (next, started) = (AtomicU64::new(self.from), AtomicU64::new(0));
        let tally = Mutex::new(Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let court = Court::new(&self.program);
                    while began.elapsed() < self.within {
                        let Some(case) = make(next.fetch_add(1, Ordering::SeqCst)) else { break };
                        let text = case.words().collect::<Vec<_>>().join(" ");
                        if self.only.as_ref().is_some_and(|only| !text.contains(only)) {
                            continue;
                        }
                        if started.fetch_add(1, Ordering::SeqCst) >= self.cases {
                            break;
                        }
                        let verdict = court.judge(&case);
                        tally.lock().expect("another case panicked").add(&case, &verdict);
                        seen(&case, &verdict, &court);
                    }
                });
            }
        });
        let mut tally = tally.into_inner().expect("a case panicked");
        tally.elapsed = began.elapsed();
        tally
    }
}

pub fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The program that is judged: `ORACLE_PROGRAM`, or the multi-sync of this build.
pub fn program() -> PathBuf {
    env::var_os("ORACLE_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_multi-sync")), PathBuf::from)
}

/// Everything about a case that was judged.
pub fn describe(case: &Case, verdict: &Verdict) -> String {
    let mut text = format!("seed {}: {:?}\n{}", case.seed, verdict.outcome, case.script());
    for (name, run) in [("one", verdict.one.as_ref()), ("many", Some(&verdict.many))] {
        if let Some(run) = run {
            text.push_str(&format!("--- {name}\n{}", run.report()));
        }
    }
    text.push_str("--- findings (left is one rsync, right is multi-sync)\n");
    verdict.findings.iter().for_each(|finding| text.push_str(&format!("{}\n", finding.to_string().trim_end())));
    text
}

/// Whether a case has to be investigated.
pub fn is_wrong(verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Different
}
