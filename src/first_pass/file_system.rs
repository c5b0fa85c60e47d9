//! The behaviour of a file system, according to its type (statfs(2)).

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstatfs, statfs};

/// FUSE and virtiofs. A thread that waits for the process that serves the file system cannot be ended, not even by SIGKILL, and would keep multi-sync from
/// ending, while of an rsync only a child process remains. In addition, these file systems have peculiarities, such as a time or an error that belongs to
/// another file (experiments).
const FUSE: u32 = 0x6573_5546;
/// ext2 to ext4, XFS, btrfs, and tmpfs: an error of a write is reported when the write returns. An overlay is not included, because it may be on top of any
/// file system.
const TELL_AT_ONCE: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Whether a process serves the file system of this directory.
pub fn is_of_a_process(dir: impl AsFd) -> bool {
    fstatfs(dir).map_or(true, |found| found.f_type as u32 == FUSE)
}

/// The same for a path, which need not exist.
pub fn is_of_a_process_below(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| statfs(path).ok());
    found.is_none_or(|found| found.f_type as u32 == FUSE)
}

/// Whether an error of a write is reported when the write returns, and never only when the file is closed.
pub fn tells_at_once(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|found| TELL_AT_ONCE.contains(&(found.f_type as u32)))
}
