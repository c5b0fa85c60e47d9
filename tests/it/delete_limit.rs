//! `--delete-limit`: deletions are counted as one `rsync -n --delete` counts them, and over the limit nothing is deleted.
//!
//! `DELETE_LIMIT_CASES=300` makes `random_counts` longer, `DELETE_LIMIT_FROM=SEED` sets the first seed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use multi_sync::harness::rsync::filter::unescape;

use crate::oracle::case::Case;
use crate::oracle::judge::Court;
use crate::oracle::{generate, number, program};
use crate::support::command::{Run, multi_sync, run, sh};
use crate::support::twin::fake_rsync;
use crate::support::work::Work;

/// Options that print in another format, or end the count early.
const LEFT_OUT: [&str; 9] = [
    "--out-format",
    "--log-f",
    "--log-file-format",
    "--info",
    "--debug",
    "--max-delete",
    "--stop-a",
    "--quiet",
    "--stderr",
];

/// A case with deletions, or `None`.
fn deleting(seed: u64) -> Option<Case> {
    let mut case = generate::case(seed);
    let is_other = |word: &str| {
        ["--list-only", "--only-write-batch", "--read-batch", "--write-batch"].iter().any(|no| word.starts_with(no))
    };
    if case.words().any(is_other) {
        return None;
    }
    if !case.has_prefix("--del") {
        case.options.push(vec!["--delete".into()]);
    }
    Some(case)
}

/// The arguments with which one rsync reports its deletions.
fn one_count(case: &Case, world: &Path) -> Vec<OsString> {
    let is_left_out = |word: &OsString| {
        let text = word.to_string_lossy();
        LEFT_OUT.iter().any(|no| text.starts_with(no)) || text == "-q"
    };
    let words = case.one(world);
    let end = words.iter().position(|word| word == "--").unwrap();
    let options = words[..end].iter().filter(|word| !is_left_out(word)).cloned();
    options.chain(["-n", "--no-v", "--info=del"].map(OsString::from)).chain(words[end..].iter().cloned()).collect()
}

fn deleted(ran: &Run) -> impl Iterator<Item = &[u8]> {
    ran.stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"deleting ").or_else(|| line.strip_prefix(b"*deleting   ")))
}

fn deletions(ran: &Run) -> u64 {
    deleted(ran).count() as u64
}

/// The reported number, and whether the count is complete; `None` if nothing is reported.
fn told(ran: &Run) -> Option<(u64, bool)> {
    let text = ran.stderr_text();
    let line = text.lines().find_map(|line| line.strip_prefix("multi-sync: nothing is deleted: "))?;
    let count = line.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Some((count, !line.contains("the count is incomplete")))
}

/// What is wrong with the answer to a case.
fn wrong(court: &Court, case: &Case, counted: &AtomicU64) -> Option<String> {
    let one = court.run_words(case, "one", false, |world| one_count(case, world));
    let many = court
        .run_words(case, "many", true, |world| [vec!["--delete-limit".into(), "0".into()], case.many(world)].concat());
    // rsync may wait forever if an entry cannot make way for another.
    if one.over_limit || many.over_limit {
        return None;
    }
    let (one_code, code) = (one.status.code()?, many.status.code());
    if !matches!(one_code, 0 | 23 | 24 | 25) {
        return None;
    }
    let count = deletions(&one);
    let report = |what: &str| {
        let script = case.script();
        let (one, many) = (one.report(), many.report());
        Some(format!("seed {}: {what}: {count} by one rsync\n{script}--- one\n{one}--- many\n{many}", case.seed))
    };
    match told(&many) {
        // Refused: the entries that would have been deleted still exist.
        None if code == Some(1) => {}
        None if count == 0 || one_code == 23 && !case.has("--ignore-errors") => return None,
        None => return report("nothing is said of deletions"),
        // An incomplete count is reported as such, and allows no deletion.
        Some((_, false)) => {}
        Some((found, true)) if found != count => return report(&format!("{found} are told")),
        Some(_) => {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    }
    if matches!(code, Some(0) | None) {
        return report("the exit code is that of a success");
    }
    let world = court.kept("many");
    let dest = match case.destination.strip_prefix(b"%/") {
        Some(below) => world.join(OsStr::from_bytes(below)),
        None => world.join(&case.cwd).join(OsStr::from_bytes(&case.destination)),
    };
    let gone =
        deleted(&one).map(unescape).find(|name| fs::symlink_metadata(dest.join(OsStr::from_bytes(name))).is_err());
    gone.and_then(|name| report(&format!("{} is gone", String::from_utf8_lossy(&name))))
}

#[test]
fn random_counts() {
    let cases = number("DELETE_LIMIT_CASES").unwrap_or(20);
    let from = number("DELETE_LIMIT_FROM").unwrap_or(4_100_000);
    let (next, done, counted) = (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(0));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let court = Court::new(&program());
                while done.load(Ordering::SeqCst) < cases {
                    let Some(case) = deleting(next.fetch_add(1, Ordering::SeqCst)) else { continue };
                    done.fetch_add(1, Ordering::SeqCst);
                    found.lock().unwrap().extend(wrong(&court, &case, &counted));
                }
            });
        }
    });
    let (found, counted) = (found.into_inner().unwrap(), counted.into_inner());
    println!("{} cases, in {counted} something would be deleted, {} differ", done.into_inner(), found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(counted * 3 >= cases, "only {counted} of {cases} cases would delete something");
}

