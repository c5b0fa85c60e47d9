//! Reporting a run to others than its user: hooks, metrics in a file and over HTTP, and the service manager.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::command::{Run, Signal, multi_sync, run, sh, start};
use crate::support::twin::temporary_files;
use crate::support::work::Work;

/// Reached only if the test fails.
const SOON: Duration = Duration::from_secs(60);
/// A hook that records its variables and its input.
const HOOK: &str = "env | grep ^MULTI_SYNC_ | sort >env; cat >json; echo told";

fn some(work: &Work) {
    for number in 0..12 {
        work.file(format!("src/d{}/{number}", number % 3), "some");
    }
}

/// Files whose copy takes longer than any test, and that need no space.
fn slow(work: &Work) {
    for name in ["src/a/1", "src/b/2"] {
        File::create(work.file(name, "")).unwrap().set_len(64 << 30).unwrap();
    }
}

fn with(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(words);
    command
}

fn told(work: &Work, words: &[&str]) -> Run {
    run(with(work, words))
}

#[track_caller]
fn says(ran: Run, text: &str) {
    let said = ran.stderr_text().contains(text);
    ran.expect(said, text);
}

fn variable(work: &Work, name: &str) -> Option<String> {
    let all = fs::read_to_string(work.join("env")).unwrap();
    let found = all.lines().find_map(|line| line.strip_prefix(&format!("MULTI_SYNC_{name}=")));
    found.map(str::to_owned)
}

fn json(work: &Work) -> serde_json::Value {
    serde_json::from_slice(&fs::read(work.join("json")).unwrap()).unwrap()
}

#[test]
fn a_hook_hears_how_a_run_ended() {
    let work = Work::new();
    some(&work);
    let ran = told(&work, &["-p", "2", "-f", "3", "--on-end", HOOK, "--on-failure", "touch failed", "src/", "dest"]);
    let ran = ran.expect_code(0);
    let as_wanted = ran.stderr_text() == "told\n" && ran.stdout.is_empty();
    ran.expect(as_wanted, "what a hook prints, on standard error");
    assert_eq!(variable(&work, "EXIT_CODE").as_deref(), Some("0"));
    assert_eq!(variable(&work, "RESULT").as_deref(), Some("success"));
    assert_eq!(variable(&work, "ENTRIES").as_deref(), Some("16"));
    assert_eq!(variable(&work, "DESTINATION").as_deref(), Some("dest"));
    assert_eq!(variable(&work, "RUN"), None);
    let json = json(&work);
    assert_eq!((&json["code"], &json["totals"]["done_entries"]), (&0.into(), &16.into()), "{json}");
    assert_eq!(json["sources"], serde_json::json!(["src/"]));
    assert!(!work.join("failed").exists());
}

/// Also for a run that could not begin, that one rsync does, and that is resumed.
#[test]
fn a_hook_hears_of_every_failure() {
    let work = Work::new();
    some(&work);
    let ran = told(&work, &["--on-failure", HOOK, "--on-end", "echo last", "gone/", "none/dest/x"]);
    assert_ne!(ran.status.code(), Some(0));
    assert_eq!(variable(&work, "EXIT_CODE"), ran.status.code().map(|code| code.to_string()));
    assert_eq!(variable(&work, "RESULT").as_deref(), Some("failed"));
    assert!(ran.stderr_text().ends_with("told\nlast\n"), "{}", ran.report());

    // `-K` is left to one rsync.
    let words = ["-p", "2", "--on-failure", HOOK, "rsync", "-aK", "src/", "gone", "one"];
    let ran = told(&work, &words).expect_code(23);
    assert!(ran.stderr_text().contains("told\n"), "{}", ran.report());
    assert_eq!(variable(&work, "EXIT_CODE").as_deref(), Some("23"));
    assert!(work.join("one/d0").exists());

    // A resumed run remembers its hook, unless another one is given.
    let dir = variable(&work, "RUN");
    let words = ["-p", "2", "-f", "3", "-b", "runs", "--on-failure", HOOK, "src/", "gone", "many"];
    fs::create_dir(work.join("runs")).unwrap();
    told(&work, &words).expect_code(23);
    let run_dir = variable(&work, "RUN").expect("a run directory is left");
    assert!(variable(&work, "ADVICE").is_some_and(|text| !text.is_empty()), "{dir:?}");
    fs::remove_file(work.join("env")).unwrap();
    told(&work, &["--retry-failed", &run_dir]).expect_code(23);
    assert_eq!(variable(&work, "EXIT_CODE").as_deref(), Some("23"));
    fs::remove_file(work.join("env")).unwrap();
    told(&work, &["--retry-failed", &run_dir, "--on-failure", ""]).expect_code(23);
    assert!(!work.join("env").exists());
}

#[test]
fn a_hook_that_fails_or_hangs_changes_nothing() {
    let work = Work::new();
    some(&work);
    let since = Instant::now();
    let hangs = "trap '' TERM; sleep 1000 & sleep 1000";
    let words = ["--hook-seconds", "1", "--on-end", hangs, "src/", "dest"];
    let ran = told(&work, &words).expect_code(0);
    says(ran, "the command of --on-end was ended after 1 s; the exit code stays the same");
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    let ran = told(&work, &["--on-end", "exit 7", "src/", "dest"]).expect_code(0);
    says(ran, "the command of --on-end ended with code 7");
}

