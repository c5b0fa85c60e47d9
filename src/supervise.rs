//! Starts processes and is responsible for their end. No other module of the library starts a process.
//!
//! One thread owns one child: [`Supervisor::run`] starts it, reads both its streams line by line, and returns when it is reaped. Each
//! child leads its own session. Therefore the terminal's signals do not reach it before [`Supervisor::stop`] does, and ssh cannot wait
//! for a password at a terminal that many processes share. A child gets SIGTERM when the thread that owns it dies, also if the whole
//! process dies by SIGKILL (prctl(2), PR_SET_PDEATHSIG), so that no rsync continues. Only one line of its output is kept in memory. Only a
//! child that may ask for a password ([`Invocation::asks`]) stays at the terminal.
//!
//! A child may be a script that starts rsync and waits for it. If a child is asked to end, is killed, or has stalled, its whole session is
//! ended and waited for. If a child ends by itself, the processes that it left behind are left alone, as after a single rsync. A program may
//! have a [`Guardian`], which ends the children if the program itself is killed, and stops and continues them together with it.

mod agent;
mod child;
mod environment;
mod guardian;
mod idle;
mod invocation;
mod pause;
mod pipes;
mod session;
mod signals;

use std::collections::{HashMap, HashSet};
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::gettid;

use crate::entry::Printable;
use crate::error::{Error, Result};

pub use agent::FOR_255;
#[cfg(test)]
pub(crate) use agent::KILLED;
pub(crate) use agent::once;
pub(crate) use agent::{Agent, Wire};
pub use guardian::Guardian;
pub(crate) use guardian::{Held, hold, leave_no_folder};
pub use invocation::{Invocation, Quoted};
pub(crate) use pipes::Lines;
pub use signals::{Masked, signal_is_ignored};

use child::{Bond, ended, has_died, pid, spawn, wait_until_dead, was_killed};
use idle::Idle;
use pipes::{Feed, has_output, hear_some, pipe_size, read_some, wait_for_output};
use session::{Ending, Stuck};

/// Longer lines are handed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// How often a silent child is checked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After this many reads in quick succession, output is gathered before it is read, because each line would wake us (18 % of the processor time of a copy of
/// 20,000 empty files).
const CHATTY: u32 = 32;
/// If a wait takes longer than its timeout by this much, this process itself was stopped.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// How long output is gathered.
const GATHER: Duration = Duration::from_millis(2);
/// This long after a child was asked to end, the processes that it has started are asked as well.
const ASK_ALL: Duration = Duration::from_secs(2);
/// How long to wait for output after the child has ended: a process that it left behind (an ssh master) may hold the pipe forever.
const LEAKED_PIPE: Duration = Duration::from_secs(1);

/// The stream from which a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Whether a process of this machine is stopped (`^Z`, SIGSTOP).
pub(crate) fn is_stopped(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.and_then(session::Stat::of).is_some_and(|stat| stat.is_stopped())
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
    /// It gave no sign of life for too long, so it was ended.
    Stalled,
    /// It was not started, because [`Supervisor::stop`] came first.
    NotStarted,
}

/// What is reported about a child in addition to its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It was started, and has this process ID.
    Started(u32),
    /// It was stopped for a while, by a pause or together with this process (`^Z`): the other side may have stopped waiting for it. This is reported
    /// before the output that follows, and perhaps several times.
    Held,
}

/// How children are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// SIGTERM to the process itself: rsync ends its own processes in an order in which temporary files are removed. When all of its processes
    /// got the signal at once, a temporary file was seen to remain (rsync 3.5.0). The other processes get the signal after two seconds.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// The running children, and whether new ones may start.
#[derive(Debug, Default)]
pub struct Supervisor {
    live: Mutex<Live>,
    /// Signalled when a pause has ended, or everything is to end.
    goes_on: Condvar,
    /// The same as [`Live::paused`], readable without the lock.
    paused: AtomicBool,
    /// Set during a pause and when everything is to end; readable without the lock, because it is checked often.
    holds: AtomicBool,
    /// Set when everything is to end; read by a child that has been forked, but has not executed its program yet.
    ends: Arc<AtomicBool>,
    cannot_see: AtomicBool,
}

