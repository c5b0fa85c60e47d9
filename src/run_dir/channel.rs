//! How somebody asks a run for something while it goes on: a file in its directory, which the run answers with another one.
//!
//! Files are whole or not there (rename(2)), so it works over a network file system as well, from another machine. Only the owner of the run is
//! heard: a file of another user, a link, and whatever is no plain file is passed over, and so is what was asked of an earlier part of the run.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, openat};
use serde::{Deserialize, Serialize};

use super::layout::CONTROL;
use super::lock;
use crate::error::{Error, Result};

const FOLDER_MODE: u32 = 0o700;
const REQUEST: &str = "set-";
const ANSWER: &str = "answer-";
const END: &str = ".json";
/// No request is so long.
const LONGEST: u64 = 64 * 1024;
/// How often an answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A request with the process that it is for, as its lock names it.
#[derive(Serialize, Deserialize)]
struct Envelope {
    to: String,
    request: serde_json::Value,
}

/// The side of the run.
#[derive(Debug, Clone)]
pub struct Channel {
    folder: PathBuf,
}

impl Channel {
    /// That of a run directory.
    pub fn of(dir: &Path) -> Channel {
        Channel { folder: dir.join(CONTROL) }
    }

    /// What was asked since the last look, each with a name for its answer. Each comes once.
    pub fn requests(&self) -> Vec<(String, serde_json::Value)> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody has asked for anything yet.
        let Ok(folder) = open(&self.folder, flags, Mode::empty()).map(File::from) else { return Vec::new() };
        let is_ours = |found: &fs::Metadata| found.uid() == rustix::process::geteuid().as_raw();
        if !folder.metadata().is_ok_and(|found| is_ours(&found) && found.mode() & 0o022 == 0) {
            return Vec::new();
        }
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> = entries.filter(|name| id(name, REQUEST).is_some()).collect();
        names.sort();
        let mut requests = Vec::new();
        for name in names {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(mut file) = openat(&folder, &name, flags, Mode::empty()).map(File::from) else { continue };
            if !file.metadata().is_ok_and(|found| found.is_file() && is_ours(&found)) {
                continue;
            }
            let mut text = Vec::new();
            let read = file.by_ref().take(LONGEST).read_to_end(&mut text);
            // It would come again and again.
            if fs::remove_file(self.folder.join(&name)).is_err() || read.is_err() {
                continue;
            }
            let is_for_us = |envelope: &Envelope| envelope.to == lock::own();
            let envelope = serde_json::from_slice::<Envelope>(&text).ok().filter(is_for_us);
            requests.extend(envelope.and_then(|envelope| Some((id(&name, REQUEST)?, envelope.request))));
        }
        requests
    }

    /// Answers a request. Who has asked may be gone.
    pub fn answer(&self, id: &str, answer: &impl Serialize) {
        let text = serde_json::to_vec(answer).expect("an answer is plain data");
        let _ = put(&self.folder, &format!("{ANSWER}{id}{END}"), &text, None);
    }
}

/// What becomes of a question.
pub enum Asking {
    /// It was answered so.
    Answered(serde_json::Value),
    /// Nobody works on the run any more.
    Ended,
    /// It was taken back before the run had seen it.
    GivenUp,
    /// The run has seen it, and has not answered for too long. It may still do what was asked.
    Taken,
}

