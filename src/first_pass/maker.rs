//! Makes directories and regular files by handles.
//!
//! A name is looked up below a directory that is held open, and no link is followed on the way (openat2(2)): what somebody puts into the place of a
//! directory leads nowhere else, on neither side. Nothing that exists is changed. A directory has the owner and the mode of its source before something is
//! made in it, so that a run that is killed leaves it as an rsync would; all else it gets from rsync. No handle of a directory is kept but of those that a
//! thread is in.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, mkdirat, openat, statat};
use rustix::io::{Errno, Result};

use super::attributes::{Own, times};
use super::content::{self, Hand};
use super::pace::Pace;
use super::pair::{Pair, open_below, open_dest};
use super::temporary::{self, Begun, Empty};
use super::{Group, Made, Makes, Order, Watch, file_system, open_files};

/// A file that was written within so many seconds may be written once more without a change that shows: rsync reads it.
const RECENT: i64 = 3;
const LISTING: usize = 32 << 10;
/// So many bytes are copied in vain rather than that it is asked whether that is needed.
const LITTLE: i64 = 64 << 10;
/// What would not work for the next file either.
const FOR_ALL: [Errno; 7] =
    [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Makes what is ordered, as far as it is certain that rsync would make the same.
pub fn make(order: &Order, watch: &dyn Watch) -> Made {
    std::thread::scope(|scope| {
        let made = crate::thread::start(scope, || {
            // Else rsync makes all, as where there can be no thread.
            open_files::set_apart().map_or_else(|_| Made::default(), |()| make_apart(order, watch))
        });
        let Ok(made) = made else { return Made::default() };
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes it in this thread and others that it starts: no other has the files that they open.
fn make_apart(order: &Order, watch: &dyn Watch) -> Made {
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

    /// Takes note of an entry that was made.
    fn made(&self, counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.watch.made(1, 0);
        // Or DEST is seen in the source, which grows by what is made.
        if self.files.load(Ordering::Relaxed) + self.dirs.load(Ordering::Relaxed) >= self.most {
            self.halt();
        }
    }

    /// What fails for a reason that all have ends the pass; anything else is rsync's to meet.
    fn failed(&self, errno: Errno) {
        if FOR_ALL.contains(&errno) || !self.temporary.are_any() {
            self.halt();
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
                let found = fstat(&source)?;
                let Pass { own, makes, .. } = *self.pass;
                let is_left = own.leaves(Some(&source), &found, above.other_group, makes);
                // A btrfs subvolume has a device of its own and is no mount. What changes now may be DEST, seen through another file system.
                if is_left || found.st_dev != above.device || is_recent(&found) {
                    return Ok(());
                }
                mkdirat(&above.dest, name, own.first_mode_of_dir(&found))?;
                self.pass.made(&self.pass.dirs, 0);
                // At once: who is killed leaves none without its mode.
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
        // What cannot be had is not copied before.
        self.hand_over(begun.file(), &found, above)?;
        let holes = (found.st_blocks as u64).saturating_mul(512) < size;
        self.hand.copy(source.as_fd(), begun.file(), size, makes.sparse, holes)?;
        if !is_same(&found, &fstat(&source)?) {
            return Ok(());
        }
        own.mode_of_file(begun.file(), &found, begun.is_unnamed())?;
        // Who has given it up does not see it appear.
        if !self.hand.goes_on() {
            return Ok(());
        }
        begun.publish(name, &times(&found))?;
        self.pass.made(&self.pass.files, size);
        Ok(())
    }

    /// Who may not give this away may not give anything away.
    fn hand_over(&self, new: BorrowedFd<'_>, found: &Stat, above: &Pair) -> Result<()> {
        let done = self.pass.own.hand_over(new, found, above.other_group, self.pass.makes);
        done.inspect_err(|_| self.pass.halt())
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
