//! The script that runs rsync's own test suite compares failures with the list of expected ones, and reports how copies were made and what was left behind.
//! The suite is replaced by a stand-in, because tests do not download rsync's.

use std::fs;
use std::path::Path;

use crate::support::command::{Run, command, run, sh};
use crate::support::work::{Work, set_mode};
use crate::support::{skip, this_test};

/// Takes the arguments that the script passes, and runs "tests" whose names determine their results.
const STAND_IN: &str = r#"
import os, subprocess, sys
words = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--"))
work = os.environ["scratchbase"]
ours = words["rsync-bin"].endswith("/bin/rsync")
asked = [word for word in sys.argv[1:] if not word.startswith("--")]
for name in asked or open(words["srcdir"] + "/names").read().split():
    scratch = f"{work}/testtmp/{name}-{ours}"
    os.makedirs(scratch)
    for n in range(8 if "several" in name else 1):
        os.makedirs(f"{scratch}/from/{n}")
        for m in range(4):
            open(f"{scratch}/from/{n}/{m}", "w").write("x" * m)
    environment = {**os.environ, "scratchdir": f"{work}/testtmp/{name}", "POSIXLY_CORRECT": "1"}
    rsync = lambda *words: subprocess.run([words_rsync, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    words_rsync = words["rsync-bin"]
    if "version" in name:
        rsync("--version")
    else:
        rsync("-a" if "several" in name else "-am", scratch + "/from/", scratch + "/to/")
        copied = sum(len(files) for _, _, files in os.walk(scratch + "/to"))
        assert copied == (32 if "several" in name else 4), copied
    if "stray" in name:
        subprocess.Popen(["sleep", "1000"], start_new_session=True, env=environment, stdout=subprocess.DEVNULL)
    fails = "broken" in name or ours and "fails" in name
    print("FAIL" if fails else "SKIP" if ours and "skips" in name or "elsewhere" in name else "PASS", "  ", name, "(why)" if "skips" in name else "", flush=True)
"#;

fn suite(names: &str, list: &str) -> Option<(Work, Run)> {
    let work = Work::new();
    work.file("rsync/runtests.py", STAND_IN);
    work.file("rsync/names", names);
    let list = work.file("list", list);
    work.file("rsync/rsync", "#!/bin/sh\nexec rsync \"$@\"\n");
    set_mode(&work.join("rsync/rsync"), 0o755);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rsync-suite.py");
    if run(sh(&work, "command -v python3")).status.code() != Some(0) {
        skip(&this_test(), "python3 is not here");
        return None;
    }
    let mut script = command(&work, script);
    script.arg("--list").arg(list).arg(work.join("rsync")).env("MULTI_SYNC", env!("CARGO_BIN_EXE_multi-sync"));
    let ran = run(script);
    let left: Vec<_> = fs::read_dir(work.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}\n{}", ran.report());
    Some((work, ran))
}

#[test]
fn results_are_compared_with_the_list() {
    let names = "several-copy one-copy only-version known-fails new-fails new-skips broken elsewhere surprise";
    let list = "# comment\npass several several-copy\npass one one-copy\npass none only-version\nfail one known-fails  lines in another order\n\
                pass one new-fails\npass one new-skips\npass one broken\nskip - elsewhere\nfail one surprise  it used to\n";
    let Some((_work, ran)) = suite(names, list) else { return };
    let told = ran.stdout_text();
    for line in [
        "    known-fails: lines in another order",
        "passed unexpectedly:\n    surprise: listed as it used to",
        "failed unexpectedly:\n    new-fails\n",
        "one rsync does not pass it here either:\n    broken: fail\n",
        "skipped, though one rsync passes it:\n    new-skips\n",
        "4 passed, 1 failed as expected, 2 failed unexpectedly, 1 passed unexpectedly, 1 skipped",
        "6 copy from here, of which 3 passed; 1 with several rsyncs, of which 1 passed",
    ] {
        assert!(told.contains(line), "{line}\n{}", ran.report());
    }
    assert!(!told.contains("another way"), "{}", ran.report());
    ran.expect_code(1);
}

#[test]
fn what_is_as_expected_ends_with_0() {
    let Some((_work, ran)) =
        suite("several-copy known-fails", "pass one several-copy\nfail one known-fails  why not\n")
    else {
        return;
    };
    let ran = ran.expect_code(0);
    assert!(
        ran.stdout_text().contains("copies went another way:\n    several-copy: several instead of one"),
        "{}",
        ran.report()
    );
}

#[test]
fn what_outlives_the_suite_is_ended_and_told() {
    let Some((_work, ran)) = suite("stray-version", "pass none stray-version\n") else { return };
    let ran = ran.expect_code(1);
    assert!(ran.stdout_text().contains("still ran: sleep 1000"), "{}", ran.report());
}

#[test]
fn a_failure_without_a_reason_is_refused() {
    let Some((_work, ran)) = suite("one-copy", "fail one one-copy\n") else { return };
    let ran = ran.expect_code(2);
    assert!(ran.stderr_text().contains("list:1: one-copy fails without a reason"), "{}", ran.report());
}
