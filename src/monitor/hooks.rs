//! `--on-end` and `--on-failure`: shell commands that are told how a run ended, in environment variables and as JSON on standard input.
//!
//! A hook has a session of its own and a time limit. Its output goes to standard error, so that it never mixes with lines that a program reads. A failure of
//! a hook is reported, and changes nothing.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_sync::Result;
use multi_sync::command::shell::Invocation;
use multi_sync::command::supervise::{self, Stop, Supervisor};
use multi_sync::command::{exit, thread};

use super::{Ended, Subject, complain, lock};
use crate::streams;

/// How long a hook that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);

/// The commands.
pub(super) struct Hooks {
    end: Option<OsString>,
    failure: Option<OsString>,
    limit: Duration,
    subject: Subject,
    running: Mutex<Option<Arc<Supervisor>>>,
}

const ON_END: &str = "--on-end";
const ON_FAILURE: &str = "--on-failure";

/// Why a hook was ended, if it did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    TooLong,
    Interrupted,
}

impl Hooks {
    pub fn new(end: Option<OsString>, failure: Option<OsString>, limit: Duration, subject: Subject) -> Hooks {
        Hooks { end, failure, limit, subject, running: Mutex::default() }
    }

    /// The hooks that have to run, in order.
    pub fn due(&self, ended: &Ended) -> Vec<&'static str> {
        let failed = self.failure.is_some() && ended.code != exit::OK;
        let due = [(ON_FAILURE, failed), (ON_END, self.end.is_some())];
        due.into_iter().filter(|(_, due)| *due).map(|(name, _)| name).collect()
    }

    /// Runs a hook, and reports how it ended unless it succeeded.
    pub fn run(&self, name: &str, ended: &Ended) {
        let command = if name == ON_FAILURE { &self.failure } else { &self.end };
        let Some(command) = command else { return };
        let invocation = self.invocation(command, ended);
        let supervisor = Arc::new(Supervisor::default());
        *lock(&self.running) = Some(supervisor.clone());
        let done = within(self.limit, &supervisor, &invocation);
        *lock(&self.running) = None;
        let say = |text: String| {
            streams::err(format!("multi-sync: the command of {name} {text}; the exit code stays the same\n"))
        };
        match done {
            Ok((_, Some(Cut::TooLong))) => say(format!("was ended after {} s", self.limit.as_secs())),
            Ok((_, Some(Cut::Interrupted))) => say("was ended by a signal".to_owned()),
            Ok((supervise::Ended::Code(0) | supervise::Ended::NotStarted, None)) => {}
            Ok((supervise::Ended::Signal(signal), None)) => say(format!("was killed by signal {signal}")),
            Ok((other, None)) => say(format!("ended with code {}", other.code())),
            Err(error) => complain(&error),
        }
    }

    /// Ends the running hook.
    pub fn interrupt(&self) {
        if let Some(supervisor) = &*lock(&self.running) {
            supervisor.stop(Stop::Terminate);
        }
    }

    fn invocation(&self, command: &OsString, ended: &Ended) -> Invocation {
        let environment = ended.variables(&self.subject);
        let words = vec!["-c".into(), command.clone(), "multi-sync-hook".into()];
        Invocation { input: ended.json(&self.subject), environment, ..Invocation::new("sh", words, &self.subject.cwd) }
    }
}

/// Runs a hook, and ends it when its time limit is over.
fn within(
    limit: Duration,
    supervisor: &Supervisor,
    invocation: &Invocation,
) -> Result<(supervise::Ended, Option<Cut>)> {
    let too_long = AtomicBool::new(false);
    let (running, gone) = mpsc::channel::<()>();
    let ended = std::thread::scope(|scope| {
        let too_long = &too_long;
        let watch = move || {
            let is_late = |limit| gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if is_late(limit) {
                too_long.store(true, Ordering::SeqCst);
                supervisor.stop(Stop::Terminate);
                if is_late(GRACE) {
                    supervisor.stop(Stop::Kill);
                }
            }
        };
        thread::start(scope, watch)?;
        let print = &mut |_, bytes: Option<&[u8]>| streams::err(bytes.unwrap_or_default());
        let ended = supervisor.run_raw(invocation, None, None, &|_| {}, print);
        drop(running);
        ended
    })?;
    let cut = match (too_long.into_inner(), supervisor.stopped()) {
        (true, _) => Some(Cut::TooLong),
        (false, true) => Some(Cut::Interrupted),
        _ => None,
    };
    Ok((ended, cut))
}
