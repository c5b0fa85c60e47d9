//! The scan: reads source trees in parallel and streams what must be copied as *units* and *spine* directories.
//!
//! A **unit** is handed to rsync whole: a subtree that fits [`Limits`], or a single name. A directory that outgrows the limits is
//! **spine**: it is announced once, before anything below it, and what it holds leaves as units of its own. Nothing is decided about
//! rsync here, nothing is written, and no link is followed unless rsync does: `walk` reads directories, or `ignore_walk` where ignore
//! rules count; `look` asks the file system about names, `subtree` sums and splits, and `linked` keeps together what shares files.
//!
//! Guarantees, whatever the walker and the number of threads:
//! - each entry below a source is in exactly one unit, or is a spine directory, or is named by an [`Event::Error`];
//! - a unit is within the limits unless it is one single name, or a directory that must stay whole (announced by [`Event::KeptWhole`]);
//! - spine directories are numbered from 0 in the order of their events, and every directory above a spine directory or unit comes
//!   before it;
//! - a unit leaves as soon as its parent is known to be spine (with [`Scan::hard_links`] one that shares files with others when the scan
//!   ends), so memory is bounded by the open directories (each holds at most [`Limits::entries`] names), not by the tree. On top come
//!   [`Small::entries`] and, where ignore rules count, the names of the directories that are being read.

mod ignore_walk;
mod linked;
mod look;
mod subtree;
mod threads;
mod walk;

use std::ffi::{CStr, OsString};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::prune::Prune;

pub(crate) use look::holds_unsafe_link;
pub use subtree::Small;
pub(crate) use subtree::below;
pub use threads::usual_threads;

/// How large a unit (and a bucket) may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries (files, links, directories, ...), counted with all that is below a directory.
    pub entries: NonZero<u64>,
    /// Bytes of regular files, by their length.
    pub bytes: NonZero<u64>,
}

impl Limits {
    /// Whether a sum is within the limits.
    pub fn hold(&self, weight: Weight) -> bool {
        weight.entries <= self.entries.get() && weight.bytes <= self.bytes.get()
    }
}

/// What a unit, a bucket or a tree weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weight {
    /// Entries, directories included.
    pub entries: u64,
    /// Bytes of regular files, by their length.
    pub bytes: u64,
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::ops::Add for Weight {
    type Output = Weight;
    fn add(mut self, other: Weight) -> Weight {
        self += other;
        self
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(weights: I) -> Weight {
        weights.fold(Weight::default(), |a, b| a + b)
    }
}

/// One source directory: the directory `base`, or `base/name` when only that child of it is transferred (rsync's form without a
/// trailing slash). Paths in events are relative to `base`.
#[derive(Debug, Clone)]
pub struct Root {
    /// The directory names are relative to; opened following links, as rsync does with an argument.
    pub base: PathBuf,
    /// The one directory below `base` that is transferred; `None` means the contents of `base`. Never followed if a link.
    pub name: Option<OsString>,
}

impl Root {
    /// The directory that is scanned.
    pub fn path(&self) -> PathBuf {
        let mut path = self.base.clone();
        path.extend(&self.name);
        path
    }
}

/// What a scan should do; [`Scan::run`] does it.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The source directories, at most `u32::MAX`; no entry may be below two of them.
    pub roots: Vec<Root>,
    /// The size of units.
    pub limits: Limits,
    /// Threads that read directories.
    pub threads: NonZero<usize>,
    /// Make the top directory of each root spine even when the whole fits one unit.
    pub split_roots: bool,
    /// rsync's `-x`, counted: with 1 a directory on another file system is not entered, with 2 it is left out too.
    pub one_file_system: u8,
    /// A directory that holds one of these names stays whole: rsync reads filter rules there (rsync(1), PER-DIRECTORY RULES).
    pub merge_files: Vec<OsString>,
    /// Symbolic links that rsync follows.
    pub follow: Follow,
    /// A directory that holds a link which may lead out of the source to a directory stays whole: rsync copies it as a directory, but takes it
    /// for a link where it is an argument and filter rules are asked (`--copy-unsafe-links`).
    pub unsafe_links_whole: bool,
    /// Directories that these rules exclude are not entered: they are units that weigh one entry.
    pub prune: Prune,
    /// A directory (device and inode) that is not part of the source although it is in it: its parent is split.
    pub left_out: Option<(u64, u64)>,
    /// rsync's `-H`: names of one inode are told as what goes together, by themselves ([`Event::Linked`]) or in the directories that hold
    /// them ([`Event::LinkedDirs`]).
    pub hard_links: bool,
    /// With `Some(n)` directories that share files may weigh up to an n-th of all that was found where [`Scan::limits`] are smaller than
    /// that. Directories that weigh more together are split.
    pub linked_parts: Option<NonZero<u64>>,
    /// Directories without all of `u+rwx` stay whole (for a user other than root who does not preserve permissions: several rsync
    /// processes cannot write into one such directory; experiment in `tests/`).
    pub keep_locked_whole: bool,
    /// Bytes that may come before the path of a split directory elsewhere than below its base.
    pub longest_base: usize,
    /// Leave out what the rules of `.gitignore`, `.ignore`, `.git/info/exclude` and git's global file ignore, whether or not there is a
    /// repository. A directory that holds something ignored is spine, so that no unit does. Rules above a source count where it
    /// is part of a repository. What the index has is ignored all the same if the rules say so.
    pub gitignore: bool,
}

