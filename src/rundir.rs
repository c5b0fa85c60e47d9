//! The run directory: what was asked (`plan.json`), who works on it (`lock`), and, through [`crate::journal`], how far it came. The
//! buckets in it are [`crate::bucket`]'s.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::journal::Name;

/// Version of `plan.json`.
const VERSION: u32 = 1;
const PLAN: &str = "plan.json";
const LOCK: &str = "lock";

/// What the user asked for: enough to do it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    version: u32,
    /// The program that began the run.
    pub program: String,
    /// Its rsync.
    pub rsync: String,
    words: Vec<Name>,
    cwd: Name,
    /// The machine, and its start: what was written before a crash may be lost.
    host: String,
    boot: String,
    /// When the run was begun.
    pub begun: String,
}

impl Asked {
    /// The command line, without the program's name, typed in `cwd`.
    pub fn new(words: &[OsString], cwd: &Path, rsync: String) -> Asked {
        Asked {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            rsync,
            words: words.iter().map(|word| Name::new(word.as_bytes().to_vec())).collect(),
            cwd: Name::new(cwd.as_os_str().as_bytes().to_vec()),
            host: host(),
            boot: boot(),
            begun: jiff::Timestamp::now().to_string(),
        }
    }

    /// Writes it, at once or not at all.
    ///
    /// # Errors
    /// The run directory cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(PLAN);
        let text = serde_json::to_vec_pretty(self).expect("what was asked is plain data");
        let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        });
        written
            .map(drop)
            .map_err(|cause| Error::io("write", &path, cause).remedy("give a directory with room with --buckets DIR"))
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is no run directory, or of a newer version.
    pub fn read(dir: &Path) -> Result<Asked> {
        let path = dir.join(PLAN);
        let remedy = "name the directory of a run: --runs lists those below --buckets DIR";
        let text = fs::read(&path).map_err(|cause| Error::io("read", &path, cause).remedy(remedy).exit(1))?;
        let asked: Asked = serde_json::from_slice(&text).map_err(|cause| {
            Error::usage(format!("{} is no plan of a run", Printable::path(&path))).because(cause).remedy(remedy)
        })?;
        if asked.version > VERSION {
            return Err(Error::usage(format!("the run in {} was begun by a newer multi-sync", Printable::path(dir)))
                .remedy("resume it with that one"));
        }
        Ok(asked)
    }

    /// The command line, without the program's name.
    pub fn words(&self) -> Vec<OsString> {
        self.words.iter().cloned().map(|word| OsString::from_vec(word.into_bytes())).collect()
    }

    /// The directory it was typed in.
    pub fn cwd(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.cwd.clone().into_bytes()))
    }

    /// Whether this machine was started anew since, so that what it had written last may be lost.
    pub fn machine_restarted(&self) -> bool {
        self.host == host() && self.boot != boot()
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Who works on a run: one process at a time. A plain file, so that it works on any file system.
#[derive(Debug)]
pub struct Lock(PathBuf);

#[derive(Serialize, Deserialize, PartialEq)]
struct Holder {
    host: String,
    pid: u32,
    /// So that a number that is used again is not taken for the same process.
    started: String,
}

impl Holder {
    fn this() -> Holder {
        let pid = std::process::id();
        Holder { host: host(), pid, started: process_start(pid).unwrap_or_default() }
    }

    fn may_live(&self) -> bool {
        self.host != host() || process_start(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Clock ticks after boot (proc_pid_stat(5), field 22), with the boot they count from.
fn process_start(pid: u32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may hold anything, ends with the last parenthesis.
    let after = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let ticks = String::from_utf8_lossy(after).split_ascii_whitespace().nth(19)?.to_owned();
    Some(format!("{} {ticks}", boot()))
}

impl Lock {
    /// Takes the lock of a run directory. A lock whose holder has died on this machine is taken over.
    ///
    /// # Errors
    /// Somebody else holds it, and is named.
    pub fn take(dir: &Path) -> Result<Lock> {
        let path = dir.join(LOCK);
        let fail = |cause: io::Error| Error::io("lock", &path, cause);
        let own = serde_json::to_vec(&Holder::this()).expect("a holder is plain data");
        // Linked into place whole: no reader sees half of it.
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
        file.write_all(&own).map_err(fail)?;
        for _ in 0..3 {
            match fs::hard_link(file.path(), &path) {
                Ok(()) => return Ok(Lock(path)),
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(fail(cause)),
                Err(_) => {}
            }
            let held = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
            match held {
                Some(holder) if holder.may_live() => {
                    let Holder { host, pid, .. } = holder;
                    return Err(Error::usage(format!(
                        "process {pid} on {host} works on the run in {}",
                        Printable::path(dir)
                    ))
                    .remedy(format!("wait for it; if that machine is gone, remove {}", Printable::path(&path))));
                }
                _ => fs::remove_file(&path).map_err(fail)?,
            }
        }
        Err(Error::usage(format!("cannot lock {}: others try as well", Printable::path(dir))))
    }

    /// Whether a process that may be alive holds the lock of a run directory.
    pub fn is_held(dir: &Path) -> bool {
        let text = fs::read(dir.join(LOCK)).ok();
        text.and_then(|text| serde_json::from_slice::<Holder>(&text).ok()).is_some_and(|holder| holder.may_live())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The run directories below a folder, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn list(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent).map_err(|cause| Error::io("list", parent, cause).exit(1))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(PLAN).is_file()).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let words = [OsString::from("-p"), OsString::from_vec(b"\xff\n".to_vec())];
        let asked = Asked::new(&words, Path::new("/a b"), "3.5.0".into());
        asked.write(dir.path()).unwrap();
        let read = Asked::read(dir.path()).unwrap();
        assert_eq!(read, asked);
        assert_eq!((read.words(), read.cwd()), (words.to_vec(), PathBuf::from("/a b")));
        assert!(!read.machine_restarted());
        assert!(Asked { boot: "another".into(), ..read.clone() }.machine_restarted());
        assert!(!Asked { boot: "another".into(), host: "another".into(), ..read }.machine_restarted());
        assert_eq!(list(dir.path().parent().unwrap()).unwrap().iter().filter(|path| *path == dir.path()).count(), 1);
        assert!(Asked::read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        assert!(Lock::is_held(dir.path()));
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(lock);
        assert!(!Lock::is_held(dir.path()));
        // A process that has died, one whose number was used again, and half a file.
        let dead = Holder { pid: u32::MAX, ..Holder::this() };
        let other = Holder { started: "long ago".into(), ..Holder::this() };
        for text in [serde_json::to_vec(&dead).unwrap(), serde_json::to_vec(&other).unwrap(), b"{".to_vec()] {
            fs::write(dir.path().join(LOCK), text).unwrap();
            assert!(!Lock::is_held(dir.path()));
            Lock::take(dir.path()).unwrap();
        }
        // Of another machine nobody knows.
        let there = Holder { host: "elsewhere".into(), ..dead };
        fs::write(dir.path().join(LOCK), serde_json::to_vec(&there).unwrap()).unwrap();
        assert!(Lock::take(dir.path()).is_err());
    }
}
