//! How a job ended.

use std::fs;
use std::path::{Path, PathBuf};

use super::kept::Closed;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::report::advice;
use crate::report::text::Statistics;
use crate::report::{RunEnd, Summary, Totals};
use crate::rsync::exit;
use crate::run_dir::layout::FAILED_NAMES;

/// How a job ended, and what it left.
#[derive(Debug)]
#[must_use = "its code says whether everything was copied"]
pub struct Outcome {
    code: u8,
    interrupted: bool,
    summary: Option<Summary>,
    failure: Option<Error>,
    gave_way: Option<String>,
    closed: Closed,
    config: Option<Config>,
}

/// How a job can be continued that did not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// Nothing is left to do.
    Nothing,
    /// [`Job::resume`](super::Job::resume) with [`Outcome::run_directory`].
    Resume,
    /// [`Job::retry_failed`](super::Job::retry_failed) with [`Outcome::run_directory`].
    RetryFailed,
    /// The same job from the beginning: nothing was kept that would save work.
    Again,
}

impl Outcome {
    pub(super) fn new(ended: Result<Summary>, closed: Closed, config: Config, cancelled: bool) -> Outcome {
        let (summary, failure) = match ended {
            Ok(summary) => (Some(summary), None),
            Err(error) => (None, Some(error)),
        };
        let code = match (&summary, &failure) {
            (Some(summary), _) => summary.code.get(),
            (None, Some(error)) if !cancelled => error.exit_code(),
            _ => exit::INTERRUPTED,
        };
        let interrupted = summary.as_ref().map_or(cancelled, |summary| summary.interrupted);
        let failure = failure.filter(|_| !cancelled);
        Outcome { code, interrupted, summary, failure, gave_way: None, closed, config: Some(config) }
    }

    /// The outcome of a job that was cancelled before anything had begun.
    pub(super) fn cancelled_early() -> Outcome {
        Outcome { interrupted: true, ..Outcome::nothing(exit::INTERRUPTED) }
    }

    pub(super) fn gave_way_because(why: String) -> Outcome {
        Outcome { gave_way: Some(why), ..Outcome::nothing(exit::OK) }
    }

    fn nothing(code: u8) -> Outcome {
        let closed = Closed { lines: Vec::new(), removed: Ok(()), left: None, next: NextStep::Again };
        Outcome { code, interrupted: false, summary: None, failure: None, gave_way: None, closed, config: None }
    }

    /// The exit code that one rsync would have had: 0 only if each entry that was found was passed to an rsync that ended with 0, and if the attributes of all
    /// split directories were set afterwards.
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// Whether the job was ended early by a [`CancelHandle`](super::CancelHandle).
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// The error that ended the job as a whole, if there was one.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Why one rsync did everything, if it did.
    pub fn one_rsync(&self) -> Option<&str> {
        self.summary.as_ref().and_then(|summary| summary.plain.as_deref())
    }

    /// The totals. They are 0 if the job ended with a [failure](Outcome::failure).
    pub fn totals(&self) -> Totals {
        let Some(summary) = &self.summary else { return Totals::default() };
        Totals {
            found: summary.found,
            done: summary.done,
            unread: summary.scan_error_count,
            buckets: summary.buckets,
            buckets_left: summary.buckets_left,
            split_directories: summary.spine,
            launches: summary.launches,
            retried: summary.retried,
            transferred_files: summary.figures.transferred,
            transferred_bytes: summary.figures.transferred_bytes,
            made: summary.made,
            figures: summary.has_figures.then_some(summary.figures),
            scan: summary.scan_time,
            rsyncs: summary.rsync_time,
            elapsed: summary.total_time,
        }
    }

    /// The number of differences, if a verification was made.
    pub fn differences(&self) -> Option<u64> {
        self.summary.as_ref().and_then(|summary| summary.differences)
    }

    /// The run directory, if it was kept.
    pub fn run_directory(&self) -> Option<&Path> {
        self.closed.left.as_deref()
    }

    /// How the job can be continued.
    pub fn next_step(&self) -> NextStep {
        self.closed.next
    }

    /// The names that were not copied, as listed in the [run directory](Outcome::run_directory); relative to the sources, as far as known.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn failed_names(&self) -> Result<Vec<Vec<u8>>> {
        let Some(path) = self.failed_list().filter(|path| path.exists()) else { return Ok(Vec::new()) };
        let list = fs::read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn failed_list(&self) -> Option<PathBuf> {
        self.run_directory().map(|dir| dir.join(FAILED_NAMES))
    }

    /// Lines for users: what is left of the run, and how to continue it.
    pub fn advice(&self) -> &[String] {
        &self.closed.lines
    }

    /// A line for users: what to do about the complaints of rsync, ssh and the other machine.
    pub fn remedy(&self) -> Option<String> {
        let (summary, config) = (self.summary.as_ref()?, self.config.as_ref()?);
        let way = advice::Way::of(&config.options, |name| std::env::var_os(name));
        advice::advice(&summary.complaints.lines, self.code, config.far_word(), config.far_end(), &way)
    }

    /// The error if something in the run directory could not be removed or written after the copy. The exit code does not depend on it.
    pub fn leftover(&self) -> Option<&Error> {
        self.closed.removed.as_ref().err()
    }

    /// The figures that `--stats` prints. `command_line` is shown among them.
    pub fn statistics(&self, command_line: &str) -> String {
        let (Some(summary), Some(config)) = (&self.summary, &self.config) else { return String::new() };
        let (cwd, processes, dry_run) = (&config.cwd, config.processes.get(), config.dry_run);
        Statistics { summary, cwd, command_line, processes, dry_run }.to_string()
    }

    /// What is reported at the end of the job.
    pub(super) fn told(&self) -> RunEnd {
        RunEnd {
            code: self.code,
            interrupted: self.interrupted,
            failure: self.failure.as_ref().map(Error::to_string),
            totals: self.totals(),
            differences: self.differences(),
            run_directory: self.closed.left.clone(),
            advice: self.closed.lines.clone(),
        }
    }

    /// Why the rsync that was typed should do the job instead ([`Job::giving_way`](super::Job::giving_way)).
    #[doc(hidden)]
    pub fn gave_way(&self) -> Option<&str> {
        self.gave_way.as_deref()
    }

    /// Everything about the run, for the printers of the command.
    #[doc(hidden)]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }
}

/// What is reported about a job that could not begin.
pub(super) fn refused(error: &Error) -> RunEnd {
    RunEnd {
        code: error.exit_code(),
        interrupted: false,
        failure: Some(error.to_string()),
        totals: Totals::default(),
        differences: None,
        run_directory: None,
        advice: error.advice().map(str::to_owned).into_iter().collect(),
    }
}