/// Symbolic links that are followed. What a link leads to stays whole, so that no argument of rsync goes through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Follow {
    /// None.
    #[default]
    Nothing,
    /// Those that lead to directories (`--copy-dirlinks`).
    Directories,
    /// All (`--copy-links`).
    All,
}

/// A spine directory. `index` counts from 0 over the whole scan.
#[derive(Clone, Copy)]
pub struct Spine<'a> {
    /// Position in the order of discovery; parents come first.
    pub index: u32,
    /// Index into [`Scan::roots`].
    pub root: u32,
    /// Path relative to the root's base; empty for the base itself.
    pub path: &'a [u8],
    /// Permission bits, as the scan found them.
    pub mode: u32,
    /// Device and inode, as the scan found them.
    pub identity: (u64, u64),
    /// A mount point that is not entered ([`Scan::one_file_system`]): it has no units.
    pub mount_point: bool,
    /// A user other than root and the one that runs this may put something else in its place, or in that of a directory above it:
    /// up to the root's base, whose own path is whoever's who names it.
    pub exposed: bool,
    node: Option<&'a Arc<subtree::Node>>,
}

impl Spine<'_> {
    /// The way to end the scan below this directory later.
    pub fn pruner(&self) -> Pruner {
        Pruner(self.node.cloned())
    }
}

impl std::fmt::Debug for Spine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spine({}, {})", self.index, Printable::bytes(self.path))
    }
}

/// Ends the scan below one spine directory.
pub struct Pruner(Option<Arc<subtree::Node>>);

impl Pruner {
    /// Nothing below the directory is read any more. Events about what was read before may still come.
    pub fn prune(&self) {
        if let Some(node) = &self.0 {
            node.prune();
        }
    }
}

/// One name of a file that has others, in a spine directory ([`Scan::hard_links`]).
#[derive(Debug, Clone, Copy)]
pub struct Linked<'a> {
    /// Index into [`Scan::roots`].
    pub root: u32,
    /// The spine directory that holds it.
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

/// Units that have to be copied together: directories that share files with each other, or with names told as [`Event::Linked`]. Each is
/// within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedDirs {
    /// The directories.
    pub units: Vec<LinkedDir>,
    /// Device and inode of each file that has names elsewhere than in one of the directories: also those that go together with them.
    pub inodes: Vec<(u64, u64)>,
}

/// One of [`LinkedDirs::units`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedDir {
    /// Index into [`Scan::roots`].
    pub root: u32,
    /// The spine directory that holds it.
    pub spine: u32,
    /// Path of that directory relative to the root's base.
    pub dir: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
    /// It and everything below it.
    pub weight: Weight,
}

