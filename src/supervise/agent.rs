//! An agent: a shell that runs one command after another, mostly on another machine. The process that is started here, such as ssh, only connects to it.
//!
//! A command costs a write to a pipe, and no login. Its output arrives as if it ran here, on two streams, followed by a mark with its exit code
//! ([`there`]). An agent is ended by a signal only if nothing else helps: when its standard input ends, for whatever reason, the shell
//! ends its command, first with SIGTERM and then with SIGKILL, and then itself. A signal to the local process could end the command before it
//! has removed its temporary files and reported its result (srun kills what it has started).

mod frames;
mod talk;
mod there;

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::{Error, Result};

use super::child::{self, Bond, has_died, pid, wait_until_dead};
use super::pipes::{Feed, read_some, wait_for_output};
use super::{Ended, Invocation, Sign, Stream, Supervisor, guardian, session};
use frames::Frames;
pub(super) use frames::Token;
use talk::Talk;

#[cfg(test)]
mod tests;

pub use there::FOR_255;
#[cfg(test)]
pub use there::KILLED;
pub(crate) use there::once;

/// How long an agent may take to end after its input has ended: the shell there gives its command five seconds.
const POLITE: Duration = Duration::from_secs(10);
/// How long it may take to end after a signal that asks it to.
const ASKED: Duration = Duration::from_secs(2);
/// No pipe that takes input is waited for.
const NO_PIPE: Option<&ChildStdin> = None;
const CHUNK: usize = 64 * 1024;

/// The standard input of an agent. Other threads use it to keep the agent alive.
#[derive(Debug)]
pub(crate) struct Wire(Mutex<State>);

#[derive(Debug)]
struct State {
    pipe: Option<ChildStdin>,
    /// Whether it reads lines now, and nothing else.
    listens: bool,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the agent a sign of life.
    pub fn pulse(&self) {
        self.say(there::PULSE);
    }

    /// Writes a line, if the agent takes one now. A pipe takes so few bytes either completely or not at all.
    fn say(&self, line: &str) -> bool {
        let state = self.lock();
        let pipe = state.pipe.as_ref().filter(|_| state.listens);
        pipe.is_some_and(|pipe| rustix::io::write(pipe, format!("{line}\n").as_bytes()).is_ok())
    }

    fn listens(&self, listens: bool) {
        self.lock().listens = listens;
    }

    fn close(&self) {
        self.lock().pipe.take();
    }
}

