//! Checks the test support itself: each promise of `support` is tried with plain rsync, ssh and sh.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{MARK, Signal, as_nobody, command, multi_sync, rsync, run, run_within, sh, start};
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::{Sshd, joint_rsh};
use crate::support::work::Work;

/// Long enough for a busy machine; reached only if the test fails.
const SOON: Duration = Duration::from_secs(30);

/// Names that a shell, a list or a terminal could damage.
const ODD_NAMES: [&[u8]; 8] =
    [b"with space", b"new\nline", b"-n", b"quote'\"", b"$HOME;*?", b"not utf8 \xff\xfe", b"host:path", b"back\\slash"];

fn odd_tree(work: &Work) -> std::path::PathBuf {
    let top = work.dir("source");
    for name in ODD_NAMES.map(OsStr::from_bytes) {
        fs::write(top.join(name), name.as_bytes()).unwrap();
        fs::create_dir(top.join("dirs").join(name))
            .or_else(|_| fs::create_dir_all(top.join("dirs").join(name)))
            .unwrap();
    }
    symlink("with space", top.join("link")).unwrap();
    symlink("/absolute", top.join("dirs/link")).unwrap();
    top
}

/// Each path with its mode, its modification time, and its content or target; as text, for a readable failure.
fn picture(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if meta.is_file() {
                fs::read(&path).unwrap()
            } else {
                open.push(path.clone());
                Vec::new()
            };
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
            found.insert(name, format!("{:o} {} {}", meta.mode(), meta.mtime(), content.escape_ascii()));
        }
    }
    found
}

/// Panics unless both trees are the odd tree, except for the paths in `but`, whose values in the copy are returned.
#[track_caller]
fn assert_copied<const N: usize>(source: &Path, copy: &Path, but: [&str; N]) -> [String; N] {
    let (mut source, mut copy) = (picture(source), picture(copy));
    assert_eq!(source.len(), 2 * ODD_NAMES.len() + 3, "the odd tree is complete");
    let given = but.map(|path| source.remove(path).and(copy.remove(path)).expect(path));
    assert_eq!(source, copy);
    given
}

fn with_slash(path: &Path) -> std::ffi::OsString {
    path.join("").into_os_string()
}

#[test]
fn rsync_through_sshd_copies_odd_names() {
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("rsync_through_sshd_copies_odd_names", &why),
    };
    let work = Work::new();
    let (source, copy) = (odd_tree(&work), work.join("copy"));
    let mut push = rsync(&work);
    push.arg("-a").arg("-e").arg(sshd.rsh()).arg(with_slash(&source)).arg(sshd.remote(with_slash(&copy)));
    run(push).listing([&source, &copy]).expect_code(0);
    assert_copied(&source, &copy, []);

    let back = work.join("back");
    let mut pull = rsync(&work);
    pull.arg("-a").arg("-e").arg(sshd.rsh()).arg(sshd.remote(with_slash(&copy))).arg(with_slash(&back));
    run(pull).listing([&copy, &back]).expect_code(0);
    assert_copied(&source, &back, []);
}

#[test]
fn sshd_works_in_a_folder_with_spaces_and_quotes() {
    let work = Work::new();
    let sshd = match Sshd::start_in(Ipv4Addr::LOCALHOST, &work.dir("it's a folder")) {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("sshd_works_in_a_folder_with_spaces_and_quotes", &why),
    };
    let (source, copy) = (odd_tree(&work), work.join("copy"));
    let mut push = rsync(&work);
    push.arg("-a").arg("-e").arg(sshd.rsh()).arg(with_slash(&source)).arg(sshd.remote(with_slash(&copy)));
    run(push).listing([&source, &copy]).expect_code(0);
    assert_copied(&source, &copy, []);
}

