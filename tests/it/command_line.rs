//! What users type: modes as words, the help, and mistakes, which are answered with the correct line.

use std::fs;

use crate::support;
use crate::support::command::{Run, command, multi_sync, run};
use crate::support::twin::snapshot;
use crate::support::work::Work;

fn scene() -> Work {
    let work = Work::new();
    for number in 0..6 {
        work.file(format!("src/docs/{number}"), "text");
        work.file(format!("src/mail/{number}"), "text");
    }
    work.dir("dst");
    work
}

fn typed(work: &Work, words: &[&str]) -> Run {
    let mut command = multi_sync(work);
    command.args(words);
    run(command)
}

/// The suggested line.
fn proposed(said: &str) -> Option<String> {
    let advice = said.lines().find_map(|line| line.strip_prefix("multi-sync: to do: "))?;
    Some(advice[advice.find("multi-sync ")?..].to_owned())
}

/// With options of rsync among ours nothing is done, and the suggested line copies.
#[test]
fn options_of_rsync_are_answered_with_the_right_line() {
    let work = scene();
    let cases: &[(&[&str], &str)] = &[
        (&["-a", "src/", "dst"], "multi-sync -p 4 rsync -a src/ dst"),
        (&["-avP", "src/", "dst"], "multi-sync -p 4 rsync -avP src/ dst"),
        (&["-p", "2", "-aHAX", "--delete", "src/", "dst"], "multi-sync -p 2 rsync -aHAX --delete src/ dst"),
        (&["src/", "dst", "--delete"], "multi-sync -p 4 rsync -a src/ dst --delete"),
        (&["--rsync", "-aH", "--delete", "src", "dst"], "multi-sync -p 4 rsync -a -H --delete src dst"),
        (&["--rsync", "-a", "--rsync", "--delete", "src", "dst"], "multi-sync -p 4 rsync -a --delete src dst"),
        (&["-r", "src/", "dst"], "multi-sync -p 4 rsync -r src/ dst"),
        (&["-rtv", "src/", "dst"], "multi-sync -p 4 rsync -rtv src/ dst"),
        (&["-v", "src/", "dst"], "multi-sync -p 4 rsync -a -v src/ dst"),
        (&["-h", "src/", "dst"], "multi-sync -p 4 rsync -a -h src/ dst"),
        (&["-b", "src/", "dst"], "multi-sync -p 4 rsync -a -b src/ dst"),
        (&["-e", "sh -c", "src", "dst"], "multi-sync -p 4 rsync -a -e 'sh -c' src dst"),
        (&["-t", "src/", "dst"], "multi-sync -p 4 rsync -a -t src/ dst"),
        (&["-g", "src/", "dst"], "multi-sync -p 4 rsync -a -g src/ dst"),
        (&["-m", "src/", "dst"], "multi-sync -p 4 rsync -a -m src/ dst"),
        (&["-s", "src/", "dst"], "multi-sync -p 4 rsync -a -s src/ dst"),
        (&["-n", "src/", "dst"], "multi-sync -p 4 rsync -a -n src/ dst"),
        (&["-z", "-b", "runs", "src/", "dst"], "multi-sync -p 4 -b runs rsync -a -z src/ dst"),
        (&["--exclude", "a b", "src/", "dst"], "multi-sync -p 4 rsync -a --exclude 'a b' src/ dst"),
        (&["--delte", "src/", "dst"], "multi-sync -p 4 rsync -a --delete src/ dst"),
        (&["-p2", "--delete", "rsync", "-a", "src/", "dst"], "multi-sync -p2 rsync --delete -a src/ dst"),
        (&["--exclude", "a b", "rsync", "-a", "src/", "dst"], "multi-sync -p 4 rsync --exclude 'a b' -a src/ dst"),
        (&["-k", "--bwlimit=9m", "rsync", "-a", "src/", "dst"], "multi-sync -p 4 -k rsync '--bwlimit=9m' -a src/ dst"),
    ];
    work.dir("runs");
    for (words, line) in cases {
        let before = snapshot(work.path());
        let ran = typed(&work, words).expect_code(1);
        assert!(ran.stdout.is_empty() && before == snapshot(work.path()), "{}", ran.report());
        assert_eq!(proposed(&ran.stderr_text()).as_deref(), Some(*line), "{words:?}: {}", ran.report());
        let mut right = support::command::sh(&work, &line.replace("multi-sync ", "\"$MULTI_SYNC\" "));
        right.env("MULTI_SYNC", env!("CARGO_BIN_EXE_multi-sync"));
        run(right).expect_code(0);
        assert!(*line == cases[16].1 || fs::read_dir(work.join("dst")).unwrap().count() > 0, "{line}");
        fs::remove_dir_all(work.join("dst")).unwrap();
        work.dir("dst");
    }
}

