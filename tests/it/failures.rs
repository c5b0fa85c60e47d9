//! Entries that were not copied are listed by their names in the source, and nothing else is left out because of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, as_nobody, multi_sync, rsync, run, run_within, sh, start};
use crate::support::rsyncd::{Module, Rsyncd};
use crate::support::twin::fake_rsync;
use crate::support::work::{Work, set_mode};

const SOON: Duration = Duration::from_secs(60);

/// A remote shell that runs everything on this machine, with the folder as its home, and prints something first.
fn local_shell(work: &Work, says: &str) -> PathBuf {
    let script =
        work.file("rsh", format!("#!/bin/sh\n{says}\nshift\ncd {}\nexec sh -c \"$*\"\n", work.path().display()));
    set_mode(&script, 0o755);
    script
}

/// The names in the only list below a folder of runs.
fn listed(runs: &Path) -> BTreeSet<Vec<u8>> {
    let mut dirs = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path());
    let dir = dirs.find(|dir| dir.join("failed.nul").exists()).expect("there is a list");
    let names = fs::read(dir.join("failed.nul")).unwrap();
    let names = names.strip_suffix(b"\0").expect("each name is ended");
    names.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn copy(work: &Work, words: &[&OsStr]) -> Run {
    let mut command = multi_sync(work);
    command.args(words);
    run_within(as_nobody(work, command), SOON)
}

#[test]
fn names_are_those_of_the_source_whoever_complains() {
    let work = Work::public();
    if !support::is_root() {
        return support::skip(
            "names are those of the source",
            "only root makes a directory that its user may not change",
        );
    }
    let odd: [&[u8]; 6] = [b"f", b"q\"uo", b"x\" -> \"y", b".dot", b"caf\xc3\xa9 \xff\\#012", b"two\nlines\r"];
    let mut expected = BTreeSet::new();
    for name in odd {
        for dir in ["a", "free"] {
            work.dir(format!("src/{dir}/sub"));
            fs::write(work.join("src").join(dir).join(OsStr::from_bytes(name)), "content").unwrap();
            fs::write(work.join("src").join(dir).join("sub").join(OsStr::from_bytes(name)), "content").unwrap();
        }
        expected.insert([b"a/", name].concat());
    }
    std::os::unix::fs::symlink("\" -> \"", work.join("src/a/link\" -> \"x")).unwrap();
    work.file("src/free/taken", "a file");
    // The time of `a` is not set either.
    expected.extend([b"a".to_vec(), b"a/link\" -> \"x".to_vec(), b"a/sub".to_vec(), b"free/taken".to_vec()]);
    for name in odd {
        // If a directory could not be created, its entries are listed if they were to be copied separately.
        expected.insert([b"a/sub/", name].concat());
    }
    let daemon = work.dir_for_nobody("module");
    let module = Module::new("m", &daemon).line("uid = 65534").line("gid = 65534");
    let daemon = Rsyncd::start(&[module]);
    let shell = local_shell(&work, "");
    let here = work.path().to_str().unwrap().to_owned();
    let mut ways = vec![
        ("local", "D".to_owned(), "-rlt".to_owned(), "D"),
        ("absolute", format!("host:{here}/E"), format!("-rlt -e {}", shell.display()), "E"),
        ("relative", "host:F".to_owned(), format!("-rlt -e {}", shell.display()), "F"),
    ];
    match &daemon {
        Ok(server) => ways.push(("daemon", format!("{}/G", server.url("m")), "-rlt".into(), "module/G")),
        Err(why) => support::skip("names are those of the source, by a daemon", why),
    }
    for (way, dest, options, at) in ways {
        let at = work.dir_for_nobody(at);
        fs::create_dir_all(at.join("free/taken/full")).unwrap();
        fs::create_dir(at.join("a")).unwrap();
        run(sh(&work, &format!("chown -R nobody {}/free", at.display()))).expect_code(0);
        let runs = work.dir_for_nobody(format!("runs-{way}"));
        let mut command = multi_sync(&work);
        command.args(["-p", "2", "-f", "4", "-b"]).arg(&runs).args(["--rsync", &options, "src/", &dest]);
        let ran = run_within(as_nobody(&work, command), SOON).expect_code(23);
        let names = listed(&runs);
        let shown = |names: &BTreeSet<Vec<u8>>| -> Vec<String> {
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        };
        let missing: BTreeSet<Vec<u8>> = expected.difference(&names).cloned().collect();
        let needed: BTreeSet<Vec<u8>> =
            missing.into_iter().filter(|name| name != b"a" && !name.starts_with(b"a/sub/")).collect();
        assert!(needed.is_empty(), "{way}: {:?} are missing\n{}", shown(&needed), ran.report());
        assert!(names.is_subset(&expected), "{way}: {:?}\n{}", shown(&names), ran.report());
        // Everything that could be copied was copied.
        assert_eq!(fs::read_dir(at.join("free/sub")).unwrap().count(), odd.len(), "{way}");
    }
    // The list can be used by rsync.
    let mut again = rsync(&work);
    let list = fs::read_dir(work.join("runs-local")).unwrap().next().unwrap().unwrap().path().join("failed.nul");
    again.arg(format!("--files-from={}", list.display())).args(["--from0", "-rlt", "src/", "again/"]);
    run_within(again, SOON).expect_code(0);
    assert_eq!(fs::read_dir(work.join("again/a/sub")).unwrap().count(), odd.len());
}

