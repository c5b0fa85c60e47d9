//! A run that did not finish can be resumed, even if the user has named no place for its directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::support;
use crate::support::command::{Run, Signal, Started, as_nobody, multi_sync, rsync, run, run_within, sh, start};
use crate::support::fuse::Fuse;
use crate::support::twin::fake_rsync;
use crate::support::work::{NOBODY, Work, set_mode};

const SOON: Duration = Duration::from_secs(60);

/// The place for run directories.
fn place(work: &Work) -> PathBuf {
    work.join("state/multi-sync")
}

fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn tree(work: &Work) {
    for dir in 0..30 {
        for file in 0..6 {
            work.file(format!("src/d{dir}/f{file}"), format!("{dir} {file}"));
        }
    }
}

const WORDS: [&str; 6] = ["-p", "2", "-f", "7", "src/", "D"];

fn copy(work: &Work, words: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(words);
    command
}

/// Uses an rsync that needs half a second for its buckets.
fn slowly(work: &Work, mut command: Command) -> Command {
    let script = format!(
        "case \" $* \" in *' --no-implied-dirs '*) echo >>{}/launched; sleep 0.5 ;; esac; exec REAL \"$@\"",
        work.dir("log").display()
    );
    // Writable for other users too.
    set_mode(&work.join("log"), 0o777);
    fake_rsync(&mut command, work, &script);
    command
}

/// A run in which something was copied and something was not.
fn under_way(work: &Work, command: Command) -> Started {
    let _ = fs::remove_file(work.join("log/launched"));
    let mut running = start(slowly(work, command));
    running.wait_for("the third launch", SOON, |_| {
        fs::read_to_string(work.join("log/launched")).is_ok_and(|text| text.lines().count() > 2)
    });
    running
}

fn ended(work: &Work, command: Command, signal: Signal) -> Run {
    let running = under_way(work, command);
    running.signal(signal);
    running.finish(SOON)
}

fn id(dir: &Path) -> String {
    dir.file_name().unwrap().to_str().unwrap().to_owned()
}

