//! Follows a run of another process: in a batch job, or in another terminal.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::hosts::JobState;
use crate::report::Live;
use crate::rsync::exit;
use crate::run_dir::layout::{JOURNAL, LOCK};
use crate::run_dir::{self, Batch, Noted, journal};
use crate::supervise::Supervisor;

use super::is_running;

/// How often the run directory is read. A run records its progress each second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often Slurm's controller is asked; less often, because it has other work.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long a network file system may take to show what a job that has ended has written.
const SHOWN_LATE: Duration = Duration::from_secs(5);
/// How often `stop` is checked.
const STEP: Duration = Duration::from_millis(100);
/// How many lines of a job's output are shown.
const LAST_LINES: usize = 10;

/// What is reported about a run that is being followed.
#[derive(Debug)]
pub enum News<'a> {
    /// Nothing is running, for this reason. Each reason is reported once.
    Waits(&'a str),
    /// The run is running, and this is its progress.
    Stands(&'a Live),
}

/// The result of following a run.
#[derive(Debug)]
pub struct Followed {
    /// The run directory, which may be gone.
    pub dir: PathBuf,
    /// The number of the batch job.
    pub job: Option<String>,
    /// How the run ended; `None` if it continues.
    pub end: Option<FollowedEnd>,
}

/// How a run ended.
#[derive(Debug)]
pub struct FollowedEnd {
    /// The exit code.
    pub code: u8,
    /// The run is complete, whatever the exit code: there is nothing to resume.
    pub finished: bool,
    /// The state that Slurm reports for a job that ended without completing the run.
    pub state: Option<String>,
    /// The last lines of the job's output.
    pub last_lines: Vec<Vec<u8>>,
}

/// Follows a run until it ends, through as many batch jobs as that takes, or until `stop` returns true.
///
/// # Errors
/// There is no such run, or it is neither running nor has a job that will continue it.
pub fn follow(typed: &Path, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(News<'_>)) -> Result<Followed> {
    let dir = run_dir::find(typed)?;
    // Reports what is wrong with the run directory.
    run_dir::Asked::read(&dir)?;
    let batch = Batch::of(&dir);
    let supervisor = Supervisor::default();
    let ended = |code, finished, state: Option<String>| Followed {
        dir: dir.clone(),
        job: batch.job(),
        end: Some(FollowedEnd { code, finished, state, last_lines: batch.last_lines(LAST_LINES) }),
    };
    // If the directory vanishes, the open lock file shows why.
    let lock = File::open(dir.join(LOCK)).ok();
    let mut said = String::new();
    let mut asked: Option<Instant> = None;
    let mut over: Option<Instant> = None;
    let (submitted, mut job) = (batch.is_submitted(), batch.job());
    loop {
        if matches!(dir.try_exists(), Ok(false)) {
            // A complete run may remove its directory, but not if it was submitted as a batch job.
            if !submitted && lock.as_ref().is_some_and(was_removed_by_its_run) {
                return Ok(ended(exit::OK, true, None));
            }
            return Err(lost(&dir, batch.job().or(job)));
        }
        job = batch.job().or(job);
        let noted = Noted::read(&dir);
        let running = is_running(&dir, noted.as_ref())?;
        if running {
            (asked, over) = (None, None);
            if let Some(noted) = noted.as_ref().filter(|noted| noted.ended.is_none()) {
                said.clear();
                tell(News::Stands(&noted.live));
            }
        } else if let Some(code) = finished(&dir)? {
            return Ok(ended(code, true, None));
        } else if asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            asked = Some(Instant::now());
            let part = noted.as_ref().and_then(|noted| noted.ended);
            let Some(job) = batch.job() else {
                return match part {
                    Some(part) => Ok(ended(part.code, false, None)),
                    None => Err(Error::usage(format!("the run in {} is not running", Printable::path(&dir)))
                        .remedy(super::what_to_type(&dir, false))),
                };
            };
            let text = match JobState::ask(&job, &supervisor) {
                Err(error) => error.to_string(),
                Ok(Some(state)) if !state.is_over() => {
                    over = None;
                    stands(&job, &state)
                }
                Ok(state) if over.is_some_and(|over| over.elapsed() >= SHOWN_LATE) => {
                    let code = part.map_or_else(|| code_of(state.as_ref()), |part| part.code);
                    let shown = state.map_or_else(|| "is gone".to_owned(), |state| state.state);
                    return Ok(ended(code, false, Some(shown)));
                }
                Ok(_) => {
                    over.get_or_insert_with(Instant::now);
                    said.clone()
                }
            };
            if text != said {
                tell(News::Waits(&text));
                said = text;
            }
        }
        let until = Instant::now() + LOOK_EVERY;
        while Instant::now() < until {
            if stop() {
                supervisor.stop(crate::supervise::Stop::Kill);
                return Ok(Followed { job: batch.job(), dir, end: None });
            }
            std::thread::sleep(STEP);
        }
    }
}

/// Whether the lock file was deleted, not moved, and no process holds the lock.
fn was_removed_by_its_run(lock: &File) -> bool {
    lock.metadata().is_ok_and(|found| found.nlink() == 0) && lock.try_lock_shared().is_ok()
}

fn lost(dir: &Path, job: Option<String>) -> Error {
    let shown = Printable::path(dir);
    let ask = job.map_or_else(String::new, |job| format!(", and ask Slurm about job {job}: scontrol show job {job}"));
    Error::file_io(format!(
        "the directory {shown} no longer exists: it is unknown whether the run continues, or how it ended"
    ))
    .remedy(format!("put it back if it was moved{ask}"))
    .exit(exit::PARTIAL)
}

/// The exit code of a run that has ended.
///
/// # Errors
/// The journal cannot be read.
pub fn finished(dir: &Path) -> Result<Option<u8>> {
    // A job that is waiting in the queue has not written a journal yet.
    if dir.join(JOURNAL).exists() { journal::finished(dir) } else { Ok(None) }
}

fn stands(job: &str, state: &JobState) -> String {
    if !state.waits() {
        return format!("job {job} of Slurm: {}", state.state);
    }
    let starts = state.starts.as_ref().map_or_else(String::new, |time| format!(", expected to start at {time}"));
    format!("job {job} of Slurm waits in the queue ({}{starts})", state.reason)
}

/// The exit code of a job that has left no record.
fn code_of(state: Option<&JobState>) -> u8 {
    match state {
        Some(JobState { code: Some(code), .. }) if *code != exit::OK => *code,
        _ => exit::INTERRUPTED,
    }
}
