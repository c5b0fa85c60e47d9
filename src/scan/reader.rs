//! Reads directories that it is given, and everything below them. This is the part of a divided scan that accesses the file system; it knows nothing about
//! units.
//!
//! As in `walk`, a directory is opened relative to the handle of the one in which it was found, the directory that was found last is read first, and a large
//! directory is divided while it is read. Only directories that the reader is given are opened by path, name by name, without following links that the scan
//! does not follow. Directories that are not begun can be given back at any time.

use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::look::{
    FOLLOW_LINK, LOOK_UP, READ_DIRECTORY, attributes, c_strings, keep_whole, look_through, look_up, open_dir,
    open_root, try_open_base,
};
use super::part::{Handed, Linked, Met, Opened, Order, Part, Said, Step, Unread};
use super::portion::Portion;
use super::subtree::{Attributes, below};
use super::{Follow, Limits, Scan, Weight};

/// Flags for opening the directories on the way to one that is read.
const PATH_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The first number for directories that a reader has found itself. Directories that it is given have lower numbers.
pub const FIRST_FOUND: u64 = 1 << 62;

/// A reader, see the [module](self). Its threads are those that are in [`Reader::work`].
pub struct Reader<'a> {
    scan: &'a Scan,
    /// Whether it also reads file systems other than those of the roots.
    goes_everywhere: bool,
    roots: Vec<OnceLock<rustix::io::Result<Base>>>,
    queue: Mutex<Queue>,
    wakes: Condvar,
    limits: OnceLock<Limits>,
    next: AtomicU64,
    looks: AtomicU64,
    drops: AtomicBool,
    tell: &'a (dyn Fn(Said<'_>) + Sync),
}

struct Base {
    dir: OwnedFd,
    /// The device of the root's directory.
    device: u64,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// How many directories are to be given back.
    wanted: Option<usize>,
    dropped: HashSet<u64>,
    closed: bool,
}

enum Task {
    Open(Found),
    /// A directory that has more entries to read.
    More(Arc<Open>),
}

/// A directory that has not been begun.
struct Found {
    id: u64,
    root: u32,
    at: At,
}

enum At {
    In { above: Arc<Open>, name: CString, link: bool },
    Path(Vec<Step>),
}

/// A directory that is being read, or that has directories below it that still are to be read.
struct Open {
    id: u64,
    root: u32,
    dir: OwnedFd,
    device: u64,
    above: Option<Arc<Open>>,
    /// Its name in the directory above; for a directory that the reader was given, its path.
    name: Vec<u8>,
    /// Whether a link was followed to it or to a directory above it.
    in_link: bool,
    /// Portions that have not been reported yet.
    portions: AtomicUsize,
}

impl Open {
    fn path(&self) -> Vec<u8> {
        let mut names = vec![&self.name[..]];
        names.extend(self.all_above().map(|open| &open.name[..]));
        names.iter().rev().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join(&b'/')
    }

    fn all_above(&self) -> impl Iterator<Item = &Open> {
        std::iter::successors(self.above.as_deref(), |open| open.above.as_deref())
    }
}

