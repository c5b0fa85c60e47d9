//! The walk over both trees at once: lists each pair of directories, compares the names they share, and goes down.
//!
//! Each pair of directories is a task of the rayon pool, a large pair is several tasks, and no task waits for another: a finished directory starts the ones
//! below it. The newest tasks start first, so that few directories are open at a time. If there are too many nevertheless, their handles are closed, and the
//! directories are opened again from the root, name by name.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::Scope;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

use super::links::Links;
use super::pair::{self, Buffers, Outcome, Sides};
use super::{Both, Difference, DifferenceKind, Options, Report, Side};
use crate::error::{Error, Result};

/// How many names of a directory are compared in one task.
const NAMES_PER_TASK: usize = 256;
/// How many bytes are read at once from a directory.
const LISTING_BLOCK: usize = 64 * 1024;
/// The part of the allowed open files, as a divisor, that may be used for open pairs of directories.
const OPEN_SHARE: u64 = 8;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(pair::buffers());
}

pub(super) fn compare(left: &Path, right: &Path, options: &Options) -> Result<Report> {
    compare_within(left, right, options, may_open())
}

/// Compares with at most `may_open` pairs of directories kept open, in addition to those in use.
fn compare_within(left: &Path, right: &Path, options: &Options, may_open: usize) -> Result<Report> {
    let open = |path: &Path| {
        openat(CWD, path, dir_flags(), Mode::empty()).map_err(|errno| Error::io("open the directory", path, errno))
    };
    if options.xattrs && !Path::new("/proc/self/fd").is_dir() {
        return Err(Error::usage("cannot compare extended attributes: /proc is not mounted"));
    }
    let trees = Trees {
        options,
        roots: Both { left: open(left)?, right: open(right)? },
        open: AtomicUsize::new(0),
        may_open,
        entries: AtomicU64::new(0),
        found: AtomicU64::new(0),
        kept: Mutex::default(),
        links: Mutex::default(),
    };
    rayon::scope(|scope| trees.roots(scope));
    Ok(trees.report())
}

/// A comparison in progress.
struct Trees<'a> {
    options: &'a Options,
    roots: Both<OwnedFd>,
    /// Pairs of directory handles that are kept open.
    open: AtomicUsize,
    may_open: usize,
    entries: AtomicU64,
    found: AtomicU64,
    kept: Mutex<Vec<Difference>>,
    links: Mutex<Links>,
}

/// A directory that both sides have, and the data for reaching its names.
struct Folder<'s> {
    /// The path relative to the roots; empty for the roots.
    path: Vec<u8>,
    /// `None` if too many are already open.
    handles: Option<Kept<'s>>,
}

