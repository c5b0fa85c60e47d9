//! The oracle: does multi-sync leave what one rsync would have left?
//!
//! [`generate`] makes a [`case`] from a seed, [`judge`] runs it both ways and compares everything that can be compared, [`known`] says
//! which differences are one rsync's own, [`shrink`] makes a case that differs small, [`tally`] counts.

pub mod case;
pub mod generate;
pub mod judge;
pub mod known;
pub mod random;
pub mod regressions;
pub mod shrink;
pub mod tally;
pub mod world;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::lab::daemon::helper;
use case::Case;
use judge::{Court, Outcome, Verdict};
use random::Random;
use tally::Tally;

/// First seed of a run of all tests where nobody knows which commit it is.
const USUAL: u64 = 7_000_000;

/// Many cases, one after another seed.
pub struct Sweep {
    pub from: u64,
    pub cases: u64,
    /// No new case after this time.
    pub within: Duration,
    pub program: PathBuf,
    /// Only cases in whose options this occurs; the others are not counted.
    pub only: Option<String>,
}

impl Sweep {
    /// As the environment wants it, with these defaults.
    ///
    /// Fresh seeds for a long run. A run of all tests has others with every commit, and the same ones for the same commit: what fails can
    /// be looked at, and what has passed does not fail elsewhere.
    pub fn from_env(cases: u64, within: Duration) -> Sweep {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let wanted = number("ORACLE_CASES");
        let fresh = |from| Random::new(from).next() >> 24;
        let usual = || fresh(wanted.map_or_else(|| committed_tree().unwrap_or(USUAL), |_| nanos));
        Sweep {
            from: number("ORACLE_FROM").unwrap_or_else(usual),
            cases: wanted.unwrap_or(cases),
            within: if wanted.is_some() { Duration::MAX } else { within },
            program: program(),
            only: env::var("ORACLE_ONLY").ok(),
        }
    }

    /// Several at once. `seen` gets each case that was judged.
    pub fn run(&self, seen: &(dyn Fn(&Case, &Verdict, &Court) + Sync)) -> Tally {
        let began = Instant::now();
        // Most of the time of a case rsync sleeps.
        let threads = std::thread::available_parallelism().map_or(2, |count| (2 * count.get()).clamp(1, 16));
        let (next, started) = (AtomicU64::new(self.from), AtomicU64::new(0));
        let tally = Mutex::new(Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let court = Court::new(&self.program);
                    while began.elapsed() < self.within {
                        let case = generate::case(next.fetch_add(1, Ordering::SeqCst));
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

/// A number that stands for what was committed last: of the files, so that a merge does not change it.
fn committed_tree() -> Option<u64> {
    let mut git = Command::new("git");
    let (hash, _) = helper(git.args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD^{tree}"])).ok()?;
    u64::from_str_radix(std::str::from_utf8(&hash).ok()?.get(..16)?, 16).ok()
}

pub fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// What is judged: `ORACLE_PROGRAM`, or the multi-sync of this build.
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

/// Whether a case has to be looked at.
pub fn is_wrong(verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Different
}