/// A source of 60 files in six directories, and a destination with these and twelve more entries.
fn pair(work: &Work) {
    run(sh(
        work,
        "mkdir -p s d && for d in $(seq 6); do mkdir s/d$d && for f in $(seq 10); do echo $f >s/d$d/f$f; done; done
         cp -a s/. d && for n in $(seq 4); do echo >d/d1/x$n && echo >d/y$n; done && mkdir -p d/d3/z/deep && echo >d/d3/z/deep/f && ln -s f d/d3/z/l
         echo new >s/d2/new",
    ))
    .expect_code(0);
}

const EXTRA: u64 = 12;

fn limited(work: &Work, limit: &str, more: &[&str]) -> Command {
    let mut command = multi_sync(work);
    command.args(["-p", "3", "-f", "9", "--delete-limit", limit]).args(more);
    if !more.contains(&"-r") {
        command.args(["-r", "-a --delete"]);
    }
    command.args(["s/", "d"]);
    command
}

fn count(work: &Work) -> usize {
    run(sh(work, "find d -mindepth 1 | wc -l")).expect_code(0).stdout_text().trim().parse().unwrap()
}

#[test]
fn over_the_limit_nothing_is_deleted_and_the_copy_is_kept() {
    for (limit, over) in [("0", true), ("11", true), ("12", false), ("15%", true), ("16%", false), ("none", false)] {
        for options in ["-a --delete", "-a --delete-after", "-aK --delete", "-a --delete --link-dest=../other"] {
            let work = Work::new();
            pair(&work);
            let ran = run(limited(&work, limit, &["-r", options]));
            let said = ran.stderr_text();
            if limit.ends_with('%') && options.contains("--link-dest") {
                ran.expect_code(1);
                assert!(said.contains("give a number of entries") && !work.join("d/d2/new").exists(), "{said}");
                continue;
            }
            assert!(work.join("d/d2/new").exists(), "{}", ran.report());
            let left = count(&work);
            if over {
                assert_eq!(
                    (ran.status.code(), left),
                    (Some(25), 67 + EXTRA as usize),
                    "{limit} {options}: {}",
                    ran.report()
                );
                assert_eq!(told(&ran), Some((EXTRA, true)), "{}", ran.report());
                assert!(
                    said.contains("multi-sync: not deleted: d1/x1\n") && said.contains("not deleted: 2 more\n"),
                    "{said}"
                );
                assert!(said.contains("--delete-limit none\n"), "{said}");
            } else {
                assert_eq!((ran.status.code(), left), (Some(0), 67), "{limit} {options}: {}", ran.report());
                assert_eq!(told(&ran), None);
            }
        }
    }
}

