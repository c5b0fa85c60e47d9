//! Reads directories that are handed to it, and what is below them: the part of a scan that touches the file system, and knows nothing of units.
//!
//! As in `walk` a directory is opened relative to the handle of the one it was found in, what was found last is read first, and a large directory is
//! divided while it is read. Only what is handed over is looked up by its path, name by name, without following a link that the scan does not follow.
//! What is not begun can be given back at any time.

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

/// A directory above others that are read.
const PATH_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Numbers of directories that a reader has found itself begin here: those that are handed to it are below.
pub const FIRST_FOUND: u64 = 1 << 62;

/// See the [module](self). Its threads are those that are in [`Reader::work`].
pub struct Reader<'a> {
    scan: &'a Scan,
    /// It reads what is on other file systems than the roots too.
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
    /// That of the root's directory.
    device: u64,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// So many are to be given back.
    wanted: Option<usize>,
    dropped: HashSet<u64>,
    closed: bool,
}

enum Task {
    Open(Found),
    /// There is more in it.
    More(Arc<Open>),
}

/// A directory that is not begun.
struct Found {
    id: u64,
    root: u32,
    at: At,
}

enum At {
    In { above: Arc<Open>, name: CString, link: bool },
    Path(Vec<Step>),
}

/// A directory that is being read, or has some below it that are to be.
struct Open {
    id: u64,
    root: u32,
    dir: OwnedFd,
    device: u64,
    above: Option<Arc<Open>>,
    /// Its name in the directory above; its path if it was handed over.
    name: Vec<u8>,
    /// A link was followed to it, or to one above.
    in_link: bool,
    /// Portions that were not told yet.
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
    /// One that has nothing to do yet.
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

    /// Hears what is to be done, and does none of it.
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
            // The same ones always.
            Order::Limits(limits) => drop(self.limits.set(limits)),
        }
        drop(queue);
        self.wakes.notify_all();
    }

    /// Has its threads end, each after what it is doing.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wakes.notify_all();
    }

    /// How often it has asked the file system: a number that does not grow says that it waits.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// What one of its threads does until [`Reader::close`].
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

    /// The last portion of a directory that came in several says so, in the place of the one that was read last.
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

    /// Reads a portion of a directory. What remains becomes a task of its own, and the directories in it come on top of it: a thread with nothing to do reads
    /// on meanwhile, and this one goes down before it reads on.
    fn read(&self, open: &Arc<Open>, first: Option<Opened>, portion: &mut Portion) {
        if first.is_none() && self.is_dropped(open) {
            return self.portion_ends(open);
        }
        let excludes = |name: &[u8]| self.scan.prune.excludes(name, || below(&open.path(), name));
        let (more, _, failed) = portion.fill(self.scan, false, &open.dir, excludes);
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut met = first.map(Met::Opened);
        if more {
            // Another thread may be done with the rest before this one with its part.
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
            // What was handed over may have been told in part.
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
        // Nobody is to hear of a directory before the one that it is in.
        let count = tasks.len();
        if count > 0 {
            self.lock().tasks.extend(tasks);
            // This thread takes one of them itself.
            (1..count).for_each(|_| self.wakes.notify_one());
        }
        // One that was told at once has come to its end with that.
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

/// Those that were found first.
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

/// Opens a directory name by name, and gives the device of the one it is in.
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
        // The root itself, or a directory in its base.
        None => base.device,
    };
    Ok((open_dir(dir.as_ref().unwrap_or(&base.dir), &name, last.link)?, device))
}
