//! What a file system does, by its kind (statfs(2)).

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstatfs, statfs};

/// FUSE, and virtiofs. What waits for the process behind it cannot be ended, not even by SIGKILL, and would keep this process as well, where one rsync leaves
/// a child behind. And each has manners of its own: a time or an error that belongs to another file (experiments).
const FUSE: u32 = 0x6573_5546;
/// ext2 to ext4, XFS, btrfs, and tmpfs: each write that fails is told when it returns. An overlay may be on top of anything.
const TELL_AT_ONCE: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Whether another process answers for this directory.
pub fn is_of_a_process(dir: impl AsFd) -> bool {
    fstatfs(dir).map_or(true, |found| found.f_type as u32 == FUSE)
}

/// The same of a path, which need not exist.
pub fn is_of_a_process_below(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| statfs(path).ok());
    found.is_none_or(|found| found.f_type as u32 == FUSE)
}

/// Whether each write that fails is told when it returns, and nothing more when the file is closed.
pub fn tells_at_once(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|found| TELL_AT_ONCE.contains(&(found.f_type as u32)))
}
