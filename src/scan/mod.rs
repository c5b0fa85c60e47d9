//! The scan: reads source trees in parallel and streams what must be copied as *units* and *spine* directories.
//!
//! A **unit** is handed to rsync whole: a subtree that fits [`Limits`], or a single name. A directory that outgrows the limits is
//! **spine**: it is announced once, before anything below it, and what it holds leaves as units of its own. Nothing is decided about
//! rsync here, nothing is written, and no link is followed unless rsync does: `walk` reads directories, or `listed` takes what another machine
//! lists; `ignored` says what ignore rules leave out, `look` asks the file system about names, `subtree` sums and splits, `linked` keeps together
//! what shares files, and `event` is
//! what is told.
//!
//! Guarantees, whatever the number of threads:
//! - each entry below a source is in exactly one unit, or is a spine directory, or is named by an [`Event::Error`];
//! - a unit is within the limits unless it is one single name, or a directory that must stay whole (announced by [`Event::KeptWhole`]);
//! - spine directories are numbered from 0 in the order of their events, and every directory above a spine directory or unit comes
//!   before it;
//! - a unit leaves as soon as its parent is known to be spine (with [`Scan::hard_links`] one that shares files with others when the scan
//!   ends), so memory is bounded by the open directories (each holds at most [`Limits::entries`] names), not by the tree. On top come
//!   [`Small::entries`] and the rules of the directories that are being read, where ignore rules count.

mod divided;
mod event;
mod ignored;
mod levels;
mod linked;
mod listed;
mod look;
mod names;
mod observe;
mod part;
mod portion;
mod reader;
mod subtree;
mod threads;
mod walk;
mod watch;
mod weight;

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::rsync::prune::Prune;

pub(crate) use divided::{Divided, Member};
pub use event::{Event, KeptWhole, Linked, LinkedDir, LinkedDirs, Pruner, ScanError, Spine, Unit, Units};
pub(crate) use levels::Unfound;
pub(crate) use listed::{Listed, Walk as ListedWalk};
pub(crate) use look::{holds_unsafe_link, locked};
pub(crate) use observe::{Listing, Observer, Seen};
pub(crate) use part::{Handed, Linked as LinkedPart, Met, Opened, Order, Part, Said, Step, Unread};
pub(crate) use reader::{FIRST_FOUND, Reader};
pub use subtree::Small;
pub(crate) use subtree::below;
pub use threads::{is_elsewhere, usual_threads};
pub(crate) use watch::Counts;
pub use watch::Watch;
pub use weight::{Limits, Weight};

use names::Names;

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
#[non_exhaustive]
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
    pub(crate) prune: Prune,
    /// A directory (device and inode) that is not part of the source although it is in it: its parent is split.
    pub left_out: Option<(u64, u64)>,
    /// rsync's `-H`: names of one inode are told as what goes together, by themselves ([`Event::Linked`]) or in the directories that hold
    /// them ([`Event::LinkedDirs`]).
    pub hard_links: bool,
    /// What is there may be found on several paths: roots that overlap, or a file system that is mounted twice. With [`Scan::hard_links`] as many names as
    /// a file has are then not all that is found of it.
    pub found_again: bool,
    /// With `Some(n)` directories that share files may weigh up to an n-th of all that was found where [`Scan::limits`] are smaller than
    /// that. Directories that weigh more together are split.
    pub linked_parts: Option<NonZero<u64>>,
    /// Directories without all of `u+rwx` stay whole (for a user other than root who does not preserve permissions: several rsync
    /// processes cannot write into one such directory; experiment in `tests/`).
    pub keep_locked_whole: bool,
    /// Bytes that may come before the path of a split directory elsewhere than below its base.
    pub longest_base: usize,
    /// Leave out what the rules of `.gitignore`, `.ignore`, `.git/info/exclude` and git's global file ignore, whether or not there is a
    /// repository. A directory that holds something ignored is spine, so that no unit does. Rules above a source count up to the top of
    /// the repository that it is part of. What the index has is ignored all the same if the rules say so.
    pub gitignore: bool,
}

/// Symbolic links that are followed. What a link leads to stays whole, so that no argument of rsync goes through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Follow {
    /// None.
    #[default]
    Nothing,
    /// Those that lead to directories (`--copy-dirlinks`).
    Directories,
    /// All (`--copy-links`).
    All,
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
            found_again: false,
            linked_parts: None,
            keep_locked_whole: false,
            longest_base: 0,
            gitignore: false,
        }
    }

    /// Sets [`Scan::prune`].
    #[doc(hidden)]
    #[must_use]
    pub fn pruned_by(self, prune: Prune) -> Scan {
        Scan { prune, ..self }
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
    /// Only when nothing could be scanned at all: the threads could not be started, a root's base could not be opened, ignore rules above a root
    /// could not be read, or [`Scan::gitignore`] is asked for together with directories that stay whole. Every later failure is an [`Event::Error`].
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

    /// Like [`Scan::run`], and shows an observer all that is looked up. Every entry is then, and with more asked of it: on network file systems that may
    /// take longer.
    ///
    /// # Errors
    /// As [`Scan::run`].
    pub(crate) fn run_observed(
        &self,
        observer: &dyn Observer,
        watch: &Watch,
        sink: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<()> {
        self.refuse_whole()?;
        walk::walk(self, None, Some(observer), watch, sink)
    }

    /// Like [`Scan::run`], with other limits if the tree is a small one. Up to so many entries are kept in memory, and nothing leaves before
    /// that is known: names are looked at once.
    ///
    /// # Errors
    /// As [`Scan::run`].
    pub fn run_sized(&self, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        self.refuse_whole()?;
        walk::walk(self, small, None, watch, sink)
    }

    /// What stays whole is not judged.
    fn refuse_whole(&self) -> Result<()> {
        let by_link = self.follow != Follow::Nothing || self.unsafe_links_whole;
        if self.gitignore && (self.keep_locked_whole || !self.merge_files.is_empty() || by_link) {
            return Err(Error::usage("a directory that must stay whole may hold something that is ignored"));
        }
        Ok(())
    }
}
