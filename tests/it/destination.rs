//! Destinations that differ from the source's file system: names that are equal there, coarse times, no links, no room.

use std::fs;
use std::path::Path;

use crate::support;
use crate::support::command::{Run, multi_sync, rsync_version, run, sh};
use crate::support::mount::Mounted;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::work::Work;

macro_rules! or_skip {
    ($made:expr, $test:literal) => {
        match $made {
            Ok(made) => made,
            Err(why) => return support::skip($test, &why),
        }
    };
}

/// All pairs of names that may be equal, with six files below each.
fn twins(work: &Work, pairs: &[(&str, &str)]) {
    for (pair, (one, other)) in pairs.iter().enumerate() {
        for number in 0..6 {
            work.file(format!("src/p{pair}/{one}/a{number}"), "first");
            work.file(format!("src/p{pair}/{other}/b{number}"), "second");
        }
    }
}

fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

fn copy(work: &Work, flags: &str, options: &str, to: &str) -> Run {
    let mut command = multi_sync(work);
    command.args(flags.split(' ')).args(["-r", options, "--stats", "src/", to]);
    run(command)
}

/// One rsync deletes half of the files in a second run, and with `--delete-after` all of them in the first.
#[test]
fn names_that_are_one_are_not_deleted() {
    let work = Work::new();
    let mounted = or_skip!(Mounted::exfat(&work, "fs"), "names_that_are_one_are_not_deleted");
    twins(&work, &[("Foo", "foo"), ("x", "X")]);
    let daemon = or_skip!(Rsyncd::start(&[Module::new("copy", &mounted.path)]), "names_that_are_one_are_not_deleted");
    let remote = daemon.url("copy");
    let mut number = 0;
    let old = rsync_version(&work) < (3, 5);
    for base in [mounted.path.display().to_string(), remote] {
        for options in ["-rt --delete", "-rt --delete-after", "-rt --delete --ignore-errors"] {
            // With limits that split both directories, one of them, or none.
            for flags in ["-p 3 -f 3", "-p 3 -f 8"] {
                if flags.ends_with('8') && options.ends_with("errors") {
                    continue;
                }
                number += 1;
                let to = format!("{base}/D{number}/");
                for _ in 0..2 {
                    let ran = copy(&work, flags, options, &to);
                    // An older daemon does not tell how it treats names: then one rsync does everything, with its own result.
                    if old && to.starts_with("rsync:") && ran.stderr_text().contains("one rsync does it all") {
                        continue;
                    }
                    let ran = ran.expect_code(23);
                    let left = files(&mounted.path.join(format!("D{number}")));
                    let said = ran.stderr_text().contains("is one name with another");
                    let ran = ran.expect(left >= 24, &format!("{left} files are left of 24"));
                    ran.expect(said, "nothing is said of it");
                }
            }
        }
    }
}

/// If the destination distinguishes the names, several rsyncs copy and delete.
#[test]
fn names_that_are_told_apart_cost_nothing() {
    let work = Work::new();
    twins(&work, &[("Foo", "foo"), ("x", "X")]);
    let daemon = or_skip!(Rsyncd::start(&[Module::new("copy", work.path())]), "names_that_are_told_apart_cost_nothing");
    for to in [work.join("D").display().to_string(), format!("{}/E", daemon.url("copy"))] {
        for options in ["-a --delete", "-a --delete-after"] {
            let dest = work.join(Path::new(&to).file_name().unwrap());
            fs::create_dir_all(dest.join("p0/Foo/extra")).unwrap();
            let ran = copy(&work, "-p 3 -f 3", options, &to).expect_code(0);
            assert!(!ran.stdout_text().contains("One rsync for everything"), "{}", ran.report());
            assert!(!ran.stderr_text().contains("the same name"), "{}", ran.report());
            run(sh(&work, &format!("diff -r src {}", dest.display()))).expect_code(0);
        }
    }
}

/// A directory gets the time of its source even if changes within a second cannot be distinguished.
#[test]
fn whole_seconds_tell_no_changes() {
    let work = Work::new();
    let mounted = or_skip!(Mounted::whole_seconds(&work, "fs"), "whole_seconds_tell_no_changes");
    for dir in 0..8 {
        for number in 0..6 {
            work.file(format!("src/d{dir}/f{number}"), "x");
            work.file(format!("src/d{dir}/sub/g{number}"), "x");
        }
    }
    run(sh(&work, "find src -depth -exec touch -h -d '2020-01-02 03:04:05' {} +")).expect_code(0);
    for number in 0..5 {
        let to = mounted.path.join(format!("D{number}"));
        copy(&work, "-p 4 -f 4", "-a", &to.display().to_string()).expect_code(0);
        let find = format!("find {} -type d -newermt 2021-01-01", to.display());
        assert_eq!(run(sh(&work, &find)).stdout_text(), "");
    }
}

/// A remote shell that always runs the same command, whatever it is asked for.
fn forced(work: &Work, name: &str, command: &str) -> String {
    let shell = work.file(name, format!("#!/bin/sh\nexec {command}\n"));
    support::work::set_mode(&shell, 0o755);
    shell.display().to_string()
}

fn tree(work: &Work) {
    for dir in 0..4 {
        for number in 0..6 {
            work.file(format!("src/d{dir}/f{number}"), format!("{dir}{number}"));
        }
    }
}

