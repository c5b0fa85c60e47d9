//! Changing the settings of a run while it runs: by `set`, by a timetable, and by throttles.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Run, Signal, Started, as_nobody, multi_sync, rsync, rsync_version, run, sh, start};
use crate::support::events;
use crate::support::mount::Mounted;
use crate::support::processes;
use crate::support::sshd::{Sshd, joint_rsh};
use crate::support::twin::fake_rsync;
use crate::support::work::{Work, set_mode};
use rustix::process::{Pid, kill_process};

const SOON: Duration = Duration::from_secs(30);
/// An rsync that waits before it copies, and records when it begins and ends.
const SLOW: &str = "case \" $* \" in *' --server '*) exec REAL \"$@\" ;; esac\n\
                    echo + >>LOG; sleep 0.4; REAL \"$@\"; code=$?; echo - >>LOG; exit $code";

fn grow(work: &Work, dirs: usize) {
    for number in 0..dirs * 2 {
        work.file(format!("src/d{}/f{number}", number / 2), vec![number as u8; 3000]);
    }
}

/// Launches of one directory each, which take half a second.
fn slow(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(["-f", "2", "-b", "runs", "-r", "-a"]).args(words).args(["src/", "D"]);
    work.dir("runs");
    fake_rsync(&mut command, work, &SLOW.replace("LOG", work.join("log").to_str().unwrap()));
    command
}

fn run_dir(work: &Work) -> Option<PathBuf> {
    let dirs = fs::read_dir(work.join("runs")).unwrap().flatten().map(|entry| entry.path());
    dirs.into_iter().find(|dir| dir.join("lock").exists())
}

fn set(work: &Work, words: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.arg("set").arg(run_dir(work).unwrap_or_else(|| work.join("runs/none"))).args(words);
    run(command)
}

/// How many launches are running, and the largest number at once in the log since `from`.
fn launches(work: &Work, from: usize) -> (usize, usize, usize) {
    let log = fs::read_to_string(work.join("log")).unwrap_or_default();
    let (mut now, mut most) = (0_usize, 0);
    for (nth, line) in log.lines().enumerate() {
        now = if line == "+" { now + 1 } else { now.saturating_sub(1) };
        most = if nth >= from { most.max(now) } else { most };
    }
    (now, most, log.lines().count())
}

fn wait_for(started: &mut Started, work: &Work, running: usize) {
    let what = format!("{running} launches");
    started.wait_for(&what, SOON, |_| run_dir(work).is_some() && launches(work, 0).0 >= running);
}

