//! A run that was killed at any moment can be resumed: the destination becomes that of one rsync, no finished bucket is launched again, and entries that were
//! not copied are listed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support;
use crate::support::command::{Run, Signal, multi_sync, rsync, run, run_within, start};
use crate::support::twin::fake_rsync;
use crate::support::work::{Work, set_mode};
use multi_sync::harness::journal::Read;
use multi_sync::harness::treegen::{self, Sizes, Spec};

const SOON: Duration = Duration::from_secs(60);

fn tree(work: &Work, entries: u64) {
    treegen::generate(&work.join("src"), &Spec::bench(entries, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
    work.dir("runs");
}

/// The only run directory.
fn run_dir(work: &Work) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(work.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(found.len() <= 1, "{found:?}");
    found.pop()
}

fn expect_same(work: &Work, ran: &Run) {
    let mut check = rsync(work);
    check.args(["-aHni", "--delete", "src/", "D/"]);
    assert_eq!(run(check).stdout_text(), "", "{}", ran.report());
}

/// A fake rsync that records the last units of each launch of buckets, is slow, and then runs the real one.
fn counted(command: &mut std::process::Command, work: &Work) {
    let script = format!(
        "case \" $* \" in *' --no-implied-dirs '*) echo \"$*\" >>{}/launched; sleep 0.0$(($$ % 5)) ;; esac\nexec REAL \"$@\"",
        work.path().display()
    );
    fake_rsync(command, work, &script);
}

fn begin(work: &Work, more: &[&str]) -> std::process::Command {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "8", "-b", "runs"]).args(more).args(["src/", "D"]);
    counted(&mut command, work);
    command
}

fn resume(work: &Work, dir: &Path) -> std::process::Command {
    let mut command = multi_sync(work);
    command.arg("--resume").arg(dir);
    counted(&mut command, work);
    command
}

/// How often each launch of buckets was started.
fn launched(work: &Work) -> BTreeMap<String, u32> {
    let text = fs::read_to_string(work.join("launched")).unwrap_or_default();
    let mut counts = BTreeMap::new();
    // Launches that only ask rsync something may be repeated.
    let copies = text.lines().filter(|line| !line.contains(" -n "));
    copies.for_each(|line| *counts.entry(line.to_owned()).or_insert(0) += 1);
    counts
}

/// Kills a run at random moments and resumes it until it is complete.
fn kill_and_resume(seed: u64, options: &str) -> u32 {
    let work = Work::new();
    tree(&work, 220);
    if options.contains("--delete") {
        fs::create_dir_all(work.join("D/extra/deep")).unwrap();
    }
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut kills = 0;
    let mut in_flight = 0;
    loop {
        let command = match run_dir(&work).filter(|dir| dir.join("plan.json").exists()) {
            Some(dir) => resume(&work, &dir),
            None => {
                if let Some(half) = run_dir(&work) {
                    let was_complete = half.join("journal.jsonl").exists();
                    fs::remove_dir_all(half).unwrap();
                    if was_complete {
                        // It was killed while it removed files that are not needed any more.
                        break;
                    }
                }
                begin(&work, &["-r", options])
            }
        };
        let running = start(command);
        std::thread::sleep(Duration::from_millis(10 + next(500)));
        if kills < 12 {
            running.signal(Signal::KILL);
        }
        let ran = running.finish(SOON);
        if ran.status.code().is_some() {
            ran.expect(kills <= 12, "never ends").expect_code(0);
            break;
        }
        kills += 1;
        if let Some(state) = run_dir(&work).and_then(|dir| Read::from(&dir).ok()) {
            in_flight += state.state().started.len() as u32;
        }
    }
    let mut check = rsync(&work);
    check.args(["-aHni", "--delete", "src/", "D/"]);
    let differences = run(check).stdout_text();
    assert_eq!(differences, "", "seed {seed}");
    assert_eq!(run_dir(&work), None, "a complete run leaves nothing");
    // Only launches that were running at the time of a kill are repeated, under the same bucket number or, during the scan, another one.
    let again: u32 = launched(&work).values().map(|count| count - 1).sum();
    assert!(
        again <= in_flight,
        "seed {seed}: {again} launched again, {in_flight} were running\n{:#?}",
        launched(&work)
    );
    kills
}

