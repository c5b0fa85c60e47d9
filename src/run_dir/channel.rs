//! How other processes send a request to a running run: as a file in its directory, which the run answers with another file.
//!
//! Files appear as a whole (rename(2)), so that this also works over a network file system, from another machine. Only the owner of the run is accepted: files
//! of other users, symbolic links and special files are ignored, and so are requests to an earlier part of the run.
//!
//! The asking process touches the file while it waits. If the file was not touched for some time, nobody waits for the answer any more, because the process was
//! killed or its machine is gone. Then the request is removed without effect, because nobody would learn of that.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, futimens, open, openat, unlinkat};
use serde::{Deserialize, Serialize};

use super::layout::CONTROL;
use super::lock::{self, Process};
use crate::entry::Printable;
use crate::error::{Error, Result};

const FOLDER_MODE: u32 = 0o700;
const FOLDER_FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const REQUEST: &str = "set-";
const ANSWER: &str = "answer-";
const END: &str = ".json";
/// The longest request.
const LONGEST: u64 = 64 * 1024;
/// How often to look for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the asking process touches its request, and after which time without that the request is abandoned. Both times are those of the file system.
const TOUCH_EVERY: Duration = Duration::from_millis(500);
const ABANDONED: Duration = Duration::from_secs(3);

/// A request, with the process to which it is addressed, in the words of that process's lock.
#[derive(Serialize, Deserialize)]
struct Envelope {
    to: String,
    /// The asking process, if the system identifies it.
    #[serde(default)]
    from: Option<Process>,
    request: serde_json::Value,
}

/// The folder of requests and answers. It is held open, so that a process that renames something in the run directory cannot lead anyone elsewhere.
struct Folder {
    dir: File,
    owner: (u32, u32),
}

impl Folder {
    /// `None` if the folder does not exist, does not belong to `owner`, or is writable by others.
    fn open(path: &Path, owner: (u32, u32)) -> Option<Folder> {
        let dir = open(path, FOLDER_FLAGS, Mode::empty()).map(File::from).ok()?;
        let found = dir.metadata().ok()?;
        (found.uid() == owner.0 && found.mode() & 0o022 == 0).then_some(Folder { dir, owner })
    }

    /// A path to the folder that stays valid even if it is renamed.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.dir.as_raw_fd()).into()
    }

    /// The contents of a regular file of the owner; `None` if there is none.
    fn read(&self, name: &OsStr) -> Option<Vec<u8>> {
        self.read_with_time(name).map(|(text, _)| text)
    }

    /// The same, with the time when the file was last touched.
    fn read_with_time(&self, name: &OsStr) -> Option<(Vec<u8>, SystemTime)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = openat(&self.dir, name, flags, Mode::empty()).map(File::from).ok()?;
        let found = file.metadata().ok().filter(|found| found.is_file() && found.uid() == self.owner.0)?;
        let mut text = Vec::new();
        file.by_ref().take(LONGEST).read_to_end(&mut text).ok()?;
        Some((text, found.modified().ok()?))
    }

    /// Sets the time of the file to now, and returns it. It is the time of the file system, which is the same for all machines. In addition, a network file
    /// system that was changed from here shows at once what other machines have put into a directory.
    fn touch(file: &File) -> Option<SystemTime> {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        futimens(file, &Timestamps { last_access: now, last_modification: now }).ok()?;
        file.metadata().ok()?.modified().ok()
    }

    /// Writes a file, in one step, as the owner of the run.
    fn write(&self, name: &str, text: &[u8]) -> io::Result<File> {
        let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(self.path())?;
        io::Write::write_all(&mut file, text)?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
        }
        file.persist(self.path().join(name)).map_err(|error| error.error)
    }

    fn remove(&self, name: impl rustix::path::Arg) -> bool {
        unlinkat(&self.dir, name, AtFlags::empty()).is_ok()
    }
}

/// The side of the run.
#[derive(Debug, Clone)]
pub struct Channel {
    folder: PathBuf,
}

impl Channel {
    /// The channel of a run directory.
    pub fn of(dir: &Path) -> Channel {
        Channel { folder: dir.join(CONTROL) }
    }

    /// `None` as long as nobody has asked for anything.
    fn open(&self) -> Option<Folder> {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Folder::open(&self.folder, (user, group))
    }

    /// The new requests, each with an identifier for its answer. Each request is returned once.
    pub fn requests(&self) -> Vec<(String, serde_json::Value)> {
        let Some(folder) = self.open() else { return Vec::new() };
        let now = Folder::touch(&folder.dir);
        let entries = fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> = entries.filter(|name| id(name, REQUEST).is_some()).collect();
        names.sort();
        let mut requests = Vec::new();
        for name in names {
            let Some((text, touched)) = folder.read_with_time(&name) else { continue };
            // A request that cannot be removed would be returned again and again.
            if !folder.remove(&name) {
                continue;
            }
            let age = now.and_then(|now| now.duration_since(touched).ok()).unwrap_or_default();
            let waits = |envelope: &Envelope| age < ABANDONED && !envelope.from.as_ref().is_some_and(Process::is_gone);
            let is_for_us = |envelope: &Envelope| envelope.to == lock::own() && waits(envelope);
            let envelope = serde_json::from_slice::<Envelope>(&text).ok().filter(is_for_us);
            requests.extend(envelope.and_then(|envelope| Some((id(&name, REQUEST)?, envelope.request))));
        }
        requests
    }

