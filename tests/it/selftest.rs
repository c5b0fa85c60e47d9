//! The self-test passes with a real rsync, fails with a wrong one, and leaves nothing behind; also through ssh and a daemon.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, as_nobody, multi_sync, run, run_within, start};
use crate::support::processes::expect_gone;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::Sshd;
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

/// It takes a tenth of this on an idle machine.
const LIMIT: Duration = Duration::from_secs(300);

fn left_in(dir: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[track_caller]
fn expect_clean(work: &Work, ran: &Run) {
    let left = left_in(&work.join("tmp"));
    assert!(left.is_empty(), "in TMPDIR: {left:?}\n{}", ran.report());
    expect_gone(&ran.mark, Duration::from_secs(2));
}

/// The numbers in the last line.
#[track_caller]
fn tally(ran: &Run) -> (u32, u32, u32) {
    let text = ran.stdout_text();
    let words: Vec<&str> = text.lines().last().unwrap_or_default().split([' ', ',']).collect();
    let [passed, "passed", "", failed, "failed", "", skipped, "skipped"] = words[..] else {
        panic!("no tally\n{}", ran.report())
    };
    (passed.parse().unwrap(), failed.parse().unwrap(), skipped.parse().unwrap())
}

#[track_caller]
fn failures(ran: &Run) -> Vec<String> {
    ran.stdout_text().lines().filter(|line| line.starts_with("FAIL: ")).map(str::to_owned).collect()
}

#[test]
fn it_passes_on_this_machine() {
    let work = Work::new();
    let mut command = multi_sync(&work);
    command.arg("--selftest");
    let ran = run_within(command, LIMIT).expect_code(0);
    let (passed, failed, _) = tally(&ran);
    assert!(passed > 35 && failed == 0, "{}", ran.report());
    expect_clean(&work, &ran);
    // Checks that are impossible here count as skipped tests.
    for line in ran.stdout_text().lines().filter_map(|line| line.strip_prefix("SKIP: ")) {
        support::skip("self-test", line);
    }
}

#[test]
fn it_passes_for_a_user_without_privileges() {
    if !support::is_root() {
        return support::skip("it_passes_for_a_user_without_privileges", "only root can become another user");
    }
    let work = Work::public();
    work.dir_for_nobody("tmp");
    let mut command = multi_sync(&work);
    command.arg("-t");
    let ran = run_within(as_nobody(&work, command), LIMIT).expect_code(0);
    let text = ran.stdout_text();
    for check in ["PASS: exit code 23 for what cannot be read", "PASS: comparison: finds what cannot be read"] {
        assert!(text.contains(check), "{check}\n{}", ran.report());
    }
    expect_clean(&work, &ran);
}

/// `$d` is the destination of a copy.
const AFTER: &str = "REAL \"$@\"; code=$?; for d; do :; done\n";

#[test]
fn an_rsync_that_lies_is_found_out_and_the_check_is_named() {
    let lies = [
        (
            "find \"$d\" -type f -name f5 2>/dev/null | head -n 1 | xargs -r rm -f",
            "copy with 4 processes: the copy differs",
            "f5: only left",
        ),
        (
            "find \"$d\" -type f -name f5 -exec chmod 600 {} + 2>/dev/null",
            "copy with 1 process: the copy differs",
            "mode 0644 left, 0600 right",
        ),
        ("code=0", "exit code 23 where a directory is in the way", "ended with exit code 0"),
        ("[ $code = 0 ] && code=23", "copy with 2 processes", "ended with exit code 23"),
    ];
    std::thread::scope(|scope| {
        for (lie, check, how) in lies {
            scope.spawn(move || {
                let work = Work::new();
                let mut command = multi_sync(&work);
                command.arg("--selftest");
                fake_rsync(&mut command, &work, &format!("{AFTER}{lie}\nexit $code"));
                let ran = run_within(command, LIMIT).expect_code(1);
                let failed = failures(&ran);
                let named = failed.iter().any(|line| line.starts_with(&format!("FAIL: {check}")) && line.contains(how));
                assert!(named, "{check}, {how}: {failed:#?}\n{}", ran.report());
                assert_eq!(tally(&ran).1 as usize, failed.len(), "{}", ran.report());
                // The comparison of trees does not depend on rsync.
                assert!(!failed.iter().any(|line| line.contains("comparison")), "{failed:#?}");
                expect_clean(&work, &ran);
            });
        }
    });
}

#[test]
fn an_interrupted_selftest_leaves_nothing() {
    for checks in [1, 30, 38] {
        let work = Work::new();
        let mut command = multi_sync(&work);
        command.arg("--selftest");
        let mut started = start(command);
        started.wait_for("checks", LIMIT, |started| {
            started.stdout_so_far().iter().filter(|byte| **byte == b'\n').count() >= checks
        });
        started.signal(Signal::INT);
        let ran = started.finish(LIMIT).expect_code(20);
        assert!(ran.stderr_text().contains("interrupted"), "{}", ran.report());
        expect_clean(&work, &ran);
    }
}

#[test]
fn through_ssh_in_a_folder_that_is_gone_afterwards() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("through_ssh_in_a_folder_that_is_gone_afterwards", &why),
    };
    let work = Work::new();
    work.file("there/mine", "mine");
    let mut command = multi_sync(&work);
    command.arg("--selftest").arg("-r").arg(format!("-e \"{}\"", sshd.rsh())).arg(sshd.remote(work.join("there")));
    let ran = run_within(command, LIMIT).expect_code(0);
    assert!(ran.stdout_text().contains("PASS: environment: ssh"), "{}", ran.report());
    assert_eq!(left_in(&work.join("there")), ["mine"], "{}", ran.report());
    expect_clean(&work, &ran);
}

#[test]
fn through_a_daemon_in_a_folder_that_is_gone_afterwards() {
    let work = Work::new();
    work.file("there/mine", "mine");
    let daemon = match Rsyncd::start(&[Module::new("there", work.join("there"))]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("through_a_daemon_in_a_folder_that_is_gone_afterwards", &why),
    };
    let mut command = multi_sync(&work);
    command.arg("--selftest").arg(daemon.url("there"));
    let ran = run_within(command, LIMIT).expect_code(0);
    assert_eq!(left_in(&work.join("there")), ["mine"], "{}", ran.report());
    expect_clean(&work, &ran);
}

#[test]
fn a_destination_that_does_not_exist_is_one_failure() {
    let work = Work::new();
    let mut command = multi_sync(&work);
    command.args(["--selftest", "no-such"]);
    let ran = run(command).expect_code(1);
    assert!(ran.stderr_text().contains("no-such"), "{}", ran.report());
    assert!(!work.join("no-such").exists());
    expect_clean(&work, &ran);
}
