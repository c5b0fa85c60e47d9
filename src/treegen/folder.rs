//! A folder: an open directory below the root, in which things are created.
//!
//! All system calls that write are in this module. Everything is relative to the handle and follows no symbolic link; the path is only for error messages.
//! New entries are created with their final permission bits and times, except directories, which get these at the end.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, StatxFlags, Timespec, Timestamps, chmodat, fchmod, ftruncate,
    futimens, linkat, mkdirat, mknodat, openat, renameat, statx, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pwrite};

use super::Fill;
use super::random::Random;
use crate::error::{Error, Result};

/// Content is written in blocks of this many bytes.
const BLOCK: usize = 64 * 1024;
/// The size of an island of random bytes, and the distance from one to the next.
const ISLAND: u64 = 4096;
const ISLAND_DISTANCE: u64 = 128 * 1024;

/// An open directory.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

/// The attributes of every entry, besides its name and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) mtime: Mtime,
}

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mtime(pub(super) i64, pub(super) u32);

impl Mtime {
    /// A time from 2001 to 2017, sometimes in whole seconds.
    pub(super) fn random(random: &mut Random) -> Self {
        let seconds = 1_000_000_000 + random.below(500_000_000) as i64;
        Mtime(seconds, if random.percent(25) { 0 } else { random.below(1_000_000_000) as u32 })
    }
}

/// The type and attributes of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) kind: FileType,
    pub(super) mode: u32,
    pub(super) size: u64,
}