#[test]
fn several_sshds_are_several_hosts() {
    let addresses = [11, 12, 13].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut servers = Vec::new();
    for address in addresses {
        match Sshd::start_at(address) {
            Ok(sshd) => servers.push(sshd),
            Err(why) => return support::skip("several_sshds_are_several_hosts", &why),
        }
    }
    let work = Work::new();
    let (source, rsh) = (odd_tree(&work), joint_rsh(&servers.iter().collect::<Vec<_>>()));
    for sshd in &servers {
        let copy = work.join(sshd.host());
        let mut push = rsync(&work);
        push.args(["-a", "-e", &rsh]).arg(with_slash(&source)).arg(sshd.remote(&copy));
        run(push).expect_code(0);
        assert_copied(&source, &copy, []);
    }
    assert_eq!(servers.iter().map(Sshd::host).collect::<Vec<_>>(), ["lab11", "lab12", "lab13"]);
}

#[test]
fn rsync_through_daemon_copies_odd_names() {
    let work = Work::new();
    let (source, copy) = (odd_tree(&work), work.dir("copy"));
    let closed = Module::new("closed", work.dir("closed")).login("someone", "pass word").max_connections(3);
    let rsyncd = match Rsyncd::start(&[Module::new("data", &copy), closed]) {
        Ok(rsyncd) => rsyncd,
        Err(why) => return support::skip("rsync_through_daemon_copies_odd_names", &why),
    };
    let mut url = rsync(&work);
    url.arg("-a").arg(with_slash(&source)).arg(rsyncd.url("data") + "/url/");
    run(url).listing([&copy]).expect_code(0);
    // Without chroot, a daemon makes absolute links relative to the module.
    let [link] = assert_copied(&source, &copy.join("url"), ["dirs/link"]);
    assert!(link.ends_with(" absolute"), "{link}");

    let mut colons = rsync(&work);
    colons.arg("-a").arg(rsyncd.port_option()).arg(with_slash(&source)).arg(rsyncd.double_colon("data") + "/colons/");
    run(colons).listing([&copy]).expect_code(0);
    assert_copied(&source, &copy.join("colons"), ["dirs/link"]);

    let to_closed = |options: &[String]| {
        let mut command = rsync(&work);
        command.arg("-a").args(options).arg(with_slash(&source)).arg(rsyncd.url("closed"));
        run(command)
    };
    to_closed(&[]).expect_code(5);
    to_closed(&[rsyncd.password_option("closed")]).listing([work.join("closed")]).expect_code(0);
    assert_copied(&source, &work.join("closed"), ["dirs/link"]);
}

#[test]
fn daemon_in_a_chroot_keeps_links() {
    if !support::is_root() {
        return support::skip("daemon_in_a_chroot_keeps_links", "only root can chroot");
    }
    let work = Work::new();
    let (source, copy) = (odd_tree(&work), work.dir("copy"));
    let rsyncd = match Rsyncd::start(&[Module::new("data", &copy).line("use chroot = yes")]) {
        Ok(rsyncd) => rsyncd,
        Err(why) => return support::skip("daemon_in_a_chroot_keeps_links", &why),
    };
    let mut push = rsync(&work);
    push.arg("-a").arg(with_slash(&source)).arg(rsyncd.url("data"));
    run(push).listing([&copy]).expect_code(0);
    assert_copied(&source, &copy, []);
}

#[test]
fn max_connections_refuses_one_more() {
    let work = Work::new();
    let module = Module::new("narrow", work.dir("data")).max_connections(1);
    let rsyncd = match Rsyncd::start(&[module]) {
        Ok(rsyncd) => rsyncd,
        Err(why) => return support::skip("max_connections_refuses_one_more", &why),
    };
    fs::write(work.join("big"), vec![7; 4 << 20]).unwrap();
    let mut slow = rsync(&work);
    slow.args(["-a", "--bwlimit=100"]).arg(work.join("big")).arg(rsyncd.url("narrow"));
    let mut slow = start(slow);
    slow.wait_for("a transfer", SOON, |_| fs::read_dir(work.join("data")).unwrap().next().is_some());
    let mut second = rsync(&work);
    second.arg(rsyncd.url("narrow") + "/");
    run(second).expect_code(5);
}

#[test]
fn the_time_limit_kills_the_whole_family() {
    let work = Work::new();
    // A child in the group, one in a session of its own, and an orphan.
    let script = "sleep 1000 & setsid sleep 1001 & (sleep 1002 &) ; wait";
    let run = run_within(sh(&work, script), Duration::from_millis(500));
    assert!(run.over_limit && run.elapsed < Duration::from_secs(60), "{}", run.report());
    assert!(!run.leaked, "the pipes are closed: {}", run.report());
    assert!(run.report().contains("signal 9") && run.report().contains("killed at the time limit"), "{}", run.report());
    processes::expect_gone(&run.mark, Duration::ZERO);
}

