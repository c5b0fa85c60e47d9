//! `--events`: runs of every kind write lines that match the schema, each launch that starts also ends, and readers have no influence on the run.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::command::{Signal, multi_sync, run, run_within, sh, start};
use crate::support::events::{check, of, read, summary};
use crate::support::twin::path_to_fake;
use crate::support::work::{Work, set_mode};
use multi_sync::harness::treegen::{self, Sizes, Spec};
use multi_sync::job::Job;

const SOON: Duration = Duration::from_secs(40);

fn tree(work: &Work, entries: u64) {
    treegen::generate(&work.join("src"), &Spec::bench(entries, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
}

/// A copy of the tree that writes events.
fn copy(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "30", "--events", "events"]).args(words);
    command
}

/// Replaces rsync by a script that is slow, or ends in another way.
fn with_rsync(work: &Work, command: &mut Command, script: &str) {
    command.env("PATH", path_to_fake(work, &format!("#!/bin/sh\n{script}\n")));
}

fn code(line: &Value) -> u64 {
    line["code"].as_u64().unwrap()
}

#[test]
fn a_copy_that_deletes_and_one_that_fails() {
    let work = Work::new();
    tree(&work, 200);
    let odd = std::ffi::OsStr::from_bytes(b"src/d0/\xff</script>");
    work.file(odd, "x");
    work.dir("src/full");
    work.file("D/d1/extra", "");
    let ran = run(copy(&work, &["--progress-interval", "1", "-r", "-a --delete", "src/", "D"])).expect_code(0);
    let lines = read(&work.join("events"));
    let end = summary(&lines);
    assert_eq!((code(end), &end["reason"], &end["failed"]), (0, &json!("success"), &json!(0)), "{}", ran.report());
    assert_eq!((&lines[0]["type"], &lines[1]["type"]), (&json!("start"), &json!("plan")));
    assert_eq!(lines[0]["arguments"].as_array().unwrap().last(), Some(&json!("D")));
    let found = &of(&lines, "scan")[0]["entries"];
    assert_eq!((found, found), (&end["totals"]["found_entries"], &end["totals"]["done_entries"]));
    assert_eq!(of(&lines, "delete_phase").len(), 1);
    assert_eq!(of(&lines, "progress").last().unwrap()["percent"], 100);
    let ends = of(&lines, "launch_end");
    assert!(ends.iter().all(|end| end["result"] == "done" && end["slot"].as_u64().unwrap() < 2));
    assert_eq!(end["totals"]["launches"], ends.len());
    let copied: u64 = ends.iter().map(|end| end["figures"]["transferred"].as_u64().unwrap()).sum();
    assert_eq!(end["totals"]["figures"]["transferred"], copied);
    // Without --force, an entry that is in the way is not deleted.
    fs::remove_dir(work.join("src/full")).unwrap();
    work.file("src/full", "a file");
    work.file("D/full/of/something", "");
    fs::rename(work.join("src/d1"), work.join("moved")).unwrap();
    run(copy(&work, &["-r", "-a", "src/", "src/d1", "D"])).expect_code(23);
    let lines = read(&work.join("events"));
    assert_eq!(code(summary(&lines)), 23);
    let failed = of(&lines, "failed");
    assert!(failed.iter().any(|line| line["kind"] == "source" && line["name"] == "src/d1"), "{failed:?}");
    let said = |line: &&&Value| line["kind"] == "rsync" && line["text"].as_str().unwrap().contains("full");
    assert!(failed.iter().any(|line| said(&line)), "{failed:?}");
    assert!(of(&lines, "launch_end").iter().any(|end| end["result"] == "partial" && code(end) == 23));
    // More would be deleted than is allowed.
    fs::remove_dir_all(work.join("D/full")).unwrap();
    ["D/more 1", "D/more 2"].iter().for_each(|name| drop(work.file(name, "")));
    run(copy(&work, &["--delete-limit", "1", "-r", "-a --delete", "src/", "D"])).expect_code(25);
    let lines = read(&work.join("events"));
    assert_eq!(code(summary(&lines)), 25);
    assert!(of(&lines, "failed").iter().any(|line| line["kind"] == "not_deleted"), "{lines:?}");
    assert!(work.join("D/more 2").exists());
}

