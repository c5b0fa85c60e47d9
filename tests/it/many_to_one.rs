//! Many-to-one: hosts that see the same source copy to one destination, and the loss of a host loses no data.
//!
//! The hosts are sshds on addresses of this machine, so that all of them see the same tree without a network file system. If a host has to behave
//! differently, the command that its `authorized_keys` forces does this.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, rsync, run, run_within, sh, start};
use crate::support::netns::{Hub, Space};
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::{Sshd, joint_rsh};
use crate::support::trees::{expect_same, expect_slow_tree, slow_tree, tree};
use crate::support::twin::{snapshot, temporary_files};
use crate::support::work::Work;
use rustix::process::{Pid, kill_process};

const SOON: Duration = Duration::from_secs(40);

/// Hosts lab11, lab12, ... and the command to reach them.
struct Hosts {
    servers: Vec<Sshd>,
    ssh: String,
}

impl Hosts {
    /// `None`, with a message, if no sshd can be started.
    fn start(count: u8) -> Option<Hosts> {
        let servers: Result<Vec<Sshd>, String> =
            (0..count).map(|n| Sshd::start_at(Ipv4Addr::new(127, 0, 0, 11 + n))).collect();
        match servers {
            Ok(servers) => {
                let ssh = joint_rsh(&servers.iter().collect::<Vec<_>>());
                Some(Hosts { servers, ssh })
            }
            Err(why) => {
                support::skip(&support::this_test(), &why);
                None
            }
        }
    }

    fn list(&self) -> String {
        self.servers.iter().map(|server| server.host().to_owned()).collect::<Vec<_>>().join(",")
    }

    /// Makes every login on this host run a script in place of the requested command, which is `ASKED` in the script.
    fn force(&self, host: usize, script: &str) {
        let path = self.servers[host].folder().join("authorized_keys");
        let key = fs::read_to_string(&path).unwrap();
        let forced = script.replace("ASKED", "exec sh -s").replace('"', "\\\"");
        fs::write(&path, format!("command=\"{forced}\" {key}")).unwrap();
    }

    fn copy(&self, work: &Work, hosts: &str, words: &[&str]) -> Command {
        let mut command = multi_sync(work);
        command.args(["-m", "many-to-one", "--ssh", &self.ssh, "--hosts", hosts, "--stats"]).args(words);
        command
    }

    /// The rsyncs and shells that run on the hosts.
    fn remote(&self) -> Vec<String> {
        let marked = |server: &Sshd| processes::marked(&format!("sshd:{}", server.folder().display()));
        let all = self.servers.iter().flat_map(marked);
        all.filter(|live| live.command.contains("rsync ") && !live.command.contains("sshd"))
            .map(|live| live.command)
            .collect()
    }
}

/// The line of `--stats` about a host.
fn told(ran: &Run, host: &str) -> String {
    let text = ran.stdout_text();
    let line = text.lines().find(|line| line.starts_with(&format!("Host {host}: ")));
    line.unwrap_or_else(|| panic!("nothing is said of {host}: {}", ran.report())).to_owned()
}

fn buckets(line: &str) -> u64 {
    let word =
        line.split(", ").find_map(|part| part.strip_suffix(" buckets").or(part.strip_suffix(" bucket"))).unwrap();
    word.parse().unwrap()
}

