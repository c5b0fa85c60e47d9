//! The scan: reads source trees in parallel and streams what must be copied as *units* and *spine* directories.
//!
//! A **unit** is copied completely by one rsync: a subtree that fits [`Limits`], or a single name. A directory that outgrows the limits is split:
//! it belongs to the **spine**, is announced once, before anything below it, and its contents are units of their own. This module decides nothing
//! about rsync, writes nothing, and follows no symbolic link unless rsync does. `walk` reads directories, or `listed` takes the list from another
//! machine; `ignored` says what ignore rules leave out, `look` asks the file system about names, `subtree` sums and splits, `linked` keeps
//! directories that share files together, and `event` defines the events.
//!
//! The name of a directory that is to be left out is known from its [`Spine`] event, and [`Spine::pruner`] ends the scan below it; some of its units may
//! still come. If [`Limits::entries`] is 1, every directory that contains something is spine, and every other name is a unit, so that the contents of each
//! directory can be summed.
//!
//! Guarantees, whatever the number of threads:
//! - each entry below a source is in exactly one unit, or is a spine directory, or is named by an [`Event::Error`];
//! - a unit is within the limits unless it is one single name, or a directory that must stay whole (announced by [`Event::KeptWhole`]);
//! - spine directories are numbered from 0 in the order of their events, and every directory above a spine directory or unit comes
//!   before it;
//! - a unit is emitted as soon as its parent is known to be spine (with [`Scan::hard_links`], a unit that shares files with others is emitted when
//!   the scan ends), so memory is bounded by the open directories (each holds at most [`Limits::entries`] names), not by the tree. On top come
//!   [`Small::entries`] and, if ignore rules are used, the rules of the directories that are being read.

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

pub use crate::file_system::is_elsewhere;
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
pub use threads::usual_threads;
pub(crate) use watch::Counts;
pub use watch::Watch;
pub use weight::{Limits, Weight};

use names::Names;

/// One source directory: the directory `base`, or `base/name` if only that child of it is transferred (rsync's form without a
/// trailing slash). Paths in events are relative to `base`.
#[derive(Debug, Clone)]
pub struct Root {
    /// The directory to which names are relative. Symbolic links in it are followed when it is opened, as rsync does with an argument.
    pub base: PathBuf,
    /// The one directory below `base` that is transferred; `None` means the contents of `base`. If it is a symbolic link, it is never followed.
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

/// The description of a scan; [`Scan::run`] carries it out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scan {
    /// The source directories, at most `u32::MAX`; no entry may be below two of them.
    pub roots: Vec<Root>,
    /// The size of units.
    pub limits: Limits,
    /// The number of threads that read directories. More than 256 make a scan slower, by minutes with some thousand: idle threads search each other for work.
    pub threads: NonZero<usize>,
    /// Makes the top directory of each root spine, even if everything fits into one unit.
    pub split_roots: bool,
    /// How often rsync's `-x` is given: with 1 a directory on another file system is not entered, with 2 it is left out as well.
    pub one_file_system: u8,
    /// A directory that contains one of these names stays whole, because rsync reads filter rules there (rsync(1), PER-DIRECTORY RULES).
    pub merge_files: Vec<OsString>,
    /// Which symbolic links rsync follows.
    pub follow: Follow,
    /// A directory that contains a symbolic link which may lead out of the source to a directory stays whole: rsync copies such a link as a directory,
    /// but filter rules see it as a link if it is an argument (`--copy-unsafe-links`).
    pub unsafe_links_whole: bool,
    /// Directories that these rules exclude are not entered: they are units that weigh one entry.
    pub(crate) prune: Prune,
    /// A directory (device and inode) that lies inside the source but is not part of it. Its parent is split.
    pub left_out: Option<(u64, u64)>,
    /// rsync's `-H`: names of one inode are reported as belonging together, either the names alone ([`Event::Linked`]) or the directories that contain
    /// them ([`Event::LinkedDirs`]).
    pub hard_links: bool,
    /// The same entry may be found on several paths, because roots overlap or a file system is mounted twice. With [`Scan::hard_links`] a file may then be
    /// found under more names than its link count says.
    pub found_again: bool,
    /// With `Some(n)`, directories that share files may together weigh up to an n-th of everything that was found, if [`Scan::limits`] are smaller than
    /// that. Directories that weigh more together are split.
    pub linked_parts: Option<NonZero<u64>>,
    /// Directories without all of `u+rwx` stay whole (for a user other than root who does not preserve permissions: several rsync
    /// processes cannot write into one such directory; experiment in `tests/`).
    pub keep_locked_whole: bool,
    /// The length in bytes of the longest prefix that the path of a split directory gets in a place other than below its base, such as at DEST.
    pub longest_base: usize,
    /// Leaves out what the rules of `.gitignore`, `.ignore`, `.git/info/exclude` and git's global file ignore, whether or not there is a
    /// repository. A directory that contains something ignored is spine, so that no unit contains it. Rules above a source apply up to the top of
    /// the repository that contains the source. An entry that is in the index is ignored too if the rules say so.
    pub gitignore: bool,
}

/// Which symbolic links are followed. The target of a link stays whole, so that no argument of rsync goes through a link.
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
    /// A scan of everything below the roots, with all other settings off.
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

    /// How long the path of a split directory below the base of `root` may be: the longest path that system calls take, minus the base, and minus room for a
    /// name in the directory and for what rsync adds.
    fn path_room(&self, root: &Root) -> usize {
        const LONGEST_PATH: usize = 4096;
        const NAME: usize = 256;
        const ADDED: usize = 128;
        let base = self.longest_base.max(root.base.as_os_str().len());
        (LONGEST_PATH - NAME - ADDED).saturating_sub(base)
    }

    /// Scans all roots and returns when everything has been reported to `sink`, or after [`Watch::stop`] ([`Watch::stopped`]
    /// tells). The sink is called from several threads, and must not wait for the scan. If it panics, the scan still reports the rest, and then panics.
    ///
    /// # Errors
    /// Only if nothing could be scanned at all: the threads could not be started, a root's base could not be opened, ignore rules above a root
    /// could not be read, or [`Scan::gitignore`] is combined with settings that keep directories whole. Every later failure is an [`Event::Error`].
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

    /// Like [`Scan::run`], and shows an observer everything that is looked up. Every entry is then looked up, with more attributes. On network file
    /// systems this may take longer.
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

    /// Like [`Scan::run`], but with other limits if the tree is small. Up to [`Small::entries`] entries are kept in memory, and no unit is emitted before
    /// it is known whether the tree is small, so that each name is looked at only once.
    ///
    /// # Errors
    /// As [`Scan::run`].
    pub fn run_sized(&self, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        self.refuse_whole()?;
        walk::walk(self, small, None, watch, sink)
    }

    /// Refuses ignore rules together with settings that keep directories whole, because entries inside a whole directory are not checked against the rules.
    fn refuse_whole(&self) -> Result<()> {
        let by_link = self.follow != Follow::Nothing || self.unsafe_links_whole;
        if self.gitignore && (self.keep_locked_whole || !self.merge_files.is_empty() || by_link) {
            return Err(Error::usage("a directory that must stay whole may hold something that is ignored"));
        }
        Ok(())
    }
}
