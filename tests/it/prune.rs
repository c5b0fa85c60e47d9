//! A directory that is reported as certainly excluded is excluded by rsync, for random rules and names; and if all rules are certain, no other directory is
//! excluded.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::command::{rsync, run};
use crate::support::work::Work;
use multi_sync::harness::rsync::filter::{Filters, unescape};
use multi_sync::harness::rsync::options::Options;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const NAMES: [&str; 9] = ["a", "b", "ab", ".snap", "tmp", "x y", "a.b", "-", "abab"];

/// Parts of patterns, most of them with a certain meaning for a name.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(&NAMES[..]).prop_map(str::to_owned),
        4 => "[ab.?*]{1,3}".prop_map(|part| part.replace("**", "*a")),
        1 => proptest::sample::select(&["**", "[ab]", "\\a", "a\\*", "***", "[!a]*"][..]).prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let slash = || prop_oneof![4 => Just(""), 1 => Just("/")];
    (slash(), prop::collection::vec(part(), 1..4), slash())
        .prop_map(|(before, parts, after)| format!("{before}{}{after}", parts.join("/")))
}

/// A rule as an option, or as a line of the file that the option before it names.
fn rule() -> impl Strategy<Value = String> {
    let option = proptest::sample::select(
        &[
            "--exclude=",
            "--exclude=",
            "--exclude=",
            "--include=",
            "--exclude=+ ",
            "--include=- ",
            "--filter=- ",
            "--filter=+_",
            "--filter=exclude ",
            "--filter=hide ",
            "--filter=S ",
            "--filter=P ",
            "--filter=-! ",
            "--filter=-/ ",
            "--filter=+/ ",
        ][..],
    );
    (option, pattern()).prop_map(|(option, pattern)| format!("{option}{pattern}"))
}

fn make(dir: &Path, depth: u32) {
    for name in NAMES {
        let path = dir.join(name);
        fs::create_dir(&path).unwrap();
        if depth > 1 && ["a", "ab", "tmp"].contains(&name) {
            make(&path, depth - 1);
        }
    }
}

fn directories(dir: &Path, below: &Path, found: &mut BTreeSet<Vec<u8>>) {
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        found.insert(path.as_os_str().as_bytes().to_vec());
        directories(dir, &path, found);
    }
}

#[test]
fn rsync_excludes_what_is_certain() {
    let work = Work::on_tmpfs().unwrap_or_else(Work::new);
    make(&work.dir("src"), 3);
    let mut all = BTreeSet::new();
    directories(&work.join("src"), Path::new(""), &mut all);
    let (excluded, known, compared) = (Cell::new(0), Cell::new(0), Cell::new(0));
    // The cases are always the same; `PRUNE_CASES` sets their number.
    let cases = std::env::var("PRUNE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let rules = (prop::collection::vec(rule(), 1..5), prop::collection::vec(pattern(), 0..3), any::<bool>());
    let outcome = runner.run(&rules, |(mut rules, lines, first)| {
        if !lines.is_empty() {
            fs::write(work.join("rules"), lines.join("\n")).unwrap();
            let place = if first { 0 } else { rules.len() };
            rules.insert(place, format!("--exclude-from={}", work.join("rules").display()));
        }
        let words: Vec<OsString> = std::iter::once("-r".into()).chain(rules.iter().map(OsString::from)).collect();
        let mut ask = rsync(&work);
        ask.args(&words).args(["-n", "--out-format=%n", "src/", "nowhere/"]);
        let asked = run(ask);
        prop_assume!(asked.status.success());
        let copied: BTreeSet<Vec<u8>> = asked.stdout.split(|byte| *byte == b'\n').map(unescape).collect();
        let Ok(filters) = Filters::of(&Options::parse(&words).unwrap(), work.path()) else { return Ok(()) };
        compared.set(compared.get() + 1);
        for path in &all {
            let path = Path::new(OsStr::from_bytes(path));
            let above = path.parent().unwrap().as_os_str();
            // Entries below an excluded directory are never checked.
            if !above.is_empty() && !copied.contains(above.as_bytes()) {
                continue;
            }
            let (name, path) = (path.file_name().unwrap().as_bytes(), path.as_os_str().as_bytes());
            let certain = filters.prune.excludes(name, || path.to_vec());
            let is_copied = copied.contains(path);
            prop_assert!(!(certain && is_copied), "{} is copied", path.escape_ascii());
            excluded.set(excluded.get() + u32::from(!is_copied));
            known.set(known.get() + u32::from(certain));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
    let (excluded, known) = (excluded.get(), known.get());
    let compared = compared.into_inner();
    println!("{compared} of {cases} compared");
    assert!(compared * 2 >= cases, "only {compared} of {cases} lists of rules were compared");
    println!("of {excluded} directories that rsync excludes {known} are known");
    assert!(known > excluded / 3, "of {excluded} directories that rsync excludes only {known} are known");
}
