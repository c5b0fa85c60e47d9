//! `multi-sync [OPTIONS] rsync ...`: an rsync command with multi-sync in front has the result of that command.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support;
use crate::support::command::{Run, multi_sync, rsync, run};
use crate::support::work::{Work, set_mode};
use multi_sync::harness::rsync::options::{Aliases, CommandLine};
use multi_sync::harness::verify::{self, compare};
use proptest::prelude::*;

/// A source that several rsyncs divide, and sources that are left to one.
fn scene() -> Work {
    let work = Work::new();
    for dir in ["src/docs", "src/docs/old", "src/photos/2024", "src/.cache"] {
        for number in 0..6 {
            work.file(format!("{dir}/file {number}.txt"), format!("{dir} {number}"));
        }
    }
    work.file("src/docs/note.tmp", "x");
    symlink("file 1.txt", work.join("src/docs/link")).unwrap();
    work.file("other/one", "1");
    work
}

fn with(mut command: Command, words: &[&str]) -> Run {
    command.args(words);
    run(command)
}

/// Runs the same arguments with one rsync and with several, each with its own destination in place of `DEST`.
fn both(work: &Work, words: &[&str]) -> (Run, Run) {
    let to = |side: &str| words.iter().map(|word| word.replace("DEST", side)).collect::<Vec<_>>();
    let mut one = rsync(work);
    one.args(to("by-one"));
    let mut many = multi_sync(work);
    many.args(["-p", "4", "-f", "4", "rsync"]).args(to("by-many"));
    (run(one), run(many))
}

#[track_caller]
fn same_tree(work: &Work, words: &[&str]) {
    let (one, many) = (work.join("by-one"), work.join("by-many"));
    assert_eq!(one.exists(), many.exists(), "{words:?}");
    if one.exists() {
        let counted = verify::Options { root: false, ..verify::Options::archive() };
        let found = compare(&one, &many, &counted).unwrap();
        assert!(found.differences.is_empty(), "{words:?}: {:#?}", found.differences);
    }
}

#[test]
fn options_stand_anywhere() {
    let work = scene();
    for words in [
        &["src/", "-a", "DEST", "--exclude", "*.tmp"][..],
        &["-a", "--delete", "--", "src/", "DEST"],
        &["-rlt", "src/docs", "src/photos", "other/", "DEST/"],
        &["src", "DEST", "-avq", "--exclude=- .cache"],
    ] {
        let (one, many) = both(&work, words);
        assert_eq!(one.status.code(), many.status.code(), "{words:?}: {}", many.report());
        assert!(many.stdout.is_empty() && many.stderr.is_empty(), "{words:?}: {}", many.report());
        same_tree(&work, words);
    }
}

/// Commands that only one rsync can do are passed on unchanged, including output and exit codes, and nothing is added.
#[test]
fn what_one_rsync_does_is_its_own() {
    let work = scene();
    for words in [
        &["--version"][..],
        &["--help"],
        &["src/"],
        &["--list-only", "src/docs/"],
        &[],
        &["--no-such-option", "src/", "DEST"],
        &["-z", "src/", "DEST"],
        &["-a", "none", "DEST"],
        &["-a", "src/", "none/below/DEST"],
        &["-a", "--delete", "--max-delete=-1", "src/", "other/one"],
        &["-a", "src/", "rsync://"],
        &["-a", "--protocol=29", "src/", "DEST"],
        &["-a", "--partial-dir=/nonexistent", "src/", "DEST"],
        &["-aK", "src/", "DEST"],
        &["--rsh=sh -c 'head -c4 >/dev/null'", "-a", "host:x", "DEST"],
    ] {
        let (one, many) = both(&work, words);
        let text = |run: &Run, side: &str| {
            let plain = |bytes: &[u8]| {
                // Replaces the time, and the program that was started.
                let text = String::from_utf8_lossy(bytes).replace(side, "DEST");
                text.split_inclusive(' ').filter(|word| !word.contains(':')).collect::<String>()
            };
            (run.status.code(), plain(&run.stdout), plain(&run.stderr))
        };
        assert_eq!(text(&one, "by-one"), text(&many, "by-many"), "{words:?}");
        if !words.is_empty() {
            same_tree(&work, words);
        }
    }
}

