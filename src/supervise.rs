//! Starts processes and owns their end; nothing else in the library does.
//!
//! One thread owns one child: [`Supervisor::run`] starts it, reads both its streams line by line, and returns when it is reaped. A
//! child leads its own session, so that the terminal's signals do not reach it before [`Supervisor::stop`] does and ssh cannot wait
//! for a password at a terminal that many share; it gets SIGTERM when the thread that owns it dies, also by SIGKILL of the whole
//! process (prctl(2), PR_SET_PDEATHSIG), so that no rsync lives on. Its memory for output is one line. Only a child that may ask
//! ([`Invocation::asks`]) stays at the terminal.
//!
//! A child may be a script that starts rsync and waits for it. Who is asked to end, is killed, or does not move any more, is waited for
//! with its whole session. What it left behind when it ended by itself is left alone, as by whoever starts one rsync. A program may have a
//! [`Guardian`], which does the same when the program itself is killed, and stops and continues the children with it.

mod environment;
mod guardian;
mod idle;
mod session;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, waitid};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
pub use guardian::Guardian;
use idle::Idle;
use session::{Ending, Stuck};

/// Longer lines are handed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// How often a silent child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A child that prints line after line is not read line by line: each would wake us (18 % of the processor time of a copy of 20,000 empty files).
const CHATTY: u32 = 32;
/// Lines of so long are read together.
const GATHER: Duration = Duration::from_millis(2);
/// After this long a child that was asked to end has its own children asked too.
const ASK_ALL: Duration = Duration::from_secs(2);
/// How long output is waited for after the child has ended: a process it left behind (an ssh master) may hold the pipe for ever.
const LEAKED_PIPE: Duration = Duration::from_secs(1);

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
    /// It gave no sign of life for too long, and was ended.
    Stalled,
    /// It was not started, because [`Supervisor::stop`] came first.
    NotStarted,
}

impl Ended {
    /// The exit code it counts as: an rsync killed by a signal has not transferred everything, whatever it printed.
    pub fn code(self) -> u8 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(_) => exit::TERMINATED,
            Ended::Stalled => exit::TIMEOUT,
            Ended::NotStarted => exit::INTERRUPTED,
        }
    }
}

/// How firmly children are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// SIGTERM to the process itself: rsync ends its own processes in an order in which temporary files are removed. When all of them
    /// get a signal at once, one was seen to be left (rsync 3.5.0). The others get it after two seconds.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// The live children, and whether new ones may start.
#[derive(Debug, Default)]
pub struct Supervisor {
    live: Mutex<Live>,
    cannot_see: AtomicBool,
}

#[derive(Debug, Default)]
struct Live {
    stop: Option<Stop>,
    since: Option<Instant>,
    /// Leaders of sessions, not reaped yet: a number here cannot belong to another process.
    leaders: HashSet<Pid>,
}

impl Supervisor {
    /// Starts a process, hands each line of its output to `each` (without its end, which is a newline or a carriage return), and
    /// returns how it ended. The language of messages is C, names are printed in the user's character set.
    ///
    /// # Errors
    /// It could not be started; the message names the program.
    pub fn run(&self, invocation: &Invocation, each: &mut dyn FnMut(Stream, &[u8])) -> Result<Ended> {
        self.run_while_alive(invocation, None, each)
    }

    /// The same, and ends a process that for so long prints nothing, while none of its kind below it reads or writes. Where the system does not
    /// tell whether they do, it is not ended ([`Supervisor::cannot_see`]).
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

