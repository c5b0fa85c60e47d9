//! Bad input is refused before anything is written: with rsync's exit code, a message that names the culprit, and a remedy.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support;
use crate::support::command::{Run, as_nobody, multi_sync, rsync, run};
use crate::support::twin::{fake_rsync, faked_rsync, snapshot};
use crate::support::work::{Work, set_mode};

/// Folders that a refused command must not change: a source, a destination with contents, a place for buckets.
fn scene() -> Work {
    let work = Work::public();
    for file in ["src/a", "src/sub/b", "dest/old", "file"] {
        work.file(file, file);
    }
    work.dir("buckets");
    work
}

/// Runs a command, and checks that nothing at all has changed in the work folder, and that the message is right.
fn refused(work: &Work, command: Command, code: i32, culprit: &str) -> Result<Run, String> {
    let before = snapshot(work.path());
    let ran = run(command);
    let after = snapshot(work.path());
    let said = ran.stderr_text();
    let mut wrong = String::new();
    if ran.status.code() != Some(code) {
        wrong += &format!("expected exit code {code}\n");
    }
    if before != after {
        let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        wrong += &format!("something was written: {new:#?}\n");
    }
    if !said.lines().next().is_some_and(|line| line.starts_with("multi-sync: ") && line.contains(culprit)) {
        wrong += &format!("the first line does not name {culprit:?}\n");
    }
    if !said.contains("multi-sync: to do: ") {
        wrong += "it does not say what to do\n";
    }
    if !ran.stdout.is_empty() {
        wrong += "there is something on standard output\n";
    }
    if wrong.is_empty() { Ok(ran) } else { Err(format!("{wrong}{}", ran.report())) }
}

fn check(failed: Vec<String>) {
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn words_that_mean_nothing() {
    let work = scene();
    let cases: &[(&[&str], &str)] = &[
        (&["-p", "0", "src/", "dest"], "--processes"),
        (&["-p", "-1", "src/", "dest"], "-1"),
        (&["-p", "many", "src/", "dest"], "many"),
        (&["-p", "99999999999999999999", "src/", "dest"], "99999999999999999999"),
        (&["-p", "99999999999999999", "src/", "host:dest"], "--processes: 99999999999999999"),
        (&["-p", "4194305", "src/", "dest"], "--processes: 4194305"),
        (&["-m", "many-to-one", "--hosts", "h*1025", "src/", "dest"], "from 1 to 1024"),
        (&["-p", "", "src/", "dest"], "--processes"),
        (&["-f", "0", "src/", "dest"], "--files"),
        (&["-f", "1.5", "src/", "dest"], "1.5"),
        (&["-f", "1K", "src/", "dest"], "1K"),
        (&["-s", "0", "src/", "dest"], "--size"),
        (&["-s", "0G", "src/", "dest"], "--size"),
        (&["-s", "10KK", "src/", "dest"], "10KK"),
        (&["-s", "10Q", "src/", "dest"], "10Q"),
        (&["-s", "K", "src/", "dest"], "K"),
        (&["-s", "-5", "src/", "dest"], "-5"),
        (&["-s", "16E", "src/", "dest"], "16E"),
        (&["-s", "18446744073709551616", "src/", "dest"], "18446744073709551616"),
        (&["-s", "1Z", "src/", "dest"], "1Z"),
        (&["-m", "many-to-one", "src/", "dest"], "many-to-one"),
        (&["-m", "none", "src/", "dest"], "none"),
        (&["-t", "src/", "dest"], "--selftest"),
        (&["--bench", "src/", "dest"], "--bench"),
        (&["-g", "src/", "dest"], "--benchshm"),
        (&["--frobnicate", "src/", "dest"], "--frobnicate"),
        (&["-x", "src/", "dest"], "-x"),
        (&["src/", "-host:dest"], "-host:dest"),
        (&["src/", "-vault:dest"], "-vault:dest"),
        (&["-p", "2", "-p", "3", "src/", "dest"], "--processes"),
        (&[], "source"),
        (&["src/"], "destination"),
        (&["", "dest"], "source"),
        (&["src/", ""], "destination"),
        (&["src/", "dest", "-r"], "--rsync"),
        (&["-r", "-a 'x", "src/", "dest"], "'"),
        (&["-r", "-a \"x", "src/", "dest"], "\""),
        (&["-r", "-a \\", "src/", "dest"], "\\"),
        (&["-r", "-a --frobnicate", "src/", "dest"], "--frobnicate"),
        (&["-r", "-aj", "src/", "dest"], "-j"),
        (&["-r", "-a --exclude", "src/", "dest"], "--exclude"),
        (&["-r", "-a extra", "src/", "dest"], "extra"),
        (&["-r", "-a --daemon", "src/", "dest"], "--daemon"),
        (&["-r", "-a --server", "src/", "dest"], "--server"),
        (&["-r", "-a --read-batch=b", "src/", "dest"], "--read-batch"),
        (&["-r", "-a --help", "src/", "dest"], "--help"),
        (&["-r", "-a --version", "src/", "dest"], "--version"),
    ];
    let mut failed = Vec::new();
    for (words, culprit) in cases {
        let mut command = multi_sync(&work);
        command.args(*words);
        failed.extend(refused(&work, command, 1, culprit).err());
    }
    check(failed);
}

/// Not everything can be known before a launch. In these cases the user gets rsync's own message and exit code.
#[test]
fn values_that_rsync_itself_refuses() {
    let work = scene();
    // Then nothing has to be created before the first launch that copies.
    work.file("dest/sub/b", "other");
    let mut failed = Vec::new();
    for (options, culprit) in [
        ("-a --chmod=nonsense", "nonsense"),
        ("-a --block-size=1x", "1x"),
        ("-a --compress-choice=none-such -z", "none-such"),
        ("-a --checksum-choice=none-such", "none-such"),
        ("-a --append --whole-file", "--append"),
        ("-a --usermap=x", "usermap"),
        ("-a --max-size=1Q", "1Q"),
        ("-a --delete-after --delete-delay", "--delete-WHEN"),
        ("-a --del --delete-before -b", "--delete-WHEN"),
    ] {
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["src/", "dest"]);
        let expected = run(one).status.code();
        let mut command = multi_sync(&work);
        command.args(["-r", options, "-f", "1", "src/", "dest"]);
        let before = [snapshot(&work.join("src")), snapshot(&work.join("dest"))];
        let ran = run(command);
        let same = before == [snapshot(&work.join("src")), snapshot(&work.join("dest"))];
        let clean = fs::read_dir(work.join("tmp")).unwrap().count() == 0;
        if expected == Some(0)
            || ran.status.code() != expected
            || !same
            || !clean
            || !ran.stderr_text().contains(culprit)
        {
            failed.push(format!("expected code {expected:?}\n{}", ran.listing([work.path()]).report()));
        }
    }
    check(failed);
}

