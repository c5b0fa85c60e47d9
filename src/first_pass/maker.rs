//! Creates directories and regular files through open handles.
//!
//! A name is looked up below a directory that is held open, and no symbolic link is followed on the way (openat2(2)). So if another process replaces a
//! directory, the lookup cannot lead elsewhere, neither in the source nor at DEST. Nothing that exists is changed. A directory gets the owner and the mode of
//! its source before anything is created in it, so that a run that is killed leaves it as rsync would; rsync sets everything else. Only the directories in
//! which a thread works are held open.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, mkdirat, openat, statat};
use rustix::io::{Errno, Result};

use crate::file_system;

use super::attributes::{Own, times};
use super::content::{self, Hand};
use super::pace::Pace;
use super::pair::{Pair, open_below, open_dest};
use super::temporary::{self, Begun, Empty};
use super::{Group, Made, Makes, Order, Watch, open_files};

/// If a file was written within the last seconds, another write may not change its time. Such a file is left to rsync.
const RECENT: i64 = 3;
const LISTING: usize = 32 << 10;
/// Up to this size, a file is copied without checking first whether that is necessary.
const LITTLE: i64 = 64 << 10;
/// Errors that would also occur for the next file.
const FOR_ALL: [Errno; 7] =
    [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Creates the entries of the order, as far as rsync would certainly create the same.
pub fn make(order: &Order, watch: &dyn Watch) -> Made {
    std::thread::scope(|scope| {
        let made = crate::thread::start(scope, || {
            // Without a table of its own for open files, the thread creates nothing, and rsync creates everything.
            open_files::set_apart().map_or_else(|_| Made::default(), |()| make_apart(order, watch))
        });
        let Ok(made) = made else { return Made::default() };
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Creates the entries in this thread and in others that it starts. No other thread can access the files that they open.
fn make_apart(order: &Order, watch: &dyn Watch) -> Made {
    let began = Instant::now();
    let pass = match Pass::new(order, watch) {
        Ok(pass) => pass,
        // rsync will run into the same error, and report it.
        Err(_) => return Made::default(),
    };
    let helpers = order.threads.get().saturating_sub(1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // Fewer threads are sufficient.
            if crate::thread::start(scope, || pass.work()).is_err() {
                break;
            }
        }
        pass.work();
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Made { files: count(&pass.files), dirs: count(&pass.dirs), bytes: count(&pass.bytes), took: began.elapsed() }
}

/// What all threads share.
struct Pass<'a> {
    makes: Makes,
    dest: OwnedFd,
    groups: &'a [Group],
    watch: &'a dyn Watch,
    pace: Option<Pace>,
    own: Own,
    most: u64,
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
    /// Directories that were created and still have to be filled. The last one comes first, so that few are waiting.
    dirs: Vec<Dir>,
    /// The number of threads that are working, and may still find directories.
    busy: usize,
}

/// A directory, as a path below a pair of directories that are held open.
struct Dir {
    tops: Arc<Pair>,
    path: Vec<u8>,
    /// Entries that are created in it get another group than that of this process.
    other_group: bool,
}

/// What is known about an entry of the source.
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
        let dest = open_dest(order)?;
        if file_system::is_of_a_process(&dest) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Pass {
            makes: order.makes,
            most: order.most,
            temporary: temporary::Ways::of(&dest),
            dest,
            groups: &order.groups,
            watch,
            pace: order.limit.map(Pace::new),
            own: Own::look(),
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

    fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Counts an entry that was created.
    fn made(&self, counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.watch.made(1, 0);
        // More entries than were scanned are not created: DEST may be visible in the source, which would then grow without end.
        if self.files.load(Ordering::Relaxed) + self.dirs.load(Ordering::Relaxed) >= self.most {
            self.halt();
        }
    }

    /// Ends the pass after an error that would also occur for all others. Other errors are left to rsync.
    fn failed(&self, errno: Errno) {
        if FOR_ALL.contains(&errno) || !self.temporary.are_any() {
            self.halt();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until nothing is left; called by each thread.
    fn work(&self) {
        let mut worker = Worker {
            pass: self,
            hand: Hand::new(&self.content, self.pace.as_ref(), self.watch),
            listing: Box::new_uninit_slice(LISTING),
            expects_empty: false,
        };
        while let Some(task) = self.next() {
            // Ends the task even after a panic, so that other threads do not wait for it.
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

/// Ends a task when dropped.
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
    /// Creates the names of a split directory.
    fn group(&mut self, group: &Group) -> Result<()> {
        let Some(tops) = Pair::open(&self.pass.dest, group, self.pass.makes)? else { return Ok(()) };
        let tops = Arc::new(tops);
        for name in &group.names {
            if !self.pass.goes_on() {
                break;
            }
            let Ok(name) = CString::new(&name[..]) else { continue };
            let made = statat(&tops.source, &name, AtFlags::SYMLINK_NOFOLLOW).and_then(|found| {
                // If a launch is repeated, its files were already created, and are not copied again.
                if found.st_size > LITTLE && statat(&tops.dest, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Ok(());
                }
                self.entry(&tops, None, &tops, &name, Found::Looked(&found))
            });
            made.unwrap_or_else(|errno| self.pass.failed(errno));
        }
        Ok(())
    }

    /// Creates the contents of a directory that was created.
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

    /// Creates an entry of the directory `above`. `path` is the path of that directory below `tops`.
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
                // A directory that cannot be entered is not created, because it is on another file system or belongs to another user.
                let source = open_below(&tops.source, &path)?;
                let found = fstat(&source)?;
                let Pass { own, makes, .. } = *self.pass;
                let is_left = own.leaves(Some(&source), &found, above.other_group, makes);
                // A btrfs subvolume has its own device number but is not a mount. A directory that was just changed may be DEST, seen through another file
                // system.
                if is_left || found.st_dev != above.device || is_recent(&found) {
                    return Ok(());
                }
                mkdirat(&above.dest, name, own.first_mode_of_dir(&found))?;
                self.pass.made(&self.pass.dirs, 0);
                // The mode is completed at once, so that a run that is killed leaves no directory without it.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let new = openat(&above.dest, name, flags, Mode::empty())?;
                let other_group = own.of_dir(&new, &found, above.other_group, makes)?;
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
            || self.pass.own.leaves(source.as_ref(), &found, above.other_group, makes);
        if left {
            return Ok(());
        }
        let size = found.st_size as u64;
        let mode = Mode::from_raw_mode(found.st_mode);
        let (own, mode_now) = (self.pass.own, mode & Mode::from_raw_mode(0o777));
        let Some(source) = source.filter(|_| size > 0) else {
            let new = Empty::make(above.dest.as_fd(), name, mode_now)?;
            self.hand_over(new.file(), &found, above)?;
            own.mode_of_file(new.file(), &found, true)?;
            new.keep(&times(&found), &self.pass.temporary)?;
            self.pass.made(&self.pass.files, 0);
            return Ok(());
        };
        let begun = Begun::begin(above.dest.as_fd(), name, mode_now, &self.pass.temporary)?;
        // The owner is set first, because copying would be in vain if that failed.
        self.hand_over(begun.file(), &found, above)?;
        let holes = (found.st_blocks as u64).saturating_mul(512) < size;
        self.hand.copy(source.as_fd(), begun.file(), size, makes.sparse, holes)?;
        if !is_same(&found, &fstat(&source)?) {
            return Ok(());
        }
        own.mode_of_file(begun.file(), &found, begun.is_unnamed())?;
        // After a cancellation, no further file may appear.
        if !self.hand.goes_on() {
            return Ok(());
        }
        begun.publish(name, &times(&found))?;
        self.pass.made(&self.pass.files, size);
        Ok(())
    }

    /// Sets the owner. If that is not permitted for this entry, it will not be for others, so that the pass ends.
    fn hand_over(&self, new: BorrowedFd<'_>, found: &Stat, above: &Pair) -> Result<()> {
        let done = self.pass.own.hand_over(new, found, above.other_group, self.pass.makes);
        done.inspect_err(|_| self.pass.halt())
    }

    /// The attributes of a source file, and the file opened for reading. As root, an empty file that everybody may read is not opened, because opening costs as
    /// much as a separate look at the attributes. But that look is worth while only if the previous file was empty, too; otherwise the file is opened at once.
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

/// Whether the file has not changed while it was read.
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