#[test]
fn killed_at_any_moment() {
    let kills: u64 = std::env::var("RESUME_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let (mut done, mut seed) = (0, 0);
    while done < kills {
        let options = ["-a", "-aH --delete", "-a --exclude=nothing"][seed as usize % 3];
        done += u64::from(kill_and_resume(seed, options));
        seed += 1;
    }
    println!("{done} kills in {seed} runs");
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let work = Work::new();
    tree(&work, 300);
    let mut running = start(begin(&work, &[]));
    running.wait_for("a launch", SOON, |_| work.join("launched").exists());
    running.signal(Signal::INT);
    let ran = running.finish(SOON).expect_code(20);
    let dir = run_dir(&work).expect("the run directory is kept");
    let advice = format!("to go on: multi-sync --resume {}", dir.display());
    assert!(ran.stderr_text().contains(&advice), "{}", ran.report());

    let mut status = multi_sync(&work);
    status.arg("--status").arg(&dir);
    let status = run(status).expect_code(0).stdout_text();
    assert!(status.starts_with("Status: interrupted, can be resumed\n"), "{status}");
    let mut runs = multi_sync(&work);
    runs.args(["--runs", "-b", "runs"]);
    let runs = run(runs).expect_code(0).stdout_text();
    assert!(runs.contains(dir.file_name().unwrap().to_str().unwrap()) && runs.contains("can be resumed"), "{runs}");

    // The task cannot be changed, but the number of processes can.
    for (more, culprit) in [
        (&["src/", "D"][..], "SRC and DEST"),
        (&["-r", "-a"], "--rsync"),
        (&["-f", "3"], "--files"),
        (&["-d"], "--dry-run"),
    ] {
        let mut command = resume(&work, &dir);
        command.args(more);
        let refused = run(command).expect_code(1);
        assert!(refused.stderr_text().contains(culprit), "{}", refused.report());
    }
    let mut command = resume(&work, &dir);
    command.args(["-p", "4", "--stats"]);
    let ran = run_within(command, SOON).expect_code(0);
    assert!(ran.stdout_text().contains("Rsync workers: 4"), "{}", ran.report());
    expect_same(&work, &ran);
    assert_eq!(run_dir(&work), None);
}

#[test]
fn a_second_one_at_the_same_run_is_refused() {
    let work = Work::new();
    tree(&work, 300);
    let mut running = start(begin(&work, &[]));
    running.wait_for("a launch", SOON, |_| work.join("launched").exists());
    let dir = run_dir(&work).unwrap();
    let mut status = multi_sync(&work);
    status.arg("--status").arg(&dir);
    assert!(run(status).stdout_text().starts_with("Status: running\n"));
    let refused = run(resume(&work, &dir)).expect_code(1);
    assert!(refused.stderr_text().contains("works on the run"), "{}", refused.report());
    let ran = running.finish(SOON).expect_code(0);
    expect_same(&work, &ran);
}

#[test]
fn what_is_no_run_is_refused() {
    let work = Work::new();
    work.dir("empty");
    for option in ["--resume", "--retry-failed", "--status"] {
        for dir in ["empty", "missing"] {
            let mut command = multi_sync(&work);
            command.args([option, dir]);
            let ran = run(command).expect_code(1);
            assert!(ran.stderr_text().contains("plan.json"), "{}", ran.report());
        }
    }
    let mut command = multi_sync(&work);
    command.args(["--resume", "empty", "--status", "empty"]);
    run(command).expect_code(1);
}

#[test]
fn one_unreadable_file_is_named_and_everything_else_is_copied() {
    if !support::is_root() {
        return support::skip("one_unreadable_file_is_named_and_everything_else_is_copied", "needs a second user");
    }
    let work = Work::public();
    let src = work.dir_for_nobody("src");
    let entries =
        std::env::var("RESUME_ENTRIES").map_or(3000, |count| count.parse().expect("RESUME_ENTRIES is a number"));
    treegen::generate(&src, &Spec::bench(entries, Sizes::Empty), 9).unwrap();
    run(support::command::sh(&work, "chown -R 65534:65534 src")).expect_code(0);
    let mut files: Vec<PathBuf> = Vec::new();
    let mut todo = vec![src.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() { todo.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let secret = &files[files.len() / 2];
    fs::write(secret, "secret").unwrap();
    set_mode(secret, 0);
    work.dir_for_nobody("runs");
    work.dir_for_nobody("out");
    let copy = |words: &[&std::ffi::OsStr]| {
        let mut command = multi_sync(&work);
        command.args(words);
        run_within(support::command::as_nobody(&work, command), SOON)
    };
    let words = ["-p", "2", "-f", "100", "-b", "runs", "--stats", "src/", "out/D"].map(std::ffi::OsStr::new);
    let ran = copy(&words).expect_code(23);
    let dir = run_dir(&work).expect("the run directory is kept");
    let name = secret.strip_prefix(&src).unwrap().to_str().unwrap();
    assert_eq!(fs::read(dir.join("failed.nul")).unwrap(), [name.as_bytes(), b"\0"].concat());
    let listed = fs::read_to_string(dir.join("failed.txt")).unwrap();
    assert!(listed.lines().count() == 1 && listed.contains("Permission denied"), "{listed}");
    assert!(ran.stderr_text().contains("--retry-failed"), "{}", ran.report());
    // Besides the buckets only the spine is launched, when it is created and at the end, in parts that fit a launch.
    let figure = |name: &str| -> u64 {
        let text = ran.stdout_text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).expect(name)
    };
    let extra = figure("Launches") - figure("Buckets number");
    assert!(extra <= 8, "{extra} launches more than buckets: {}", ran.report());
    let missing = files.iter().filter(|file| !work.join("out/D").join(file.strip_prefix(&src).unwrap()).exists());
    assert_eq!(missing.collect::<Vec<_>>(), [secret]);

    set_mode(secret, 0o600);
    let again = copy(&["--retry-failed".as_ref(), dir.as_os_str(), "--stats".as_ref()]).expect_code(0);
    assert!(work.join("out/D").join(secret.strip_prefix(&src).unwrap()).exists(), "{}", again.report());
    assert_eq!(run_dir(&work), None, "{}", again.report());
}

/// `src/a/big` has another name below a directory that nobody may read.
fn link_in_the_dark(work: &Work) -> PathBuf {
    let src = work.dir_for_nobody("src");
    for dir in 0..20 {
        (0..6).for_each(|file| drop(work.file(format!("src/d{dir:02}/f{file}"), "content")));
    }
    work.file("src/a/big", "both names");
    let dark = work.dir("src/z/dark");
    (0..3).for_each(|file| drop(work.file(format!("src/z/g{file}"), "content")));
    fs::hard_link(src.join("a/big"), dark.join("big")).unwrap();
    fs::hard_link(src.join("d03/f1"), dark.join("f1")).unwrap();
    run(support::command::sh(work, "chown -R 65534:65534 src")).expect_code(0);
    set_mode(&dark, 0);
    work.dir_for_nobody("runs");
    work.dir_for_nobody("out");
    dark
}

fn by_nobody(work: &Work, words: &[&std::ffi::OsStr], script: &str) -> std::process::Command {
    let mut command = multi_sync(work);
    command.args(words);
    if !script.is_empty() {
        fake_rsync(&mut command, work, script);
    }
    support::command::as_nobody(work, command)
}

const WITH_LINKS: [&str; 9] = ["-p", "2", "-f", "4", "-b", "runs", "--rsync", "-aH", "src/"];

fn expect_links(work: &Work, ran: &Run) {
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(work.join("out/D").join(name)).unwrap());
    assert_eq!(inode("a/big"), inode("z/dark/big"), "{}", ran.report());
    assert_eq!(inode("d03/f1"), inode("z/dark/f1"), "{}", ran.report());
}

/// What can be read by now contains another name of a file that was copied.
#[test]
fn a_retry_finds_hard_links_where_nothing_could_be_read() {
    if !support::is_root() {
        return support::skip("a_retry_finds_hard_links_where_nothing_could_be_read", "needs a second user");
    }
    for options in ["-aH", "-aH --delete"] {
        let work = Work::public();
        let dark = link_in_the_dark(&work);
        let secret = work.join("src/d17/f2");
        set_mode(&secret, 0);
        let mut words: Vec<&std::ffi::OsStr> = WITH_LINKS.iter().map(std::ffi::OsStr::new).collect();
        words[7] = options.as_ref();
        words.push("out/D".as_ref());
        let copy = |words: &[&std::ffi::OsStr]| run_within(by_nobody(&work, words, ""), SOON);
        copy(&words).expect_code(23);
        let dir = run_dir(&work).expect("the run directory is kept");
        let names = || fs::read_to_string(dir.join("failed.nul")).unwrap_or_default();
        assert!(names().contains("d17/f2\0"), "{:?}", names());

        set_mode(&dark, 0o755);
        let retry = ["--retry-failed".as_ref(), dir.as_os_str()];
        let again = copy(&retry).expect_code(23);
        expect_links(&work, &again);
        // With --delete, one rsync did everything, and the retry begins from the beginning.
        let told = |ran: &Run| ran.stderr_text().contains("names of hard-linked files");
        assert_eq!(told(&again), options == "-aH", "{}", again.report());
        // The list contains what failed now, and not what had failed before.
        assert_eq!(names(), "d17/f2\0", "{}", again.report());

        // A file that cannot be read hides no names: only its bucket is copied again.
        set_mode(&secret, 0o600);
        let last = copy(&retry).expect_code(0);
        assert!(!told(&last), "{}", last.report());
        expect_links(&work, &last);
        let mut check = rsync(&work);
        check.args(["-aHni", "--delete", "src/", "out/D/"]);
        assert_eq!(run(check).stdout_text(), "", "{}", last.report());
        assert_eq!(run_dir(&work), None, "{}", last.report());
    }
}

/// The same in a run that was killed before rsync came to the directory.
#[test]
fn a_resumed_run_finds_hard_links_where_nothing_could_be_read() {
    if !support::is_root() {
        return support::skip("a_resumed_run_finds_hard_links_where_nothing_could_be_read", "needs a second user");
    }
    let work = Work::public();
    let dark = link_in_the_dark(&work);
    let mut words: Vec<&std::ffi::OsStr> = WITH_LINKS.iter().map(std::ffi::OsStr::new).collect();
    words.push("out/D".as_ref());
    let hangs = "case \" $* \" in *' --no-implied-dirs '*dark*) exec sleep 60 ;; esac; exec REAL \"$@\"";
    let mut running = start(by_nobody(&work, &words, hangs));
    running.wait_for("all other buckets", SOON, |_| {
        let read = run_dir(&work).and_then(|dir| Read::from(&dir).ok());
        let state = read.as_ref().map(Read::state);
        let is_scanned = state.is_some_and(|state| state.scanned.is_some());
        is_scanned && ["a/big", "d03/f1"].iter().all(|name| work.join("out/D").join(name).exists())
    });
    running.signal(Signal::KILL);
    running.finish(SOON);
    let dir = run_dir(&work).unwrap();
    let state = Read::from(&dir).unwrap().state().clone();
    assert!(state.done.values().all(|code| *code == 0), "{state:?}");

    set_mode(&dark, 0o755);
    let ran = run_within(by_nobody(&work, &["--resume".as_ref(), dir.as_os_str()], ""), SOON).expect_code(0);
    expect_links(&work, &ran);
    assert!(ran.stderr_text().contains("names of hard-linked files"), "{}", ran.report());
    assert_eq!(run_dir(&work), None, "{}", ran.report());
}

#[test]
fn a_run_directory_without_room_ends_the_run() {
    let work = Work::new();
    tree(&work, 3000);
    let small = work.dir("runs/small");
    let mut mount = support::command::command(&work, "mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&small);
    if !support::is_root() || !run(mount).status.success() {
        return support::skip("a_run_directory_without_room_ends_the_run", "cannot mount a small tmpfs");
    }
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "3", "-b", "runs/small", "src/", "D"]);
    let ran = run_within(command, SOON);
    let mut unmount = support::command::command(&work, "umount");
    unmount.arg("-l").arg(&small);
    run(unmount);
    ran.expect_code(11);
}