#[test]
fn standard_input_is_rsyncs() {
    let work = scene();
    let script = "ls src/docs | \"$@\" --files-from=- src/docs many";
    let mut command = support::command::sh(&work, script);
    command.args(["sh", env!("CARGO_BIN_EXE_multi-sync"), "-p", "2", "rsync"]);
    run(command).expect_code(0);
    assert!(work.join("many/file 1.txt").exists());
}

#[test]
fn a_path_to_rsync_is_the_rsync_that_is_used() {
    let work = scene();
    let path = work.file("bin/rsync", "#!/bin/sh\necho started >> \"$LOG\"\nexec rsync \"$@\"\n");
    set_mode(&path, 0o755);
    let mut command = multi_sync(&work);
    command.env("LOG", work.join("log")).args(["-p", "2", "-f", "4", "bin/rsync", "-a", "src/", "many"]);
    run(command).expect_code(0);
    let launches = fs::read_to_string(work.join("log")).unwrap().lines().count();
    assert!(launches > 3, "{launches}");
    with(multi_sync(&work), &["bin/none/rsync", "-a", "src/", "many"]).expect_code(1);
}

#[test]
fn a_folder_called_rsync_is_not_lost() {
    let work = Work::new();
    work.file("rsync/a", "a");
    let refused = with(multi_sync(&work), &["rsync", "dest"]).expect_code(1);
    assert!(refused.stderr_text().contains("multi-sync ./rsync dest"), "{}", refused.report());
    with(multi_sync(&work), &["./rsync", "dest"]).expect_code(0);
    assert!(work.join("dest/rsync/a").exists());
    with(multi_sync(&work), &["rsync", "-a", "rsync/", "other"]).expect_code(0);
    assert!(work.join("other/a").exists());
}

#[test]
fn our_words_count_before_rsync_only() {
    let work = scene();
    for (words, named) in [
        (&["-p", "0", "rsync", "--version"][..], "--processes"),
        (&["-d", "rsync", "--version"], "--dry-run"),
        (&["--verify", "rsync", "-a", "src/", "host:src", "dest"], "--verify"),
        (&["-t", "rsync", "-a", "src/", "dest"], "--selftest"),
        (&["--resume", "x", "rsync", "-a", "src/", "dest"], "--resume"),
        (&["-r", "-a", "rsync", "src/", "dest"], "--rsync"),
    ] {
        let refused = with(multi_sync(&work), words).expect_code(1);
        let said = refused.stderr_text();
        assert!(said.starts_with("multi-sync: ") && said.contains(named), "{words:?}: {said}");
        assert!(said.contains("to do: "), "{words:?}: {said}");
        assert!(!work.join("dest").exists());
    }
}