/// Units that share one spine directory, in the order they were found.
#[derive(Debug, Clone, Copy)]
pub struct Units<'a> {
    /// Index into [`Scan::roots`].
    pub root: u32,
    /// The spine directory that holds them; `None` for a root that was not split.
    pub spine: Option<u32>,
    /// Path of that directory relative to the root's base; empty for the base itself.
    pub dir: &'a [u8],
    names: &'a [u8],
    weights: &'a [Weight],
}

/// One unit: the name below [`Units::dir`] and what it weighs. A subtree and a single name differ in nothing but that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit<'a> {
    /// A file name: no slash, not empty, except for the contents of an unsplit root, whose name is empty.
    pub name: &'a [u8],
    /// The name and everything below it.
    pub weight: Weight,
}

impl<'a> Units<'a> {
    /// The units of the batch.
    pub fn iter(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        self.names
            .split_inclusive(|byte| *byte == 0)
            .zip(self.weights)
            .map(|(name, weight)| Unit { name: &name[..name.len() - 1], weight: *weight })
    }
}

/// Names with their weights, as [`Units`] lends them: one buffer, so that a flat directory of millions costs no allocation per name.
#[derive(Debug, Default)]
struct Names {
    names: Vec<u8>,
    weights: Vec<Weight>,
}

impl Names {
    fn push(&mut self, name: &CStr, weight: Weight) {
        self.names.extend_from_slice(name.to_bytes_with_nul());
        self.weights.push(weight);
    }

    /// As [`Names::push`], for a name without a NUL.
    fn push_bytes(&mut self, name: &[u8], weight: Weight) {
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.weights.push(weight);
    }

    fn append(&mut self, other: &Names) {
        self.names.extend_from_slice(&other.names);
        self.weights.extend_from_slice(&other.weights);
    }

    fn clear(&mut self) {
        self.names.clear();
        self.weights.clear();
    }

    fn weight(&self) -> Weight {
        self.weights.iter().copied().sum()
    }
}

/// Something the scan could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanError {
    /// Index into [`Scan::roots`].
    pub root: u32,
    /// Path relative to the root's base.
    pub path: Vec<u8>,
    /// What was attempted, such as "open directory".
    pub attempted: &'static str,
    /// Why it failed.
    pub errno: Errno,
    /// The entry is part of a unit all the same, so that rsync will meet the same error; false if entries are in no unit.
    pub in_unit: bool,
}