/// A run that was killed when its scan was complete and some of its buckets were not launched yet.
fn killed_after_the_scan(work: &Work) -> PathBuf {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "8", "-b", "runs", "src/", "D"]);
    let slowly = "case \" $* \" in *' --no-implied-dirs '*) sleep 0.2 ;; esac; exec REAL \"$@\"";
    fake_rsync(&mut command, work, slowly);
    let mut running = start(command);
    running.wait_for("the end of a bucket", SOON, |_| {
        let read = run_dir(work).and_then(|dir| Read::from(&dir).ok());
        read.is_some_and(|read| read.state().scanned.is_some() && !read.state().done.is_empty())
    });
    running.signal(Signal::KILL);
    running.finish(SOON);
    let dir = run_dir(work).unwrap();
    let read = Read::from(&dir).unwrap();
    assert!(read.state().done.len() + 4 < read.state().buckets.len(), "too late: {read:?}");
    dir
}

/// The files of the buckets that are not done, or of those that are.
fn bucket_files(dir: &Path, done: bool) -> Vec<PathBuf> {
    let read = Read::from(dir).unwrap();
    let state = read.state();
    let ids = state.buckets.keys().filter(|id| state.done.contains_key(id) == done);
    ids.map(|id| dir.join(format!("0000/0000/{id:06}.bucket"))).collect()
}