#[test]
fn what_vanishes_what_is_tried_again_and_what_would_still_be_done() {
    let work = Work::new();
    tree(&work, 150);
    // The first launch that copies breaks off, and a file vanishes.
    let script = "case \" $* \" in *' --no-implied-dirs '*)\n\
                  mkdir WORK/once 2>/dev/null && exit 12\nREAL \"$@\"; exit 24 ;;\nesac\nexec REAL \"$@\"";
    let script = script.replace("WORK", work.path().to_str().unwrap());
    let mut command = copy(&work, &["-r", "-a", "src/", "D"]);
    with_rsync(&work, &mut command, &script);
    run_within(command, SOON).expect_code(24);
    let lines = read(&work.join("events"));
    let end = summary(&lines);
    assert_eq!((code(end), &end["totals"]["retried"]), (24, &json!(1)));
    assert_eq!(of(&lines, "retry")[0]["code"], 12);
    let results: Vec<_> = of(&lines, "launch_end").iter().map(|end| end["result"].clone()).collect();
    assert_eq!(results.iter().filter(|result| **result == "again").count(), 1, "{results:?}");
    assert!(results.contains(&json!("partial")));
    // A copy that is verified, and one that is only verified.
    run(copy(&work, &["--verify", "-r", "-a", "src/", "D"])).expect_code(0);
    let lines = read(&work.join("events"));
    assert_eq!(summary(&lines)["differences"], 0);
    assert!(of(&lines, "launch_end").iter().any(|end| end["part"] == "verify"));
    work.file("D/extra of all", "");
    work.file(std::ffi::OsStr::from_bytes(b"src/\xfe"), "new");
    run(copy(&work, &["--verify-only", "-r", "-a --delete", "src/", "D"])).expect_code(23);
    let lines = read(&work.join("events"));
    let count = of(&lines, "difference").len();
    assert_eq!((code(summary(&lines)), &summary(&lines)["differences"]), (23, &json!(count)));
    let differences: Vec<_> =
        of(&lines, "difference").iter().map(|line| (line["change"].clone(), line["name"].clone())).collect();
    assert!(differences.contains(&(json!("*deleting"), json!("extra of all"))), "{differences:?}");
    assert!(differences.contains(&(json!(">f+++++++++"), json!({"bytes": "/g=="}))), "{differences:?}");
}