#[test]
fn sources_and_destinations_that_cannot_be() {
    let work = scene();
    work.file("locked/x", "");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["gone", "dest"], 23, "gone"),
        (&["gone/", "dest"], 23, "gone"),
        (&["gone", "lost", "new"], 23, "gone"),
        (&["file/", "dest"], 23, "file/"),
        (&["src/", "file"], 3, "file"),
        (&["src", "file"], 3, "file"),
        (&["src/", "file/x"], 3, "file/x"),
        (&["src/", "no/such/dest"], 11, "no/such/dest"),
        (&["src", "no/such/dest/"], 11, "no/such/dest"),
        (&["src/", "-oProxyCommand=touch owned:"], 1, "-oProxyCommand"),
        (&["src/", "-oProxyCommand=touch${IFS}owned:dest"], 1, "-oProxyCommand"),
        (&["src/", "-host:dest"], 1, "-host"),
        (&["src/", "user@-host:dest"], 1, "-host"),
        (&["src/", "host:-dest"], 1, "-dest"),
        (&["src/", "ho\nst:dest"], 1, "ho\\x0ast"),
        (&["src/", "host:de\nst"], 1, "de\\x0ast"),
        (&["src/", "ho\x1bst:dest"], 1, "\\x1b"),
        (&["src/", "rsync://host"], 1, "rsync://host"),
        (&["src/", "rsync:///module"], 1, "rsync:///module"),
        (&["src/", "rsync://host:99999/module"], 1, "99999"),
        (&["src/", "host::"], 1, "host::"),
        (&["src/", "::module"], 1, "::module"),
        (&["src/", ":dest"], 1, ":dest"),
    ];
    let mut failed = Vec::new();
    for flags in [&[][..], &["-p", "4", "-f", "1"]] {
        for (words, code, culprit) in cases {
            let mut command = multi_sync(&work);
            command.args(flags).arg("--").args(*words);
            failed.extend(refused(&work, command, *code, culprit).err());
        }
    }
    check(failed);
}

