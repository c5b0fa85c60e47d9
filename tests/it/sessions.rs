//! Processes that could live too long: those that a wrapper in place of rsync starts, an rsync with capabilities, processes that a remote shell leaves
//! behind, rsyncs of a stopped multi-sync. And processes that must survive.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Signal, Started, as_nobody, multi_sync, run, run_within, sh, start};
use crate::support::daemon::find_program;
use crate::support::processes::{self, expect_gone};
use crate::support::twin::{fake_rsync, temporary_files};
use crate::support::work::{Work, set_mode};
use multi_sync::harness::verify::{Options, compare};

/// Reached only if the test fails.
const SOON: Duration = Duration::from_secs(60);
/// A script that waits for rsync, as wrappers do that log or count.
const WAITS: &str = "REAL \"$@\"; exit $?";
/// Limits a script to launches with units.
const IF_UNITS: &str = "case \" $* \" in *' --no-implied-dirs '*) ;; *) exec REAL \"$@\" ;; esac\n";

/// Files whose copy takes longer than any test, and that need no space.
fn slow(work: &Work) {
    for name in ["src/a/1", "src/a/2", "src/b/3", "src/b/4"] {
        File::create(work.file(name, "")).unwrap().set_len(64 << 30).unwrap();
    }
}

fn slowly(work: &Work, script: &str, more: &[&str]) -> Command {
    slow(work);
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "1", "-r", "-aS"]).args(more).args(["src/", "dest"]);
    fake_rsync(&mut command, work, &script.replace("WORK", work.path().to_str().unwrap()));
    command
}

#[track_caller]
fn in_transfer(work: &Work, command: Command) -> Started {
    let mut started = start(command);
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("dest")).len() > 1);
    started
}

#[test]
fn what_a_wrapper_has_started_ends_politely_with_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let work = Work::new();
        let started = in_transfer(&work, slowly(&work, WAITS, &[]));
        started.signal(signal);
        let mark = started.mark().to_owned();
        let ran = started.finish(SOON).expect_code(20);
        expect_gone(&mark, Duration::ZERO);
        assert!(temporary_files(&work.join("dest")).is_empty(), "{}", ran.listing([work.join("dest")]).report());
        ran.expect(fs::read_dir(work.join("tmp")).unwrap().next().is_none(), "nothing is left in TMPDIR");
    }
}

#[test]
fn what_a_wrapper_has_started_ends_when_multi_sync_is_killed() {
    let work = Work::new();
    let started = in_transfer(&work, slowly(&work, WAITS, &[]));
    started.signal(Signal::KILL);
    expect_gone(started.mark(), Duration::from_secs(3));
    assert!(temporary_files(&work.join("dest")).is_empty());
}

/// Processes in groups of their own, which ignore all signals that can be ignored.
#[test]
fn what_ignores_every_request_is_killed() {
    let deaf = "trap '' TERM INT HUP; echo >>WORK/up; while :; do sleep 1; done";
    let script = format!("{IF_UNITS} sh -c \"{deaf}\" & timeout 100 sh -c \"{deaf}\" & wait");
    for kills in [true, false] {
        let work = Work::new();
        let mut started = start(slowly(&work, &script, &[]));
        started.wait_for("processes", SOON, |_| fs::read_to_string(work.join("up")).is_ok_and(|up| up.len() > 3));
        let mark = started.mark().to_owned();
        if kills {
            started.signal(Signal::KILL);
            expect_gone(&mark, Duration::from_secs(10));
            continue;
        }
        started.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(300));
        let second = Instant::now();
        started.signal(Signal::TERM);
        let ran = started.finish(SOON).expect_code(20);
        ran.expect(second.elapsed() < Duration::from_secs(3), "the second signal is final");
        expect_gone(&mark, Duration::ZERO);
    }
}

