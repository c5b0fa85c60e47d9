//! The command line of a run, and what else decides its result: `plan.json`.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::entry::Printable;
use crate::error::{Error, Result};

use super::around::Around;
use super::journal::Name;
use super::layout::PLAN;
use super::{boot, host};

/// The version of `plan.json`. Since version 2, it contains a name of the run and a checksum, and since version 3 what surrounds the run.
const VERSION: u32 = 3;

/// What the user asked for, with everything that is needed to do it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    version: u32,
    /// The version of multi-sync that began the run.
    pub program: String,
    /// The version of rsync.
    pub rsync: String,
    words: Vec<Name>,
    cwd: Name,
    /// The machine, and its boot: after a crash of the machine, what was written before may be lost.
    host: String,
    boot: String,
    /// When the run began.
    pub begun: String,
    /// The name of the run, which its journal also contains; empty in a run of version 1.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    run: String,
    /// What else decides the result; missing in a run of an older version, and in one that was submitted and has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    around: Option<Around>,
    /// The XXH3 checksum (64 bits) of everything else, as JSON without spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
}

impl Asked {
    /// A command line, without the program's name, that was typed in `cwd`.
    pub fn new(words: &[OsString], cwd: &Path, rsync: String) -> Asked {
        let mut asked = Asked {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            rsync,
            words: words.iter().map(|word| Name::new(word.as_bytes().to_vec())).collect(),
            cwd: Name::new(cwd.as_os_str().as_bytes().to_vec()),
            host: host(),
            boot: boot(),
            begun: jiff::Timestamp::now().to_string(),
            run: name(),
            around: None,
            sum: None,
        };
        asked.sum = Some(asked.checksum());
        asked
    }

    /// The same, with what else decides the result.
    #[must_use]
    pub fn surrounded_by(self, around: Around) -> Asked {
        let mut asked = Asked { version: VERSION, around: Some(around), sum: None, ..self };
        asked.sum = Some(asked.checksum());
        asked
    }

    /// What else decides the result, if it was recorded.
    pub fn around(&self) -> Option<&Around> {
        self.around.as_ref()
    }

    fn checksum(&self) -> String {
        let rest = Asked { sum: None, ..self.clone() };
        let text = serde_json::to_vec(&rest).expect("what was asked is plain data");
        format!("{:016x}", xxh3_64(&text))
    }

    /// The name of the run; empty in a run of version 1.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Writes the file, completely or not at all. With `now`, it is synced to the disk; otherwise it is synced together with the first buckets.
    ///
    /// # Errors
    /// The run directory cannot be written.
    pub fn write(&self, dir: &Path, now: bool) -> Result<()> {
        let path = dir.join(PLAN);
        let text = serde_json::to_vec_pretty(self).expect("what was asked is plain data");
        let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut file| {
            file.write_all(&text)?;
            if now {
                file.as_file().sync_all()?;
            }
            file.persist(&path).map_err(|error| error.error)
        });
        written
            .map(drop)
            .map_err(|cause| Error::io("write", &path, cause).remedy("give a directory with room with --buckets DIR"))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The directory is no run directory, or that of a newer version.
    pub fn read(dir: &Path) -> Result<Asked> {
        let path = dir.join(PLAN);
        let remedy = "name the directory of a run: --runs lists those below --buckets DIR";
        let text = super::read_plain(&path).map_err(|cause| Error::io("read", &path, cause).remedy(remedy).exit(1))?;
        let asked: Asked = serde_json::from_slice(&text).map_err(|cause| {
            Error::usage(format!("{} is not the plan of a run", Printable::path(&path))).because(cause).remedy(remedy)
        })?;
        if asked.version > VERSION {
            return Err(Error::usage(format!("the run in {} was started by a newer multi-sync", Printable::path(dir)))
                .remedy("resume it with that one"));
        }
        let is_whole = match &asked.sum {
            Some(sum) => *sum == asked.checksum(),
            None => asked.version < 2 && asked.run.is_empty(),
        };
        if !is_whole {
            let shown = Printable::path(&path);
            return Err(Error::usage(format!("{shown} is damaged: its checksum does not match its content"))
                .remedy("copy again with the command line with which the run was started"));
        }
        Ok(asked)
    }

    /// The command line, without the program's name.
    pub fn words(&self) -> Vec<OsString> {
        self.words.iter().cloned().map(|word| OsString::from_vec(word.into_bytes())).collect()
    }

    /// The directory in which the command line was typed.
    pub fn cwd(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.cwd.clone().into_bytes()))
    }

    /// Whether this machine was rebooted since, so that what it wrote last may be lost.
    pub fn machine_restarted(&self) -> bool {
        self.host == host() && self.boot != boot()
    }
}

/// A name that no other run has.
fn name() -> String {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid").map(|id| id.trim().to_owned());
    random.unwrap_or_else(|_| format!("{} {}", std::process::id(), jiff::Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let words = [OsString::from("-p"), OsString::from_vec(b"\xff\n".to_vec())];
        let asked = Asked::new(&words, Path::new("/a b"), "3.5.0".into());
        asked.write(dir.path(), true).unwrap();
        let read = Asked::read(dir.path()).unwrap();
        assert_eq!(read, asked);
        assert_eq!((read.words(), read.cwd()), (words.to_vec(), PathBuf::from("/a b")));
        assert!(!read.machine_restarted());
        assert!(Asked { boot: "another".into(), ..read.clone() }.machine_restarted());
        assert!(!Asked { boot: "another".into(), host: "another".into(), ..read }.machine_restarted());
        assert!(Asked::read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_run_of_an_older_version_says_nothing_about_its_surroundings() {
        let dir = tempfile::tempdir().unwrap();
        let mut old = Asked { version: 2, sum: None, ..Asked::new(&["a".into()], Path::new("/here"), "3.5.0".into()) };
        old.sum = Some(old.checksum());
        old.write(dir.path(), false).unwrap();
        assert!(!fs::read_to_string(dir.path().join(PLAN)).unwrap().contains("around"));
        let read = Asked::read(dir.path()).unwrap();
        assert!(read == old && read.around().is_none());
    }

    #[test]
    fn a_changed_byte_of_what_was_asked_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let words = ["-r", "-a --delete", "src/", "D"].map(OsString::from);
        let asked = Asked::new(&words, Path::new("/here"), "3.5.0".into());
        asked.write(dir.path(), true).unwrap();
        let path = dir.path().join(PLAN);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            if let Ok(read) = Asked::read(dir.path()) {
                // A space may have been replaced by other white space.
                assert_eq!(read, asked, "byte {at}");
            }
        }
    }
}
