//! A copy that reports its events, is cancelled after a second, and then resumed: this is all that a program needs of [`multi_sync::job`].
//!
//! ```text
//! cargo run --example resume -- SRC DEST RUNS
//! ```
//!
//! RUNS is a directory for the data of unfinished runs.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use multi_sync::Result;
use multi_sync::job::{Event, Job, NextStep, Note};

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [source, destination, runs] = &words[..] else { return Err("usage: resume SRC DEST RUNS".into()) };
    println!("exit code {}", copy([source, destination, runs], Duration::from_secs(1))?);
    Ok(())
}

/// Copies, cancels after `pause` (if it is 0, as soon as something was copied), and resumes. Returns the exit code.
pub fn copy([source, destination, runs]: [&OsString; 3], pause: Duration) -> Result<u8> {
    let describe =
        || Job::builder().source(source).destination(destination).run_parent(runs).processes(4).progress().build();
    let job = describe()?;
    let cancel = job.cancel_handle();
    let outcome = job.run(|event| match event {
        Event::Progress(now) if now.done.entries > 0 && now.elapsed >= pause && !cancel.is_cancelled() => {
            println!("cancelled: {} of {} entries found so far", now.done.entries, now.found.entries);
            cancel.cancel();
        }
        Event::Failed(what) => eprintln!("{what}"),
        Event::Note(Note::Retry { pause, .. }) => eprintln!("an rsync broke off; a pause of {} s", pause.as_secs()),
        _ => {}
    })?;
    match (outcome.next_step(), outcome.run_directory()) {
        (NextStep::Resume, Some(run)) => {
            println!("going on with {}", run.display());
            Ok(describe()?.resume(run, |_| ())?.exit_code())
        }
        (NextStep::Again, _) => Ok(describe()?.run(|_| ())?.exit_code()),
        _ => Ok(outcome.exit_code()),
    }
}
