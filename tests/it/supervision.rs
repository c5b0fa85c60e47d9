//! Whatever happens to multi-sync or to an rsync, no process and no file is left behind, and the exit code is correct: signals, rsyncs that die or misbehave,
//! files that cannot be read or vanish, broken standard streams.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{
    Run, Signal, Started, as_nobody, as_user, for_all, multi_sync, rsync, run, run_within, sh, start,
};
use crate::support::processes::{self, expect_gone};
use crate::support::sshd::Sshd;
use crate::support::twin::{Twin, fake_rsync, temporary_files};
use crate::support::work::{Work, set_mode};
use multi_sync::harness::verify::{Options, compare};

/// Long enough for a busy machine; reached only if the test fails.
const SOON: Duration = Duration::from_secs(60);

/// Files so large that their copy takes seconds, but that are holes and need no space.
fn slow_tree(work: &Work) {
    for name in ["src/a/big1", "src/a/big2", "src/b/big3", "src/b/big4", "src/big5"] {
        let file = File::create(work.file(name, "")).unwrap();
        file.set_len(16 << 30).unwrap();
    }
    for number in 0..20 {
        work.file(format!("src/small/{number}"), "small");
    }
}

/// Copies the slow tree in several launches, and waits until files are being written.
fn copying(work: &Work, dest: &str, seen_at: &Path, more: &[&str]) -> Started {
    let mut command = multi_sync(work);
    command.args(["-p", "4", "-f", "3", "-s", "1M"]).args(more).args(["src/", dest]);
    let mut started = start(command);
    started.wait_for("files in transfer", SOON, |_| temporary_files(seen_at).len() > 2);
    started
}

fn expect_clean(work: &Work, dest: &Path, ran: &Run) {
    assert_eq!(temporary_files(dest), Vec::<std::path::PathBuf>::new(), "temporary files\n{}", ran.report());
    let left: Vec<_> = fs::read_dir(work.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "in TMPDIR: {left:?}\n{}", ran.report());
}

#[test]
fn a_killed_multi_sync_leaves_no_rsync() {
    let work = Work::new();
    slow_tree(&work);
    let started = copying(&work, "dest", &work.join("dest"), &[]);
    assert!(processes::marked(started.mark()).len() > 4, "several rsyncs run");
    started.signal(Signal::KILL);
    expect_gone(started.mark(), Duration::from_secs(1));
}

#[test]
fn a_killed_multi_sync_leaves_no_ssh() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("a_killed_multi_sync_leaves_no_ssh", &why),
    };
    let work = Work::new();
    slow_tree(&work);
    let dest = work.dir("dest");
    let options = format!("-aS -e \"{}\"", sshd.rsh());
    let started = copying(&work, &format!("{}:{}", sshd.host(), dest.display()), &dest, &["-r", &options]);
    started.signal(Signal::KILL);
    expect_gone(started.mark(), Duration::from_secs(1));
    // The other machine's rsyncs are not our children, but they must notice the end.
    expect_gone(dest.to_str().unwrap(), Duration::from_secs(10));
}

#[test]
fn signals_end_the_run_with_20_and_leave_nothing() {
    let signals = [
        (Signal::INT, false),
        (Signal::TERM, false),
        (Signal::HUP, false),
        // To the whole group, as a terminal does for ^C.
        (Signal::INT, true),
    ];
    for (signal, group) in signals {
        let work = Work::new();
        slow_tree(&work);
        let started = copying(&work, "dest", &work.join("dest"), &["--stats"]);
        if group {
            started.signal_group(signal);
        } else {
            started.signal(signal);
        }
        let mark = started.mark().to_owned();
        let ran = started.finish(SOON).expect_code(20);
        expect_gone(&mark, Duration::ZERO);
        expect_clean(&work, &work.join("dest"), &ran);
        let ran = ran.expect(!work.join("dest/big5").exists(), "it was interrupted in the middle");
        let said = ran.stderr_text();
        assert!(said.contains("interrupted"), "{}", ran.report());
        assert!(ran.stdout_text().contains("Status: INTERRUPTED"), "{}", ran.report());
        assert!(!ran.stdout_text().contains("GiB/s"), "what was not copied has no speed\n{}", ran.report());
        assert!(ran.elapsed < SOON / 2, "{}", ran.report());
    }
}

