//! The promise of multi-sync, tried on random trees and options: the destination and the exit code are those of one rsync.
//!
//! `ORACLE_SEED=N cargo test --test one_rsync one_case -- --nocapture` repeats one case and tells everything about it, with
//! `ORACLE_SHRINK=SECONDS` also a smaller one that differs in the same way; `ORACLE_KEEP=FOLDER` keeps both worlds there, and
//! `ORACLE_TRIES=N` tries each case that often until it differs.
//! `ORACLE_CASES=N` and `ORACLE_FROM=SEED` make `random_cases` a long run, `ORACLE_ONLY=TEXT` takes only cases whose options contain
//! the text; `make fuzz-oracle` does it in a release build.

mod lab;
mod oracle;

use std::path::Path;
use std::time::Duration;

use oracle::case::Case;
use oracle::judge::{Court, Outcome, Verdict};
use oracle::shrink::shrink;
use oracle::{Sweep, describe, generate, is_wrong, number, program};

#[test]
fn random_cases() {
    let sweep = Sweep::from_env(150, Duration::from_secs(45));
    println!("ORACLE_FROM={} ORACLE_CASES={}", sweep.from, sweep.cases);
    let tally = sweep.run(&|case, verdict, court| {
        if !is_wrong(verdict) {
            return;
        }
        let mut text = format!("different: seed {}: {}\n", case.seed, case.words().collect::<Vec<_>>().join(" "));
        for finding in verdict.findings.iter().take(8) {
            text.push_str(&format!("    {}\n", finding.to_string().trim_end()));
        }
        if let Some(seconds) = number("ORACLE_SHRINK") {
            let small = shrink(court, case, verdict, tries(), Duration::from_secs(seconds));
            text.push_str(&format!("=== smaller\n{}", describe(&small, &judge(court, &small))));
        }
        println!("{text}");
    });
    println!("{tally}");
    assert!(
        tally.different.is_empty(),
        "repeat with ORACLE_SEED=N cargo test --test one_rsync one_case -- --nocapture"
    );
}

/// Judges again after an identical result as often as is asked for: a race is not lost every time.
fn judge(court: &Court, case: &Case) -> Verdict {
    let mut verdict = court.judge(case);
    for _ in 1..tries() {
        if is_wrong(&verdict) {
            break;
        }
        verdict = court.judge(case);
    }
    verdict
}

fn tries() -> u64 {
    number("ORACLE_TRIES").unwrap_or(1)
}

#[test]
fn one_case() {
    let Some(seed) = number("ORACLE_SEED") else { return };
    let court = Court::new(&program());
    let case = generate::case(seed);
    let verdict = judge(&court, &case);
    println!("{}", describe(&case, &verdict));
    if let Some(folder) = std::env::var_os("ORACLE_KEEP") {
        court.save(Path::new(&folder));
    }
    if let (Some(seconds), Outcome::Different) = (number("ORACLE_SHRINK"), &verdict.outcome) {
        let small = shrink(&court, &case, &verdict, tries(), Duration::from_secs(seconds));
        println!("=== smaller\n{}", describe(&small, &judge(&court, &small)));
    }
    assert!(!is_wrong(&verdict), "seed {seed} differs");
}
