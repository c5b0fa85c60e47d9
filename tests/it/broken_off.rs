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
           echo new >src/$d/$f; touch -d 2020-01-01 src/$d/$f; done; done",
    );
    run(made).expect_code(0);
}

fn copy(work: &Work, options: &str, more: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "20", "-b", "runs", "--first-pass=off"]).args(more);
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

/// How many files with this content are below a folder.
fn holding(work: &Work, content: &str, folder: &str) -> usize {
    let found = run(sh(work, &format!("grep -rlx {content} {folder} | wc -l")));
    found.stdout_text().trim().parse().unwrap()
}

#[test]
fn what_was_moved_is_not_deleted() {
    for (options, code) in [
        ("-a --delete --remove-source-files", 25),
        ("-rlt --delete-excluded --remove-source-files", 25),
        ("-a --remove-source-files", 0),
        ("-rl --remove-source-files", 0),
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
            assert_eq!(
                ran.stderr_text().contains("nothing more is deleted"),
                code == 25,
                "{options}: {}",
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
    let ran = resume(&work).expect_code(25);
    assert_eq!(holding(&work, "new", "D"), FILES, "{}", ran.report());
}

/// Whenever a move is killed, every file is at the source or at DEST; and when a resumed run has ended, all are at DEST.
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
                None => command.args(["-p", "3", "-f", "40", "-b", "runs", "-r", &options, "src/", "D"]),
            };
            let running = start(command);
            std::thread::sleep(Duration::from_millis(20 + (seed * 131 + u64::from(kill) * 217) % 400));
            if kill < KILLS {
                running.signal(Signal::KILL);
            }
            let ran = running.finish(Duration::from_secs(60));
            assert_eq!(run(sh(&work, everything)).stdout_text(), "", "{options} {kill}: {}", ran.report());
            if let Some(code) = ran.status.code() {
                assert!([0, 25].contains(&code), "{options}: {}", ran.report());
                break;
            }
            run(sh(&work, "rmdir runs/* 2>/dev/null; true")).expect_code(0);
        }
        assert_eq!((holding(&work, "new", "D"), holding(&work, "new", "src")), (FILES, 0), "{options}");
    }
}