/// The lock of a run is held until the last of its rsyncs has ended, even if the run itself was killed.
#[test]
fn a_run_that_goes_on_waits_for_the_rsyncs_of_the_one_that_was_killed() {
    let work = Work::new();
    work.dir("runs");
    for number in 0..8 {
        work.file(format!("src/d/{number}"), "");
    }
    let script = format!(
        "{IF_UNITS} if mkdir WORK/first 2>/dev/null; then\n\
         trap 'trap \"\" TERM; sleep 1; echo >WORK/over; exit 20' TERM; echo >WORK/up; while :; do sleep 0.1; done; fi\n\
         [ -e WORK/over ] || echo >WORK/both; exec REAL \"$@\""
    )
    .replace("WORK", work.path().to_str().unwrap());
    let with_wrapper = |words: &[&std::ffi::OsStr]| {
        let mut command = multi_sync(&work);
        command.args(words);
        fake_rsync(&mut command, &work, &script);
        command
    };
    let mut started = start(with_wrapper(&["-p", "1", "-f", "2", "-b", "runs", "src/", "dest"].map(AsRef::as_ref)));
    started.wait_for("a launch", SOON, |_| work.join("up").exists());
    // The killed process stays a zombie until the end of this test, which waits for it.
    started.signal(Signal::KILL);
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let status = run(with_wrapper(&["status".as_ref(), dir.as_os_str()])).expect_code(0);
    let status = status.expect(!work.join("over").exists(), "it is too late");
    let is_told = status.stdout_text().contains("not running");
    status.expect(is_told, "of a run that is dead");
    let ran = run_within(with_wrapper(&["resume".as_ref(), dir.as_os_str()]), SOON).expect_code(0);
    let ran = ran.expect(!work.join("both").exists(), "the two ran at once");
    ran.expect(work.join("over").exists() && work.join("dest/d/1").exists(), "it came to its end");
    started.finish(SOON);
}

#[test]
fn what_a_killed_wrapper_has_started_is_not_there_when_its_work_is_done_again() {
    let work = Work::new();
    for number in 0..8 {
        work.file(format!("src/d/{number}"), "");
    }
    // The first rsync is killed from outside, and its child would continue.
    let script = format!(
        "{IF_UNITS} if mkdir WORK/first 2>/dev/null; then sleep 100 & echo $! >WORK/child; kill -KILL $$; fi\n\
         read -r child <WORK/child
         case \"$(cat /proc/$child/stat 2>/dev/null)\" in '' | *') Z '*) ;; *) echo >WORK/both ;; esac; exec REAL \"$@\""
    );
    let mut command = multi_sync(&work);
    command.args(["-p", "1", "-f", "2", "src/", "dest"]);
    fake_rsync(&mut command, &work, &script.replace("WORK", work.path().to_str().unwrap()));
    let ran = run_within(command, SOON).expect_code(0);
    let ran = ran.expect(work.join("child").exists(), "one was killed");
    ran.expect(!work.join("both").exists(), "its child had ended");
}

#[test]
fn a_wrapper_that_stalls_ends_with_what_it_has_started() {
    let work = Work::new();
    let script = format!("{IF_UNITS} sleep 100; exit 0");
    let command = slowly(&work, &script, &["--stall", "1", "--retries", "0"]);
    let ran = run_within(command, SOON).expect_code(30);
    expect_gone(&ran.mark, Duration::ZERO);
}

/// A process with a session of its own is meant to survive, like a master connection of ssh.
#[test]
fn a_daemon_that_a_wrapper_has_started_lives_on_and_holds_nobody_up() {
    let work = Work::new();
    let script = format!("setsid sh -c 'echo $$ >WORK/daemon; exec sleep 100' & {WAITS}");
    let started = in_transfer(&work, slowly(&work, &script, &[]));
    started.signal(Signal::INT);
    let mark = started.mark().to_owned();
    let ran = started.finish(SOON).expect_code(20);
    let ran = ran.expect(work.join("daemon").exists(), "there was one");
    let left = processes::marked(&mark);
    let all_sleep = !left.is_empty() && left.iter().all(|process| process.command == "sleep 100");
    ran.expect(all_sleep, &format!("daemons live on, and nothing else: {left:?}"));
}

/// The system does not end a program with capabilities (setcap(8)) when its parent dies.
#[test]
fn an_rsync_with_capabilities_ends_when_multi_sync_is_killed() {
    let work = Work::public();
    let Some(path) = capable(&work) else {
        return support::skip("an_rsync_with_capabilities_ends_when_multi_sync_is_killed", "cannot use setcap(8)");
    };
    slow(&work);
    work.dir_for_nobody("dest");
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "1", "-r", "-rS", "src/", "dest"]).env("PATH", path);
    let started = in_transfer(&work, as_nobody(&work, command));
    started.signal(Signal::KILL);
    expect_gone(started.mark(), Duration::from_secs(3));
}

/// The system does not show how much a program with capabilities reads and writes: it counts as active nevertheless.
#[test]
fn an_rsync_with_capabilities_is_not_taken_for_stalled() {
    let work = Work::public();
    let Some(path) = capable(&work) else {
        return support::skip("an_rsync_with_capabilities_is_not_taken_for_stalled", "cannot use setcap(8)");
    };
    for name in ["src/1", "src/2"] {
        File::create(work.file(name, "")).unwrap().set_len(3 << 20).unwrap();
    }
    work.dir_for_nobody("out");
    let mut command = multi_sync(&work);
    command.args(["--stall", "1", "--retries", "0", "-p", "2", "-f", "1", "-r", "-r --bwlimit=2m", "src/", "out/dest"]);
    command.env("PATH", path);
    let ran = run_within(as_nobody(&work, command), SOON).expect_code(0);
    ran.expect(fs::read_dir(work.join("out/dest")).unwrap().count() == 2, "both are copied");
}

