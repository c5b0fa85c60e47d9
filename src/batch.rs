//! Runs in batch jobs of Slurm: they are submitted, followed, and queued again if their time is too short.

mod follow;
mod script;
mod submit;

use std::path::Path;

use multi_sync::command::batch::{Batch, PATIENCE};
use multi_sync::command::entry::Printable;
use multi_sync::command::exit;
use multi_sync::command::runs;
use multi_sync::command::shell::Invocation;
use multi_sync::command::supervise::Supervisor;
use multi_sync::job::{BegunRun, Event};

use crate::cli::Run;
use crate::{complain, complain_text};

pub use follow::follow;
pub use script::Script;
pub use submit::{Submission, submit, submit_again};

/// A job is not queued again if no bucket was finished this many times in a row: it would probably never finish, unless rsync can continue a file in its
/// middle.
const IN_VAIN: u64 = 2;

/// The run that this Slurm job had begun before it was queued again, if it has left one.
pub fn queued_again(run: &Run) -> Option<BegunRun> {
    let count: u64 = std::env::var("SLURM_RESTART_COUNT").ok()?.trim().parse().ok()?;
    let parent = run.config.buckets.as_ref().filter(|_| count > 0)?;
    let parent = run.config.cwd.join(parent);
    let job = std::env::var("SLURM_JOB_ID").ok()?;
    // The same command may have been given to another job.
    let is_its = |begun: &BegunRun| Batch::of(begun.directory()).job().is_none_or(|its| its == job);
    let is_same = |begun: &BegunRun| begun.arguments() == run.again && begun.current_dir() == run.config.cwd;
    let mut begun = runs::below(&parent).ok()?.into_iter().filter_map(|dir| BegunRun::find(dir).ok());
    // Names of runs begin with the time, so the last one is the newest.
    let last = begun.rfind(|begun| is_same(begun) && is_its(begun))?;
    complain_text(&format!("the job was queued again: continuing the run in {}", Printable::path(last.directory())));
    Some(last)
}

/// Records to which job a run belongs. Without this record the run is recognised by its command.
pub fn hear(event: &Event<'_>, requeues: bool) {
    let (Event::RunDirectory(dir), true) = (event, requeues) else { return };
    let Ok(job) = std::env::var("SLURM_JOB_ID") else { return };
    if let Err(error) = Batch::of(dir).note_job(&job) {
        complain(&error);
    }
}

/// Asks Slurm to queue this job again, as the last step of the job. This is limited, because a job in which nothing gets finished would come back day after
/// day.
pub fn requeue(dir: Option<&Path>) {
    let (Some(job), Some(dir)) = (std::env::var_os("SLURM_JOB_ID"), dir) else { return };
    let shown = Printable::os(&job);
    match Batch::of(dir).time_was_too_short() {
        Ok(in_vain) if in_vain >= IN_VAIN => {
            complain_text(&format!(
                "job {shown} is not queued again: {in_vain} times in a row nothing was finished within its time limit"
            ));
            complain_text(
                "to do: give the job more time, or rsync --partial so that it continues large files, or smaller buckets with -f and -s",
            );
            return;
        }
        Ok(_) => {}
        Err(error) => {
            complain_text(&format!(
                "job {shown} is not queued again: multi-sync could not notice if nothing were ever finished"
            ));
            return complain(&error);
        }
    }
    complain_text(&format!("asking Slurm to queue job {shown} again"));
    let asks = Invocation::new("scontrol", vec!["requeue".into(), job], "/");
    let mut said = |_, line: &[u8]| complain_text(&format!("scontrol: {}", Printable::bytes(line)));
    match Supervisor::default().run_while_alive(&asks, Some(PATIENCE), &mut said) {
        Ok(ended) if ended.code() == exit::OK => {}
        Ok(ended) => {
            complain_text(&format!("the job was not queued again (scontrol ended with code {})", ended.code()))
        }
        Err(error) => complain(&error),
    }
}