fn expect_same(work: &Work, dest: &str, ran: &Run) {
    let mut check = rsync(work);
    check.args(["-ani", "--delete", "src/", dest]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

#[test]
fn the_number_of_rsyncs_follows_and_a_stop_can_be_resumed() {
    let work = Work::new();
    grow(&work, 60);
    let mut started = start(slow(&work, &["-p", "2"]));
    wait_for(&mut started, &work, 2);
    // Refused before anything is written.
    for (words, named) in [
        (&["-p", "0"][..], "--processes"),
        (&["-p", "10000000"], "open files"),
        (&["--bwlimit", "fast"], "--bwlimit"),
        (&["--schedule", "p=3"], "--schedule"),
        (&["--pause", "--stop"], "--pause and --stop"),
    ] {
        let refused = set(&work, words).expect_code(1);
        assert!(refused.stderr_text().contains(named), "{words:?} {}", refused.report());
    }
    let told = set(&work, &[]).expect_code(0).stdout_text();
    assert!(told.contains("Processes: 2 at most") && told.contains("Paused: no"), "{told}");
    let told = set(&work, &["-p", "6"]).expect_code(0).stdout_text();
    assert!(told.contains("Processes: 6 at most"), "{told}");
    started.wait_for("six launches", Duration::from_secs(2), |_| launches(&work, 0).0 == 6);
    set(&work, &["-p", "1", "--bwlimit", "4m"]).expect_code(0);
    started.wait_for("one launch", Duration::from_secs(3), |_| launches(&work, 0).0 <= 1);
    let stopped = set(&work, &["--stop"]).expect_code(0).stdout_text();
    assert!(
        stopped.contains("Ends: when the running rsyncs have finished") && stopped.contains("Bandwidth: 4.0 MiB/s"),
        "{stopped}"
    );
    let ran = started.finish(SOON).expect_code(30);
    let said = ran.stderr_text();
    for line in ["6 rsyncs at once from now on", "1 rsync at once", "4.0 MiB/s", "stopped as requested", "--resume"] {
        assert!(said.contains(line), "{line}: {}", ran.report());
    }
    let (now, ..) = launches(&work, 0);
    assert_eq!(now, 0, "what ran has come to its end");
    let mut status = multi_sync(&work);
    status.arg("status").arg(run_dir(&work).unwrap());
    let told = run(status).expect_code(0).stdout_text();
    assert!(told.starts_with("Status: ended early with code 30 ("), "{told}");
    let ended = set(&work, &["-p", "3"]).expect_code(1);
    assert!(ended.stderr_text().contains("is not running"), "{}", ended.report());
    let mut resume = multi_sync(&work);
    resume.args(["resume", "-p", "6"]).arg(run_dir(&work).unwrap());
    let ran = run(resume).expect_code(0);
    expect_same(&work, "D/", &ran);
    let none = set(&work, &[]).expect_code(1);
    assert!(none.stderr_text().contains("plan.json"), "{}", none.report());
}

#[test]
fn a_timetable_is_followed_from_the_beginning() {
    let work = Work::new();
    grow(&work, 8);
    let mut started = start(slow(&work, &["-p", "5", "--schedule", "else p=1"]));
    wait_for(&mut started, &work, 1);
    let told = set(&work, &[]).expect_code(0).stdout_text();
    assert!(told.contains("Processes: 1 at most") && told.contains("Timetable: else p=1"), "{told}");
    let before = launches(&work, 0);
    // A launch that is just ending may still exist.
    assert!(before.1 <= 2, "{before:?}");
    set(&work, &["--schedule", "none"]).expect_code(0);
    let ran = started.finish(SOON).expect_code(0);
    assert!(launches(&work, before.2).1 > 2, "{}", ran.report());
    expect_same(&work, "D/", &ran);
}

fn bytes_in(dir: &Path) -> u64 {
    let count =
        |path: PathBuf| if path.is_dir() { bytes_in(&path) } else { path.metadata().map_or(0, |file| file.len()) };
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| count(entry.path())).sum()
}

/// Nothing arrives within a second.
#[track_caller]
fn expect_still(dir: &Path) {
    std::thread::sleep(Duration::from_millis(700));
    let before = bytes_in(dir);
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(bytes_in(dir), before);
}

#[test]
fn a_pause_over_ssh_changes_nothing() {
    let sshd = match Sshd::start_at(Ipv4Addr::new(127, 0, 0, 33)) {
        Ok(sshd) => sshd,
        Err(why) => return support::skip(&support::this_test(), &why),
    };
    let work = Work::new();
    for number in 0..12 {
        work.file(format!("src/d{number}/f"), vec![number; 400_000]);
    }
    work.dir("runs");
    let mut copy = multi_sync(&work);
    copy.args(["-p", "3", "-f", "1", "-b", "runs", "--events", "events", "-r", "-a --bwlimit=800 --timeout=2", "src/"]);
    copy.arg(sshd.remote(work.join("D"))).env("RSYNC_RSH", sshd.rsh());
    let mut started = start(copy);
    started.wait_for("something is copied", SOON, |_| bytes_in(&work.join("D")) > 100_000);
    let told = set(&work, &["--pause"]).expect_code(0).stdout_text();
    assert!(told.contains("Paused: it was requested") && told.contains("--timeout=2 may end"), "{told}");
    expect_still(&work.join("D"));
    let stopped = processes::marked(started.mark());
    assert!(stopped.iter().any(|live| live.command.contains("rsync")), "{stopped:?}");
    // The other side drops one of them.
    let there = processes::marked(&format!("sshd:{}", sshd.folder().display()));
    let given_up = there.iter().find(|live| live.command.starts_with("rsync --server")).expect("rsyncs there");
    kill_process(Pid::from_raw(given_up.pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    assert!(set(&work, &["--continue", "--bwlimit", "none"]).expect_code(0).stdout_text().contains("Paused: no"));
    let ran = started.finish(SOON).expect_code(0);
    assert!(
        ran.stderr_text().contains("an rsync that was stopped in a pause has ended"),
        "{}\n{}",
        ran.report(),
        sshd.log()
    );
    expect_no_failure(&work, &ran);
    expect_ended_by_pause(&work, &ran);
    expect_same(&work, "D/", &ran);
}

/// A launch that ended because of a pause is no failure.
#[track_caller]
fn expect_no_failure(work: &Work, ran: &Run) {
    let lines = events::read(&work.join("events"));
    assert_eq!(events::of(&lines, "failed"), Vec::<&serde_json::Value>::new(), "{}", ran.report());
    assert!(!ran.stderr_text().contains("rsync error"), "{}", ran.report());
}

/// A launch that ended because of a pause is reported as such.
#[track_caller]
fn expect_ended_by_pause(work: &Work, ran: &Run) {
    let lines = events::read(&work.join("events"));
    let ended = events::of(&lines, "note").into_iter().filter(|note| note["kind"] == "ended_by_pause").count();
    assert!(ended > 0, "{}", ran.report());
}

/// As by `^Z`, of which the run is not told.
#[test]
fn what_times_out_because_all_was_stopped_is_no_failure() {
    let work = Work::new();
    for number in 0..4 {
        work.file(format!("src/d{number}/f"), vec![number; 600_000]);
    }
    work.dir("runs");
    let mut copy = multi_sync(&work);
    copy.args(["-p", "2", "-f", "1", "-b", "runs", "--events", "events", "-r", "-a --bwlimit=400 --timeout=3"]);
    copy.args(["src/", "D"]);
    let mut started = start(copy);
    started.wait_for("something is copied", SOON, |_| bytes_in(&work.join("D")) > 100_000);
    started.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(4500));
    let mut status = multi_sync(&work);
    status.arg("status").arg(run_dir(&work).unwrap());
    let told = run(status).stdout_text();
    assert!(told.starts_with("Status: stopped (^Z"), "{told}");
    started.signal(Signal::CONT);
    let ran = started.finish(SOON).expect_code(0);
    expect_no_failure(&work, &ran);
    // `--timeout` of rsync 3.2.7 does not count the time during which it was stopped, that of 3.5.0 does.
    if rsync_version(&work) >= (3, 5) {
        expect_ended_by_pause(&work, &ran);
    }
    expect_same(&work, "D/", &ran);
}

#[test]
fn a_request_that_nobody_waits_for_is_withdrawn() {
    let work = Work::new();
    grow(&work, 30);
    let mut started = start(slow(&work, &["-p", "2"]));
    wait_for(&mut started, &work, 2);
    started.signal(Signal::STOP);
    let ask = |processes: &str| {
        let mut command = multi_sync(&work);
        command.arg("set").arg(run_dir(&work).unwrap()).args(["-p", processes]);
        start(command)
    };
    let asked = || {
        let control = fs::read_dir(run_dir(&work).unwrap().join("control")).into_iter().flatten().flatten();
        control.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"set-")).count()
    };
    let mut killed = ask("7");
    killed.wait_for("the request", SOON, |_| asked() == 1);
    killed.signal(Signal::KILL);
    killed.finish(SOON);
    let mut interrupted = ask("9");
    interrupted.wait_for("the request", SOON, |_| asked() == 2);
    interrupted.signal(Signal::INT);
    let ran = interrupted.finish(SOON).expect_code(20);
    assert!(ran.stderr_text().contains("interrupted: nothing was changed"), "{}", ran.report());
    assert_eq!(asked(), 1);
    started.signal(Signal::CONT);
    let told = set(&work, &[]).expect_code(0).stdout_text();
    assert!(told.contains("Processes: 2 at most"), "{told}");
    started.signal(Signal::INT);
    started.finish(SOON).expect_code(20);
}