#[test]
fn an_error_of_the_sender_is_its_own_whatever_the_path_says() {
    let work = Work::public();
    for side in ["[receiver]", "[generator]"] {
        let source = format!("{side} invoices");
        for dir in 0..4 {
            for file in 0..6 {
                work.file(format!("{source}/d{dir}/{file}"), "content");
            }
            work.dir_for_nobody(format!("D{side}/d{dir}"));
            work.file(format!("D{side}/d{dir}/extra"), "precious");
        }
        let secret = work.file(format!("{source}/d2/3"), "secret");
        set_mode(&secret, 0);
        run(sh(&work, "chown -R nobody .")).expect(true, "");
        let words = ["-p", "2", "-f", "4", "--rsync", "-a --delete-after"];
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let (source, dest) = (format!("{source}/"), format!("D{side}/"));
        let words = [&words[..], &[OsStr::new(&source), OsStr::new(&dest)]].concat();
        copy(&work, &words).expect_code(23);
        for dir in 0..4 {
            assert!(work.join(format!("D{side}/d{dir}/extra")).exists(), "{side} d{dir}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_takes_no_other_with_it() {
    let work = Work::public();
    if !support::is_root() {
        return support::skip(
            "a directory that cannot be made",
            "only root makes a directory that its user may not change",
        );
    }
    for n in 0..7 {
        work.file(format!("src/a/f{n}"), "a");
        work.file(format!("src/x/a/g{n}"), "b");
        work.file(format!("src/x/h{n}"), "c");
    }
    let shell = local_shell(&work, "");
    for (dest, options) in [("D", "-rlt".to_owned()), ("h:E", format!("-rlt -e {}", shell.display()))] {
        let at = work.dir_for_nobody(dest.trim_start_matches("h:"));
        fs::create_dir(at.join("x")).unwrap();
        let runs = work.dir_for_nobody(format!("runs{}", at.file_name().unwrap().display()));
        let words = ["-p", "2", "-f", "3", "-b", runs.to_str().unwrap(), "--rsync", &options, "src/", dest];
        let ran = copy(&work, &words.map(OsStr::new)).expect_code(23);
        assert_eq!(fs::read_dir(at.join("a")).unwrap().count(), 7, "{}", ran.report());
        let names = listed(&runs);
        for n in 0..7 {
            let of_dir = names.contains(&b"x/a"[..]);
            assert!(names.contains(format!("x/h{n}").as_bytes()), "{n}: {}", ran.report());
            assert!(of_dir, "{}", ran.report());
            // If multi-sync knows how rsync prints DEST, these entries are left out; otherwise their launches fail.
            let named = names.contains(format!("x/a/g{n}").as_bytes());
            assert!(named || dest != "D", "{n}: {}", ran.report());
        }
    }
}

#[test]
fn a_name_may_begin_with_any_byte() {
    let work = Work::new();
    let first: [&[u8]; 9] = [b"\r", b"\n", b"\t", b"\x1b", b" ", b"\\#012", b"\xff", b"\"", b"%n"];
    for begin in first {
        let dir = work.dir("src").join(OsStr::from_bytes(&[begin, b"old"].concat()));
        for inner in [dir.clone(), dir.join(OsStr::from_bytes(&[begin, b"sub"].concat()))] {
            fs::create_dir(&inner).unwrap();
            (0..6).for_each(|n| fs::write(inner.join(n.to_string()), "content").unwrap());
        }
    }
    let copy = |more: &[&str]| {
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "4"]).args(more).args(["--rsync", "-a --exclude=zzz", "src/", "D/"]);
        run_within(command, SOON)
    };
    copy(&[]).expect_code(0);
    run(sh(&work, "diff -r src D")).expect_code(0);
    copy(&["--verify-only"]).expect_code(0);
    fs::remove_file(work.join("D/\rold/\rsub/3")).unwrap();
    copy(&["--verify-only"]).expect_code(23);
}

#[test]
fn what_a_remote_shell_says_is_no_error() {
    let work = Work::new();
    let says = "echo \"Warning: Permanently added 'h' (ED25519) to the list of known hosts.\" >&2
        case \"$*\" in *no-implied-dirs*) rm -f src/f3;; esac";
    let says = says.replace("src/f3", work.join("src/f3").to_str().unwrap());
    let shell = local_shell(&work, &says);
    (0..8).for_each(|n| drop(work.file(format!("src/f{n}"), "content")));
    let mut command = multi_sync(&work);
    command.args(["-p", "3", "-f", "4", "--rsync", &format!("-a -e {}", shell.display()), "src/"]);
    command.arg(format!("h:{}/D/", work.path().display()));
    let ran = run_within(command, SOON);
    let code = ran.status.code();
    assert!(code == Some(24) || code == Some(0), "{}", ran.report());
    assert!(ran.stderr_text().contains("Permanently added"), "{}", ran.report());
    assert_eq!(fs::read_dir(work.join("D")).unwrap().count(), 7);
}

/// What `--status` and `--runs` report about the only run below `runs`.
fn told(work: &Work, dir: &Path) -> [String; 2] {
    let ask = |words: &[&OsStr]| {
        let mut command = multi_sync(work);
        command.args(words);
        run(command).expect_code(0).stdout_text()
    };
    [ask(&["--status".as_ref(), dir.as_os_str()]), ask(&["--runs", "-b", "runs"].map(OsStr::new))]
}

/// The only run below `runs`, if there is one.
fn kept(work: &Work) -> Option<PathBuf> {
    let mut dirs = fs::read_dir(work.join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let dir = dirs.next();
    assert_eq!(dirs.next(), None);
    dir
}

fn small(work: &Work) {
    for name in ["a/1", "a/2", "b/1", "b/2"] {
        work.file(format!("src/{name}"), name);
    }
    work.file("names", "a/\nb/\n");
    work.dir("runs");
}

#[test]
fn a_run_of_one_rsync_leaves_the_list_as_well() {
    let ways: [(&str, &[&str]); 6] = [
        ("late", &["-p", "4", "-r", "-a"]),
        ("alone", &["-p", "1", "-r", "-a"]),
        ("by an option", &["-p", "4", "-r", "-am"]),
        ("of a list", &["-p", "4", "-r", "-ar --files-from=names"]),
        ("of a stream", &["-p", "4", "-r", "-ar --files-from=-"]),
        ("verified", &["-p", "4", "-r", "-a", "--verify"]),
    ];
    for (way, words) in ways {
        let work = Work::new();
        small(&work);
        // A directory with contents is not replaced by a file.
        work.file("D/a/1/full", "");
        // Its standard input is the list.
        let mut command = sh(&work, "exec \"$0\" -b runs \"$@\" src/ D/ <names");
        command.arg(env!("CARGO_BIN_EXE_multi-sync")).args(words);
        let ran = run_within(command, SOON).expect_code(23);
        let look = |ran: &Run| {
            let dir = kept(&work).unwrap_or_else(|| panic!("{way}: {}", ran.report()));
            assert_eq!(listed(&work.join("runs")), BTreeSet::from([b"a/1".to_vec()]), "{way}: {}", ran.report());
            let text = fs::read_to_string(dir.join("failed.txt")).unwrap();
            assert!(text.starts_with("a/1\tcopy\tgenerator\t23\tcould not make way"), "{way}: {text}");
            let advice = format!("multi-sync --retry-failed {}\n", dir.display());
            assert!(ran.stderr_text().contains(&advice), "{way}: {}", ran.report());
            for told in told(&work, &dir) {
                assert!(told.contains("ended with code 23") && told.contains("ne rsync does it all"), "{way}: {told}");
            }
            dir
        };
        let dir = look(&ran);
        assert!(work.join("D/b/2").exists(), "{way}");
        // Copies everything again.
        fs::remove_file(work.join("D/b/2")).unwrap();
        for how in ["--resume", "--retry-failed"] {
            let mut again = multi_sync(&work);
            again.arg(how).arg(&dir);
            look(&run_within(again, SOON).expect_code(23));
        }
        assert!(work.join("D/b/2").exists(), "{way}");
        fs::remove_dir_all(work.join("D/a/1")).unwrap();
        let mut again = multi_sync(&work);
        again.arg("--retry-failed").arg(&dir);
        let ran = run_within(again, SOON).expect_code(0);
        assert_eq!(kept(&work), None, "{way}: {}", ran.report());
        run(sh(&work, "diff -r src D")).expect_code(0);
    }
}

#[test]
fn one_rsync_that_was_ended_is_started_again() {
    for (signal, code) in [(Signal::INT, Some(20)), (Signal::KILL, None)] {
        for processes in ["1", "4"] {
            let work = Work::new();
            small(&work);
            let mut command = multi_sync(&work);
            command.args(["-b", "runs", "-p", processes, "-r", "-am", "src/", "D/"]);
            let script = format!(
                "case \" $* \" in *' --version '*) ;; *) touch {}/launched; exec sleep 60 ;; esac\nexec REAL \"$@\"",
                work.path().display()
            );
            fake_rsync(&mut command, &work, &script);
            let mut running = start(command);
            running.wait_for("a launch", SOON, |_| work.join("launched").exists());
            running.signal(signal);
            let ran = running.finish(SOON);
            assert_eq!(ran.status.code(), code, "{}", ran.report());
            let dir = kept(&work).unwrap_or_else(|| panic!("{}", ran.report()));
            let advice = format!("to go on: multi-sync --resume {}\n", dir.display());
            assert!(code.is_none() || ran.stderr_text().contains(&advice), "{}", ran.report());
            for told in told(&work, &dir) {
                assert!(told.contains("can be resumed"), "{told}");
            }
            let mut again = multi_sync(&work);
            again.arg("--resume").arg(&dir);
            run_within(again, SOON).expect_code(0);
            assert_eq!(kept(&work), None);
            run(sh(&work, "diff -r src D")).expect_code(0);
        }
    }
}

#[test]
fn one_rsync_does_not_copy_the_list() {
    let ways: [(&str, &[&str]); 3] = [
        ("mkdir src/own", &["-p", "4", "-b", "src/own", "-r", "-a"]),
        ("mkdir src/own", &["-p", "4", "-b", "src/own", "-r", "-a --info=misc1"]),
        ("ln -s ../runs src/own", &["-p", "4", "-b", "runs", "-r", "-aL --info=misc1"]),
    ];
    for (begin, words) in ways {
        let work = Work::new();
        small(&work);
        work.file("D/a/1/full", "");
        run(sh(&work, begin)).expect_code(0);
        for verify in [&[][..], &["--verify"], &["--verify-only"]] {
            let mut command = multi_sync(&work);
            command.args(words).args(verify).args(["src/", "D/"]);
            let ran = run_within(command, SOON).expect_code(23);
            let copied = fs::read_dir(work.join("D/own")).unwrap().count();
            assert_eq!(copied, 0, "{begin}, {words:?}: {}", ran.report());
            assert!(!ran.stdout_text().contains("own/multi-sync"), "{}", ran.report());
            assert_eq!(fs::read_dir(work.join("src/own")).unwrap().count(), 0, "{}", ran.report());
            assert!(ran.stderr_text().contains("no list is kept"), "{}", ran.report());
        }
    }
}

#[test]
fn one_rsync_lists_what_differs() {
    for processes in ["1", "4"] {
        for options in ["-a", "-am"] {
            let work = Work::new();
            small(&work);
            let ask = |more: &[&str]| {
                let mut command = multi_sync(&work);
                command.args(["--verify-only", "-p", processes]).args(more).args(["-r", options, "src/", "D/"]);
                run_within(command, SOON)
            };
            work.file("D/a/1", "another");
            let ran = ask(&[]).expect_code(23);
            assert!(ran.stderr_text().contains(" differences\n"), "{}", ran.report());
            let ran = ask(&["-b", "runs"]).expect_code(23);
            let dir = kept(&work).unwrap_or_else(|| panic!("{}", ran.report()));
            assert_eq!(fs::read_to_string(dir.join("differences.txt")).unwrap(), ran.stdout_text());
            assert!(ran.stdout_text().contains(" a/1\n"), "{}", ran.report());
            assert!(
                ran.stderr_text().contains("the same command without --verify-only copies them"),
                "{}",
                ran.report()
            );
            for told in told(&work, &dir) {
                assert!(told.contains("ended with code 23"), "{told}");
            }
            run(sh(&work, "rsync -a src/ D/")).expect_code(0);
            let mut again = multi_sync(&work);
            again.arg("--retry-failed").arg(&dir);
            let ran = run_within(again, SOON).expect_code(0);
            assert!(ran.stderr_text().contains("nothing differs"), "{}", ran.report());
            assert_eq!(kept(&work), None);
            ask(&["-b", "runs"]).expect_code(0);
            assert_eq!(kept(&work), None);
        }
    }
}

/// A directory is in the way of a file, and contains nothing but an older backup, or an entry that becomes a backup now. Its user may not remove its
/// contents, and therefore the launch is repeated.
#[test]
fn backups_in_what_is_in_the_way_stay() {
    if !support::is_root() {
        return support::skip(
            "backups in what is in the way",
            "only root makes a directory that its user may not change",
        );
    }
    for options in [
        "-a -b --delete-after",
        "-a -b --delete-delay",
        "-a -b --delete",
        "-a -b --force",
        "-ab --suffix=.old --delete-after",
    ] {
        let work = Work::public();
        work.file("src/a/x", "new");
        work.file("src/a/y", "new");
        (0..8).for_each(|n| drop(work.file(format!("src/a/f{n}"), "new")));
        let suffix = if options.contains(".old") { ".old" } else { "~" };
        for dest in ["one", "many"] {
            work.file(format!("{dest}/a/x/older{suffix}"), "kept");
            work.file(format!("{dest}/a/y/denied/file"), "moved");
            run(sh(&work, &format!("chown -R nobody src {dest}; chown root {dest}/a/y"))).expect(true, "");
        }
        let mut one = rsync(&work);
        one.args(options.split(' ')).args(["src/", "one/"]);
        let one = run(as_nobody(&work, one));
        let words = ["-p", "2", "-f", "4", "--rsync", options, "src/", "many/"];
        let many = copy(&work, &words.map(OsStr::new));
        assert_eq!(one.status.code(), many.status.code(), "{options}: {}", many.report());
        let there = |dest: &str| run(sh(&work, &format!("cd {dest} && find . | sort"))).stdout_text();
        assert_eq!(there("one"), there("many"), "{options}: {}", many.report());
        assert!(work.join(format!("many/a/y/denied/file{suffix}")).exists(), "{options}");
    }
}

/// One bucket ends its rsync each time: everything else is copied before the run fails with that code, and can be resumed.
#[test]
fn what_breaks_off_each_time_does_not_keep_others_from_being_copied() {
    let says = "echo 'Invalid packet at end of run (3) [sender]' >&2; exit 2";
    for (end, code) in [("exit 15", 15), ("kill -KILL $$", 16), (says, 2)] {
        let work = Work::new();
        for dir in 0..20 {
            (0..6).for_each(|file| drop(work.file(format!("src/d{dir}/f{file}"), "content")));
        }
        (0..6).for_each(|file| drop(work.file(format!("src/a-poison/f{file}"), "content")));
        work.dir("runs");
        let mut copy = multi_sync(&work);
        copy.args(["-p", "2", "-f", "7", "--first-pass", "off", "-b", "runs", "-r", "-a", "src/", "D"]);
        fake_rsync(&mut copy, &work, &format!("case \"$*\" in *poison*) {end} ;; esac; exec REAL \"$@\""));
        let ran = run(copy).expect_code(code);
        let files = (0..20).flat_map(|dir| (0..6).map(move |file| format!("D/d{dir}/f{file}")));
        let missing: Vec<String> = files.filter(|file| !work.join(file).exists()).collect();
        assert!(missing.is_empty() && !work.join("D/a-poison/f0").exists(), "{missing:?}: {}", ran.report());
        let dir = std::fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
        let mut resumed = multi_sync(&work);
        resumed.arg("--resume").arg(dir);
        run(resumed).expect_code(0);
        assert!(work.join("D/a-poison/f0").exists());
    }
}
