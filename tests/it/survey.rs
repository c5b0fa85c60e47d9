//! `multi-sync survey`: it reports the contents of a source, what would be lost, and how it is divided; a trial leaves nothing behind.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::command::{Run, Signal, Started, as_nobody, multi_sync, run, sh, start};
use crate::support::twin::{fake_rsync, snapshot};
use crate::support::work::Work;
use crate::support::{self, is_root};

/// 130 files in five directories, and one of each odd thing.
fn tree(work: &Work) {
    run(sh(
        work,
        "mkdir -p s/a/b/c s/crowd s/empty && for n in $(seq 100); do head -c $n /dev/zero >s/crowd/f$n; done
         for n in $(seq 20); do echo $n >s/a/b/c/g$n; done && head -c 5000 /dev/zero >s/a/large && : >s/a/b/nothing
         ln s/a/large s/a/b/linked && ln s/a/large s/linked && truncate -s 1M s/sparse && mkfifo s/a/fifo && ln -s a s/link
         printf x >s/$(printf 'odd\\377') && printf x >\"s/$(printf 'line\\nbreak')\" && chmod u+s s/crowd/f1
         find s -exec touch -h -d '400 days ago' {} + && touch s/crowd/f7 && touch -d '2 days' s/crowd/f8
         setfattr -n user.a -v 1 s/a s/crowd/f100 2>/dev/null || touch no-xattrs",
    ))
    .expect_code(0);
}

fn survey(work: &Work, words: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.arg("survey").args(words);
    run(command)
}

fn json(work: &Work, words: &[&str]) -> Value {
    let ran = survey(work, &[&["--json"], words].concat()).expect_code(0);
    assert!(ran.stderr.is_empty() && ran.stdout.ends_with(b"\n"), "{}", ran.report());
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.report()))
}

