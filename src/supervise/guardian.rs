//! A small process that outlives this one by moments: it ends the launches if this process is killed, and stops and continues them together with it.
//!
//! The system ends a child by itself when its parent dies (prctl(2), PR_SET_PDEATHSIG), but not the children of that child, and not a program with
//! capabilities (execve(2) clears the signal). And a launch does not receive `^Z`, because it leads a session of its own.
//!
//! Each launch reports itself to the guardian before it executes its program, and is removed from the guardian's list before its PID can belong to another
//! process. So the guardian never signals an unrelated process. It has no terminal, does not affect what its parent does, and keeps no file open except those
//! that it is given to hold ([`hold`]): the lock of a run stays taken until the last rsync of the run has ended, because otherwise a resumed run would work
//! at the same time.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, waitpid};

use super::child::Bond;
use super::session::{self, Ending, Stat};

/// How often the guardian checks whether its parent was stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A guardian that does not receive a message within this time is regarded as dead.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The connection to the guardian of this process, if it has one.
static WIRE: Mutex<Option<Wire>> = Mutex::new(None);

#[derive(Clone)]
pub(super) struct Wire(Arc<OwnedFd>, Pid);

/// A message: a kind and a number, or [`FOLDER`] and a path.
type Message = [u8; 5];

fn message(kind: u8, leader: Option<Pid>) -> Message {
    numbered(kind, Pid::as_raw(leader))
}

fn numbered(kind: u8, number: i32) -> Message {
    let [a, b, c, d] = number.to_ne_bytes();
    [kind, a, b, c, d]
}

const STARTED: u8 = b'+';
/// Like `STARTED`, for a launch that ends with its input ([`Bond::Input`]).
const STARTED_PATIENT: u8 = b'~';
const ENDED: u8 = b'-';
/// A launch was reported, but did not execute its program.
const NONE_STARTED: u8 = b'?';
/// A file to hold is attached.
const HOLD: u8 = b'[';
const LET_GO: u8 = b']';
/// A directory for sockets.
const FOLDER: u8 = b'/';
/// The path of a socket is always shorter than this (unix(7)).
const LONGEST: usize = 128;

impl Wire {
    /// Reports this process. Called by the child itself between fork and exec, so it is one system call, and nothing else.
    pub fn tell_of_this(&self, bond: Bond) {
        let kind = if bond == Bond::Input { STARTED_PATIENT } else { STARTED };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = rustix::net::send(&*self.0, &message(kind, Some(getpid())), flags);
    }

    fn tell(&self, message: &[u8]) -> bool {
        let began = Instant::now();
        while began.elapsed() < LONGEST_WAIT {
            match rustix::net::send(&*self.0, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return true,
                Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return false,
            }
        }
        false
    }
}

fn lock() -> MutexGuard<'static, Option<Wire>> {
    WIRE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection to the guardian, for a child that is about to be started.
pub(super) fn wire() -> Option<Wire> {
    lock().clone()
}

/// The process of the guardian, if there is one.
pub(super) fn pid() -> Option<Pid> {
    lock().as_ref().map(|wire| wire.1)
}

/// Reports that the launch of this leader is over. This is called before its PID is free again.
pub(super) fn forget(leader: Pid) {
    tell(&message(ENDED, Some(leader)));
}

/// Reports that a child was forked, but is already gone.
pub(super) fn none_started() {
    tell(&message(NONE_STARTED, None));
}

/// Has the guardian remove a directory that contains only sockets of launches when these are gone, also if this process is killed.
pub(crate) fn leave_no_folder(path: &Path) {
    let path = path.as_os_str().as_bytes();
    if path.len() < LONGEST {
        tell(&[&[FOLDER], path].concat());
    }
}

fn tell(message: &[u8]) {
    let mut wire = lock();
    if wire.as_ref().is_some_and(|wire| !wire.tell(message)) {
        // A guardian that does not know which launches are over might later end an unrelated process, so it is killed.
        let _ = wire.take().map(|wire| kill_process(wire.1, Signal::KILL));
    }
}

/// A file that the guardian holds open until this value is dropped, or after the death of this process until all its launches have ended.
#[derive(Debug)]
pub(crate) struct Held(i32);

/// Gives the guardian a file to hold. Does nothing if there is no guardian.
pub(crate) fn hold(file: &impl AsFd) -> Option<Held> {
    static NUMBER: AtomicI32 = AtomicI32::new(0);
    let wire = wire()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let words = numbered(HOLD, number);
    sendmsg(&*wire.0, &[IoSlice::new(&words)], &mut control, SendFlags::NOSIGNAL).ok()?;
    Some(Held(number))
}

impl Drop for Held {
    fn drop(&mut self) {
        tell(&numbered(LET_GO, self.0));
    }
}

/// A small process that looks after all launches of this process (`supervise`). However this process ends, also by SIGKILL, the whole session of each launch
/// is asked to end, and killed after five seconds. While this process is stopped (`^Z`), the launches are stopped too.
///
/// It is a fork of this process, which must have only one thread: call it at the beginning of `main`. If it cannot be started, the system's own means remain:
/// a launch itself gets SIGTERM when this process dies, unless it is a program with capabilities.
#[derive(Debug)]
#[must_use = "it ends when this goes"]
pub struct Guardian(Option<Pid>);