/// A `PATH` with a copy of rsync that may read everything.
fn capable(work: &Work) -> Option<String> {
    if !support::is_root() {
        return None;
    }
    let copy = work.dir("capable").join("rsync");
    support::command::copy_program(&find_program("rsync").ok()?, &copy);
    let given = run(sh(work, "command -v setcap && setcap cap_dac_read_search+ep capable/rsync"));
    let path = format!("{}:{}", work.join("capable").display(), std::env::var("PATH").ok()?);
    given.status.success().then_some(path)
}

/// Output of other processes does not matter: a launch ends when its rsync ends.
#[test]
fn what_a_remote_shell_leaves_behind_may_print_for_ever() {
    let work = Work::new();
    for number in 0..8 {
        work.file(format!("src/{number}"), "");
    }
    for now_and_then in ["sleep 0.03", ":"] {
        let shell =
            format!("#!/bin/sh\nshift\nwhile echo still here >&2; do {now_and_then}; done &\nexec sh -c \"$*\"\n");
        set_mode(&work.file("shell", shell), 0o755);
        let options = format!("-a -e {}", work.join("shell").display());
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "4", "-r", &options, "src/"]).arg(format!("h:{}", work.join("dest").display()));
        let ran = run_within(command, SOON).expect_code(0);
        assert!(ran.elapsed < SOON / 2, "{:?}", ran.elapsed);
        let report = compare(&work.join("src"), &work.join("dest"), &Options::archive()).unwrap();
        assert!(report.is_same(), "{report}");
        processes::kill_until_gone(|| processes::marked(&ran.mark));
        fs::remove_dir_all(work.join("dest")).unwrap();
    }
}

/// As `^Z` and `fg` do, with signals to the process group of the command: its launches have sessions of their own.
#[test]
fn launches_stop_and_go_on_with_multi_sync() {
    let work = Work::new();
    let mut started = in_transfer(&work, slowly(&work, WAITS, &["--stall", "1"]));
    started.signal_group(Signal::STOP);
    let states = |mark: &str| -> Vec<char> {
        let stat = |pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let state = |text: String| text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let ours = processes::marked(mark).into_iter().filter(|process| !is_guardian(process.pid));
        ours.filter_map(|process| stat(process.pid).and_then(state)).collect()
    };
    let all_stopped = |mark: &str| states(mark).iter().all(|state| *state == 'T');
    started.wait_for("stop", Duration::from_secs(10), |started| all_stopped(started.mark()));
    // Longer than the stall limit.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(all_stopped(started.mark()));
    started.signal_group(Signal::CONT);
    started.wait_for("next step", Duration::from_secs(10), |started| {
        states(started.mark()).iter().all(|state| *state != 'T')
    });
    std::thread::sleep(Duration::from_millis(300));
    let written = started.stderr_so_far();
    assert!(written.is_empty(), "none was taken for stalled: {}", String::from_utf8_lossy(&written));
    // A stopped process can be killed.
    started.signal_group(Signal::STOP);
    started.wait_for("second stop", Duration::from_secs(10), |started| all_stopped(started.mark()));
    started.signal(Signal::KILL);
    expect_gone(started.mark(), Duration::from_secs(4));
}

fn is_guardian(pid: i32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"))
        .is_ok_and(|name| name.trim() == "ms-guardian")
}

#[test]
fn a_run_goes_on_without_its_guardian() {
    let work = Work::new();
    for number in 0..12 {
        work.file(format!("src/{number}"), "");
    }
    let script = format!(
        "{IF_UNITS} for p in /proc/[0-9]*; do read -r n <$p/comm && [ \"$n\" = ms-guardian ] && \
         read -r s <$p/stat && case \"$s\" in *\") \"?\" $PPID \"*) kill -KILL ${{p#/proc/}}; echo >WORK/hit ;; esac; done 2>/dev/null\nexec REAL \"$@\""
    );
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "3", "src/", "dest"]);
    fake_rsync(&mut command, &work, &script.replace("WORK", work.path().to_str().unwrap()));
    let ran = run_within(command, SOON).expect_code(0);
    ran.expect(work.join("hit").exists(), "it was killed");
}