    /// Answers a request. The asking process may be gone by now.
    pub fn answer(&self, id: &str, answer: &impl Serialize) {
        let text = serde_json::to_vec(answer).expect("an answer is plain data");
        let _ = self.open().map(|folder| folder.write(&format!("{ANSWER}{id}{END}"), &text));
    }
}

/// The result of a request.
pub enum Asking {
    /// The run has sent this answer.
    Answered(serde_json::Value),
    /// No process works on the run any more.
    Ended,
    /// The request was withdrawn before the run had seen it.
    GivenUp,
    /// The run has read the request, but has not answered in time. It may still carry it out.
    Taken,
}

/// Refuses to ask a run of another user, before anything in it is read, because the run would ignore the request.
///
/// # Errors
/// The run belongs to another user, or its owner cannot be determined.
pub fn refuse_stranger(dir: &Path) -> Result<()> {
    let cannot =
        |cause| Error::io("look at the run in", dir, cause).remedy("ask as the user whose run it is, or as root");
    let owner = match fs::metadata(dir) {
        Ok(found) => found.uid(),
        // Reading the directory will report this.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cannot(cause)),
    };
    let own = rustix::process::geteuid();
    if owner == own.as_raw() || own.is_root() {
        return Ok(());
    }
    let shown = Printable::path(dir);
    Err(Error::usage(format!("the run in {shown} belongs to user {owner}, and this is user {}", own.as_raw()))
        .remedy("only that user and root can change it: ask as one of them"))
}

/// Sends a request to the process that works on a run. `waits` is called several times a second with the time waited so far, and returns whether that is too
/// long.
///
/// # Errors
/// It cannot be determined whether a process works on the run, or the request cannot be sent.
pub fn ask(dir: &Path, request: &impl Serialize, waits: &mut dyn FnMut(Duration) -> bool) -> Result<Asking> {
    let path = dir.join(CONTROL);
    let fail = |cause: io::Error| Error::io("ask the run in", dir, cause).remedy("ask as the user whose run it is");
    let Some(to) = lock::holder(dir)? else { return Ok(Asking::Ended) };
    let owner = fs::metadata(dir).map(|found| (found.uid(), found.gid())).map_err(fail)?;
    match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(fail(cause)),
        Err(_) => {}
        Ok(()) => {
            let made = open(&path, FOLDER_FLAGS, Mode::empty()).map_err(|errno| fail(errno.into()))?;
            std::os::unix::fs::fchown(made, Some(owner.0), Some(owner.1)).map_err(fail)?;
        }
    }
    let folder = Folder::open(&path, owner).ok_or_else(|| fail(io::ErrorKind::PermissionDenied.into()))?;
    let request = serde_json::to_value(request).expect("a request is plain data");
    let envelope = Envelope { to: to.clone(), from: Process::of(std::process::id()), request };
    let text = serde_json::to_vec(&envelope).expect("a request is plain data");
    let id = format!("{:020}-{}", jiff::Timestamp::now().as_nanosecond(), std::process::id());
    let (asked, answer) = (format!("{REQUEST}{id}{END}"), format!("{ANSWER}{id}{END}"));
    let file = folder.write(&asked, &text).map_err(fail)?;
    let began = Instant::now();
    let (mut looked, mut touched) = (began, began);
    loop {
        let read = folder.read(answer.as_ref()).and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(read) = read {
            folder.remove(&answer);
            return Ok(Asking::Answered(read));
        }
        let gives_up = waits(began.elapsed());
        let has_ended = looked.elapsed() >= Duration::from_secs(1) && {
            looked = Instant::now();
            lock::holder(dir)? != Some(to.clone())
        };
        if gives_up || has_ended {
            let is_taken_back = folder.remove(&asked);
            return Ok(match (has_ended, is_taken_back) {
                (true, _) => Asking::Ended,
                (false, true) => Asking::GivenUp,
                (false, false) => Asking::Taken,
            });
        }
        if touched.elapsed() >= TOUCH_EVERY {
            touched = Instant::now();
            let _ = Folder::touch(&file);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn id(name: &OsStr, begin: &str) -> Option<String> {
    let id = name.to_str()?.strip_prefix(begin)?.strip_suffix(END)?;
    id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then(|| id.to_owned())
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
        let from = |to: &str, from: Option<Process>| {
            serde_json::to_vec(&Envelope { to: to.into(), from, request: 1.into() }).unwrap()
        };
        let envelope = |to: &str| from(to, Process::of(std::process::id()));
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
        // These requests are abandoned.
        put("set-8.json", &own);
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        File::options().write(true).open(folder.join("set-8.json")).unwrap().set_modified(long_ago).unwrap();
        let mut asker = serde_json::to_value(Process::of(std::process::id())).unwrap();
        // No process can have this number (proc_sys_kernel(5), pid_max).
        asker["pid"] = (1_u32 << 30).into();
        let asker = serde_json::from_value(asker).unwrap();
        put("set-9.json", &from(&lock::own(), asker));
        assert_eq!(channel.requests(), [("1".to_owned(), 1.into())]);
        assert!(!folder.join("set-8.json").exists() && !folder.join("set-9.json").exists());
        assert_eq!(channel.requests(), []);
        put("set-8.json", &own);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::rename(&folder, dir.path().join("away")).unwrap();
        symlink(elsewhere.path(), &folder).unwrap();
        let _lock = Lock::take(dir.path()).unwrap();
        assert!(ask(dir.path(), &1, &mut |_| true).is_err() && fs::read_dir(elsewhere.path()).unwrap().count() == 0);
        assert_eq!(channel.requests(), []);
        fs::remove_file(&folder).unwrap();
        fs::rename(dir.path().join("away"), &folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(channel.requests(), []);
    }
}
