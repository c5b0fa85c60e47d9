//! A pull with nothing to do ends after a single dry run; no other pull does.

use std::time::Duration;

use multi_sync::harness::treegen::{self, Sizes, Spec};

use crate::support;
use crate::support::command::{Run, as_nobody, multi_sync, rsync, run, run_within, sh};
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

const SAYS: &str = "everything is up to date";

fn source(work: &Work) {
    treegen::generate(&work.join("src"), &Spec::bench(30, Sizes::Uniform { min: 0, max: 999 }), 1).unwrap();
    let made = sh(
        work,
        "cd src && mkdir a && echo x >a/f && ln a/f a/h && ln -s f a/l && mkfifo a/p && mkdir a/d && echo y >a/d/g &&
         touch -h -d 2020-01-01 a/l && touch -d 2020-01-01 a/f a/p a/d/g a/d a .",
    );
    run(made).expect_code(0);
}

/// Copies, changes `D` with this script, and copies again.
fn after(work: &Work, url: &str, script: &str, options: &str) -> Run {
    run(sh(work, "rm -rf D")).expect_code(0);
    let mut first = rsync(work);
    first.args(options.split(' ')).args([url, "D/"]);
    run(first).expect_code(0);
    run(sh(work, &format!("cd D && {script}"))).expect_code(0);
    let mut again = multi_sync(work);
    again.args(["-p", "4", "--stats", "-P", "-r", options, url, "D/"]);
    let again = run(again).expect_code(0);
    let mut differs = rsync(work);
    differs.args(options.trim_end_matches(" -i").split(' ')).args(["-n", "-i", url, "D/"]);
    let differs = run(differs).expect_code(0);
    assert_eq!(differs.stdout_text(), "", "{script}: {}", again.report());
    again
}

#[test]
fn no_difference_is_passed_over() {
    let work = Work::new();
    source(&work);
    let started = Rsyncd::start(&[Module::new("m", work.join("src")).line("use chroot = no")]);
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("no_difference_is_passed_over", &why),
    };
    let url = format!("{}/", daemon.url("m"));
    // For another user the copy is always carried out.
    let root = support::is_root();
    for (script, options, needs_root) in [
        ("touch a/f", "-aH", false),
        ("chmod 600 a/f", "-aH", false),
        ("chown 5 a/f", "-aH", true),
        ("chgrp -h 5 a/l", "-aH", true),
        ("echo more >>a/f && touch -d 2020-01-01 a/f", "-aH", false),
        ("rm a/d/g && touch -d 2020-01-01 a/d", "-aH", false),
        ("touch a/d", "-aH", false),
        ("touch .", "-aH", false),
        ("chmod 700 a/d", "-aH", false),
        ("ln -sfn g a/l && touch -h -d 2020-01-01 a/l && touch -d 2020-01-01 a", "-aH", false),
        ("touch -h a/l", "-aH", false),
        ("rm a/p && touch -d 2020-01-01 a", "-aH", false),
        ("cp -p a/f a/z && mv a/z a/h && touch -d 2020-01-01 a", "-aH", false),
        ("touch a/d/extra && touch -d 2020-01-01 a/d", "-aH --delete", false),
    ] {
        if !needs_root || root {
            let again = after(&work, &url, script, options);
            assert!(!again.stdout_text().contains(SAYS), "{script}: {}", again.report());
        }
    }
    for (script, options, ends) in [
        (":", "-aH", true),
        (":", "-a --exclude=none", true),
        ("touch extra && touch -d 2020-01-01 .", "-aH", true),
        // If lines are requested, they are those of a copy.
        (":", "-aH -i", false),
    ] {
        let again = after(&work, &url, script, options);
        assert_eq!(again.stdout_text().contains(SAYS), ends && root, "{script} {options}: {}", again.report());
        // Like any other run, it ends with the line of progress that was asked for.
        assert!(again.stderr_text().contains("  100%  "), "{script} {options}: {}", again.report());
    }
}

/// The first difference ends the dry run at once: it is printed without a delay, and an rsync that has created nothing needs no time to clean up (it takes 0.4 s
/// after SIGTERM).
#[test]
fn the_first_difference_ends_the_dry_run_at_once() {
    if !support::is_root() {
        return support::skip("the_first_difference_ends_the_dry_run_at_once", "for another user there is no dry run");
    }
    let work = Work::new();
    source(&work);
    let started = Rsyncd::start(&[Module::new("m", work.join("src")).line("use chroot = no")]);
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("the_first_difference_ends_the_dry_run_at_once", &why),
    };
    work.file("D/other", "");
    let mut copy = multi_sync(&work);
    copy.args(["-p", "4", "-r", "-a", &format!("{}/", daemon.url("m")), "D/"]);
    let asked = work.join("asked");
    let script = format!(
        "case \" $* \" in *' --out-format=~'*) echo \"$*\" >{}; trap '' TERM; echo '~>f+++++++++ f'; sleep 60; exit 0 ;; esac
         exec REAL \"$@\"",
        asked.display()
    );
    fake_rsync(&mut copy, &work, &script);
    run_within(copy, Duration::from_secs(30)).expect_code(0);
    assert!(std::fs::read_to_string(asked).unwrap().contains(" --outbuf=L "));
    let mut differs = rsync(&work);
    differs.args(["-ani", &format!("{}/", daemon.url("m")), "D/"]);
    assert_eq!(run(differs).expect_code(0).stdout_text(), "");
}

/// Nothing is concluded if a daemon admits only one client at a time, or the source cannot be read.
#[test]
fn who_is_not_let_in_concludes_nothing() {
    let work = Work::new();
    source(&work);
    let started = Rsyncd::start(&[Module::new("m", work.join("src")).line("use chroot = no").max_connections(1)]);
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("who_is_not_let_in_concludes_nothing", &why),
    };
    let url = format!("{}/", daemon.url("m"));
    after(&work, &url, ":", "-aH");
    for _ in 0..5 {
        after(&work, &url, "touch a/d a/f", "-a");
    }
    run(sh(&work, "rm -rf src/*")).expect_code(0);
    let mut gone = multi_sync(&work);
    gone.args(["-p", "4", "-r", "-a", &format!("{url}a/"), "D/"]);
    run(gone).expect_code(23);
}

/// A copy tries to make a directory writable that another user may not write to, and is denied that; a dry run does not try it.
#[test]
fn what_a_dry_run_does_not_try_is_not_passed_over() {
    if !support::is_root() {
        return support::skip("what_a_dry_run_does_not_try_is_not_passed_over", "needs another user");
    }
    let work = Work::public();
    let made = sh(
        &work,
        "umask 022; mkdir -p src/locked && echo a >src/locked/f && chmod 555 src/locked && cp -a src D && chmod 755 . src D",
    );
    run(made).expect_code(0);
    let started = Rsyncd::start(&[Module::new("m", work.join("src")).line("use chroot = no")]);
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(why) => return support::skip("what_a_dry_run_does_not_try_is_not_passed_over", &why),
    };
    let url = format!("{}/", daemon.url("m"));
    let mut one = rsync(&work);
    one.args(["-rl", &url, "D/"]);
    let mut many = multi_sync(&work);
    many.args(["-p", "3", "-r", "-rl", &url, "D/"]);
    let one = run(as_nobody(&work, one));
    let many = run(as_nobody(&work, many));
    // 23 with 3.5.0, and 0 with 3.2.7.
    assert_eq!(many.status.code(), one.status.code(), "{}", many.report());
}