/// A change of the files of two buckets.
type Damage = fn(&Path, &Path);

const DAMAGES: [(&str, Damage); 7] = [
    ("emptied", |file, _| fs::write(file, "").unwrap()),
    ("removed", |file, _| fs::remove_file(file).unwrap()),
    ("cut after a name", |file, _| {
        let bytes = fs::read(file).unwrap();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap() + 1;
        fs::write(file, &bytes[..end]).unwrap();
    }),
    ("zeros in the place of it", |file, _| fs::write(file, vec![0; fs::read(file).unwrap().len()]).unwrap()),
    ("a bit of a name", |file, _| {
        let mut bytes = fs::read(file).unwrap();
        bytes[3] ^= 1;
        fs::write(file, bytes).unwrap();
    }),
    ("more names", |file, other| {
        fs::write(file, [fs::read(file).unwrap(), fs::read(other).unwrap()].concat()).unwrap()
    }),
    ("exchanged", |file, other| {
        let (one, two) = (fs::read(file).unwrap(), fs::read(other).unwrap());
        fs::write(file, two).unwrap();
        fs::write(other, one).unwrap();
    }),
];

#[test]
fn what_a_bucket_file_has_lost_is_scanned_again() {
    for (how, damage) in DAMAGES {
        let work = Work::new();
        tree(&work, 150);
        let dir = killed_after_the_scan(&work);
        let (files, done) = (bucket_files(&dir, false), bucket_files(&dir, true));
        damage(&files[0], if how == "exchanged" { &done[0] } else { &files[1] });
        let mut command = multi_sync(&work);
        command.arg("--resume").arg(&dir);
        let ran = run_within(command, SOON).expect_code(0);
        assert!(ran.stderr_text().contains("scanned again"), "{how}: {}", ran.report());
        expect_same(&work, &ran);
    }
}