/// One rsync also deletes entries that are in the way of an entry of another kind. They are counted, and stay.
#[test]
fn what_would_make_way_is_counted_and_stays() {
    let work = Work::new();
    pair(&work);
    run(sh(&work, "rm -r s/d5 && echo file >s/d5")).expect_code(0);
    let one = run(sh(&work, "rsync -an --delete --info=del s/ d"));
    let ran = run(limited(&work, "0", &[]));
    assert_eq!(told(&ran), Some((deletions(&one), true)), "{}\n{}", one.report(), ran.report());
    assert!(deletions(&one) > EXTRA);
    assert_eq!(ran.status.code(), Some(23), "what cannot be made is an error: {}", ran.report());
    assert!(work.join("d/d5/f7").exists() && work.join("d/d2/new").exists());
}

#[test]
fn a_dry_run_says_what_a_run_would_do() {
    let work = Work::new();
    pair(&work);
    let ran = run(limited(&work, "5", &["-r", "-ani --delete"])).expect_code(25);
    assert!(
        ran.stdout_text().contains(">f+++++++++ d2/new") && !ran.stdout_text().contains("*deleting"),
        "{}",
        ran.report()
    );
    let ran = run(limited(&work, "12", &["-r", "-ani --delete"])).expect_code(0);
    assert_eq!(ran.stdout_text().lines().filter(|line| line.starts_with("*deleting")).count() as u64, EXTRA);
    assert_eq!(count(&work), 66 + EXTRA as usize);
}

#[test]
fn an_empty_source_and_another_file_system_need_none() {
    let work = Work::new();
    pair(&work);
    let Some(other) = Work::on_tmpfs() else { return crate::support::skip("another file system", "no tmpfs") };
    run(sh(&work, "mv s one && ln -s one s")).expect_code(0);
    run(limited(&work, "100%", &[])).expect_code(0);
    // The link now leads to a copy on tmpfs.
    run(sh(&work, "rm s && echo >d/extra")).expect_code(0);
    std::os::unix::fs::symlink(other.path().join("copy"), work.join("s")).unwrap();
    run(sh(&work, &format!("cp -a one '{}'", other.path().join("copy").display()))).expect_code(0);
    for _ in 0..2 {
        let ran = run(limited(&work, "100%", &[])).expect_code(25);
        assert!(
            ran.stderr_text().contains("nothing is deleted: 1 entry would be, and source s/ is on "),
            "{}",
            ran.report()
        );
        assert!(work.join("d/extra").exists());
    }
    // It is the same source however it is spelt.
    for spelling in ["./s/", "s/.", "s//"] {
        let mut command = multi_sync(&work);
        command.args(["-p", "3", "-f", "9", "--delete-limit", "100%", "-r", "-a --delete", spelling, "d/"]);
        assert!(run(command).expect_code(25).stderr_text().contains(" is on "), "{spelling}");
        assert!(work.join("d/extra").exists());
    }
    run(limited(&work, "none", &[])).expect_code(0);
    assert!(!work.join("d/extra").exists());
    // From now on this is the usual state.
    run(sh(&work, "echo >d/extra")).expect_code(0);
    run(limited(&work, "100%", &[])).expect_code(0);
    assert!(!work.join("d/extra").exists());
    // Now the source is empty.
    run(sh(&work, "rm -r s/*")).expect_code(0);
    let ran = run(limited(&work, "100%", &[])).expect_code(25);
    assert!(ran.stderr_text().contains("source s/ is empty"), "{}", ran.report());
    assert_eq!(count(&work), 67);
    run(limited(&work, "none", &[])).expect_code(0);
    assert_eq!(count(&work), 0);
    run(sh(&work, "touch d/late")).expect_code(0);
    run(limited(&work, "5", &[])).expect_code(0);
    assert_eq!(count(&work), 0);
    let files = fs::read_dir(work.join("state/multi-sync/sources")).unwrap().count();
    assert_eq!(files, 1);
}

