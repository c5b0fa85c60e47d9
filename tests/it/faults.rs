//! Failures during a run: storage, connections, single rsyncs, and a source that changes. The exit code is correct, nothing is lost at the destination, and
//! the run can be resumed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Run, multi_sync, rsync, run, run_within, sh, start};
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::twin::{fake_rsync, temporary_files};
use crate::support::work::Work;
use multi_sync::harness::treegen::{self, Sizes, Spec};
use rustix::process::{Pid, Signal, kill_process};

/// Reached only if the test fails.
const SOON: Duration = Duration::from_secs(120);

fn expect_same(work: &Work, dest: &Path, ran: &Run) {
    let mut check = rsync(work);
    check.args(["-aHnic", "--delete", "src/"]).arg(dest);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

/// Copies that take some seconds, because they are slow on purpose.
fn slow(work: &Work, more: &[&str], dest: &str) -> Command {
    for number in 0..12 {
        let file = File::create(work.file(format!("src/d{}/f{number}", number % 3), "")).unwrap();
        file.set_len(500_000).unwrap();
    }
    let mut command = multi_sync(work);
    command.args(["-p", "3", "-f", "1", "-r", "-a --bwlimit=1500"]).args(more).args(["src/", dest]);
    command
}

/// The rsyncs that multi-sync itself has started.
fn leaders(multi_sync: u32) -> Vec<Pid> {
    let all = processes::descendants(multi_sync);
    let own = all.iter().filter(|live| live.parent == multi_sync as i32 && live.command.contains("--no-implied-dirs"));
    own.filter_map(|live| Pid::from_raw(live.pid)).collect()
}

#[test]
fn an_rsync_that_is_stopped_is_ended_and_its_work_done_by_another() {
    let work = Work::new();
    let mut started = start(slow(&work, &["--stall", "2"], "D"));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    let victim = leaders(started.pid())[0];
    kill_process(victim, Signal::STOP).unwrap();
    let ran = started.finish(SOON).expect_code(0);
    assert!(ran.stderr_text().contains("code 30"), "{}", ran.report());
    expect_same(&work, &work.join("D"), &ran);
    assert_eq!(temporary_files(&work.join("D")), Vec::<PathBuf>::new());
}

#[test]
fn an_rsync_that_is_silent_but_at_work_is_not_ended() {
    let work = Work::new();
    work.file("src/a", "a");
    work.file("src/b/c", "c");
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "1", "--stall", "1", "src/", "D"]);
    let busy = "for n in 1 2 3 4 5 6 7; do read line </proc/self/stat; sleep 0.5; done\nexec REAL \"$@\"";
    fake_rsync(&mut command, &work, busy);
    let ran = run_within(command, SOON).expect_code(0);
    assert!(!ran.stderr_text().contains("trying again"), "{}", ran.report());
    expect_same(&work, &work.join("D"), &ran);
}

#[test]
fn a_launch_is_tried_again_as_often_as_is_asked_for() {
    for (retries, launches) in [("0", 1), ("1", 2), ("2", 3)] {
        let work = Work::new();
        for number in 0..9 {
            work.file(format!("src/many/{number}"), "");
        }
        work.file("src/one", "");
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "10", "--retries", retries, "src/", "D"]);
        fake_rsync(
            &mut command,
            &work,
            "case \" $* \" in *' --no-implied-dirs '*) echo >>WORK/tried; exit 12 ;; esac\nexec REAL \"$@\""
                .replace("WORK", work.path().to_str().unwrap())
                .as_str(),
        );
        let ran = run_within(command, SOON).expect_code(12);
        let tried = fs::read_to_string(work.join("tried")).unwrap_or_default().len();
        assert_eq!(tried, launches, "{}", ran.report());
    }
}

/// The next rsync would regard a half-written file as newer, existing or of the right size, and the run would end with 0.
#[test]
fn what_would_be_passed_over_is_not_tried_again() {
    for (options, code) in [("-a --inplace -u", 12), ("-aP --ignore-existing", 12), ("-a --inplace", 0), ("-a -u", 0)] {
        let work = Work::new();
        treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Empty), 9).unwrap();
        work.dir("runs");
        let mut command = multi_sync(&work);
        command.args(["-p", "1", "-f", "9", "-b", "runs", "-r", options, "src/", "D"]);
        let once = "case \" $* \" in *' --no-implied-dirs '*) mkdir WORK/failed 2>/dev/null && exit 12 ;; esac\nexec REAL \"$@\"";
        fake_rsync(&mut command, &work, &once.replace("WORK", work.path().to_str().unwrap()));
        let ran = run_within(command, SOON).expect_code(code);
        assert_eq!(ran.stderr_text().contains("half-written"), code != 0, "{}", ran.report());
        if code != 0 {
            let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
            let mut resumed = multi_sync(&work);
            resumed.arg("--resume").arg(dir);
            let ran = run_within(resumed, SOON).expect_code(1);
            assert!(ran.stderr_text().contains("half-written"), "{}", ran.report());
        }
    }
}