#[test]
fn deletions_are_counted_by_the_hosts() {
    let Some(hosts) = Hosts::start(2) else { return };
    let work = Work::new();
    tree(&work, 300);
    run(sh(&work, "cp -a src D && rm -r D/d1 && mkdir D/more && touch D/more/a D/more/b D/extra && touch src/new"))
        .expect_code(0);
    for (limit, code) in [("3", 25), ("4", 0)] {
        let words = ["-f", "20", "--delete-limit", limit, "-r", "-a --delete", "src/", "D"];
        let ran = run_within(hosts.copy(&work, &hosts.list(), &words), SOON).expect_code(code);
        let said = "nothing is deleted: 4 entries would be, and 3 are allowed";
        assert_eq!(ran.stderr_text().contains(said), code == 25, "{}", ran.report());
        assert_eq!(work.join("D/more/b").exists(), code == 25, "{}", ran.report());
        assert!(work.join("D/new").exists());
    }
    let mut check = rsync(&work);
    check.args(["-anic", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "");
}

#[test]
fn all_hosts_take_part() {
    let Some(hosts) = Hosts::start(3) else { return };
    let work = Work::new();
    tree(&work, 2000);
    for options in ["-aS --numeric-ids", "-aH --delete"] {
        let ran = run_within(hosts.copy(&work, &hosts.list(), &["-f", "50", "-r", options, "src/", "D"]), SOON);
        let ran = ran.expect_code(0);
        expect_same(&work, &ran);
        for server in &hosts.servers {
            assert!(buckets(&told(&ran, server.host())) > 3, "{}", ran.report());
        }
        // Something to delete at the top, in split directories and below, and something to copy.
        fs::remove_dir_all(work.join("D/d1")).unwrap();
        for extra in ["D/extra", "D/d2/extra", "D/extras/deep/extra"] {
            work.file(extra, "");
        }
    }
}

#[test]
fn to_another_machine_through_its_own_ssh() {
    let Some(hosts) = Hosts::start(3) else { return };
    let work = Work::new();
    tree(&work, 300);
    let (sources, target) = ("lab11,lab12*2", format!("lab13:{}", work.join("D").display()));
    let options = format!("-a -e \"{}\"", hosts.ssh);
    let ran =
        run_within(hosts.copy(&work, sources, &["-f", "20", "-r", &options, "src/", &target]), SOON).expect_code(0);
    expect_same(&work, &ran);
    assert!(told(&ran, "lab12").contains("2 slots"), "{}", ran.report());
}

#[test]
fn awkward_names_are_names() {
    let Some(hosts) = Hosts::start(1) else { return };
    let work = Work::new();
    let odd = "a b'c\"d$HOME`touch hacked`\\e;touch hacked\n&f*?";
    for number in 0..6 {
        work.file(format!("src{odd}/{odd}{number}/{odd}"), "x");
    }
    let not_utf8 = std::ffi::OsStr::from_bytes(b"not utf-8 \xff\xfe");
    fs::write(work.join(format!("src{odd}")).join(not_utf8), "x").unwrap();
    let (from, to) = (format!("src{odd}/"), format!("to{odd}"));
    let ran = run_within(hosts.copy(&work, "lab11", &["-f", "1", "-r", "-a", &from, &to]), SOON).expect_code(0);
    let mut check = rsync(&work);
    check.args(["-aHnic", "--delete", &format!("./{from}"), &format!("./{to}/")]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
    let hacked = sh(&work, "find . / -maxdepth 1 -name hacked; find ~ -maxdepth 1 -name hacked");
    assert_eq!(run(hacked).stdout_text(), "", "{}", ran.report());
}

#[test]
fn hosts_that_cannot_do_their_part_are_left_out() {
    let Some(hosts) = Hosts::start(4) else { return };
    let work = Work::new();
    tree(&work, 600);
    // One host answers late, one has another tree (a file system of its own in place of the source), one has no rsync.
    hosts.force(1, "sleep 3; ASKED");
    let broken = work.dir("broken");
    work.file("broken/rsync", "#!/bin/sh\nexit 127\n");
    support::work::set_mode(&broken.join("rsync"), 0o755);
    hosts.force(2, &format!("PATH={}:$PATH; ASKED", broken.display()));
    let other = support::is_root() && run(sh(&work, "unshare -m true")).status.success();
    if !other {
        support::skip(
            "hosts_that_cannot_do_their_part_are_left_out, a host with another source",
            "no mount namespace can be made",
        );
    } else {
        let script = format!("unshare -m sh -c 'mount -t tmpfs none {} && ASKED'", work.join("src").display());
        hosts.force(3, &script);
    }
    let all = format!("{},nobody@127.0.0.99", hosts.list());
    let ran = run_within(hosts.copy(&work, &all, &["-f", "20", "src/", "D"]), SOON).expect_code(0);
    expect_same(&work, &ran);
    let said = ran.stderr_text();
    for (host, why) in [("lab13", "left out: no rsync"), ("nobody@127.0.0.99", "left out: code 255")] {
        assert!(said.lines().any(|line| line.contains(host) && line.contains(why)), "{host}: {}", ran.report());
    }
    if other {
        assert!(said.contains("lab14: left out: its source is a different one"), "{}", ran.report());
    }
    assert!(buckets(&told(&ran, "lab12")) > 0, "{}", ran.report());
    let ran = run_within(hosts.copy(&work, "lab13,nobody@127.0.0.99", &["src/", "E"]), SOON);
    assert_ne!(ran.status.code(), Some(0));
    assert!(!work.join("E").exists(), "{}", ran.report());
}

#[test]
fn a_host_whose_sshd_dies_loses_nothing() {
    let Some(hosts) = Hosts::start(3) else { return };
    let work = Work::new();
    slow_tree(&work);
    let words = ["-f", "1", "-r", "-a --bwlimit=600", "src/", "D"];
    let mut started = start(hosts.copy(&work, "lab11*2,lab12*2,lab13*2", &words));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 3);
    let victim = &hosts.servers[1];
    let family = || processes::descendants(victim.pid());
    let _ = Pid::from_raw(victim.pid() as i32).map(|pid| kill_process(pid, rustix::process::Signal::STOP));
    processes::kill_until_gone(family);
    let _ = Pid::from_raw(victim.pid() as i32).map(|pid| kill_process(pid, rustix::process::Signal::KILL));
    let ran = started.finish(SOON).expect_code(0);
    assert!(told(&ran, "lab12").contains("set aside"), "{}", ran.report());
    expect_slow_tree(&work, &ran);
}

/// On one host rsync ends with 12 at once: this host must not consume the whole queue.
#[test]
fn a_host_that_fails_fast_gets_three_launches() {
    let Some(hosts) = Hosts::start(2) else { return };
    let work = Work::new();
    tree(&work, 1500);
    let fake = work.dir("fake-there");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' --version '*|*' --list-only '*) exec /usr/bin/env -i PATH=/usr/bin:/bin HOME=/ rsync \"$@\" ;; esac\necho >>'{}'\nexit 12\n",
        work.join("launched").display()
    );
    work.file("fake-there/rsync", script);
    support::work::set_mode(&fake.join("rsync"), 0o755);
    hosts.force(1, &format!("PATH={}:$PATH; ASKED", fake.display()));
    for slots in ["lab11,lab12", "lab11*2,lab12*6"] {
        let _ = fs::remove_file(work.join("launched"));
        let _ = fs::remove_dir_all(work.join("D"));
        let ran = run_within(hosts.copy(&work, slots, &["-f", "20", "src/", "D"]), SOON).expect_code(0);
        expect_same(&work, &ran);
        let launched = fs::read(work.join("launched")).unwrap_or_default().len();
        assert!((1..=3).contains(&launched), "{launched} launches\n{}", ran.report());
        assert!(told(&ran, "lab12").contains("(code 12)"), "{}", ran.report());
    }
}