/// A pair of handles that counts as open until it is dropped.
struct Kept<'s> {
    handles: Both<OwnedFd>,
    open: &'s AtomicUsize,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Trees<'_> {
    fn roots<'s>(&'s self, scope: &Scope<'s>) {
        if self.options.root {
            let dirs = self.roots.as_ref();
            BUFFERS.with_borrow_mut(|buffers| {
                pair::compare(self.options, dirs, c".", buffers, &mut |kind| self.add(b"", kind))
            });
        }
        match self.reach(b"") {
            Ok(handles) => self.folder(scope, Vec::new(), handles),
            Err(errors) => pair::unreadable(errors, &mut |kind| self.add(b"", kind)),
        }
    }

    /// Lists a pair of directories, and starts the comparison of the names that both have.
    fn folder<'s>(&'s self, scope: &Scope<'s>, path: Vec<u8>, handles: Both<OwnedFd>) {
        let lists = match handles.as_ref().map(names).all() {
            Ok(lists) => lists,
            Err(errors) => return pair::unreadable(errors, &mut |kind| self.add(&path, kind)),
        };
        let mut common = Vec::with_capacity(lists.left.len().min(lists.right.len()));
        let mut entries = 0;
        for (name, sides) in pair::merge(lists.left, lists.right) {
            entries += 1;
            match sides {
                Sides::Both => common.push(name),
                Sides::Left => self.add(&join(&path, &name), DifferenceKind::OnlyLeft),
                Sides::Right => self.add(&join(&path, &name), DifferenceKind::OnlyRight),
            }
        }
        self.entries.fetch_add(entries, Ordering::Relaxed);

        let folder = Arc::new(Folder { path, handles: self.keep(handles) });
        while common.len() > NAMES_PER_TASK {
            let part = common.split_off(common.len() - NAMES_PER_TASK);
            let folder = Arc::clone(&folder);
            scope.spawn(move |scope| self.names(scope, &folder, part));
        }
        self.names(scope, &folder, common);
    }

    /// Compares some of the names that a pair of directories has in common.
    fn names<'s>(&'s self, scope: &Scope<'s>, folder: &Arc<Folder<'s>>, names: Vec<CString>) {
        let result = self.with_handles(folder, |dirs| {
            BUFFERS.with_borrow_mut(|buffers| {
                for name in names {
                    let path = join(&folder.path, &name);
                    match pair::compare(self.options, dirs, &name, buffers, &mut |kind| self.add(&path, kind)) {
                        Outcome::Dirs => {
                            let folder = Arc::clone(folder);
                            scope.spawn(move |scope| self.enter(scope, folder, &name, path));
                        }
                        Outcome::Linked(ids) => lock(&self.links).add(path, ids),
                        Outcome::Done => {}
                    }
                }
            });
        });
        if let Err(errors) = result {
            pair::unreadable(errors, &mut |kind| self.add(&folder.path, kind));
        }
    }

    /// Opens the pair of directories `name` and continues with them. The pair above is closed first if no other task needs it.
    fn enter<'s>(&'s self, scope: &Scope<'s>, above: Arc<Folder<'s>>, name: &CStr, path: Vec<u8>) {
        let opened = self.with_handles(&above, |dirs| dirs.map(|dir| open_below(dir, name)).all());
        drop(above);
        match opened {
            Ok(Ok(handles)) => self.folder(scope, path, handles),
            Ok(Err(errors)) | Err(errors) => pair::unreadable(errors, &mut |kind| self.add(&path, kind)),
        }
    }

    fn with_handles<T>(
        &self,
        folder: &Folder<'_>,
        act: impl FnOnce(Both<&OwnedFd>) -> T,
    ) -> std::result::Result<T, Vec<(Side, Errno)>> {
        match &folder.handles {
            Some(kept) => Ok(act(kept.handles.as_ref())),
            None => Ok(act(self.reach(&folder.path)?.as_ref())),
        }
    }

    /// Opens both directories of this path, from the roots down.
    fn reach(&self, path: &[u8]) -> std::result::Result<Both<OwnedFd>, Vec<(Side, Errno)>> {
        let reach = |root: &OwnedFd| {
            let mut reached = fcntl_dupfd_cloexec(root, 0)?;
            for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
                reached = open_below(&reached, name)?;
            }
            Ok(reached)
        };
        self.roots.as_ref().map(reach).all()
    }

    fn keep(&self, handles: Both<OwnedFd>) -> Option<Kept<'_>> {
        let kept = Kept { handles, open: &self.open };
        (self.open.fetch_add(1, Ordering::Relaxed) < self.may_open).then_some(kept)
    }

    /// Counts a difference; an empty path means the roots.
    fn add(&self, path: &[u8], kind: DifferenceKind) {
        let path = if path.is_empty() { b"." } else { path };
        self.found.fetch_add(1, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        if kept.len() < self.options.keep {
            kept.push(Difference { path: path.to_vec(), kind });
        }
    }

    fn report(mut self) -> Report {
        for relinked in std::mem::take(&mut *lock(&self.links)).relinked() {
            self.add(&relinked.path, DifferenceKind::HardLinks { left: relinked.left, right: relinked.right });
        }
        let mut differences = std::mem::take(&mut *lock(&self.kept));
        differences.sort_unstable();
        Report { entries: *self.entries.get_mut(), found: *self.found.get_mut(), differences }
    }
}

/// The names in a directory, sorted, without `.` and `..`.
fn names(dir: &OwnedFd) -> std::result::Result<Vec<CString>, Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BLOCK);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn open_below<P: rustix::path::Arg>(dir: &OwnedFd, name: P) -> std::result::Result<OwnedFd, Errno> {
    openat(dir, name, dir_flags(), Mode::empty())
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn join(folder: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.count_bytes());
    if !folder.is_empty() {
        path.extend_from_slice(folder);
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

fn may_open() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(allowed / OPEN_SHARE).unwrap_or(usize::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of directories, each with a neighbour before and after it, so that handles have to wait whatever the order.
    fn chain(root: &Path, levels: u32) -> std::path::PathBuf {
        let mut dir = root.to_path_buf();
        for _ in 0..levels {
            std::fs::create_dir(dir.join("a")).unwrap();
            std::fs::create_dir(dir.join("z")).unwrap();
            dir.push("m");
            std::fs::create_dir(&dir).unwrap();
        }
        dir
    }

    #[test]
    fn a_deep_tree_is_compared_with_few_open_handles() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        chain(left.path(), 100);
        let lowest = chain(right.path(), 100);
        std::fs::write(lowest.join("extra"), "").unwrap();
        let options = Options { mtime: super::super::Mtime::Ignore, ..Options::default() };
        for may_open in [0, 1, 10, usize::MAX] {
            let report = compare_within(left.path(), right.path(), &options, may_open).unwrap();
            assert_eq!((report.entries, report.found), (301, 1), "{report}");
        }
    }
}
