//! A file before it gets its name. It has no name at all (O_TMPFILE, open(2)), so that nothing is left if the process is killed; or, if the file system does
//! not support that, it has a temporary name like those of rsync. It gets its final name only if nothing else has that.

use std::ffi::{CStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, Timestamps, futimens, linkat, openat, renameat_with, unlinkat, utimensat,
};
use rustix::io::{Errno, Result};

use crate::file_system;

use super::open_files;

/// The longest name that Linux file systems accept.
const LONGEST_NAME: usize = 255;
const RANDOM: usize = 6;
/// How often another temporary name is tried.
const TRIES: u32 = 16;

/// The best way that works at the destination, as far as found out.
#[derive(Debug)]
pub struct Ways(AtomicU8);

/// The file has no name until it gets the final one, through its handle.
const BY_HANDLE: u8 = 0;
/// The same, through a path in `/proc`, because linkat(2) may accept a handle only from root.
const BY_PROC: u8 = 1;
/// The file has a temporary name, and is renamed.
const BY_RENAME: u8 = 2;
/// The same for file systems on which renaming could replace an existing file: the file gets the final name as a second one, and then loses the first.
const BY_LINK: u8 = 3;
/// Every way could replace something.
const NONE: u8 = 4;

/// A file that is being written. It is removed if this value is dropped.
pub struct Begun<'a> {
    file: OwnedFd,
    dir: BorrowedFd<'a>,
    named: Option<Named<'a>>,
    ways: &'a Ways,
}

/// A name that is removed when this value is dropped, unless `stays` is set.
struct Named<'a> {
    dir: BorrowedFd<'a>,
    name: OsString,
    stays: bool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if !self.stays {
            // If the name cannot be removed, it stays, as with rsync.
            let _ = unlinkat(self.dir, &self.name, AtFlags::empty());
        }
    }
}

impl Ways {
    /// The ways for this directory. If a file system reports lost bytes only when a file is closed, the file needs a temporary name, because it must be closed
    /// before it gets the final one.
    pub fn of(dest: impl AsFd) -> Ways {
        Ways(AtomicU8::new(if file_system::tells_at_once(dest) { BY_HANDLE } else { BY_RENAME }))
    }

    #[cfg(test)]
    pub fn with_names() -> Ways {
        Ways(AtomicU8::new(BY_RENAME))
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether any way works.
    pub fn are_any(&self) -> bool {
        self.now() < NONE
    }

    /// Records that this way does not work.
    fn lacks(&self, way: u8) {
        self.0.fetch_max(way + 1, Ordering::Relaxed);
    }
}

/// An empty file, which gets its final name at once, because it can never be incomplete. It is removed if this value is dropped, because rsync also leaves no
/// file that it cannot finish.
pub struct Empty<'a> {
    file: OwnedFd,
    named: Named<'a>,
}

impl<'a> Empty<'a> {
    /// Creates the file, unless something has the name.
    pub fn make(dir: BorrowedFd<'a>, name: &CStr, mode: Mode) -> Result<Empty<'a>> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, mode)?;
        Ok(Empty { file, named: Named { dir, name: OsString::from_vec(name.to_bytes().to_vec()), stays: false } })
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Keeps the file, with these times.
    pub fn keep(self, times: &Timestamps, ways: &Ways) -> Result<()> {
        let Empty { file, mut named } = self;
        if ways.now() <= BY_PROC {
            futimens(&file, times)?
        } else {
            named.close(file, times)?
        }
        named.stays = true;
        Ok(())
    }
}