/// Of six hosts one dies, one loses its link for ten seconds, one refuses, one answers late, one has another source.
#[test]
fn hosts_fail_in_every_way_at_once() {
    let spaces = Hub::start().and_then(|hub| {
        let spaces = (1..=3).map(|number| Space::start(&hub, number)).collect::<Result<Vec<_>, _>>()?;
        Ok((hub, spaces))
    });
    let (hub, spaces) = match spaces {
        Ok(made) => made,
        Err(why) => return support::skip("hosts_fail_in_every_way_at_once", &why),
    };
    let Some(near) = Hosts::start(2) else { return };
    let servers: Vec<Sshd> = spaces.iter().map(|space| Sshd::start_on(space).unwrap()).collect();
    let work = Work::new();
    for number in 0..120 {
        let file = fs::File::create(work.file(format!("src/d{}/f{number}", number % 5), "")).unwrap();
        file.set_len(2 << 20).unwrap();
    }
    let module = Module::new("copy", work.dir("D")).line("hosts allow = 198.18.0.0/15");
    let daemon = match Rsyncd::start_at(hub.address().into(), &[module]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("hosts_fail_in_every_way_at_once", &why),
    };
    near.force(0, "sleep 3; ASKED");
    near.force(1, &format!("unshare -m sh -c 'mount -t tmpfs none {} && ASKED'", work.join("src").display()));
    let ssh = joint_rsh(&servers.iter().chain(&near.servers).collect::<Vec<_>>());
    let refuses = format!("nobody@{}", hub.address());
    let all = format!("net1,net2,net3,lab11,lab12,{refuses}");
    let mut command = multi_sync(&work);
    command.args(["-m", "many-to-one", "--ssh", &ssh, "--hosts", &all, "--stats", "-f", "2"]);
    command.args(["-r", "-a --bwlimit=60000", "src/", &daemon.url("copy")]);
    let mut started = start(command);
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    spaces[1].cut();
    let cut = Instant::now();
    let victim = servers[0].pid();
    let _ = Pid::from_raw(victim as i32).map(|pid| kill_process(pid, rustix::process::Signal::STOP));
    processes::kill_until_gone(|| processes::descendants(victim));
    let _ = Pid::from_raw(victim as i32).map(|pid| kill_process(pid, rustix::process::Signal::KILL));
    std::thread::sleep(Duration::from_secs(10).saturating_sub(cut.elapsed()));
    spaces[1].mend();
    let ran = started.finish(Duration::from_secs(120)).expect_code(0);
    for left in temporary_files(&work.join("D")) {
        fs::remove_file(left).unwrap();
    }
    expect_same(&work, &ran);
    let said = ran.stderr_text();
    for (host, why) in [("lab12", "left out: its source is a different one"), (&refuses, "left out: code 255")] {
        assert!(said.lines().any(|line| line.contains(host) && line.contains(why)), "{host}: {}", ran.report());
    }
    assert!(told(&ran, "net1").contains("set aside"), "{}", ran.report());
    for host in ["net2", "net3", "lab11"] {
        assert!(buckets(&told(&ran, host)) > 0, "{}", ran.report());
    }
}