#[test]
fn signals_through_ssh() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("signals_through_ssh", &why),
    };
    let work = Work::new();
    slow_tree(&work);
    let dest = work.dir("dest");
    let options = format!("-aS -e \"{}\"", sshd.rsh());
    let started = copying(&work, &format!("{}:{}", sshd.host(), dest.display()), &dest, &["-r", &options]);
    started.signal(Signal::INT);
    let mark = started.mark().to_owned();
    let ran = started.finish(SOON).expect_code(20);
    expect_gone(&mark, Duration::ZERO);
    // The remote side notices it from the broken connection.
    expect_gone(dest.to_str().unwrap(), Duration::from_secs(10));
    expect_clean(&work, &dest, &ran);
}

/// A source of many files, and a fake rsync; small buckets.
fn faked(work: &Work, script: &str, flags: &[&str]) -> Command {
    for number in 0..30 {
        work.file(format!("src/d{}/f{number}", number % 3), format!("{number}"));
    }
    let mut command = multi_sync(work);
    // A first pass would do the work before the fake rsync.
    command.arg("--first-pass=off").args(flags).args(["src/", "dest"]);
    fake_rsync(&mut command, work, &script.replace("WORK", work.path().to_str().unwrap()));
    command
}

const SMALL: &[&str] = &["-p", "4", "-f", "5"];

/// Launches with units are distinguished from those for directories by `--no-implied-dirs`; `$*` has a blank before and after it.
const IF_UNITS: &str = "case \" $* \" in *' --no-implied-dirs '*) ;; *) exec REAL \"$@\" ;; esac\n";

/// An rsync that has done everything sleeps before it ends. The next one does not wait for that, unless an error occurred that has to be known first.
/// Launches with `more` end when the next one has begun, or after `patience` times 50 ms.
fn followed(more: &str, patience: u32, flags: &[&str]) -> (usize, usize, Run) {
    let work = Work::new();
    let script = format!(
        "{IF_UNITS} me=1; while ! mkdir WORK/begun.$me 2>/dev/null; do me=$((me+1)); done
        REAL \"$@\" >WORK/said.$me; code=$?; {more}; cat WORK/said.$me
        n=0; while [ ! -d WORK/begun.$((me+1)) ] && [ $n -lt {patience} ]; do sleep 0.05; n=$((n+1)); done
        [ ! -d WORK/begun.$((me+1)) ] || mkdir WORK/followed.$me; exit $code"
    );
    let ran = run(faked(&work, &script, flags)).expect_code(0);
    expect_same(&work);
    let names = |begin: &str| {
        let entries = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(begin)).count()
    };
    (names("begun."), names("followed."), ran)
}

#[test]
fn a_launch_that_only_ends_has_given_its_place() {
    for processes in ["1", "2"] {
        let (begun, followed, ran) = followed("true", 40, &["-p", processes, "-f", "5"]);
        assert!(begun >= 6 && followed == begun - 1, "{followed} of {begun}\n{}", ran.report());
        let said = ran.stdout_text() + &ran.stderr_text();
        assert!(!said.contains("client_run") && !said.contains("_exit_cleanup"), "{}", ran.report());
    }
}

#[test]
fn a_launch_that_complained_keeps_its_place_to_its_end() {
    for (more, flags) in [
        ("echo 'rsync: that was odd' >&2", &["-p", "1", "-f", "5"][..]),
        ("true", &["-p", "1", "-f", "5", "-r", "-aS --log-file=/dev/null"]),
        ("true", &["-p", "1", "-f", "5", "-r", "-aS -i"]),
    ] {
        let (begun, followed, ran) = followed(more, 4, flags);
        assert!(begun >= 6 && followed == 0, "{followed} of {begun}\n{}", ran.report());
    }
}

#[test]
fn a_second_signal_kills_an_rsync_that_ignores_the_first() {
    let work = Work::new();
    let script = "trap '' TERM INT HUP; echo >>WORK/up; while :; do sleep 1; done";
    let mut started = start(faked(&work, script, SMALL));
    started.wait_for("an rsync", SOON, |_| work.join("up").exists());
    std::thread::sleep(Duration::from_millis(100));
    started.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    let second = Instant::now();
    started.signal(Signal::INT);
    let mark = started.mark().to_owned();
    let ran = started.finish(SOON).expect_code(20);
    let ran = ran.expect(second.elapsed() < Duration::from_secs(3), "the second signal is final");
    expect_gone(&mark, Duration::ZERO);
    expect_clean(&work, &work.join("dest"), &ran);
}