/// Asks the process that works on a run. `waits` is told several times a second for how long, and says whether that is too long.
///
/// # Errors
/// It cannot be told whether somebody works on it, or it cannot be asked.
pub fn ask(dir: &Path, request: &impl Serialize, waits: &mut dyn FnMut(Duration) -> bool) -> Result<Asking> {
    let folder = dir.join(CONTROL);
    let fail = |cause: io::Error| Error::io("ask the run in", dir, cause).remedy("ask as the user whose run it is");
    let Some(to) = lock::holder(dir)? else { return Ok(Asking::Ended) };
    let owner = fs::metadata(dir).map_err(fail)?;
    match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(fail(cause)),
        Err(_) => {}
        Ok(()) => std::os::unix::fs::lchown(&folder, Some(owner.uid()), Some(owner.gid())).map_err(fail)?,
    }
    let request = serde_json::to_value(request).expect("a request is plain data");
    let text = serde_json::to_vec(&Envelope { to: to.clone(), request }).expect("a request is plain data");
    let now = jiff::Timestamp::now().as_nanosecond();
    let id = format!("{now:020}-{}", std::process::id());
    let asked = format!("{REQUEST}{id}{END}");
    put(&folder, &asked, &text, Some((owner.uid(), owner.gid()))).map_err(fail)?;
    let answer = folder.join(format!("{ANSWER}{id}{END}"));
    let began = std::time::Instant::now();
    let mut looked = began;
    loop {
        if let Some(read) = fs::read(&answer).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            let _ = fs::remove_file(&answer);
            return Ok(Asking::Answered(read));
        }
        let gives_up = waits(began.elapsed());
        let has_ended = looked.elapsed() >= Duration::from_secs(1) && {
            looked = std::time::Instant::now();
            lock::holder(dir)? != Some(to.clone())
        };
        if gives_up || has_ended {
            let is_taken_back = fs::remove_file(folder.join(&asked)).is_ok();
            return Ok(match (has_ended, is_taken_back) {
                (true, _) => Asking::Ended,
                (false, true) => Asking::GivenUp,
                (false, false) => Asking::Taken,
            });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn id(name: &OsStr, begin: &str) -> Option<String> {
    let id = name.to_str()?.strip_prefix(begin)?.strip_suffix(END)?;
    id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then(|| id.to_owned())
}

/// Writes a file at once, as this owner's if we may give it away.
fn put(folder: &Path, name: &str, text: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(folder)?;
    io::Write::write_all(&mut file, text)?;
    if let Some((user, group)) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    file.persist(folder.join(name)).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::Lock;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_asked_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(ask(dir.path(), &1, &mut |_| false).unwrap(), Asking::Ended));
        let _lock = Lock::take(dir.path()).unwrap();
        let channel = Channel::of(dir.path());
        assert_eq!(channel.requests(), []);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(dir.path(), &"a", &mut |_| false));
            let mut requests = Vec::new();
            while requests.is_empty() {
                requests = channel.requests();
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(requests[0].1, "a");
            channel.answer(&requests[0].0, &"b");
            assert!(matches!(asked.join().unwrap().unwrap(), Asking::Answered(answer) if answer == "b"));
        });
        assert!(matches!(ask(dir.path(), &1, &mut |_| true).unwrap(), Asking::GivenUp));
        assert_eq!(fs::read_dir(dir.path().join(CONTROL)).unwrap().count(), 0);
    }

    #[test]
    fn nobody_else_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let channel = Channel::of(dir.path());
        let folder = dir.path().join(CONTROL);
        DirBuilder::new().mode(FOLDER_MODE).create(&folder).unwrap();
        let envelope = |to: &str| serde_json::to_vec(&Envelope { to: to.into(), request: 1.into() }).unwrap();
        let own = envelope(&lock::own());
        let put = |name: &str, text: &[u8]| fs::write(folder.join(name), text).unwrap();
        put("set-1.json", &own);
        put("set-2.json", &envelope("another"));
        put("set-3.json", b"{");
        put("set-a.json", &own);
        put("elsewhere", &own);
        symlink(folder.join("elsewhere"), folder.join("set-4.json")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("set-5.json"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        put("set-6.json", &vec![b' '; LONGEST as usize + 1]);
        if rustix::process::geteuid().is_root() {
            put("set-7.json", &own);
            std::os::unix::fs::chown(folder.join("set-7.json"), Some(12345), None).unwrap();
        }
        assert_eq!(channel.requests(), [("1".to_owned(), 1.into())]);
        assert_eq!(channel.requests(), []);
        put("set-8.json", &own);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(channel.requests(), []);
    }
}
