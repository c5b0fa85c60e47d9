//! The events of a scan: spine directories, units, units that belong together, and errors.

use std::sync::Arc;

use rustix::io::Errno;

use crate::entry::Printable;

use super::Weight;
use super::subtree::Node;

/// A spine directory. `index` counts from 0 over the whole scan.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Spine<'a> {
    /// Position in the order of discovery; parents come first.
    pub index: u32,
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// Path relative to the root's base; empty for the base itself.
    pub path: &'a [u8],
    /// Permission bits, as the scan found them.
    pub mode: u32,
    /// Device and inode, as the scan found them.
    pub identity: (u64, u64),
    /// A mount point that is not entered ([`Scan::one_file_system`](super::Scan::one_file_system)): it has no units.
    pub mount_point: bool,
    /// Whether a user other than root and the one who runs this process could put something else in its place, or in the place of a directory above it up to
    /// the root's base. The path of the base itself is the responsibility of whoever names it.
    pub exposed: bool,
    pub(super) ends: Ends<'a>,
}

/// How the scan below a directory can be ended.
#[derive(Clone, Copy)]
pub(super) enum Ends<'a> {
    /// Nothing is read below it.
    Nothing,
    Node(&'a Arc<Node>),
    Far(&'a Pruner),
}

impl<'a> Spine<'a> {
    /// A directory that was reported by a scan on another machine; `attributes` are its mode and its identity.
    pub(crate) fn of_far(
        index: u32,
        root: u32,
        path: &'a [u8],
        (mode, identity): (u32, (u64, u64)),
        exposed: bool,
        pruner: Option<&'a Pruner>,
    ) -> Spine<'a> {
        let ends = pruner.map_or(Ends::Nothing, Ends::Far);
        Spine { index, root, path, mode, identity, mount_point: pruner.is_none(), exposed, ends }
    }

    /// A handle that can end the scan below this directory later.
    pub fn pruner(&self) -> Pruner {
        match self.ends {
            Ends::Nothing => Pruner(Pruning::Nothing),
            Ends::Node(node) => Pruner(Pruning::Node(Arc::clone(node))),
            Ends::Far(pruner) => Pruner(pruner.0.clone()),
        }
    }
}

impl std::fmt::Debug for Spine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spine({}, {})", self.index, Printable::bytes(self.path))
    }
}

/// Ends the scan below one spine directory.
pub struct Pruner(Pruning);

#[derive(Clone)]
enum Pruning {
    Nothing,
    Node(Arc<Node>),
    Far(Arc<dyn Fn() + Send + Sync>),
}

impl std::fmt::Debug for Pruner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pruner").finish_non_exhaustive()
    }
}

impl Pruner {
    /// For a directory on another machine, where `prune` ends the scan.
    pub(crate) fn far(prune: impl Fn() + Send + Sync + 'static) -> Pruner {
        Pruner(Pruning::Far(Arc::new(prune)))
    }

    /// Nothing below the directory is read any more. Events about what was read before may still come.
    pub fn prune(&self) {
        match &self.0 {
            Pruning::Nothing => {}
            Pruning::Node(node) => node.prune(),
            Pruning::Far(prune) => prune(),
        }
    }
}

/// One name of a file that has several names, in a spine directory ([`Scan::hard_links`](super::Scan::hard_links)).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Linked<'a> {
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// The spine directory that contains it.
    pub spine: u32,
    /// Path of that directory relative to the root's base.
    pub dir: &'a [u8],
    /// The name.
    pub name: &'a [u8],
    /// Its weight.
    pub weight: Weight,
    /// Device and inode.
    pub inode: (u64, u64),
    /// Number of names the file has, in the source or elsewhere.
    pub names: u32,
}

/// Units that have to be copied together: directories that share files with each other, or with names reported as [`Event::Linked`]. Each unit is within the
/// limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkedDirs {
    /// The directories.
    pub units: Vec<LinkedDir>,
    /// Device and inode of each file that has further names outside these directories. Those names have to be copied together with these units.
    pub inodes: Vec<(u64, u64)>,
}

/// One of [`LinkedDirs::units`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkedDir {
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// The spine directory that contains it.
    pub spine: u32,
    /// Path of that directory relative to the root's base.
    pub dir: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
    /// The weight of the directory and everything below it.
    pub weight: Weight,
}

