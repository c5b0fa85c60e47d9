//! An rsync breaks off after it has done something that cannot be done twice: nothing is lost, neither by a retry nor by a run that is resumed.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::command::{Run, multi_sync, run, sh, start};
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

/// The first rsync that gets units does everything, and then looks as if it had been killed.
const ONCE: &str =
    "case \" $* \" in *' --no-implied-dirs '*) if mkdir WORK/once 2>/dev/null; then REAL \"$@\"; kill -9 $$; fi ;; esac
exec REAL \"$@\"";

const FILES: usize = 120;

fn tree(work: &Work) {
    let made = sh(
        work,
        "mkdir src D runs; for d in 1 2 3 4; do mkdir src/$d D/$d; for f in $(seq 30); do
           echo new >src/$d/$f; touch -d 2020-01-01 src/$d/$f; done; touch -d 2020-02-02 src/$d; done; touch -d 2020-02-02 src",
    );
    run(made).expect_code(0);
}

fn copy(work: &Work, options: &str, more: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "40", "-b", "runs", "--first-pass=off"]).args(more);
    command.args(["-r", options, "src/", "D"]);
    fake_rsync(&mut command, work, &ONCE.replace("WORK", work.path().to_str().unwrap()));
    run(command)
}

fn resume(work: &Work) -> Run {
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(work);
    resumed.arg("--resume").arg(dir);
    run(resumed)
}

/// What multi-sync says if directories may have got the time of a move.
const TIMES: &str = "get the time of the move";

/// The directories at DEST that do not have the time that they had in the source before the move.
fn other_times(work: &Work) -> String {
    run(sh(work, "find D -type d ! -name extra -newermt 2020-02-03")).stdout_text()
}

/// How many files with this content are below a folder.
fn holding(work: &Work, content: &str, folder: &str) -> usize {
    let found = run(sh(work, &format!("grep -rlx {content} {folder} | wc -l")));
    found.stdout_text().trim().parse().unwrap()
}

#[test]
fn what_was_moved_is_not_deleted() {
    for (options, code) in [
        ("-a --delete --remove-source-files", 23),
        ("-rlt --delete-excluded --remove-source-files", 23),
        ("-aO --delete --remove-source-files", 25),
        ("-a --remove-source-files", 23),
        ("-aO --remove-source-files", 0),
        ("-rl --remove-source-files", 0),
        ("-rlH --remove-source-files", 23),
    ] {
        for resumes in [false, true] {
            let work = Work::new();
            tree(&work);
            run(sh(&work, "mkdir D/1/extra D/extra")).expect_code(0);
            let more: &[&str] = if resumes { &["--retries", "0"] } else { &[] };
            let mut ran = copy(&work, options, more);
            if resumes {
                ran.expect_code(16);
                ran = resume(&work);
            }
            let ran = ran.expect_code(code);
            let says = |what: &str| ran.stderr_text().contains(what);
            assert_eq!(says("nothing more is deleted"), options.contains("--delete"), "{options}: {}", ran.report());
            let times = ["-a ", "-rlt "].iter().any(|begin| options.starts_with(begin));
            assert_eq!(says(TIMES), times, "{options}: {}", ran.report());
            assert_eq!(says("hard links to moved files"), options.contains('H'), "{options}: {}", ran.report());
            // A second attempt would not find the times either.
            assert!(
                !says("to try again") && fs::read_dir(work.join("runs")).unwrap().next().is_none(),
                "{}",
                ran.report()
            );
            assert!(!ran.stderr_text().contains("No such file"), "{options}: {}", ran.report());
            assert!(work.join("once").exists(), "{options}: {}", ran.report());
            assert_eq!(holding(&work, "new", "D"), FILES, "{options} {resumes}: {}", ran.report());
            assert_eq!(holding(&work, "new", "src"), 0, "{options} {resumes}: {}", ran.report());
        }
    }
}

