//! The same directory in the source and at DEST, held open. It is found by its path, without following symbolic links.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fgetxattr_query, fstat, openat, openat2};
use rustix::io::{Errno, Result};

use crate::file_system;

use super::{Group, Makes, Order, way};

/// rsync accepts only paths of less than 4096 bytes (limits.h, `PATH_MAX`), including what it adds for a temporary name.
const LONGEST_PATH: usize = 4096 - 64;
const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// The same directory on both sides.
pub struct Pair {
    pub source: OwnedFd,
    pub dest: OwnedFd,
    pub device: u64,
    /// Files that are created here get another group than that of this process.
    pub other_group: bool,
    /// The length of names in this directory for which rsync's paths are short enough. Longer names are left to rsync.
    pub room: usize,
}

impl Pair {
    /// Opens the directory of a group; `None` if entries created in it would differ from those that rsync creates.
    pub fn open(dest: &OwnedFd, group: &Group, makes: Makes) -> Result<Option<Pair>> {
        let base = open_top(&group.base)?;
        let source = open_below(&base, &group.source)?;
        let dest = open_below(dest, &group.dest)?;
        let found = fstat(&dest)?;
        // With a default ACL, entries would get other permissions than those of their source.
        let has_acl = !matches!(fgetxattr_query(&dest, DEFAULT_ACL), Err(Errno::NODATA | Errno::OPNOTSUPP));
        let folds = file_system::folds_case(&dest).unwrap_or(false);
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

/// Opens DEST, if it is still the same directory.
pub fn open_dest(order: &Order) -> io::Result<OwnedFd> {
    let dest = way::open(&order.dest)?;
    let found = fstat(&dest)?;
    match order.identity {
        Some(identity) if identity != (found.st_dev, found.st_ino) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(dest),
    }
}

/// Opens a directory of the source. Symbolic links are followed, as rsync follows them, because the path may lead to a directory that is held open.
pub fn open_top(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory below another one, on the same file system, without following symbolic links.
pub fn open_below(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(top, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

/// How long a name in this directory may be so that its path is short enough; 0 if that cannot be determined.
fn room_below(dir: &OwnedFd) -> usize {
    let path = std::fs::read_link(format!("/proc/thread-self/fd/{}", dir.as_raw_fd()));
    path.map_or(0, |path| LONGEST_PATH.saturating_sub(path.as_os_str().len() + 1))
}