#[test]
fn a_damaged_journal_is_no_shorter_one() {
    let work = Work::new();
    tree(&work, 150);
    let dir = killed_after_the_scan(&work);
    let journal = dir.join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = lines.iter().position(|line| line.contains("\"bucket\"")).unwrap();
    lines.remove(at);
    fs::write(&journal, lines.concat()).unwrap();
    let mut status = multi_sync(&work);
    status.arg("--status").arg(&dir);
    let status = run(status).expect_code(0).stdout_text();
    assert!(status.contains(&format!("damaged in line {}", at + 1)), "{status}");
    let mut command = multi_sync(&work);
    command.arg("--resume").arg(&dir);
    let ran = run_within(command, SOON).expect_code(0);
    assert!(ran.stderr_text().contains("damaged in line"), "{}", ran.report());
    expect_same(&work, &ran);
}

/// Files of two runs in one directory: the mixture is recognised.
#[test]
fn the_journal_of_another_run_is_refused() {
    let work = Work::new();
    tree(&work, 150);
    let dir = killed_after_the_scan(&work);
    let other = Work::new();
    tree(&other, 150);
    fs::copy(killed_after_the_scan(&other).join("journal.jsonl"), dir.join("journal.jsonl")).unwrap();
    let mut command = multi_sync(&work);
    command.arg("--resume").arg(&dir);
    let ran = run_within(command, SOON).expect_code(1);
    assert!(ran.stderr_text().contains("another run") && ran.stderr_text().contains("to do: "), "{}", ran.report());
}

