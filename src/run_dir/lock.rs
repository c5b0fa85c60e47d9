//! The lock of a run: only one process at a time works on it.
//!
//! What counts is `flock(2)` on the open file: the kernel releases it however the process ends, and it holds across containers and, over NFS, across machines.
//! The text in the file is only for users. The file is never removed without the whole run directory, because another process may have it open. The guardian of
//! the holder also has it open (`supervise::hold`). Therefore, after a run was killed, it becomes free when the last rsync of the run has ended, and not
//! before.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::supervise::{self, Held};

use super::layout::LOCK;

/// A process that asks about the state of a run holds the lock for a moment, at most this long.
const GLANCE: Duration = Duration::from_millis(200);
/// After a kill, the lock is held until the rsyncs of the run have ended, which takes at most 16 seconds.
const ENDING: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a run directory, held until this value is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    _held: Option<Held>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while the guardian, or a child that is just being started, still has it open.
        let _ = self.file.unlock();
    }
}

/// What the holder of the lock writes into the file.
#[derive(Serialize, Deserialize)]
struct Holder {
    host: String,
    pid: u32,
    /// When the process was started. Before version 2, holders wrote this, and did not lock the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// The process, as it is identified on its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
}

impl Holder {
    fn read(words: &[u8]) -> Option<Holder> {
        serde_json::from_slice(words).ok()
    }

    fn is_gone(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_gone)
    }
}

impl Lock {
    /// Takes the lock of a run directory. After a run was killed, waits until its rsyncs have ended.
    ///
    /// # Errors
    /// Another process holds the lock (the message names it, as far as known), or the file system cannot lock.
    pub fn take(dir: &Path) -> Result<Lock> {
        let path = dir.join(LOCK);
        let fail = |cause: io::Error| Error::io("lock", &path, cause);
        let fail = |cause: io::Error| if cause.kind() == io::ErrorKind::NotFound { ended(dir) } else { fail(cause) };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let waited = began.elapsed();
                    let words = if waited < GLANCE { None } else { Some(fs::read(&path).unwrap_or_default()) };
                    // The text of the holder may be lost after a crash, or not be written yet.
                    let is_ending = |words: &Vec<u8>| Holder::read(words).is_none_or(|holder| holder.is_gone());
                    if words.is_some() && !(waited < ENDING && words.as_ref().is_some_and(is_ending)) {
                        return Err(busy(dir, words));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::Error(cause)) => return Err(cannot(&path, cause)),
            }
        }
        // Since the file was opened, the run may have ended, and its directory may be gone.
        let same = |there: fs::Metadata, held: fs::Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        if !same(fs::metadata(&path).map_err(fail)?, file.metadata().map_err(fail)?) {
            return Err(busy(dir, None));
        }
        let before = fs::read(&path).map_err(fail)?;
        if is_held_otherwise(&before) {
            return Err(busy(dir, Some(before)));
        }
        file.set_len(0).and_then(|()| file.write_all(own().as_bytes())).map_err(fail)?;
        let held = supervise::hold(&file);
        Ok(Lock { file, _held: held })
    }

    /// Whether the lock of a run directory is held, by a run or by the rsyncs of a run that was killed.
    ///
    /// # Errors
    /// This cannot be determined.
    pub fn is_held(dir: &Path) -> Result<bool> {
        let path = dir.join(LOCK);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(Error::io("ask who works on the run: cannot read", &path, cause)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(fs::read(&path).is_ok_and(|words| is_held_otherwise(&words))),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(cause)) => Err(cannot(&path, cause)),
        }
    }
}

/// The text that this process writes into a lock.
pub fn own() -> String {
    let pid = std::process::id();
    let own = Holder { host: super::host(), pid, started: None, process: Process::of(pid) };
    serde_json::to_string(&own).expect("a holder is plain data")
}

/// Identifies a process among processes that can see each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The PID namespace (namespaces(7)).
    space: String,
    pid: u32,
    /// The start time of the process, and the boot from which it is counted.
    started: String,
}

impl Process {
    /// A running process; `None` if it does not exist, or the system does not identify it.
    pub fn of(pid: u32) -> Option<Process> {
        let space = fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned();
        Some(Process { space, pid, started: process_start(pid)? })
    }

    /// Whether the process certainly does not exist any more. False if it is not visible from here.
    pub fn is_gone(&self) -> bool {
        let boot = super::boot();
        let own = Process::of(std::process::id());
        let is_seen = own.is_some_and(|own| own.space == self.space) && self.started.starts_with(&boot);
        is_seen
            && match state(self.pid) {
                Some((lives, started)) => !lives || started != self.started,
                // `/proc` may hide processes of other users (proc(5), hidepid).
                None => !exists(self.pid),
            }
    }
}

