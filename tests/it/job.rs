//! The facade of the library: a program copies, cancels, resumes, retries, verifies, counts and explains, and contradictions are refused.

use std::fs;
use std::io::ErrorKind as ErrorKindOfIo;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support;
use crate::support::command::{multi_sync, rsync, run};
use crate::support::twin::path_to_fake;
use crate::support::work::{Work, set_mode};
use multi_sync::ErrorKind;
use multi_sync::harness::treegen::{self, Sizes, Spec};
use multi_sync::job::{BegunRun, DeleteLimit, Depth, Event, Failed, Job, JobBuilder, NextStep, Note, Phase};

/// A tree for several launches.
fn tree(work: &Work, entries: u64) {
    treegen::generate(&work.join("src"), &Spec::bench(entries, Sizes::Uniform { min: 0, max: 300 }), 9).unwrap();
    work.dir("runs");
}

/// A copy of the tree, with names relative to the folder of the test.
fn copy(work: &Work) -> JobBuilder {
    Job::builder()
        .source("src/")
        .destination("D")
        .rsync_options(["-a"])
        .current_dir(work.path())
        .run_parent("runs")
        .processes(2)
        .bucket_entries(8)
}

/// A program that is started in place of rsync.
fn fake(work: &Work, script: &str) -> PathBuf {
    path_to_fake(work, &format!("#!/bin/sh\n{script}\n"));
    work.join("fake/rsync")
}

/// An rsync whose launches that copy take some time.
fn slow(work: &Work) -> PathBuf {
    fake(work, "case \" $* \" in *' --no-implied-dirs '*) sleep 0.1 ;; esac\nexec REAL \"$@\"")
}

/// What one rsync would still change.
fn differences(work: &Work) -> String {
    let mut check = rsync(work);
    check.args(["-ani", "--delete", "src/", "D/"]);
    run(check).stdout_text()
}

fn runs(work: &Work) -> usize {
    fs::read_dir(work.join("runs")).unwrap().count()
}

#[test]
fn a_copy_tells_where_it_stands_and_leaves_nothing() {
    let work = Work::new();
    tree(&work, 200);
    let told = Mutex::new(Vec::new());
    let directory = Mutex::new(PathBuf::new());
    let outcome = copy(&work)
        .progress()
        .build()
        .unwrap()
        .run(|event| match event {
            Event::Progress(progress) => told.lock().unwrap().push(progress),
            Event::RunDirectory(dir) => *directory.lock().unwrap() = dir.to_owned(),
            _ => {}
        })
        .unwrap();
    assert_eq!((outcome.exit_code(), outcome.next_step()), (0, NextStep::Nothing), "{outcome:?}");
    assert!(!outcome.interrupted() && outcome.failure().is_none() && outcome.one_rsync().is_none());
    assert!(directory.lock().unwrap().starts_with(work.path().canonicalize().unwrap().join("runs")));
    assert_eq!((outcome.run_directory(), runs(&work)), (None, 0));
    assert_eq!(differences(&work), "");
    let totals = outcome.totals();
    let copied = totals.transferred_files + totals.made.files;
    assert!(totals.found == totals.done && totals.launches > 1 && copied > 0, "{totals:?}");
    let told = told.into_inner().unwrap();
    let last = told.last().expect("progress is told");
    assert_eq!((last.phase, last.percent(), last.found), (Phase::Ended, Some(100), totals.found));
    assert!(outcome.statistics("a program").contains("a program"));
}

#[test]
fn a_cancelled_job_is_gone_on_with_by_the_program_and_by_the_command() {
    for by_command in [false, true] {
        let work = Work::new();
        tree(&work, 300);
        let job = copy(&work).rsync_program(slow(&work)).progress().build().unwrap();
        let cancel = job.cancel_handle();
        let outcome = job
            .run(|event| {
                if let Event::Progress(progress) = event
                    && progress.done.entries > 0
                {
                    cancel.cancel();
                }
            })
            .unwrap();
        assert!(cancel.is_cancelled() && outcome.interrupted(), "{outcome:?}");
        assert_eq!((outcome.exit_code(), outcome.next_step()), (20, NextStep::Resume), "{outcome:?}");
        assert_ne!(differences(&work), "");
        let dir = outcome.run_directory().expect("the run directory is kept").to_owned();

        // Another job cannot resume this run.
        let other = copy(&work).rsync_options(["-a", "--delete"]).rsync_program(slow(&work)).build().unwrap();
        assert_eq!(other.resume(&dir, |_| ()).unwrap_err().kind(), ErrorKind::Usage);

        if by_command {
            let mut command = multi_sync(&work);
            command.arg("--resume").arg(&dir);
            run(command).expect_code(0);
        } else {
            // The number of processes may differ.
            let again = copy(&work).rsync_program(slow(&work)).processes(4).build().unwrap();
            let outcome = again.resume(&dir, |_| ()).unwrap();
            assert_eq!((outcome.exit_code(), outcome.next_step()), (0, NextStep::Nothing), "{outcome:?}");
            assert_eq!(outcome.run_directory(), None);
        }
        assert_eq!((differences(&work).as_str(), runs(&work)), ("", 0));
    }
}

