//! The promise of multi-sync, checked with random trees and options: the destination and the exit code are those of one rsync.
//!
//! `ORACLE_SEED=N cargo test --test it one_rsync::one_case -- --ignored --nocapture` repeats a case and prints everything about it; `ORACLE_CASE=FILE`
//! repeats one from a file as in tests/it/oracle/cases. With `ORACLE_SHRINK=SECONDS` a smaller case is searched that differs in the same way;
//! `ORACLE_KEEP=FOLDER` keeps both worlds there, and `ORACLE_TRIES=N` tries each case this often until it differs. `ORACLE_CASES=N` and `ORACLE_FROM=SEED`
//! make `random_cases` and `pulled_cases` (with each means of a remote scan in turn) a long run, `ORACLE_ONLY=TEXT` selects cases whose options contain the
//! text; `make fuzz-oracle` does this in a release build. With `ORACLE_FIRST_PASS=1` there is a first pass whenever that is exact, in cases with more work
//! for it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::oracle::case::{Case, FIRST_PASS};
use crate::oracle::judge::{Court, Outcome, Verdict};
use crate::oracle::place::Place;
use crate::oracle::regressions;
use crate::oracle::shrink::shrink;
use crate::oracle::tally::{FLOORS, Floors};
use crate::oracle::{Sweep, describe, generate, is_wrong, number, program, saved};
use crate::support;
use crate::support::work::{Work, set_mode};

#[test]
fn random_cases() {
    let sweep = Sweep::from_env(90);
    println!("ORACLE_FROM={} ORACLE_CASES={}", sweep.from, sweep.cases);
    let tally = sweep.run(&generated, &|case, verdict, court| {
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
        println!("{text}=== as a file of tests/it/oracle/cases\n{}", saved::text(case));
    });
    println!("{tally}");
    assert!(tally.different.is_empty(), "repeat with ORACLE_SEED=N {ONE_CASE}");
    if sweep.only.is_none() {
        tally.expect_floors(&Floors { cases: sweep.cases, ..FLOORS });
    }
}

const ONE_CASE: &str = "cargo test --test it one_rsync::one_case -- --ignored --nocapture";

/// Of a hundred cases, `ORACLE_PLACES` run in another place; with `ORACLE_OTHER_RSYNC` all use that rsync.
fn generated(seed: u64) -> Option<Case> {
    let place = if std::env::var_os("ORACLE_OTHER_RSYNC").is_some() {
        Place::OtherRsync
    } else if seed % 100 < number("ORACLE_PLACES").unwrap_or(0) && !places().is_empty() {
        places()[(seed / 100) as usize % places().len()]
    } else {
        Place::Here
    };
    Some(passed(generate::case_in(place, seed)))
}

/// The case changed for a first pass, if that is tested.
fn passed(case: Case) -> Case {
    if std::env::var_os(FIRST_PASS).is_some() { generate::for_first_pass(case) } else { case }
}

/// The places that this machine has.
fn places() -> &'static [Place] {
    static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let can = |place: &Place| match place.check() {
            Ok(()) => true,
            Err(why) => {
                support::skip(&format!("cases_in_other_places, {place:?}"), why.lines().next().unwrap_or_default());
                false
            }
        };
        Place::ALL.into_iter().filter(can).collect()
    })
}

/// One rsync and several on other file systems, with another user at the other side, in another locale.
#[test]
fn cases_in_other_places() {
    if places().is_empty() {
        return support::skip("cases_in_other_places", "there is none");
    }
    let sweep = Sweep::of(12 * places().len() as u64);
    let of = |at: u64| Some(generate::case_in(places()[at as usize % places().len()], 9_000_000 + at));
    let tally = sweep.run(&of, &|case, verdict, _| {
        if is_wrong(verdict) {
            println!("{}=== as a file of tests/it/oracle/cases\n{}", describe(case, verdict), saved::text(case));
        }
    });
    println!("{tally}");
    assert!(tally.different.is_empty());
    tally.expect_floors(&Floors { cases: sweep.cases, unstable: 10, known: 5, ..FLOORS });
}

/// Sources on another machine: `ORACLE_CASES` new cases, or some that are always the same.
#[test]
fn pulled_cases() {
    sweep_places(16, &|seed| generate::case_pulled(Place::PULLED[seed as usize % Place::PULLED.len()], seed));
}

/// Sources that two hosts copy and scan: `ORACLE_CASES` new cases, or some that are always the same.
#[test]
fn cases_that_hosts_scan() {
    sweep_places(4, &|seed| generate::case_by_hosts(Place::HOSTS[seed as usize % Place::HOSTS.len()], seed));
}

/// Runs cases of these places one after the other; none may differ.
fn sweep_places(usually: u64, of: &(dyn Fn(u64) -> Case + Sync)) {
    let sweep = Sweep::from_env(usually);
    println!("ORACLE_FROM={} ORACLE_CASES={}", sweep.from, sweep.cases);
    let tally = sweep.run(&|seed| Some(of(seed)), &|case, verdict, court| {
        if !is_wrong(verdict) {
            return;
        }
        println!("{}=== as a file of tests/it/oracle/cases\n{}", describe(case, verdict), saved::text(case));
        if let Some(seconds) = number("ORACLE_SHRINK") {
            let small = shrink(court, case, verdict, tries(), Duration::from_secs(seconds));
            println!("=== smaller\n{}", describe(&small, &judge(court, &small)));
        }
    });
    println!("{tally}");
    assert!(tally.different.is_empty(), "repeat with ORACLE_CASE=FILE {ONE_CASE}");
    if sweep.only.is_none() {
        tally.expect_floors(&Floors { cases: sweep.cases, unstable: 10, known: 5, ..FLOORS });
    }
}