/// A resumed run does not look again at what an earlier part has copied without deleting. If it deleted, extraneous entries would remain although the run
/// reports success.
#[test]
fn a_run_that_began_without_deleting_goes_on_without() {
    let work = Work::new();
    pair(&work);
    work.dir("runs");
    let mut command = limited(&work, "3", &["-b", "runs", "--retries", "0"]);
    fake_rsync(
        &mut command,
        &work,
        "case \" $* \" in *' -n '*) exec REAL \"$@\" ;; *d2*) exit 12 ;; esac; exec REAL \"$@\"",
    );
    let ran = run(command).expect_code(12);
    assert!(told(&ran).is_some(), "{}", ran.report());
    let dir = fs::read_dir(work.join("runs")).unwrap().next().unwrap().unwrap().path();
    run(sh(&work, "rm -r d/y? d/d3/z d/d1/x[123]")).expect_code(0);
    let mut again = multi_sync(&work);
    again.arg("--resume").arg(&dir);
    let ran = run(again).expect_code(25);
    assert!(ran.stderr_text().contains("an earlier part of this run"), "{}", ran.report());
    assert!(work.join("d/d1/x4").exists() && work.join("d/d2/new").exists() && !dir.exists());
    run(limited(&work, "3", &[])).expect_code(0);
    assert!(!work.join("d/d1/x4").exists());
}

#[test]
fn what_cannot_be_counted_ends_the_run_before_it_begins() {
    let work = Work::new();
    pair(&work);
    let mut command = limited(&work, "100", &["--retries", "0"]);
    fake_rsync(&mut command, &work, "echo broken >&2; exit 12");
    let ran = run(command).expect_code(12);
    let said = ran.stderr_text();
    assert!(said.contains("cannot count what would be deleted") && said.contains("broken"), "{}", ran.report());
    assert!(!work.join("d/d2/new").exists());
}

/// If a part of the count could not see everything, nothing is deleted.
#[test]
fn a_count_that_is_not_complete_allows_nothing() {
    let work = Work::new();
    pair(&work);
    let mut command = limited(&work, "100", &[]);
    fake_rsync(&mut command, &work, "case \" $* \" in *' -n '*d4*) REAL \"$@\"; exit 23 ;; esac; exec REAL \"$@\"");
    let ran = run(command).expect_code(25);
    assert!(ran.stderr_text().contains("the count is incomplete"), "{}", ran.report());
    assert_eq!(count(&work), 67 + EXTRA as usize);
}

/// A link to a directory that is copied as a link says nothing about the contents of the directory.
#[test]
fn a_source_that_is_a_link_is_no_empty_one() {
    let work = Work::new();
    run(sh(&work, "mkdir empty d && ln -s empty s && ln -s empty d/s && touch d/late")).expect_code(0);
    let mut command = multi_sync(&work);
    command.args(["-p", "2", "-f", "1", "--delete-limit", "5", "-r", "-a --delete", "s", "d"]);
    let ran = run(command);
    assert!(!ran.stderr_text().contains("is empty"), "{}", ran.report());
    ran.expect_code(0);
}

#[test]
fn a_limit_that_limits_nothing_is_refused() {
    let work = Work::new();
    pair(&work);
    for (words, part) in [
        (&["--delete-limit", "5", "s/", "d"][..], "without --delete"),
        (&["--delete-limit", "many", "-r", "-a --delete", "s/", "d"], "not a limit"),
        (&["--delete-limit", "101%", "rsync", "-a", "--delete", "s/", "d"], "not a limit"),
        (&["--delete-limit", "5", "-d", "-r", "-a --delete", "s/", "d"], "--dry-run"),
        (&["--delete-limit", "5", "--verify-only", "-r", "-a --delete", "s/", "d"], "--verify-only"),
        (&["--delete-limit", "5", "rsync", "-a", "s/", "d"], "without --delete"),
        (&["--delete-limit", "5", "rsync", "--version"], "--delete-limit cannot be used with this rsync command"),
        (&["--delete-limit", "5", "--resume", "x"], "--delete-limit cannot be given"),
    ] {
        let mut command = multi_sync(&work);
        command.args(words);
        let ran = run(command).expect_code(1);
        assert!(ran.stderr_text().contains(part), "{words:?}: {}", ran.report());
    }
    assert!(!work.join("d/d2/new").exists());
    // Before an rsync command, even one that would take the place of multi-sync.
    let mut command = multi_sync(&work);
    command.args(["--delete-limit", "5", "rsync", "-aK", "--delete", "s/", "d"]);
    let ran = run(command).expect_code(25);
    assert_eq!((told(&ran), count(&work)), (Some((EXTRA, true)), 67 + EXTRA as usize), "{}", ran.report());
}