/// Servers that allow what one rsync sends, and nothing else.
#[test]
fn a_server_that_allows_one_rsync_gets_one() {
    let work = Work::new();
    tree(&work);
    let refusals = [
        "* !a !v !delete !log-format",
        "relative",
        "dirs",
        "no-implied-dirs implied-dirs",
        "existing ignore-existing",
        "force",
    ];
    let modules: Vec<Module> = refusals
        .iter()
        .enumerate()
        .map(|(number, refused)| {
            let line = format!("refuse options = {refused}");
            Module::new(&format!("m{number}"), work.dir(format!("to{number}"))).line(&line)
        })
        .collect();
    let daemon = or_skip!(Rsyncd::start(&modules), "a_server_that_allows_one_rsync_gets_one");
    for (number, refused) in refusals.iter().enumerate() {
        for options in ["-a", "-a --delete-after"] {
            // This is refused to one rsync as well.
            if number == 0 && options != "-a" {
                continue;
            }
            let to = daemon.url(&format!("m{number}"));
            let ran = copy(&work, "-p 3 -f 4", options, &format!("{to}/D")).expect_code(0);
            let same = run(sh(&work, &format!("diff -r src to{number}/D")));
            assert!(same.status.success(), "{refused}: {}\n{}", same.report(), ran.report());
            assert!(!ran.stderr_text().contains("rsync error"), "{refused}: {}", ran.report());
        }
    }
    work.dir("to");
    let fixed = format!("rsync --server -logDtpre.iLsfxCIvu . {}/to/", work.path().display());
    let shell = forced(&work, "fixed", &fixed);
    let ran = copy(&work, "-p 3 -f 4", &format!("-a -e {shell}"), "host:any").expect_code(0);
    assert!(ran.stderr_text().contains("one rsync does it all"), "{}", ran.report());
    run(sh(&work, "diff -r src to")).expect_code(0);
}

/// rsync prints nothing about a file that it links or copies from elsewhere at the destination, but the time of its directory changes.
#[test]
fn what_comes_from_the_destination_changes_directories() {
    let work = Work::new();
    tree(&work);
    run(sh(&work, "find src -depth -exec touch -d '2020-01-02 03:04:05' {} +; cp -a src LD")).expect_code(0);
    let module = Module::new("copy", work.path());
    let daemon = or_skip!(Rsyncd::start(&[module]), "what_comes_from_the_destination_changes_directories");
    let cases = [
        ("--link-dest=../LD", None),
        ("--copy-dest=../LD", None),
        // An entry that already exists elsewhere is deleted.
        ("--compare-dest=../LD", Some("echo more >$d/f0")),
        // The partial file of a complete file is deleted.
        ("--partial-dir=.part", Some("mkdir $d/.part; echo half >$d/.part/f0")),
    ];
    for (number, (option, change)) in cases.into_iter().enumerate() {
        let to = format!("D{number}");
        if let Some(change) = change {
            let touch = "touch -d '2020-01-02 03:04:05' $d";
            run(sh(&work, &format!("cp -a src {to}; for d in {to}/d*; do {change}; {touch}; done"))).expect_code(0);
        }
        let options = format!("-a {option}");
        let ran = copy(&work, "-p 3 -f 4", &options, &format!("{}/{to}", daemon.url("copy"))).expect_code(0);
        assert!(!ran.stdout_text().contains("One rsync for everything"), "{}", ran.report());
        let find = format!("find {to} -type d -newermt 2021-01-01");
        assert_eq!(run(sh(&work, &find)).stdout_text(), "", "{option}");
    }
}

/// If one rsync is refused too, the user gets rsync's own message, once.
#[test]
fn what_is_refused_to_one_rsync_is_refused() {
    let work = Work::new();
    tree(&work);
    let modules = [
        Module::new("deletes", work.dir("a")).line("refuse options = delete"),
        Module::new("reads", work.dir("b")).line("read only = yes"),
    ];
    let daemon = or_skip!(Rsyncd::start(&modules), "what_is_refused_to_one_rsync_is_refused");
    let shell = forced(&work, "says", "sh -c 'echo no such thing >&2; exit 3'");
    for (options, to) in [
        ("-a --delete".to_owned(), daemon.url("deletes")),
        ("-a".to_owned(), daemon.url("reads")),
        (format!("-a -e {shell}"), "host:any".to_owned()),
    ] {
        let mut one = support::command::rsync(&work);
        one.args(options.split(' ')).args(["src/", &format!("{to}/D")]);
        let one = run(one);
        let many = copy(&work, "-p 3 -f 4", &options, &format!("{to}/D"));
        assert_eq!(many.status.code(), one.status.code(), "{}\n{}", one.report(), many.report());
        let said = many.stderr_text();
        // It depends on timing whether rsync still has something to send when the other side is gone, and with it in
        // which line of its source it notices.
        let by_chance = |line: &&str| {
            line.is_empty() || line.ends_with("Broken pipe (32)") || line.contains("connection unexpectedly closed")
        };
        let without_place = |line: &str| line.split(" at io.c(").next().unwrap_or_default().to_owned();
        let said: Vec<String> = said.lines().map(without_place).collect();
        for line in one.stderr_text().lines().filter(|line| !by_chance(line)).map(without_place) {
            assert_eq!(said.iter().filter(|other| **other == line).count(), 1, "{line}: {}", many.report());
        }
    }
}