/// Judges a case again after an identical result, as often as requested, because a race condition does not occur every time.
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
#[ignore = "repeats the one case that ORACLE_SEED or ORACLE_CASE names"]
fn one_case() {
    let court = Court::new(&program());
    let case = match (number("ORACLE_SEED"), std::env::var_os("ORACLE_CASE")) {
        (Some(seed), None) => passed(generate::case(seed)),
        (None, Some(file)) => saved::read_file(Path::new(&file)),
        _ => panic!("ORACLE_SEED=N or ORACLE_CASE=FILE says which case"),
    };
    let verdict = judge(&court, &case);
    println!("{}", describe(&case, &verdict));
    if let Some(folder) = std::env::var_os("ORACLE_KEEP") {
        court.save(Path::new(&folder));
    }
    if let (Some(seconds), Outcome::Different) = (number("ORACLE_SHRINK"), &verdict.outcome) {
        let small = shrink(&court, &case, &verdict, tries(), Duration::from_secs(seconds));
        println!("=== smaller\n{}", describe(&small, &judge(&court, &small)));
    }
    assert!(!is_wrong(&verdict), "the case differs");
}

/// Random cases that once differed and could not be made small, and cases from which the judge has learned what one rsync does.
#[test]
fn saved_cases_that_once_differed() {
    let cases = saved::all();
    assert!(cases.len() >= 45, "only {} saved cases in {}", cases.len(), saved::folder().display());
    let sweep = Sweep::of(cases.len() as u64);
    let tally = sweep.run(&|at| cases.get(at as usize).map(|(_, case)| case.clone()), &|case, verdict, _| {
        if is_wrong(verdict) {
            println!("{}", describe(case, verdict));
        }
    });
    println!("{tally}");
    assert!(tally.different.is_empty());
    tally.expect_floors(&Floors { cases: cases.len() as u64, known: 40, ..FLOORS });
}

#[test]
fn a_saved_case_is_the_case() {
    for seed in 0..300 {
        let case = generate::case(seed);
        let read = saved::read(&saved::text(&case)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(read, case);
    }
}

#[test]
fn cases_that_once_differed() {
    let court = Court::new(&program());
    let differ = regressions::all().into_iter().filter_map(|(name, case)| {
        let verdict = judge(&court, &case);
        (verdict.outcome != Outcome::Identical).then(|| format!("=== {name}\n{}", describe(&case, &verdict)))
    });
    let differ: Vec<String> = differ.collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// A program for `ORACLE_PROGRAM` that understands the command line of multi-sync, does the copy with one rsync, and then does `damage`, a shell script in
/// the world: `$d` is DEST, `$code` the exit code.
fn stand_in(work: &Work, name: &str, damage: &str) -> PathBuf {
    let script = format!(
        r#"#!/bin/sh
options=$2
while [ "$1" != -- ]; do shift; done
for d; do :; done
eval "rsync $options \"\$@\""; code=$?
{damage}
exit "$code"
"#
    );
    let path = work.file(format!("bin/{name}"), script);
    set_mode(&path, 0o755);
    path
}

#[test]
fn one_rsync_in_the_place_of_many_is_identical() {
    let work = Work::public();
    let program = stand_in(&work, "plain", "");
    let mut sweep = Sweep { program, ..Sweep::from_env(200) };
    sweep.from ^= 0x55;
    println!("ORACLE_FROM={}", sweep.from);
    let tally = sweep.run(&generated, &|case, verdict, _| {
        if is_wrong(verdict) {
            println!("{}", describe(case, verdict));
        }
    });
    println!("{tally}");
    assert!(tally.different.is_empty());
    // The stand-in splits nothing.
    tally.expect_floors(&Floors { cases: sweep.cases, split: 0, ..FLOORS });
}

#[test]
fn every_damage_is_found() {
    let work = Work::public();
    let first = r#"f=$(find "$d" -type f -mtime +1 ! -perm 642 2>/dev/null | LC_ALL=C sort | head -n 1)"#;
    let damages = [
        ("mode", format!(r#"{first}; chmod 642 "$f""#)),
        ("lost", format!(r#"{first}; rm -f "$f""#)),
        ("extra", r#"echo x > "$d/one-more""#.to_owned()),
        ("mtime", format!(r#"{first}; touch -d @77 "$f""#)),
        ("now", format!(r#"{first}; touch "$f""#)),
        ("content", format!(r#"{first}; t=$(stat -c @%Y "$f"); echo x >> "$f"; touch -d "$t" "$f""#)),
        ("root", r#"chmod 701 "$d""#.to_owned()),
        ("source", "touch s".to_owned()),
        ("beside", "mkdir more".to_owned()),
        ("code", "code=$((code + 1))".to_owned()),
        ("leftover", "touch $TMPDIR/multi-sync-left".to_owned()),
        ("printed", r#"echo ">f+++++++++ phantom""#.to_owned()),
    ];
    let world = regressions::case("-a -i", "", &["s/"], "d/")
        .dirs(&["s", "s/a", "s/a/b"])
        .files(&["s/f", "s/a/g", "s/a/b/h"])
        .finish();
    for (name, damage) in damages {
        let court = Court::new(&stand_in(&work, name, &damage));
        let verdict = court.judge(&world);
        assert!(is_wrong(&verdict), "{name}: {}", describe(&world, &verdict));
    }
}