#[test]
fn a_run_that_is_interrupted_and_goes_on() {
    let work = Work::new();
    tree(&work, 200);
    work.dir("runs");
    let slow = "case \" $* \" in *' --no-implied-dirs '*) sleep 0.2 ;; esac\nexec REAL \"$@\"";
    let mut command = copy(&work, &["-b", "runs", "-r", "-a", "src/", "D"]);
    with_rsync(&work, &mut command, slow);
    let mut started = start(command);
    let done = || fs::read_to_string(work.join("events")).unwrap_or_default().matches("\"result\":\"done\"").count();
    started.wait_for("launches that are done", SOON, |_| done() > 2);
    started.signal(Signal::INT);
    started.finish(SOON).expect_code(20);
    let lines = read(&work.join("events"));
    let end = summary(&lines);
    assert_eq!((code(end), &end["interrupted"]), (20, &json!(true)));
    let advice = end["advice"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(advice.starts_with("to go on: "), "{advice}");
    let run_directory = end["run_directory"].as_str().unwrap().to_owned();
    // If multi-sync is killed, its last line may be cut off.
    let mut text = fs::read(work.join("events")).unwrap();
    text.truncate(text.len() - 10);
    fs::write(work.join("events"), &text).unwrap();
    let mut again = multi_sync(&work);
    again.args(["resume", &run_directory]);
    run(again).expect_code(0);
    let text = fs::read(work.join("events")).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let cut = lines.iter().position(|line| serde_json::from_slice::<Value>(line).is_err()).unwrap();
    let (before, after) = (check(&lines[..cut].concat()), check(&lines[cut + 1..].concat()));
    assert_eq!((&after[0]["type"], &after[0]["resumes"]), (&json!("start"), &json!(true)));
    assert_eq!((code(summary(&after)), &of(&after, "scan")[0]["seconds"]), (0, &Value::Null));
    assert!(before.len() > 5);
}

#[test]
fn one_rsync_and_a_run_that_is_refused() {
    let work = Work::new();
    tree(&work, 60);
    work.file("D/full", "in the way");
    work.file("src/full/of", "something");
    fs::write(work.join("D/full"), "x").unwrap();
    run(copy(&work, &["-r", "-a --delete --max-delete=5 -v", "src/", "D"])).expect_code(0);
    let lines = read(&work.join("events"));
    assert!(of(&lines, "single")[0]["reason"].as_str().unwrap().contains("max-delete"), "{lines:?}");
    assert!(of(&lines, "launch_end").iter().any(|end| end["kind"] == "everything"));
    assert_eq!(code(summary(&lines)), 0);
    // Before an rsync command: the rsync that was typed would write no events.
    let mut prefixed = copy(&work, &["rsync", "-a", "--delete", "--max-delete=5", "src/", "D"]);
    prefixed.env("COLUMNS", "80");
    run(prefixed).expect_code(0);
    assert_eq!(of(&read(&work.join("events")), "single").len(), 1);
    let ran = run(copy(&work, &["rsync", "--version"])).expect_code(1);
    assert!(ran.stderr_text().contains("--events cannot be used with this rsync command"), "{}", ran.report());
    // Refused before the run began.
    run(copy(&work, &["-r", "-t", "src/", "D"])).expect_code(1);
    let lines = read(&work.join("events"));
    assert_eq!((lines.len(), code(&lines[0])), (1, 1), "{lines:?}");
    assert!(lines[0]["failure"].is_string());
}

#[test]
fn a_host_that_is_lost_and_comes_back() {
    let work = Work::new();
    tree(&work, 400);
    // On one of the hosts, the first launch that copies ends with ssh's code 255, which is reported as 254 if an rsync ended with it.
    let script = "#!/bin/sh\nfor word; do case $word in lame|sound) export LAB_HOST=$word ;; esac; done\nexec sh -s\n";
    work.file("ssh", script);
    set_mode(&work.join("ssh"), 0o755);
    let ssh = work.join("ssh");
    let words = ["-m", "many-to-one", "--hosts", "sound,lame", "--ssh", ssh.to_str().unwrap()];
    let slow = "case \" $* \" in *' --no-implied-dirs '*) sleep 0.3\n\
                [ \"$LAB_HOST\" = lame ] && mkdir WORK/lost 2>/dev/null && exit 255 ;;\nesac\nexec REAL \"$@\"";
    let mut command = copy(&work, &words);
    command.args(["-r", "-a", "src/", "D"]);
    with_rsync(&work, &mut command, &slow.replace("WORK", work.path().to_str().unwrap()));
    let ran = run_within(command, SOON).expect_code(0);
    let lines = read(&work.join("events"));
    let end = summary(&lines);
    assert_eq!(code(end), 0, "{}", ran.report());
    assert_eq!(of(&lines, "plan")[0]["slots"], json!(["sound", "lame"]));
    let down = of(&lines, "host_down");
    assert_eq!((down.len(), &down[0]["host"], &down[0]["code"]), (1, &json!("lame"), &json!(255)), "{}", ran.report());
    assert_eq!(of(&lines, "host_up").len(), 1, "{}", ran.report());
    let lost = of(&lines, "launch_end").into_iter().find(|end| end["result"] == "again").unwrap();
    assert_eq!((&lost["host"], code(lost)), (&json!("lame"), 254));
    let of_hosts: Vec<_> = end["hosts"].as_array().unwrap().iter().map(|host| host["host"].clone()).collect();
    assert_eq!(of_hosts, [json!("lame"), json!("sound")]);
}

#[test]
fn standard_output_has_nothing_else_and_other_streams_are_kept_apart() {
    let work = Work::new();
    tree(&work, 60);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "20", "--events", "-", "--stats", "-r", "-av", "src/", "D"]);
    let ran = run(command).expect_code(0);
    assert_eq!(code(summary(&check(&ran.stdout))), 0);
    assert!(ran.stderr_text().contains("sent ") && ran.stderr_text().contains("d1/"), "{}", ran.report());
    fs::remove_dir_all(work.join("D")).unwrap();
    let shell = |script: &str| {
        let script = script.replace("MULTI_SYNC", &format!("'{}' -p 2 -f 20", env!("CARGO_BIN_EXE_multi-sync")));
        run_within(sh(&work, &script), SOON)
    };
    // Through a file descriptor, to a reader that does not read, to a full disk, and to a closed pipe.
    shell("MULTI_SYNC --events fd:7 -r -a src/ D 7>events").expect_code(0);
    assert_eq!(code(summary(&read(&work.join("events")))), 0);
    let full = shell("MULTI_SYNC --events /dev/full -r -a src/ D2").expect_code(0);
    assert!(full.stderr_text().contains("No space left on device"), "{}", full.report());
    let gone = shell("(MULTI_SYNC --events - -r -a src/ D3; echo $? >code) | true; cat code");
    assert_eq!(gone.stdout_text(), "0\n", "{}", gone.report());
    assert!(gone.stderr_text().contains("Broken pipe"), "{}", gone.report());
    // Refused: nothing was copied.
    for (script, why) in [
        ("MULTI_SYNC --events fd:9 -r -a src/ N", "no such descriptor"),
        ("MULTI_SYNC --events fd:2 -r -a src/ N", "standard error"),
        ("MULTI_SYNC --events fd:8 -r -a src/ N 8</dev/null", "not open for writing"),
        ("MULTI_SYNC --events /dev/stdout -r -a src/ N | cat; false", "could not be told apart from them"),
        ("mkfifo fifo; MULTI_SYNC --events fifo -r -a src/ N", "nobody reads this FIFO"),
        ("MULTI_SYNC --events none/events -r -a src/ N", "No such file"),
        ("MULTI_SYNC --events a.html --report a.html -r -a src/ N", "one file"),
        ("mkdir -p gone/x; MULTI_SYNC --events gone/x/e -r '-a --delete' src/ gone", "it lies in the destination"),
        ("mkdir -p gone; MULTI_SYNC --report gone/r.html rsync -a --delete src/ gone/", "it lies in the destination"),
        ("MULTI_SYNC --progress-interval 5 -r -a src/ N", "--progress-interval without"),
        ("MULTI_SYNC --events e --status x", "cannot be used with --status"),
    ] {
        let ran = shell(script);
        assert!(ran.status.code() != Some(0) && ran.stderr_text().contains(why), "{script}: {}", ran.report());
    }
    assert!(!work.join("N").exists());
}

#[test]
fn a_program_has_them_too_and_the_command_goes_on_with_them() {
    let work = Work::new();
    tree(&work, 100);
    work.dir("runs");
    let job = || {
        Job::builder()
            .source("src/")
            .destination("D")
            .rsync_options(["-a"])
            .current_dir(work.path())
            .run_parent("runs")
            .processes(2)
            .bucket_entries(20)
            .events("events")
            .report("report.json")
    };
    // An entry that cannot be copied.
    work.file("src/d1/in the way", "");
    work.file("D/d1/in the way/full", "");
    let outcome = job().build().unwrap().run(|_| {}).unwrap();
    assert_eq!(outcome.exit_code(), 23, "{outcome:?}");
    fs::remove_dir_all(work.join("D/d1/in the way")).unwrap();
    let mut retry = multi_sync(&work);
    retry.arg("retry").arg(outcome.run_directory().unwrap());
    run(retry).expect_code(0);
    let lines = read(&work.join("events"));
    let codes: Vec<u64> = of(&lines, "summary").into_iter().map(code).collect();
    assert_eq!(codes, [23, 0]);
    let report: Value = serde_json::from_slice(&fs::read(work.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["summary"]["code"], &report["failed"]["count"]), (&json!(0), &json!(0)));
}
