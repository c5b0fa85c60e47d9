//! The facade: one copy from its description to its outcome. A program, like the command `multi-sync`, needs nothing else.
//!
//! A [`JobBuilder`] says what is to be copied and how. A [`Job`] runs once: it checks what can be checked before anything is written, creates the
//! run directory, copies, verifies if asked to, and keeps or removes the run directory. While it runs, it reports [`Event`]s. A
//! [`CancelHandle`] ends it from another thread. The [`Outcome`] says how it ended, and how to continue if the copy is not complete.
//!
//! ```no_run
//! use multi_sync::job::{Event, Job, Note};
//!
//! let job = Job::builder()
//!     .source("/data/")
//!     .destination("nas:/backup")
//!     .rsync_options(["-aS", "--numeric-ids"])
//!     .processes(4)
//!     .build()?;
//! let outcome = job.run(|event| {
//!     match event {
//!         Event::Failed(what) => eprintln!("{what}"),
//!         Event::Note(Note::Retry { pause, .. }) => eprintln!("a pause of {} s", pause.as_secs()),
//!         _ => {}
//!     }
//! })?;
//! assert_eq!(outcome.exit_code(), 0);
//! # Ok::<(), multi_sync::Error>(())
//! ```
//!
//! The library installs no signal handler. The only setting of its process that it changes is the soft limit of open files, which it raises to the
//! hard limit. The process must not ignore SIGCHLD, also not from its start, and must not wait for children that it has not started itself: how an rsync
//! ended would not be known.

mod builder;
mod course;
mod deletions;
mod explain;
mod handle;
mod kept;
mod outcome;
#[doc(hidden)]
pub mod set;
#[doc(hidden)]
pub mod status;
#[doc(hidden)]
pub mod submitted;
mod verification;
mod ways;
mod words;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::events::{EventLog, Written};
use crate::outlet::ReportFile;
use crate::page;
use crate::plan::Plan;
use crate::run_dir::{self, Asked, Keep};

pub use crate::config::Depth;
pub use crate::far::Wanted as RemoteScan;
pub use crate::far::crew::ScanBy;
pub use crate::first_pass::{Made, Wish as FirstPass};
pub use crate::limit::DeleteLimit;
pub use crate::report::{
    Adjusted, Event, Failed, Launch, LaunchEnd, LaunchKind, LaunchResult, Live, Note, Part, Phase, Planned, Progress,
    RunEnd, Running, Started, Step, Totals, Withheld,
};
pub use crate::rsync::output::{Counts, Figures};
pub use crate::steer::{By, Resource, Steered, Why};
pub use crate::supervise::Stream;
pub use builder::JobBuilder;
#[doc(hidden)]
pub use explain::one_as_typed;
pub use handle::JobHandle;
#[doc(hidden)]
pub use kept::what_to_type;
use kept::{Kept, Resumed};
pub use outcome::{NextStep, Outcome};

/// A copy that is described and checked for contradictions, but not yet started. [`JobBuilder::build`] makes it; it runs once.
#[derive(Debug)]
#[must_use = "it copies nothing until it runs"]
pub struct Job {
    config: Config,
    /// The command line that asks for this job, without the program's name.
    words: Vec<OsString>,
    keep_runs: Keep,
    gives_way: Option<GivesWay>,
    cancel: CancelHandle,
}

/// Set if another rsync may do the job instead ([`Job::giving_way`]).
#[derive(Debug, Clone, Copy)]
struct GivesWay {
    /// Also if a single rsync started by multi-sync would do everything.
    to_one: bool,
}

/// Ends a job from another thread, or asks it for its progress. Clones belong to the same job.
#[derive(Debug, Clone, Default)]
pub struct CancelHandle(Arc<Controls>);

/// The count of deletions, the copy and the verification have one each: a cancellation stops all of them.
#[derive(Debug)]
struct Controls {
    count: Control,
    copy: Control,
    verification: Control,
}

impl Default for Controls {
    fn default() -> Controls {
        let copy = Control::default();
        Controls { count: copy.with_the_same_hand(), verification: copy.with_the_same_hand(), copy }
    }
}

impl CancelHandle {
    /// Ends the job: no more rsyncs are started, and running ones get SIGTERM so that they remove their temporary files. A second call kills
    /// them. If the job has not started yet, it ends as soon as it starts.
    pub fn cancel(&self) {
        self.0.count.interrupt();
        self.0.copy.interrupt();
        self.0.verification.interrupt();
    }

    /// Whether [`CancelHandle::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.copy.interrupted()
    }

    /// Asks the job to report its progress as [`Event::Asked`], as soon as it can.
    pub fn ask_progress(&self) {
        self.0.count.ask();
        self.0.copy.ask();
        self.0.verification.ask();
    }
}