#[test]
fn a_job_that_is_cancelled_before_it_begins_copies_nothing() {
    let work = Work::new();
    tree(&work, 50);
    let job = copy(&work).build().unwrap();
    job.cancel_handle().cancel();
    let outcome = job.run(|_| ()).unwrap();
    assert!(outcome.interrupted(), "{outcome:?}");
    assert_eq!(outcome.exit_code(), 20);
    assert!(!work.join("D").join("f0").exists());
}

#[test]
fn what_failed_is_named_and_copied_once_more() {
    if support::is_root() {
        return what_failed_is_copied_once_more(|work, fails| {
            // Root may read everything, so the transfer itself has to fail: a directory is in the place of a file.
            let place = work.join("D/second");
            if fails {
                work.file("D/second/in the way", "");
            } else {
                fs::remove_dir_all(place).unwrap();
            }
        });
    }
    what_failed_is_copied_once_more(|work, fails| {
        set_mode(&work.join("src/second"), if fails { 0 } else { 0o644 });
    });
}

fn what_failed_is_copied_once_more(break_or_mend: impl Fn(&Work, bool)) {
    let work = Work::new();
    tree(&work, 60);
    work.file("src/second", "content");
    break_or_mend(&work, true);
    let outcome = copy(&work).build().unwrap().run(|_| ()).unwrap();
    assert_eq!((outcome.exit_code(), outcome.next_step()), (23, NextStep::RetryFailed), "{outcome:?}");
    assert!(outcome.remedy().is_some() || !outcome.advice().is_empty());
    let names = outcome.failed_names().unwrap();
    assert!(names.iter().any(|name| name.ends_with(b"second")), "{outcome:?}");
    let dir = outcome.run_directory().unwrap();
    let run = BegunRun::find(dir).unwrap();
    assert_eq!((run.directory(), run.current_dir()), (dir, work.path().canonicalize().unwrap()));
    assert!(run.arguments().iter().any(|word| word == "src/"));

    break_or_mend(&work, false);
    let outcome = copy(&work).build().unwrap().retry_failed(dir, |_| ()).unwrap();
    assert_eq!((outcome.exit_code(), outcome.next_step()), (0, NextStep::Nothing), "{outcome:?}");
    assert_eq!((differences(&work).as_str(), runs(&work)), ("", 0));
}