#[test]
fn destinations_that_cannot_be_have_the_code_of_one_rsync_whatever_the_options() {
    let work = scene();
    let mut failed = Vec::new();
    for options in ["-a", "-an", "-a --mkpath", "-an --mkpath", "-avv", "-avv --mkpath", "-a --list-only"] {
        for dest in ["file", "file/x", "file/x/y", "no/such"] {
            let mut one = rsync(&work);
            one.args(options.split(' ')).args(["src/", dest]);
            let expected = run(one).status.code().unwrap();
            let made = work.join("no");
            if made.exists() {
                fs::remove_dir_all(&made).unwrap();
            }
            let mut many = multi_sync(&work);
            many.args(["-p", "2", "-f", "1", "-r", options, "src/", dest]);
            if expected == 0 || dest == "no/such" {
                failed.extend((run(many).status.code() != Some(expected)).then(|| format!("{options} {dest}")));
            } else {
                failed.extend(refused(&work, many, expected, dest).err());
            }
            if made.exists() {
                fs::remove_dir_all(&made).unwrap();
            }
        }
    }
    check(failed);
}

#[test]
fn bucket_directories_that_cannot_be() {
    let work = scene();
    let locked = work.dir("locked");
    set_mode(&locked, 0o555);
    let mut failed = Vec::new();
    for dir in ["missing", "file", "file/below", "locked", ""] {
        let mut command = multi_sync(&work);
        command.args(["-b", dir, "-f", "1", "src/", "dest"]);
        let culprit = if dir.is_empty() { "bucket" } else { dir };
        failed.extend(refused(&work, as_nobody(&work, command), 1, culprit).err());
    }
    check(failed);
}

#[test]
fn an_rsync_that_cannot_be_used() {
    let work = scene();
    fs::create_dir(work.join("empty")).unwrap();
    let mut failed = Vec::new();
    let mut command = multi_sync(&work);
    command.args(["src/", "dest"]).env("PATH", work.join("empty"));
    failed.extend(refused(&work, command, 1, "rsync").err());
    for (script, culprit) in [
        ("echo 'rsync  version 3.0.9  protocol version 30'", "3.0.9"),
        ("echo 'rsync  version 2.6.9  protocol version 29'", "2.6.9"),
        ("echo 'openrsync: protocol version 29'; echo 'rsync version 2.6.9 compatible'", "openrsync"),
        ("echo 'I copy nothing'", "I copy nothing"),
        ("exit 0", "version"),
        ("echo 'not today' >&2; exit 7", "not today"),
        ("printf '\\377\\033[31m rsync'; exit 0", "version"),
        ("kill -9 $$", "rsync"),
    ] {
        let mut command = multi_sync(&work);
        command.args(["-f", "1", "src/", "dest"]);
        faked_rsync(&mut command, &work, &format!("#!/bin/sh\n{script}\n"));
        let code = match script {
            _ if script.contains("exit 7") => 7,
            _ if script.contains("kill") => 16,
            _ => 1,
        };
        match refused(&work, command, code, culprit) {
            Ok(ran) if ran.stderr.contains(&0x1b) => failed.push(format!("raw\n{}", ran.report())),
            Ok(_) => {}
            Err(why) => failed.push(why),
        }
    }
    // If the installed rsync lacks an option of the user, this is reported before the copy.
    let mut command = multi_sync(&work);
    command.args(["-f", "1", "-r", "-a --mkpath", "src/", "dest"]);
    let script = "#!/bin/sh\necho \"rsync: $*: unknown option\" >&2\nexit 1\n";
    faked_rsync(&mut command, &work, script);
    failed.extend(refused(&work, command, 1, "--mkpath").err());
    check(failed);
}

#[test]
fn a_missing_source_among_others_is_named_and_the_rest_is_copied() {
    for flags in [&[][..], &["-p", "4", "-f", "1"]] {
        let work = scene();
        let mut command = multi_sync(&work);
        command.args(flags).args(["--stats", "src/", "gone", "file", "new"]);
        let ran = run(command).expect_code(23);
        let ran = ran.listing([work.path()]);
        let named = ran.stderr_text().lines().filter(|line| line.contains("gone")).count();
        let ran = ran.expect(named == 1, "the missing source is named once");
        let copied = ["new/a", "new/sub/b", "new/file"].iter().all(|file| work.join(file).is_file());
        ran.expect(copied, "everything else is copied");
    }
}

