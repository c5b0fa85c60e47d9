//! `--verify`: differences are found, listed and reflected in the exit code; nothing is reported for a correct copy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, run, sh, start};
use crate::support::twin::fake_rsync;
use crate::support::work::{Work, set_mode};

const OPTIONS: &str = "-aHAX --numeric-ids --delete";

fn tree(work: &Work) {
    let made = sh(
        work,
        "mkdir -p s/a/b s/a/c s/empty && for n in $(seq 60); do echo $n >s/a/b/f$n; done && for n in $(seq 20); do echo $n >s/a/g$n; done
         ln s/a/b/f1 s/a/c/link && ln -s ../g1 s/a/b/sym && mkfifo s/a/fifo && mkdir s/full && echo x >s/full/x
         setfattr -n user.a -v 1 s/a/g3 2>/dev/null || touch no-xattrs
         find s -exec touch -h -d @1000000000 {} +",
    );
    run(made).expect_code(0);
}

fn verify(work: &Work, words: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "9", "-r", OPTIONS]).args(words).args(["s/", "d"]);
    run(command)
}

fn keeping_time(path: &Path, change: impl FnOnce()) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    change();
    fs::File::open(path).unwrap().set_modified(before).unwrap();
}

/// The name, a shell command that runs in the folder of the destination, and the names that the list must contain.
const PLANTED: [(&str, &str, &str); 24] = [
    ("a missing file", "rm a/b/f7", "a/b/f7"),
    ("an extra file", "echo >a/c/extra", "a/c/extra"),
    ("an extra file at the top", "echo >extra", "extra"),
    ("a missing directory", "rm -r full", "full/"),
    ("a missing empty directory", "rmdir empty", "empty/"),
    ("an extra directory", "mkdir a/more", "a/more/"),
    ("content of another size", "echo longer >a/b/f9", "a/b/f9"),
    ("content of the same size", "echo X >a/b/f8; touch a/b/f8", "a/b/f8"),
    ("a mode", "chmod 600 a/b/f6", "a/b/f6"),
    ("a special bit", "chmod u+s a/g4", "a/g4"),
    ("a time", "touch a/g5", "a/g5"),
    ("the time of a directory", "touch a/c", "a/c/"),
    ("the time of the destination", "touch .", "./"),
    ("the mode of a directory", "chmod 700 a/b", "a/b/"),
    ("where a link leads", "ln -sfn elsewhere a/b/sym", "a/b/sym"),
    ("a missing link", "rm a/b/sym", "a/b/sym"),
    ("a directory in the place of a file", "rm a/g6; mkdir a/g6", "a/g6"),
    ("a file in the place of a directory", "rmdir empty; touch empty", "empty"),
    ("a file in the place of a link", "rm a/b/sym; touch a/b/sym", "a/b/sym"),
    ("a file in the place of a fifo", "rm a/fifo; touch a/fifo", "a/fifo"),
    ("names of one file apart", "cp -p a/c/link x; mv x a/c/link; touch -d @1000000000 a/c . ", "a/"),
    ("an owner", "chown 12345 a/g7", "a/g7"),
    ("a group", "chgrp 12345 a/g8", "a/g8"),
    ("an extended attribute", "setfattr -n user.a -v 2 a/g3", "a/g3"),
];

#[test]
fn each_difference_is_found_and_none_in_a_right_copy() {
    let work = Work::new();
    tree(&work);
    let first = verify(&work, &["--verify"]).expect_code(0);
    assert!(first.stderr_text().contains("nothing differs"), "{}", first.report());
    run(sh(&work, "cp -a d right")).expect_code(0);
    for how in ["--verify-only", "--verify=checksum"] {
        let ran = verify(&work, &["--verify-only", how][usize::from(how == "--verify-only")..]).expect_code(0);
        assert!(ran.stderr_text().contains("nothing differs"), "{}", ran.report());
    }
    let is_root = rustix::process::geteuid().is_root();
    let mut found = 0;
    for (name, script, part) in PLANTED {
        if !is_root && (name.ends_with("owner") || name.ends_with("group")) {
            support::skip(name, "not root");
            continue;
        }
        if name.contains("extended") && work.join("no-xattrs").exists() {
            support::skip(name, "no extended attributes here");
            continue;
        }
        run(sh(&work, &format!("rm -rf d && cp -a right d && cd d && {script}"))).expect_code(0);
        let ran = verify(&work, &["--verify-only"]).expect_code(23);
        let listed: Vec<String> = ran.stdout_text().lines().map(str::to_owned).collect();
        assert!(listed.iter().any(|line| line.contains(part)), "{name}: {}", ran.report());
        assert!(
            ran.stderr_text().contains(&format!("verified: {} difference", listed.len())),
            "{name}: {}",
            ran.report()
        );
        found += 1;
    }
    assert!(found >= 20, "only {found} were planted");
}

#[test]
fn content_of_the_same_size_and_time_needs_checksums() {
    let work = Work::new();
    tree(&work);
    verify(&work, &[]).expect_code(0);
    let path = work.join("d/a/b/f10");
    keeping_time(&path, || fs::write(&path, "XX\n").unwrap());
    verify(&work, &["--verify-only"]).expect_code(0);
    let ran = verify(&work, &["--verify-only", "--verify=checksum"]).expect_code(23);
    assert!(ran.stdout_text().contains("a/b/f10"), "{}", ran.report());
    assert_eq!(fs::read(&path).unwrap(), b"XX\n");
}