#[test]
fn backups_are_not_overwritten() {
    for (options, is_retried) in [("-aI -b", false), ("-rlp -b", false), ("-a -b --inplace", false), ("-a -b", true)] {
        let work = Work::new();
        tree(&work);
        let older = "for d in 1 2 3 4; do for f in $(seq 30); do echo old >D/$d/$f; done; done";
        run(sh(&work, older)).expect_code(0);
        let ran = copy(&work, options, &[]).expect_code(if is_retried { 0 } else { 16 });
        let said = ran.stderr_text();
        assert_eq!(said.contains("would overwrite backups"), !is_retried, "{options}: {}", ran.report());
        assert!(is_retried || said.contains("to go on: move the backups"), "{options}: {}", ran.report());
        if !is_retried {
            let ran = resume(&work).expect_code(1);
            assert!(ran.stderr_text().contains("would overwrite backups"), "{options}: {}", ran.report());
        }
        // In place or beside it; in both if rsync was ended between the backup and the copy.
        let kept = "for f in D/*/*; do case $f in *~) ;; *) grep -qsx old $f $f~ || echo $f ;; esac; done";
        assert_eq!(run(sh(&work, kept)).stdout_text(), "", "{options}: {}", ran.report());
        assert!(!is_retried || holding(&work, "old", "D") == FILES, "{options}: {}", ran.report());
        assert!(said.matches("is not retried").count() <= 1, "{}", ran.report());
    }
}

/// One rsync for everything is not started again by a run that is resumed, if it would delete what it has moved.
#[test]
fn one_rsync_that_moves_deletes_nothing_when_it_is_resumed() {
    let work = Work::new();
    tree(&work);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-b", "runs", "-r", "-a --delete-after --remove-source-files", "src/", "D"]);
    let script = "if mkdir WORK/once 2>/dev/null; then REAL \"$@\"; kill -9 $$; fi; exec REAL \"$@\"";
    fake_rsync(&mut command, &work, &script.replace("WORK", work.path().to_str().unwrap()));
    run(command).expect_code(16);
    let ran = resume(&work).expect_code(23);
    assert!(ran.stderr_text().contains("nothing more is deleted"), "{}", ran.report());
    assert!(ran.stderr_text().contains(TIMES), "{}", ran.report());
    assert_eq!(holding(&work, "new", "D"), FILES, "{}", ran.report());
}

/// Single names of split directories are removed from the source at the end, and that changes the times of these directories.
#[test]
fn times_that_a_removal_has_changed_are_told() {
    for (kills, code) in [("*' --no-H '*", 23), ("*' --no-implied-dirs '*", 0)] {
        let work = Work::new();
        tree(&work);
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "20", "-b", "runs", "--first-pass=off", "--retries", "0"]);
        command.args(["-r", "-a --remove-source-files", "src/", "D"]);
        fake_rsync(
            &mut command,
            &work,
            &ONCE.replace("WORK", work.path().to_str().unwrap()).replace("*' --no-implied-dirs '*", kills),
        );
        run(command).expect_code(16);
        assert_eq!(holding(&work, "new", "src") < FILES, code != 0);
        let ran = resume(&work).expect_code(code);
        assert_eq!(ran.stderr_text().contains(TIMES), code != 0, "{}", ran.report());
        assert_eq!(other_times(&work).is_empty(), code == 0, "{}", ran.report());
        assert_eq!((holding(&work, "new", "D"), holding(&work, "new", "src")), (FILES, 0), "{}", ran.report());
    }
}

/// An rsync that reads a file changes its access time, and the next one with `--atimes` would copy that.
#[test]
fn access_times_that_an_rsync_has_changed_are_told() {
    for (options, code) in [("-aU", 23), ("-aU --open-noatime", 0), ("-a", 0)] {
        for resumes in [false, true] {
            let work = Work::new();
            tree(&work);
            let more: &[&str] = if resumes { &["--retries", "0"] } else { &[] };
            let mut ran = copy(&work, options, more);
            if resumes {
                ran.expect_code(16);
                ran = resume(&work);
            }
            let ran = ran.expect_code(code);
            assert_eq!(ran.stderr_text().contains("get the access time"), code != 0, "{options}: {}", ran.report());
            assert_eq!(holding(&work, "new", "D"), FILES, "{options}: {}", ran.report());
        }
    }
}

#[test]
fn names_that_are_removed_at_the_end_keep_their_access_times() {
    let work = Work::new();
    tree(&work);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "20", "-r", "-aU --remove-source-files", "src/", "D"]);
    let ran = run(command).expect_code(0);
    // Before anything reads the files.
    assert_eq!(run(sh(&work, "find D -type f -newerat 2020-01-02")).stdout_text(), "", "{}", ran.report());
    assert_eq!((holding(&work, "new", "D"), holding(&work, "new", "src")), (FILES, 0), "{}", ran.report());
}

