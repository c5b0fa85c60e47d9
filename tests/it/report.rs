//! `--report`: the report of a run contains the same as its events, needs no network, and has a bounded size.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support;
use crate::support::command::{command, multi_sync, run, run_within, sh};
use crate::support::daemon::find_program;
use crate::support::work::Work;
use multi_sync::harness::treegen::{self, Sizes, Spec};

#[test]
fn the_report_of_a_run_is_that_of_its_events() {
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(200, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
    // Names that would break an HTML page.
    work.file(std::ffi::OsStr::from_bytes(b"src/d1/\xff<b>&\"'"), "x");
    work.file("src/</script><img src=x onerror=alert(1)>", "x");
    work.file("D/</script><img src=x onerror=alert(1)>/full", "x");
    for form in ["html", "json", "csv"] {
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "20", "--events", "events", "--report", &format!("run.{form}"), "-r", "-a"]);
        copy.args(["src/", "D"]);
        run(copy).expect_code(23);
        for script in
            ["MULTI_SYNC report events again.FORM", "cat events | MULTI_SYNC --report-of - --report=again.FORM"]
        {
            let script = script.replace("MULTI_SYNC", env!("CARGO_BIN_EXE_multi-sync")).replace("FORM", form);
            run(sh(&work, &script)).expect_code(0);
            let file = |name: &str| fs::read(work.join(format!("{name}.{form}"))).unwrap();
            assert!(file("run") == file("again"), "{form}: the report of the run is not that of its events");
        }
    }
    let page = String::from_utf8(fs::read(work.join("run.html")).unwrap()).unwrap();
    assert!(!page.contains("<img") && page.matches("</script>").count() == 3, "a name is part of the page");
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    assert!(
        !page.contains("src=\"http") && !page.contains("sourceMappingURL"),
        "the page wants something from elsewhere"
    );
    assert!(page.contains("exit code 23"));
    let data: Value = serde_json::from_slice(&fs::read(work.join("run.json")).unwrap()).unwrap();
    let launches = data["launches"].as_u64().unwrap();
    assert_eq!((data["bars"].as_array().unwrap().len() as u64, data["undrawn"].as_u64()), (launches, Some(0)));
    // Only of the last run, because another one may have divided the tree in another way.
    let ended = fs::read_to_string(work.join("events")).unwrap().matches("\"type\":\"launch_end\"").count();
    assert_eq!(fs::read_to_string(work.join("run.csv")).unwrap().lines().count(), ended + 1);
    let left: Vec<_> = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.as_bytes().starts_with(b".multi-sync")), "{left:?}");
}

#[test]
fn what_is_no_report_or_no_events_is_refused_and_a_report_that_cannot_be_written_changes_nothing() {
    let work = Work::new();
    work.file("src/f", "x");
    work.file("other.txt", "not events\n");
    work.file("empty", "");
    work.dir("dir.html");
    let refused = |words: &[&str], why: &str| {
        let mut command = multi_sync(&work);
        command.args(words);
        if words[0] != "report" {
            command.args(["-r", "-a", "src/", "N"]);
        }
        let ran = run(command);
        assert!(ran.status.code() != Some(0) && ran.stderr_text().contains(why), "{words:?}: {}", ran.report());
    };
    refused(&["--report", "r.pdf"], ".html, .json or .csv");
    refused(&["--report", "none/r.html"], "No such file");
    refused(&["--report", "dir.html"], "not a regular file");
    refused(&["report", "other.txt", "r.html"], "no events of a run");
    refused(&["report", "empty", "r.html"], "no events of a run");
    refused(&["report", "none", "r.html"], "No such file");
    refused(&["report", "empty"], "two names are needed");
    assert!(!work.join("N").exists() && !work.join("r.html").exists());
    // This directory is removed before the run ends.
    work.dir("gone");
    let script = format!(
        "'{}' --report gone/r.html --rsync -a --events - src/ D | {{ read line; rm -r gone; cat >/dev/null; }}",
        env!("CARGO_BIN_EXE_multi-sync")
    );
    let ran = run(sh(&work, &script));
    assert!(ran.stderr_text().contains("cannot write the report"), "{}", ran.report());
    assert!(work.join("D/f").exists());
}

/// The events of a run with many launches, one of which failed and one of which has no end.
fn many(launches: u64) -> String {
    let mut text = String::new();
    let time = |at: u64| format!("2026-11-29T{:02}:{:02}:{:02}.000Z", at / 3600, at / 60 % 60, at % 60);
    let mut line = |at: u64, mut fields: Value| {
        fields["v"] = json!(1);
        fields["time"] = json!(time(at));
        let _ = writeln!(text, "{fields}");
    };
    line(0, json!({"type": "from the future", "field": [1]}));
    for number in 0..launches {
        let (at, slot) = (number / 4, number % 4);
        let launch = json!({
            "type": "launch_start", "part": "copy", "launch": number, "slot": slot, "kind": "copy", "buckets": 1, "units": 1,
            "first": format!("a/{}/b", number % 50), "below": format!("a/{}", number % 50), "entries": 10, "bytes": 1000,
            "waits": false,
        });
        line(at, launch.clone());
        let mut end = launch;
        let result = if number == 777 { "failed" } else { "done" };
        for (name, value) in [
            ("type", json!("launch_end")),
            ("result", json!(result)),
            ("code", json!(0)),
            ("seconds", json!(0.5)),
            ("moved", json!(0)),
        ] {
            end[name] = value;
        }
        if number + 1 < launches {
            line(at + 1, end);
        }
    }
    text
}

#[test]
fn a_report_of_many_launches_is_no_larger() {
    let work = Work::new();
    work.file("events", many(12_000));
    for form in ["html", "json"] {
        let mut report = multi_sync(&work);
        report.args(["report", "events", &format!("r.{form}")]);
        run(report).expect_code(0);
    }
    assert!(fs::metadata(work.join("r.html")).unwrap().len() < 2_000_000);
    let data: Value = serde_json::from_slice(&fs::read(work.join("r.json")).unwrap()).unwrap();
    let bars = data["bars"].as_array().unwrap();
    let drawn: u64 = bars.iter().map(|bar| bar["launches"].as_u64().unwrap()).sum();
    assert!(bars.len() < 5000 && drawn == 12_000, "{} bars for {drawn} launches", bars.len());
    let of = |result: &str| bars.iter().filter(|bar| bar["result"] == result).count();
    assert_eq!((of("failed"), of("unfinished")), (1, 1));
    assert_eq!((&data["launches"], &data["summary"], &data["unread"]), (&json!(11_999), &Value::Null, &json!(0)));
    assert_eq!(data["directories"].as_array().unwrap().len(), 20);
    assert!(fs::read_to_string(work.join("r.html")).unwrap().contains("it was killed, or is still running"));
    // The page is drawn, if there is a browser.
    let Some(browser) = ["chromium", "google-chrome"].iter().find(|name| find_program(name).is_ok()) else {
        return support::skip(&support::this_test(), "there is no Chromium");
    };
    let mut look = command(&work, browser);
    look.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]);
    look.arg(format!("--user-data-dir={}", work.join("browser").display()));
    let ran = run_within(
        {
            look.arg(format!("file://{}", work.join("r.html").display()));
            look
        },
        Duration::from_secs(60),
    );
    let page = ran.stdout_text();
    let drawn = |id: &str| page.contains(&format!("<canvas id=\"{id}\"")) && page.contains("style=\"display: block;");
    assert!(drawn("timeline") && drawn("lengths"), "{}", ran.report());
}