#[test]
fn a_started_command_is_seen_signalled_and_killed() {
    let work = Work::new();
    let mut started = start(sh(&work, "trap 'echo caught; exit 7' TERM; (sleep 1000; :) & echo ready; wait"));
    started.wait_for("ready", SOON, |started| started.stdout_so_far() == b"ready\n");
    // The shell forks before it runs sleep.
    started
        .wait_for("sleep", SOON, |s| processes::descendants(s.pid()).iter().any(|live| live.command == "sleep 1000"));
    assert_eq!(processes::marked(started.mark()).len(), 3);
    started.signal(Signal::TERM);
    let run = started.finish(SOON).expect_code(7);
    assert_eq!(run.stdout_text(), "ready\ncaught\n");
    // Processes that a command leaves behind can be observed until the end of the test, and not longer.
    assert!(run.leaked && !processes::marked(&run.mark).is_empty(), "{}", run.report());
    let dropped = start(sh(&work, "sleep 1000 & setsid sleep 1001 & wait"));
    let mark = dropped.mark().to_owned();
    drop(dropped);
    processes::expect_gone(&mark, Duration::ZERO);
    drop(work);
    processes::expect_gone(&run.mark, Duration::ZERO);
}

#[test]
fn expect_gone_names_what_is_left() {
    let work = Work::new();
    let started = start(sh(&work, "exec sleep 1000"));
    let check = || processes::expect_gone(started.mark(), Duration::from_millis(100));
    let message = panic_message(check);
    assert!(message.contains(&started.pid().to_string()), "{message}");
}

#[test]
fn a_failed_expectation_tells_everything() {
    let work = Work::new();
    work.file("dir/in\nside", "12345");
    let mut failing = sh(&work, "echo to out; printf 'to err\\001' >&2; exit 3");
    failing.arg("an argument").env("LAB_VARIABLE", "it's set");
    let message = panic_message(|| {
        run(failing).listing([work.join("dir")]).expect_code(0);
    });
    let cwd = work.path().to_str().unwrap();
    for needed in [
        "expected exit code 0",
        &format!("cd {cwd} && env "),
        r"LAB_VARIABLE='it'\''s set'",
        "LC_ALL=C",
        "sh -c 'echo to out;",
        "exit 3' 'an argument'",
        "exit code 3",
        "stdout (7 bytes):\n  to out",
        "stderr (7 bytes):\n  to err\\x01",
        "listing of ",
        r"5 ",
        r"$'in\nside'",
    ] {
        assert!(message.contains(needed), "{needed:?} is missing in:\n{message}");
    }
    assert!(panic_message(|| drop(run(sh(&work, "kill -9 $$")).expect_code(0))).contains("signal 9"));
    assert!(panic_message(|| drop(run(sh(&work, "true")).expect(false, "because"))).contains("because"));
}

fn panic_message(action: impl FnOnce()) -> String {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).expect_err("it should have failed");
    caught.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn commands_see_a_clean_environment() {
    let work = Work::new();
    let seen = run(command(&work, "env")).expect_code(0).stdout_text();
    let value = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(value("LC_ALL"), Some("C"));
    assert_eq!(value("TMPDIR"), work.join("tmp").to_str());
    assert_eq!(value("HOME"), work.join("home").to_str());
    assert!(value(MARK).is_some());
    assert!(!seen.lines().any(|line| line.starts_with("RSYNC_") || line.starts_with("SSH_")), "{seen}");
    run(version(&work)).expect_code(0);
}

fn version(work: &Work) -> Command {
    let mut command = multi_sync(work);
    command.arg("--version");
    command
}

