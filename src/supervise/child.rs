//! How a child is started, and how it ended.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeReader, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::entry::Printable;
use crate::error::{EXIT_PARTIAL, Error, Result};

use super::Invocation;
use super::{Ended, environment, guardian, signals};

pub(super) fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

pub(super) fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code as u8),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// How a child ends when this process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// By a signal when the thread that has started it dies.
    Life,
    /// When its standard input, a pipe, ends. A signal would do harm, and is the last resort.
    Input,
}

/// Starts a process. If `ends` is set when the child is forked, the program is not executed, and this is an error.
#[expect(unsafe_code, reason = "a child can only be tied to its parent's life between fork and exec")]
#[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
pub(super) fn spawn(
    invocation: &Invocation,
    names: Option<PipeReader>,
    bond: Bond,
    ends: &Arc<AtomicBool>,
) -> Result<Child> {
    let input = match names {
        Some(names) => Ok(names.into()),
        None if invocation.held || bond == Bond::Input => Ok(Stdio::piped()),
        None => input(&invocation.input),
    };
    let input = input.map_err(|cause| Error::system("cannot hold the input of a process").because(cause))?;
    let parent = rustix::process::getpid();
    let mut command = Command::new(&invocation.program);
    command.args(&invocation.arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    environment::set(&mut command, &invocation.cwd);
    command.envs(invocation.environment.iter().map(|(name, value)| (name, value)));
    let wire = guardian::wire();
    let is_guarded = wire.is_some();
    let asks = invocation.asks;
    let ends = Arc::clone(ends);
    let cwd = CString::new(invocation.cwd.as_os_str().as_bytes())
        .map_err(|cause| Error::usage("a directory has a name with a zero byte").because(cause))?;
    // SAFETY: the closure makes system calls and touches no memory of the parent: it is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if !asks {
                rustix::process::setsid()?;
            }
            if bond == Bond::Life {
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            }
            // The parent may have died before the call above.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            wire.iter().for_each(|wire| wire.tell_of_this(bond));
            // The supervisor does not know this process yet, and from here on it may hang.
            if ends.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::CANCELED.raw_os_error()));
            }
            rustix::process::chdir(&*cwd)?;
            signals::restore_in_child();
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
            .remedy("run it again when this directory is back: what is in it was not copied")
            .exit(EXIT_PARTIAL);
    }
    let text = format!("cannot start {}", Printable::os(&invocation.program));
    match cause.kind() {
        io::ErrorKind::NotFound => Error::usage(text).remedy("install rsync, or put its folder into PATH"),
        io::ErrorKind::PermissionDenied => {
            Error::usage(text).remedy("put the folder of an rsync that you may execute first in PATH")
        }
        _ if cause.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            Error::system(text).remedy("allow more open files (`ulimit -n`), or start fewer processes")
        }
        io::ErrorKind::WouldBlock => Error::system(text).remedy("allow more processes (`ulimit -u`), or start fewer"),
        _ => Error::system(text),
    }
    .because(cause)
}

/// The input is in memory rather than in a pipe, so that nobody has to write it while the child runs.
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

pub(super) fn wait_until_dead(child: &Child) -> io::Result<()> {
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

pub(super) fn has_died(child: &Child) -> bool {
    death(child).is_some()
}

/// Whether a signal has ended it, so that it could not end its own children.
pub(super) fn was_killed(child: &Child) -> bool {
    death(child).is_some_and(|status| status.killed() || status.dumped())
}
