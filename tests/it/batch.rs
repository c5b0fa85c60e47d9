//! Runs in batch jobs of a real Slurm: submitted from a login node, followed, and queued again until everything is copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support;
use crate::support::command::{multi_sync, run, run_within, sh, start};
use crate::support::slurm::Slurm;
use crate::support::trees::{expect_same, expect_slow_tree, slow_tree, tree};
use crate::support::twin::temporary_files;
use crate::support::work::{Work, set_mode};

const SOON: Duration = Duration::from_secs(90);
const LONG: Duration = Duration::from_secs(500);

fn slurm(nodes: usize, more: &str) -> Option<Slurm> {
    Slurm::start_with(nodes, more).map_err(|why| support::skip(&support::this_test(), &why)).ok()
}

/// A command as typed on a login node.
fn login(slurm: &Slurm, work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(words).env("SLURM_CONF", slurm.configuration()).env_remove("SLURM_JOB_ID");
    command
}

fn only_run(parent: &Path) -> PathBuf {
    let mut dirs = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    let dir = dirs.next().expect("a run");
    assert!(dirs.next().is_none(), "several runs");
    dir
}

#[track_caller]
fn wait(what: &str, limit: Duration, is: &dyn Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_copy_is_submitted_and_watched_until_its_end() {
    let Some(slurm) = slurm(1, "") else { return };
    let work = Work::new();
    tree(&work, 60);
    // With an odd name.
    let runs = "r u%j's\\n";
    work.dir(runs);
    let words = ["--submit", "--time", "5m", "--sbatch", "--comment='a # b'", "-p", "2", "-b", runs];
    let mut submits = login(&slurm, &work, &words);
    submits.args(["rsync", "-aH", "--delete", "src/", "D"]);
    let ran = run_within(submits, SOON).expect_code(0);
    expect_same(&work, &ran);
    let said = ran.stderr_text();
    for part in ["submitted as job 1 of Slurm", "unless the nodes see it", "the run ended with code 0"] {
        assert!(said.contains(part), "{part}: {}", ran.report());
    }
    let dir = only_run(&work.join(runs));
    let printed = fs::read_to_string(dir.join("job.out")).unwrap();
    assert!(printed.contains("Slurm job 1: 1 node copies, with 2 rsyncs at once"), "{printed}");
    assert_eq!(slurm.ask("scontrol", &["show", "job", "1"]).matches("Comment=a # b").count(), 1, "it is the user's");
    // The result is also available later.
    let mut follows = login(&slurm, &work, &["status", "--follow"]);
    follows.arg(&dir);
    let ran = run_within(follows, SOON).expect_code(0);
    assert!(ran.stderr_text().contains("the run ended with code 0"), "{}", ran.report());
    let mut again = login(&slurm, &work, &["resume", "--submit"]);
    again.arg(work.join("src"));
    assert!(run_within(again, SOON).expect_code(1).stderr_text().contains("was not submitted"));
}

/// Puts stand-ins for Slurm's commands first in `PATH`.
fn with_stand_ins(work: &Work, command: &mut Command, sbatch: &str) {
    let path = work.file("bin/sbatch", format!("#!/bin/sh\n[ \"$1\" != --version ] || exit 0\n{sbatch}\n"));
    set_mode(&path, 0o755);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", work.join("bin").display()));
}

#[test]
fn what_cannot_be_submitted_is_refused_and_leaves_nothing() {
    let work = Work::new();
    tree(&work, 20);
    work.dir("runs");
    let copy = ["rsync", "-a", "src/", "D"];
    let refused = |words: &[&str], said: &str, copy: &[&str]| {
        let mut command = multi_sync(&work);
        command.env_remove("SLURM_JOB_ID").args(words).args(copy);
        with_stand_ins(&work, &mut command, "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1");
        let ran = run_within(command, SOON).expect_code(1);
        assert!(ran.stderr_text().contains(said), "{words:?}: {said}: {}", ran.report());
        assert_eq!(fs::read_dir(work.join("runs")).unwrap().count(), 0, "{words:?}");
        assert!(!work.join("D").exists() && !work.join("src/runs").exists());
    };
    let run = ["--submit", "-b", "runs"];
    refused(&run, "sbatch did not accept the job: sbatch: error: invalid partition specified: x", &copy);
    refused(&["--submit"], "without --buckets DIR", &copy);
    refused(&["--nodes", "2"], "--nodes without --submit", &copy);
    refused(&["--follow"], "--follow without --status", &copy);
    for (more, said) in [
        (&["--nodes", "0"][..], "--nodes"),
        (&["--time", "soon"], "not a time limit"),
        (&["--partition", "a b"], "not the name of a partition"),
        (&["--sbatch", "--array=1-9"], "--array"),
        (&["--sbatch", "job.sh"], "not an option of sbatch"),
        (&["--hosts", "h"], "the nodes of the job copy"),
        (&["--engine", "slurm"], "the nodes of the job copy"),
        (&["--end-in", "5m"], "--time"),
        (&["-m", "one-to-one"], "another mode"),
        (&["-d"], "no copy to submit"),
        (&["-p", "auto"], "auto"),
        (&["--retries", "x"], "--retries"),
    ] {
        refused(&[&run[..], more].concat(), said, &copy);
    }
    refused(&run, "", &["rsync", "--frobnicate", "src/", "D"]);
    refused(&run, "without SRC and DEST", &["rsync", "-a", "src/"]);
    refused(&["--submit", "-b", "runs", "--events", "-"], "--events to a stream", &copy);
    refused(&["--submit", "-b", "runs", "--sbatch", "--ar=1-2"], "--array", &copy);
    refused(&run, "is a stream: a batch job cannot read it", &["rsync", "-a", "--exclude-from=-", "src/", "D"]);
    refused(&["--submit", "-b", "src"], "inside a source", &copy);
    refused(&["--submit", "-b", "D/.."], "", &["rsync", "--help"]);
    refused(&["--submit", "-b", "/dev/shm"], "no other machine can see it", &copy);
    let mut inside = multi_sync(&work);
    inside.env("SLURM_JOB_ID", "17").args(run).args(copy);
    assert!(run_within(inside, SOON).expect_code(1).stderr_text().contains("already job 17 of Slurm"));
    let mut nowhere = multi_sync(&work);
    nowhere.env_remove("SLURM_JOB_ID").env("PATH", work.join("runs")).args(run).args(copy);
    assert!(run_within(nowhere, SOON).expect_code(1).stderr_text().contains("there is no Slurm here"));
    assert_eq!(fs::read_dir(work.join("runs")).unwrap().count(), 0);
}

#[test]
fn a_job_that_sbatch_does_not_name_keeps_its_directory() {
    let work = Work::new();
    tree(&work, 20);
    work.dir("runs");
    let mut submits = multi_sync(&work);
    submits.env_remove("SLURM_JOB_ID").args(["--submit", "-b", "runs", "rsync", "-a", "src/", "D"]);
    with_stand_ins(&work, &mut submits, "echo 'the job is taken'");
    let ran = run_within(submits, SOON).expect_code(1);
    let dir = only_run(&work.join("runs"));
    let said = ran.stderr_text();
    assert!(said.contains("did not name a job: the job is taken"), "{}", ran.report());
    assert!(
        said.contains(dir.file_name().unwrap().to_str().unwrap()) && dir.join("job.sh").exists(),
        "{}",
        ran.report()
    );
}

/// Except for a run that ended well, because that removes its own directory.
#[test]
fn a_run_whose_directory_is_gone_is_not_taken_for_done() {
    let work = Work::new();
    tree(&work, 20);
    work.dir("runs");
    let queue = "#!/bin/sh\necho JobId=17 JobState=PENDING Reason=Resources StartTime=Unknown\n";
    set_mode(&work.file("bin/scontrol", queue), 0o755);
    let mut submits = multi_sync(&work);
    submits.env_remove("SLURM_JOB_ID").envs([("SBATCH_PARTITION", "other"), ("SBATCH_TIMELIMIT", "7")]);
    submits.args(["--submit", "--partition", "all", "-b", "runs", "rsync", "-a", "src/", "D"]);
    with_stand_ins(&work, &mut submits, &format!("env >{}; echo 17", work.join("env").display()));
    let mut follows = start(submits);
    follows.wait_for("the queue", SOON, |run| {
        String::from_utf8_lossy(&run.stderr_so_far()).contains("waits in the queue")
    });
    fs::rename(work.join("runs"), work.join("away")).unwrap();
    let ran = follows.finish(SOON).expect_code(23);
    assert!(ran.stderr_text().contains("scontrol show job 17"), "{}", ran.report());
    // Options of the user override environment variables; the other variables stay.
    let env = fs::read_to_string(work.join("env")).unwrap();
    assert!(!env.contains("SBATCH_PARTITION") && env.contains("SBATCH_TIMELIMIT=7"), "{env}");
}

#[test]
fn a_script_is_printed_and_nothing_else_is_done() {
    let work = Work::new();
    let words =
        ["--print-job", "--nodes", "4", "--partition", "dtn", "--time", "24h", "--sbatch", "-A 'x y'", "-p", "30"];
    let before = fs::read_dir(work.path()).unwrap().count();
    let mut prints = multi_sync(&work);
    prints.env("PATH", work.path()).args(words).args(["-b", "runs", "-r", "-aH --delete", "no src/", "D"]);
    let ran = run_within(prints, SOON).expect_code(0);
    let text = ran.stdout_text();
    for line in [
        "#!/bin/sh",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --partition=dtn",
        "#SBATCH --time=1-00:00:00",
        "#SBATCH --no-kill",
        "#SBATCH -A \"x y\"",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {}", ran.report());
    }
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with("--requeue --engine=slurm --mode=many-to-one -p 30 -b runs -r '-aH --delete' 'no src/' D"),
        "{last}"
    );
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), before);
}

