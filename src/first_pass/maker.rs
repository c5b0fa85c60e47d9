//! Makes directories and regular files by handles.
//!
//! A name is looked up below a directory that is held open, and no link is followed on the way (openat2(2)): what somebody puts into the place of a
//! directory leads nowhere else, on neither side. Nothing that exists is changed. A directory is made closed to others, and has the owner and the mode
//! of its source before something is made in it, so that a run that is killed leaves it as an rsync would; all else it gets from rsync. No handle of a
//! directory is kept but of those that a thread is in.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fgetxattr_query, fstat, ioctl_getflags, mkdirat,
    openat, openat2, statat,
};
use rustix::io::{Errno, Result};

use super::attributes::{CLOSED, Own, is_plain};
use super::content::{self, Hand};
use super::pace::Pace;
use super::temporary::{self, Begun};
use super::{Group, Made, Makes, Order, Watch};

/// A file that was written within so many seconds may be written once more without a change that shows: rsync reads it.
const RECENT: i64 = 3;
const LISTING: usize = 32 << 10;
/// rsync names files by paths, of which it takes less than 4096 bytes (limits.h, `PATH_MAX`), with what a temporary name adds.
const LONGEST_PATH: usize = 4096 - 64;
/// So many bytes are copied in vain rather than that it is asked whether that is needed.
const LITTLE: i64 = 64 << 10;
/// What would not work for the next file either.
const FOR_ALL: [Errno; 7] =
    [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
/// A directory in which names that differ in case only are one (ioctl_iflags(2), `FS_CASEFOLD_FL`).
const CASEFOLD: u32 = 0x4000_0000;
const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// Makes what is ordered, as far as it is certain that rsync would make the same.
pub fn make(order: &Order, watch: &dyn Watch) -> Made {
    let began = Instant::now();
    let pass = match Pass::new(order, watch) {
        Ok(pass) => pass,
        // rsync meets it.
        Err(_) => return Made::default(),
    };
    let helpers = order.threads.get().saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // With fewer threads it takes longer.
            if crate::thread::start(scope, || pass.work()).is_err() {
                break;
            }
        }
        pass.work();
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Made { files: count(&pass.files), dirs: count(&pass.dirs), bytes: count(&pass.bytes), took: began.elapsed() }
}

/// Makes directories, parents first, and DEST, like the directory of this group if there is one. `None` if one is in doubt, or fails: then rsync makes
/// what is missing.
pub fn make_dirs(order: &Order, of_dest: Option<&Group>) -> Option<Made> {
    let began = Instant::now();
    let (makes, own) = (order.makes, Own::look());
    let mut made = Made::default();
    let is_new = order.identity.is_none() && {
        let mode = if of_dest.is_some() { CLOSED } else { Mode::from_raw_mode(0o777) };
        match mkdirat(CWD, &order.dest, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(_) => return None,
        }
    };
    made.dirs += u64::from(is_new);
    let dest = open_dest(order).ok()?;
    if let Some(group) = of_dest.filter(|_| is_new) {
        let source = open_below(&open_top(&group.base).ok()?, &group.source).ok()?;
        let other_group = fstat(&dest).ok()?.st_mode & Mode::SGID.bits() != 0;
        if own.leaves_dir(&source, other_group, makes).ok()? {
            return None;
        }
        own.of_dir(&source, &dest, other_group, makes).ok()?;
    }
    for group in &order.groups {
        let tops = Pair::open(&dest, group, makes).ok()??;
        for name in &group.names {
            let source = open_below(&tops.source, name).ok()?;
            if name.len() > tops.room || own.leaves_dir(&source, tops.other_group, makes).ok()? {
                return None;
            }
            mkdirat(&tops.dest, OsStr::from_bytes(name), CLOSED).ok()?;
            made.dirs += 1;
            own.of_dir(&source, &open_below(&tops.dest, name).ok()?, tops.other_group, makes).ok()?;
        }
    }
    Some(Made { took: began.elapsed(), ..made })
}

