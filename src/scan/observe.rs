//! An observer of a scan: it gets the attributes of every entry, for tasks other than dividing the tree.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Statx, StatxFlags};

use super::subtree::Node;

/// The attributes that an [`Observer`] gets of each entry.
pub(super) const LOOKED_AT: StatxFlags = StatxFlags::BASIC_STATS;

/// Gets everything that a scan looks up ([`Scan::run_observed`](super::Scan::run_observed)). It is called from the threads of the scan, which wait for it.
pub trait Observer: Sync {
    /// Entries of a directory were looked up: all except directories. The entries of a large directory come in portions.
    fn entries(&self, directory: &Listing<'_>, entries: &[Seen<'_>]);

    /// A directory was listed completely, and contains this number of entries.
    fn listed(&self, directory: &Listing<'_>, entries: u64);
}

/// A directory that is being listed.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) dir: &'a OwnedFd,
}

impl Listing<'_> {
    /// Its name; empty for the contents of a root's base.
    pub fn name(&self) -> &[u8] {
        self.node.name()
    }

    /// Its path relative to the root's base; computed by each call.
    pub fn path(&self) -> Vec<u8> {
        self.node.path()
    }

    /// How many directories are above it, up to the root.
    pub fn depth(&self) -> usize {
        self.node.depth()
    }

    /// The length of its path in bytes.
    pub fn path_length(&self) -> usize {
        self.node.path_length()
    }

    /// The directory itself.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl std::fmt::Debug for Listing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listing({})", crate::entry::Printable::bytes(&self.path()))
    }
}

/// The attributes of an entry, as statx(2) defines them. A symbolic link is never followed for them, even if the scan follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Type and permissions.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// The space that it occupies in the file system, in bytes.
    pub allocated: u64,
    /// The modification time of its content, in seconds since 1970.
    pub modified: i64,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// Its link count.
    pub names: u32,
    /// Device and inode.
    pub inode: (u64, u64),
}

impl<'a> Seen<'a> {
    pub(crate) fn of(name: &'a [u8], stat: &Statx) -> Seen<'a> {
        const BLOCK: u64 = 512;
        Seen {
            name,
            mode: stat.stx_mode.into(),
            size: stat.stx_size,
            allocated: stat.stx_blocks.saturating_mul(BLOCK),
            modified: stat.stx_mtime.tv_sec,
            user: stat.stx_uid,
            group: stat.stx_gid,
            names: stat.stx_nlink,
            inode: (rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
        }
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::RegularFile
    }
}