#[test]
#[ignore = "waits for minutes: cargo test --test it batch:: -- --ignored"]
fn a_copy_that_takes_several_limits_needs_no_hand() {
    let Some(slurm) = slurm(3, "AuthInfo=cred_expire=20\n") else { return };
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    // Slurm's smallest limit is a minute, and the whole copy takes three.
    let words = ["--submit", "--nodes", "3", "--time", "1", "-b", "runs", "-f", "1"];
    let mut submits = login(&slurm, &work, &words);
    submits.args(["-r", "-a --bwlimit=100", "src/", "D"]);
    let ran = run_within(submits, LONG).expect_code(0);
    assert!(ran.stderr_text().contains("waits in the queue"), "{}", ran.report());
    assert!(temporary_files(&work.join("D")).is_empty(), "{}", ran.report());
    run(sh(&work, "diff -r src D")).expect_code(0);
    let dir = only_run(&work.join("runs"));
    let printed = fs::read_to_string(dir.join("job.out")).unwrap();
    let parts = printed.matches("asking Slurm to queue job 1 again").count();
    assert!(parts >= 2, "{parts} {printed}");
    // Each bucket was copied once.
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let records = journal.lines().map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap());
    let done = records.filter(|record: &serde_json::Value| record["is"] == "done");
    let done: Vec<serde_json::Value> = done.flat_map(|record| record["buckets"].as_array().unwrap().clone()).collect();
    let mut buckets: Vec<u64> = done.iter().map(|id| id.as_u64().unwrap()).collect();
    buckets.sort_unstable();
    assert_eq!(buckets, (0..36).collect::<Vec<u64>>(), "{printed}");
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it batch:: -- --ignored"]
fn who_watches_may_go_and_come_back() {
    let Some(slurm) = slurm(1, "AuthInfo=cred_expire=5\n") else { return };
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let words = ["--submit", "--time", "5", "-p", "2", "-b", "runs", "-f", "1", "-r", "-a --bwlimit=600", "src/", "D"];
    let mut watching = start(login(&slurm, &work, &words));
    watching.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    watching.signal(Signal::INT);
    let ran = watching.finish(SOON).expect_code(20);
    let dir = only_run(&work.join("runs"));
    let again = format!("multi-sync status --follow {}", dir.display());
    assert!(ran.stderr_text().contains(&again) && ran.stderr_text().contains("scancel 1"), "{}", ran.report());
    wait("a comment", SOON, &|| slurm.ask("squeue", &["-h", "-o", "%k"]).starts_with("multi-sync: "));
    let mut twice = login(&slurm, &work, &["resume", "--submit"]);
    twice.arg(&dir);
    let twice = run_within(twice, SOON).expect_code(1);
    assert!(twice.stderr_text().contains("job 1 is still working on the run"), "{}", twice.report());
    // An administrator queues the job again, and it is followed until its end.
    let mut follows = login(&slurm, &work, &["status", "--follow"]);
    follows.arg(&dir);
    let watching = start(follows);
    slurm.ask("scontrol", &["requeue", "1"]);
    let ran = watching.finish(LONG).expect_code(0);
    expect_slow_tree(&work, &ran);
    let comment = slurm.ask("squeue", &["-h", "-t", "all", "-o", "%k"]);
    assert!(comment.starts_with("multi-sync: ended with code 0"), "{comment}");
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it batch:: -- --ignored"]
fn a_submitted_job_that_is_cancelled_is_gone_on_with_in_another() {
    let Some(slurm) = slurm(1, "") else { return };
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let words = ["--submit", "--time", "5", "-p", "2", "-b", "runs", "-f", "1", "-r", "-a --bwlimit=900", "src/", "D"];
    let mut watching = start(login(&slurm, &work, &words));
    watching.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    slurm.ask("scancel", &["1"]);
    let ran = watching.finish(SOON).expect_code(20);
    let dir = only_run(&work.join("runs"));
    let go_on = format!("to go on: multi-sync resume --submit {}", dir.display());
    assert!(ran.stderr_text().contains(&go_on) && ran.stderr_text().contains("CANCELLED"), "{}", ran.report());
    assert!(temporary_files(&work.join("D")).is_empty(), "{}", ran.report());
    let mut again = login(&slurm, &work, &["resume", "--submit"]);
    again.arg(&dir);
    let ran = run_within(again, SOON).expect_code(0);
    assert!(ran.stderr_text().contains("submitted as job 2"), "{}", ran.report());
    expect_slow_tree(&work, &ran);
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it batch:: -- --ignored"]
fn a_job_that_has_to_make_room_for_another_ends_in_its_time_of_grace() {
    let more = "AuthInfo=cred_expire=5\nPreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
                PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=5\n\
                PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF\n";
    let Some(slurm) = slurm(1, more) else { return };
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let words = ["--submit", "--partition", "low", "--time", "5", "-p", "2", "-b", "runs", "-f", "1"];
    let mut submits = login(&slurm, &work, &words);
    submits.args(["-r", "-a --bwlimit=600", "src/", "D"]);
    let mut watching = start(submits);
    watching.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    let mut other = slurm.tool("srun");
    other.args(["-p", "high", "-N1", "--exclusive", "sh", "-c", "find D -name '.*.??????' -type f"]);
    other.current_dir(work.path());
    let other = run_within(other, SOON).expect_code(0);
    assert_eq!(other.stdout_text(), "", "it has left temporary files");
    let ran = watching.finish(LONG).expect_code(0);
    let printed = fs::read_to_string(only_run(&work.join("runs")).join("job.out")).unwrap();
    assert!(printed.contains("interrupted: the copy is incomplete"), "{printed}");
    expect_slow_tree(&work, &ran);
}

/// The commands below a heading of `docs/slurm.md`.
fn example(heading: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/slurm.md")).unwrap();
    let below = page.split_once(&format!("## {heading}\n")).expect("the heading is there").1;
    below.split("```").nth(1).unwrap().strip_prefix("sh\n").unwrap().to_owned()
}

/// The commands of the page, except for paths, and for numbers that are too large for these small nodes.
#[test]
#[ignore = "waits for most of a minute: cargo test --test it batch:: -- --ignored"]
fn the_examples_of_the_documentation_do_what_it_says() {
    let Some(slurm) = slurm(8, "PartitionName=dtn Nodes=ALL\n") else { return };
    let work = Work::new();
    tree(&work, 120);
    for dir in ["runs", "old"] {
        work.dir(dir);
    }
    let here = |name: &str| format!("{}/{name}", work.path().display());
    let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap().display();
    let in_place = |text: String| {
        text.replace("/mnt/old/", &here("src/"))
            .replace("/mnt/new/", &here("D/"))
            .replace("/scratch/me", work.path().to_str().unwrap())
            .replace("/home/me", work.path().to_str().unwrap())
            .replace("backup:/mirror/export/", &here("D/"))
            .replace("/export/", &here("src/"))
            .replace("-p 128", "-p 16")
            .replace("--ntasks-per-node=4", "--ntasks-per-node=2")
    };
    let shell = |text: &str| {
        let mut command = sh(&work, &format!("PATH={built}:$PATH\nexport PATH\nset -e\n{text}"));
        command.env("SLURM_CONF", slurm.configuration()).env_remove("SLURM_JOB_ID").env("HOME", work.path());
        command
    };
    for (heading, nodes) in [
        ("A partition for data transfer, 24 hours, no ssh", "4 nodes copy, with 8 rsyncs"),
        ("Evacuation of a file system with 8 nodes", "8 nodes copy, with 16 rsyncs"),
    ] {
        let ran = run_within(shell(&in_place(example(heading))), LONG).expect_code(0);
        expect_same(&work, &ran);
        let outputs = fs::read_dir(work.join("runs")).unwrap().map(|run| run.unwrap().path().join("job.out"));
        let said: Vec<String> = outputs.map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(said.iter().all(|said| said.contains(nodes)), "{said:?}");
        for part in ["D", "runs"] {
            fs::rename(work.join(part), work.join("old").join(format!("{part} {nodes}"))).unwrap();
        }
        work.dir("runs");
    }
    let script = work.file("mirror.sh", in_place(example("A mirror every night")));
    set_mode(&script, 0o755);
    let ran = run_within(shell("sbatch --begin=now --wait \"$HOME/mirror.sh\""), LONG).expect_code(0);
    expect_same(&work, &ran);
    let queue = slurm.ask("squeue", &["-h", "-o", "%j %t %S %r"]);
    assert!(queue.contains("mirror.sh PD") && queue.contains("T22:00:00") && queue.contains("BeginTime"), "{queue}");
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it batch:: -- --ignored"]
fn a_job_in_which_nothing_comes_to_its_end_is_not_queued_again_for_ever() {
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let path = work.file("bin/scontrol", "#!/bin/sh\necho \"$@\" >>../asked\n");
    set_mode(&path, 0o755);
    let path = format!("{}:{}", work.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let part = |count: &str, code: i32| {
        let mut command = multi_sync(&work);
        command.env("SLURM_JOB_ID", "17").env("SLURM_RESTART_COUNT", count).env("PATH", &path);
        command.args([
            "-b",
            "runs",
            "--requeue",
            "--end-in",
            "3",
            "-p",
            "2",
            "-f",
            "1",
            "-r",
            "-a --bwlimit=60",
            "src/",
            "D",
        ]);
        run_within(command, SOON).expect_code(code)
    };
    // A run of another job that was begun with the same arguments.
    let other = part("0", 30);
    let others = only_run(&work.join("runs"));
    fs::write(others.join("job.id"), "16\n").unwrap();
    let first = part("1", 30);
    assert!(
        !first.stderr_text().contains("continuing the run in")
            && first.stderr_text().contains("asking Slurm to queue job 17 again")
    );
    let second = part("2", 30);
    assert!(second.stderr_text().contains("continuing the run in"), "{}", second.report());
    assert!(second.stderr_text().contains("asking Slurm to queue job 17 again"), "{}", second.report());
    let third = part("3", 30);
    assert!(third.stderr_text().contains("job 17 is not queued again: 2 times in a row"), "{}", third.report());
    assert!(other.stderr_text().contains("asking Slurm to queue job 17 again"));
    assert_eq!(fs::read_dir(work.join("runs")).unwrap().count(), 2);
}