#[test]
fn a_hook_runs_after_an_interrupt_and_a_signal_ends_it() {
    let work = Work::new();
    slow(&work);
    let hook = format!("{HOOK}; touch begun; sleep 1000");
    let mut started = start(with(&work, &["-p", "2", "-f", "1", "--on-end", &hook, "src/", "dest"]));
    started.wait_for("files", SOON, |_| !temporary_files(&work.join("dest")).is_empty());
    started.signal(Signal::INT);
    started.wait_for("the hook", SOON, |_| work.join("begun").exists());
    assert_eq!(variable(&work, "RESULT").as_deref(), Some("interrupted"));
    assert_eq!(variable(&work, "EXIT_CODE").as_deref(), Some("20"));
    started.signal(Signal::TERM);
    let ran = started.finish(SOON).expect_code(20);
    says(ran, "was ended by a signal");
}

/// A dry run must not look like the nightly mirror.
#[test]
fn nobody_is_told_of_a_dry_run() {
    let work = Work::new();
    some(&work);
    for words in [&["-d", "src/", "dest"][..], &["-p", "2", "rsync", "-an", "src/", "dest"]] {
        let ran = told(&work, &[&["--on-end", HOOK, "--metrics", "m.prom"], words].concat()).expect_code(0);
        says(ran, "--on-end and other hooks and metrics are not used");
        assert!(!work.join("json").exists() && !work.join("m.prom").exists());
    }
}

#[test]
fn what_cannot_be_had_is_refused_before_anything_is_written() {
    let work = Work::new();
    some(&work);
    fs::create_dir(work.join("d.prom")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (words, said) in [
        (&["--metrics", "m.txt", "src/", "dest"][..], "does not end in .prom"),
        (&["--metrics", "none/m.prom", "src/", "dest"], "cannot write"),
        (&["--metrics", "d.prom", "src/", "dest"], "is not a file"),
        (&["--metrics-listen", ":9", "src/", "dest"], "not an address"),
        (&["--metrics-listen", &port, "src/", "dest"], "cannot listen"),
        (&["--hook-seconds", "3", "src/", "dest"], "without --on-end"),
        (&["--on-end", "true", "rsync", "--version"], "--on-end cannot be used with this rsync command"),
        (&["--on-end", "true", "--status", "x"], "--on-end cannot be used"),
    ] {
        let ran = told(&work, words).expect_code(1);
        says(ran, said);
        assert!(!work.join("dest").exists(), "{words:?}");
    }
    work.dir("runs");
    told(&work, &["-k", "-b", "runs", "-p", "2", "-f", "1", "src/", "dest"]).expect_code(0);
    let kept = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    says(told(&work, &["resume", "--hook-seconds", "3", kept.to_str().unwrap()]).expect_code(1), "without --on-end");
}

/// The grammar of Prometheus' text format (0.0.4), as far as this program uses it. Returns the samples.
#[track_caller]
fn samples(text: &str) -> Vec<(String, f64)> {
    let name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    assert!(text.ends_with('\n'));
    let mut samples = Vec::new();
    let mut seen = BTreeSet::new();
    let mut family: Option<(&str, &str)> = None;
    let mut helped = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (of, words) = rest.split_once(' ').unwrap();
            assert!(name(of) && !words.is_empty() && seen.insert(of.to_owned()), "{line}");
            helped = Some(of);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped, Some(of), "{line}");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert_eq!(of.ends_with("_total"), kind == "counter", "{line}");
            family = Some((of, kind));
        } else {
            let (of, rest) = line.split_once('{').unwrap();
            let (name_of_family, kind) = family.unwrap();
            let parts: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let part = of.strip_prefix(name_of_family).unwrap_or("of another family");
            assert!(parts.contains(&part), "{line}");
            let (labels, value) = rest.rsplit_once("} ").unwrap();
            let mut rest = labels;
            while !rest.is_empty() {
                let (label, value) = rest.split_once("=\"").unwrap();
                assert!(name(label), "{line}");
                let mut escaped = false;
                let end = value.bytes().position(|byte| {
                    let ends = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    ends
                });
                rest = &value[end.expect("a value ends") + 1..];
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "twice: {line}");
            samples.push((format!("{of}{{{labels}}}"), value.parse().unwrap()));
        }
    }
    samples
}

#[track_caller]
fn sample(text: &str, begins: &str) -> f64 {
    let all = samples(text);
    let found = all.iter().find(|(name, _)| name.starts_with(begins));
    found.unwrap_or_else(|| panic!("no {begins} in {text}")).1
}

