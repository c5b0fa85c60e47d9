//! Sources on another machine: the copy, the exit code and the lists are those of one rsync, through a real sshd and a real rsync daemon.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use multi_sync::harness::treegen::{self, Odd, Sizes, Spec, TopLevel};

use crate::support;
use crate::support::command::{Signal, multi_sync, run, start};
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::sshd::Sshd;
use crate::support::twin::{Twin, snapshot};
use crate::support::work::Work;

macro_rules! or_skip {
    ($started:expr, $test:literal) => {
        match $started {
            Ok(started) => started,
            Err(why) => return support::skip($test, &why),
        }
    };
}

fn twin<'a>(work: &'a Work, sshd: &Sshd, words: &[&str]) -> Twin<'a> {
    Twin::new(work, words).options("-aS --numeric-ids").env("RSYNC_RSH", sshd.rsh())
}

#[test]
fn through_ssh_every_form_of_source() {
    let sshd = or_skip!(Sshd::start(), "through_ssh_every_form_of_source");
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(40) }, 3).unwrap();
    treegen::generate(&work.join("other"), &Spec::bench(20, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    work.file("single", "single");
    work.file("wild/st*r/a", "in a name with a wildcard");
    work.file("wild/star/b", "matched by a wildcard");
    let at = |path: &str| format!("{}:{}/{path}", sshd.host(), work.path().display());
    let here = |path: &str| format!(":{}/{path}", work.path().display());
    let mut failed = Vec::new();
    for (words, flags) in [
        (&[&at("src/"), "SIDE/D"][..], "-p 4 -f 5"),
        (&[&at("src"), "SIDE/D"], "-p 4 -f 5"),
        (&[&at("src"), &here("other"), "SIDE/D"], "-p 4 -f 5"),
        (&[&at("single"), "SIDE/D"], "-p 4 -f 5"),
        (&[&at("wild/s*"), "SIDE/D"], "-p 4 -f 1"),
        (&[&at("gone"), "SIDE/D"], "-p 4 -f 5"),
        (&[&at("src/"), "SIDE/none/D"], "-p 4 -f 5"),
    ] {
        failed.extend(twin(&work, &sshd, words).flags(flags).difference());
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn from_a_daemon_every_form_of_source() {
    let work = Work::new();
    work.dir("m");
    treegen::odd_names(&work.join("m/odd"), TopLevel::Dirs).unwrap();
    treegen::generate(&work.join("m/src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 999 }), 1).unwrap();
    let daemon = or_skip!(
        Rsyncd::start(&[
            Module::new("open", work.join("m")),
            Module::new("free", work.join("m")).line("use chroot = no")
        ]),
        "from_a_daemon_every_form_of_source"
    );
    let mut failed = Vec::new();
    for module in ["open", "free"] {
        let url = |path: &str| format!("{}/{path}", daemon.url(module));
        for words in [
            &[&daemon.url(module), "SIDE/D"][..],
            &[&url(""), "SIDE/D"],
            &[&url("odd"), "SIDE/D"],
            &[&url("odd/"), "SIDE/D"],
            &[&url("src"), &url("odd"), "SIDE/D"],
            &[&url("gone"), "SIDE/D"],
            &[&url("../"), "SIDE/D"],
        ] {
            failed.extend(Twin::new(&work, words).flags("-p 4 -f 40").difference());
        }
    }
    failed.extend(Twin::new(&work, [&format!("{}/", daemon.url("none")), "SIDE/D"]).difference());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Nothing is written or contacted, because the words themselves are invalid.
#[test]
fn bad_words_for_sources_are_refused() {
    let work = Work::new();
    for file in ["src/a", "dest/old"] {
        work.file(file, file);
    }
    work.dir("buckets");
    let many = ["-m", "many-to-one", "--hosts", "h", "-r", "-a"];
    let cases: &[(&[&str], &str)] = &[
        (&[":p", "dest"], "source ':p' has an empty host"),
        (&["::m", "dest"], "source '::m' has an empty host"),
        (&["@h:p", "dest"], "empty user"),
        (&["u@:p", "dest"], "empty host"),
        (&["--", "-h:p", "dest"], "option: '-h'"),
        (&["--", "-oProxyCommand=touch x:p", "dest"], "option"),
        (&["u@-h:p", "dest"], "option: '-h'"),
        (&["h;x:p", "dest"], "misread"),
        (&["h x:p", "dest"], "misread"),
        (&["$h:p", "dest"], "misread"),
        (&["h:-p", "dest"], "option"),
        (&["h::-m", "dest"], "option"),
        (&["h:a\nb", "dest"], "control"),
        (&["h::", "dest"], "no module"),
        (&["rsync://h", "dest"], "no module"),
        (&["rsync://h/", "dest"], "no module"),
        (&["rsync://h:0/m", "dest"], "bad port: '0'"),
        (&["rsync://h:99999/m", "dest"], "bad port: '99999'"),
        (&["rsync://u:secret@h/m", "dest"], "rsync://[USER@]HOST"),
        (&["src/", "h:p", "dest"], "not on one machine"),
        (&["h:p", "src/", "dest"], "not on one machine"),
        (&["h:p", "i:p", "dest"], "not on one machine"),
        (&["h:p", "h::m/p", "dest"], "not on one machine"),
        (&["h:p", "i:dest"], "both on other machines"),
        (&["rsync://h/m", "i::m"], "both on other machines"),
        (&["-d", "h:p", "dest"], "--dry-run"),
        (&["--gitignore", "h:p", "dest"], "--gitignore"),
        (&["--survey", "h:p", "dest"], "survey"),
        (&["--remote-scan=find", "src/", "dest"], "--remote-scan find"),
        (&["--remote-scan=tar", "h:p", "dest"], "--remote-scan"),
        (&[many[0], many[1], many[2], many[3], many[4], many[5], "h:p", "dest"], "source hosts"),
    ];
    let before = snapshot(work.path());
    let mut failed = Vec::new();
    for (words, culprit) in cases {
        let mut command = multi_sync(&work);
        command.args(*words);
        let ran = run(command);
        let said = ran.stderr_text();
        let names = said.lines().next().is_some_and(|line| line.starts_with("multi-sync: ") && line.contains(culprit));
        let told = names && said.contains("multi-sync: to do: ") && ran.stdout.is_empty();
        if ran.status.code() != Some(1) || !told || snapshot(work.path()) != before {
            failed.push(format!("{culprit}\n{}", ran.report()));
        }
    }
    assert!(cases.len() >= 26 && failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// The program that scans the source does not affect the copy, and it is the requested one.
#[test]
fn each_scan_copies_the_same() {
    let built = Path::new(env!("CARGO_BIN_EXE_multi-sync")).parent().unwrap().display().to_string();
    let path = format!("SetEnv \"PATH={built}:{}\"\n", std::env::var("PATH").unwrap());
    let sshd = or_skip!(Sshd::start_with(Ipv4Addr::LOCALHOST, &path), "each_scan_copies_the_same");
    let work = Work::new();
    treegen::odd_tree(&work.join("src"), &Odd { sockets: false, ..Odd::new(60) }, 5).unwrap();
    let daemon = or_skip!(Rsyncd::start(&[Module::new("m", work.path())]), "each_scan_copies_the_same");
    let ssh = format!("{}:{}/src/", sshd.host(), work.path().display());
    let mut failed = Vec::new();
    for (source, how, scanned) in [
        (&ssh, "agent", "scanned there by multi-sync"),
        (&ssh, "find", "scanned there by find"),
        (&ssh, "rsync", "scanned there by the listing of rsync"),
        (&format!("{}/src/", daemon.url("m")), "auto", "scanned there by the listing of rsync"),
        (&format!("{}/src/", daemon.url("m")), "find", "find is not available"),
    ] {
        let flags = format!("-p 2 -f 15 --remote-scan {how}");
        let words = [source, "SIDE/D"];
        let options = if source == &ssh { "-aH --delete" } else { "-aH" };
        failed.extend(twin(&work, &sshd, &words).options(options).flags(&flags).difference());
        let mut explain = multi_sync(&work);
        explain.args(["explain", "-p", "4", "--remote-scan", how, "rsync", "-aH", source, "E/"]);
        let told = run({
            explain.env("RSYNC_RSH", sshd.rsh());
            explain
        });
        assert!(told.stdout_text().contains(scanned), "{how}: {}", told.report());
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Failures at the other side, or of the connection, give the exit code of one rsync, and DEST is not created.
#[test]
fn what_fails_on_the_way_fails_as_one_rsync() {
    let sshd = or_skip!(Sshd::start(), "what_fails_on_the_way_fails_as_one_rsync");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(20, Sizes::Empty), 1).unwrap();
    let at = |path: &str| format!("{}:{}/{path}", sshd.host(), work.path().display());
    for (options, source, codes) in [
        ("-a --rsync-path=/nonexistent", at("src/"), &[127, 12][..]),
        ("-a --rsync-path=true", at("src/"), &[12]),
        ("-a -e /nonexistent/ssh", at("src/"), &[14, 12]),
        ("-a", "nobody-is-called-this.invalid:src/".to_owned(), &[255, 12]),
        ("-a", format!("nobody-is-called-this@{}:src/", sshd.host()), &[255, 12]),
    ] {
        let mut command = multi_sync(&work);
        command.args(["-p", "4", "-f", "3", "-r", options, "--", &source, "D"]).env("RSYNC_RSH", sshd.rsh());
        let ran = run(command);
        assert!(ran.status.code().is_some_and(|code| codes.contains(&code)), "{}", ran.report());
        assert!(!work.join("D").exists(), "{}", ran.report());
    }
}

/// The lines that are printed are those of one rsync.
#[test]
fn what_is_printed_is_what_one_rsync_prints() {
    let sshd = or_skip!(Sshd::start(), "what_is_printed_is_what_one_rsync_prints");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    let source = format!("{}:{}/src/", sshd.host(), work.path().display());
    for options in ["-ai", "-av", "-ani --delete"] {
        let (one, many) = twin(&work, &sshd, &[&source, "SIDE/D"]).options(options).flags("-p 4 -f 9").same();
        assert_eq!(lines(&one.stdout), lines(&many.stdout), "{options}: {}", many.report());
    }
    assert!(Path::new(&work.join("src")).is_dir());
}

/// Lines without the sums, which count bytes of one connection, and without the name of DEST, which differs.
fn lines(output: &[u8]) -> Vec<&[u8]> {
    const OTHERS: [&[u8]; 3] = [b"sent ", b"total size is ", b"created directory "];
    let is_other = |line: &&[u8]| OTHERS.iter().any(|begin| line.starts_with(begin));
    let mut lines: Vec<&[u8]> = output.split(|byte| *byte == b'\n').filter(|line| !is_other(line)).collect();
    lines.sort_unstable();
    lines
}

/// A pull that is resumed, verified, and in the form of an rsync command.
#[test]
fn what_is_around_a_copy_works_for_a_pull_too() {
    let sshd = or_skip!(Sshd::start(), "what_is_around_a_copy_works_for_a_pull_too");
    let work = Work::new();
    treegen::generate(&work.join("src"), &Spec::bench(60, Sizes::Uniform { min: 0, max: 99 }), 1).unwrap();
    fs::create_dir(work.join("D")).unwrap();
    work.file("D/too much", "");
    let source = format!("{}:{}/src/", sshd.host(), work.path().display());
    let go = |words: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(words).env("RSYNC_RSH", sshd.rsh());
        run(command)
    };
    let limited = go(&["-p", "4", "-f", "9", "--delete-limit", "0", "rsync", "-a", "--delete", &source, "D/"]);
    limited.expect(work.join("D/too much").exists(), "the limit holds").expect_code(25);
    let verified = go(&["-p", "4", "-f", "9", "--verify=checksum", "rsync", "-a", "--delete", &source, "D/"]);
    verified.expect_code(0).expect(!work.join("D/too much").exists(), "it is deleted");
    go(&["-p", "4", "--verify-only", "rsync", "-a", &source, "D/"]).expect_code(0);
    fs::write(work.join("D").join("more"), "").unwrap();
    let differs = go(&["-p", "4", "--verify-only", "rsync", "-a", "--delete", &source, "D/"]);
    assert!(differs.stdout_text().contains("more"), "{}", differs.report());
}

/// The link that leads to the source is switched during a copy with several rsyncs. The result may be mixed, whereas one rsync would have stayed in the first
/// directory.
#[test]
fn a_source_that_is_replaced_meanwhile_is_noticed() {
    let sshd = or_skip!(Sshd::start(), "a_source_that_is_replaced_meanwhile_is_noticed");
    let work = Work::new();
    for release in ["first", "second"] {
        (0..60).for_each(|n| drop(work.file(format!("{release}/d{}/{n}", n % 6), vec![b'x'; 8000])));
    }
    let lead_to = |release: &str| {
        symlink(release, work.join("next")).unwrap();
        fs::rename(work.join("next"), work.join("current")).unwrap();
    };
    let source = format!("{}:{}/current/", sshd.host(), work.path().display());
    // With -r nothing is left to be done for split directories.
    for (options, dest, killed) in [("-a", "A/", false), ("-r", "R/", false), ("-a", "K/", true)] {
        lead_to("first");
        let options = format!("{options} --bwlimit=200");
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "12", "-b", work.dir(format!("runs-{dest}")).to_str().unwrap(), "-r", &options]);
        copy.args([&source, dest]).env("RSYNC_RSH", sshd.rsh());
        let copy = start(copy);
        let is_there = |n: u32| (0..6).any(|d| work.join(dest).join(format!("d{d}/{n}")).exists());
        while !(0..60).any(is_there) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if killed {
            copy.signal(Signal::KILL);
        }
        lead_to("second");
        let ran = copy.finish(Duration::from_secs(60));
        if !killed {
            assert!(ran.stderr_text().contains("was replaced while multi-sync ran"), "{options}: {}", ran.report());
            ran.expect_code(23);
            continue;
        }
        let dir = fs::read_dir(work.join(format!("runs-{dest}"))).unwrap().next().unwrap().unwrap().path();
        let mut resumed = multi_sync(&work);
        resumed.arg("--resume").arg(dir).env("RSYNC_RSH", sshd.rsh());
        let resumed = run(resumed).expect_code(23);
        assert!(
            resumed.stderr_text().contains("is not the directory that this run has scanned"),
            "{}",
            resumed.report()
        );
    }
}