#[test]
fn a_run_that_is_forgotten_is_gone() {
    let work = Work::new();
    tree(&work, 60);
    work.file("src/second", "content");
    work.file("D/second/in the way", "");
    let outcome = copy(&work).build().unwrap().run(|_| ()).unwrap();
    let dir = outcome.run_directory().unwrap_or_else(|| panic!("{outcome:?}"));
    BegunRun::find(dir).unwrap().forget().unwrap();
    assert_eq!(runs(&work), 0);
    assert_eq!(copy(&work).build().unwrap().resume(dir, |_| ()).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn verifying_tells_what_differs_and_changes_nothing() {
    let work = Work::new();
    tree(&work, 100);
    assert_eq!(copy(&work).build().unwrap().run(|_| ()).unwrap().exit_code(), 0);
    work.file("D/more", "");
    work.file("src/less", "content");
    let said = AtomicBool::new(false);
    let tell = |event: Event<'_>| {
        if let Event::Said(line) = event {
            said.fetch_or(line.ends_with(b"less"), Ordering::Relaxed);
        }
    };
    let outcome = copy(&work).build().unwrap().verify(tell).unwrap();
    assert!(outcome.differences().is_some_and(|count| count > 0), "{outcome:?}");
    assert!(said.into_inner() && !work.join("D/less").exists());

    // Verification by content, after a copy.
    let content = work.join("D/less");
    let outcome = copy(&work).verify(Depth::Checksum).build().unwrap().run(|_| ()).unwrap();
    assert_eq!((outcome.exit_code(), outcome.differences()), (0, Some(0)), "{outcome:?}");
    let time = fs::metadata(&content).unwrap().modified().unwrap();
    fs::write(&content, "CONTENT").unwrap();
    fs::File::options().write(true).open(&content).unwrap().set_modified(time).unwrap();
    let quick = copy(&work).build().unwrap().verify(|_| ()).unwrap();
    assert_eq!(quick.differences(), Some(0), "{quick:?}");
    let exact = copy(&work).verify(Depth::Checksum).build().unwrap().verify(|_| ()).unwrap();
    assert_eq!(exact.differences(), Some(1), "{exact:?}");
}

#[test]
fn a_survey_counts_and_copies_nothing() {
    let work = Work::new();
    tree(&work, 100);
    let outcome = copy(&work).build().unwrap().survey(|_| ()).unwrap();
    let totals = outcome.totals();
    assert_eq!(outcome.exit_code(), 0);
    assert!(totals.found.entries >= 100 && totals.buckets > 1 && totals.launches == 0, "{totals:?}");
    assert!(!work.join("D").exists());
    assert_eq!(runs(&work), 0);
}

#[test]
fn an_explanation_says_how_many_rsyncs_and_what_becomes_of_the_options() {
    let work = Work::new();
    tree(&work, 20);
    let text = copy(&work).rsync_options(["-a", "--delete"]).build().unwrap().explain().unwrap();
    assert!(text.contains("--delete"), "{text}");
    let one = copy(&work).processes(1).build().unwrap().explain().unwrap();
    assert_ne!(text, one);
    assert!(!work.join("D").exists());
}

#[test]
fn one_rsync_that_does_it_all_is_said_and_why() {
    let work = Work::new();
    tree(&work, 20);
    let one = Job::builder().source("src/").destination("D").current_dir(work.path()).keep_runs_for_days(0);
    let outcome = one.build().unwrap().run(|_| ()).unwrap();
    assert!(outcome.one_rsync().is_some() && outcome.exit_code() == 0, "{outcome:?}");
}

#[test]
fn after_one_rsync_that_did_not_do_it_all_the_same_job_is_the_next_step() {
    let work = Work::new();
    tree(&work, 20);
    let broken = fake(&work, "case \" $* \" in *' src/ D '*) exit 12 ;; esac\nexec REAL \"$@\"");
    let one = Job::builder().source("src/").destination("D").current_dir(work.path()).retries(0);
    let run = |job: JobBuilder| job.build().unwrap().run(|_| ()).unwrap();
    let outcome = run(one.clone().rsync_options(["-a"]).rsync_program(broken));
    assert!(outcome.one_rsync().is_some() && outcome.run_directory().is_none(), "{outcome:?}");
    assert_eq!((outcome.exit_code(), outcome.next_step()), (12, NextStep::Again), "{outcome:?}");
    assert_eq!(run(one).next_step(), NextStep::Nothing);
}

#[test]
fn a_program_can_tell_a_retry_from_a_missing_source() {
    let work = Work::new();
    tree(&work, 200);
    // The second launch that copies breaks off, once.
    let program = fake(
        &work,
        &format!(
            "case \" $* \" in *' --no-implied-dirs '*) mkdir {0}/first 2>/dev/null || ! mkdir {0}/second 2>/dev/null || exit 12 ;; esac\nexec REAL \"$@\"",
            work.path().display()
        ),
    );
    let (retries, missing) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let tell = |event: Event<'_>| match event {
        Event::Note(note @ Note::Retry { code, .. }) => retries.lock().unwrap().push((code, note.to_string())),
        Event::Failed(Failed::Source { source, why }) => missing.lock().unwrap().push((source, why)),
        _ => {}
    };
    let outcome = copy(&work).source("none").rsync_program(program).build().unwrap().run(tell).unwrap();
    let retries = retries.into_inner().unwrap();
    assert!(matches!(&retries[..], [(12, text)] if text.ends_with("trying again in 1 s")), "{retries:?}");
    assert_eq!(missing.into_inner().unwrap(), [("none".into(), ErrorKindOfIo::NotFound)]);
    assert_eq!((outcome.exit_code(), outcome.totals().retried), (23, 1), "{outcome:?}");
    assert_eq!(differences(&work), "");
}

