//! Ways to reach source hosts other than ssh: steps of a job of a real Slurm, and commands that connect to a shell.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, multi_sync, run, run_within, sh, start};
use crate::support::processes;
use crate::support::slurm::{CPUS, Slurm};
use crate::support::sshd::Sshd;
use crate::support::trees::{expect_same, expect_slow_tree, slow_tree, tree};
use crate::support::twin::temporary_files;
use crate::support::work::{Work, set_mode};

const SOON: Duration = Duration::from_secs(90);

fn many(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(["-m", "many-to-one", "--stats"]).args(words);
    command
}

/// The line of `--stats` about a host.
fn told(ran: &Run, host: &str) -> String {
    let text = ran.stdout_text();
    let line = text.lines().find(|line| line.starts_with(&format!("Host {host}: ")));
    line.unwrap_or_else(|| panic!("nothing is said of {host}: {}", ran.report())).to_owned()
}

fn slurm() -> Option<Slurm> {
    Slurm::start(3).map_err(|why| support::skip(&support::this_test(), &why)).ok()
}

#[test]
fn the_nodes_of_a_job_copy_and_take_a_step_for_each_slot() {
    let Some(slurm) = slurm() else { return };
    let work = Work::new();
    tree(&work, 1500);
    let copies = slurm.allocated(3, &many(&work, &["-f", "30", "-r", "-aH --delete", "src/", "D"]));
    let ran = run_within(copies, SOON).expect_code(0);
    expect_same(&work, &ran);
    let said = ran.stderr_text();
    assert!(said.contains("Slurm job 1: 3 nodes copy, with 6 rsyncs at once"), "{}", ran.report());
    for node in ["n1", "n2", "n3"] {
        assert!(told(&ran, node).contains(&format!("{CPUS} slots")), "{}", ran.report());
        assert!(!told(&ran, node).contains(" 0 buckets"), "{}", ran.report());
    }
    // Steps are numbered from 0, so the number of the next one tells how many there were.
    let binary = env!("CARGO_BIN_EXE_multi-sync");
    let both = format!(
        "'{binary}' -m many-to-one -p 3 -f 30 -r -a src/ E && srun -Q --overlap -N1 -n1 sh -c 'echo steps=$SLURM_STEP_ID'"
    );
    let ran = run_within(slurm.allocated(3, &sh(&work, &both)), SOON).expect_code(0);
    assert!(ran.stdout_text().contains("steps=3"), "{}", ran.report());
    run(sh(&work, "diff -r src E")).expect_code(0);
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it engines:: -- --ignored"]
fn a_node_that_dies_a_node_that_is_drained_and_a_step_that_is_cancelled_lose_nothing() {
    let Some(mut slurm) = slurm() else { return };
    let work = Work::new();
    slow_tree(&work);
    let copies = slurm.allocated(3, &many(&work, &["-f", "1", "-r", "-a --bwlimit=600", "src/", "D"]));
    let mut started = start(copies);
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 3);
    slurm.ask("scontrol", &["update", "nodename=n3", "state=drain", "reason=test"]);
    slurm.ask("scancel", &[&format!("{}.0", slurm.job())]);
    slurm.kill_node(2);
    let ran = started.finish(SOON).expect_code(0);
    assert!(ran.stderr_text().contains("n2"), "{}", ran.report());
    assert!(told(&ran, "n2").contains("set aside"), "{}", ran.report());
    expect_slow_tree(&work, &ran);
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it engines:: -- --ignored"]
fn a_job_that_is_cancelled_can_be_resumed_in_another() {
    let Some(slurm) = slurm() else { return };
    let work = Work::new();
    slow_tree(&work);
    let words = ["-b", "runs", "-f", "1", "-r", "-a --bwlimit=300", "src/", "D"];
    work.dir("runs");
    let mut batch = slurm.tool("sbatch");
    batch.args(["--parsable", "-N3", &format!("--ntasks-per-node={CPUS}"), "--no-kill", "-o", "out", "--export=ALL"]);
    work.file("job", "#!/bin/sh\nexec \"$@\"\n");
    set_mode(&work.join("job"), 0o755);
    batch.arg("job");
    let submitted = run(slurm.around(batch, &many(&work, &words))).expect_code(0);
    let job = submitted.stdout_text().trim().to_owned();
    let out = || fs::read_to_string(work.join("out")).unwrap_or_default();
    let wait = |what: &str, is: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !is() {
            assert!(began.elapsed() < SOON, "{what}: {}", out());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("files in transfer", &|| temporary_files(&work.join("D")).len() > 3);
    slurm.ask("scancel", &[&job]);
    wait("the end of the job", &|| slurm.ask("squeue", &["-h", "-o", "%i"]).is_empty());
    assert!(temporary_files(&work.join("D")).is_empty(), "{:?} {}", temporary_files(&work.join("D")), out());
    assert!(out().contains("to go on"), "{}", out());
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(&work);
    resumed.arg("--resume").arg(&dir).arg("--stats");
    let ran = run_within(slurm.allocated(2, &resumed), SOON).expect_code(0);
    assert!(ran.stderr_text().contains("2 nodes copy"), "{}", ran.report());
    expect_slow_tree(&work, &ran);
}

#[test]
#[ignore = "waits for most of a minute: cargo test --test it engines:: -- --ignored"]
fn a_run_ends_in_time_and_can_be_resumed() {
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let mut copies = multi_sync(&work);
    copies.args(["-p", "4", "-f", "1", "-b", "runs", "--end-in", "4", "-r", "-a --bwlimit=400", "src/", "D"]);
    let began = std::time::Instant::now();
    let ran = run_within(copies, SOON).expect_code(30);
    assert!(began.elapsed() < Duration::from_secs(10), "{}", ran.report());
    assert!(ran.stderr_text().contains("the time for this run has ended"), "{}", ran.report());
    assert!(ran.stderr_text().contains("to go on"), "{}", ran.report());
    assert!(temporary_files(&work.join("D")).is_empty(), "{}", ran.report());
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(&work);
    resumed.arg("--resume").arg(&dir).args(["-p", "12"]);
    let ran = run_within(resumed, SOON).expect_code(0);
    expect_slow_tree(&work, &ran);
}

/// `to HOST WORD...` runs the words as its child, as programs do that connect to another machine. On host `bad` it ends at once.
fn leader(work: &Work) -> String {
    let path = work.file("to", "#!/bin/sh\nhost=$1; shift\n[ $host != bad ] || exit 233\necho motd\n\"$@\"\n");
    set_mode(&path, 0o755);
    format!("{} {{host}} sh -s", path.display())
}

fn leaders(work: &Work, host: &str) -> Vec<i32> {
    let word = format!("{} {host} sh -s", work.join("to").display());
    processes::marked(&word.replace(' ', "\0")).iter().map(|live| live.pid).collect()
}

#[test]
fn any_command_that_leads_to_a_shell_is_an_engine() {
    let work = Work::new();
    tree(&work, 400);
    let engine = leader(&work);
    let words = ["--engine", &engine, "--hosts", "a,b*2,bad", "-f", "20", "-r", "-a", "src/", "D"];
    let ran = run_within(many(&work, &words), SOON).expect_code(0);
    expect_same(&work, &ran);
    assert!(ran.stderr_text().contains("bad: left out: code 255"), "{}", ran.report());
    assert!(told(&ran, "b").contains("2 slots"), "{}", ran.report());
    assert!(!ran.stdout_text().contains("motd"), "what a login prints is no output: {}", ran.report());
}

#[test]
fn hosts_scan_what_they_copy() {
    let work = Work::new();
    tree(&work, 400);
    let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap().display();
    let text = format!("#!/bin/sh\n[ $1 != a ] || PATH=$PATH:{built}\nexport PATH HOME=/nonexistent\nexec sh -s\n");
    set_mode(&work.file("to", text), 0o755);
    let engine = format!("{} {{host}}", work.join("to").display());
    for (hosts, by) in [("a", "multi-sync"), ("b", "find"), ("a,b*2", "")] {
        let words = ["--scan-by", "hosts", "--engine", &engine, "--hosts", hosts, "-f", "20", "-r", "-aH", "src/", "D"];
        let ran = run_within(many(&work, &words), SOON).expect_code(0);
        expect_same(&work, &ran);
        assert!(ran.stderr_text().contains(&format!("scans the source, with {by}")), "{hosts}: {}", ran.report());
        fs::remove_dir_all(work.join("D")).unwrap();
    }
    let refused = |words: &[&str], why: &str| {
        let mut command = multi_sync(&work);
        command.args(["--scan-by", "hosts"]).args(words).args(["-r", "-a", "src/", "D"]);
        let ran = run_within(command, SOON).expect_code(1);
        assert!(ran.stderr_text().contains(why), "{}", ran.report());
    };
    refused(&[], "--scan-by hosts without source hosts");
    refused(&["-m", "many-to-one", "--engine", &engine, "--hosts", "a", "--gitignore"], "ignore rules are read by one");
}

#[test]
#[ignore = "waits for half a minute: cargo test --test it engines:: -- --ignored"]
fn a_command_that_is_killed_is_a_host_that_is_lost() {
    let work = Work::new();
    slow_tree(&work);
    let engine = leader(&work);
    let words = ["--engine", &engine, "--hosts", "a*2,b*2", "-f", "1", "-r", "-a --bwlimit=600", "src/", "D"];
    let mut started = start(many(&work, &words));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 2);
    for pid in leaders(&work, "b") {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
    }
    let ran = started.finish(SOON).expect_code(0);
    assert!(told(&ran, "b").contains("set aside"), "{}", ran.report());
    expect_slow_tree(&work, &ran);
}

/// Stand-ins that treat their arguments and streams as the documentation of the real programs says.
fn stand_ins(work: &Work) -> String {
    let inputs = "Input and output go both ways, and the words are one line for a shell there.";
    let ssh = format!(
        "# {inputs}\n[ \"$1\" = -T ] || exit 9; shift; h=$1; shift\n[ \"$h\" != gone ] || exit 255\nsh -c \"$*\""
    );
    let attach =
        "# It makes what it starts a part of the job.\n[ \"$1 $2\" = '-j 17' ] || exit 9; shift 2\nexec \"$@\"";
    let blaunch = format!("# {inputs}\nh=$1; shift\n[ \"$h\" != gone ] || exit 255\nsh -c \"$*\"");
    // Without -i there is no input. The process that was started there does not end together with it.
    let kubectl = "[ \"$1\" = exec ] || exit 9; shift; in=\nwhile :; do case $1 in -i) in=1;; -n) shift;; --) break;; *) pod=$1;; esac; shift; done; shift\n\
                   [ \"$pod\" != gone ] || { echo 'Error from server (NotFound)' >&2; exit 1; }\n\
                   if [ $in ]; then cat | setsid \"$@\"; else setsid \"$@\" </dev/null; fi";
    // PBS tasks have no input, and their output goes to that of the job.
    let task = "while [ \"$1\" != sh ]; do shift; done\nexec \"$@\" </dev/null >>out 2>&1";
    for (name, text) in [
        ("ssh", &*ssh),
        ("pbs_attach", attach),
        ("blaunch", &*blaunch),
        ("kubectl", kubectl),
        ("pbs_tmrsh", task),
        ("pbsdsh", task),
    ] {
        let path = work.file(format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
        set_mode(&path, 0o755);
    }
    format!("{}:{}", work.join("bin").display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn schedulers_other_than_slurm_are_reached_as_the_documentation_says() {
    let work = Work::new();
    tree(&work, 120);
    let path = stand_ins(&work);
    work.file("nodes", "n1\nn1\nn2\ngone\n");
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/engines.md")).unwrap();
    let copy = |engine: &str| {
        let words = ["--engine", engine, "--hosts-file", "nodes", "-f", "20", "-r", "-aH --delete", "src/", "D"];
        let mut command = many(&work, &words);
        command.env("PATH", &path);
        run_within(command, SOON)
    };
    for engine in [
        "ssh -T {host} pbs_attach -j $PBS_JOBID sh -s",
        "blaunch {host} sh -s",
        "kubectl exec -i -n data {host} -- sh -s",
    ] {
        assert!(documented.contains(engine), "{engine}");
        let ran = copy(&engine.replace("$PBS_JOBID", "17")).expect_code(0);
        expect_same(&work, &ran);
        assert!(told(&ran, "n1").contains("2 slots"), "{}", ran.report());
        assert!(ran.stderr_text().contains("gone: left out"), "{}", ran.report());
        fs::remove_dir_all(work.join("D")).unwrap();
    }
    // A command that does not pass on input cannot be used, and this is reported before anything is copied.
    for engine in ["pbs_tmrsh {host} sh -s", "pbsdsh -h {host} sh -s", "kubectl exec -n data {host} -- sh -s"] {
        let ran = copy(engine);
        assert_ne!(ran.status.code(), Some(0), "{engine}: {}", ran.report());
        assert!(ran.stderr_text().contains("none of the hosts can be used"), "{engine}: {}", ran.report());
        assert!(!work.join("D").exists(), "{engine}");
    }
}

/// The seconds that an additional launch takes in a run with one slot: the median of five.
fn seconds_of_a_launch(work: &Work, copy: &dyn Fn(&[&str]) -> Command) -> f64 {
    let once = |source: &str| {
        let _ = fs::remove_dir_all(work.join("D"));
        let began = std::time::Instant::now();
        run_within(copy(&["-f", "1", "-r", "-a", source, "D"]), SOON).expect_code(0);
        began.elapsed().as_secs_f64()
    };
    median((0..5).map(|_| (once("many/") - once("few/")) / 100.0).collect())
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Measures the table in `docs/engines.md`: `cargo test --release --test it engines::what_a_launch_costs -- --ignored --nocapture` on an idle machine.
#[test]
#[ignore = "a measurement: cargo test --release --test it engines::what_a_launch_costs -- --ignored --nocapture"]
fn what_a_launch_costs() {
    let work = Work::new();
    for (folder, count) in [("few", 10), ("many", 110)] {
        (0..count).for_each(|number| drop(work.file(format!("{folder}/{number}"), "")));
    }
    let here = |words: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(["-p", "1"]).args(words);
        command
    };
    let asked = |ask: &mut dyn FnMut() -> Command| {
        let once = |command: Command| {
            let began = std::time::Instant::now();
            run_within(command, SOON).expect_code(0);
            began.elapsed().as_secs_f64()
        };
        median((0..21).map(|_| once(ask())).collect())
    };
    let alone = asked(&mut || sh(&work, "exec rsync --version"));
    // From its start to its end, including the 20 to 40 ms for which it sleeps. On this machine the next launch begins before that.
    let plain = asked(&mut || sh(&work, "rm -f E/0; exec rsync -a few/0 E/"));
    println!("| rsync for one file | {:.1} ms | |", 1e3 * plain);
    let tell =
        |what: &str, seconds: f64| println!("| {what} | {:.1} ms | {:.1} ms |", 1e3 * seconds, 1e3 * (seconds - plain));
    tell("on this machine", seconds_of_a_launch(&work, &here));
    match Sshd::start_at(Ipv4Addr::new(127, 0, 0, 11)) {
        Err(why) => support::skip("what_a_launch_costs", &why),
        Ok(server) => {
            let login = format!("exec {} {} rsync --version", server.rsh(), server.host());
            tell("ssh, a login for each launch", plain + asked(&mut || sh(&work, &login)) - alone);
            let rsh = server.rsh();
            let words = ["--ssh", &rsh, "--hosts", server.host()];
            let by_agent = |more: &[&str]| many(&work, &[&words[..], more].concat());
            tell("ssh, a shell that stays", seconds_of_a_launch(&work, &by_agent));
        }
    }
    let engine = leader(&work);
    let words = ["--engine", &engine, "--hosts", "a"];
    let by_agent = |more: &[&str]| many(&work, &[&words[..], more].concat());
    tell("a command, a shell that stays", seconds_of_a_launch(&work, &by_agent));
    let Some(slurm) = slurm() else { return };
    let step = sh(&work, "for i in 1 2 3 4 5 6 7 8 9 10; do srun -Q --overlap -N1 -n1 rsync --version; done");
    let began = std::time::Instant::now();
    run_within(slurm.allocated(1, &step), SOON).expect_code(0);
    let ten = began.elapsed().as_secs_f64();
    let began = std::time::Instant::now();
    run_within(slurm.allocated(1, &sh(&work, "true")), SOON).expect_code(0);
    tell("srun, a step for each launch", plain + (ten - began.elapsed().as_secs_f64()) / 10.0 - alone);
    let by_agent = |more: &[&str]| slurm.allocated(1, &many(&work, &[&["-p", "1"][..], more].concat()));
    tell("srun, a shell that stays", seconds_of_a_launch(&work, &by_agent));
}

#[test]
fn what_is_no_way_to_a_host_is_refused() {
    let work = Work::new();
    tree(&work, 20);
    for (words, said) in [
        (&["--engine", "slurm", "src/", "D"][..], "not a job of Slurm"),
        (&["src/", "D"], "needs hosts"),
        (&["--engine", "rsh host", "--hosts", "a", "src/", "D"], "no place for the host"),
        (&["--engine", "no-such-program {host}", "--hosts", "a", "src/", "D"], "none of the hosts can be used"),
        (&["--engine", "cat {host}", "--ssh", "ssh", "--hosts", "a", "src/", "D"], "another engine"),
    ] {
        let mut command = many(&work, words);
        command.env_remove("SLURM_JOB_ID");
        let ran = run_within(command, SOON);
        assert_ne!(ran.status.code(), Some(0), "{}", ran.report());
        assert!(ran.stderr_text().contains(said), "{said}: {}", ran.report());
        assert!(!Path::new(&work.join("D")).exists(), "{}", ran.report());
    }
}