/// What all threads share.
struct Pass<'a> {
    makes: Makes,
    dest: OwnedFd,
    groups: &'a [Group],
    watch: &'a dyn Watch,
    pace: Option<Pace>,
    own: Own,
    temporary: temporary::Ways,
    content: content::Ways,
    halted: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    files: AtomicU64,
    dirs: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    next_group: usize,
    /// Directories that were made, and are to be filled: the last one first, so that few wait.
    dirs: Vec<Dir>,
    /// Threads that may still find directories.
    busy: usize,
}

/// A directory by its path below a pair of directories that are held.
struct Dir {
    tops: Arc<Pair>,
    path: Vec<u8>,
    /// What is made in it has another group than ours.
    other_group: bool,
}

/// The same directory on both sides.
struct Pair {
    source: OwnedFd,
    dest: OwnedFd,
    device: u64,
    /// Files that are made here have another group than ours.
    other_group: bool,
    /// Longer names are rsync's: the path of such a file may be too long for it.
    room: usize,
}

impl Pair {
    /// The directory that names of a group are in; `None` if what is made there would be something else than rsync makes.
    fn open(dest: &OwnedFd, group: &Group, makes: Makes) -> Result<Option<Pair>> {
        let base = open_top(&group.base)?;
        let source = open_below(&base, &group.source)?;
        let dest = open_below(dest, &group.dest)?;
        let found = fstat(&dest)?;
        // What is made below would have other permissions than it has from its source alone.
        let has_acl = !matches!(fgetxattr_query(&dest, DEFAULT_ACL), Err(Errno::NODATA | Errno::OPNOTSUPP));
        let folds = ioctl_getflags(&dest).is_ok_and(|flags| flags.bits() & CASEFOLD != 0);
        let other_group = found.st_mode & Mode::SGID.bits() != 0;
        if has_acl || folds || other_group && !makes.group {
            return Ok(None);
        }
        let device = fstat(&source)?.st_dev;
        let room = room_below(&source).min(room_below(&dest));
        Ok(Some(Pair { source, dest, device, other_group, room }))
    }
}

/// What is known of an entry of the source.
#[derive(Clone, Copy)]
enum Found<'a> {
    Listed(FileType),
    Looked(&'a Stat),
}

impl Found<'_> {
    fn kind(self) -> FileType {
        match self {
            Found::Listed(kind) => kind,
            Found::Looked(found) => FileType::from_raw_mode(found.st_mode),
        }
    }
}

enum Task {
    Group(usize),
    Dir(Dir),
}