/// Before the journal is believed, it is checked that finished work still exists at the destination.
#[test]
fn a_destination_that_is_not_what_it_was_is_filled_again() {
    for (how, script, said) in [
        ("replaced", "mv D away && mkdir D", "not the directory that it was"),
        ("gone", "mv D away", "not the directory that it was"),
        ("emptied", "find D -mindepth 1 -delete", "lacks what was copied"),
        ("untouched", "true", ""),
    ] {
        let work = Work::new();
        tree(&work, 150);
        let dir = killed_after_the_scan(&work);
        run(support::command::sh(&work, script)).expect_code(0);
        let mut command = multi_sync(&work);
        command.arg("--resume").arg(&dir);
        let ran = run_within(command, SOON).expect_code(0);
        let told = ran.stderr_text().contains("is copied again");
        assert!(ran.stderr_text().contains(said) && told != said.is_empty(), "{how}: {}", ran.report());
        expect_same(&work, &ran);
    }
}

/// A disk that was mounted again has another device number, but is the same.
#[test]
fn a_source_that_was_mounted_again_is_still_the_source() {
    const NAME: &str = "a_source_that_was_mounted_again_is_still_the_source";
    if !support::is_root() {
        return support::skip(NAME, "needs root");
    }
    let work = Work::new();
    work.dir("src");
    let attach = "for i in first second; do truncate -s 24M $i; done && mkfs.ext4 -q -N 1024 first &&
        losetup -f --show first >one && mount \"$(cat one)\" src";
    let again =
        "n=0; until umount src 2>/dev/null || [ $n = 200 ]; do n=$((n + 1)); sleep 0.05; done; losetup -d \"$(cat one)\" && losetup -f --show second >two && losetup -f --show first >one &&
        mount \"$(cat one)\" src";
    let end = "umount src; for i in one two; do [ ! -e $i ] || losetup -d \"$(cat $i)\"; done";
    if !run(support::command::sh(&work, attach)).status.success() {
        run(support::command::sh(&work, end));
        return support::skip(NAME, "no loop device");
    }
    let ran = std::panic::catch_unwind(|| {
        fs::remove_dir(work.join("src/lost+found")).unwrap();
        run(support::command::sh(
            &work,
            "for d in 1 2 3 4 5 6 7; do mkdir -p src/d$d/e; for f in 1 2 3 4 5 6 7 8 9; do echo $f >src/d$d/f$f; echo $f >src/d$d/e/f$f; done; done",
        ));
        work.dir("runs");
        let dir = killed_after_the_scan(&work);
        run(support::command::sh(&work, again)).expect_code(0);
        let mut command = multi_sync(&work);
        command.arg("--resume").arg(&dir);
        let ran = run_within(command, SOON).expect_code(0);
        expect_same(&work, &ran);
    });
    run(support::command::sh(&work, end));
    ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Two sources that cannot be split, because rules may concern the targets of their links, and extraneous entries at DEST.
fn whole_sources(work: &Work) {
    fs::create_dir_all(work.join("out/dir")).unwrap();
    for source in ["s", "t"] {
        for dir in ["b", "c", "e"] {
            fs::create_dir_all(work.join(source).join(dir)).unwrap();
            fs::write(work.join(source).join(dir).join("a"), "new").unwrap();
        }
        std::os::unix::fs::symlink("../out/dir", work.join(source).join("core")).unwrap();
        fs::create_dir_all(work.join("D").join(source).join("b")).unwrap();
        std::os::unix::fs::symlink("/nowhere", work.join("D").join(source).join("b/z.a")).unwrap();
    }
    work.dir("runs");
}

const WHOLE: &str = "-a --copy-unsafe-links --include=*/ --include=a --include=*.a --exclude=*";

fn copy_whole(work: &Work, deletes: &str) -> std::process::Command {
    let mut command = multi_sync(work);
    command.args(["-p", "2", "-f", "2", "-b", "runs", "--stats", "-r", &format!("{WHOLE} {deletes}"), "s", "t", "D"]);
    command
}

fn expect_cleaned(work: &Work, ran: &Run) {
    for source in ["s", "t"] {
        let left = work.join("D").join(source).join("b/z.a");
        assert!(left.symlink_metadata().is_err(), "{} is left\n{}", left.display(), ran.report());
    }
}

#[test]
fn what_is_too_much_is_deleted_late_where_nothing_was_split() {
    for deletes in ["--delete-after", "--delete-delay"] {
        let work = Work::new();
        whole_sources(&work);
        let ran = run(copy_whole(&work, deletes)).expect_code(0);
        assert!(ran.stdout_text().contains("Split directories: 0"), "{}", ran.report());
        expect_cleaned(&work, &ran);
    }
}

#[test]
fn a_run_that_has_only_to_delete_goes_on_with_that() {
    let work = Work::new();
    whole_sources(&work);
    let mut command = copy_whole(&work, "--delete-after");
    fake_rsync(
        &mut command,
        &work,
        "case \" $* \" in *' --ignore-existing '*) exec sleep 60 ;; esac; exec REAL \"$@\"",
    );
    let mut running = start(command);
    // Everything was copied before the launch that deletes is started.
    let copied = |work: &Work| {
        let dir = run_dir(work);
        dir.and_then(|dir| Read::from(&dir).ok()).is_some_and(|read| read.state().done.len() >= 2)
    };
    running.wait_for("all buckets to be done", SOON, |_| copied(&work));
    running.signal(Signal::KILL);
    running.finish(SOON);
    let mut command = multi_sync(&work);
    command.arg("--resume").arg(run_dir(&work).unwrap());
    let ran = run_within(command, SOON).expect_code(0);
    expect_cleaned(&work, &ran);
    assert_eq!(run_dir(&work), None, "a complete run leaves nothing");
}
