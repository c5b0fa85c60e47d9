//! Several addresses of one machine: launches go through all of them, the loss of one loses no data, and addresses that do not lead to the same directory are
//! refused.
//!
//! The addresses are sshds and daemons on addresses of this machine, or behind links of their own.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::command::{Run, multi_sync, run, run_within, sh, start};
use crate::support::netns::{Hub, Space};
use crate::support::processes;
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::{Sshd, joint_rsh};
use crate::support::trees::tree;
use crate::support::twin::{snapshot, temporary_files};
use crate::support::work::{Work, set_mode};
use rustix::process::{Pid, kill_process};

const SOON: Duration = Duration::from_secs(40);

fn sshds(lasts: &[u8]) -> Option<(Vec<Sshd>, String)> {
    match lasts.iter().map(|last| Sshd::start_at(Ipv4Addr::new(127, 0, 0, *last))).collect::<Result<Vec<_>, _>>() {
        Ok(servers) => {
            let rsh = joint_rsh(&servers.iter().collect::<Vec<_>>());
            Some((servers, rsh))
        }
        Err(why) => {
            support::skip(&support::this_test(), &why);
            None
        }
    }
}

fn copy(work: &Work, rsh: &str, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.env("RSYNC_RSH", rsh).args(words);
    command
}

#[track_caller]
fn expect_equal(work: &Work, ran: &Run) {
    let [there, here] = ["src", "D"].map(|dir| snapshot(&work.join(dir)));
    let differ = |these: &[String], others: &[String]| {
        these.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    let differ = [differ(&there, &here), differ(&here, &there)];
    assert!(there == here, "{differ:?}: {}", ran.report());
}

/// Makes the times of the source older. rsync regards times within one second as equal, so that entries created in the same second as the source may keep
/// their own time.
fn age(work: &Work) {
    run(sh(work, "find src -depth -exec touch -d @1000000000 {} +")).expect_code(0);
}

/// The number of buckets that `--stats` reports for an address.
#[track_caller]
fn buckets(ran: &Run, address: &str) -> u64 {
    let text = ran.stdout_text();
    let line = text.lines().find(|line| line.starts_with(&format!("Host {address}: ")));
    let line = line.unwrap_or_else(|| panic!("nothing is said of {address}: {}", ran.report()));
    line.split(", ").find_map(|part| part.strip_suffix(" buckets")).unwrap().parse().unwrap()
}

fn pulled(work: &Work, path: &str) -> String {
    work.join(path).display().to_string()
}

#[test]
fn launches_go_through_all_addresses() {
    let Some((_servers, rsh)) = sshds(&[21, 22]) else { return };
    let work = Work::new();
    tree(&work, 600);
    let (src, dest) = (pulled(&work, "src/"), pulled(&work, "D/"));
    for (from, to, more) in [
        (format!("{{lab21,lab22}}:{src}"), "D".to_owned(), "-t"),
        ("src/".to_owned(), format!("lab{{21..22}}:{dest}"), "-t"),
        // With another command for rsync, no shell answers.
        (format!("lab2{{1,2}}:{src}"), "D".to_owned(), "--rsync-path=/usr/bin/rsync"),
    ] {
        let words = ["-p", "4", "-f", "20", "--stats", "rsync", "-a", more, &from, &to];
        let ran = run_within(copy(&work, &rsh, &words), SOON).expect_code(0);
        assert!(buckets(&ran, "lab21") > 3 && buckets(&ran, "lab22") > 3, "{}", ran.report());
        expect_equal(&work, &ran);
        fs::remove_dir_all(work.join("D")).unwrap();
    }
}

#[test]
fn one_rsync_goes_through_the_first_that_answers() {
    let Some((_servers, rsh)) = sshds(&[23]) else { return };
    let work = Work::new();
    tree(&work, 50);
    let from = format!("{{gone,lab23}}:{}", pulled(&work, "src/"));
    for flags in [&["-p", "4", "rsync", "-a", "--delete"][..], &["rsync", "-a"]] {
        let words = [flags, &[&from, "D"]].concat();
        let ran = run_within(copy(&work, &rsh, &words), SOON).expect_code(0);
        let said = ran.stderr_text();
        assert!(said.contains("address gone: left out: code 255"), "{}", ran.report());
        assert!(said.contains("one rsync goes through one address: lab23"), "{}", ran.report());
        expect_equal(&work, &ran);
    }
}

#[test]
fn what_does_not_lead_to_one_directory_is_refused() {
    let Some((servers, rsh)) = sshds(&[24, 25]) else { return };
    let work = Work::new();
    tree(&work, 30);
    // Logins begin in different directories.
    for server in &servers {
        fs::create_dir_all(server.folder().join("s/a")).unwrap();
        let keys = server.folder().join("authorized_keys");
        let key = fs::read_to_string(&keys).unwrap();
        let begins = format!("cd {} && exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"", server.folder().display());
        fs::write(&keys, format!("command=\"{begins}\" {key}")).unwrap();
    }
    let refused = |words: &[&str], why: &str| {
        let before = snapshot(&work.join("src"));
        let ran = run_within(copy(&work, &rsh, &[&["-p", "4", "rsync", "-a"], words].concat()), SOON);
        assert!(ran.stderr_text().contains(why) && !ran.status.success(), "{}", ran.report());
        assert!(!work.join("D").exists() && snapshot(&work.join("src")) == before, "{}", ran.report());
    };
    let other = "lab24 and lab25 do not lead to the same directory";
    refused(&["{lab24,lab25}:s/", "D"], other);
    refused(&["src/", "{lab24,lab25}:new/x"], other);
    refused(&["--rsync-path=/usr/bin/rsync", "src/", "lab{24,25}:s/"], "give no shell that could show");
    refused(&["{gone1,gone2}:s/", "D"], "no address of '{gone1,gone2}:s/' can be used: code 255");
    refused(&["{lab24,lab25}:s/", ":t/", "D"], "there are other sources");
    refused(&["{lab24,lab25}:s/", "lab24:D"], "both on other machines");
    refused(&["{lab24}:s/", "D"], "one address only");
    let mut adapts = copy(&work, &rsh, &["-p", "auto", "rsync", "-a", "{lab24,lab25}:s/", "D"]);
    adapts.env("HOME", work.path());
    let ran = run(adapts).expect_code(1);
    assert!(ran.stderr_text().contains("-p auto with several addresses"), "{}", ran.report());
    assert!(servers.iter().all(|server| !server.folder().join("new").exists()));
}

/// Machines that share a file system are different machines: a file that is created through one must be visible through the other.
#[test]
fn of_two_machines_a_file_tells() {
    let work = Work::new();
    tree(&work, 60);
    fs::create_dir(work.join("D")).unwrap();
    let bin = work.dir("bin");
    let text = format!("#!/bin/sh\nBOOT=$1; export BOOT\nshift\nPATH={}:$PATH exec sh -c \"$*\"\n", bin.display());
    let cat = work.file("bin/cat", "#!/bin/sh\ncase $1 in *boot_id) echo $BOOT ;; *) exec /bin/cat \"$@\" ;; esac\n");
    set_mode(&cat, 0o755);
    let rsh = work.file("rsh", text);
    set_mode(&rsh, 0o755);
    let rsh = rsh.display().to_string();
    let dest = format!("{{a,b}}:{}", pulled(&work, "D/"));
    let words = ["-p", "4", "-f", "9", "rsync", "-a", "src/", &dest];
    let ran = run_within(copy(&work, &rsh, &words), SOON).expect_code(0);
    expect_equal(&work, &ran);
}

#[test]
fn an_address_that_is_lost_loses_nothing() {
    let Some((mut servers, rsh)) = sshds(&[26, 27]) else { return };
    let work = Work::new();
    for number in 0..40 {
        let file = fs::File::create(work.file(format!("src/d{}/f{number}", number % 5), "")).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    age(&work);
    let from = format!("{{lab26,lab27}}:{}", pulled(&work, "src/"));
    let words = ["-p", "4", "-f", "1", "--stats", "rsync", "-a", "--bwlimit=30000", &from, "D"];
    let mut started = start(copy(&work, &rsh, &words));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 1);
    // The machine through which the tree was scanned.
    let victim = servers.remove(0);
    let pid = Pid::from_raw(victim.pid() as i32).unwrap();
    kill_process(pid, rustix::process::Signal::STOP).unwrap();
    processes::kill_until_gone(|| processes::descendants(victim.pid()));
    kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let ran = started.finish(SOON).expect_code(0);
    assert!(ran.stderr_text().contains("lab26 is set aside"), "{}", ran.report());
    for left in temporary_files(&work.join("D")) {
        // Creating the file changes the time of its directory, which is not compared.
        let dir = fs::File::open(left.parent().unwrap()).unwrap();
        let time = dir.metadata().unwrap().modified().unwrap();
        fs::remove_file(left).unwrap();
        dir.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    }
    expect_equal(&work, &ran);
    assert!(buckets(&ran, "lab27") > 20, "{}", ran.report());
}

/// An address that was lost and answers again may lead to another machine by then.
#[test]
fn an_address_that_comes_back_has_to_lead_to_the_same_directory() {
    for elsewhere in [false, true] {
        let work = Work::new();
        tree(&work, 120);
        work.file("other/src/wrong", "of another machine");
        let top = work.path().display().to_string();
        // The first launch through this address breaks it. After one question it works again, but a login may begin in another directory.
        let begins = if elsewhere { "other" } else { "." };
        let script = format!(
            "#!/bin/sh\nat=$1; shift; cd '{top}'\nif [ $at = a ]; then\n\
             case $* in *--files-from*) [ -e cut ] || {{ touch cut; exit 255; }} ;; esac\n\
             if [ -e cut ]; then case $* in 'sh -s') mkdir try1 2>/dev/null || mkdir back 2>/dev/null ;; esac; [ -e back ] || exit 255; cd {begins}; fi\n\
             fi\nsleep 0.1; exec sh -c \"$*\"\n"
        );
        let rsh = work.file("rsh", script);
        set_mode(&rsh, 0o755);
        let from = "{a,b}:src/";
        let words = ["-p", "2", "-f", "2", "--stats", "rsync", "-a", from, "D"];
        let ran = run_within(copy(&work, &rsh.display().to_string(), &words), SOON).expect_code(0);
        assert!(work.join("back").exists(), "it was not asked again: {}", ran.report());
        expect_equal(&work, &ran);
        let is_used = buckets(&ran, "a") > 0;
        assert!(is_used != elsewhere, "{elsewhere}: {}", ran.report());
    }
}

#[test]
fn daemons_have_addresses_too() {
    let work = Work::new();
    tree(&work, 300);
    work.file("other/f", "");
    let start = |path: &str| Rsyncd::start(&[Module::new("m", work.join(path))]);
    let daemons = ["src", "src", "other"].map(start).into_iter().collect::<Result<Vec<_>, _>>();
    let daemons = match daemons {
        Ok(daemons) => daemons,
        Err(why) => return support::skip("daemons_have_addresses_too", &why),
    };
    let machines: Vec<String> = daemons
        .iter()
        .map(|daemon| daemon.url("m").trim_start_matches("rsync://").trim_end_matches("/m").to_owned())
        .collect();
    let from = |one: usize, two: usize| format!("rsync://{{{},{}}}/m/", machines[one], machines[two]);
    let words = ["-p", "4", "-f", "20", "--stats", "rsync", "-a"];
    let ran = run_within(copy(&work, "ssh", &[&words[..], &[&from(0, 1), "D"]].concat()), SOON).expect_code(0);
    assert!(buckets(&ran, &machines[0]) > 3 && buckets(&ran, &machines[1]) > 3, "{}", ran.report());
    expect_equal(&work, &ran);
    for (ends, why) in [([&from(0, 2)[..], "E"], "do not lead"), (["src/", &from(0, 1)], "give no shell")] {
        let ran = run_within(copy(&work, "ssh", &[&words[..], &ends].concat()), SOON).expect_code(3);
        assert!(ran.stderr_text().contains(why) && !work.join("E").exists(), "{}", ran.report());
    }
}

/// Three links of 100 Mbit/s, one of which is cut in the middle of the copy, without any error message.
#[test]
#[ignore = "takes a minute: cargo test --test it addresses:: -- --ignored --nocapture"]
fn three_links_are_nearly_three_times_one() {
    let made = Hub::start().and_then(|hub| {
        let spaces = (1..=3).map(|number| Space::start(&hub, number)).collect::<Result<Vec<_>, _>>()?;
        let servers = spaces.iter().map(Sshd::start_on).collect::<Result<Vec<_>, _>>()?;
        Ok((hub, spaces, servers))
    });
    let (_hub, spaces, servers) = match made {
        Ok(made) => made,
        Err(why) => return support::skip("three_links_are_nearly_three_times_one", &why),
    };
    let rsh = joint_rsh(&servers.iter().collect::<Vec<_>>());
    let work = Work::new();
    for number in 0..180 {
        let file = fs::File::create(work.file(format!("src/d{}/f{number}", number % 6), "")).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    age(&work);
    let src = pulled(&work, "src/");
    let mut took = Vec::new();
    for from in [format!("net1:{src}"), format!("net{{1..3}}:{src}")] {
        let began = Instant::now();
        let ran = run_within(copy(&work, &rsh, &["-p", "3", "--stats", "rsync", "-a", &from, "D"]), SOON);
        took.push(began.elapsed().as_secs_f64());
        expect_equal(&work, &ran.expect_code(0));
        fs::remove_dir_all(work.join("D")).unwrap();
    }
    println!("one address {:.1} s, three {:.1} s: {:.2} times as fast", took[0], took[1], took[0] / took[1]);
    let from = format!("net{{1..3}}:{src}");
    let mut started = start(copy(&work, &rsh, &["-p", "3", "-f", "6", "--stats", "rsync", "-a", &from, "D"]));
    started.wait_for("files in transfer", SOON, |_| temporary_files(&work.join("D")).len() > 2);
    spaces[0].cut();
    let began = Instant::now();
    let ran = started.finish(Duration::from_secs(120)).expect_code(0);
    println!("cut: {:.1} s more\n{}", began.elapsed().as_secs_f64(), ran.report());
    assert!(ran.stderr_text().contains("net1 is set aside"), "{}", ran.report());
    for left in temporary_files(&work.join("D")) {
        fs::remove_file(left).unwrap();
    }
    expect_equal(&work, &ran);
    assert!(took[0] / took[1] > 2.0);
}