/// The process that works on a run, in the words of [`own`]; `None` if there is none.
///
/// # Errors
/// This cannot be determined.
pub fn holder(dir: &Path) -> Result<Option<String>> {
    if !Lock::is_held(dir)? {
        return Ok(None);
    }
    let path = dir.join(LOCK);
    let words = fs::read(&path).map_err(|cause| Error::io("ask who works on the run: cannot read", &path, cause))?;
    let is_gone = Holder::read(&words).is_some_and(|holder| holder.is_gone());
    Ok((!is_gone).then(|| String::from_utf8_lossy(&words).into_owned()))
}

fn cannot(path: &Path, cause: io::Error) -> Error {
    Error::io("lock", path, cause)
        .remedy("give a directory on a file system that can lock files (flock) with --buckets DIR, or set TMPDIR")
}

fn busy(dir: &Path, words: Option<Vec<u8>>) -> Error {
    let who = match words.and_then(|words| Holder::read(&words)) {
        Some(holder) if holder.is_gone() => {
            format!("what process {} on {} left behind when it was killed still", holder.pid, holder.host)
        }
        Some(Holder { host, pid, .. }) => format!("process {pid} on {host}"),
        None => "another process".to_owned(),
    };
    Error::usage(format!("{who} works on the run in {}", Printable::path(dir)))
        .remedy("wait for it, or end it; or start the same copy as a new run")
}

/// Whether the holder is a running multi-sync on this machine from before version 2 of the run directory, which used the existence of the file as its lock.
fn is_held_otherwise(words: &[u8]) -> bool {
    let Some(Holder { host, pid, started: Some(started), .. }) = Holder::read(words) else { return false };
    host == super::host() && process_start(pid).is_some_and(|other| other == started)
}

fn ended(dir: &Path) -> Error {
    Error::usage(format!(
        "the run in {} has ended in the meantime, and its directory was removed",
        Printable::path(dir)
    ))
    .remedy("list the remaining runs with multi-sync runs: for this one, nothing is left to do")
}

/// The start time of a running process; `None` also if it is not visible.
fn process_start(pid: u32) -> Option<String> {
    state(pid).and_then(|(lives, started)| lives.then_some(started))
}

/// Whether a process is running, and not only a zombie; and its start time: clock ticks after boot (proc_pid_stat(5), field 22), with the boot from which they
/// are counted.
fn state(pid: u32) -> Option<(bool, String)> {
    let stat = fs::read(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    // The name may contain anything, and ends at the last parenthesis.
    let after = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let after = String::from_utf8_lossy(after);
    let mut fields = after.split_ascii_whitespace();
    let lives = !matches!(fields.next()?, "Z" | "X" | "x");
    Some((lives, format!("{} {}", super::boot(), fields.nth(18)?)))
}

/// Whether the process exists, whoever owns it.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Lock::is_held(dir.path()).unwrap());
        let lock = Lock::take(dir.path()).unwrap();
        assert!(Lock::is_held(dir.path()).unwrap());
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        assert!(!Lock::is_held(dir.path()).unwrap());
        // Whatever the file says, a process that has ended does not hold the lock.
        let other = Holder { host: "elsewhere".into(), pid: 1, started: Some("long ago".into()), process: None };
        for words in [serde_json::to_vec(&other).unwrap(), b"{".to_vec(), Vec::new()] {
            fs::write(dir.path().join(LOCK), words).unwrap();
            assert!(!Lock::is_held(dir.path()).unwrap());
            Lock::take(dir.path()).unwrap();
        }
        // But a running multi-sync of an older version does.
        let pid = std::process::id();
        let old = Holder { host: super::super::host(), pid, started: process_start(pid), process: None };
        fs::write(dir.path().join(LOCK), serde_json::to_vec(&old).unwrap()).unwrap();
        assert!(Lock::is_held(dir.path()).unwrap() && Lock::take(dir.path()).is_err());
    }

    #[test]
    fn what_has_ended_is_gone_and_what_is_hidden_is_not() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(!own.is_gone());
        assert!(
            Process { started: format!("{} 1", super::super::boot()), ..own.clone() }.is_gone(),
            "another of that number"
        );
        assert!(
            Process { pid: 1 << 22, ..own.clone() }.is_gone()
                && !Process { space: "x".into(), pid: 1 << 22, ..own }.is_gone()
        );
        assert!(exists(1) && !exists(1 << 22) && !exists(0));
    }

    #[test]
    fn of_many_that_try_at_once_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), r#"{"host":"h","pid":4000000,"started":"of one that died"}"#).unwrap();
        let go = std::sync::Barrier::new(8);
        let got = std::thread::scope(|scope| {
            let one = || {
                go.wait();
                Lock::take(dir.path()).ok()
            };
            let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            all.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(got.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_not_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(LOCK, dir.path().join(LOCK)).unwrap();
        assert!(Lock::is_held(dir.path()).is_err() && Lock::take(dir.path()).is_err());
    }

    #[test]
    fn a_lock_of_a_run_that_is_gone_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        // The old file cannot be locked by others any more: a later run has its own file in a new directory.
        assert!(Lock::take(dir.path()).is_ok());
        drop(held);
    }
}