impl ScanError {
    /// Whether the entry went away between being listed and being looked at (rsync's exit code 24, not 23).
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

/// Why a directory was not split although it outgrew the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeptWhole {
    /// [`Scan::keep_locked_whole`].
    Locked,
    /// [`Scan::merge_files`].
    MergeFile,
    /// [`Scan::follow`].
    Link,
    /// [`Scan::unsafe_links_whole`].
    UnsafeLink,
    /// Its path is so long that what is in it could be no argument of rsync.
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

/// What the scan tells while it runs; from any of its threads.
#[derive(Debug)]
pub enum Event<'a> {
    /// A directory was found to outgrow the limits.
    Spine(Spine<'a>),
    /// Units whose parent is spine, or one unsplit root.
    Units(Units<'a>),
    /// A unit that has to be copied together with the other names of its inode.
    Linked(Linked<'a>),
    /// Units that have to be copied together. They come when everything was read; all names of their inodes that are told otherwise come
    /// before.
    LinkedDirs(LinkedDirs),
    /// A directory stays whole whatever its size.
    KeptWhole {
        /// Index into [`Scan::roots`].
        root: u32,
        /// Path relative to the root's base.
        path: &'a [u8],
        /// The rule.
        why: KeptWhole,
    },
    /// An entry could not be read. A directory that cannot be opened is still part of a unit: rsync will say the same of it.
    Error(ScanError),
}

/// Live counts of a scan, and the way to stop it; shared with whoever shows progress.
#[derive(Debug, Default)]
pub struct Watch {
    entries: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Watch {
    /// Found so far: entries and bytes.
    pub fn found(&self) -> Weight {
        Weight { entries: self.entries.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Found so far: directories, which are among the entries.
    pub fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    /// Makes the scan end early. What it has not read by then is in no event.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Counts a source that needs no scan.
    pub(crate) fn count_single(&self, weight: Weight) {
        self.count(0, weight);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, directories: u64, weight: Weight) {
        self.entries.fetch_add(weight.entries, Ordering::Relaxed);
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.bytes.fetch_add(weight.bytes, Ordering::Relaxed);
    }
}

impl Scan {
    /// A scan of everything below the roots, with nothing special.
    pub fn new(roots: Vec<Root>, limits: Limits, threads: NonZero<usize>) -> Scan {
        Scan {
            roots,
            limits,
            threads,
            split_roots: false,
            one_file_system: 0,
            merge_files: Vec::new(),
            follow: Follow::Nothing,
            unsafe_links_whole: false,
            prune: Prune::default(),
            left_out: None,
            hard_links: false,
            linked_parts: None,
            keep_locked_whole: false,
            longest_base: 0,
            gitignore: false,
        }
    }

    /// What the path of a split directory below the base of `root` may take: the longest path of a system call, less the base, and room for
    /// a name in the directory and what rsync adds.
    fn path_room(&self, root: &Root) -> usize {
        const LONGEST_PATH: usize = 4096;
        const NAME: usize = 256;
        const ADDED: usize = 128;
        let base = self.longest_base.max(root.base.as_os_str().len());
        (LONGEST_PATH - NAME - ADDED).saturating_sub(base)
    }

    /// Scans all roots and returns when everything has been told to `sink`, or after [`Watch::stop`]. The sink is called from
    /// several threads, and calls it makes must not wait for the scan.
    ///
    /// # Errors
    /// Only when nothing could be scanned at all: the threads could not be started, a root's base could not be opened, or
    /// [`Scan::gitignore`] is asked for together with directories that stay whole. Every later failure is an [`Event::Error`].
    ///
    /// ```
    /// use std::{num::NonZero, sync::Mutex};
    /// use multi_sync::scan::{Event, Limits, Root, Scan, Watch};
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// for name in ["a", "b", "c"] { std::fs::write(folder.path().join(name), "x").unwrap(); }
    /// let roots = vec![Root { base: folder.path().into(), name: None }];
    /// let limits = Limits { entries: NonZero::new(2).unwrap(), bytes: NonZero::<u64>::MAX };
    /// let scan = Scan::new(roots, limits, NonZero::new(2).unwrap());
    /// let found = Mutex::new(Vec::new());
    /// let watch = Watch::default();
    /// scan.run(&watch, &|event| {
    ///     if let Event::Units(units) = event {
    ///         found.lock().unwrap().extend(units.iter().map(|unit| unit.name.to_vec()));
    ///     }
    /// }).unwrap();
    /// let mut found = found.into_inner().unwrap();
    /// found.sort();
    /// assert_eq!(found, [b"a", b"b", b"c"]); // the directory holds 4 entries with itself: it is spine
    /// assert_eq!(watch.found().entries, 4);
    /// ```
    pub fn run(&self, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        self.run_sized(None, watch, sink)
    }

    /// Like [`Scan::run`], with other limits if the tree is a small one. Up to so many entries are kept in memory, and nothing leaves before
    /// that is known: names are looked at once.
    ///
    /// # Errors
    /// As [`Scan::run`].
    pub fn run_sized(&self, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        if !self.gitignore {
            return walk::walk(self, small, watch, sink);
        }
        let by_link = self.follow != Follow::Nothing || self.unsafe_links_whole;
        if self.keep_locked_whole || !self.merge_files.is_empty() || by_link {
            return Err(Error::usage("a directory that must stay whole may hold something that is ignored"));
        }
        ignore_walk::walk(self, small, watch, sink)
    }
}
