//! A job of Slurm that is queued again, because its time is too short for a run.

use multi_sync::command::entry::Printable;
use multi_sync::command::exit;
use multi_sync::command::runs;
use multi_sync::command::shell::Invocation;
use multi_sync::command::supervise::Supervisor;
use multi_sync::job::BegunRun;

use crate::cli::Run;
use crate::{complain, complain_text};

/// The run that the same job of Slurm has begun before it was queued again, if it has left one.
pub fn queued_again(run: &Run) -> Option<BegunRun> {
    let count: u64 = std::env::var("SLURM_RESTART_COUNT").ok()?.trim().parse().ok()?;
    let parent = run.config.buckets.as_ref().filter(|_| count > 0)?;
    let parent = run.config.cwd.join(parent);
    let mut begun = runs::below(&parent).ok()?.into_iter().filter_map(|dir| BegunRun::find(dir).ok());
    // Names of runs begin with the time.
    let last = begun.rfind(|begun| begun.arguments() == run.again && begun.current_dir() == run.config.cwd)?;
    complain_text(&format!("the job was queued again: going on with {}", Printable::path(last.directory())));
    Some(last)
}

/// Has Slurm queue this job again: the last thing that is done in it.
pub fn requeue() {
    let Some(job) = std::env::var_os("SLURM_JOB_ID") else { return };
    complain_text(&format!("has job {} queued again", Printable::os(&job)));
    let asks = Invocation::new("scontrol", vec!["requeue".into(), job], "/");
    let mut said = |_, line: &[u8]| complain_text(&format!("scontrol: {}", Printable::bytes(line)));
    match Supervisor::default().run(&asks, &mut said) {
        Ok(ended) if ended.code() == exit::OK => {}
        Ok(ended) => {
            complain_text(&format!("the job was not queued again (scontrol ended with code {})", ended.code()))
        }
        Err(error) => complain(&error),
    }
}