#[test]
fn a_run_of_another_user_is_not_asked() {
    if !support::is_root() {
        return support::skip(&support::this_test(), "only root can become another user");
    }
    let work = Work::public();
    grow(&work, 20);
    let mut started = start(slow(&work, &["-p", "2"]));
    wait_for(&mut started, &work, 2);
    let dir = run_dir(&work).unwrap();
    let stranger = |dir: &Path| {
        let mut command = multi_sync(&work);
        command.arg("set").arg(dir).args(["-p", "3"]);
        let ran = run(as_nobody(&work, command));
        assert_ne!(ran.status.code(), Some(0), "{}", ran.report());
        ran
    };
    let told = stranger(&dir);
    assert!(told.stderr_text().contains("belongs to user 0, and this is user"), "{}", told.report());
    // A directory that this user cannot even look up.
    set_mode(&work.join("runs"), 0o700);
    let told = stranger(&dir);
    assert!(told.stderr_text().contains("as the user whose run it is"), "{}", told.report());
    assert!(set(&work, &[]).expect_code(0).stdout_text().contains("Processes: 2 at most"));
    started.signal(Signal::INT);
    started.finish(SOON).expect_code(20);
}

#[test]
fn a_pause_stops_what_runs_on_hosts() {
    let servers: Result<Vec<Sshd>, String> = (0..2).map(|n| Sshd::start_at(Ipv4Addr::new(127, 0, 0, 34 + n))).collect();
    let servers = match servers {
        Ok(servers) => servers,
        Err(why) => return support::skip(&support::this_test(), &why),
    };
    let work = Work::new();
    for number in 0..8 {
        work.file(format!("src/d{number}/f"), vec![number; 300_000]);
    }
    work.dir("runs");
    let hosts: Vec<&str> = servers.iter().map(Sshd::host).collect();
    let mut copy = multi_sync(&work);
    copy.args([
        "-m",
        "many-to-one",
        "--ssh",
        &joint_rsh(&servers.iter().collect::<Vec<_>>()),
        "--hosts",
        &hosts.join(","),
    ]);
    let (src, dest) = (format!("{}/", work.join("src").display()), work.dir("D"));
    copy.args(["-p", "2", "-f", "1", "-b", "runs", "-r", "-a --bwlimit=600", &src]).arg(&dest);
    let mut started = start(copy);
    started.wait_for("something is copied", SOON, |_| bytes_in(&dest) > 100_000);
    set(&work, &["--pause"]).expect_code(0);
    expect_still(&dest);
    let told = set(&work, &["--continue", "--bwlimit", "none", "-p", "4"]).expect_code(0).stdout_text();
    assert!(told.contains("Processes: 4 at most"), "{told}");
    let ran = started.finish(SOON).expect_code(0);
    expect_same(&work, "D/", &ran);
    assert!(!ran.stderr_text().contains("set aside"), "{}", ran.report());
}