/// Also if the environment changes how the arguments of the command are parsed.
#[test]
fn such_a_run_goes_on() {
    let work = scene();
    work.dir("runs");
    let failing = work.file("bin/rsync", "#!/bin/sh\ncase \"$*\" in *by-many*) exit 12;; esac\nexec rsync \"$@\"\n");
    set_mode(&failing, 0o755);
    let words = [
        "-p",
        "2",
        "-f",
        "4",
        "--retries",
        "0",
        "-b",
        "runs",
        "bin/rsync",
        "src/",
        "-a",
        "by-many",
        "--exclude",
        "*.tmp",
    ];
    with(multi_sync(&work), &words).expect_code(12);
    let runs: Vec<_> = fs::read_dir(work.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [dir] = &runs[..] else { panic!("{runs:?}") };
    work.file("bin/rsync", "#!/bin/sh\nexec rsync \"$@\"\n");
    let mut resume = multi_sync(&work);
    resume.env("POSIXLY_CORRECT", "1").arg("--resume").arg(dir);
    run(resume).expect_code(0);
    let mut one = rsync(&work);
    one.args(["-a", "src/", "by-one", "--exclude", "*.tmp"]);
    run(one).expect_code(0);
    same_tree(&work, &words);
}

/// Words of rsync command lines, and how popt has to parse them.
fn words() -> impl Strategy<Value = Vec<String>> {
    let one = |words: &'static [&'static str]| prop::sample::select(words).prop_map(|word| vec![word.to_owned()]);
    let flags = one(&[
        "-v",
        "-avH",
        "-n",
        "-uz",
        "--numeric-ids",
        "--no-W",
        "--delete",
        "-essh",
        "-ae=ssh",
        "-B700",
        "--timeout=9",
        "-T.",
    ]);
    let with_value =
        prop::sample::select(&["--exclude", "--include", "-f", "-e", "--suffix", "-ve", "--out-format"][..]);
    let values = prop::sample::select(&["- x", "-v", "--", "--delete", "-", "s7"][..]);
    let valued = (with_value, values).prop_filter_map("a rule", |(option, value)| {
        let is_rule = value.starts_with("- ");
        (option != "-f" || is_rule).then(|| vec![option.to_owned(), value.to_owned()])
    });
    let operands = one(&["s1", "s2", "s3 with blanks", "./-odd"]);
    let end = one(&["--"]);
    let some = prop_oneof![4 => flags, 3 => valued, 5 => operands, 1 => end];
    prop::collection::vec(some, 1..8).prop_map(|words| {
        // At least two operands; all options of the table are compatible with -a.
        [vec!["-a".to_owned(), "first".into()], words.concat(), vec!["last".into()]].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// rsync reports for each source that it does not exist.
    #[test]
    fn words_are_divided_as_popt_divides_them(words in words(), posix: bool) {
        let work = Work::new();
        let mut command = rsync(&work);
        if posix {
            command.env("POSIXLY_CORRECT", "");
        }
        command.args(&words);
        let ran = run(command);
        let said = ran.stderr_text();
        let missed: Vec<String> = said
            .lines()
            .filter_map(|line| line.split_once("link_stat \"")?.1.strip_suffix("\" failed: No such file or directory (2)"))
            .map(|path| path.strip_prefix(&format!("{}/", work.path().display())).unwrap_or(path).to_owned())
            .collect();
        let read = CommandLine::parse(&words, &Aliases::default(), posix).unwrap();
        let local = |word: &OsString| word.to_str().unwrap().trim_start_matches("./").to_owned();
        let (_, sources) = read.operands.split_last().unwrap();
        prop_assert_eq!(missed, sources.iter().map(local).collect::<Vec<_>>(), "{:?}: {}", words, said);
    }
}

/// Command lines from rsync's manual, from other manuals and from forums.
#[test]
fn lines_that_people_have() {
    for words in [
        &["-av", "src/", "DEST"][..],
        &["-aHAX", "--numeric-ids", "--delete", "src/", "DEST/"],
        &["-avz", "--delete", "--exclude=*.tmp", "--exclude", ".cache", "src/", "DEST"],
        &["-rltDvu", "src/", "DEST"],
        &["-a", "--link-dest=../other", "src/", "DEST"],
        &["-auhi", "src/docs", "src/photos", "DEST"],
        &["-a", "-f+ */", "--include=*1.txt", "-f- *", "src/", "DEST"],
        &["-avn", "--delete", "src/", "DEST"],
        &["-Cavz", "src", "DEST"],
        &["--archive", "--one-file-system", "--hard-links", "--human-readable", "--inplace", "src/", "DEST"],
        &["-rtvzP", "src/", "--bwlimit=9000", "DEST"],
        &["-aR", "src/./docs", "src/./photos/2024", "DEST"],
    ] {
        let work = scene();
        work.file("by-one/docs/too much", "x");
        with(rsync(&work), &["-a", "by-one/", "by-many"]).expect_code(0);
        let (one, many) = both(&work, words);
        assert_eq!(one.status.code(), many.status.code(), "{words:?}: {}", many.report());
        // Progress goes there, if it was requested.
        let progress = words.iter().any(|word| word.ends_with('P'));
        assert!(progress || many.stderr.is_empty(), "{words:?}: {}", many.report());
        same_tree(&work, words);
    }
}