impl Guardian {
    /// Starts the guardian. There is at most one: a second call starts none.
    pub fn start() -> Guardian {
        Guardian(if lock().is_some() || !is_single_threaded() { None } else { fork() })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let Some(pid) = self.0 else { return };
        let wire = lock().take();
        // Shut down rather than closed, because others may hold the connection too.
        let _ = wire.map(|wire| rustix::net::shutdown(&*wire.0, Shutdown::Both));
        while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[expect(
    unsafe_code,
    reason = "a process that shares nothing with this one and needs no program file is had by fork only"
)]
fn fork() -> Option<Pid> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, its) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    let parent = getpid();
    // SAFETY: there is only one thread, so that no lock is held in the child, and the child never returns from here.
    match unsafe { libc::fork() } {
        0 => {
            drop(ours);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                become_nobody(&its);
                watch(parent, &its);
            }));
            // SAFETY: there is nothing left to do before it ends.
            unsafe { libc::_exit(0) }
        }
        -1 => None,
        pid => {
            let pid = Pid::from_raw(pid)?;
            *lock() = Some(Wire(Arc::new(ours), pid));
            Some(pid)
        }
    }
}

/// Detaches from everything that belongs to the parent: its terminal, its working directory, its files, its signals.
#[expect(unsafe_code, reason = "files of the parent are closed by number")]
fn become_nobody(wire: &OwnedFd) {
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"ms-guardian");
    for signal in
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE, libc::SIGUSR1, libc::SIGUSR2]
    {
        // SAFETY: ignoring a signal needs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd != wire.as_raw_fd()) {
        // SAFETY: no file of the parent is used here any more. The one that was used for listing them is already closed.
        unsafe { libc::close(fd) };
    }
    // Occupies the numbers 0 to 2, so that no file that is opened later is taken for standard error.
    for _ in 0..3 {
        let _ = std::fs::File::options().read(true).write(true).open("/dev/null").map(std::mem::forget);
    }
}

/// The leaders, with the times when they were started, and whether they end with their input. Then the directories to remove.
#[derive(Default)]
struct Launches(HashMap<Pid, (u64, bool)>, Vec<PathBuf>);

impl Launches {
    fn hear(&mut self, message: &[u8]) {
        if let [FOLDER, path @ ..] = message {
            self.1.push(PathBuf::from(OsStr::from_bytes(path)));
        }
        let Ok([kind, a, b, c, d]) = Message::try_from(message) else { return };
        let leader = Pid::from_raw(i32::from_ne_bytes([a, b, c, d]));
        match (kind, leader) {
            (STARTED | STARTED_PATIENT, Some(leader)) => {
                self.0.extend(Stat::of(leader).map(|stat| (leader, (stat.started, kind == STARTED_PATIENT))));
            }
            (ENDED, Some(leader)) => {
                self.0.remove(&leader);
            }
            (NONE_STARTED, _) => {
                self.0.retain(|leader, (started, _)| Stat::of(*leader).is_some_and(|s| s.started == *started))
            }
            _ => {}
        }
    }

    fn signal(&self, table: &[Stat], signal: Signal, whom: impl Fn(&Stat) -> bool) {
        for leader in self.0.keys() {
            session::of(*leader, table).into_iter().filter(|process| whom(process)).for_each(|process| {
                let _ = kill_process(process.pid, signal);
            });
        }
    }

    /// Ends all launches.
    fn end(mut self) {
        // Init may already have reaped a leader, and its PID may have been reused if nothing of its session was left.
        self.0.retain(|leader, (started, _)| Stat::of(*leader).is_none_or(|stat| stat.started == *started));
        let ending =
            |(leader, (_, patient))| if patient { Ending::of_patient(leader) } else { Ending::of_orphan(leader) };
        let mut endings: Vec<Ending> = std::mem::take(&mut self.0).into_iter().map(ending).collect();
        while !endings.is_empty() {
            let table = session::table();
            endings.retain_mut(|ending| !ending.step(table.as_deref(), false));
            if !endings.is_empty() {
                std::thread::sleep(session::LOOK_EVERY);
            }
        }
        self.1.iter().for_each(|folder| remove(folder));
    }
}

/// The next message, and the file that was attached; `None` if the parent is gone.
fn receive(wire: &impl AsFd) -> rustix::io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut message = [0; LONGEST + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let heard = recvmsg(wire, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let file = control.drain().find_map(|came| match came {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok((heard.bytes > 0).then(|| (message[..heard.bytes.min(LONGEST + 1)].to_vec(), file)))
}

/// Removes a directory that the parent has not removed, with the sockets in it.
fn remove(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

/// Follows the parent until it has died, and then ends its launches.
fn watch(parent: Pid, wire: &impl AsFd) {
    let mut launches = Launches::default();
    let mut held = HashMap::new();
    let (mut looked, mut stopped) = (Instant::now(), false);
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.as_nanos() as _ };
    loop {
        let ready = poll(&mut [PollFd::new(wire, PollFlags::IN)], Some(&timeout));
        if ready.is_ok_and(|count| count > 0) {
            match receive(wire) {
                Ok(None) => break,
                Ok(Some((message, file))) => match &message[..] {
                    [HOLD, number @ ..] => held.extend(file.map(|file| (number.to_vec(), file))),
                    [LET_GO, number @ ..] => drop(held.remove(number)),
                    message => launches.hear(message),
                },
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => break,
            }
        }
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        if getppid() != Some(parent) {
            break;
        }
        let stops = Stat::of(parent).is_some_and(|stat| stat.is_stopped());
        if (stops || stopped)
            && let Some(table) = session::table()
        {
            if stops {
                launches.signal(&table, Signal::STOP, |process| !process.is_stopped());
            } else {
                launches.signal(&table, Signal::CONT, |_| true);
            }
        }
        stopped = stops;
    }
    launches.end();
    drop(held);
}
