//! A command that lists: its output is passed on line by line, or as it comes. It is ended together with the scan.

use std::io::PipeReader;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::scan::Watch;
use crate::supervise::{Ended, Invocation, Lines, Stop, Stream, Supervisor};
use crate::thread;

/// How often it is checked whether the scan is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many lines of standard error an error shows. These are the last ones.
const SHOWN: usize = 3;

/// How a command ended.
pub struct Finished {
    pub ended: Ended,
    /// The last lines of its standard error that were not understood.
    pub said: Vec<String>,
}

impl Finished {
    /// The error for a listing that broke off.
    pub fn error(&self, what: &str) -> Error {
        let how = match self.ended {
            Ended::Code(code) => format!("it ended with code {code}"),
            Ended::Signal(signal) => format!("it was ended by signal {signal}"),
            Ended::Stalled => "it made no more progress".to_owned(),
            Ended::NotStarted => "it was not started".to_owned(),
        };
        let said = if self.said.is_empty() { how } else { format!("{how}: {}", self.said.join("; ")) };
        let text = format!("{what}: {said}");
        let error = match self.ended.code() {
            0 => Error::system(text),
            code => Error::of_rsync(text, code),
        };
        error.remedy("run it again: what was found by then may have been copied already")
    }
}

/// Ends the watching thread when it is no longer needed, even if a callback panics.
struct Over<'a>(&'a AtomicBool, Thread);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// Runs a command until it ends, or the scan is to end. `input` is its standard input, if the invocation does not contain it. `out` gets its output, and
/// `None` at the end, and stops the command by returning an error. `err` gets each line of standard error, and returns whether it has understood it.
///
/// # Errors
/// The command could not be started, or `out` returned an error.
/// It could not be started, or `out` gave one.
pub fn run(
    invocation: &Invocation,
    input: Option<PipeReader>,
    stall: Option<Duration>,
    above: &Supervisor,
    watch: &Watch,
    out: &mut dyn FnMut(Option<&[u8]>) -> Result<()>,
    err: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Finished> {
    let own = Supervisor::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = thread::start(scope, || {
            while !over.load(Ordering::Acquire) {
                if watch.stopped() || above.stopped() {
                    own.stop(Stop::Terminate);
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        })?;
        let ended_now = Over(&over, looks.thread().clone());
        let mut said = Vec::new();
        let mut failure = None;
        let mut lines = Lines::new(Stream::Stderr);
        let mut hear = |line: &[u8]| {
            if !line.is_empty() && !err(line) {
                if said.len() == SHOWN {
                    said.remove(0);
                }
                said.push(Printable::bytes(line).to_string());
            }
        };
        let ended = own.run_raw(invocation, input, stall, &|_| {}, &mut |stream, bytes| match (stream, bytes) {
            (Stream::Stdout, bytes) if failure.is_none() => {
                if let Err(error) = out(bytes) {
                    failure = Some(error);
                    own.stop(Stop::Terminate);
                }
            }
            (Stream::Stdout, _) => {}
            (Stream::Stderr, Some(bytes)) => lines.feed(bytes, &mut |_, line| hear(line)),
            (Stream::Stderr, None) => lines.finish(&mut |_, line| hear(line)),
        });
        drop(ended_now);
        match failure {
            Some(error) => Err(error),
            None => Ok(Finished { ended: ended?, said }),
        }
    })
}