fn counts(value: &Value) -> Vec<(usize, u64)> {
    let count = |value: &Value| value.as_u64().or(value["entries"].as_u64()).unwrap();
    let all = value.as_array().unwrap().iter().map(count).enumerate();
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_is_there_is_told_and_nothing_is_touched() {
    let work = Work::new();
    tree(&work);
    let before = snapshot(work.path());
    for threads in ["1", "3"] {
        let report = json(&work, &["s/", "--scan-threads", threads]);
        let figures = &report["figures"];
        let kinds = &figures["kinds"];
        assert_eq!(
            ["files", "directories", "links", "fifos", "sockets", "devices"].map(|kind| kinds[kind].as_u64().unwrap()),
            [127, 6, 1, 1, 0, 0]
        );
        let lengths: u64 = (1..=100).sum::<u64>() + 9 * 2 + 11 * 3 + 3 * 5000 + (1 << 20) + 2;
        assert_eq!(figures["bytes"], lengths);
        assert_eq!(counts(&figures["crowds"]), CROWDS);
        assert_eq!(counts(&figures["depths"]), [(0, 1), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(figures["largest_files"][0]["path"]["text"], "sparse");
        assert_eq!(figures["largest_files"].as_array().unwrap().len(), 10);
        assert_eq!(figures["most_crowded"][0]["size"], 100);
        assert_eq!(figures["most_crowded"][0]["path"]["text"], "crowd");
        assert_eq!((&figures["hard_links"]["names"], &figures["hard_links"]["files"]), (&3.into(), &1.0.into()));
        assert_eq!(figures["sparse"]["files"], 1);
        assert_eq!(figures["set_id_files"], 1);
        assert_eq!(figures["not_utf8"]["first"][0]["bytes"], "b2Rk/w==");
        assert_eq!(figures["control_characters"]["count"], 1);
        let ages = counts(&figures["ages"]);
        assert_eq!(ages, [(0, 1), (1, 1), (6, 125)]);
        if !work.join("no-xattrs").exists() {
            assert_eq!(figures["attributes"]["kinds"]["user attribute"][0], 1);
        }
        let division = &report["division"];
        assert_eq!((&division["buckets"], &division["split_directories"]), (&1.into(), &0.into()));
    }
    let divided = json(&work, &["-f", "10", "-p", "4", "s/"]);
    assert!(divided["division"]["buckets"].as_u64().unwrap() >= 12, "{}", divided["division"]);
    assert_eq!(divided["division"]["split_directories"], 5);
    assert!(before == snapshot(work.path()));
    let full = multi_sync(&work);
    run(sh(&work, &format!("{} survey --json s/ >/dev/full", full.get_program().display()))).expect_code(1);
}

#[test]
fn what_is_ignored_is_not_counted() {
    let work = Work::new();
    tree(&work);
    work.file("s/.gitignore", "f1*\n/a/\n");
    for threads in ["1", "3"] {
        let report = json(&work, &["s/", "--gitignore", "--scan-threads", threads]);
        let (figures, kinds) = (&report["figures"], &report["figures"]["kinds"]);
        // Of the hundred files, f1, f10 to f19 and f100 are excluded, and all of `a`.
        assert_eq!(
            ["files", "directories", "links", "fifos"].map(|kind| kinds[kind].as_u64().unwrap()),
            [100 - 12 + 5, 3, 1, 0]
        );
        assert_eq!(counts(&figures["crowds"]), [(0, 1), (4, 1), (7, 1)]);
        assert_eq!(figures["most_crowded"][0]["size"], 88);
        assert_eq!(figures["largest_files"][0]["path"]["text"], "sparse");
        assert_eq!(figures["set_id_files"], 0);
    }
}

#[test]
fn a_survey_is_also_a_page() {
    let work = Work::new();
    tree(&work);
    let ran = survey(&work, &["--report", "r.html", "-r", "-a", "s/", "d"]).expect_code(0);
    assert!(ran.stdout_text().starts_with("Survey of s/ -> d"), "{}", ran.report());
    let page = fs::read_to_string(work.join("r.html")).unwrap();
    for part in ["Survey of", "Files by size", "Bytes in files by size", "odd\\xff", "line\\x0abreak", "instead"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http://") || !page.contains("<link"), "it needs no network");
    survey(&work, &["--report", "r.json", "-r", "-a", "s/", "d"]).expect_code(0);
    let data: Value = serde_json::from_slice(&fs::read(work.join("r.json")).unwrap()).unwrap();
    assert_eq!(data["figures"], json(&work, &["-r", "-a", "s/", "d"])["figures"]);
}

/// Lower bounds of classes (powers of two), and the number of directories with this number of entries.
const CROWDS: [(usize, u64); 5] = [(0, 1), (2, 2), (4, 1), (5, 1), (7, 1)];

fn losses(report: &Value) -> Vec<String> {
    report["losses"].as_array().unwrap().iter().map(|loss| loss["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_the_options_would_lose_is_named() {
    let work = Work::new();
    tree(&work);
    let lost = |options: &str| losses(&json(&work, &["-r", options, "s/", "d"]));
    let all = lost("-r");
    for part in ["symbolic links", "FIFOs", "hard links", "holes", "lose their time", "modes"] {
        let named = |what: &String| {
            what.contains(part)
                || part == "lose their time" && what == "files"
                || part == "modes" && what == "files and directories"
        };
        assert!(all.iter().any(named), "{part}: {all:?}");
    }
    assert!(lost("-aHAXS").is_empty(), "{:?}", lost("-aHAXS"));
    let has_attributes = !work.join("no-xattrs").exists();
    assert_eq!(lost("-aHAS").iter().any(|what| what.contains("extended")), has_attributes);
    if is_root() {
        run(sh(&work, "chown 12345 s/crowd/f9")).expect_code(0);
        assert!(lost("-aHAXS").is_empty());
        assert_eq!(lost("-aHAXS --no-o"), ["entries of other owners"]);
        assert_eq!(lost("-aHAXS --no-super"), ["entries of other owners"]);
        let report = json(&work, &["-r", "-aHAXS", "s/", "nowhere.invalid:d"]);
        assert!(report["losses"][0]["becomes"].as_str().unwrap().ends_with("unless that user is root"), "{report}");
    }
    // A single rsync, with the reason.
    let one = json(&work, &["-p", "4", "rsync", "-aK", "s/", "d"]);
    assert!(one["division"]["one_rsync"].as_str().unwrap().contains("--keep-dirlinks"), "{one}");
    let text = survey(&work, &["-f", "10", "-p", "4", "s/", "d"]).expect_code(0).stdout_text();
    let screen: Vec<&str> = text.lines().take_while(|line| *line != "Details").collect();
    assert!(screen.len() < 24, "{text}");
    for part in ["instead: -H", "rsyncs at once", "Files by size", "odd\\xff", "line\\x0abreak"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_source_that_cannot_be_read_is_told() {
    let work = Work::public();
    if !is_root() {
        return support::skip("a_source_that_cannot_be_read_is_told", "not root");
    }
    run(sh(&work, "mkdir -p s/locked s/open && touch s/locked/f s/open/f && chmod 700 s/locked && chmod 755 s s/open"))
        .expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["survey", "s/"]);
    let ran = run(as_nobody(&work, command)).expect_code(23);
    assert!(ran.stdout_text().contains("What could not be read: 1"), "{}", ran.report());
    let ran = survey(&work, &["gone", "d"]);
    assert!(ran.status.code() != Some(0), "{}", ran.report());
}

#[test]
fn a_trial_estimates_and_leaves_nothing() {
    let work = Work::new();
    run(sh(&work, "mkdir s d && for d in $(seq 60); do mkdir s/d$d && for f in $(seq 50); do head -c 2000 /dev/zero >s/d$d/f$f; done; done; echo mine >d/mine")).expect_code(0);
    // The time of the directory itself is that of the last change in it.
    let inside = || snapshot(&work.join("d")).into_iter().filter(|line| !line.starts_with("\"\" ")).collect::<Vec<_>>();
    let before = inside();
    let options = "-aH --delete --remove-source-files";
    let report = json(&work, &["-p", "2", "-f", "60", "--trial-seconds", "3", "-r", options, "s/", "d"]);
    let trial = &report["trial"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{trial}"));
    assert!(number(&trial["launches"]) >= 3.0 && number(&trial["entries"]) >= 200.0, "{trial}");
    let estimate = &trial["estimate"];
    let (low, likely, high) = (number(&estimate["low"]), number(&estimate["likely"]), number(&estimate["high"]));
    assert!(low <= likely && likely <= high && high < 60.0, "{trial}");
    assert_eq!(trial["left_out"][0], "--remove-source-files");
    assert!(before == inside());
    assert!(work.join("s/d60/f50").exists());
    let text = survey(&work, &["-p", "2", "-f", "60", "--trial-seconds", "1", "s/", "d"]).expect_code(0).stdout_text();
    assert!(text.contains("Trial at the destination"), "{text}");
    // After an error it is removed nevertheless.
    let ran = survey(&work, &["--trial-seconds", "2", "-r", "-a --temp-dir=/x --no-such", "s/", "d"]).expect_code(1);
    assert!(ran.stderr_text().contains("--no-such"), "{}", ran.report());
    let ran = survey(&work, &["--trial-seconds", "2", "s/", "none/deep"]);
    assert!(ran.status.code() != Some(0) && ran.stderr_text().contains("create DEST"), "{}", ran.report());
    assert!(!work.join("none").exists() && before == inside());
}

#[test]
fn an_interrupted_trial_leaves_nothing() {
    let work = Work::new();
    run(sh(&work, "mkdir s d && for f in $(seq 40); do head -c 3000000 /dev/urandom >s/f$f; done")).expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["survey", "--trial-seconds", "60", "-f", "2", "-r", "-a", "-p", "2", "s/", "d"]);
    // Slow enough to be observed.
    fake_rsync(&mut command, &work, "sleep 1; exec REAL \"$@\"");
    let mut running = start(command);
    let copies = |_: &Started| fs::read_dir(work.join("d")).unwrap().count() > 0;
    running.wait_for("a folder of the trial", Duration::from_secs(20), copies);
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::INT);
    let ran = running.finish(Duration::from_secs(20));
    assert_eq!(ran.status.code(), Some(20), "{}", ran.report());
    assert_eq!(fs::read_dir(work.join("d")).unwrap().count(), 0, "{}", ran.report());
}

#[test]
fn what_does_not_go_with_a_survey_is_refused() {
    let work = Work::new();
    tree(&work);
    for (words, part) in [
        (&["survey", "--trial-seconds", "3", "s/"][..], "without DEST"),
        (&["survey", "--trial-seconds", "0", "s/", "d"], "--trial-seconds"),
        (&["survey", "--report", "r.csv", "s/"], "--report FILE.csv"),
        (&["survey", "--report", "nowhere/r.html", "s/"], "nowhere/r.html"),
        (&["survey", "--keep", "s/", "d"], "--keep"),
        (&["survey", "--delete-limit", "3", "-r", "-a --delete", "s/", "d"], "--delete-limit"),
        (&["survey", "-r", "-a --files-from=x", "s/", "d"], "--files-from"),
        (&["survey", "rsync", "--version"], "cannot be used with this rsync command"),
        (&["--json", "s/", "d"], "--json without"),
        (&["--trial-seconds", "3", "s/", "d"], "--trial-seconds without"),
        (&["survey", "-m", "many-to-one", "--hosts", "h", "--trial-seconds", "3", "s/", "d"], "source hosts"),
    ] {
        let mut command = multi_sync(&work);
        command.args(words);
        let ran = run(command).expect_code(1);
        assert!(ran.stderr_text().contains(part), "{words:?}: {}", ran.report());
    }
    assert!(!work.join("d").exists());
}