/// The hosts log in as a user other than the owner of the bucket directory.
#[test]
fn who_sees_the_bucket_directory_reads_there() {
    let Some(hosts) = Hosts::start(2) else { return };
    if !support::is_root() || !run(sh(&Work::new(), "unshare -m true && command -v setpriv")).status.success() {
        return support::skip("who_sees_the_bucket_directory_reads_there", "needs root, setpriv and mount namespaces");
    }
    let work = Work::new();
    slow_tree(&work);
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for dir in ["runs", "D"] {
        work.dir(dir);
    }
    support::work::set_mode(work.path(), 0o755);
    std::os::unix::fs::chown(work.join("D"), Some(65534), Some(65534)).unwrap();
    hosts.force(0, &format!("exec {nobody} sh -s"));
    let hides = format!("mount -t tmpfs none {} && exec {nobody} sh -s", work.join("runs").display());
    hosts.force(1, &format!("exec unshare -m sh -c '{hides}'"));
    let words = ["-k", "-j", "-f", "2", "-b", "runs", "-r", "-rlt --bwlimit=600", "src/", "D/"];
    let mut started = start(hosts.copy(&work, "lab11*2,lab12*2", &words));
    let scripts = || {
        let runs =
            fs::read_dir(work.join("runs")).into_iter().flatten().flatten().map(|run| run.path().join("scripts"));
        runs.filter_map(|dir| fs::read_dir(dir).ok()).flatten().count()
    };
    started.wait_for("a script to be read", SOON, |_| scripts() > 0);
    let ran = started.finish(SOON).expect_code(0);
    assert_eq!(scripts(), 0, "{}", ran.report());
    let mut check = rsync(&work);
    check.args(["-rltnic", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
    let said = ran.stderr_text();
    for (host, sees) in [("lab11", true), ("lab12", false)] {
        let line = said.lines().find(|line| line.contains(&format!("host {host}: rsync"))).unwrap_or_default();
        assert_eq!(line.contains("sees the bucket directory"), sees, "{}", ran.report());
        assert!(buckets(&told(&ran, host)) > 0, "{}", ran.report());
    }
    let kept = ran.stdout_text().lines().next().unwrap().to_owned();
    let log = fs::read_to_string(Path::new(&kept).join("logs/lab12.log")).unwrap();
    assert!(log.contains(": begins\n") && log.contains("code 0 (success)"), "{log}");
}

#[test]
fn without_any_host_left_the_run_can_be_resumed() {
    let Some(hosts) = Hosts::start(1) else { return };
    let work = Work::new();
    slow_tree(&work);
    work.dir("runs");
    let words = ["-f", "1", "-b", "runs", "--host-timeout", "2", "-r", "-a --bwlimit=800", "src/", "D"];
    let mut started = start(hosts.copy(&work, "lab11*3", &words));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    let victim = hosts.servers[0].pid();
    let _ = Pid::from_raw(victim as i32).map(|pid| kill_process(pid, rustix::process::Signal::STOP));
    processes::kill_until_gone(|| processes::descendants(victim));
    let ran = started.finish(SOON);
    assert!(ran.status.code().is_some_and(|code| code != 0), "{}", ran.report());
    assert!(ran.stderr_text().contains("--resume"), "{}", ran.report());
    let _ = Pid::from_raw(victim as i32).map(|pid| kill_process(pid, rustix::process::Signal::CONT));
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut resumed = multi_sync(&work);
    resumed.arg("--resume").arg(dir).args(["--hosts", "lab11*4"]);
    let ran = run_within(resumed, SOON).expect_code(0);
    expect_slow_tree(&work, &ran);
}

#[test]
fn nothing_runs_on_after_signals() {
    let Some(hosts) = Hosts::start(2) else { return };
    for signal in [Signal::INT, Signal::KILL] {
        let work = Work::new();
        slow_tree(&work);
        let words = ["-f", "1", "-r", "-a --bwlimit=100", "src/", "D"];
        let mut started = start(hosts.copy(&work, "lab11*2,lab12*2", &words));
        started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 2);
        assert!(hosts.remote().len() > 2, "rsyncs run on the hosts: {:?}", hosts.remote());
        started.signal(signal);
        let began = Instant::now();
        while !hosts.remote().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(5), "after {signal:?}: {:?}", hosts.remote());
            std::thread::sleep(Duration::from_millis(50));
        }
        let ran = started.finish(SOON);
        if signal == Signal::INT {
            ran.expect_code(20);
        }
    }
}

