//! Asks the Slurm controller about a job.

use std::time::Duration;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::supervise::Supervisor;

/// States in which a job will not run any more (squeue(1), JOB STATE CODES).
const OVER: [&str; 11] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "LAUNCH_FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
];
/// A Slurm command without activity for this time is waiting for a controller that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The message about a job that the controller does not know, or no longer knows.
const UNKNOWN: &str = "Invalid job id";

/// The state of a Slurm job, as reported by its controller (scontrol(1), `show job`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// The state, in the words of Slurm.
    pub state: String,
    /// The reason why it waits.
    pub reason: String,
    /// When it is expected to start, or has started.
    pub starts: Option<String>,
    /// The exit code of its script.
    pub code: Option<u8>,
}

impl JobState {
    /// Asks for the state of a job; `None` if there is no such job, or no longer.
    ///
    /// # Errors
    /// The controller does not answer, or scontrol is not installed.
    pub fn ask(job: &str, supervisor: &Supervisor) -> Result<Option<JobState>> {
        let words = ["--oneliner", "show", "job", job].map(Into::into).to_vec();
        let mut said = String::new();
        let question = Invocation::new("scontrol", words, "/");
        let ended = supervisor.run_while_alive(&question, Some(PATIENCE), &mut |_, line| {
            said.push_str(&format!("{}\n", Printable::bytes(line)))
        })?;
        match (ended.code(), JobState::read(&said)) {
            (0, Some(state)) => Ok(Some(state)),
            _ if said.contains(UNKNOWN) => Ok(None),
            _ => {
                let why = said.lines().next().unwrap_or("it says nothing");
                Err(Error::usage(format!("scontrol does not report the state of job {job}: {why}")))
            }
        }
    }

    fn read(said: &str) -> Option<JobState> {
        let value = |name: &str| {
            said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let starts = value("StartTime").filter(|time| time.starts_with(|c: char| c.is_ascii_digit()));
        let code = value("ExitCode").and_then(|code| code.split(':').next()?.parse().ok());
        Some(JobState { state: value("JobState")?, reason: value("Reason").unwrap_or_default(), starts, code })
    }

    /// Whether it will not run any more.
    pub fn is_over(&self) -> bool {
        // Some commands append a `+` to a state with further details.
        OVER.contains(&self.state.trim_end_matches('+'))
    }

    /// Whether it waits in the queue.
    pub fn waits(&self) -> bool {
        self.state == "PENDING"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scontrol_says_is_read() {
        let said = "JobId=17 JobName=multi-sync UserId=me(1000) JobState=PENDING Reason=Resources Dependency=(null) \
                    ExitCode=0:0 StartTime=2026-11-29T20:00:00 EndTime=Unknown Comment=a JobState=x";
        let read = JobState::read(said).unwrap();
        assert_eq!((&*read.state, &*read.reason, read.code), ("PENDING", "Resources", Some(0)));
        assert_eq!(read.starts.as_deref(), Some("2026-11-29T20:00:00"));
        assert!(read.waits() && !read.is_over());
        let read = JobState::read("JobId=1 JobState=CANCELLED Reason=None ExitCode=20:0 StartTime=Unknown").unwrap();
        assert!(read.is_over() && read.starts.is_none() && read.code == Some(20));
        assert_eq!(JobState::read("slurm_load_jobs error: Invalid job id specified"), None);
    }
}