#[derive(Debug, Default)]
struct Live {
    stop: Option<Stop>,
    since: Option<Instant>,
    /// Whether children are stopped, and none is started.
    paused: bool,
    /// The leaders of sessions that are not reaped yet, so that their PIDs cannot belong to other processes. The value says whether their work runs on
    /// another machine ([`Invocation::held`]), and is paused there.
    leaders: HashMap<Pid, bool>,
    /// The threads that are starting a child. The PID of the child is not known before it has executed its program.
    starting: HashSet<Pid>,
}

impl Supervisor {
    /// Starts a process, hands each line of its output to `each` (without the newline or carriage return at its end), and
    /// returns how the process ended. Messages are in the C locale, names are printed in the user's character set.
    ///
    /// # Errors
    /// The process could not be started; the message names the program.
    pub fn run(&self, invocation: &Invocation, each: &mut dyn FnMut(Stream, &[u8])) -> Result<Ended> {
        self.run_while_alive(invocation, None, each)
    }

    /// Runs a process as [`Supervisor::run`] does, but ends it if for the time `stall` it prints nothing, and neither it nor a process of the same program
    /// below it reads or writes. If the system does not tell whether they do, the process is not ended ([`Supervisor::cannot_see`]).
    ///
    /// # Errors
    /// As [`Supervisor::run`].
    pub fn run_while_alive(
        &self,
        invocation: &Invocation,
        stall: Option<Duration>,
        each: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended> {
        self.run_reading(invocation, None, stall, &|_| {}, each)
    }

    /// Runs a process as [`Supervisor::run_while_alive`] does. If `names` is given, the process reads it in place of the invocation's input. `signs`
    /// gets the process ID at once, and is called when the process was stopped.
    ///
    /// # Errors
    /// As [`Supervisor::run`].
    pub fn run_reading(
        &self,
        invocation: &Invocation,
        names: Option<PipeReader>,
        stall: Option<Duration>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended> {
        by_line(each, |raw| self.run_raw(invocation, names, stall, signs, raw))
    }

    /// Runs a process as [`Supervisor::run_reading`] does. Its output is handed on unchanged as it comes, with `None` at the end of a stream.
    ///
    /// # Errors
    /// As [`Supervisor::run`].
    pub fn run_raw(
        &self,
        invocation: &Invocation,
        names: Option<PipeReader>,
        stall: Option<Duration>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> Result<Ended> {
        let Some(mut child) = self.start(invocation, names, signs)? else { return Ok(Ended::NotStarted) };
        let mut idle = stall.map(|limit| Idle::new(child.get(), limit));
        let mut feed = child.get().stdin.take().map(|pipe| Feed { pipe, left: &invocation.input });
        let read = self.drain(child.get(), feed.as_mut(), idle.as_mut(), signs, each);
        drop(feed);
        let stalled = idle.is_some_and(|idle| idle.ended_it());
        let status = child.wait(stalled);
        let ended = |status| if stalled { Ended::Stalled } else { ended(status) };
        read.and(status).map(ended).map_err(|cause| {
            let message = format!("cannot follow {}", Printable::os(&invocation.program));
            let error = match cause.raw_os_error() == Some(Errno::CHILD.raw_os_error()) {
                true => Error::system(message)
                    .remedy("neither ignore SIGCHLD in this process, nor wait for all of its children"),
                false => Error::internal(message),
            };
            error.because(cause)
        })
    }

    /// Starts a process, unless [`Supervisor::stop`] was called. This may hang if its program or its working directory is on a file system that
    /// hangs: no lock is held meanwhile, and [`Supervisor::stop`] kills the process. The process is not among the live children yet. A pause is not
    /// waited for: whoever ends it may be the one who starts an agent.
    fn spawn(&self, invocation: &Invocation, names: Option<PipeReader>, bond: Bond) -> Result<Option<Child>> {
        let thread = gettid();
        {
            let mut live = self.lock();
            if live.stop.is_some() {
                return Ok(None);
            }
            live.starting.insert(thread);
        }
        let spawned = spawn(invocation, names, bond, &self.ends);
        let mut live = self.lock();
        live.starting.remove(&thread);
        if spawned.is_err() && live.stop.is_some() { Ok(None) } else { spawned.map(Some) }
    }

    /// Starts a process when there is no pause, and adds it to the live children.
    fn start(
        &self,
        invocation: &Invocation,
        names: Option<PipeReader>,
        signs: &dyn Fn(Sign),
    ) -> Result<Option<Owned<'_>>> {
        drop(self.when_it_goes_on());
        let Some(child) = self.spawn(invocation, names, Bond::Life)? else { return Ok(None) };
        let mut live = self.lock();
        if let Some(pipe) = &child.stdin {
            // Setting a flag on a new pipe cannot fail.
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        live.leaders.insert(pid(&child), invocation.held);
        signs(Sign::Started(child.id()));
        // A stop or pause that came meanwhile has not reached the child.
        if let Some(how) = live.stop {
            end_leader(pid(&child), how);
        } else if live.paused {
            live.hold();
        }
        drop(live);
        Ok(Some(Owned { supervisor: self, child: Some(child) }))
    }

    /// Starts no more children, and signals all running ones. Returns at once.
    pub fn stop(&self, how: Stop) {
        let mut live = self.lock();
        live.stop = live.stop.max(Some(how));
        live.since.get_or_insert_with(Instant::now);
        self.paused.store(false, Ordering::Relaxed);
        self.holds.store(true, Ordering::Relaxed);
        // A child that is forked from now on sees this flag. One that was forked before is found below.
        self.ends.store(true, Ordering::SeqCst);
        self.goes_on.notify_all();
        live.leaders.keys().for_each(|leader| end_leader(*leader, how));
        let guardian = guardian::pid();
        live.starting.iter().for_each(|thread| session::kill_starting(*thread, guardian));
    }

    /// Whether [`Supervisor::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.lock().stop.is_some()
    }

    /// Whether there was a child whose activity this system does not show. Such a child is never regarded as stalled.
    pub fn cannot_see(&self) -> bool {
        self.cannot_see.load(Ordering::Relaxed)
    }

    /// Notes that there is a child whose activity this system does not show.
    fn sees_nothing(&self) {
        self.cannot_see.store(true, Ordering::Relaxed);
    }

    /// Reads both streams to their end, or until [`LEAKED_PIPE`] after the end of the child. Standard error is read before standard output, so that a message
    /// written before some output is also passed on before it.
    fn drain(
        &self,
        child: &mut Child,
        mut feed: Option<&mut Feed<'_>>,
        mut idle: Option<&mut Idle>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> io::Result<()> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let mut death: Option<Death> = None;
        let mut looked = Instant::now();
        let (mut buffer, mut of_stderr) = (vec![0; LONGEST_LINE], vec![0; LONGEST_LINE]);
        let mut asked_all = false;
        let mut stuck = Stuck::default();
        let mut in_a_row = 0;
        let mut there = pause::There::default();
        while stdout.is_some() || stderr.is_some() {
            if let Some(feed) = &mut feed {
                feed.write()?;
                there.tell(feed, self.is_paused());
            }
            let unfed = feed.as_ref().filter(|feed| !feed.left.is_empty()).map(|feed| &feed.pipe);
            let waited = Instant::now();
            let patience = if death.is_some() { session::LOOK_EVERY } else { LOOK_EVERY };
            let (out_ready, err_ready) = wait_for_output(stdout.as_ref(), stderr.as_ref(), unfed, patience)?;
            if self.is_paused() || waited.elapsed() >= patience + STOOD_STILL {
                signs(Sign::Held);
            }
            in_a_row = if out_ready && waited.elapsed() < GATHER { in_a_row + 1 } else { 0 };
            if in_a_row > CHATTY {
                std::thread::sleep(GATHER);
            }
            let read = if out_ready { read_some(&mut stdout, &mut buffer)? } else { None };
            if err_ready || out_ready && stderr.as_ref().is_some_and(has_output) {
                let read = read_some(&mut stderr, &mut of_stderr)?;
                death.iter_mut().for_each(|death| death.read(Stream::Stderr, read));
                hear_some(&mut stderr, Stream::Stderr, &of_stderr, read, each);
            }
            death.iter_mut().for_each(|death| death.read(Stream::Stdout, read));
            hear_some(&mut stdout, Stream::Stdout, &buffer, read, each);
            if let Some(idle) = &mut idle {
                if self.is_paused() {
                    idle.rest();
                }
                idle.look(out_ready || err_ready);
                self.cannot_see.fetch_or(idle.is_blind(), Ordering::Relaxed);
            }
            if !asked_all && self.lock().since.is_some_and(|since| since.elapsed() >= ASK_ALL) {
                asked_all = true;
                session::signal(pid(child), Signal::TERM);
            }
            let Some(death) = &mut death else {
                if (!out_ready && !err_ready || looked.elapsed() >= LOOK_EVERY) && has_died(child) {
                    let room = |pipe: Option<&dyn AsFd>| pipe.map_or(0, pipe_size);
                    let unread =
                        [room(stdout.as_ref().map(|pipe| pipe as _)), room(stderr.as_ref().map(|pipe| pipe as _))];
                    death = Some(Death { since: Instant::now(), unread, ending: None });
                }
                if looked.elapsed() >= LOOK_EVERY {
                    looked = Instant::now();
                    if self.stopped()
                        && let Some(table) = session::table()
                    {
                        stuck.end(&session::of(pid(child), &table));
                    }
                }
                continue;
            };
            let stalled = idle.as_ref().is_some_and(|idle| idle.ended_it());
            let ends = self.ends_session(child, stalled);
            let ending = ends.then(|| death.ending.get_or_insert_with(|| Ending::new(pid(child))));
            let has_rest = ending.is_some_and(|ending| !self.end_session(ending));
            let all_read =
                (!out_ready || death.has_read(Stream::Stdout)) && (!err_ready || death.has_read(Stream::Stderr));
            if !has_rest && all_read && death.since.elapsed() >= LEAKED_PIPE {
                break;
            }
        }
        Ok(())
    }

    /// Whether the rest of the session of a dead child has to be ended: everything was asked to end, or the child was killed and the processes that it has
    /// started do not know.
    fn ends_session(&self, child: &Child, stalled: bool) -> bool {
        stalled || self.stopped() || was_killed(child)
    }

    /// Does the next step of ending it, and returns whether nothing is left of it.
    fn end_session(&self, ending: &mut Ending) -> bool {
        let firmly = self.lock().stop == Some(Stop::Kill);
        ending.step(session::table().as_deref(), firmly)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a child to end, or kills it with all processes that it has started.
fn end_leader(leader: Pid, how: Stop) {
    match how {
        Stop::Terminate => {
            // It may already have ended.
            let _ = kill_process(leader, Signal::TERM);
        }
        Stop::Kill => session::signal(leader, Signal::KILL),
    }
    // A stopped process would not see the signal.
    session::signal(leader, Signal::CONT);
}

/// Passes the output of `run` on line by line.
pub(crate) fn by_line<T>(
    each: &mut dyn FnMut(Stream, &[u8]),
    run: impl FnOnce(&mut dyn FnMut(Stream, Option<&[u8]>)) -> T,
) -> T {
    let mut lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
    let ran = run(&mut |stream, bytes| match bytes {
        Some(bytes) => lines[stream as usize].feed(bytes, each),
        None => lines[stream as usize].finish(each),
    });
    lines.iter_mut().for_each(|lines| lines.finish(each));
    ran
}

/// A child that is not reaped yet. Dropping this value ends it, also during a panic.
struct Owned<'a> {
    supervisor: &'a Supervisor,
    child: Option<Child>,
}

impl Owned<'_> {
    fn get(&mut self) -> &mut Child {
        self.child.as_mut().expect("a child is there until it was waited for")
    }

    /// Waits for the end of the child, and for the end of its session if that has to end.
    fn wait(&mut self, stalled: bool) -> io::Result<ExitStatus> {
        let Owned { supervisor, child } = self;
        let mut child = child.take().expect("a child is waited for once");
        // Wait without reaping, remove the PID from all tables, then reap: so nobody signals a PID that may belong to another process.
        let exited = wait_until_dead(&child);
        if exited.is_ok() && supervisor.ends_session(&child, stalled) {
            let mut ending = Ending::new(pid(&child));
            while !supervisor.end_session(&mut ending) {
                std::thread::sleep(session::LOOK_EVERY);
            }
        }
        supervisor.lock().leaders.remove(&pid(&child));
        guardian::forget(pid(&child));
        exited.and_then(|()| child.wait())
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            session::signal(pid(child), Signal::KILL);
            // Its exit status does not matter any more.
            let _ = self.wait(true);
        }
    }
}

/// State of a child that has died while a process still holds its pipes.
struct Death {
    since: Instant,
    /// For each stream, how many more bytes may come from the child itself: a pipe holds no more. Later bytes come from processes that it left behind, and
    /// may never end.
    unread: [usize; 2],
    ending: Option<Ending>,
}

impl Death {
    fn read(&mut self, stream: Stream, count: Option<usize>) {
        let unread = &mut self.unread[stream as usize];
        *unread = unread.saturating_sub(count.unwrap_or(0));
    }

    fn has_read(&self, stream: Stream) -> bool {
        self.unread[stream as usize] == 0
    }
}

#[cfg(test)]
mod tests;