    /// The same; if there are `names`, the process reads them in place of the invocation's input. `started` hears its number at once.
    ///
    /// # Errors
    /// As [`Supervisor::run`].
    pub fn run_reading(
        &self,
        invocation: &Invocation,
        names: Option<PipeReader>,
        stall: Option<Duration>,
        started: &dyn Fn(u32),
        each: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended> {
        let mut lines = [Lines::new(Stream::Stdout), Lines::new(Stream::Stderr)];
        let ended = self.run_raw(invocation, names, stall, started, &mut |stream, bytes| match bytes {
            Some(bytes) => lines[stream as usize].feed(bytes, each),
            None => lines[stream as usize].finish(each),
        });
        lines.iter_mut().for_each(|lines| lines.finish(each));
        ended
    }

    /// The same; what it prints is handed on as it comes, and `None` at the end of a stream.
    ///
    /// # Errors
    /// As [`Supervisor::run`].
    pub fn run_raw(
        &self,
        invocation: &Invocation,
        names: Option<PipeReader>,
        stall: Option<Duration>,
        started: &dyn Fn(u32),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> Result<Ended> {
        let mut child = {
            let mut live = self.lock();
            if live.stop.is_some() {
                return Ok(Ended::NotStarted);
            }
            let child = spawn(invocation, names)?;
            if let Some(pipe) = &child.stdin {
                // A pipe that was just made takes every flag.
                let _ = rustix::io::ioctl_fionbio(pipe, true);
            }
            live.leaders.insert(pid(&child));
            started(child.id());
            Owned { supervisor: self, child: Some(child) }
        };
        let mut idle = stall.map(|limit| Idle::new(child.get(), limit));
        let mut feed = child.get().stdin.take().map(|pipe| Feed { pipe, left: &invocation.input });
        let read = self.drain(child.get(), feed.as_mut(), idle.as_mut(), each);
        drop(feed);
        let stalled = idle.is_some_and(|idle| idle.ended_it());
        let status = child.wait(stalled);
        let ended = |status| if stalled { Ended::Stalled } else { ended(status) };
        read.and(status).map(ended).map_err(|cause| {
            Error::usage(format!("cannot follow {}", Printable::os(&invocation.program)))
                .because(cause)
                .exit(exit::TERMINATED)
        })
    }

    /// Starts no more children and signals all that live. Returns at once.
    pub fn stop(&self, how: Stop) {
        let mut live = self.lock();
        live.stop = live.stop.max(Some(how));
        live.since.get_or_insert_with(Instant::now);
        for leader in &live.leaders {
            // It may have ended meanwhile.
            let _ = match how {
                Stop::Terminate => kill_process(*leader, Signal::TERM),
                Stop::Kill => {
                    session::signal(*leader, Signal::KILL);
                    Ok(())
                }
            };
            // It may have been stopped.
            session::signal(*leader, Signal::CONT);
        }
    }

    /// Whether [`Supervisor::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.lock().stop.is_some()
    }

    /// Whether there was a child of which this system does not tell if it does something: it is never taken for stalled.
    pub fn cannot_see(&self) -> bool {
        self.cannot_see.load(Ordering::Relaxed)
    }

    /// Reads both streams to their end, or until [`LEAKED_PIPE`] after the child's. What was written to standard error first is heard first.
    fn drain(
        &self,
        child: &mut Child,
        mut feed: Option<&mut Feed<'_>>,
        mut idle: Option<&mut Idle>,
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> io::Result<()> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let mut death: Option<Death> = None;
        let mut looked = Instant::now();
        let (mut buffer, mut of_stderr) = (vec![0; LONGEST_LINE], vec![0; LONGEST_LINE]);
        let mut asked_all = false;
        let mut stuck = Stuck::default();
        let mut in_a_row = 0;
        while stdout.is_some() || stderr.is_some() {
            if let Some(feed) = &mut feed {
                feed.write()?;
            }
            let unfed = feed.as_ref().filter(|feed| !feed.left.is_empty()).map(|feed| &feed.pipe);
            let waited = Instant::now();
            let patience = if death.is_some() { session::LOOK_EVERY } else { LOOK_EVERY };
            let (out_ready, err_ready) = wait_for_output(stdout.as_ref(), stderr.as_ref(), unfed, patience)?;
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

    /// What is left of the session of a child that has died has to end: it was asked to, or it was killed and its own children do not know.
    fn ends_session(&self, child: &Child, stalled: bool) -> bool {
        stalled || self.stopped() || was_killed(child)
    }

    /// Does what is due to end it, and says whether nothing is left of it.
    fn end_session(&self, ending: &mut Ending) -> bool {
        let firmly = self.lock().stop == Some(Stop::Kill);
        ending.step(session::table().as_deref(), firmly)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child that is not reaped yet. It ends with its owner, also when that panics.
struct Owned<'a> {
    supervisor: &'a Supervisor,
    child: Option<Child>,
}

impl Owned<'_> {
    fn get(&mut self) -> &mut Child {
        self.child.as_mut().expect("a child is there until it was waited for")
    }

    /// Waits for its end, and for that of its session if it has to end.
    fn wait(&mut self, stalled: bool) -> io::Result<ExitStatus> {
        let Owned { supervisor, child } = self;
        let mut child = child.take().expect("a child is waited for once");
        // Wait without reaping, forget the number, reap: nobody signals a number that is free again.
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
            // How it ended is not asked any more.
            let _ = self.wait(true);
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code as u8),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// What is to be done when a child has died and somebody still holds its pipes.
struct Death {
    since: Instant,
    /// For each stream, bytes that may be the child's own: a pipe holds no more. What comes after them is of those it left behind, and may
    /// never come to an end.
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

#[expect(unsafe_code, reason = "a child can only be tied to its parent's life between fork and exec")]
#[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
fn spawn(invocation: &Invocation, names: Option<PipeReader>) -> Result<Child> {
    let input = match names {
        Some(names) => Ok(names.into()),
        None if invocation.held => Ok(Stdio::piped()),
        None => input(&invocation.input),
    };
    let input =
        input.map_err(|cause| Error::usage("cannot hold the input of a process").because(cause).exit(exit::IPC))?;
    let parent = rustix::process::getpid();
    let mut command = Command::new(&invocation.program);
    command
        .args(&invocation.arguments)
        .current_dir(&invocation.cwd)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    environment::set(&mut command, &invocation.cwd);
    let wire = guardian::wire();
    let is_guarded = wire.is_some();
    let asks = invocation.asks;
    // SAFETY: the closure makes system calls and touches no memory of the parent: it is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if !asks {
                rustix::process::setsid()?;
            }
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            wire.iter().for_each(guardian::Wire::tell_of_this);
            Ok(())
        });
    }
    command.spawn().map_err(|cause| {
        if is_guarded {
            guardian::none_started();
        }
        not_started(invocation, cause)
    })
}

fn not_started(invocation: &Invocation, cause: io::Error) -> Error {
    if let Err(errno) = rustix::fs::access(&invocation.cwd, rustix::fs::Access::EXEC_OK) {
        return Error::io("enter", &invocation.cwd, errno)
            .remedy("what is in it was not copied: run it again when it is there")
            .exit(exit::PARTIAL);
    }
    let error = Error::usage(format!("cannot start {}", Printable::os(&invocation.program)));
    match cause.kind() {
        io::ErrorKind::NotFound => error.remedy("install rsync, or put its folder into PATH"),
        io::ErrorKind::PermissionDenied => error.remedy("put the folder of an rsync that may be run first in PATH"),
        _ if cause.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            error.remedy("allow more open files (`ulimit -n`), or start fewer processes").exit(exit::IPC)
        }
        io::ErrorKind::WouldBlock => error.remedy("allow more processes (`ulimit -u`), or start fewer").exit(exit::IPC),
        _ => error.exit(exit::IPC),
    }
    .because(cause)
}