#[test]
fn a_full_destination_is_waited_for() {
    let work = Work::new();
    let mounted = Mounted::new(&work, "D", 1, "true", "mount -t tmpfs -o size=4M none \"$2\"");
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err(why) => return support::skip(&support::this_test(), &why),
    };
    grow(&work, 30);
    fs::write(mounted.path.join("ballast"), vec![7; 3_800_000]).unwrap();
    let command = slow(&work, &["-p", "2", "--max-dest-full", "90:50"]);
    let began = Instant::now();
    let mut started = start(command);
    started
        .wait_for("it is told", SOON, |started| String::from_utf8_lossy(&started.stderr_so_far()).contains("% full"));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(launches(&work, 0).2, 0, "nothing has begun");
    assert!(set(&work, &[]).expect_code(0).stdout_text().contains("Paused: the destination is 9"));
    fs::remove_file(mounted.path.join("ballast")).unwrap();
    started.wait_for("it goes on", Duration::from_secs(5), |_| launches(&work, 0).2 > 0);
    // And again while it is running.
    fs::write(mounted.path.join("ballast"), vec![7; 3_800_000]).unwrap();
    started.wait_for("it pauses again", Duration::from_secs(5), |started| {
        String::from_utf8_lossy(&started.stderr_so_far()).matches("% full").count() == 2
    });
    fs::remove_file(mounted.path.join("ballast")).unwrap();
    let ran = started.finish(SOON).expect_code(0);
    assert!(began.elapsed() < SOON);
    expect_same(&work, "D/", &ran);
}

#[test]
fn one_rsync_can_be_paused_and_not_be_more() {
    let work = Work::new();
    grow(&work, 3);
    let mut command = multi_sync(&work);
    command.args(["-p", "4", "-k", "-b", "runs", "-r", "-a --max-delete=3 --delete", "src/", "D"]);
    work.dir("runs");
    fake_rsync(&mut command, &work, &SLOW.replace("LOG", work.join("log").to_str().unwrap()).replace("0.4", "4"));
    let mut started = start(command);
    wait_for(&mut started, &work, 1);
    let refused = set(&work, &["-p", "3"]).expect_code(1).stderr_text();
    assert!(refused.contains("the run refuses: one rsync does it all"), "{refused}");
    let refused = set(&work, &["--schedule", "else p=3"]).expect_code(1).stderr_text();
    assert!(refused.contains("the run refuses: one rsync does it all"), "{refused}");
    set(&work, &["--pause"]).expect_code(0);
    let mut states = sh(&work, "for p in $(pgrep -f 'fake/rsync -a'); do cut -d' ' -f3 /proc/$p/stat; done");
    states.env("PATH", "/usr/bin:/bin");
    let found = run(states).stdout_text();
    assert!(found.contains('T'), "{found}");
    started.wait_for("the status says so", Duration::from_secs(5), |_| {
        let mut status = multi_sync(&work);
        status.arg("status").arg(run_dir(&work).expect("it runs"));
        run(status).stdout_text().contains("running, and paused")
    });
    // A request to end also ends the pause, and running rsyncs finish.
    set(&work, &["--stop"]).expect_code(0);
    let ran = started.finish(SOON).expect_code(0);
    expect_same(&work, "D/", &ran);
}