/// A running agent, see the [module](self). Dropping this value ends it.
pub(crate) struct Agent {
    child: Child,
    wire: Arc<Wire>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    frames: [Frames; 2],
    greeting: Vec<u8>,
    greeted: [bool; 2],
    since: Instant,
    number: u64,
    /// The Slurm job step in which it runs, as `JOB.STEP`.
    step: String,
    insists: Option<Insists>,
    /// Whether the connection holds output back until earlier output was acknowledged.
    waits_for_answers: bool,
    /// Whether it can run no further commands.
    is_over: bool,
    reaped: bool,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("child", &self.child).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Agent {
    /// Starts an agent, and does not wait until it answers; `None` if [`Supervisor::stop`] was called.
    ///
    /// # Errors
    /// The local program that connects to it cannot be started.
    pub fn start(way: &Invocation, by: &Supervisor) -> Result<Option<Agent>> {
        Agent::start_with(way, by, there::SILENCE)
    }

    fn start_with(way: &Invocation, by: &Supervisor, silence: u32) -> Result<Option<Agent>> {
        let token = Token::random();
        let Some(mut child) = by.spawn(way, None, Bond::Input)? else { return Ok(None) };
        let pipe = child.stdin.take();
        if let Some(pipe) = &pipe {
            // Setting a flag on a new pipe cannot fail.
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        let agent = Agent {
            wire: Arc::new(Wire(Mutex::new(State { pipe, listens: false }))),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            frames: [Frames::new(&token), Frames::new(&token)],
            greeting: there::greeting(&token, silence),
            greeted: [false; 2],
            since: Instant::now(),
            number: 0,
            step: String::new(),
            insists: None,
            waits_for_answers: false,
            is_over: false,
            reaped: false,
        };
        agent.greet();
        Ok(Some(agent))
    }

    /// Sends the greeting. The pipe is empty, and takes it completely.
    fn greet(&self) {
        let mut left = &self.greeting[..];
        // An error is noticed when the answer does not come.
        let _ = self.feed(&mut left);
    }

    /// Its standard input, by which it can be kept alive.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Whether the agent can run another command, as far as is known.
    pub fn is_usable(&self) -> bool {
        !self.is_over && !has_died(&self.child)
    }

    /// Sets a command that ends the agent from outside if it does not end with its input. `insists` gets the Slurm job step in which the agent runs, as
    /// `JOB.STEP`.
    #[must_use]
    pub fn that_can_be_ended_by(mut self, insists: Insists) -> Agent {
        self.insists = Some(insists);
        self
    }

    /// Sets whether the connection holds output back until earlier output was acknowledged, see [`there::HEARS`]. If so, everything that is received is
    /// answered.
    #[must_use]
    pub fn that_waits_for_answers(mut self, waits: bool) -> Agent {
        self.waits_for_answers = waits;
        self
    }

    /// Asks the agent to end. [`Agent::end`], or dropping this value, waits for its end.
    pub fn dismiss(&self) {
        self.wire.close();
    }

    fn feed(&self, left: &mut &[u8]) -> io::Result<()> {
        let mut state = self.wire.lock();
        let Some(pipe) = state.pipe.take() else { return Ok(()) };
        let mut feed = Feed { pipe, left };
        let written = feed.write();
        *left = feed.left;
        state.pipe = Some(feed.pipe);
        written
    }

    /// Waits for the end of the agent, and forces it if that takes too long. Output that arrives meanwhile is ignored.
    pub fn end(&mut self, patience: Duration) {
        self.wire.close();
        if self.reaped {
            return;
        }
        // An agent that has not answered yet runs no command, so it is given no time.
        let patience = if self.greeted == [true; 2] { patience } else { Duration::ZERO };
        let began = Instant::now();
        let (mut left, mut since, mut helper) = (&Means::ALL[..], began, None);
        let mut buffer = vec![0; CHUNK];
        while !has_died(&self.child) {
            // Output is read and ignored, because a process that cannot write its output would never end.
            self.skip_output(&mut buffer);
            let is_due = if left.len() == Means::ALL.len() { patience } else { ASKED };
            if since.elapsed() < is_due {
                continue;
            }
            // The last means is repeated until it works.
            let (means, rest) = left.split_first().unwrap_or((&Means::Kill, &[]));
            (left, since) = (rest, Instant::now());
            match means {
                Means::Insist => {
                    let way = self.insists.as_ref().and_then(|insists| insists(&self.step));
                    helper = way.and_then(|way| child::spawn(&way, None, Bond::Life, &Arc::default()).ok());
                    if helper.is_none() {
                        since = began.checked_sub(ASKED).unwrap_or(began);
                    }
                }
                Means::Ask => {
                    session::signal(pid(&self.child), Signal::TERM);
                    session::signal(pid(&self.child), Signal::CONT);
                }
                Means::Kill => session::signal(pid(&self.child), Signal::KILL),
            }
        }
        if let Some(mut helper) = helper {
            session::signal(pid(&helper), Signal::KILL);
            guardian::forget(pid(&helper));
            let _ = helper.wait();
        }
        self.reap();
    }

    /// Kills the local process at once.
    fn kill(&mut self) {
        if !self.reaped {
            self.wire.close();
            session::signal(pid(&self.child), Signal::KILL);
            self.reap();
        }
    }

    fn reap(&mut self) {
        // Wait without reaping, remove the PID from all tables, then reap: so nobody signals a PID that may belong to another process.
        let _ = wait_until_dead(&self.child);
        guardian::forget(pid(&self.child));
        let _ = self.child.wait();
        self.reaped = true;
    }

    fn skip_output(&mut self, buffer: &mut [u8]) {
        let nap = session::LOOK_EVERY;
        if self.stdout.is_none() && self.stderr.is_none() {
            std::thread::sleep(nap);
            return;
        }
        let Ok((out, err)) = wait_for_output(self.stdout.as_ref(), self.stderr.as_ref(), NO_PIPE, nap) else { return };
        if out && matches!(read_some(&mut self.stdout, buffer), Ok(Some(0)) | Err(_)) {
            self.stdout.take();
        }
        if err && matches!(read_some(&mut self.stderr, buffer), Ok(Some(0)) | Err(_)) {
            self.stderr.take();
        }
    }
}

/// How to end an agent that is still there after its input has ended.
#[derive(Clone, Copy)]
enum Means {
    /// The command of [`Insists`], which asks the system that runs it.
    Insist,
    /// A signal to the local process.
    Ask,
    Kill,
}

impl Means {
    const ALL: [Means; 3] = [Means::Insist, Means::Ask, Means::Kill];
}

/// Gives the command that ends an agent from outside, for the Slurm job step in which it runs.
pub(crate) type Insists = Box<dyn Fn(&str) -> Option<Invocation> + Send>;

impl Drop for Agent {
    fn drop(&mut self) {
        self.end(POLITE);
    }
}

impl Supervisor {
    /// Runs a command on an agent. Its output is handed on as it comes, with `None` at the end of a stream. `body` is described at [`there::group`]. If
    /// `stall` is given, a command is ended that for this time has neither printed, read nor written anything, and a shell that does not answer for this
    /// time is regarded as lost. [`Agent::is_usable`] says afterwards whether the agent can run another command.
    ///
    /// # Errors
    /// The command cannot be followed.
    pub(crate) fn run_there(
        &self,
        agent: &mut Agent,
        body: &[u8],
        stall: Option<Duration>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> Result<Ended> {
        if self.when_it_goes_on().stop.is_some() {
            return Ok(Ended::NotStarted);
        }
        agent.number += 1;
        let script = there::group(agent.number, body);
        let ended = Talk::new(self, agent, &script, stall).run(signs, each);
        agent.is_over |= !matches!(ended, Ok(Ended::Code(_)));
        ended.map_err(|cause| Error::internal("cannot follow a command on another machine").because(cause))
    }
}
