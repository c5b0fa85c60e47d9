//! The same directory on both sides, held open: found by its name, without a link on the way.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fgetxattr_query, fstat, ioctl_getflags, openat, openat2};
use rustix::io::{Errno, Result};

use super::{Group, Makes, Order, file_system, way};

/// rsync names files by paths, of which it takes less than 4096 bytes (limits.h, `PATH_MAX`), with what a temporary name adds.
const LONGEST_PATH: usize = 4096 - 64;
/// A directory in which names that differ in case only are one (ioctl_iflags(2), `FS_CASEFOLD_FL`).
const CASEFOLD: u32 = 0x4000_0000;
const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// The same directory on both sides.
pub struct Pair {
    pub source: OwnedFd,
    pub dest: OwnedFd,
    pub device: u64,
    /// Files that are made here have another group than ours.
    pub other_group: bool,
    /// Longer names are rsync's: the path of such a file may be too long for it.
    pub room: usize,
}

impl Pair {
    /// The directory that names of a group are in; `None` if what is made there would be something else than rsync makes.
    pub fn open(dest: &OwnedFd, group: &Group, makes: Makes) -> Result<Option<Pair>> {
        let base = open_top(&group.base)?;
        let source = open_below(&base, &group.source)?;
        let dest = open_below(dest, &group.dest)?;
        let found = fstat(&dest)?;
        // What is made below would have other permissions than it has from its source alone.
        let has_acl = !matches!(fgetxattr_query(&dest, DEFAULT_ACL), Err(Errno::NODATA | Errno::OPNOTSUPP));
        let folds = ioctl_getflags(&dest).is_ok_and(|flags| flags.bits() & CASEFOLD != 0);
        let other_group = found.st_mode & Mode::SGID.bits() != 0;
        let waits = file_system::is_of_a_process(&source);
        if has_acl || folds || waits || other_group && !makes.group {
            return Ok(None);
        }
        let device = fstat(&source)?.st_dev;
        let room = room_below(&source).min(room_below(&dest));
        Ok(Some(Pair { source, dest, device, other_group, room }))
    }
}

/// DEST, if it is the directory that it was.
pub fn open_dest(order: &Order) -> io::Result<OwnedFd> {
    let dest = way::open(&order.dest)?;
    let found = fstat(&dest)?;
    match order.identity {
        Some(identity) if identity != (found.st_dev, found.st_ino) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(dest),
    }
}

/// A directory of the source, by a path that leads to what is held; links are followed, as rsync follows them.
pub fn open_top(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A directory below another, on the same file system, without a link on the way.
pub fn open_below(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(top, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

/// How long a name may be in this directory so that its path fits for everybody; nothing if that cannot be found out.
fn room_below(dir: &OwnedFd) -> usize {
    let path = std::fs::read_link(format!("/proc/thread-self/fd/{}", dir.as_raw_fd()));
    path.map_or(0, |path| LONGEST_PATH.saturating_sub(path.as_os_str().len() + 1))
}
