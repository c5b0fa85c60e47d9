//! A file before it has its name: without any (O_TMPFILE, open(2)), so that whatever kills us leaves nothing, or under a name as rsync's own temporary
//! files have, where the file system knows no other way. It gets its name only if nothing has that.

use std::ffi::{CStr, OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, unlinkat};
use rustix::io::{Errno, Result};

/// Longest name that file systems of this system take.
const LONGEST_NAME: usize = 255;
const RANDOM: usize = 6;
/// How often another name is tried.
const TRIES: u32 = 16;

/// What the destination can do; found out as it goes.
#[derive(Debug, Default)]
pub struct Ways(AtomicU8);

/// A file has no name until it gets the right one, by its handle.
const BY_HANDLE: u8 = 0;
/// The same, by a way through `/proc`: linkat(2) may take a handle from root only.
const BY_PROC: u8 = 1;
/// It has a temporary name, and is renamed.
const BY_RENAME: u8 = 2;
/// The same, where renaming cannot be kept from replacing: it gets a second name, and loses the first.
const BY_LINK: u8 = 3;
/// There is no way that cannot replace something.
const NONE: u8 = 4;

/// A file that is begun. If it is dropped, it is gone.
pub struct Begun<'a> {
    file: OwnedFd,
    dir: BorrowedFd<'a>,
    /// Its temporary name, if it has one.
    name: Option<OsString>,
    ways: &'a Ways,
}

impl Ways {
    #[cfg(test)]
    pub fn with_names() -> Ways {
        Ways(AtomicU8::new(BY_RENAME))
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there is one.
    pub fn are_any(&self) -> bool {
        self.now() < NONE
    }

    /// One way less.
    fn lacks(&self, way: u8) {
        self.0.fetch_max(way + 1, Ordering::Relaxed);
    }
}

/// Makes a file without content, under its name at once: it is never half a file. Left without its attributes, it is one that rsync finds and changes.
pub fn empty(dir: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<OwnedFd> {
    openat(dir, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
}

impl<'a> Begun<'a> {
    /// Begins a file that is to get this name. `mode` is what it may have at once if nobody sees it; under a temporary name it is closed to others.
    pub fn begin(dir: BorrowedFd<'a>, name: &CStr, mode: Mode, ways: &'a Ways) -> Result<Begun<'a>> {
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if ways.now() <= BY_PROC {
            match openat(dir, c".", unnamed, mode) {
                Ok(file) => return Ok(Begun { file, dir, name: None, ways }),
                // Of old kernels, of those file systems, and of some that do not know the flag.
                Err(Errno::ISDIR | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => ways.lacks(BY_PROC),
                Err(errno) => return Err(errno),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let closed = Mode::RUSR | Mode::WUSR;
        let random = RandomState::new();
        let mut tried = 0;
        loop {
            let temporary = temporary_name(name.to_bytes(), random.hash_one(tried));
            match openat(dir, &temporary, flags, closed) {
                Ok(file) => return Ok(Begun { file, dir, name: Some(temporary), ways }),
                Err(Errno::EXIST) if tried < TRIES => tried += 1,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether it has the mode that it was begun with.
    pub fn is_unnamed(&self) -> bool {
        self.name.is_none()
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives it its name, unless something has that.
    pub fn publish(mut self, name: &CStr) -> Result<()> {
        let Some(temporary) = self.name.take() else { return self.link(name) };
        let published = self.rename(&temporary, name);
        if published.is_err() {
            self.name = Some(temporary);
        }
        published
    }

    fn link(&self, name: &CStr) -> Result<()> {
        if self.ways.now() == BY_HANDLE {
            match linkat(&self.file, c"", self.dir, name, AtFlags::EMPTY_PATH) {
                // Who may not is told that there is no such file.
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => self.ways.lacks(BY_HANDLE),
                other => return other,
            }
        }
        let path = format!("/proc/thread-self/fd/{}", self.file.as_raw_fd());
        let linked = linkat(CWD, path, self.dir, name, AtFlags::SYMLINK_FOLLOW);
        let cannot = [Errno::NOENT, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
        if linked.as_ref().is_err_and(|errno| cannot.contains(errno)) {
            self.ways.lacks(BY_PROC);
        }
        linked
    }

    fn rename(&self, temporary: &OsStr, name: &CStr) -> Result<()> {
        if self.ways.now() == BY_RENAME {
            match renameat_with(self.dir, temporary, self.dir, name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.ways.lacks(BY_RENAME),
                other => return other,
            }
        }
        if !self.ways.are_any() {
            return Err(Errno::OPNOTSUPP);
        }
        match linkat(self.dir, temporary, self.dir, name, AtFlags::empty()) {
            Ok(()) => {
                // A second name that stays would be one of the same file.
                unlinkat(self.dir, temporary, AtFlags::empty())
            }
            Err(Errno::EXIST) => Err(Errno::EXIST),
            Err(errno) => {
                self.ways.lacks(BY_LINK);
                Err(errno)
            }
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What cannot be removed is left as rsync would leave it.
            let _ = unlinkat(self.dir, name, AtFlags::empty());
        }
    }
}

/// A hidden name with six letters at its end, as rsync's temporary files have (rsync(1), `--temp-dir`).
fn temporary_name(name: &[u8], mut random: u64) -> OsString {
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let kept = name.len().min(LONGEST_NAME - RANDOM - 2);
    let mut temporary = [b".", &name[..kept], b"."].concat();
    for _ in 0..RANDOM {
        temporary.push(LETTERS[(random % 62) as usize]);
        random /= 62;
    }
    OsString::from_vec(temporary)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_file_gets_its_name_only_if_nothing_has_it_and_leaves_nothing_otherwise() {
        for ways in [Ways::default(), Ways(AtomicU8::new(BY_PROC)), Ways::with_names(), Ways(AtomicU8::new(BY_LINK))] {
            let dir = tempfile::tempdir().unwrap();
            let handle = File::open(dir.path()).unwrap();
            let begin = || Begun::begin(handle.as_fd(), c"name", Mode::from_raw_mode(0o600), &ways).unwrap();
            let names = || fs::read_dir(dir.path()).unwrap().count();
            drop(begin());
            assert_eq!(names(), 0, "{ways:?}");
            let begun = begin();
            rustix::io::write(begun.file(), b"x").unwrap();
            begun.publish(c"name").unwrap();
            assert_eq!((names(), fs::read(dir.path().join("name")).unwrap()), (1, b"x".to_vec()), "{ways:?}");
            assert_eq!(begin().publish(c"name"), Err(Errno::EXIST), "{ways:?}");
            assert_eq!((names(), fs::read(dir.path().join("name")).unwrap()), (1, b"x".to_vec()), "{ways:?}");
            assert!(ways.are_any());
        }
    }

    #[test]
    fn temporary_names_fit() {
        let name = temporary_name(&[b'x'; LONGEST_NAME], 7);
        assert_eq!(name.as_bytes().len(), LONGEST_NAME);
        assert!(temporary_name(b"a", 7).as_bytes().starts_with(b".a."));
    }
}
