//! Submits a run to Slurm: creates its directory, writes the script into it, and follows the job.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use multi_sync::command::batch::{Batch, JobState, finished, prepare, take_back};
use multi_sync::command::entry::Printable;
use multi_sync::command::exit;
use multi_sync::command::runs;
use multi_sync::command::shell::Invocation;
use multi_sync::command::supervise::Supervisor;
use multi_sync::{Error, Result};

use super::Script;
use super::follow::follow;
use crate::cli::Run;
use crate::{complain_text, streams};

/// Environment variables that override options in the script. Each is unset if the script contains the option next to it, or always if there is none.
const OVERRIDES: [(&str, &str); 12] = [
    ("SBATCH_PARTITION", "--partition="),
    ("SBATCH_TIMELIMIT", "--time="),
    ("SBATCH_NO_REQUEUE", ""),
    ("SBATCH_OPEN_MODE", ""),
    ("SBATCH_OUTPUT", ""),
    ("SBATCH_ERROR", ""),
    ("SBATCH_INPUT", ""),
    ("SBATCH_NO_KILL", ""),
    ("SBATCH_JOB_NAME", ""),
    ("SBATCH_ARRAY_INX", ""),
    ("SBATCH_WAIT", ""),
    ("SBATCH_WRAP", ""),
];

/// What is to be submitted.
pub struct Submission {
    /// The run, as it would be on this machine.
    pub run: Run,
    /// The job.
    pub script: Script,
    /// Whether the script is only printed.
    pub prints: bool,
}

/// Submits a run, and shows its progress.
///
/// # Errors
/// The run or the job is refused. Then nothing is left behind.
pub fn submit(submission: Submission) -> Result<u8> {
    let Submission { run, script, prints } = submission;
    let program = program()?;
    if prints {
        let written = streams::answer(script.of_copy(&program, &run.again, &run.config.cwd));
        written.map_err(|cause| Error::usage("cannot write to standard output").because(cause))?;
        return Ok(exit::OK);
    }
    look_for_sbatch()?;
    let prepared = prepare(&run.config, &run.again)?;
    let batch = Batch::of(&prepared.dir);
    let asked = batch.write_script(&script.of_run(&program, &prepared.dir)).and_then(|()| sbatch(&batch));
    let answer = asked.inspect_err(|_| take_back(&prepared.dir))?;
    let job = note(&batch, &prepared.dir, answer)?;
    tell(&job, &prepared.dir);
    if prepared.is_local {
        complain_text(&format!(
            "{} is on a file system of this machine: unless the nodes see it under this path, the job cannot begin",
            Printable::path(&prepared.dir)
        ));
    }
    follow(&prepared.dir)
}

/// Submits another job for a run, and shows its progress.
///
/// # Errors
/// The run was not submitted before, a job for it exists, or sbatch refuses.
pub fn submit_again(typed: &Path) -> Result<u8> {
    let dir = runs::find(typed)?;
    let batch = Batch::of(&dir);
    let shown = Printable::path(&dir);
    if !batch.is_submitted() {
        return Err(Error::usage(format!("the run in {shown} was not submitted"))
            .remedy("resume it inside a job: multi-sync resume RUN"));
    }
    if let Some(job) = batch.job() {
        let state = JobState::ask(&job, &Supervisor::default())?;
        if let Some(state) = state.filter(|state| !state.is_over()) {
            return Err(Error::usage(format!("job {job} is still working on the run in {shown}: {}", state.state))
                .remedy("watch it with multi-sync status --follow, or end it with scancel"));
        }
    }
    if let Some(code) = finished(&dir)? {
        return Err(Error::usage(format!("the run in {shown} has ended with code {code}"))
            .remedy("look at it with multi-sync status, or submit a new one"));
    }
    look_for_sbatch()?;
    let job = note(&batch, &dir, sbatch(&batch)?)?;
    tell(&job, &dir);
    follow(&dir)
}

fn tell(job: &str, dir: &Path) {
    complain_text(&format!("submitted as job {job} of Slurm; its run is in {}", Printable::path(dir)));
}

/// The absolute path of this program, for the job.
fn program() -> Result<PathBuf> {
    let found = std::env::current_exe().and_then(|path| path.canonicalize());
    found.map_err(|cause| {
        Error::usage("cannot find the path of this program").because(cause).remedy("start it by its full path")
    })
}

/// Checks that sbatch exists before anything is written.
fn look_for_sbatch() -> Result<()> {
    let question = Invocation::new("sbatch", vec!["--version".into()], "/");
    let ended = Supervisor::default().run(&question, &mut |_, _| {});
    match ended {
        Ok(ended) if ended.code() == exit::OK => Ok(()),
        Ok(ended) => Err(Error::usage(format!("--submit: sbatch --version ended with code {}", ended.code()))
            .remedy("submit where Slurm is installed, such as on a login node")),
        Err(error) => Err(Error::usage("--submit: there is no Slurm here")
            .because(error)
            .remedy("submit on a login node; --print-job prints the script")),
    }
}

/// Submits the script. On success there is a job, and the result is the output of sbatch.
fn sbatch(batch: &Batch) -> Result<Vec<String>> {
    // Environment variables override the options in the script (sbatch(1), INPUT ENVIRONMENT VARIABLES), so those that would are unset.
    let script = batch.script();
    let text = std::fs::read_to_string(&script).unwrap_or_default();
    let says = |option: &str| option.is_empty() || text.contains(&format!("#SBATCH {option}"));
    let unset = OVERRIDES.iter().filter(|(_, option)| says(option)).flat_map(|(name, _)| ["-u", name]);
    let words = unset.chain(["sbatch", "--parsable"]).map(OsString::from).chain([script.into()]).collect();
    let asks = Invocation::new("env", words, "/");
    let mut said = Vec::new();
    let ended = Supervisor::default().run(&asks, &mut |_, line| said.push(Printable::bytes(line).to_string()))?;
    match ended.code() {
        exit::OK => Ok(said),
        _ => Err(Error::usage(format!("sbatch did not accept the job: {}", said.join("; ")))
            .remedy("correct what sbatch complains about; --print-job prints the script")),
    }
}

/// Records the number of the job. From here on the directory stays, because the job works in it.
fn note(batch: &Batch, dir: &Path, said: Vec<String>) -> Result<String> {
    let job = said.iter().find_map(|line| number(line)).ok_or_else(|| {
        Error::usage(format!("sbatch did not name a job: {}", said.join("; "))).remedy(format!(
            "look for it with squeue; its run is in {}, and multi-sync status --follow shows its progress",
            Printable::path(dir)
        ))
    })?;
    batch.note_job(&job)?;
    Ok(job)
}

/// The number of a job in the output of sbatch: alone or followed by its cluster (--parsable), or in the usual sentence.
fn number(line: &str) -> Option<String> {
    let line = line.trim();
    let told = line.strip_prefix("Submitted batch job ").and_then(|rest| rest.split(' ').next());
    let job = told.or_else(|| line.split(';').next()).unwrap_or_default();
    (!job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit())).then(|| job.to_owned())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn the_number_of_a_job_is_read() {
        for (line, expected) in [
            ("17", Some("17")),
            ("17;main", Some("17")),
            ("Submitted batch job 17", Some("17")),
            ("Submitted batch job 17 on cluster main", Some("17")),
            ("", None),
            ("sbatch: lua: job 17 accepted", None),
            ("17x", None),
            ("17 nodes are free", None),
        ] {
            assert_eq!(number(line).as_deref(), expected, "{line}");
        }
    }
}