/// In memory and not a pipe: nobody has to write it while the child runs.
fn input(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let memory = rustix::fs::memfd_create(c"multi-sync-input", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

fn wait_until_dead(child: &Child) -> io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid(child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn death(child: &Child) -> Option<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::Pid(pid(child)), options).ok().flatten()
}

fn has_died(child: &Child) -> bool {
    death(child).is_some()
}

/// By a signal, and nobody has ended its own children.
fn was_killed(child: &Child) -> bool {
    death(child).is_some_and(|status| status.killed() || status.dumped())
}

/// How much a pipe holds.
fn pipe_size(pipe: &dyn AsFd) -> usize {
    rustix::pipe::fcntl_getpipe_size(pipe.as_fd()).unwrap_or(1 << 20)
}

fn wait_for_output(
    stdout: Option<&impl AsFd>,
    stderr: Option<&impl AsFd>,
    unfed: Option<&impl AsFd>,
    patience: Duration,
) -> io::Result<(bool, bool)> {
    let mut watched = Vec::with_capacity(3);
    watched.extend(stdout.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    watched.extend(stderr.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    watched.extend(unfed.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.as_nanos() as _ };
    match poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready = |n: usize| watched.get(n).is_some_and(|fd| !fd.revents().is_empty());
    Ok(match (stdout.is_some(), stderr.is_some()) {
        (true, true) => (ready(0), ready(1)),
        (true, false) => (ready(0), false),
        (false, _) => (false, ready(0)),
    })
}

fn has_output(pipe: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&now)), Ok(1))
}