impl<'a> Reader<'a> {
    /// A reader without directories; `tell` gets its messages.
    pub fn new(scan: &'a Scan, goes_everywhere: bool, tell: &'a (dyn Fn(Said<'_>) + Sync)) -> Reader<'a> {
        Reader {
            scan,
            goes_everywhere,
            roots: scan.roots.iter().map(|_| OnceLock::new()).collect(),
            queue: Mutex::default(),
            wakes: Condvar::new(),
            limits: OnceLock::new(),
            next: AtomicU64::new(FIRST_FOUND),
            looks: AtomicU64::new(0),
            drops: AtomicBool::new(false),
            tell,
        }
    }

    /// Takes an order, and leaves carrying it out to the threads of the reader.
    pub fn hear(&self, order: Order) {
        let mut queue = self.lock();
        match order {
            Order::Read(handed) => {
                let task = |Handed { id, root, steps }| Task::Open(Found { id, root, at: At::Path(steps) });
                queue.tasks.extend(handed.into_iter().map(task));
            }
            Order::Give(count) => queue.wanted = Some(count),
            Order::Drop(id) => {
                queue.dropped.insert(id);
                self.drops.store(true, Ordering::Release);
            }
            // If limits come twice, they are the same.
            Order::Limits(limits) => drop(self.limits.set(limits)),
        }
        drop(queue);
        self.wakes.notify_all();
    }

    /// Asks its threads to end as soon as they have finished their current piece of work.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wakes.notify_all();
    }

    /// How often it has accessed the file system: if the number does not grow, the reader waits for the file system.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// The main loop of each of its threads; returns after [`Reader::close`].
    pub fn work(&self) {
        let mut portion = Portion::default();
        while let Some(task) = self.next_task() {
            match task {
                Task::Open(found) => self.open(found, &mut portion),
                Task::More(open) => self.read(&open, None, &mut portion),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_task(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(count) = queue.wanted.take() {
                let given = give(&mut queue.tasks, count);
                drop(queue);
                (self.tell)(Said::Given(given));
                queue = self.lock();
            } else if let Some(task) = queue.tasks.pop_back() {
                return Some(task);
            } else {
                queue = self.wakes.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn part(&self, part: Part<'_>) {
        (self.tell)(Said::Part(part));
    }

    fn is_dropped(&self, open: &Open) -> bool {
        if !self.drops.load(Ordering::Acquire) {
            return false;
        }
        let queue = self.lock();
        queue.dropped.contains(&open.id) || open.all_above().any(|open| queue.dropped.contains(&open.id))
    }

    /// Ends a directory that was read in several portions. The portion that is finished last reports the end, because it need not be the one that was read
    /// last.
    fn portion_ends(&self, open: &Open) {
        if open.portions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.part(Part { id: open.id, is_last: true, ..Part::default() });
        }
    }

    fn base(&self, root: u32) -> Result<&Base, Errno> {
        let found = self.roots[root as usize].get_or_init(|| {
            let root = &self.scan.roots[root as usize];
            let dir = try_open_base(root)?;
            let (attributes, _) = open_root(&dir, root).1?;
            Ok(Base { dir, device: attributes.identity.0 })
        });
        found.as_ref().map_err(|errno| *errno)
    }

    fn open(&self, Found { id, root, at }: Found, portion: &mut Portion) {
        if matches!(&at, At::In { above, .. } if self.is_dropped(above)) {
            return self.part(Part::only(id, Met::Dropped));
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
        let base = match self.base(root) {
            Ok(base) => base,
            Err(errno) => return self.part(Part::only(id, Met::Unopened(errno))),
        };
        let (link, in_link) = match &at {
            At::In { above, link, .. } => (*link, *link || above.in_link),
            At::Path(steps) => (steps.last().is_some_and(|step| step.link), steps.iter().any(|step| step.link)),
        };
        let opened = match &at {
            At::In { above, name, link } => open_dir(&above.dir, name, *link).map(|found| (found, above.device)),
            At::Path(steps) => open_by_path(base, steps),
        };
        let ((Attributes { mode, owner, identity }, dir), device_above) = match opened {
            Ok(opened) => opened,
            Err(errno) => return self.part(Part::only(id, Met::Unopened(errno))),
        };
        if !self.goes_everywhere && identity.0 != base.device {
            return self.part(Part::only(id, Met::Elsewhere));
        }
        let whole = if link { None } else { keep_whole(self.scan, mode, &dir) };
        let opened = Opened { mode, owner, identity, whole };
        let is_mounted = self.scan.one_file_system > 0 && identity.0 != device_above;
        if is_mounted || self.scan.left_out == Some(identity) {
            return self.part(Part::only(id, Met::Opened(opened)));
        }
        let (above, name) = match at {
            At::In { above, name, .. } => (Some(above), name.into_bytes()),
            At::Path(steps) => (None, steps.iter().map(|step| &step.name[..]).collect::<Vec<_>>().join(&b'/')),
        };
        let (device, portions) = (identity.0, AtomicUsize::new(1));
        let open = Open { id, root, dir, device, above, name, in_link, portions };
        self.read(&Arc::new(open), Some(opened), portion);
    }

    /// Reads a portion of a directory. The rest becomes a task of its own, and the sub-directories are queued on top of it: an idle thread continues with the
    /// rest meanwhile, and this thread goes down into the sub-directories first.
    fn read(&self, open: &Arc<Open>, first: Option<Opened>, portion: &mut Portion) {
        if first.is_none() && self.is_dropped(open) {
            return self.portion_ends(open);
        }
        let excludes = |name: &[u8]| self.scan.prune.excludes(name, || below(&open.path(), name));
        let (more, _, failed) = portion.fill(self.scan, false, &open.dir, excludes);
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut met = first.map(Met::Opened);
        if more {
            // Another thread may finish the rest before this thread finishes its portion, so the first part is sent now.
            if met.is_some() {
                self.part(Part { id: open.id, met: met.take(), ..Part::default() });
            }
            open.portions.fetch_add(1, Ordering::Relaxed);
            self.lock().tasks.push_back(Task::More(Arc::clone(open)));
            self.wakes.notify_one();
        }
        let step = |name: &CStr, link| Step { name: name.to_bytes().to_vec(), link };
        let Portion { directories, listed, known, .. } = portion;
        let mut directories: Vec<Step> = c_strings(directories).map(|name| step(name, false)).collect();
        let mut unread = Vec::new();
        if let Some(errno) = failed {
            unread.push(Unread { name: Vec::new(), attempted: READ_DIRECTORY, errno, in_unit: false });
        }
        let mut linked = Vec::new();
        for name in c_strings(listed) {
            self.looks.fetch_add(1, Ordering::Relaxed);
            let mut fails = |attempted, errno, in_unit| {
                unread.push(Unread { name: name.to_bytes().to_vec(), attempted, errno, in_unit });
            };
            let mut found = match look_up(self.scan, false, &open.dir, name) {
                Ok((found, _)) => found,
                Err(errno) => {
                    fails(LOOK_UP, errno, errno != Errno::NOENT);
                    continue;
                }
            };
            let link = found.kind == FileType::Symlink && self.scan.follow != Follow::Nothing && !open.in_link;
            if link {
                let (behind, failed) = look_through(self.scan, &open.dir, name);
                if let Some(errno) = failed {
                    fails(FOLLOW_LINK, errno, true);
                    continue;
                }
                found = behind;
            }
            let weight = Weight { entries: 1, bytes: found.bytes };
            if found.kind == FileType::Directory && !excludes(name.to_bytes()) {
                directories.push(step(name, link));
            } else if let Some((inode, names)) = found.linked {
                linked.push(Linked { name: name.to_bytes().to_vec(), weight, inode, names });
            } else {
                known.push(name, weight);
            }
        }
        if let (Some(Met::Opened(opened)), true) =
            (met, directories.is_empty() && linked.is_empty() && unread.is_empty())
        {
            let (inside, itself) = (known.weight(), Weight { entries: 1, bytes: 0 });
            // Only for directories that this reader has found itself: one that it was given may have been reported in part.
            let is_leaf = self.limits.get().is_some_and(|limits| limits.hold(inside + itself));
            if open.above.is_some() && is_leaf {
                return self.part(Part::only(open.id, Met::Leaf(opened, inside)));
            }
        }
        let children = self.next.fetch_add(directories.len() as u64, Ordering::Relaxed);
        let is_last = met.is_some();
        let tasks: Vec<Task> = directories
            .iter()
            .enumerate()
            .map(|(at, step)| {
                let name = CString::new(&step.name[..]).expect("a name that was read has no NUL");
                let at_dir = At::In { above: Arc::clone(open), name, link: step.link };
                Task::Open(Found { id: children + at as u64, root: open.root, at: at_dir })
            })
            .collect();
        let (names, weights) = (&known.names[..], &known.weights[..]);
        self.part(Part { id: open.id, met, names, weights, linked, directories, children, unread, is_last });
        // A directory must not be reported before the one that contains it.
        let count = tasks.len();
        if count > 0 {
            self.lock().tasks.extend(tasks);
            // This thread takes one of them itself, so one fewer is woken.
            (1..count).for_each(|_| self.wakes.notify_one());
        }
        // A directory that was reported in a single part has already ended.
        if !is_last {
            self.portion_ends(open);
        }
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("looks", &self.looks()).finish_non_exhaustive()
    }
}

/// Takes the directories that were found first.
fn give(tasks: &mut VecDeque<Task>, count: usize) -> Vec<u64> {
    let mut given = Vec::new();
    tasks.retain(|task| match task {
        Task::Open(found) if given.len() < count => {
            given.push(found.id);
            false
        }
        _ => true,
    });
    given
}

/// Opens a directory name by name. Also returns the device of its parent.
fn open_by_path(base: &Base, steps: &[Step]) -> rustix::io::Result<((Attributes, OwnedFd), u64)> {
    let Some((last, above)) = steps.split_last() else { return Ok((open_dir(&base.dir, c".", false)?, base.device)) };
    let mut dir: Option<OwnedFd> = None;
    for Step { name, link } in above {
        let flags = if *link { PATH_DIR } else { PATH_DIR.union(OFlags::NOFOLLOW) };
        dir = Some(fs::openat(dir.as_ref().unwrap_or(&base.dir), &name[..], flags, Mode::empty())?);
    }
    let name = CString::new(&last.name[..]).map_err(|_| Errno::INVAL)?;
    let device = match &dir {
        Some(dir) => attributes(dir)?.identity.0,
        // The root itself, or a directory directly in its base.
        None => base.device,
    };
    Ok((open_dir(dir.as_ref().unwrap_or(&base.dir), &name, last.link)?, device))
}
