//! The benchmark reports no time of a wrong copy, describes the machine on which it measured, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, run, run_within, start};
use crate::support::processes::expect_gone;
use crate::support::sshd::Sshd;
use crate::support::twin::{fake_rsync, snapshot};
use crate::support::work::Work;

const LIMIT: Duration = Duration::from_secs(300);
const FEW: [&str; 4] = ["--bench-entries", "200", "--bench-runs", "1"];

fn bench(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.env("SHM", work.dir("shm")).args(words);
    command
}

#[track_caller]
fn expect_clean(work: &Work, ran: &Run) {
    for dir in ["tmp", "shm"] {
        let left: Vec<_> = fs::read_dir(work.join(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "in {dir}: {left:?}\n{}", ran.report());
    }
    expect_gone(&ran.mark, Duration::from_secs(2));
}

fn timed(ran: &Run) -> Vec<String> {
    ran.stdout_text().lines().filter(|line| line.contains(" took ")).map(str::to_owned).collect()
}

#[test]
fn every_number_of_processes_is_measured_twice_and_written_down() {
    for (mode, removed) in [("--bench", "when all is done"), ("--benchshm", "before the next one")] {
        let work = Work::new();
        let files = ["--bench-json", "times.json", "--bench-chart", "chart.svg"];
        let ran = run_within(bench(&work, &[&[mode], &FEW[..], &files].concat()), LIMIT).expect_code(0);
        let lines = timed(&ran);
        assert_eq!(lines.len(), 12, "{}", ran.report());
        for (line, begin) in
            lines.iter().zip(["rsync -aS --numeric-ids took ", "nothing to do: rsync -aS", "multi-sync -p 1 took "])
        {
            assert!(line.starts_with(begin) && line.contains(" seconds (speedup x"), "{line}");
        }
        for processes in [1, 2, 4, 8, 16] {
            let cell = format!("| multi-sync -p {processes} |");
            assert_eq!(ran.stdout_text().matches(&cell).count(), 2, "{}", ran.report());
        }
        let times: serde_json::Value = serde_json::from_slice(&fs::read(work.join("times.json")).unwrap()).unwrap();
        assert_eq!(times["measurements"].as_array().unwrap().len(), 12);
        assert_eq!((&times["entries"], &times["checked"]), (&200.into(), &"byte by byte".into()));
        assert_eq!(times["removed"], removed);
        let chart = fs::read_to_string(work.join("chart.svg")).unwrap();
        assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"), "{chart}");
        expect_clean(&work, &ran);
    }
}

#[test]
fn rounds_are_interleaved() {
    let work = Work::new();
    let ran = run_within(bench(&work, &["-g", "--bench-entries", "50", "--bench-runs", "2"]), LIMIT).expect_code(0);
    let lines = timed(&ran);
    let runs: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(runs[..12], ["run 1 of 2"; 12], "{}", ran.report());
    assert_eq!(runs[12..], ["run 2 of 2"; 12], "{}", ran.report());
}

#[test]
fn a_folder_is_only_read() {
    let work = Work::new();
    for number in 0..30 {
        work.file(format!("tree/{}/{number}", number % 3), "content");
    }
    let before = snapshot(&work.join("tree"));
    let ran =
        run_within(bench(&work, &["-e", "--bench-shape", "tree", "--bench-runs", "1", "-r", "-a --exclude=/1"]), LIMIT)
            .expect_code(0);
    assert_eq!(timed(&ran).len(), 12, "{}", ran.report());
    assert!(timed(&ran)[0].starts_with("rsync -a --exclude=/1 took "), "{}", ran.report());
    assert_eq!(snapshot(&work.join("tree")), before);
    expect_clean(&work, &ran);
}

#[test]
fn a_copy_that_is_not_right_has_no_time() {
    let after = "REAL \"$@\"; code=$?; for d; do :; done\n";
    let lose = "find \"$d\" -type f -name f5 2>/dev/null | head -n 1 | xargs -r rm -f";
    for (lie, told) in [
        (lose, "the copy of rsync differs from the source: "),
        ("find \"$d\" -type f -exec chmod 600 {} +", "mode 0644 left, 0600 right"),
        ("code=12", "rsync ended with exit code 12"),
    ] {
        let work = Work::new();
        let mut command = bench(&work, &[&["--bench"], &FEW[..], &["--bench-json", "times.json"]].concat());
        fake_rsync(&mut command, &work, &format!("{after}{lie}\nexit $code"));
        let ran = run_within(command, LIMIT).expect_code(1);
        assert!(ran.stderr_text().contains(told), "{told}\n{}", ran.report());
        assert_eq!(timed(&ran), Vec::<String>::new(), "{}", ran.report());
        assert!(!work.join("times.json").exists());
        expect_clean(&work, &ran);
    }
}

#[test]
fn an_interrupted_benchmark_leaves_nothing() {
    for lines in [0, 1, 5] {
        let work = Work::new();
        let mut started = start(bench(&work, &["--benchshm", "--bench-entries", "3000"]));
        let begun = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        started.wait_for("a time", LIMIT, |started| {
            let told = started.stdout_so_far().iter().filter(|byte| **byte == b'\n').count();
            told >= lines && begun(&work.join("shm"))
        });
        started.signal(Signal::INT);
        let ran = started.finish(LIMIT).expect_code(20);
        expect_clean(&work, &ran);
    }
}

#[test]
fn too_little_room_is_told_with_the_figure() {
    let work = Work::new();
    let part = r#""entries": 1000, "files_percent": 100, "depth": 0, "sizes": {"uniform": {"min": 1000000000000, "max": 1000000000000}}"#;
    let text = format!(r#"{{"about": "", "source": "", "approximated": "", "parts": [{{{part}}}]}}"#);
    work.file("huge.json", text);
    let ran = run(bench(&work, &["--benchshm", "--bench-shape", "huge.json"])).expect_code(1);
    let said = ran.stderr_text();
    assert!(said.contains("too little room") && said.contains("PiB are needed") && said.contains("are free"), "{said}");
    expect_clean(&work, &ran);
}

#[test]
fn what_cannot_be_measured_is_refused_at_once() {
    let work = Work::new();
    for (words, named) in [
        (&["--bench-shape", "no-such"][..], "no-such"),
        (&["--bench-dest", "no-such"], "no-such"),
        (&["--bench-json", "no-such/times.json"], "no-such/times.json"),
        (&["--bench-chart", "tmp"], "tmp"),
        (&["-r", "--no-such-option"], "--no-such-option"),
        (&["-r", "-a --remove-source-files"], "removes nothing"),
        (&["--bench-shape", "."], "which is to be copied"),
    ] {
        let ran = run(bench(&work, &[&["--bench"], words].concat())).expect_code(1);
        assert!(ran.stderr_text().contains(named), "{named}\n{}", ran.report());
        expect_clean(&work, &ran);
    }
    let mut command = bench(&work, &["--benchshm"]);
    command.env("SHM", "/no/such");
    let ran = run(command).expect_code(1);
    assert!(ran.stderr_text().contains("/no/such"), "{}", ran.report());
}

#[test]
fn through_ssh_to_a_folder_that_is_gone_afterwards() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("through_ssh_to_a_folder_that_is_gone_afterwards", &why),
    };
    let work = Work::new();
    work.file("there/mine", "mine");
    let options = format!("-aS --numeric-ids -e \"{}\"", sshd.rsh());
    let mut command = bench(&work, &[&["--bench", "-r", &options], &FEW[..], &["--bench-dest"]].concat());
    command.arg(sshd.remote(work.join("there")));
    let ran = run_within(command, LIMIT).expect_code(0);
    assert_eq!(timed(&ran).len(), 12, "{}", ran.report());
    let left: Vec<_> = fs::read_dir(work.join("there")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"], "{}", ran.report());
    expect_clean(&work, &ran);
}
