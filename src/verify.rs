//! The oracle: compares two directory trees and lists every difference.
//!
//! This module reads both trees with a walk of its own: it shares no code with the scan of the product, so that an error in one cannot hide in the other. It
//! does not guess: anything that cannot be read, on either side, is reported as a difference. It writes nothing, follows no symbolic link, never opens a
//! FIFO, socket or device, and treats names only as bytes.
//!
//! A [`Difference`] is one attribute of one name that differs, [`Options`] say which attributes are compared, and a [`Report`] contains the results.

mod links;
mod pair;
mod report;
mod tree;

use std::path::Path;

pub use report::{Difference, DifferenceKind, Report, Side};

use crate::error::Result;

/// Which attributes are compared. The default is strict: everything that `rsync -aHAXS` preserves when root runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How regular files are compared.
    pub content: Content,
    /// How modification times are compared.
    pub mtime: Mtime,
    /// Whether modification times of directories count (not with rsync's `--omit-dir-times`).
    pub dir_mtime: bool,
    /// Whether modification times of symbolic links count (not with rsync's `--omit-link-times`).
    pub link_mtime: bool,
    /// Whether the user ids must be equal.
    pub owner: bool,
    /// Whether the group ids must be equal.
    pub group: bool,
    /// Whether the permission bits, with setuid, setgid and sticky, must be equal. Those of symbolic links never count.
    pub perms: bool,
    /// Whether the same names must be hard links of each other on both sides.
    pub hard_links: bool,
    /// Whether all extended attributes that the caller may list must be equal. ACLs are among them (`system.posix_acl_access`).
    pub xattrs: bool,
    /// Whether regular files must have roughly the same amount of allocated space. Both sides should be on the same kind of file
    /// system, one that does not compress.
    pub holes: bool,
    /// Whether the attributes of the two roots themselves count.
    pub root: bool,
    /// The largest number of differences that are kept in the report. All are counted.
    pub keep: usize,
}

/// How regular files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// By size only.
    SizeOnly,
    /// By size, then byte by byte.
    Bytes,
}

/// How modification times are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtime {
    /// Not at all.
    Ignore,
    /// In whole seconds: rsync leaves a time alone that differs only in the fraction (rsync(1), `--modify-window`).
    Seconds,
    /// Exactly.
    Nanoseconds,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            content: Content::Bytes,
            mtime: Mtime::Seconds,
            dir_mtime: true,
            link_mtime: true,
            owner: true,
            group: true,
            perms: true,
            hard_links: true,
            xattrs: true,
            holes: true,
            root: true,
            keep: usize::MAX,
        }
    }
}

impl Options {
    /// What a plain `rsync -a` preserves: no hard links, extended attributes (so no ACLs) or holes.
    pub fn archive() -> Self {
        Options { hard_links: false, xattrs: false, holes: false, ..Options::default() }
    }
}

/// Compares the tree below `left` with the tree below `right`, in parallel in the current rayon pool.
///
/// Every difference of a name that both sides have is listed, each attribute on its own. A name that only one side has is one difference, whatever lies below
/// it; so is a name of different types. Memory is bounded by the directories being read, one per thread, the names of directories still to be read, and the
/// table of hard links. Paths may be longer than `PATH_MAX`. The trees should not change during the comparison: a name that vanishes meanwhile is a
/// difference.
///
/// Fails only if nothing can be compared: a root is not a directory (a symbolic link is not one) or cannot be opened, or extended attributes are compared and
/// `/proc`, through which they are read, is not mounted.
///
/// ```
/// use multi_sync::harness::verify::{Options, compare};
///
/// let (left, right) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// std::fs::write(left.path().join("name"), "content")?;
///
/// let options = Options { root: false, ..Options::archive() };
/// let report = compare(left.path(), right.path(), &options)?;
///
/// assert!(!report.is_same());
/// assert_eq!(report.to_string(), "name: only left\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(left: &Path, right: &Path, options: &Options) -> Result<Report> {
    tree::compare(left, right, options)
}

/// A value for each side.
#[derive(Debug, Clone, Copy, Default)]
struct Both<T> {
    left: T,
    right: T,
}

impl<T> Both<T> {
    fn as_ref(&self) -> Both<&T> {
        Both { left: &self.left, right: &self.right }
    }

    fn map<U>(self, mut change: impl FnMut(T) -> U) -> Both<U> {
        Both { left: change(self.left), right: change(self.right) }
    }

    fn differ(self) -> bool
    where
        T: PartialEq,
    {
        self.left != self.right
    }
}

impl<T, E> Both<std::result::Result<T, E>> {
    /// Both values, or all errors, each with its side.
    fn all(self) -> std::result::Result<Both<T>, Vec<(Side, E)>> {
        match (self.left, self.right) {
            (Ok(left), Ok(right)) => Ok(Both { left, right }),
            (left, right) => Err([(Side::Left, left.err()), (Side::Right, right.err())]
                .into_iter()
                .filter_map(|(side, error)| Some((side, error?)))
                .collect()),
        }
    }
}