impl Folder {
    /// Creates `root`, or takes it if it is an empty directory.
    pub(super) fn new_root(root: &Path) -> Result<Folder> {
        match mkdirat(CWD, root, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("make the directory", root, errno)),
        }
        let folder = Folder::existing(root)?;
        if !folder.names()?.is_empty() {
            let shown = crate::entry::Printable::path(root).to_string();
            return Err(Error::usage(format!("will not make a tree in {shown}: it is not empty")));
        }
        Ok(folder)
    }

    pub(super) fn existing(root: &Path) -> Result<Folder> {
        let handle = openat(CWD, root, dir_flags(), Mode::empty());
        let handle = handle.map_err(|errno| Error::io("open the directory", root, errno))?;
        Ok(Folder { handle, path: root.to_path_buf() })
    }

    pub(super) fn enter(&self, name: &[u8]) -> Result<Folder> {
        let handle = openat(&self.handle, name, dir_flags(), Mode::empty());
        let handle = handle.map_err(|errno| self.failed("open the directory", name, errno))?;
        Ok(Folder { handle, path: self.path_of(name) })
    }

    /// The folder at this path; an empty one means this folder.
    pub(super) fn reach(&self, path: &[u8]) -> Result<Folder> {
        let mut reached = self.enter(b".")?;
        reached.path.clone_from(&self.path);
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            reached = reached.enter(name)?;
        }
        Ok(reached)
    }

    /// The names in this folder, sorted.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>> {
        let list = || {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.handle)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|errno: Errno| Error::io("list", &self.path, errno))
    }

    pub(super) fn look(&self, name: &[u8]) -> Result<Found> {
        let stat = statx(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
            .map_err(|errno| self.failed("look at", name, errno))?;
        let mode = u32::from(stat.stx_mode);
        let kind = FileType::from_raw_mode(mode as RawMode);
        Ok(Found { kind, mode: mode & 0o7777, size: stat.stx_size })
    }

    /// Creates a directory that only the caller can enter, until it is settled.
    pub(super) fn make_dir(&self, name: &[u8]) -> Result<()> {
        mkdirat(&self.handle, name, Mode::RWXU).map_err(|errno| self.failed("make the directory", name, errno))
    }

    /// Creates a file, or fails if the name exists.
    pub(super) fn make_file(&self, name: &[u8], size: u64, fill: Fill, content: u64, to: Attributes) -> Result<()> {
        self.write_file(name, OFlags::CREATE | OFlags::EXCL, size, fill, content, to)
    }

    /// Gives an existing file other content.
    pub(super) fn rewrite(&self, name: &[u8], size: u64, content: u64, to: Attributes) -> Result<()> {
        // Without privileges, a file without the w bit cannot be opened for writing.
        chmodat(&self.handle, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())
            .map_err(|errno| self.failed("change the mode of", name, errno))?;
        self.write_file(name, OFlags::TRUNC, size, Fill::Random, content, to)
    }

    fn write_file(&self, name: &[u8], how: OFlags, size: u64, fill: Fill, content: u64, to: Attributes) -> Result<()> {
        let flags = how | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            let file = openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)?;
            write_content(&file, size, fill, content)?;
            fchmod(&file, Mode::from_raw_mode(to.mode as RawMode))?;
            futimens(&file, &times(to.mtime))
        };
        write().map_err(|errno| self.failed("write", name, errno))
    }

    pub(super) fn make_symlink(&self, name: &[u8], target: &[u8], mtime: Mtime) -> Result<()> {
        symlinkat(target, &self.handle, name).map_err(|errno| self.failed("make the symbolic link", name, errno))?;
        self.touch(name, mtime)
    }

    /// Creates a FIFO or a socket.
    pub(super) fn make_special(&self, name: &[u8], kind: FileType, to: Attributes) -> Result<()> {
        mknodat(&self.handle, name, kind, Mode::RUSR, 0)
            .map_err(|errno| self.failed("make the special file", name, errno))?;
        self.chmod(name, to.mode)?;
        self.touch(name, to.mtime)
    }

    /// Makes `name` a hard link to the entry at `path` below `root`.
    pub(super) fn make_link(&self, name: &[u8], root: &Folder, path: &[u8]) -> Result<()> {
        let (above, old) = split(path);
        let above = root.reach(above)?;
        linkat(&above.handle, old, &self.handle, name, AtFlags::empty())
            .map_err(|errno| self.failed("make the hard link", name, errno))
    }

    /// Sets the attributes of the folder itself.
    pub(super) fn settle(&self, to: Attributes) -> Result<()> {
        fchmod(&self.handle, Mode::from_raw_mode(to.mode as RawMode))
            .and_then(|()| futimens(&self.handle, &times(to.mtime)))
            .map_err(|errno| Error::io("set the mode and time of", &self.path, errno))
    }

    /// Makes the folder itself writable for the caller, until it is settled.
    pub(super) fn unlock(&self) -> Result<()> {
        fchmod(&self.handle, Mode::RWXU).map_err(|errno| Error::io("change the mode of", &self.path, errno))
    }

    /// Sets permission bits. Not for symbolic links.
    pub(super) fn chmod(&self, name: &[u8], mode: u32) -> Result<()> {
        chmodat(&self.handle, name, Mode::from_raw_mode(mode as RawMode), AtFlags::empty())
            .map_err(|errno| self.failed("change the mode of", name, errno))
    }

    pub(super) fn touch(&self, name: &[u8], mtime: Mtime) -> Result<()> {
        utimensat(&self.handle, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("set the time of", name, errno))
    }

    pub(super) fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> Result<()> {
        renameat(&self.handle, name, &to.handle, new).map_err(|errno| self.failed("rename", name, errno))
    }

    /// Removes `name` and everything below it.
    pub(super) fn remove(&self, name: &[u8]) -> Result<()> {
        let mut flags = AtFlags::empty();
        if self.look(name)?.kind == FileType::Directory {
            let folder = self.enter(name)?;
            folder.unlock()?;
            folder.names()?.iter().try_for_each(|name| folder.remove(name))?;
            flags = AtFlags::REMOVEDIR;
        }
        unlinkat(&self.handle, name, flags).map_err(|errno| self.failed("remove", name, errno))
    }

    fn failed(&self, attempted: &str, name: &[u8], errno: Errno) -> Error {
        Error::io(attempted, &self.path_of(name), errno)
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }
}

/// The path of the folder above, empty if that is the root, and the last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn write_content(file: &OwnedFd, size: u64, fill: Fill, content: u64) -> std::result::Result<(), Errno> {
    let mut random = Random::new(content);
    match fill {
        Fill::Random => write_random(file, 0, size, &mut random),
        Fill::Hole if size == 0 => Ok(()),
        Fill::Hole => ftruncate(file, size),
        Fill::Islands => {
            ftruncate(file, size)?;
            let mut at = 0;
            while at < size {
                write_random(file, at, ISLAND.min(size - at), &mut random)?;
                at += ISLAND_DISTANCE;
            }
            Ok(())
        }
    }
}

fn write_random(file: &OwnedFd, from: u64, count: u64, random: &mut Random) -> std::result::Result<(), Errno> {
    let mut buffer = vec![0; count.min(BLOCK as u64) as usize];
    let mut written = 0;
    while written < count {
        let length = (count - written).min(BLOCK as u64) as usize;
        let mut block = &mut buffer[..length];
        random.fill(block);
        while !block.is_empty() {
            let part = pwrite(file, block, from + written)?;
            written += part as u64;
            block = &mut block[part..];
        }
    }
    Ok(())
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