/// The first answer of a server may be an error, although the second one is the file.
#[test]
fn an_input_error_that_passes_is_no_failure() {
    for (options, code) in [("-a", 0), ("-a -i", 23)] {
        let work = Work::new();
        treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Empty), 9).unwrap();
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "9", "-r", options, "src/", "D"]);
        let once = "case \" $* \" in *' --no-implied-dirs '*) if mkdir WORK/failed 2>/dev/null; then
            echo 'rsync: [sender] read errors mapping \"/x\": Input/output error (5)' >&2; exit 23; fi ;; esac\nexec REAL \"$@\"";
        fake_rsync(&mut command, &work, &once.replace("WORK", work.path().to_str().unwrap()));
        let ran = run_within(command, SOON).expect_code(code);
        if code == 0 {
            expect_same(&work, &work.join("D"), &ran);
        }
    }
}

/// A file system whose disk has lost its end.
#[test]
fn a_disk_that_cannot_be_read_is_23_and_named() {
    let work = Work::new();
    work.dir("src");
    let mounted =
        "truncate -s 48M image && mkfs.ext4 -qF -b 4096 image && mount -o loop image src && rmdir src/lost+found";
    if !support::is_root() || !run(sh(&work, mounted)).status.success() {
        return support::skip("a disk that cannot be read", "no loop device can be mounted");
    }
    let _mounted = Mounted(&work);
    let cut = "mkdir src/a src/b && for n in $(seq 36); do head -c 1000000 /dev/urandom >src/a/$n; echo $n >src/b/$n; done
        sync && umount src && mount -o loop image src && find src >/dev/null && truncate -s 24M image && echo 3 >/proc/sys/vm/drop_caches";
    run(sh(&work, cut)).expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "10", "-b", "."]).args(["src/", "D"]);
    let ran = run_within(command, SOON).listing([work.join("D")]);
    let failed: Vec<PathBuf> = (1..=36).map(|n| work.join(format!("D/a/{n}"))).filter(|path| !path.exists()).collect();
    if failed.is_empty() {
        return support::skip("a disk that cannot be read", "the system still had all of it in memory");
    }
    let ran = ran.expect_code(23);
    let mut dir = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().path());
    let dir = dir.find(|path| path.join("failed.txt").exists()).expect("the list is kept");
    let listed = fs::read_to_string(dir.join("failed.txt")).unwrap();
    for path in failed {
        let name = path.strip_prefix(work.join("D")).unwrap().to_str().unwrap().to_owned();
        assert!(
            listed.contains(&format!("{name}\t")) || listed.contains(&format!("{name}\"")),
            "{name}: {listed}\n{}",
            ran.report()
        );
    }
    assert!(listed.contains("Input/output error"), "{listed}");
}

struct Mounted<'a>(&'a Work);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run(sh(self.0, "umount -l src"));
    }
}

#[test]
fn a_destination_that_cannot_be_written_is_as_for_one_rsync() {
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(200, Sizes::Uniform { min: 0, max: 50 }), 9).unwrap();
    work.dir("D");
    let mounted = "mount -t tmpfs -o size=8M none D && cp -a src/. D/ && rm -rf D/d1 D/f1 && mount -o remount,ro D";
    if !support::is_root() || !run(sh(&work, mounted)).status.success() {
        return support::skip("a read-only destination", "no file system can be mounted");
    }
    for options in ["-a", "-a --delete"] {
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["src/", "D"]);
        let one = run(one);
        let mut many = multi_sync(&work);
        many.args(["-p", "2", "-f", "9", "-r", options, "src/", "D"]);
        let many = run_within(many, SOON);
        assert_eq!(many.status.code(), one.status.code(), "{}\n{}", one.report(), many.report());
        assert_ne!(many.status.code(), Some(0));
    }
    run(sh(&work, "umount -l D"));
}

