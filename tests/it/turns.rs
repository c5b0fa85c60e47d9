//! Another machine that accepts fewer rsyncs than there are slots, for example one at a time: only this number runs, and nothing is lost.

use std::fs;
use std::net::Ipv4Addr;

use crate::support;
use crate::support::command::{multi_sync, rsync, run};
use crate::support::daemon::find_program;
use crate::support::sshd::Sshd;
use crate::support::work::Work;

fn grow(work: &Work) {
    for number in 0..24 {
        work.file(format!("src/d{}/e/f{number}", number % 6), "content");
    }
    work.dir("D");
}

/// Copies to `dest`, which is D, and compares.
fn copies(work: &Work, sshd: &Sshd, dest: &str) {
    let mut copy = multi_sync(work);
    copy.args(["-p", "3", "-f", "5", "-r", "-a --delete", "src/", dest]).env("RSYNC_RSH", sshd.rsh());
    let ran = run(copy).expect_code(0);
    let said = ran.stderr_text();
    assert!(said.matches("the other side does not accept so many").count() <= 1, "{said}");
    assert!(!said.contains("Another instance") && !said.contains("kex_exchange"), "{said}");
    let mut check = rsync(work);
    check.args(["-ani", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

#[test]
fn one_at_a_time_through_rrsync() {
    // It is a Python script.
    let started = find_program("rrsync").and_then(|rrsync| find_program("python3").map(|_| rrsync));
    let started = started.and_then(|rrsync| Ok((rrsync, Sshd::start()?)));
    let (rrsync, sshd) = match started {
        Ok(started) => started,
        Err(why) => return support::skip("one_at_a_time_through_rrsync", &why),
    };
    let work = Work::new();
    grow(&work);
    let keys = sshd.folder().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    let forced = format!("command=\"{} {}/D\" {key}", rrsync.display(), work.path().display());
    fs::write(&keys, forced).unwrap();
    copies(&work, &sshd, &format!("{}:", sshd.host()));
    let nothing_to_do = &format!("{}:.", sshd.host());
    copies(&work, &sshd, nothing_to_do);
}

#[test]
fn one_handshake_and_one_session_at_a_time() {
    let limits = "MaxSessions 1\nMaxStartups 1:100:1\n";
    let sshd = match Sshd::start_with(Ipv4Addr::new(127, 0, 0, 31), limits) {
        Ok(sshd) => sshd,
        Err(why) => return support::skip("one_handshake_and_one_session_at_a_time", &why),
    };
    let work = Work::new();
    grow(&work);
    copies(&work, &sshd, &format!("{}:{}/D", sshd.host(), work.path().display()));
}