#[test]
fn other_mistakes_are_answered_with_what_to_do() {
    let work = scene();
    for (words, advice) in [
        (&["-p", "-4", "src/", "dst"][..], "whole number from 1"),
        (&["-p", "0", "src/", "dst"], ", or auto"),
        (&["-p", "1", "-p", "2", "src/", "dst"], "give it once"),
        (&["-p", "1", "-p", "2", "rsync", "-a", "src/", "dst"], "give it once"),
        (&["-p", "four", "src/", "dst"], ", or auto"),
        (&["--proceses", "3", "src/", "dst"], "write --processes if that is meant"),
        (&["--progess", "src/", "dst"], "write --progress if that is meant"),
        (&["-r", "-a --delte", "src/", "dst"], "write --delete if that is meant"),
        (&["-r", "-az -e ssh -p 2222", "src/", "dst"], "-e 'ssh ...'"),
        (&["src/", "dst", "--rsync"], "add the value: --rsync <OPTS>"),
        (&["--status"], "add the value: --status <RUN>"),
        (&["verfy", "rsync", "-a", "src/", "dst"], "write verify instead of verfy if that is meant"),
        (&["4", "rsync", "-a", "src/", "dst"], "write rsync as the first word that is not an option"),
        (&["--verify", "checksum", "src/", "dst"], "write --verify=checksum"),
        (&["src/", "ssh://127.0.0.1/srv/x"], "write 127.0.0.1:/srv/x"),
        (&["src/", "http://127.0.0.1/x"], "HOST:PATH"),
        (&["src/ dst"], "without quotes"),
        (&["src/"], "multi-sync -p 4 rsync -a SRC DEST"),
        (&["resume"], "multi-sync runs"),
        (&["resume", "a", "b"], "multi-sync resume [OPTIONS] RUN"),
        (&["bench", "x"], "multi-sync bench [OPTIONS]"),
        (&["set", "-p", "4"], "multi-sync set RUN [OPTIONS]"),
        // What copies nothing is not answered with a line that copies.
        (&["verify"], "write multi-sync verify -p 4 rsync -a SRC DEST"),
        (&["explain", "-p", "4"], "write multi-sync explain -p 4 rsync -a SRC DEST"),
        (&["survey"], "write multi-sync survey SRC"),
        (&["verify", "rsync", "-a", "src/"], "write both after the word rsync"),
        (&["--verify", "rsync", "-a", "--foo", "src/", "dst"], "leave it out, so that one rsync does it"),
        (&["help", "x"], "resume, retry, status"),
    ] {
        let before = snapshot(work.path());
        let ran = typed(&work, words).expect_code(1);
        let said = ran.stderr_text();
        assert!(said.contains("multi-sync: to do: ") && said.contains(advice), "{words:?}: {}", ran.report());
        assert!(before == snapshot(work.path()), "{words:?}");
    }
}

/// A dry run must print something, because silence would be read as "nothing to do".
#[test]
fn a_dry_run_says_that_it_copied_nothing() {
    let work = scene();
    let ran = typed(&work, &["--dry-run", "src/", "dst"]).expect_code(0);
    let said = ran.stderr_text();
    assert!(said.contains("nothing was copied: the source has 15 entries") && said.contains("-n -i"), "{said}");
    assert!(typed(&work, &["-d", "--stats", "src/", "dst"]).expect_code(0).stderr.is_empty());
}

#[test]
fn modes_are_words() {
    let work = scene();
    work.dir("runs");
    let words =
        ["-p", "2", "-f", "3", "-b", "runs", "rsync", "-a", "--rsync-path=false", "-e", "false", "src/", "host:x"];
    typed(&work, &words);
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    let dir = dir.to_str().unwrap();
    for (word, old) in [(&["status", dir][..], &["--status", dir][..]), (&["runs", "runs"], &["--runs", "-b", "runs"])]
    {
        let (new, old) = (typed(&work, word).expect_code(0), typed(&work, old).expect_code(0));
        assert_eq!(new.stdout_text(), old.stdout_text());
        assert!(!new.stdout.is_empty());
    }
    let code = typed(&work, &["--resume", dir, "--retries", "0"]).status.code();
    assert_eq!(typed(&work, &["resume", "--retries", "0", dir]).status.code(), code);
    assert!(typed(&work, &["retry", dir, "--retries", "0"]).stderr_text().contains("multi-sync"));

    typed(&work, &["-p", "2", "rsync", "-a", "src/", "dst"]).expect_code(0);
    work.file("src/docs/0", "another text");
    for words in [
        &["verify", "-p", "2", "src/", "dst"][..],
        &["-p", "2", "verify", "-f", "3", "rsync", "-a", "src/", "dst"],
        &["-p", "2", "--verify-only", "src/", "dst"],
    ] {
        let ran = typed(&work, words).expect_code(23);
        assert!(ran.stdout_text().contains("docs/0"), "{}", ran.report());
    }
    for words in [
        &["survey", "src/"][..],
        &["survey", "-f", "3", "rsync", "-a", "src/", "nas:x"],
        &["survey", "src/docs", "src/mail"],
    ] {
        let ran = typed(&work, words).expect_code(0);
        assert!(ran.stdout_text().contains(" entries: ") && ran.stderr.is_empty(), "{}", ran.report());
    }
}