impl Named<'_> {
    /// Closes the file and then sets its times. Some file systems set the time when they receive the bytes, which may be at the end.
    fn close(&self, file: OwnedFd, times: &Timestamps) -> Result<()> {
        open_files::close(file)?;
        utimensat(self.dir, &self.name, times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Renames the file, unless something has the new name.
    fn rename(mut self, name: &CStr, ways: &Ways) -> Result<()> {
        if ways.now() == BY_RENAME {
            match renameat_with(self.dir, &self.name, self.dir, name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => ways.lacks(BY_RENAME),
                renamed => {
                    self.stays = renamed.is_ok();
                    return renamed;
                }
            }
        }
        if !ways.are_any() {
            return Err(Errno::OPNOTSUPP);
        }
        // If both names stayed, the file would have two. The temporary one is removed when this value is dropped.
        let linked = linkat(self.dir, &self.name, self.dir, name, AtFlags::empty());
        if linked.as_ref().is_err_and(|errno| *errno != Errno::EXIST) {
            ways.lacks(BY_LINK);
        }
        linked
    }
}

impl<'a> Begun<'a> {
    /// Begins a file that will get this name. A file without a name gets `mode` at once, because nobody can see it. A file with a temporary name is closed to
    /// others.
    pub fn begin(dir: BorrowedFd<'a>, name: &CStr, mode: Mode, ways: &'a Ways) -> Result<Begun<'a>> {
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if ways.now() <= BY_PROC {
            match openat(dir, c".", unnamed, mode) {
                Ok(file) => return Ok(Begun { file, dir, named: None, ways }),
                // Errors of old kernels, of file systems without O_TMPFILE, and of some that do not know the flag.
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
                Ok(file) => {
                    return Ok(Begun { file, dir, named: Some(Named { dir, name: temporary, stays: false }), ways });
                }
                Err(Errno::EXIST) if tried < TRIES => tried += 1,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether the file has no name, so that it has the mode that [`Begun::begin`] got.
    pub fn is_unnamed(&self) -> bool {
        self.named.is_none()
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Sets the times of the file and gives it its name, unless something has that name.
    ///
    /// # Errors
    /// Something has the name, or the bytes of the file may be lost.
    pub fn publish(self, name: &CStr, times: &Timestamps) -> Result<()> {
        let Begun { file, dir, named, ways } = self;
        let Some(named) = named else {
            futimens(&file, times)?;
            return link(&file, dir, name, ways);
        };
        named.close(file, times)?;
        named.rename(name, ways)
    }
}

/// Gives a name to a file without one.
fn link(file: &OwnedFd, dir: BorrowedFd<'_>, name: &CStr, ways: &Ways) -> Result<()> {
    if ways.now() == BY_HANDLE {
        match linkat(file, c"", dir, name, AtFlags::EMPTY_PATH) {
            // The system reports a missing permission as ENOENT.
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => ways.lacks(BY_HANDLE),
            other => return other,
        }
    }
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    let linked = linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW);
    let cannot = [Errno::NOENT, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    if linked.as_ref().is_err_and(|errno| cannot.contains(errno)) {
        ways.lacks(BY_PROC);
    }
    linked
}

/// A hidden name that ends with six random letters, like rsync's temporary names (rsync(1), `--temp-dir`).
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
        let times = || super::super::attributes::times(&rustix::fs::stat("/").unwrap());
        for ways in [
            Ways(AtomicU8::new(BY_HANDLE)),
            Ways(AtomicU8::new(BY_PROC)),
            Ways::with_names(),
            Ways(AtomicU8::new(BY_LINK)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let handle = File::open(dir.path()).unwrap();
            let begin = || Begun::begin(handle.as_fd(), c"name", Mode::from_raw_mode(0o600), &ways).unwrap();
            let names = || fs::read_dir(dir.path()).unwrap().count();
            drop(begin());
            assert_eq!(names(), 0, "{ways:?}");
            let begun = begin();
            rustix::io::write(begun.file(), b"x").unwrap();
            begun.publish(c"name", &times()).unwrap();
            assert_eq!((names(), fs::read(dir.path().join("name")).unwrap()), (1, b"x".to_vec()), "{ways:?}");
            assert_eq!(begin().publish(c"name", &times()), Err(Errno::EXIST), "{ways:?}");
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
