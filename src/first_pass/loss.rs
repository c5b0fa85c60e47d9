//! Whether a destination tells of each write that fails when that returns.
//!
//! A network or a process may tell only when a file is closed that its bytes were lost (close(2)), once, and to whoever closes it first: that may be a child
//! of this process, which is started at this moment and has all open files until it is another program. An rsync starts nothing while it writes.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstatfs, statfs};

/// ext2 to ext4, XFS, btrfs, and tmpfs (statfs(2)): what was tried. An overlay may be on top of anything.
const KNOWN: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Whether the file system of this directory is known to.
pub fn is_told_at_once(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|found| KNOWN.contains(&(found.f_type as u32)))
}

/// The same of a path, which need not exist.
pub fn is_told_at_once_below(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| statfs(path).ok());
    found.is_some_and(|found| KNOWN.contains(&(found.f_type as u32)))
}