/// A run that was started earlier, with its run directory.
#[derive(Debug)]
pub struct BegunRun {
    dir: PathBuf,
    asked: Asked,
}

impl BegunRun {
    /// Finds a run by the path of its run directory, by its name in the place where runs are kept, or by the beginning of that name.
    ///
    /// # Errors
    /// There is no such run, the word is ambiguous, the description of the run cannot be read, or another user could have written it.
    pub fn find(run: impl AsRef<Path>) -> Result<BegunRun> {
        let dir = run_dir::find(run.as_ref())?;
        run_dir::refuse_others(&dir)?;
        Ok(BegunRun { asked: Asked::read(&dir)?, dir })
    }

    /// The run directory.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// The arguments of `multi-sync` with which the run was started, or equivalent ones.
    pub fn arguments(&self) -> Vec<OsString> {
        self.asked.words()
    }

    /// The directory to which relative names in [`BegunRun::arguments`] are relative.
    pub fn current_dir(&self) -> PathBuf {
        self.asked.cwd()
    }

    /// Removes the run directory: the run cannot be resumed any more.
    ///
    /// # Errors
    /// A process works on the run, or something cannot be removed.
    pub fn forget(self) -> Result<()> {
        run_dir::forget(&self.dir)
    }
}

impl Job {
    /// A description of a job, with the defaults of the command line.
    pub fn builder() -> JobBuilder {
        JobBuilder::default()
    }

    /// A job of the command line: `words` ask for it again.
    #[doc(hidden)]
    pub fn of_command_line(config: Config, words: Vec<OsString>, keep_runs: Keep) -> Job {
        Job { config, words, keep_runs, gives_way: None, cancel: CancelHandle::default() }
    }

    /// If several rsyncs cannot do the job, it is not done, and [`Outcome::gave_way`] says why: the rsync that was typed may do it instead. With `to_one`
    /// the job is also not done if a single rsync would do all of it.
    #[doc(hidden)]
    pub fn giving_way(mut self, to_one: bool) -> Job {
        self.gives_way = Some(GivesWay { to_one });
        self
    }

    /// A handle that ends this job from another thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// A handle that changes the settings of this job from another thread while it runs.
    pub fn handle(&self) -> JobHandle {
        JobHandle(self.cancel.clone())
    }