/// How many bytes there were: none at the end.
fn read_some<P: Read>(pipe: &mut Option<P>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(pipe) = pipe else { return Ok(None) };
    match pipe.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn hear_some<P>(
    pipe: &mut Option<P>,
    stream: Stream,
    buffer: &[u8],
    read: Option<usize>,
    each: &mut dyn FnMut(Stream, Option<&[u8]>),
) {
    match read {
        Some(0) => {
            pipe.take();
            each(stream, None);
        }
        Some(length) => each(stream, Some(&buffer[..length])),
        None => {}
    }
}

/// What a child reads from a pipe that stays open until it has ended.
struct Feed<'a> {
    pipe: ChildStdin,
    left: &'a [u8],
}

impl Feed<'_> {
    /// As much as the pipe takes now.
    fn write(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            match rustix::io::write(&self.pipe, self.left) {
                Ok(count) => self.left = &self.left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // It reads no more: how it ended says why.
                Err(Errno::PIPE) => self.left = &[],
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Lines { stream, begun: Vec::new() }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Stream, &[u8])) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.begun.is_empty() {
                each(self.stream, &bytes[..end]);
            } else {
                self.begun.extend_from_slice(&bytes[..end]);
                each(self.stream, &self.begun);
                self.begun.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() >= LONGEST_LINE {
            each(self.stream, &self.begun);
            self.begun.clear();
        }
    }

    /// What has no end of its own.
    pub(crate) fn finish(&mut self, each: &mut dyn FnMut(Stream, &[u8])) {
        if !self.begun.is_empty() {
            each(self.stream, &self.begun);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Invocation {
        Invocation::new("sh", vec!["-c".into(), script.into()], "/")
    }

    fn run(script: &str) -> (Ended, Vec<String>) {
        let mut lines = Vec::new();
        let ended = Supervisor::default()
            .run(&sh(script), &mut |stream, line| lines.push(format!("{stream:?} {}", String::from_utf8_lossy(line))))
            .unwrap();
        (ended, lines)
    }

    #[test]
    fn codes_signals_and_lines_come_back() {
        assert_eq!(run("exit 23").0, Ended::Code(23));
        assert_eq!(run("kill -9 $$").0, Ended::Signal(9));
        let (_, lines) = run(r"printf 'a\rb\n\nlast'; printf 'error\n' >&2");
        let of = |name: &str| lines.iter().filter(|l| l.starts_with(name)).cloned().collect::<Vec<_>>();
        assert_eq!(of("Stdout"), ["Stdout a", "Stdout b", "Stdout ", "Stdout last"]);
        assert_eq!(of("Stderr"), ["Stderr error"]);
    }

    #[test]
    fn input_is_read_to_its_end() {
        let invocation = Invocation { input: b"a\nb\n".to_vec(), ..sh("cat; cat") };
        let mut lines = Vec::new();
        Supervisor::default().run(&invocation, &mut |_, line| lines.push(line.to_vec())).unwrap();
        assert_eq!(lines, [b"a", b"b"]);
    }

    #[test]
    fn input_that_is_held_open_is_written_whole_and_ends_with_the_child() {
        let text = vec![b'x'; 1 << 20];
        let script = "head -c 1048576 | wc -c; read more && echo more; echo end";
        let mut invocation = sh("head -c 1048576 | wc -c; echo end");
        (invocation.held, invocation.input) = (true, text);
        let mut lines = Vec::new();
        Supervisor::default().run(&invocation, &mut |_, line| lines.push(line.to_vec())).unwrap();
        assert_eq!(lines, [&b"1048576"[..], b"end"]);
        // A reader waits as long as nobody ends it.
        invocation.arguments[1] = script.into();
        let stall = Some(Duration::from_secs(2));
        let ended = Supervisor::default().run_while_alive(&invocation, stall, &mut |_, line| assert_ne!(line, b"end"));
        assert_eq!(ended.unwrap(), Ended::Stalled);
    }

    #[test]
    fn names_are_waited_for() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                writer.write_all(b"a\nb\n").unwrap();
            });
            let mut lines = Vec::new();
            let mut each = |_, line: &[u8]| lines.push(line.to_vec());
            let ended = Supervisor::default().run_reading(&sh("cat"), Some(reader), None, &|_| {}, &mut each);
            assert_eq!((ended.unwrap(), lines), (Ended::Code(0), vec![b"a".to_vec(), b"b".to_vec()]));
        });
    }

    #[test]
    fn much_output_on_both_streams_does_not_block() {
        let (ended, lines) = run("yes 12345678 | head -n 100000 & yes 12345678 | head -n 100000 >&2; wait");
        assert_eq!((ended, lines.len()), (Ended::Code(0), 200_000));
    }

    #[test]
    fn errors_are_heard_before_what_was_printed_after_them() {
        let (_, lines) = run("for n in $(seq 2000); do echo e$n >&2; echo o$n; done");
        let place = |line: String| lines.iter().position(|heard| *heard == line).unwrap();
        for n in 1..=2000 {
            assert!(place(format!("Stderr e{n}")) < place(format!("Stdout o{n}")), "{n}");
        }
    }

    #[test]
    fn a_process_left_behind_with_the_pipe_does_not_hang_us() {
        let began = Instant::now();
        assert_eq!(run("sleep 60 & echo $!").0, Ended::Code(0));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn stop_ends_children_and_starts_no_more() {
        let supervisor = Supervisor::default();
        std::thread::scope(|scope| {
            let child = scope.spawn(|| {
                supervisor.run(&sh("echo up; sleep 60; sleep 60"), &mut |_, line| {
                    assert_eq!(line, b"up");
                    supervisor.stop(Stop::Terminate);
                })
            });
            assert_eq!(child.join().unwrap().unwrap(), Ended::Signal(15));
        });
        assert_eq!(supervisor.run(&sh("true"), &mut |_, _| {}).unwrap(), Ended::NotStarted);
    }

    #[test]
    fn a_panic_ends_what_was_started() {
        let supervisor = Supervisor::default();
        let mut pid = None;
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            supervisor.run(&sh("sleep 100 & echo $!; wait"), &mut |_, line| {
                pid = std::str::from_utf8(line).unwrap().parse().ok().and_then(Pid::from_raw);
                panic!("on purpose")
            })
        }));
        assert!(ran.is_err() && supervisor.lock().leaders.is_empty());
        let table = session::table().unwrap();
        assert!(!table.iter().any(|process| Some(process.pid) == pid), "{pid:?}");
    }

    #[test]
    fn what_was_printed_before_the_end_is_heard_whatever_others_print() {
        let began = Instant::now();
        let (ended, lines) =
            run("(while echo x; do :; done) & head -c 3000000 /dev/zero | tr '\\0' '\\n' >&2; echo last");
        assert_eq!(ended, Ended::Code(0));
        assert!(lines.contains(&"Stdout last".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let invocation = Invocation::new("no-such-rsync", vec![], "/");
        let error = Supervisor::default().run(&invocation, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("no-such-rsync"), "{error}");
        assert_eq!(error.exit_code(), exit::USAGE);
    }
}