/// The contents of files, by name.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let name = entry.path().strip_prefix(dir).unwrap().to_owned();
                    found.extend(fs::read(entry.path()).map(|content| (name, content)));
                }
                _ => {}
            }
        }
    }
    found
}

/// Entries appear, vanish, grow and change their type during the run: everything that was not touched is copied, and the exit code says if something was
/// missed.
#[test]
fn a_source_that_changes_meanwhile() {
    for (seed, options) in [(1, "-a"), (2, "-a --delete"), (3, "-aH"), (4, "-a --delete-after")] {
        let work = Work::new();
        let src = work.join("src");
        treegen::generate(&src, &Spec::bench(1500, Sizes::Uniform { min: 0, max: 3000 }), seed).unwrap();
        let quiet = contents(&src);
        work.dir("src/restless");
        treegen::generate(&src.join("restless/tree"), &Spec::bench(600, Sizes::Uniform { min: 0, max: 3000 }), 9)
            .unwrap();
        let stop = AtomicBool::new(false);
        let changes = AtomicU64::new(0);
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = seed;
                while !stop.load(Ordering::SeqCst) {
                    round += 1;
                    let made = treegen::mutate(&src.join("restless/tree"), round, 8).map_or(0, |made| made.len());
                    changes.fetch_add(made as u64, Ordering::SeqCst);
                }
            });
            let mut command = multi_sync(&work);
            command.args(["-p", "3", "-f", "20", "-r", options, "src/", "D"]);
            let ran = run_within(command, SOON);
            stop.store(true, Ordering::SeqCst);
            ran
        });
        assert!(matches!(ran.status.code(), Some(0 | 23 | 24)), "{}", ran.report());
        println!("{changes:?} changes");
        assert!(changes.into_inner() > 20, "the source hardly changed");
        let copied = contents(&work.join("D"));
        for (name, content) in &quiet {
            assert_eq!(copied.get(name), Some(content), "{}: {}", name.display(), ran.report());
        }
        let mut again = multi_sync(&work);
        again.args(["-p", "3", "-f", "20", "-r", "-aH --delete", "src/", "D"]);
        let ran = run_within(again, SOON).expect_code(0);
        expect_same(&work, &work.join("D"), &ran);
    }
}

/// The daemon's processes are killed in the middle of a copy. It is available again at once.
#[test]
fn connections_to_a_daemon_that_are_cut() {
    let work = Work::new();
    let target = work.dir("target");
    let daemon = match Rsyncd::start(&[Module::new("m", &target)]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("connections to a daemon that are cut", &why),
    };
    let url = format!("{}/D", daemon.url("m"));
    let mut started = start(slow(&work, &[], &url));
    let end = Instant::now() + SOON;
    let cut = loop {
        let serving: Vec<_> = processes::descendants(daemon.pid());
        if serving.len() > 3 && temporary_files(&target.join("D")).len() > 1 || Instant::now() > end {
            break serving;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for live in cut {
        let _ = Pid::from_raw(live.pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    started.wait_for("another try", SOON, |it| String::from_utf8_lossy(&it.stderr_so_far()).contains("trying again"));
    let ran = started.finish(SOON).expect_code(0);
    // Temporary files of a killed receiver are not removed, as with one rsync.
    for left in temporary_files(&target.join("D")) {
        fs::remove_file(left).unwrap();
    }
    run(sh(&work, "touch -r src/d0 target/D/d0; touch -r src/d1 target/D/d1; touch -r src/d2 target/D/d2"))
        .expect_code(0);
    expect_same(&work, &target.join("D"), &ran);
}

#[test]
fn a_signal_to_one_rsync_is_not_the_end() {
    let work = Work::new();
    let mut started = start(slow(&work, &[], "D"));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    for signal in [Signal::KILL, Signal::TERM] {
        if let Some(victim) = leaders(started.pid()).first() {
            let _ = kill_process(*victim, signal);
        }
    }
    let ran = started.finish(SOON).expect_code(0);
    assert!(ran.stderr_text().contains("trying again"), "{}", ran.report());
    for left in temporary_files(&work.join("D")) {
        fs::remove_file(left).unwrap();
    }
    run(sh(&work, "for n in 0 1 2; do touch -r src/d$n D/d$n; done")).expect_code(0);
    expect_same(&work, &work.join("D"), &ran);
}