/// Units of one spine directory, in the order in which they were found.
#[derive(Debug, Clone, Copy)]
pub struct Units<'a> {
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// The spine directory that contains them; `None` for a root that was not split.
    pub spine: Option<u32>,
    /// Path of that directory relative to the root's base; empty for the base itself.
    pub dir: &'a [u8],
    pub(super) names: &'a [u8],
    pub(super) weights: &'a [Weight],
}

/// One unit: its name below [`Units::dir`] and its weight. A subtree and a single name differ only in their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit<'a> {
    /// A file name: no slash, not empty, except for the contents of an unsplit root, whose name is empty.
    pub name: &'a [u8],
    /// The weight of the name and everything below it.
    pub weight: Weight,
}

impl<'a> Units<'a> {
    /// `names` each end with a NUL; `weights` has one weight for each name.
    pub(crate) fn new(
        root: u32,
        spine: Option<u32>,
        dir: &'a [u8],
        names: &'a [u8],
        weights: &'a [Weight],
    ) -> Units<'a> {
        Units { root, spine, dir, names, weights }
    }

    /// The names and weights, in the form that [`Units::new`] takes.
    pub(crate) fn parts(&self) -> (&'a [u8], &'a [Weight]) {
        (self.names, self.weights)
    }

    /// The units of the batch.
    pub fn iter(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        self.names
            .split_inclusive(|byte| *byte == 0)
            .zip(self.weights)
            .map(|(name, weight)| Unit { name: &name[..name.len() - 1], weight: *weight })
    }
}

/// An entry that the scan could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanError {
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// Path relative to the root's base.
    pub path: Vec<u8>,
    /// What was attempted, such as "open directory".
    pub attempted: &'static str,
    /// Why it failed.
    pub(crate) errno: Errno,
    /// Whether the entry is nevertheless part of a unit, so that rsync will meet the same error. If false, there are entries that are in no unit.
    pub in_unit: bool,
}

impl ScanError {
    /// Why it failed.
    pub fn cause(&self) -> std::io::Error {
        self.errno.into()
    }

    /// Whether the entry was deleted between being listed and being looked up (rsync's exit code 24, not 23).
    pub fn vanished(&self) -> bool {
        self.errno == Errno::NOENT && !self.in_unit
    }
}

impl std::fmt::Display for ScanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = if self.path.is_empty() { &b"."[..] } else { &self.path };
        write!(f, "cannot {} {}: {}", self.attempted, Printable::bytes(shown), std::io::Error::from(self.errno))
    }
}

impl std::error::Error for ScanError {}

/// Why a directory was not split although it is larger than the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum KeptWhole {
    /// [`Scan::keep_locked_whole`](super::Scan::keep_locked_whole).
    Locked,
    /// [`Scan::merge_files`](super::Scan::merge_files).
    MergeFile,
    /// [`Scan::follow`](super::Scan::follow).
    Link,
    /// [`Scan::unsafe_links_whole`](super::Scan::unsafe_links_whole).
    UnsafeLink,
    /// Its path is so long that the paths of its entries could not be arguments of rsync.
    LongPath,
    /// The process ran out of file descriptors; the directory was not read.
    NoDescriptor,
}

impl std::fmt::Display for KeptWhole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeptWhole::Locked => "without u+rwx, not root and no --perms",
            KeptWhole::MergeFile => "it holds filter rules",
            KeptWhole::Link => "a link that is followed",
            KeptWhole::UnsafeLink => "it holds a link that rsync follows, and rules may be about that",
            KeptWhole::LongPath => "its path is too long",
            KeptWhole::NoDescriptor => "no file descriptor left to read it (raise `ulimit -n`)",
        })
    }
}

/// What the scan reports while it runs. Events come from any of its threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A directory turned out to be larger than the limits.
    Spine(Spine<'a>),
    /// Units whose parent is spine, or one unsplit root.
    Units(Units<'a>),
    /// A unit that has to be copied together with the other names of its inode.
    Linked(Linked<'a>),
    /// Units that have to be copied together. They are reported when everything was read. All other names of their inodes were reported before.
    LinkedDirs(LinkedDirs),
    /// A directory stays whole, whatever its size.
    KeptWhole {
        /// Index into [`Scan::roots`](super::Scan::roots).
        root: u32,
        /// Path relative to the root's base.
        path: &'a [u8],
        /// The rule.
        why: KeptWhole,
    },
    /// An entry could not be read. A directory that cannot be opened is still part of a unit, so that rsync reports the same error.
    Error(ScanError),
}