#[test]
fn a_folder_of_the_python_tool_says_it_all() {
    let Some(hosts) = Hosts::start(2) else { return };
    let work = Work::new();
    tree(&work, 200);
    let folder = work.dir("config");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write("src_dest_path.txt", format!("{}/\n{}\n", work.join("src").display(), work.join("D").display()));
    write("src_ips_hosts.txt", "# the hosts\nlab11\nlab12\n".into());
    write("buckets_path.txt", format!("{}\n", work.dir("runs").display()));
    let config = |words: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(["--config", "config", "-f", "20"]).args(words);
        run_within(command, SOON)
    };
    let ran = config(&["-m", "many-to-one", "--ssh", &hosts.ssh, "--stats"]).expect_code(0);
    expect_same(&work, &ran);
    assert!(buckets(&told(&ran, "lab12")) > 0);
    fs::remove_dir_all(work.join("D")).unwrap();
    let ran = config(&["-p", "2"]).expect_code(0);
    expect_same(&work, &ran);
    let before = [snapshot(&work.join("D")), snapshot(&work.join("runs"))];
    write("src_dest_path.txt", "only one\n".into());
    let ran = config(&[]).expect_code(1);
    assert!(ran.stderr_text().contains("src_dest_path.txt, line 2: the destination is missing"), "{}", ran.report());
    fs::remove_file(folder.join("src_dest_path.txt")).unwrap();
    assert!(config(&[]).expect_code(1).stderr_text().contains("src_dest_path.txt"));
    assert_eq!([snapshot(&work.join("D")), snapshot(&work.join("runs"))], before, "a run that was refused has written");
}

/// The owner of the copies must not depend on the host that made them.
#[test]
fn hosts_that_log_in_as_different_users_are_refused() {
    let Some(hosts) = Hosts::start(2) else { return };
    if !support::is_root() || !run(sh(&Work::new(), "command -v setpriv")).status.success() {
        return support::skip("hosts_that_log_in_as_different_users_are_refused", "needs root and setpriv");
    }
    let work = Work::public();
    tree(&work, 200);
    work.dir_for_nobody("D");
    hosts.force(1, "exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -s");
    let words = ["-f", "20", "-r", "-rlt", "src/", "D/"];
    let ran = run_within(hosts.copy(&work, &hosts.list(), &words), SOON).expect_code(1);
    assert!(ran.stderr_text().contains("log in as different users"), "{}", ran.report());
    assert_eq!(fs::read_dir(work.join("D")).unwrap().count(), 0, "{}", ran.report());
    let mixed = [&["--mixed-users"][..], &words].concat();
    let ran = run_within(hosts.copy(&work, &hosts.list(), &mixed), SOON).expect_code(0);
    run(sh(&work, "diff -r src D")).expect(true, &ran.report()).expect_code(0);
    // A host that may not write is left out, even if users may be mixed.
    support::work::set_mode(&work.dir("E"), 0o755);
    let mixed = ["--mixed-users", "-f", "20", "-r", "-rlt", "src/", "E/"];
    let ran = run_within(hosts.copy(&work, &hosts.list(), &mixed), SOON).expect_code(0);
    assert!(ran.stderr_text().contains("lab12: left out: it may not write"), "{}", ran.report());
    run(sh(&work, "diff -r src E")).expect_code(0);
}

#[test]
fn a_module_that_may_only_be_written_is_a_destination() {
    let Some(hosts) = Hosts::start(2) else { return };
    let work = Work::new();
    tree(&work, 200);
    let module = |name: &str, line: &str| Module::new(name, work.dir(name)).line(line);
    let daemon = match Rsyncd::start(&[module("writes", "write only = yes"), module("reads", "read only = yes")]) {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("a_module_that_may_only_be_written_is_a_destination", &why),
    };
    let to = format!("{}/D", daemon.url("writes"));
    run_within(hosts.copy(&work, &hosts.list(), &["-f", "20", "-r", "-a", "src/", &to]), SOON).expect_code(0);
    run(sh(&work, "diff -r src writes/D")).expect_code(0);
    let to = format!("{}/D", daemon.url("reads"));
    let ran = run_within(hosts.copy(&work, &hosts.list(), &["-f", "20", "-r", "-a", "src/", &to]), SOON);
    assert_ne!(ran.status.code(), Some(0), "{}", ran.report());
}