fn expect_same(work: &Work, ran: &Run) {
    let mut check = rsync(work);
    check.args(["-aHni", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

fn ask(work: &Work, words: &[&str]) -> String {
    run(copy(work, words)).expect_code(0).stdout_text()
}

/// The last line of standard error.
fn last(ran: &Run) -> String {
    ran.stderr_text().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn whatever_ends_a_run_it_can_be_gone_on_with_by_its_name() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let work = Work::new();
        tree(&work);
        let ran = ended(&work, copy(&work, &WORDS), signal);
        let dirs = listed(&place(&work));
        let [dir] = &dirs[..] else { panic!("{dirs:?}\n{}", ran.report()) };
        assert_eq!(fs::metadata(place(&work)).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
        if signal != Signal::KILL {
            assert_eq!(ran.status.code(), Some(20));
            assert!(last(&ran).ends_with(&format!("to go on: multi-sync resume {}", id(dir))), "{}", ran.report());
        }
        let runs = ask(&work, &["--runs"]);
        assert!(runs.contains(&id(dir)) && runs.contains("interrupted") && runs.contains("src/ -> D"), "{runs}");
        // The beginning of a name is enough, if it is unambiguous.
        let word = &id(dir)[..18];
        let how = if signal == Signal::KILL { "not running" } else { "interrupted" };
        let status = ask(&work, &["--status", word]);
        assert!(status.starts_with(&format!("Status: {how}, can be resumed\n")), "{status}");
        let ran = run_within(copy(&work, &["resume", word]), SOON).expect_code(0);
        expect_same(&work, &ran);
        assert_eq!(listed(&place(&work)), [] as [PathBuf; 0], "{}", ran.report());
        assert!(!ask(&work, &["--runs"]).contains(word));
    }
}

#[test]
fn what_failed_is_tried_again_by_the_name_of_the_run() {
    for words in [&["-p", "2", "-f", "7", "-r", "-a"][..], &["-p", "2", "-r", "-am"]] {
        let work = Work::new();
        tree(&work);
        work.file("D/d1/f1/full", "");
        let mut command = copy(&work, words);
        command.args(["src/", "D"]);
        let ran = run(command).expect_code(23);
        let dirs = listed(&place(&work));
        let [dir] = &dirs[..] else { panic!("{dirs:?}\n{}", ran.report()) };
        assert!(
            last(&ran).ends_with(&format!("to try again what failed: multi-sync retry {}", id(dir))),
            "{}",
            ran.report()
        );
        assert!(ran.stderr_text().contains(&format!("{}/failed.txt", dir.display())), "{}", ran.report());
        let runs = ask(&work, &["--runs"]);
        assert!(runs.contains("failed, ended with code 23"), "{runs}");
        fs::remove_dir_all(work.join("D/d1/f1")).unwrap();
        let ran = run_within(copy(&work, &["retry", &id(dir)]), SOON).expect_code(0);
        expect_same(&work, &ran);
        assert_eq!(listed(&place(&work)), [] as [PathBuf; 0]);
    }
}

#[test]
fn where_nothing_is_worth_keeping_nothing_is_kept() {
    let work = Work::new();
    tree(&work);
    work.file("D/d1/f1/full", "");
    for (words, code) in [
        // Everything was copied.
        (&["-p", "2", "-f", "7", "src/", "E"][..], 0),
        // Nothing was begun.
        (&["-p", "2", "-f", "7", "-r", "-a --rsync-path=/nonexistent -e false", "src/", "nohost:D"], 12),
        (&["-p", "2", "-r", "-a --rsync-path=/nonexistent -e false", "src/", "nohost:D"], 12),
        // Only one rsync was requested.
        (&["-r", "-a", "src/", "D"], 23),
        // Nothing would have been copied.
        (&["-p", "2", "-f", "7", "-r", "-an", "src/", "D"], 23),
        (&["-p", "2", "-f", "7", "--verify-only", "-r", "-a", "src/d2/", "D"], 23),
        (&["-p", "2", "-f", "7", "--keep-runs", "0", "-r", "-a", "src/", "D"], 23),
        (&["-p", "2", "-f", "7", "-d", "src/", "D"], 0),
    ] {
        let ran = run(copy(&work, words));
        let left = listed(&place(&work));
        let ran = ran.expect_code(code).expect(left.is_empty(), &format!("{left:?}"));
        let told = ran.stderr_text();
        assert!(!told.contains("to go on") && !told.contains("can be resumed"), "{}", ran.report());
        assert_eq!(listed(&work.join("tmp")), [] as [PathBuf; 0], "{}", ran.report());
    }
}

/// A copy never fails because its directory cannot be in the usual place, and reports that only if it matters.
#[test]
fn a_place_that_cannot_be_used_is_replaced() {
    const NAME: &str = "a_place_that_cannot_be_used_is_replaced";
    if !support::is_root() {
        return support::skip(NAME, "needs a second user");
    }
    let prepare: [(&str, &str); 7] = [
        ("another user's", "mkdir state/multi-sync && chown 12345 state/multi-sync"),
        ("open", "mkdir state/multi-sync && chown 65534 state/multi-sync && chmod 777 state/multi-sync"),
        ("a link of another user's", "mkdir own && chown 65534 own && ln -s ../own state/multi-sync"),
        ("a file", "rm -r state && touch state"),
        ("closed", "chmod 700 state"),
        ("below what others write", "chmod 777 state"),
        ("nowhere", "rm -rf home"),
    ];
    for (how, script) in prepare {
        let work = Work::public();
        tree(&work);
        work.dir_for_nobody("out");
        run(sh(&work, script)).expect_code(0);
        let command = |words: &[&str]| {
            let mut command = copy(&work, words);
            if how == "nowhere" {
                command.env_remove("XDG_STATE_HOME");
            }
            command
        };
        let words = ["-p", "2", "-f", "60", "src/", "out/D"];
        let ran = run(as_nobody(&work, command(&words))).expect_code(0);
        assert_eq!(ran.stderr_text(), "", "{how}");
        let _ = fs::remove_file(work.join("log/launched"));
        work.file("src/more/f", "");
        let words = ["-p", "1", "-f", "60", "src/", "out/D"];
        let mut running = start(as_nobody(&work, slowly(&work, command(&words))));
        running.wait_for("a launch", SOON, |_| work.join("log/launched").exists());
        running.signal(Signal::INT);
        let ran = running.finish(SOON).expect_code(20);
        let kept = listed(&work.join("tmp"));
        let [dir] = &kept[..] else { panic!("{how}: {kept:?}\n{}", ran.report()) };
        assert!(id(dir).starts_with("multi-sync-2"), "{dir:?}");
        let told = ran.stderr_text();
        assert!(told.contains("a restart of the machine may remove it"), "{how}: {}", ran.report());
        assert_eq!(last(&ran).rsplit(' ').next(), id(dir).strip_prefix("multi-sync-"), "{how}");
        assert!(!listed(&work.join("own")).iter().any(|path| path.exists()), "{how}");
        let mut again = copy(&work, &["--resume", id(dir).strip_prefix("multi-sync-").unwrap()]);
        if how == "nowhere" {
            again.env_remove("XDG_STATE_HOME");
        }
        run_within(as_nobody(&work, again), SOON).expect_code(0);
        run(sh(&work, "diff -r src out/D")).expect_code(0);
        assert_eq!(listed(&work.join("tmp")), [] as [PathBuf; 0], "{how}");
    }
}

#[test]
fn a_user_has_a_place_below_home() {
    let work = Work::public();
    tree(&work);
    let home = work.dir_for_nobody("home/me");
    work.dir_for_nobody("out");
    let mut command = copy(&work, &["-p", "2", "-f", "7", "src/", "out/D"]);
    command.env_remove("XDG_STATE_HOME").env("HOME", &home);
    if !support::is_root() {
        return support::skip("a_user_has_a_place_below_home", "needs a second user");
    }
    let ran = ended(&work, as_nobody(&work, slowly(&work, command)), Signal::INT).expect_code(20);
    let kept = listed(&home.join(".local/state/multi-sync"));
    assert_eq!(kept.len(), 1, "{}", ran.report());
    assert!(last(&ran).ends_with(&id(&kept[0])), "{}", ran.report());
    // root finds the runs of root.
    assert!(!ask(&work, &["--runs"]).contains(&id(&kept[0])));
}

/// If the place becomes full, the copy continues without it.
#[test]
fn a_full_place_does_not_end_a_copy() {
    const NAME: &str = "a_full_place_does_not_end_a_copy";
    let work = Work::new();
    for number in 0..900 {
        work.file(format!("src/{number:0>200}/f"), "");
    }
    let mut mount = support::command::command(&work, "mount");
    mount.args(["-t", "tmpfs", "-o", "size=100k", "none"]).arg(work.join("state"));
    if !support::is_root() || !run(mount).status.success() {
        return support::skip(NAME, "cannot mount a small tmpfs");
    }
    let ran = run_within(copy(&work, &["-p", "2", "-f", "9", "src/", "D"]), SOON);
    let left = listed(&place(&work));
    run(sh(&work, "umount -l state"));
    let ran = ran.expect_code(0).expect(left.is_empty(), &format!("{left:?}"));
    assert!(ran.stderr_text().contains("it cannot be resumed"), "{}", ran.report());
    expect_same(&work, &ran);
    assert_eq!(listed(&work.join("tmp")), [] as [PathBuf; 0]);
}

/// The same if the disk cannot sync what was written, and the user has not asked for a run directory; with `--buckets` the run ends, with the reason.
#[test]
fn a_place_that_cannot_be_synced_does_not_end_a_copy() {
    let work = Work::new();
    tree(&work);
    let (real, variables) = (work.dir("real"), ["FAILING_SOURCE", "FAILING_SYNC"]);
    let variables = [(variables[0], real.as_os_str()), (variables[1], "1".as_ref())];
    let _mounted = match Fuse::mount_told(&work, "failing_fs", &[], &variables, "state") {
        Ok(mounted) => mounted,
        Err(why) => return support::skip("a_place_that_cannot_be_synced_does_not_end_a_copy", &why),
    };
    let ran = run_within(slowly(&work, copy(&work, &WORDS)), SOON).expect_code(0);
    assert!(ran.stderr_text().contains("it cannot be resumed"), "{}", ran.report());
    expect_same(&work, &ran);
    fs::remove_dir_all(work.join("D")).unwrap();
    work.dir("state/asked");
    let mut asked = copy(&work, &WORDS);
    asked.args(["-b", "state/asked"]);
    let ran = run_within(slowly(&work, asked), SOON).expect_code(11);
    assert!(ran.stderr_text().contains("quota"), "{}", ran.report());
}

/// A second `^C` ends the run also if the main thread waits for the server of the run directory.
#[test]
fn a_run_directory_that_hangs_does_not_hold_up_the_end() {
    const NAME: &str = "a_run_directory_that_hangs_does_not_hold_up_the_end";
    let work = Work::new();
    tree(&work);
    let real = work.dir("real");
    work.dir("real/asked");
    let hang = work.join("hang");
    let variables = [("FAILING_SOURCE", real.as_os_str()), ("FAILING_HANG", hang.as_os_str())];
    let _mounted = match Fuse::mount_told(&work, "failing_fs", &[], &variables, "state") {
        Ok(mounted) => mounted,
        Err(why) => return support::skip(NAME, &why),
    };
    let mut copy = copy(&work, &WORDS);
    copy.args(["-b", "state/asked"]);
    let running = under_way(&work, copy);
    work.file("hang", "");
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_secs(2));
    running.signal(Signal::INT);
    let began = Instant::now();
    let ran = running.finish(SOON);
    fs::remove_file(&hang).unwrap();
    let ran = ran.expect_code(20);
    // Five seconds are for whatever still answers.
    ran.expect(began.elapsed() < Duration::from_secs(10), "it went on waiting");
}

/// The place is part of the source, or of the destination: nothing in it is changed, and nothing of the run is copied.
#[test]
fn the_place_is_not_used_where_a_copy_comes_upon_it() {
    let inside: [(&str, &[&str]); 8] = [
        ("mkdir -p src/own", &["-r", "-a"]),
        ("mkdir -p src/own", &["-r", "-am"]),
        ("mkdir -p src/own/multi-sync", &["-r", "-a --delete"]),
        ("mkdir -p src/own/multi-sync/2026-01-01T0000-abcdef", &["-r", "-a"]),
        ("mkdir -p D/own/multi-sync", &["-r", "-a --delete"]),
        ("mkdir -p D/own", &["-r", "-a --delete -m"]),
        ("mkdir -p own src/own && ln -s ../../own src/own/link", &["-r", "-aL"]),
        ("mkdir -p own && echo own/ >names", &["-r", "-ar --files-from=names"]),
    ];
    for (number, (script, options)) in inside.into_iter().enumerate() {
        let work = Work::new();
        tree(&work);
        run(sh(&work, script)).expect_code(0);
        let state = ["src/own", "D/own", "own"].map(|name| work.join(name));
        let state = state.iter().find(|path| path.is_dir()).unwrap();
        run(sh(&work, "cp -a src before; mkdir -p D; cp -a D one")).expect_code(0);
        let mut one = rsync(&work);
        one.args(options[1].split(' ')).args([if number == 7 { "." } else { "src/" }, "one/"]);
        let mut command = multi_sync(&work);
        command.args(["-p", "2"]).args(options).args([if number == 7 { "." } else { "src/" }, "D/"]);
        if number < 1 || (2..5).contains(&number) {
            command.args(["-f", "7"]);
        }
        command.env("XDG_STATE_HOME", state);
        let ran = run_within(command, SOON).expect_code(0);
        if number == 7 {
            // A directory above SRC is listed.
            assert!(listed(&state.join("multi-sync")).is_empty(), "{}", ran.report());
            continue;
        }
        run(one).expect_code(0);
        for (left, right) in [("before/", "src/"), ("one/", "D/")] {
            let mut check = rsync(&work);
            check.args(["-acHni", "--delete", left, right]);
            assert_eq!(run(check).stdout_text(), "", "{number}: {left} {right} {}", ran.report());
        }
    }
}

/// If the place is in the source, an interrupted run keeps its directory where the copy does not find it.
#[test]
fn a_run_with_its_place_in_the_source_is_resumed() {
    let work = Work::new();
    tree(&work);
    work.dir("src/own");
    let mut command = copy(&work, &WORDS);
    command.env("XDG_STATE_HOME", work.join("src/own"));
    let ran = ended(&work, command, Signal::INT).expect_code(20);
    let kept = listed(&work.join("tmp"));
    assert_eq!((kept.len(), listed(&work.join("src/own")).len()), (1, 0), "{}", ran.report());
    let word = last(&ran).rsplit(' ').next().unwrap().to_owned();
    let ran = run_within(copy(&work, &["--resume", &word]), SOON).expect_code(0);
    expect_same(&work, &ran);
}

#[test]
fn of_two_runs_each_is_its_own() {
    let work = Work::new();
    tree(&work);
    let first = under_way(&work, copy(&work, &WORDS));
    let mut other = start(slowly(&work, copy(&work, &["-p", "2", "-f", "7", "src/", "E"])));
    other.wait_for("a second run", SOON, |_| {
        let dirs = listed(&place(&work));
        dirs.len() == 2 && dirs.iter().all(|dir| dir.join("plan.json").exists())
    });
    let runs = ask(&work, &["--runs"]);
    let mine = |line: &&str| listed(&place(&work)).iter().any(|dir| line.starts_with(&id(dir)));
    assert_eq!(runs.lines().filter(mine).filter(|line| line.contains("running")).count(), 2, "{runs}");
    // Both names begin like this.
    let ambiguous = run(copy(&work, &["--status", "2"])).expect_code(1);
    assert!(ambiguous.stderr_text().contains("may be any of"), "{}", ambiguous.report());
    let of_first =
        runs.lines().filter(mine).find(|line| line.contains("-> D")).unwrap().split(' ').next().unwrap().to_owned();
    for refused in [&["--forget"][..], &["--resume"]] {
        let mut command = copy(&work, refused);
        command.arg(&of_first);
        let ran = run(command).expect_code(1);
        assert!(ran.stderr_text().contains("works on the run"), "{}", ran.report());
    }
    for running in [first, other] {
        running.signal(Signal::INT);
        running.finish(SOON).expect_code(20);
    }
    run(copy(&work, &["--forget", &of_first])).expect_code(0);
    let left = listed(&place(&work));
    assert!(left.len() == 1 && id(&left[0]) != of_first, "{left:?}");
    run(copy(&work, &["--runs", "--forget", left[0].to_str().unwrap()])).expect_code(0);
    assert_eq!(listed(&place(&work)), [] as [PathBuf; 0]);
}

/// A copy of the directory of an interrupted run, with this age.
fn aged(work: &Work, from: &Path, name: &str, days: u64) -> PathBuf {
    let to = place(work).join(name);
    run(sh(work, &format!("cp -a {} {}", from.display(), to.display()))).expect_code(0);
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    let journal = fs::OpenOptions::new().append(true).open(to.join("journal.jsonl")).unwrap();
    journal.set_modified(then).unwrap();
    to
}

#[test]
fn old_runs_are_removed_and_nothing_else() {
    let work = Work::new();
    tree(&work);
    ended(&work, copy(&work, &WORDS), Signal::KILL);
    let [newest] = &listed(&place(&work))[..] else { panic!("no run") };
    let month = aged(&work, newest, "2026-01-01T0000-aaaaaa", 31);
    let week = aged(&work, newest, "2026-01-01T0000-bbbbbb", 7);
    let running = aged(&work, newest, "2026-01-01T0000-cccccc", 99);
    let lock = fs::File::open(running.join("lock")).unwrap();
    lock.lock().unwrap();
    let notes = aged(&work, newest, "notes", 99);
    fs::create_dir(work.join("elsewhere")).unwrap();
    let link = place(&work).join("2026-01-01T0000-dddddd");
    symlink(aged(&work, newest, "mine", 99), &link).unwrap();
    let foreign = support::is_root().then(|| aged(&work, newest, "2026-01-01T0000-eeeeee", 99));
    if let Some(foreign) = &foreign {
        std::os::unix::fs::chown(foreign, Some(NOBODY), None).unwrap();
    }
    let here = |paths: &[&PathBuf]| paths.iter().map(|path| path.symlink_metadata().is_ok()).collect::<Vec<_>>();
    let done = |more: &[&str]| {
        let mut command = copy(&work, more);
        command.args(["-p", "2", "-f", "60", "src/d1", "src/d2", "src/d3", "E"]);
        let ran = run(command).expect_code(0);
        assert!(ran.stderr.is_empty(), "{}", ran.report());
    };
    done(&["-b", "elsewhere"]);
    assert_eq!(here(&[&month, &week, &running, &notes, &link, newest]), [false, true, true, true, true, true]);
    done(&["--keep-runs", "3"]);
    assert_eq!(here(&[&week, &running, &notes, &link, newest]), [false, true, true, true, true]);
    assert!(foreign.is_none_or(|dir| dir.exists()));
    let second = aged(&work, newest, "2026-01-01T0000-ffffff", 1);
    done(&["--keep-runs", "30,1"]);
    assert_eq!(here(&[&second, &running, newest]), [false, true, true]);
    for wrong in ["x", "-1", "3,0", "3,x", "3,4,5", ""] {
        let mut command = multi_sync(&work);
        command.arg(format!("--keep-runs={wrong}")).args(["src/", "E"]);
        let ran = run(command).expect_code(1);
        assert!(ran.stderr_text().contains("--keep-runs: "), "{}", ran.report());
    }
}

#[test]
fn what_is_no_run_is_not_forgotten() {
    let work = Work::new();
    work.file("dir/plan.txt", "");
    work.file("other/plan.json", "{}");
    symlink("other", work.join("link")).unwrap();
    for word in ["dir", "link", "nothing", "./nothing", ""] {
        let ran = run(copy(&work, &["--forget", word])).expect_code(1);
        assert!(ran.stderr_text().contains("to do: "), "{}", ran.report());
    }
    assert!(work.join("dir/plan.txt").exists() && work.join("other/plan.json").exists());
}

/// Other users may create directories in /tmp: their requests are not executed.
#[test]
fn a_run_of_another_user_is_not_found_by_its_name() {
    if !support::is_root() {
        return support::skip("a_run_of_another_user_is_not_found_by_its_name", "needs a second user");
    }
    let work = Work::new();
    tree(&work);
    ended(&work, copy(&work, &WORDS), Signal::KILL);
    let [kept] = &listed(&place(&work))[..] else { panic!("no run") };
    let planted = work.join("tmp/multi-sync-2026-01-01T0000-planted");
    fs::rename(kept, &planted).unwrap();
    assert!(ask(&work, &["--runs"]).contains("2026-01-01T0000-planted"));
    std::os::unix::fs::chown(&planted, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(!ask(&work, &["--runs"]).contains("2026-01-01T0000-planted"));
    for how in ["--resume", "--retry-failed", "--status", "--forget"] {
        let ran = run(copy(&work, &[how, "2026-01-01T0000-planted"])).expect_code(1);
        assert!(ran.stderr_text().contains("there is no run"), "{}", ran.report());
    }
    // Neither by its path, nor by its name in the user's working directory.
    let here = work.join("2026-01-01T0000-planted");
    fs::rename(&planted, &here).unwrap();
    for how in ["--resume", "--retry-failed"] {
        for word in [here.as_os_str(), "2026-01-01T0000-planted".as_ref(), "./2026-01-01T0000-planted".as_ref()] {
            for (owner, mode, why) in
                [(NOBODY, 0o700, "belongs to user"), (0, 0o770, "others may write"), (0, 0o707, "others may write")]
            {
                std::os::unix::fs::chown(&here, Some(owner), Some(owner)).unwrap();
                set_mode(&here, mode);
                let mut asked = copy(&work, &[how]);
                asked.arg(word);
                let ran = run(asked).expect_code(1);
                assert!(ran.stderr_text().contains(why), "{}", ran.report());
            }
        }
    }
    set_mode(&here, 0o700);
    let mut resumed = copy(&work, &["--resume"]);
    resumed.arg(&here);
    expect_same(&work, &run(resumed).expect_code(0));
}

#[test]
fn who_asks_is_told_how_far_a_run_is() {
    let work = Work::new();
    tree(&work);
    let mut running = under_way(&work, copy(&work, &WORDS));
    running.wait_for("figures", SOON, |_| {
        listed(&place(&work)).first().is_some_and(|dir| dir.join("status.json").exists())
    });
    let dir = listed(&place(&work)).remove(0);
    let status = ask(&work, &["--status", &id(&dir)]);
    for part in ["Status: running\n", "Copy: src/ -> D\n", "Elapsed: 0:00:", "Progress: ", " entries  "] {
        assert!(status.contains(part), "{part}: {status}");
    }
    running.signal(Signal::INT);
    running.finish(SOON).expect_code(20);
    let status = ask(&work, &["--status", &id(&dir)]);
    assert!(!status.contains("Progress: ") && status.contains("To go on: "), "{status}");
}

/// Everything that was found was also processed.
#[test]
fn the_figures_of_a_run_that_has_ended_add_up() {
    let work = Work::new();
    tree(&work);
    run(copy(&work, &["-k", "-p", "2", "-f", "7", "src/", "D"])).expect_code(0);
    let [dir] = &listed(&work.join("tmp"))[..] else { panic!("no run") };
    let status = ask(&work, &["--status", dir.to_str().unwrap()]);
    let figure = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert_eq!(figure("Found: "), figure("Done: "), "{status}");
    assert!(figure("Found: ").unwrap().starts_with("211 entries"), "{status}");
}

#[test]
fn runs_takes_a_directory_and_refuses_what_it_cannot_use() {
    let work = Work::new();
    work.dir("runs");
    for words in [&["--runs", "runs"][..], &["-b", "runs", "--runs"], &["--runs", "-b", "runs"]] {
        assert_eq!(ask(&work, words), "no runs in runs\n");
    }
    // An answer that cannot be written is an error.
    let program = multi_sync(&work).get_program().to_owned();
    let full = run(sh(&work, &format!("{} runs --json runs >/dev/full", program.display()))).expect_code(1);
    assert!(full.stderr_text().contains("cannot write to standard output"), "{}", full.report());
    for (words, culprit) in [
        (&["-p", "4", "--runs"][..], "--processes"),
        (&["--runs", "-r", "-a"], "--rsync"),
        (&["--runs", "a", "b"], "one directory"),
        (&["--status", "x", "-b", "runs"], "--buckets"),
        (&["--forget", "x", "--stats"], "--stats"),
        (&["--forget", "x", "--resume", "y"], "exclude each other"),
    ] {
        let ran = run(copy(&work, words)).expect_code(1);
        assert!(ran.stderr_text().contains(culprit), "{}", ran.report());
    }
}