#[test]
fn nobody_is_nobody() {
    if !support::is_root() {
        return support::skip("nobody_is_nobody", "only root can become another user");
    }
    let work = Work::public();
    let mine = work.dir_for_nobody("mine");
    let script = format!("id -u; id -g; id -G; touch '{}/file' && cat /etc/shadow", mine.display());
    let run = run(as_nobody(&work, sh(&work, &script))).expect(true, "").expect_code(1);
    assert_eq!(run.stdout_text(), "65534\n65534\n65534\n");
    assert_eq!(fs::metadata(mine.join("file")).unwrap().uid(), 65534);
    // Also from a folder that nobody cannot enter.
    let hidden = Work::new();
    fs::copy("/bin/true", hidden.join("true")).unwrap();
    run_within(as_nobody(&work, command(&work, hidden.join("true"))), SOON).expect_code(0);
    run_within(as_nobody(&work, version(&work)), SOON).expect_code(0);
}

#[test]
fn folders_go_whatever_is_in_them() {
    let works = [Some(Work::new()), Some(Work::public()), Work::on_tmpfs()];
    for work in works.into_iter().flatten() {
        let path = work.path().to_path_buf();
        support::work::set_mode(&work.dir("closed/inner"), 0o000);
        support::work::set_mode(&work.join("closed"), 0o000);
        drop(work);
        assert!(!path.exists(), "{} is left", path.display());
    }
    match Work::on_tmpfs() {
        Some(work) => assert!(work.path().starts_with("/dev/shm") && support::work::reachable_by_all(work.path())),
        None => support::skip("folders_go_whatever_is_in_them", "no /dev/shm"),
    }
}

#[test]
fn dropped_servers_leave_no_process() {
    let work = Work::new();
    let source = work.file("big", vec![1; 4 << 20]);
    if let Ok(rsyncd) = Rsyncd::start(&[Module::new("data", work.dir("data"))]) {
        let mut slow = rsync(&work);
        slow.args(["-a", "--bwlimit=100"]).arg(&source).arg(rsyncd.url("data"));
        let mut slow = start(slow);
        let folder = rsyncd.folder().to_str().unwrap().to_owned();
        slow.wait_for("a connection", SOON, |_| processes::descendants(rsyncd.pid()).len() == 2);
        drop(rsyncd);
        processes::expect_gone(&folder, Duration::ZERO);
        assert!(!Path::new(&folder).exists());
        assert_ne!(slow.finish(SOON).status.code(), Some(0));
    } else {
        support::skip("dropped_servers_leave_no_process", "no rsync");
    }
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("dropped_servers_leave_no_process", &why),
    };
    let mut session = command(&work, "ssh");
    session.arg("-F").arg(sshd.ssh_config()).arg(sshd.host()).arg("sleep 1000 & setsid sleep 1001 & echo ready; wait");
    let mut session = start(session);
    session.wait_for("a session", SOON, |session| session.stdout_so_far() == b"ready\n");
    let folder = sshd.folder().to_str().unwrap().to_owned();
    session.wait_for("the mark in remote commands", SOON, |_| {
        processes::marked(&folder).iter().filter(|live| live.command.starts_with("sleep")).count() == 2
    });
    drop(sshd);
    session.finish(SOON).expect_code(255);
    processes::expect_gone(&folder, Duration::ZERO);
}

/// Not a test, but the victim of the next one: holds a server until it is killed.
#[test]
fn victim_holding_a_server() {
    let Ok(file) = std::env::var("LAB_VICTIM") else { return };
    let Ok(rsyncd) = Rsyncd::start(&[]) else { return };
    fs::write(file, rsyncd.pid().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
fn a_killed_test_leaves_no_server() {
    let work = Work::new();
    let file = work.join("pid");
    let mut victim = command(&work, std::env::current_exe().unwrap());
    victim.args(["--exact", "support_selfcheck::victim_holding_a_server"]).env("LAB_VICTIM", &file);
    let mut victim = start(victim);
    victim.wait_for("a server", SOON, |_| fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()));
    let pid = fs::read_to_string(&file).unwrap();
    let server = Path::new("/proc").join(pid);
    assert!(server.exists());
    victim.signal(Signal::KILL);
    let end = Instant::now() + SOON;
    // If orphans are not reaped, it stays as a zombie, without a command line.
    while fs::read(server.join("cmdline")).is_ok_and(|line| !line.is_empty()) {
        assert!(Instant::now() < end, "the server outlives a killed test");
        std::thread::sleep(Duration::from_millis(10));
    }
}