/// If the connection ends before the other side has said anything, nothing was moved.
#[test]
fn a_connection_that_was_never_there_has_moved_nothing() {
    for (breaks, code) in [("exit 255", 0), ("\"$@\"; exit 255", 23)] {
        let work = Work::new();
        tree(&work);
        let real = run(sh(&work, "command -v rsync")).stdout_text();
        let script = format!(
            "#!/bin/sh\nshift\ncase \" $* \" in *--remove-source-files*)\n\
             if ls {0}/D/*/* >/dev/null 2>&1 && mkdir {0}/once 2>/dev/null; then {breaks}; fi ;; esac\nexec \"$@\"\n",
            work.path().display()
        );
        let shell = work.file("shell", script);
        run(sh(&work, "chmod 755 shell")).expect_code(0);
        let options = format!("-a --remove-source-files -e {} --rsync-path={}", shell.display(), real.trim());
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "40", "-b", "runs", "-r", &options, "src/"]);
        command.arg(format!("there:{}/D/", work.path().display()));
        let ran = run(command).expect_code(code);
        assert!(work.join("once").exists() && ran.stderr_text().contains("trying again"), "{}", ran.report());
        assert_eq!(ran.stderr_text().contains(TIMES), code != 0, "{}", ran.report());
        assert_eq!((holding(&work, "new", "D"), holding(&work, "new", "src")), (FILES, 0), "{}", ran.report());
    }
}

/// Whenever a move is killed, every file is at the source or at DEST; and when a resumed run has ended, all are at DEST. If a directory has another time there
/// than it had, the exit code says so.
#[test]
fn a_move_that_is_killed_at_any_moment_loses_nothing() {
    const KILLS: u32 = 4;
    for (seed, options) in
        [(1, "-a --delete"), (2, "-a --delete"), (3, "-rlt --delete-excluded"), (4, "-rl"), (5, "-a")]
    {
        let work = Work::new();
        tree(&work);
        let grow = "mkdir D/1/extra; for f in src/*/*; do head -c 6000 /dev/zero | tr '\\0' x >>$f; touch -d 2020-01-01 $f; done";
        run(sh(&work, grow)).expect_code(0);
        let options = format!("{options} --remove-source-files --bwlimit=300");
        let everything = "for d in 1 2 3 4; do for f in $(seq 30); do cat src/$d/$f D/$d/$f 2>/dev/null | grep -qx new || echo $d/$f; done; done";
        for kill in 0.. {
            let begun =
                fs::read_dir(work.join("runs")).unwrap().flatten().find(|dir| dir.path().join("plan.json").exists());
            let mut command = multi_sync(&work);
            match begun {
                Some(dir) => command.arg("--resume").arg(dir.path()),
                None => command.args([
                    "-p",
                    "3",
                    "-f",
                    if seed % 2 == 0 { "20" } else { "40" },
                    "-b",
                    "runs",
                    "-r",
                    &options,
                    "src/",
                    "D",
                ]),
            };
            let running = start(command);
            std::thread::sleep(Duration::from_millis(20 + (seed * 131 + u64::from(kill) * 217) % 400));
            if kill < KILLS {
                running.signal(Signal::KILL);
            }
            let ran = running.finish(Duration::from_secs(60));
            assert_eq!(run(sh(&work, everything)).stdout_text(), "", "{options} {kill}: {}", ran.report());
            if let Some(code) = ran.status.code() {
                assert!([0, 23, 25].contains(&code), "{options}: {}", ran.report());
                let times = options.starts_with("-a") || options.starts_with("-rlt");
                assert_eq!(code == 23, ran.stderr_text().contains(TIMES), "{options}: {}", ran.report());
                assert!(code == 23 || !times || other_times(&work).is_empty(), "{options}: {}", ran.report());
                assert!(code != 23 || times, "{options}: {}", ran.report());
                break;
            }
            run(sh(&work, "rmdir runs/* 2>/dev/null; true")).expect_code(0);
        }
        assert_eq!((holding(&work, "new", "D"), holding(&work, "new", "src")), (FILES, 0), "{options}");
    }
}