impl<'a> Pass<'a> {
    fn new(order: &'a Order, watch: &'a dyn Watch) -> io::Result<Pass<'a>> {
        Ok(Pass {
            makes: order.makes,
            dest: open_dest(order)?,
            groups: &order.groups,
            watch,
            pace: order.limit.map(Pace::new),
            own: Own::look(),
            temporary: temporary::Ways::default(),
            content: content::Ways::default(),
            halted: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            files: AtomicU64::new(0),
            dirs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn goes_on(&self) -> bool {
        !self.halted.load(Ordering::Relaxed) && self.watch.goes_on()
    }

    /// What fails for a reason that all have ends the pass; anything else is rsync's to meet.
    fn failed(&self, errno: Errno) {
        if FOR_ALL.contains(&errno) || !self.temporary.are_any() {
            self.halted.store(true, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until nothing is left, for whichever thread.
    fn work(&self) {
        let mut worker = Worker {
            pass: self,
            hand: Hand::new(&self.content, self.pace.as_ref(), self.watch),
            listing: Box::new_uninit_slice(LISTING),
            expects_empty: false,
        };
        while let Some(task) = self.next() {
            // Also if it panics, others do not wait for it.
            let _done = Done(self);
            if self.goes_on() {
                let made = match task {
                    Task::Group(at) => worker.group(&self.groups[at]),
                    Task::Dir(dir) => worker.dir(&dir),
                };
                made.unwrap_or_else(|errno| self.failed(errno));
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            let task = match state.dirs.pop() {
                Some(dir) => Some(Task::Dir(dir)),
                None if state.next_group < self.groups.len() => {
                    state.next_group += 1;
                    Some(Task::Group(state.next_group - 1))
                }
                None => None,
            };
            if task.is_some() {
                state.busy += 1;
                return task;
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, dir: Dir) {
        self.state().dirs.push(dir);
        self.changed.notify_one();
    }
}

/// A task that has ended.
struct Done<'a, 'b>(&'a Pass<'b>);

impl Drop for Done<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        let over = state.busy == 0;
        drop(state);
        if over {
            self.0.changed.notify_all();
        }
    }
}

struct Worker<'a, 'b> {
    pass: &'a Pass<'b>,
    hand: Hand<'a>,
    listing: Box<[MaybeUninit<u8>]>,
    /// The last file was empty.
    expects_empty: bool,
}

impl Worker<'_, '_> {
    /// Names of a directory that was split.
    fn group(&mut self, group: &Group) -> Result<()> {
        let Some(tops) = Pair::open(&self.pass.dest, group, self.pass.makes)? else { return Ok(()) };
        let tops = Arc::new(tops);
        for name in &group.names {
            if !self.pass.goes_on() {
                break;
            }
            let Ok(name) = CString::new(&name[..]) else { continue };
            let made = statat(&tops.source, &name, AtFlags::SYMLINK_NOFOLLOW).and_then(|found| {
                // A launch that comes once more finds what the first has made, which is not copied once more.
                if found.st_size > LITTLE && statat(&tops.dest, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Ok(());
                }
                self.entry(&tops, None, &tops, &name, Found::Looked(&found))
            });
            made.unwrap_or_else(|errno| self.pass.failed(errno));
        }
        Ok(())
    }

    /// What is in a directory that was made.
    fn dir(&mut self, dir: &Dir) -> Result<()> {
        let (source, dest) = (open_below(&dir.tops.source, &dir.path)?, open_below(&dir.tops.dest, &dir.path)?);
        let room = dir.tops.room.saturating_sub(dir.path.len() + 1);
        let here = Pair { source, dest, device: dir.tops.device, other_group: dir.other_group, room };
        let mut listing = std::mem::take(&mut self.listing);
        let mut entries = RawDir::new(&here.source, &mut listing);
        let mut done = Ok(());
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry.map_err(|errno| done = Err(errno)) else { break };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if !self.pass.goes_on() {
                break;
            }
            let made = match entry.file_type() {
                FileType::Unknown => statat(&here.source, name, AtFlags::SYMLINK_NOFOLLOW)
                    .and_then(|found| self.entry(&dir.tops, Some(&dir.path), &here, name, Found::Looked(&found))),
                kind => self.entry(&dir.tops, Some(&dir.path), &here, name, Found::Listed(kind)),
            };
            made.unwrap_or_else(|errno| self.pass.failed(errno));
        }
        self.listing = listing;
        done
    }

    /// An entry of a directory, `above`, whose path below the tops is this.
    fn entry(
        &mut self,
        tops: &Arc<Pair>,
        path: Option<&[u8]>,
        above: &Pair,
        name: &CStr,
        found: Found<'_>,
    ) -> Result<()> {
        if name.to_bytes().len() > above.room {
            return Ok(());
        }
        match found.kind() {
            FileType::Directory => {
                let path = match path {
                    Some(path) => [path, b"/", name.to_bytes()].concat(),
                    None => name.to_bytes().to_vec(),
                };
                // What cannot be entered is not made: another file system, or somebody else's.
                let source = open_below(&tops.source, &path)?;
                mkdirat(&above.dest, name, CLOSED)?;
                self.pass.dirs.fetch_add(1, Ordering::Relaxed);
                self.pass.watch.made(1, 0);
                let (own, makes) = (self.pass.own, self.pass.makes);
                // At once: who is killed leaves none without its mode.
                let other_group = match own.leaves_dir(&source, above.other_group, makes)? {
                    true => above.other_group,
                    false => {
                        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        let new = openat(&above.dest, name, flags, Mode::empty())?;
                        own.of_dir(&source, &new, above.other_group, makes)?
                    }
                };
                self.pass.add(Dir { tops: Arc::clone(tops), path, other_group });
                Ok(())
            }
            FileType::RegularFile => self.file(above, name, found),
            _ => Ok(()),
        }
    }

    fn file(&mut self, above: &Pair, name: &CStr, found: Found<'_>) -> Result<()> {
        let makes = self.pass.makes;
        let (source, found) = self.look(&above.source, name, found)?;
        let left = FileType::from_raw_mode(found.st_mode) != FileType::RegularFile
            || found.st_dev != above.device
            || found.st_size < 0
            || is_recent(&found)
            || makes.single_names_only && found.st_nlink > 1
            || makes.own_group_only && (found.st_gid != self.pass.own.group || above.other_group)
            || makes.plain_only && !source.as_ref().is_some_and(is_plain);
        if left {
            return Ok(());
        }
        let size = found.st_size as u64;
        let mode = Mode::from_raw_mode(found.st_mode);
        if size == 0 {
            let new = temporary::empty(above.dest.as_fd(), name, mode & Mode::from_raw_mode(0o777))?;
            self.pass.own.of_file(new.as_fd(), &found, true, above.other_group, makes)?;
            self.is_made(0);
            return Ok(());
        }
        let begun = Begun::begin(above.dest.as_fd(), name, mode & Mode::from_raw_mode(0o777), &self.pass.temporary)?;
        if let Some(source) = source {
            let holes = (found.st_blocks as u64).saturating_mul(512) < size;
            self.hand.copy(source.as_fd(), begun.file(), size, makes.sparse, holes)?;
            if !is_same(&found, &fstat(&source)?) {
                return Ok(());
            }
        }
        self.pass.own.of_file(begun.file(), &found, begun.is_unnamed(), above.other_group, makes)?;
        // Who has given it up does not see it appear.
        if !self.hand.goes_on() {
            return Ok(());
        }
        begun.publish(name)?;
        self.is_made(size);
        Ok(())
    }

    /// Takes note of a file of this size.
    fn is_made(&self, size: u64) {
        self.pass.files.fetch_add(1, Ordering::Relaxed);
        self.pass.bytes.fetch_add(size, Ordering::Relaxed);
        self.pass.watch.made(1, 0);
    }

    /// What a file of the source is, and the file, but for an empty one that everybody may read: root does not open that, which costs as much as
    /// a look. But then the one before it was empty as well, or it was looked at anyway.
    fn look(&mut self, dir: &OwnedFd, name: &CStr, found: Found<'_>) -> Result<(Option<OwnedFd>, Stat)> {
        let opens_all = self.pass.own.user != 0 || self.pass.makes.plain_only;
        let looked = match found {
            Found::Looked(found) => Some(*found),
            Found::Listed(_) if self.expects_empty && !opens_all => Some(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?),
            Found::Listed(_) => None,
        };
        let is_read = |found: &Stat| found.st_size == 0 && found.st_mode & 0o444 == 0o444;
        if let Some(found) = looked.filter(is_read).filter(|_| !opens_all) {
            return Ok((None, found));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source = openat(dir, name, flags, Mode::empty())?;
        let found = fstat(&source)?;
        self.expects_empty = found.st_size == 0;
        Ok((Some(source), found))
    }
}

/// DEST, if it is the directory that it was.
fn open_dest(order: &Order) -> io::Result<OwnedFd> {
    let dest = open_top(&order.dest)?;
    let found = fstat(&dest)?;
    match order.identity {
        Some(identity) if identity != (found.st_dev, found.st_ino) => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(dest),
    }
}

/// A directory that is named by whoever runs this; a link at its end is followed.
fn open_top(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A directory below another, on the same file system, without a link on the way.
fn open_below(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(top, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

/// How long a name may be in this directory so that its path fits for everybody; nothing if that cannot be found out.
fn room_below(dir: &OwnedFd) -> usize {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.map_or(0, |path| LONGEST_PATH.saturating_sub(path.as_os_str().len() + 1))
}

/// Whether it is still what was read.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let look = |found: &Stat| (found.st_size, found.st_mtime, found.st_mtime_nsec, found.st_ctime, found.st_ctime_nsec);
    look(before) == look(now)
}

fn is_recent(found: &Stat) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    now.abs_diff(found.st_mtime) < RECENT as u64
}

#[cfg(test)]
mod tests;