#[test]
fn a_source_called_like_a_mode_is_not_lost() {
    let work = scene();
    work.file("status/a", "a");
    let before = snapshot(work.path());
    let ran = typed(&work, &["status", "dst"]).expect_code(1);
    assert!(ran.stderr_text().contains("./status") && before == snapshot(work.path()), "{}", ran.report());
    typed(&work, &["./status", "dst"]).expect_code(0);
    typed(&work, &["--", "status", "dst/again"]).expect_code(0);
    assert!(work.join("dst/status/a").exists() && work.join("dst/again/status/a").exists());
    typed(&work, &["src/", "status"]).expect_code(0);
}

#[test]
fn explain_says_who_would_do_it_and_touches_nothing() {
    let work = scene();
    let before = snapshot(work.path());
    for (words, told) in [
        (
            &["explain", "-p", "4", "rsync", "-aH", "--delete", "src/", "dst"][..],
            &["at most 4 at once", "--delete: handled"][..],
        ),
        (
            &["explain", "-p", "4", "rsync", "-aK", "src/", "dst"],
            &[
                "as it was typed: rsync -aK src/ dst",
                "Why: --keep-dirlinks",
                "For several rsyncs: leave out -K\n",
                "-K): one rsync does it all",
            ],
        ),
        (
            &["explain", "-p", "4", "rsync", "-rlb", "-A", "--chmod=go-w", "--no-p", "-y", "src/", "dst"],
            &["For several rsyncs: leave out "],
        ),
        (
            &["explain", "rsync", "-aK", "-m", "src/", "dst"],
            &["For several rsyncs: ask for more processes, such as -p 4; then: leave out -K and -m\n"],
        ),
        (&["explain", "-p", "4", "rsync", "-a", "src/docs/1", "dst"], &["a single file", "no option is the reason"]),
        (
            &["explain", "-p", "4", "rsync", "-ay", "--no-p", "src/", "dst"],
            &["For several rsyncs: leave out -y, leave out --no-perms, or add -p\n"],
        ),
        (&["explain", "rsync", "--version"], &["as it was typed: rsync --version"]),
        (
            &["explain", "-p", "4", "rsync", "-a", "src/", "dst", "--verify=checksum"],
            &["Why: --verify is an option of multi-sync, which has to be before the word rsync"],
        ),
        (&["explain", "-p", "4", "rsync", "-a", "--delte", "src/", "dst"], &["Why: unknown rsync option: --delte"]),
        (
            &["explain", "-p", "4", "-r", "-a -m", "src/", "nowhere.invalid:x"],
            &["One rsync does it: rsync -a -m", "Why: --prune"],
        ),
    ] {
        let ran = typed(&work, words).expect_code(0);
        let text = ran.stdout_text();
        assert!(told.iter().all(|told| text.contains(told)) && ran.stderr.is_empty(), "{}", ran.report());
    }
    assert!(before == snapshot(work.path()));
    // Sources on another machine are checked through a control socket in TMPDIR.
    let ran = typed(&work, &["explain", "-p", "4", "rsync", "-a", "host:src", "dst"]).expect_code(0);
    let text = ran.stdout_text();
    assert!(
        text.contains("as it was typed") && text.contains("was not reached, or has no such source"),
        "{}",
        ran.report()
    );
    assert!(fs::read_dir(work.join("tmp")).unwrap().next().is_none());
}

#[test]
fn the_help_fits_a_screen() {
    let work = Work::new();
    let ran = typed(&work, &["--help"]).expect_code(0);
    let text = ran.stdout_text();
    assert!(text.lines().count() <= 23 && text.lines().all(|line| line.len() < 80), "{text}");
    assert_eq!(typed(&work, &["help"]).stdout_text(), text);
    let all = typed(&work, &["-hh"]).expect_code(0).stdout_text();
    for heading in ["Copy:", "Verify and resume:", "Many hosts:", "Test and measure:"] {
        assert!(all.contains(heading), "{all}");
    }
    assert_eq!(typed(&work, &["help", "all"]).stdout_text(), all);
    let known = |option: &str| all.contains(option);
    let options = text
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches([',', ':', '\'']));
    assert!(options.filter(|option| *option != "--delete").all(known), "{text}");
    for word in ["resume", "retry", "status", "runs", "verify", "survey", "explain", "set", "selftest", "bench", "help"]
    {
        let help = typed(&work, &["help", word]).expect_code(0).stdout_text();
        assert!(help.contains(&format!("multi-sync {word}")), "{help}");
        if word != "help" {
            assert_eq!(typed(&work, &[word, "--help"]).stdout_text(), help);
        }
    }
    let mut nothing = command(&work, env!("CARGO_BIN_EXE_multi-sync"));
    nothing.args(["help", "all"]).env("PATH", "");
    run(nothing).expect_code(0);
}