/// The copy itself does not notice the error, but the exit code reports it.
#[test]
fn a_copy_that_is_not_right_is_listed_in_the_run_directory() {
    let work = Work::new();
    tree(&work);
    work.dir("runs");
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "9", "-b", "runs", "-r", OPTIONS, "--verify", "s/", "d"]);
    // An rsync that loses a file.
    fake_rsync(
        &mut command,
        &work,
        "case \" $* \" in *' -n '*) exec REAL \"$@\" ;; esac; REAL \"$@\"; c=$?; rm -f d/a/b/f5 ../d/a/b/f5; exit $c",
    );
    let ran = run(command).expect_code(23);
    let list = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path().join("differences.txt");
    let text = fs::read_to_string(&list).unwrap_or_else(|e| panic!("{e}: {}", ran.report()));
    assert!(text.contains("a/b/f5"), "{text}");
    assert!(text.lines().all(|line| line.contains("a/b")), "{text}");
}

/// A verification that was interrupted is continued, and differences that were already found are kept.
#[test]
fn it_goes_on_after_an_interruption() {
    let work = Work::new();
    tree(&work);
    verify(&work, &[]).expect_code(0);
    fs::remove_file(work.join("d/a/b/f3")).unwrap();
    fs::remove_file(work.join("d/a/g9")).unwrap();
    work.dir("runs");
    let slowly = "case \" $* \" in *' --no-implied-dirs '*|*' -R '*) sleep 0.3 ;; esac; exec REAL \"$@\"";
    let mut command = multi_sync(&work);
    command.args(["-p", "1", "-f", "9", "-b", "runs", "-r", OPTIONS, "--verify-only", "s/", "d"]);
    fake_rsync(&mut command, &work, slowly);
    let mut started = start(command);
    started.wait_for("the first difference", Duration::from_secs(60), |it| it.stdout_so_far().contains(&b'>'));
    started.signal(Signal::KILL);
    started.finish(Duration::from_secs(60));
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(&work);
    resumed.arg("--resume").arg(&dir);
    let ran = run(resumed).expect_code(23);
    assert!(ran.stderr_text().contains("verified: "), "{}", ran.report());
    let text = fs::read_to_string(dir.join("differences.txt")).unwrap();
    for name in ["a/b/f3", "a/g9"] {
        assert_eq!(text.lines().filter(|line| line.ends_with(name)).count(), 1, "{text}");
    }
}

#[test]
fn what_cannot_be_verified_is_refused_before_anything_is_copied() {
    let work = Work::new();
    tree(&work);
    for (options, words, part) in [
        ("-a --remove-source-files", &["--verify"][..], "remove-source-files"),
        ("-rl", &["--verify"], "--verify=checksum"),
        ("-an", &["--verify"], "dry-run"),
        ("-a", &["--verify", "-d"], "--dry-run"),
        ("-a", &["--verify=twice"], "quick or checksum"),
    ] {
        let mut command = multi_sync(&work);
        command.args(["-r", options]).args(words).args(["s/", "d"]);
        let ran = run(command).expect_code(1);
        assert!(ran.stderr_text().contains(part), "{}", ran.report());
        assert!(!work.join("d").exists());
    }
}

/// If a file cannot be read, both the copy and the verification report an error.
#[test]
fn an_unreadable_file_is_no_right_copy() {
    if rustix::process::geteuid().is_root() {
        let work = Work::public();
        work.dir_for_nobody("s");
        for n in 0..30 {
            work.file(format!("s/f{n}"), "x");
            set_mode(&work.join(format!("s/f{n}")), 0o644);
        }
        set_mode(&work.join("s/f3"), 0o000);
        work.dir_for_nobody("out");
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "5", "--verify", "-r", "-a", "s/", "out/d"]);
        let ran = run(support::command::as_nobody(&work, command)).expect_code(23);
        assert!(ran.stdout_text().contains("f3"), "{}", ran.report());
    } else {
        support::skip("an unreadable file is no right copy", "needs a second user");
    }
}

/// Old answers are not printed again after failed entries were retried, and the recorded exit code is that of the whole run.
#[test]
fn an_answer_of_before_is_not_given_again() {
    let work = Work::new();
    tree(&work);
    work.dir("runs");
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "9", "-b", "runs", "-r", OPTIONS, "--verify", "s/", "d"]);
    // An rsync that loses a file.
    fake_rsync(
        &mut command,
        &work,
        "case \" $* \" in *' -n '*) exec REAL \"$@\" ;; esac; REAL \"$@\"; c=$?; rm -f d/a/b/f5 ../d/a/b/f5; exit $c",
    );
    run(command).expect_code(23);
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut status = multi_sync(&work);
    status.arg("--status").arg(&dir);
    let status = run(status).expect_code(0);
    assert!(status.stdout_text().contains("ended with code 23"), "{}", status.report());
    fs::copy(work.join("s/a/b/f5"), work.join("d/a/b/f5")).unwrap();
    run(sh(&work, "cp -p s/a/b/f5 d/a/b/f5 && touch -r s/a/b d/a/b")).expect_code(0);
    let mut again = multi_sync(&work);
    again.arg("--retry-failed").arg(&dir);
    let again = run(again).expect_code(0);
    assert!(again.stderr_text().contains("verified: nothing differs"), "{}", again.report());
}