    /// Copies, and returns when the job has ended: an asynchronous program calls this in a thread for work that blocks. `tell` is called from several threads,
    /// and the job waits until it returns. If it panics, the job ends early.
    ///
    /// # Errors
    /// The job was refused, or could not start; nothing has been copied. Later failures are part of the [`Outcome`].
    pub fn run(self, tell: impl Fn(Event<'_>) + Sync) -> Result<Outcome> {
        self.begin(None, &tell)
    }

    /// Continues a run of this job that did not complete: finished buckets are not copied again.
    ///
    /// # Errors
    /// As [`Job::run`]; also if there is no such run ([`BegunRun::find`]), if a process works on it, or if it was started with another description,
    /// or in another [directory](JobBuilder::current_dir). Only the number of processes, retries, the time for stalled rsyncs, the timetable, the throttles, the
    /// end of the job, and what is reported and written about it may differ. Files of rules and names, the environment of rsync and the umask must be as they
    /// were, as far as they decide the result.
    pub fn resume(self, run: impl AsRef<Path>, tell: impl Fn(Event<'_>) + Sync) -> Result<Outcome> {
        let run = told(self.begun(run.as_ref(), false), &tell)?;
        self.begin(Some(&run), &tell)
    }

    /// Copies again what failed in a run of this job, and nothing else.
    ///
    /// # Errors
    /// As [`Job::resume`].
    pub fn retry_failed(self, run: impl AsRef<Path>, tell: impl Fn(Event<'_>) + Sync) -> Result<Outcome> {
        let run = told(self.begun(run.as_ref(), true), &tell)?;
        self.begin(Some(&run), &tell)
    }

    /// Copies nothing, and reports as [`Event::Said`] what one more rsync would change, judged by size and time, or as [`JobBuilder::verify`] says.
    /// [`Outcome::differences`] is the number of these changes.
    ///
    /// # Errors
    /// As [`Job::run`]; also if there is nothing to verify with these rsync options.
    pub fn verify(mut self, tell: impl Fn(Event<'_>) + Sync) -> Result<Outcome> {
        if !self.config.verify_only {
            let depth = *self.config.verify.get_or_insert(Depth::Quick);
            self.config.options = told(crate::recheck::options(&self.config.options, depth), &tell)?;
            self.config.verify_only = true;
            self.words.insert(0, "--verify-only".into());
        }
        self.begin(None, &tell)
    }

    /// Scans the sources and packs the entries into buckets, but copies nothing: [`Outcome::totals`] says how much there is.
    ///
    /// # Errors
    /// As [`Job::run`].
    pub fn survey(mut self, tell: impl Fn(Event<'_>) + Sync) -> Result<Outcome> {
        self.config.dry_run = true;
        self.begin(None, &tell)
    }

    /// Says as text whether several rsyncs or one would do this job, and why, and what becomes of each option. Nothing is copied or changed, and no
    /// connection is made.
    ///
    /// # Errors
    /// The job would be refused.
    pub fn explain(&self) -> Result<String> {
        explain::explain(&self.config, None)
    }

    /// Explains a job that may be left to the rsync that was typed.
    #[doc(hidden)]
    pub fn explain_typed(&self, typed: Option<&str>) -> Result<String> {
        explain::explain(&self.config, typed)
    }

    /// A run that this job may continue.
    fn begun(&self, run: &Path, failed_only: bool) -> Result<Resumed> {
        let BegunRun { dir, asked } = BegunRun::find(run)?;
        words::check_same(&self.words, &self.config.cwd, &asked, &dir)?;
        Ok(Resumed { dir, failed_only, asked })
    }

    fn begin(self, resumed: Option<&Resumed>, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Outcome> {
        let cancel = self.cancel.clone();
        let outlets = self.config.outlets.clone();
        let log = told(EventLog::open(&outlets, resumed.is_some()), tell)?;
        let noted = |event: Event<'_>| {
            log.iter().for_each(|log| log.hear(&event));
            tell(event);
        };
        let noted: &(dyn Fn(Event<'_>) + Sync) = if log.is_some() { &noted } else { tell };
        let done = match self.carry_out(resumed, noted) {
            Err(_) if cancel.is_cancelled() => Ok(Outcome::cancelled_early()),
            done => done,
        };
        match &done {
            Ok(outcome) if outcome.gave_way().is_some() => {}
            Ok(outcome) => noted(Event::Ended(&outcome.told())),
            Err(error) => noted(Event::Ended(&outcome::refused(error))),
        }
        if let Some(log) = log {
            let Written { spool, lacks } = log.close(cancel.is_cancelled());
            let made = outlets.report.as_ref().zip(spool).map(|(report, spool)| page::make(&spool, report));
            let lacks = lacks.into_iter().chain(made.and_then(Result::err).map(|error| error.to_string()));
            lacks.for_each(|text| tell(Event::Note(Note::Unwritten { text })));
        }
        done
    }
}

/// Reports why a job could not begin.
fn told<T>(begun: Result<T>, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<T> {
    begun.inspect_err(|error| tell(Event::Ended(&outcome::refused(error))))
}

/// Describes the start of the job for reports.
fn started(config: &Config, plan: &Plan, words: Vec<OsString>, kept: &Kept, resumes: bool) -> Started {
    Started {
        arguments: words,
        current_dir: config.cwd.clone(),
        sources: config.source_words(),
        destination: config.destination_word().to_owned(),
        rsync_options: config.options.argv().to_vec(),
        processes: config.processes.get(),
        hosts: config.hosts.iter().map(ToString::to_string).collect(),
        rsync_version: plan.version.to_string(),
        run_directory: kept.buckets().path().to_owned(),
        resumes,
        dry_run: config.dry_run || plan.recipe.dry_run,
    }
}

/// Makes a report from events that were written earlier, or from events on standard input if no file is named.
///
/// # Errors
/// The events cannot be read, or the report cannot be written.
#[doc(hidden)]
pub fn report_of(events: Option<&Path>, report: &ReportFile) -> Result<()> {
    let file = match events {
        Some(path) => {
            let unreadable = |cause| Error::io("read", path, cause);
            let file = File::open(path).map_err(unreadable)?;
            if file.metadata().map_err(unreadable)?.is_file() {
                return page::make(&file, report);
            }
            file
        }
        None => {
            let own = std::io::stdin().as_fd().try_clone_to_owned();
            own.map_err(|cause| Error::usage("cannot read standard input").because(cause))?.into()
        }
    };
    // A temporary copy, because the events are read twice.
    let mut spool = report.spool()?;
    std::io::copy(&mut &file, &mut spool).map_err(|cause| Error::usage("cannot read the events").because(cause))?;
    page::make(&spool, report)
}

/// Raises the soft limit of open files to the hard limit, because the scan holds a file descriptor for each open directory.
#[doc(hidden)]
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If the limit cannot be raised, the job works with the current one.
    let _ = setrlimit(Resource::Nofile, limit);
}