#[test]
fn the_file_of_metrics_is_as_the_collector_wants_it() {
    let work = Work::new();
    let source = "src \"o\\d\"\n/";
    work.file(format!("{source}f"), "some");
    told(&work, &["--metrics", "m.prom", "--", source, "dest"]).expect_code(0);
    let file = work.join("m.prom");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(sample(&text, "multi_sync_exit_code{"), 0.0);
    assert_eq!(sample(&text, "multi_sync_running{"), 0.0);
    assert_eq!(sample(&text, "multi_sync_done_entries{"), 2.0);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o444, 0o444, "the collector is another user");
    assert!(text.contains("multi_sync_launch_duration_seconds_bucket{") && text.contains("le=\"+Inf\"} 1\n"), "{text}");
    let success = sample(&text, "multi_sync_last_success_time_seconds{");
    assert!(success > 1.7e9, "{success}");

    // After a failure the time of the last success stays, and no other file is left.
    fs::write(work.join("in-the-way"), "").unwrap();
    let ran = told(&work, &["--metrics", "m.prom", "--", source, "in-the-way/dest"]);
    assert_ne!(ran.status.code(), Some(0));
    let other = fs::read_to_string(&file).unwrap();
    assert!(!other.contains("last_success"), "of another pair: {other}");
    told(&work, &["--metrics", "m.prom", "--", source, "dest"]).expect_code(0);
    let earlier = sample(&fs::read_to_string(&file).unwrap(), "multi_sync_last_success_time_seconds{");
    // An error that rsync reports is a failure as well.
    run(sh(&work, "mkdir -p odd/f && touch odd/f/x odd/g && mkdir -p dest2/g/full/x")).expect_code(0);
    for many in [&["-p", "1"][..], &["-p", "3", "-f", "1"]] {
        let words = [many, &["-r", "-a", "--metrics", "f.prom", "--", "odd/", "dest2"]].concat();
        let ran = told(&work, &words).expect_code(23);
        let failures = sample(&fs::read_to_string(work.join("f.prom")).unwrap(), "multi_sync_failures_total{");
        assert!(failures >= 1.0, "{failures}: {}", ran.report());
    }
    fs::remove_dir_all(work.join(source)).unwrap();
    let ran = told(&work, &["--metrics", "m.prom", "--", source, "dest"]);
    assert_ne!(ran.status.code(), Some(0));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(sample(&text, "multi_sync_last_success_time_seconds{"), earlier);
    assert_ne!(sample(&text, "multi_sync_exit_code{"), 0.0);
    let names: Vec<_> = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".multi-sync-")), "{names:?}");
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn prometheus_and_others_get_an_answer() {
    let work = Work::new();
    slow(&work);
    let mut started = start(with(&work, &["-p", "2", "-f", "1", "--metrics-listen", "0", "src/", "dest"]));
    started.wait_for("an address", SOON, |started| started.stderr_so_far().ends_with(b"/metrics\n"));
    let said = String::from_utf8(started.stderr_so_far().to_vec()).unwrap();
    let port = said.split(&[':', '/']).filter_map(|part| part.parse().ok()).next_back().unwrap();
    started.wait_for("files", SOON, |_| !temporary_files(&work.join("dest")).is_empty());

    let answer = ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(sample(body, "multi_sync_running{"), 1.0);
    let head_only = ask(port, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head_only.starts_with("HTTP/1.1 200") && head_only.ends_with("\r\n\r\n"), "{head_only}");
    assert!(ask(port, "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").starts_with("HTTP/1.1 405"));
    assert!(ask(port, "GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask(port, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    // A client that sends nothing does not delay others for long, and gets no answer.
    let silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(ask(port, "GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200"));
    started.signal(Signal::INT);
    started.finish(SOON).expect_code(20);
    drop(silent);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the address is free again");
}

#[test]
fn the_service_manager_is_told() {
    let work = Work::new();
    slow(&work);
    let path = work.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let mut command = with(&work, &["-p", "2", "-f", "1", "src/", "dest"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000");
    let started = start(command);
    let hear = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("something is said");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut heard = Vec::new();
    let mut lives = 0;
    while lives < 3 || !heard.iter().any(|line: &String| line.starts_with("STATUS=") && line.contains("entries")) {
        let line = hear();
        lives += usize::from(line == "WATCHDOG=1");
        heard.push(line);
    }
    assert_eq!(heard.iter().filter(|line| *line == "READY=1").count(), 1, "{heard:?}");
    started.signal(Signal::TERM);
    while hear() != "STOPPING=1" {}
    let ran = started.finish(SOON).expect_code(20);
    let silent = !ran.stderr_text().contains("entries  ");
    ran.expect(silent, "what the manager is told is not printed");
}

/// `multi-sync rsync ...` is replaced by rsync: the unit counts as started nevertheless, and its watchdog is off.
#[test]
fn the_service_manager_is_told_of_an_rsync_in_our_place() {
    let work = Work::new();
    some(&work);
    let path = work.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let mut command = with(&work, &["rsync", "-a", "src/", "dest"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "60000000");
    run(command).expect_code(0);
    let mut heard = String::new();
    while !heard.contains("WATCHDOG_USEC=0") {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("something is said");
        heard += &format!("{}\n", std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert!(heard.contains("READY=1\n"), "{heard}");
}