#[test]
fn a_time_that_never_ends_is_a_long_one() {
    let work = Work::new();
    tree(&work, 10);
    let never = copy(&work).stall_timeout(Duration::MAX).events("events.jsonl").progress_interval(Duration::MAX);
    let arguments = Mutex::new(Vec::new());
    let tell = |event: Event<'_>| {
        if let Event::Started(started) = event {
            arguments.lock().unwrap().extend(started.arguments.clone());
        }
    };
    let outcome = never.build().unwrap().run(tell).unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    let arguments = arguments.into_inner().unwrap();
    for option in ["--stall=4294967295", "--progress-interval=4294967295"] {
        assert!(arguments.iter().any(|argument| argument == option), "{arguments:?}");
    }
}

#[test]
fn a_job_that_cannot_begin_has_ended_too() {
    let work = Work::new();
    tree(&work, 10);
    let ends = Mutex::new(Vec::new());
    let tell = |event: Event<'_>| {
        if let Event::Ended(end) = event {
            ends.lock().unwrap().push((end.code, end.failure.clone()));
        }
    };
    let job = |job: JobBuilder| job.build().unwrap();
    let question = |job: JobBuilder| job.rsync_options(["-a", "--list-only"]);
    let all = [
        ("a resumed run that is none", ErrorKind::Usage, job(copy(&work)).resume("none", tell)),
        ("a run that is none", ErrorKind::Usage, job(copy(&work)).retry_failed("none", tell)),
        ("a question that the options leave open", ErrorKind::Usage, job(question(copy(&work))).verify(tell)),
        ("events without a directory", ErrorKind::Io, job(copy(&work).events("none/events")).run(tell)),
        ("a report without a directory", ErrorKind::Io, job(copy(&work).report("none/report.html")).run(tell)),
    ];
    let refused = all.map(|(what, kind, refused)| {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), kind, "{what}: {refused}");
        (refused.exit_code(), Some(refused.to_string()))
    });
    assert_eq!(ends.into_inner().unwrap(), refused);
    assert!(!work.join("D").exists());
}

#[test]
fn contradictions_are_refused_before_anything_happens() {
    let work = Work::new();
    tree(&work, 10);
    let job = || copy(&work);
    let deleting = || job().rsync_options(["-a", "--delete"]);
    let (second, none) = (Duration::from_secs(1), Job::builder());
    for (what, description) in [
        ("nothing", none.clone()),
        ("no source", none.clone().destination("D")),
        ("no destination", none.source("src/")),
        ("no process", job().processes(0)),
        ("more processes than there are numbers", job().processes(usize::MAX)),
        ("too many threads", job().scan_threads(257)),
        ("too many threads of the first pass", job().first_pass_threads(257)),
        ("an empty bucket", job().bucket_entries(0)),
        ("a bucket of no bytes", job().bucket_bytes(0)),
        ("no thread", job().scan_threads(0)),
        ("a path among the options", job().rsync_options(["-a", "elsewhere"])),
        ("an unknown option", job().rsync_options(["--no-such-option"])),
        ("a program that is no path to rsync", job().rsync_program("/bin/true")),
        ("ssh without hosts", job().ssh("ssh -p 22")),
        ("a time without hosts", job().host_timeout(second)),
        ("users without hosts", job().mixed_users()),
        ("adapting with hosts", job().adaptive_processes().hosts("a,b")),
        ("a program with hosts", job().rsync_program("/usr/bin/rsync").hosts("a")),
        ("a remote source", job().source("nas:data")),
        ("a share that is no number", deleting().delete_limit(DeleteLimit::Percent(f64::NAN))),
        ("a share below nothing", deleting().delete_limit(DeleteLimit::Percent(-1.0))),
        ("more than everything", deleting().delete_limit(DeleteLimit::Percent(100.5))),
        ("a question that the options leave open", job().rsync_options(["-a", "--list-only"]).verify(Depth::Quick)),
    ] {
        let refused = match description.build() {
            Ok(job) => panic!("{what}: {job:?}"),
            Err(error) => error,
        };
        assert_eq!((refused.kind(), refused.exit_code()), (ErrorKind::Usage, 1), "{what}: {refused}");
    }
    let missing = Job::builder().source("missing").destination("D").current_dir(work.path()).run_parent("runs");
    let refused = missing.build().unwrap().run(|_| ()).unwrap_err();
    assert_eq!((refused.kind(), refused.exit_code()), (ErrorKind::Io, 23), "{refused}");
    let looped = copy(&work);
    symlink("loop", work.join("loop")).unwrap();
    assert_eq!(looped.run_parent("loop").build().unwrap().run(|_| ()).unwrap_err().kind(), ErrorKind::Io);
    assert!(!work.join("D").exists());
}
