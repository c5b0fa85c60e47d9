//! Asks the controller of Slurm about a job.

use std::time::Duration;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::supervise::Supervisor;

/// States in which a job does nothing any more (squeue(1), JOB STATE CODES).
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
/// A command of Slurm that does nothing for so long waits for a controller that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// What is said of a job that the controller does not know, or does not know any more.
const UNKNOWN: &str = "Invalid job id";

/// Where a job of Slurm stands, as its controller says (scontrol(1), `show job`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// In the words of Slurm.
    pub state: String,
    /// Why it waits.
    pub reason: String,
    /// When it is expected to start, or did.
    pub starts: Option<String>,
    /// The exit code of its script.
    pub code: Option<u8>,
}

impl JobState {
    /// Asks for it. `None` if there is no such job, or none any more.
    ///
    /// # Errors
    /// The controller does not answer, or scontrol is not there.
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
                Err(Error::usage(format!("scontrol does not tell where job {job} stands: {why}")))
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

    /// It does nothing any more.
    pub fn is_over(&self) -> bool {
        // Some commands mark a state about which there is more to say.
        OVER.contains(&self.state.trim_end_matches('+'))
    }

    /// It waits in the queue.
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