#[test]
fn a_signal_while_rsync_is_asked_for_its_version() {
    let work = Work::new();
    work.file("src/f", "");
    let mut command = multi_sync(&work);
    command.args(["src/", "dest"]);
    let script = format!("#!/bin/sh\necho >{}/up\nexec sleep 60\n", work.path().display());
    support::twin::faked_rsync(&mut command, &work, &script);
    let mut started = start(command);
    started.wait_for("an rsync", SOON, |_| work.join("up").exists());
    started.signal(Signal::INT);
    let mark = started.mark().to_owned();
    let ran = started.finish(SOON).expect_code(20);
    expect_gone(&mark, Duration::ZERO);
    expect_clean(&work, &work.join("dest"), &ran);
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_is_ignored() {
    let work = Work::new();
    let script = format!("{IF_UNITS} echo >>WORK/up; while [ ! -e WORK/go ]; do sleep 0.05; done; exec REAL \"$@\"");
    let command = faked(&work, &script, SMALL);
    let mut ignoring = sh(&work, "trap '' HUP; exec \"$@\"");
    ignoring.arg("sh").arg(command.get_program()).args(command.get_args());
    command.get_envs().for_each(|(name, value)| {
        if let Some(value) = value {
            ignoring.env(name, value);
        }
    });
    let mut started = start(ignoring);
    started.wait_for("an rsync", SOON, |_| work.join("up").exists());
    started.signal_group(Signal::HUP);
    std::thread::sleep(Duration::from_millis(200));
    work.file("go", "");
    started.finish(SOON).expect_code(0);
    expect_same(&work);
}

#[test]
fn ends_of_children_that_were_ignored_at_the_start_are_known() {
    let work = Work::new();
    let command = faked(&work, "exec REAL \"$@\"", SMALL);
    if !run(sh(&work, "command -v bash")).status.success() {
        return support::skip(
            "ends_of_children_that_were_ignored_at_the_start_are_known",
            "no shell here can ignore SIGCHLD",
        );
    }
    let mut ignoring = support::command::command(&work, "bash");
    ignoring.args(["-c", "trap '' CHLD; exec \"$@\"", "bash"]).arg(command.get_program()).args(command.get_args());
    run(ignoring).expect_code(0);
    expect_same(&work);
}

#[track_caller]
fn expect_same(work: &Work) {
    let report = compare(&work.join("src"), &work.join("dest"), &Options::archive()).unwrap();
    assert!(report.is_same(), "{report}");
}

/// A relative directory in PATH is relative to the user's working directory, not to the source in which a launch starts: programs there may belong to another
/// user.
#[test]
fn a_program_in_the_source_is_not_started() {
    for path in [".:PATH", ":PATH", "PATH:.", "./:PATH:"] {
        let work = Work::new();
        for name in ["src/rsync", "src/ssh", "src/a/rsync", "src/a/b"] {
            let script = format!("#!/bin/sh\necho >{}/started\nexit 0\n", work.path().display());
            set_mode(&work.file(name, script), 0o755);
        }
        let path = path.replace("PATH", &std::env::var("PATH").unwrap());
        for (dest, codes) in [("dest", &[0][..]), ("no-such-host.invalid:dest", &[255, 12])] {
            let mut command = multi_sync(&work);
            command.args(["-p", "4", "-f", "1", "src/", dest]).env("PATH", &path);
            let ran = run(command);
            let ended_as_expected = ran.status.code().is_some_and(|code| codes.contains(&code));
            let ran = ran.expect(ended_as_expected, "the real programs do it");
            ran.expect(!work.join("started").exists(), "only programs of the system are started");
        }
    }
}

/// It is neither wrong usage nor a missing rsync.
#[test]
fn an_rsync_that_cannot_be_started_any_more() {
    let work = Work::new();
    let script = "REAL \"$@\"; code=$?; rm -rf WORK/src; exit $code";
    let ran = run(faked(&work, script, SMALL)).expect_code(24);
    let said = ran.stderr_text();
    assert!(said.contains("/src/") && said.contains("vanished") && !said.contains("install rsync"), "{}", ran.report());

    let work = Work::new();
    let command = faked(&work, "exec REAL \"$@\"", &["-p", "8", "-f", "1"]);
    let mut limited = sh(&work, "ulimit -n 24; exec \"$@\"");
    limited.arg("sh").arg(command.get_program()).args(command.get_args());
    let ran = run(limited).expect_code(14);
    assert!(ran.stderr_text().contains("ulimit -n"), "{}", ran.report());
}

/// Wherever it happens, there is no panic, and no waiting for a thread that could not be started.
#[test]
fn a_system_that_allows_few_processes_ends_the_run() {
    let work = Work::public();
    let out = work.dir("out");
    set_mode(&out, 0o1777);
    // The limit applies to all processes of a user, so no other process may have this user.
    let user = 1_000_000_000 + std::process::id();
    for number in 0..30 {
        work.file(format!("src/d{}/f{number}", number % 3), format!("{number}"));
    }
    let tried = [1, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24].map(|limit| (limit, "--stats"));
    // With ignore rules, another walker is used.
    for (limit, walker) in tried.into_iter().chain([3, 5, 8, 16].map(|limit| (limit, "--gitignore"))) {
        let command = multi_sync(&work);
        let mut limited = sh(&work, &format!("ulimit -u {limit} 2>/dev/null || ulimit -p {limit}; exec \"$@\""));
        limited.arg("sh").arg(for_all(&work, command.get_program())).args([walker, "--scan-threads=6"]);
        limited
            .args(["-p", "8", "-f", "1", "-r", "-a --exclude=none", "src/"])
            .arg(out.join(format!("{limit}{walker}")));
        let ran = run_within(as_user(&work, limited, user), SOON);
        let ended_well = matches!(ran.status.code(), Some(0 | 12 | 14)) && !ran.stderr_text().contains("panicked");
        let counts = limit > 1 || ran.status.code() == Some(14);
        ran.expect(ended_well && counts, &format!("at most {limit} processes"));
    }
}

#[test]
fn an_rsync_that_fails_once_is_tried_again() {
    for how in ["exit 12", "exit 255", "exit 30", "kill -9 $$", "exit 14", "exit 20"] {
        let work = Work::new();
        let once = format!("{IF_UNITS} if mkdir WORK/failed 2>/dev/null; then {how}; fi\nexec REAL \"$@\"");
        let ran = run_within(faked(&work, &once, SMALL), SOON).expect_code(0);
        let ran = ran.expect(work.join("failed").exists(), "the fake has failed once");
        assert!(ran.stderr_text().contains("trying again"), "{how}\n{}", ran.report());
        expect_same(&work);
        expect_clean(&work, &work.join("dest"), &ran);
    }
}

/// A permanent failure ends the run with rsync's code, once no process is left, and not after endless retries.
#[test]
fn an_rsync_that_always_fails_ends_the_run_with_its_code() {
    for (how, code) in [
        ("exit 11", 11),
        ("exit 1", 1),
        ("exit 3", 3),
        ("exit 77", 77),
        ("exit 127", 127),
        ("exit 5", 5),
        ("exit 12", 12),
        ("exit 22", 22),
        ("kill -9 $$", 16),
        ("kill -11 $$", 16),
    ] {
        let work = Work::new();
        let started = Instant::now();
        let always = format!("{IF_UNITS} echo 'rsync: this is why' >&2; {how}");
        let ran = run_within(faked(&work, &always, &["-p", "4", "-f", "5", "--stats"]), SOON);
        if ran.status.code() == Some(0) || ran.status.code().is_none() {
            panic!("{how}\n{}", ran.report());
        }
        let ran = ran.expect_code(code);
        let said = ran.stderr_text();
        assert!(said.contains("this is why") && said.contains(&format!("exit code {code}")), "{how}\n{}", ran.report());
        assert!(ran.stdout_text().contains("Status: FAILURE"), "{how}\n{}", ran.report());
        expect_clean(&work, &work.join("dest"), &ran);
        expect_gone(&ran.mark, Duration::ZERO);
        assert!(started.elapsed() < SOON, "{how}");
        // The same, but at once in the very first launch: no pause and no retry.
        let work = Work::new();
        let ran =
            run_within(faked(&work, &format!("echo 'rsync: this is why' >&2; {how}"), SMALL), SOON).expect_code(code);
        assert!(!ran.stderr_text().contains("trying again"), "{how}\n{}", ran.report());
    }
}

/// Exit code 0 of multi-sync means that every rsync ended with 0: none of these codes may be lost, whatever launch has it.
#[test]
fn the_code_of_any_one_launch_reaches_the_user() {
    // With --modify-window, an rsync sets the times of directories at the end.
    let flags = [SMALL, &["-r", "-aS --numeric-ids --modify-window=0"]].concat();
    for (how, code) in [("REAL \"$@\"; exit 23", 23), ("REAL \"$@\"; exit 24", 24), ("REAL \"$@\"; exit 25", 25)] {
        for which in [
            "mkdir WORK/first 2>/dev/null",
            "case $* in *'/f29 '*) ;; *) false ;; esac",
            "case $* in *' -q '*) ;; *) false ;; esac",
        ] {
            let work = Work::new();
            let script = format!("if {which}; then echo >WORK/hit; {how}; fi; exec REAL \"$@\"");
            let ran = run(faked(&work, &script, &flags));
            ran.expect_code(code).expect(work.join("hit").exists(), which);
            expect_same(&work);
        }
    }
}

#[test]
fn an_rsync_that_prints_megabytes_of_errors() {
    let work = Work::new();
    let script = format!(
        "{IF_UNITS} mkdir WORK/once 2>/dev/null && yes 'rsync: a very long complaint about nothing' | head -c 10000000 >&2\nexec REAL \"$@\""
    );
    let ran = run_within(faked(&work, &script, SMALL), SOON).expect_code(0);
    assert!(ran.stderr.len() > 9_000_000, "{} bytes", ran.stderr.len());
    expect_same(&work);
    // One line without an end.
    let work = Work::new();
    let script = format!("{IF_UNITS} head -c 5000000 /dev/zero | tr '\\0' x >&2\nexec REAL \"$@\"");
    run_within(faked(&work, &script, SMALL), SOON).expect_code(0);
    expect_same(&work);
}

#[test]
fn a_grandchild_that_holds_the_pipes_does_not_hold_the_run() {
    let work = Work::new();
    let script = "sleep 300 &\nexec REAL \"$@\"";
    let mut command = faked(&work, script, &["-p", "8", "-f", "10"]);
    command.env("LAB", "grandchild");
    let ran = run_within(command, SOON).expect_code(0);
    assert!(!ran.leaked, "{}", ran.report());
    expect_same(&work);
}

#[test]
fn a_file_that_vanishes_between_scan_and_launch_is_24() {
    for victim in ["src/d1/f1", "src/d2"] {
        let work = Work::new();
        let script = format!("rm -rf WORK/{victim}\nexec REAL \"$@\"");
        let ran = run(faked(&work, &script, &["-p", "1", "-f", "3"])).expect_code(24);
        let shown = Path::new(victim).strip_prefix("src").unwrap().to_str().unwrap();
        assert!(ran.stderr_text().contains(shown), "{}", ran.report());
        expect_same(&work);
    }
    // Nothing else may count as vanished.
    let work = Work::new();
    let script = "rm -rf WORK/src/d1/f1; REAL \"$@\"; code=$?; echo 'rsync: something else (13)' >&2; exit $code";
    run(faked(&work, script, &["-p", "1", "-f", "3"])).expect_code(23);
}

#[test]
fn an_unreadable_directory_is_23_and_named_on_both_streams() {
    let work = Work::public();
    let src = work.dir_for_nobody("src");
    for file in ["a/one", "a/two", "locked/in", "b/c/deep", "top"] {
        work.file(Path::new("src").join(file), file);
    }
    if support::is_root() {
        run(sh(&work, "chown -R 65534:65534 src")).expect_code(0);
    }
    set_mode(&src.join("locked"), 0o000);
    work.dir_for_nobody("out");
    // Found by the scan, by an rsync with rules that might exclude it, and by a single rsync.
    let options = ["-aS", "-a --exclude=none", "-a --stderr=all"];
    let flags = [&["-p", "4", "-f", "2"][..], &[]];
    for (number, (flags, options)) in flags.iter().flat_map(|flags| options.map(|options| (flags, options))).enumerate()
    {
        let mut command = multi_sync(&work);
        command.args(*flags).args(["--stats", "-r", options, "src/", &format!("out/{number}")]);
        let ran = run(as_nobody(&work, command)).expect_code(23).listing([work.join("out")]);
        let named =
            |text: String| text.lines().any(|line| line.contains("locked") && line.contains("ermission denied"));
        assert!(named(ran.stderr_text()) && named(ran.stdout_text()), "{}", ran.report());
        let dest = work.join(format!("out/{number}"));
        let all = ["a/one", "a/two", "b/c/deep", "top", "locked"].iter().all(|name| dest.join(name).exists());
        assert!(all, "everything else is copied\n{}", ran.report());
    }
}

/// Backups without root are made by an rsync with `cap_dac_read_search`, which can read files that the scan cannot.
#[test]
fn what_only_rsync_may_read_is_copied_and_no_error() {
    let name = "what_only_rsync_may_read_is_copied_and_no_error";
    if !support::is_root() {
        return support::skip(name, "needs root");
    }
    let work = Work::public();
    for file in ["a/one", "a/two", "private/in", "private/deep/in", "b/c/deep", "top"] {
        work.file(Path::new("src").join(file), file);
    }
    set_mode(&work.join("src/private"), 0o700);
    let own = work.dir("bin").join("rsync");
    support::command::copy_program(&support::daemon::find_program("rsync").unwrap(), &own);
    set_mode(&own, 0o755);
    let capable = run(sh(&work, "setcap cap_dac_read_search+ep bin/rsync"));
    if !capable.status.success() {
        return support::skip(name, "no file capabilities here");
    }
    work.dir_for_nobody("out");
    for (number, options) in ["-rlt", "-rlt --delete", "-rlt --delete-after", "-rlt --exclude=none"].iter().enumerate()
    {
        let dest = format!("out/{number}");
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "2", "-r", options, "src/", &dest]);
        let path = std::env::join_paths([work.join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
        command.env("PATH", path);
        let ran = run(as_nobody(&work, command)).expect_code(0).listing([work.join("out")]);
        assert!(work.join(&dest).join("private/deep/in").exists(), "{}", ran.report());
        assert!(ran.stderr.is_empty() || *options != "-rlt", "{}", ran.report());
    }
}

#[test]
fn one_unreadable_file_is_23_and_all_others_are_copied() {
    let work = Work::public();
    for number in 0..40 {
        work.file(format!("src/d{}/f{number}", number % 4), format!("{number}"));
    }
    if support::is_root() {
        run(sh(&work, "chown -R 65534:65534 src")).expect_code(0);
    }
    set_mode(&work.join("src/d1/f5"), 0o000);
    for flags in ["-p 4 -f 3", "-p 1 -f 1", ""] {
        let twin = Twin::new(&work, ["src/", "SIDE/D"]).flags(flags).nobody();
        let (_, many) = twin.same();
        let many = many.expect_code(23);
        let count = many.stderr_text().lines().filter(|line| line.contains("d1/f5")).count();
        assert_eq!(count, 1, "{}", many.report());
    }
}

#[test]
fn closed_and_full_standard_streams_change_nothing() {
    for streams in [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        "| true",
        "2>&1 | true",
    ] {
        for (source, code) in [("src/", 0), ("src/ gone", 23)] {
            let work = Work::new();
            let command = faked(&work, "exec REAL \"$@\"", &[]);
            let program = command.get_program().to_str().unwrap().to_owned();
            let script = format!(
                "{{ {{ {program} -p 4 -f 5 -P --stats -j {source} dest; echo $? >code; }} {streams}; }}\nread -r code <code; exit $code"
            );
            run_within(sh(&work, &script), SOON).expect_code(code);
            expect_same(&work);
            assert_eq!(fs::read_dir(work.join("tmp")).unwrap().count(), 0, "{streams}");
        }
    }
}

/// A pager that does not read, or an ssh session whose other end is gone. One rsync ends at once.
#[test]
fn a_stream_that_nobody_reads_does_not_hold_up_the_end() {
    for streams in [">p", "2>p", ">p 2>p"] {
        let work = Work::new();
        let script = "case \" $* \" in *' --no-implied-dirs '*) yes line | head -c 300000; yes line | head -c 300000 >&2 ;; esac\nexec REAL \"$@\"";
        let command = faked(&work, script, &["-p", "2", "-f", "5", "-P", "--stats", "-r", "-av"]);
        // The process at the other end reads nothing.
        let mut blocked = sh(&work, &format!("mkfifo p && exec 7<>p && exec \"$@\" {streams}"));
        blocked.arg("sh").arg(command.get_program()).args(command.get_args());
        blocked.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut started = start(blocked);
        started.wait_for("a full pipe", SOON, |_| {
            let pipe = File::options().read(true).write(true).open(work.join("p"));
            pipe.is_ok_and(|pipe| rustix::io::ioctl_fionread(&pipe).is_ok_and(|waiting| waiting > 60_000))
        });
        started.signal(Signal::TERM);
        let mark = started.mark().to_owned();
        let ran = started.finish(SOON / 4).expect_code(20);
        expect_gone(&mark, Duration::ZERO);
        expect_clean(&work, &work.join("dest"), &ran);
    }
}

/// A reader that reads late gets everything.
#[test]
fn a_stream_that_is_read_late_loses_nothing() {
    let work = Work::new();
    let script = "case \" $* \" in *' --no-implied-dirs '*) yes line | head -n 50000 ;; esac\nexec REAL \"$@\"";
    let command = faked(&work, script, &["-p", "1", "-f", "15"]);
    let mut late =
        sh(&work, "{ \"$@\"; echo $? >code; } | { sleep 1; grep -c '^line$'; }; read -r code <code; exit $code");
    late.arg("sh").arg(command.get_program()).args(command.get_args());
    late.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run_within(late, SOON).expect_code(0);
    let lines: u32 = ran.stdout_text().trim().parse().unwrap();
    ran.expect(lines > 0 && lines.is_multiple_of(50_000), "all of them");
}

#[test]
fn progress_without_a_terminal_is_lines_and_with_one_a_line_that_moves() {
    let work = Work::new();
    // A single launch with everything, slow enough to be observed.
    for number in 0..6 {
        let file = File::create(work.file(format!("src/big{number}"), "")).unwrap();
        file.set_len(300 << 20).unwrap();
    }
    let mut command = multi_sync(&work);
    command.args(["-P", "src/", "dest"]);
    let ran = run(command).expect_code(0);
    let said = ran.stderr_text();
    assert!(!said.contains('\r') && !said.contains('\x1b'), "{}", ran.report());
    let lines: Vec<_> = said.lines().filter(|line| line.contains("entries")).collect();
    assert!(lines.len() >= 2 && lines[lines.len() - 1].starts_with("7/7 entries"), "{}", ran.report());
    assert!(ran.stdout.is_empty(), "{}", ran.report());

    if !run(sh(&work, "command -v script")).status.success() {
        return support::skip("a live line on a terminal", "script(1) is not installed");
    }
    // One launch because the tree is small, and one that starts before the scan has found anything.
    for (number, options) in ["-aS", "-amS"].into_iter().enumerate() {
        let program = multi_sync(&work).get_program().to_str().unwrap().to_owned();
        let mut command = support::command::command(&work, "script");
        let script = format!("stty cols 120; exec {program} -P -r {options} src/ terminal{number}");
        command.args(["-qefc", &script, "/dev/null"]).env("TERM", "xterm");
        let ran = run(command).expect_code(0);
        let said = ran.stdout_text();
        let redrawn = said.matches("entries").count();
        assert!(redrawn > 3, "{redrawn} times\n{}", ran.report());
        let bytes: std::collections::BTreeSet<_> =
            said.split("entries  ").skip(1).filter_map(|rest| rest.split('/').next()).collect();
        assert!(bytes.len() > 2, "the figures move within one launch: {bytes:?}\n{}", ran.report());
    }
}

#[test]
fn the_bucket_directory_taken_away_does_not_pass_as_success() {
    let work = Work::new();
    let script = "case \" $* \" in *' --no-implied-dirs '*) rm -rf WORK/state/multi-sync/* ;; esac\nexec REAL \"$@\"";
    // The second launch does not find its bucket.
    let ran = run_within(faked(&work, script, &["-p", "1", "-f", "2"]), SOON).expect_code(11);
    let said = ran.stderr_text();
    assert!(said.contains("bucket") && said.contains("No such file") && said.contains("to do: "), "{}", ran.report());
    assert!(!said.contains("panicked") && !work.join("dest/d1/f28").exists(), "{}", ran.report());
    expect_gone(&ran.mark, Duration::ZERO);
}

#[test]
fn a_bucket_directory_that_cannot_be_removed_does_not_hide_the_outcome() {
    let work = Work::public();
    work.dir_for_nobody("out");
    for number in 0..30 {
        work.file(format!("src/d{}/f{number}", number % 3), "");
    }
    for (source, code) in [("src/", 0), ("src/ gone", 23)] {
        let dir = work.path().display();
        let mut command = multi_sync(&work);
        // After an error it would be kept.
        command
            .args(["-p", "4", "-f", "5", "--stats", "--keep-runs", "0"])
            .args(source.split(' '))
            .arg(format!("out/{code}"));
        fake_rsync(
            &mut command,
            &work,
            &format!("REAL \"$@\"; code=$?; chmod -R a-w {dir}/tmp/multi-sync-*; exit $code"),
        );
        let ran = run(as_nobody(&work, command)).expect_code(code);
        assert!(ran.stderr_text().contains("remove bucket directory"), "{}", ran.report());
        assert!(ran.stdout_text().contains("Status: "), "{}", ran.report());
        run(sh(&work, "chmod -R u+w tmp; rm -rf tmp/*")).expect_code(0);
    }
}

#[test]
fn a_full_destination_is_an_error_of_the_same_code() {
    let work = Work::new();
    let Some(small) = small_file_system(&work) else {
        return support::skip("a_full_destination_is_an_error_of_the_same_code", "cannot mount a small tmpfs");
    };
    for number in 0..12 {
        work.file(format!("src/d{}/f{number}", number % 3), vec![7; 300_000]);
    }
    let mut one = rsync(&work);
    one.args(["-a", "src/"]).arg(small.0.join("D"));
    let one = run(one);
    fs::remove_dir_all(small.0.join("D")).unwrap();
    let mut command = multi_sync(&work);
    command.args(["-r", "-a", "-p", "4", "-f", "3", "src/"]).arg(small.0.join("D"));
    let many = run_within(command, SOON);
    assert!(
        many.status.code() == one.status.code() && many.status.code() != Some(0),
        "{}{}",
        one.report(),
        many.report()
    );
    expect_gone(&many.mark, Duration::ZERO);
    assert!(temporary_files(&small.0).is_empty(), "{}", many.listing([&small.0]).report());
}

/// Some file systems forget the inode number of a directory, and invent another one at the next lookup.
#[test]
fn a_source_whose_inode_numbers_change_is_copied() {
    let work = Work::new();
    let mount = "mkdir -p WORK/t && mount -t tmpfs none WORK/t && mkdir WORK/t/u WORK/t/w WORK/src && \
                 mount -t overlay -o lowerdir=WORK/lower,upperdir=WORK/t/u,workdir=WORK/t/w none WORK/src";
    let again = "umount -l WORK/src && mount -t overlay -o lowerdir=WORK/lower,upperdir=WORK/t/u,workdir=WORK/t/w none WORK/src";
    let here = |script: &str| script.replace("WORK", work.path().to_str().unwrap());
    work.dir("lower");
    if !support::is_root() || !run(sh(&work, &here(mount))).status.success() {
        return support::skip("a_source_whose_inode_numbers_change_is_copied", "cannot mount an overlay");
    }
    let _mounted = [Mounted(work.join("src")), Mounted(work.join("t"))];
    let script = format!("{IF_UNITS} mkdir WORK/once 2>/dev/null && {{ {again}; cd WORK/src; }}\nexec REAL \"$@\"");
    let ran = run(faked(&work, &script, &["-p", "1", "-f", "5"])).expect_code(0);
    ran.expect(work.join("once").exists(), "the numbers have changed");
    expect_same(&work);
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let work = Work::new();
        let mut unmount = support::command::command(&work, "umount");
        unmount.arg("-l").arg(&self.0);
        run(unmount);
    }
}

fn small_file_system(work: &Work) -> Option<Mounted> {
    let dir = work.dir("small");
    let mut mount = support::command::command(work, "mount");
    mount.args(["-t", "tmpfs", "-o", "size=2M", "none"]).arg(&dir);
    (support::is_root() && run(mount).status.success()).then_some(Mounted(dir))
}