#[test]
fn mkpath_makes_the_parents_as_one_rsync_does() {
    let work = scene();
    let mut command = multi_sync(&work);
    command.args(["-r", "-a --mkpath", "-p", "4", "-f", "1", "src/", "no/such/dest"]);
    run(command).expect_code(0).listing([work.path()]).expect(work.join("no/such/dest/sub/b").is_file(), "copied");
}

#[test]
fn a_working_directory_that_is_gone() {
    let work = scene();
    let gone = work.dir("gone");
    let src = work.join("src/");
    let mut command = multi_sync(&work);
    let program = command.get_program().to_owned();
    command = support::command::sh(&work, "cd gone && rmdir \"$PWD\" && exec \"$@\"");
    command.arg("sh").arg(program).args([src.as_os_str(), work.join("dest").as_os_str()]);
    let ran = run(command).expect_code(1);
    assert!(!gone.exists());
    ran.expect(Path::new(&work.join("dest/old")).exists(), "nothing happened").expect_no_copy(&work);
}

trait NoCopy {
    fn expect_no_copy(self, work: &Work);
}

impl NoCopy for Run {
    fn expect_no_copy(self, work: &Work) {
        self.expect(!work.join("dest/a").exists(), "nothing was copied");
    }
}

#[test]
fn help_and_version_need_nothing() {
    let work = scene();
    for word in ["-h", "--help", "-v", "-V", "--version"] {
        let mut command = multi_sync(&work);
        command.arg(word).env("PATH", "");
        let ran = run(command).expect_code(0);
        let ran = ran.expect(true, "");
        let text = ran.stdout_text();
        assert!(text.contains("multi-sync") && ran.stderr.is_empty(), "{}", ran.report());
        if word.contains('h') {
            for option in
                ["--processes", "--files", "--size", "--buckets", "--keep", "--show", "--stats", "--dry-run", "--rsync"]
            {
                assert!(text.contains(option), "{option}\n{}", ran.report());
            }
        }
    }
    // The help of a refused command must not start rsync either.
    let mut command = multi_sync(&work);
    command.args(["-p", "0", "src/", "dest"]);
    fake_rsync(&mut command, &work, &format!("echo >{}/started", work.path().display()));
    run(command).expect_code(1).expect(!work.join("started").exists(), "no rsync was started");
}

/// A temporary folder that the user has not named: if it cannot be used, another place is used.
#[test]
fn a_temporary_folder_that_cannot_be_used() {
    let work = Work::public();
    for number in 0..12 {
        work.file(format!("src/d/{number}"), "");
    }
    work.dir_for_nobody("out");
    set_mode(&work.dir("closed"), 0o555);
    let (gone, closed) = (work.join("gone"), work.join("closed"));
    for (number, place) in [Path::new(""), &gone, &closed, &work.join("src/d/1")].into_iter().enumerate() {
        for processes in ["1", "3"] {
            let mut command = multi_sync(&work);
            let dest = format!("out/{number}-{processes}");
            command.args(["-p", processes, "src/", &dest]).env("TMPDIR", place);
            if processes == "3" {
                command.args(["-f", "4"]);
            }
            let ran = run(as_nobody(&work, command)).expect_code(0);
            assert!(ran.stderr.is_empty(), "{}", ran.report());
            assert_eq!(fs::read_dir(work.join(&dest).join("d")).unwrap().count(), 12);
            assert!(!gone.exists() && fs::read_dir(&closed).unwrap().next().is_none());
        }
    }
    // A place that the user has named is not replaced.
    let mut command = multi_sync(&work);
    command.args(["-p", "3", "-f", "4", "-b", "gone", "src/", "dest"]);
    run(command).expect_code(1);
}

/// It is taken for a source that does not exist.
#[test]
fn a_misspelt_word_is_answered_with_the_word_that_may_be_meant() {
    let work = Work::new();
    for (typed, meant) in [("stauts", Some("write status instead of stauts")), ("nowhere-at-all", None)] {
        let mut command = multi_sync(&work);
        command.args([typed, "x"]);
        let ran = run(command).expect_code(23);
        let said = ran.stderr_text();
        assert_eq!(said.contains("instead of"), meant.is_some(), "{}", ran.report());
        assert!(meant.is_none_or(|meant| said.contains(meant)), "{}", ran.report());
    }
}
