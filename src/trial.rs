//! Trial copies for the self-test and the benchmark: by multi-sync through the public API, by the command itself, or by one rsync. Each is timed, and all can
//! be stopped together.
//!
//! Everything that a trial writes lies in a [`Site`], which is removed afterwards. This module judges no result.

mod site;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::{self, Control};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::report::{Event, Summary};
use crate::rsync::command::Invocation;
use crate::supervise::{Ended, Stream};

pub use site::Site;

/// The rsync that a trial compares with, looked up in `PATH`, as multi-sync does.
const RSYNC: &str = "rsync";
/// How many lines of output are kept of each stream. These are the last ones.
const KEPT: usize = 20;

/// Stops all trials, from another thread, such as one that waits for signals.
#[derive(Debug, Default)]
pub struct Stopper(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    stopped: bool,
    controls: Vec<Arc<Control>>,
}

impl Stopper {
    /// Ends what is running, as [`Control::interrupt`] does, and prevents further trials. A second call kills.
    pub fn stop(&self) {
        let mut running = self.lock();
        running.stopped = true;
        running.controls.iter().for_each(|control| control.interrupt());
    }

    /// Whether [`Stopper::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// # Errors
    /// [`Stopper::stop`] was called; exit code 20.
    pub fn go_on(&self) -> Result<()> {
        if self.stopped() { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }

    fn while_stoppable<T>(&self, control: &Arc<Control>, job: impl FnOnce() -> T) -> Result<T> {
        {
            let mut running = self.lock();
            if running.stopped {
                drop(running);
                self.go_on()?;
            } else {
                running.controls.push(Arc::clone(control));
            }
        }
        let done = job();
        self.lock().controls.retain(|other| !Arc::ptr_eq(other, control));
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A run of multi-sync that has ended.
#[derive(Debug)]
pub struct Copied {
    /// Its summary.
    pub summary: Summary,
    /// The output of the run and its rsyncs.
    pub output: Output,
    /// The number of progress events.
    pub progressed: u64,
    /// The time from the plan to the removal of the bucket directory.
    pub took: Duration,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ran {
    /// How it has ended.
    pub ended: Ended,
    /// Its output.
    pub output: Output,
    /// The time from its start to its end.
    pub took: Duration,
}

/// The number of lines that were printed, and the last of them in printable form.
#[derive(Debug, Default, Clone)]
pub struct Output {
    /// Lines on standard output.
    pub said: u64,
    /// Lines on standard error, including multi-sync's own.
    pub complained: u64,
    first: Option<String>,
    lines: VecDeque<String>,
    errors: VecDeque<String>,
}

impl Output {
    /// The first line on standard output.
    pub fn said_first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The last lines on standard output.
    pub fn said_last(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The last lines on standard error.
    pub fn complained_last(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().map(String::as_str)
    }

    /// The most useful lines for an error message: the end of standard error, or otherwise of standard output, on one line.
    pub fn gist(&self) -> String {
        const LINES: usize = 3;
        let lines = if self.errors.is_empty() { &self.lines } else { &self.errors };
        let last: Vec<&str> = lines.iter().skip(lines.len().saturating_sub(LINES)).map(String::as_str).collect();
        if last.is_empty() { "nothing was said".into() } else { last.join(" / ") }
    }

    fn take(&mut self, stream: Stream, line: String) {
        if stream == Stream::Stdout {
            self.first.get_or_insert_with(|| line.clone());
        }
        let (count, kept) = match stream {
            Stream::Stdout => (&mut self.said, &mut self.lines),
            Stream::Stderr => (&mut self.complained, &mut self.errors),
        };
        *count += 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// Does one run of multi-sync, starting with the plan, as the command does. `control` can interrupt it; `watch` gets each event.
///
/// # Errors
/// Those of [`Plan::make`], [`Plan::make_buckets`] and [`engine::run`]; or it was stopped before it began. Entries that were not copied are in the summary,
/// and no error.
pub fn copy(
    config: &Config,
    stopper: &Stopper,
    control: &Arc<Control>,
    watch: &(dyn Fn(&Event<'_>) + Sync),
) -> Result<Copied> {
    let heard = Mutex::new((Output::default(), 0));
    let hear = |event: Event<'_>| {
        watch(&event);
        let mut heard = heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (output, progressed) = &mut *heard;
        match event {
            Event::Said(line) => output.take(Stream::Stdout, Printable::bytes(line).to_string()),
            Event::Complained(line) => output.take(Stream::Stderr, Printable::bytes(line).to_string()),
            Event::Output(stream, bytes) => {
                String::from_utf8_lossy(bytes).lines().for_each(|line| output.take(stream, line.to_owned()));
            }
            Event::Failed(what) => output.take(Stream::Stderr, what.to_string()),
            Event::Note(_) => {}
            Event::Progress(_) => *progressed += 1,
            _ => {}
        }
    };
    let started = Instant::now();
    let summary = stopper.while_stoppable(control, || {
        let plan = Plan::make(config, control.supervisor())?;
        let buckets = plan.make_buckets(config)?;
        let summary = engine::run(config, &plan, &buckets, control, &hear);
        buckets.remove().and(summary)
    })?;
    let took = started.elapsed();
    stopper.go_on()?;
    let summary = summary?;
    let (output, progressed) = heard.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(Copied { summary, output, progressed, took })
}

/// Runs one rsync with these arguments.
///
/// # Errors
/// It could not be started, or the trials were stopped. A failure of rsync is not an error.
pub fn rsync(words: Vec<OsString>, cwd: &Path, stopper: &Stopper) -> Result<Ran> {
    program(RSYNC.into(), words, cwd, stopper)
}

/// Runs any program, as [`rsync`] does.
///
/// # Errors
/// As [`rsync`].
pub fn program(program: OsString, arguments: Vec<OsString>, cwd: &Path, stopper: &Stopper) -> Result<Ran> {
    let invocation = Invocation::new(program, arguments, cwd);
    output_of(&invocation, stopper, &Arc::default())
}

/// Runs a program, which `control` can interrupt.
///
/// # Errors
/// As [`rsync`].
pub fn output_of(invocation: &Invocation, stopper: &Stopper, control: &Arc<Control>) -> Result<Ran> {
    let mut output = Output::default();
    let (ended, took) = run(invocation, stopper, control, &mut |stream, line| {
        output.take(stream, Printable::bytes(line).to_string());
    })?;
    Ok(Ran { ended, output, took })
}

/// Runs a program and hands over its output, line by line.
///
/// # Errors
/// As [`rsync`].
pub fn lines_of(
    invocation: &Invocation,
    stopper: &Stopper,
    each: &mut dyn FnMut(Stream, &[u8]),
) -> Result<(Ended, Duration)> {
    run(invocation, stopper, &Arc::default(), each)
}

fn run(
    invocation: &Invocation,
    stopper: &Stopper,
    control: &Arc<Control>,
    each: &mut dyn FnMut(Stream, &[u8]),
) -> Result<(Ended, Duration)> {
    let started = Instant::now();
    let ended = stopper.while_stoppable(control, || control.supervisor().run(invocation, each))??;
    let took = started.elapsed();
    stopper.go_on()?;
    Ok((ended, took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsync::exit;

    #[test]
    fn nothing_starts_after_a_stop() {
        let stopper = Stopper::default();
        assert_eq!(program("true".into(), Vec::new(), Path::new("/"), &stopper).unwrap().ended, Ended::Code(0));
        stopper.stop();
        let error = program("true".into(), Vec::new(), Path::new("/"), &stopper).unwrap_err();
        assert_eq!(error.exit_code(), exit::INTERRUPTED);
    }

    #[test]
    fn a_stop_ends_what_runs() {
        let stopper = Stopper::default();
        std::thread::scope(|scope| {
            let sleeps = scope.spawn(|| program("sleep".into(), vec!["60".into()], Path::new("/"), &stopper));
            while stopper.lock().controls.is_empty() {
                std::thread::yield_now();
            }
            // The child may not have been started yet: a stopped supervisor starts none.
            stopper.stop();
            assert_eq!(sleeps.join().unwrap().unwrap_err().exit_code(), exit::INTERRUPTED);
        });
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut output = Output::default();
        (0..100).for_each(|number| output.take(Stream::Stdout, number.to_string()));
        assert_eq!((output.said, output.said_last().count()), (100, KEPT));
        assert_eq!(output.gist(), "97 / 98 / 99");
        output.take(Stream::Stderr, "wrong".into());
        assert_eq!(output.gist(), "wrong");
    }
}
