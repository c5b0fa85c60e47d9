//! The walker for ignore rules ([`Scan::gitignore`]): the parallel walker of the crate `ignore`, which knows them.
//!
//! It tells what is not ignored, but neither that something is, nor when it is done with a directory. Both matter here: rsync would
//! copy what is ignored below a unit, so a directory that holds something ignored must be split. Therefore each directory is listed
//! once more, and the names that pass the rules are compared with that.
//!
//! When the walker has a directory it calls the visitor with it, then, in the same thread, the filter with each of its names that is not
//! ignored; the next visit of that thread comes after that. This order is not part of that crate's documentation, so it is
//! checked. The names of a directory are in memory meanwhile, also of a large one.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::ThreadId;

use ignore::{DirEntry, ParallelVisitor, ParallelVisitorBuilder, WalkBuilder, WalkState};
use rustix::fs::RawDir;
use rustix::io::Errno;

use super::linked;
use super::look::{Look, OPEN_DIRECTORY, READ_AT_ONCE, READ_DIRECTORY, is_exposed, open_base, open_dir, open_root};
use super::subtree::{Item, Node, Small, Tree, below};
use super::{Event, Names, Root, Scan, ScanError, Watch, Weight};
use crate::error::{Error, Result};
use crate::rsync::prune::Prune;
use crate::thread;

/// What the walker takes for standard input: it is visited, and is nothing.
const NOTHING: &str = "-";
/// Names that are looked up and told together.
const BATCH: usize = 1024;

thread_local! {
    /// The directory that the walker is going through in this thread.
    static LISTING: RefCell<Option<Listing>> = const { RefCell::new(None) };
}

/// A directory that was opened.
struct Open {
    node: Arc<Node>,
    dir: OwnedFd,
}

/// Names, but for their order. A directory of which all names passed has equal ones.
#[derive(Default, PartialEq, Eq)]
struct Tally {
    names: u64,
    hashes: u64,
}

impl Tally {
    fn add(&mut self, name: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(name);
        self.names += 1;
        self.hashes = self.hashes.wrapping_add(hasher.finish());
    }
}

struct Listing {
    open: Arc<Open>,
    /// Its path with a slash, as the walker has it.
    path: Vec<u8>,
    all: Tally,
    passed: Tally,
    directories: u64,
    /// Names that passed and have to be looked up, each ended by a NUL.
    listed: Vec<u8>,
    /// Other names that passed.
    known: Names,
}

/// What decides in the walker's threads about names that are not ignored.
struct Gate {
    prune: Prune,
    hard_links: bool,
    /// Sub-directories that passed, by path, with the directory that holds each.
    waiting: Mutex<HashMap<PathBuf, Arc<Open>>>,
    /// The walker did not keep to its order.
    confused: AtomicBool,
    /// What a thread panicked with: the walker would wait for it for ever.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    start: Start,
}

/// Lets the threads of the walker begin when all of them are there. If the system refuses one, the walker panics, once all others have ended;
/// and they end only when they are told to, while one of them still has something to visit.
struct Start {
    /// Where threads are started.
    from: ThreadId,
    threads: usize,
    built: AtomicUsize,
    there: Mutex<usize>,
    refused: AtomicBool,
    changed: Condvar,
}

impl Start {
    fn new(threads: usize) -> Start {
        Start {
            from: std::thread::current().id(),
            threads,
            built: AtomicUsize::new(0),
            there: Mutex::new(0),
            refused: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }

    /// Waits for the other threads; false if there will never be enough. Each has one thing to visit before anything else.
    fn waits(&self) -> bool {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        *there += 1;
        self.changed.notify_all();
        while *there < self.threads && !self.refused() {
            there = self.changed.wait(there).unwrap_or_else(PoisonError::into_inner);
        }
        !self.refused()
    }

    fn refuse(&self) {
        let _there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        self.refused.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Gate {
    /// Takes a name that is not ignored; true if the walker is to visit it.
    fn passes(&self, entry: &DirEntry) -> bool {
        LISTING.with_borrow_mut(|listing| {
            let name = entry.file_name().as_bytes();
            let above = entry.path().as_os_str().as_bytes().strip_suffix(name);
            let Some(listing) = listing.as_mut().filter(|listing| above == Some(&listing.path)) else {
                self.confused.store(true, Ordering::Relaxed);
                return false;
            };
            listing.passed.add(name);
            let kind = entry.file_type();
            let path = || below(&listing.open.node.path(), name);
            if kind.is_some_and(|kind| kind.is_dir()) && !self.prune.excludes(name, path) {
                listing.directories += 1;
                listing.open.node.expect_more();
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.insert(entry.path().to_owned(), Arc::clone(&listing.open));
                return true;
            }
            if kind.is_none_or(|kind| kind.is_file()) || self.hard_links {
                listing.listed.extend_from_slice(name);
                listing.listed.push(0);
            } else {
                listing.known.push_bytes(name, Weight { entries: 1, bytes: 0 });
            }
            false
        })
    }

    fn holder(&self, path: &Path) -> Option<Arc<Open>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(path)
    }
}

pub(super) fn walk(
    scan: &Scan,
    small: Option<Small<'_>>,
    watch: &Watch,
    sink: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let look = Look { tree: Tree::new(scan.limits, small, scan.roots.len() > 1, watch, sink), scan, observer: None };
    let bases = scan.roots.iter().map(open_base).collect::<Result<Vec<_>>>()?;
    for (index, (root, base)) in scan.roots.iter().zip(bases).enumerate() {
        walk_root(&look, index as u32, root, &base)?;
    }
    look.tree.conclude();
    linked::settle(&look.tree, scan.linked_parts);
    Ok(())
}

fn walk_root(look: &Look<'_>, index: u32, root: &Root, base: &OwnedFd) -> Result<()> {
    look.tree.watch.count_root();
    let (name, opened) = open_root(base, root);
    let (attributes, dir) = match opened {
        Ok(opened) => opened,
        Err(errno) if rsync_fails_too(errno) || errno == Errno::NOENT => {
            look.tell_unread_root(index, name, errno);
            return Ok(());
        }
        Err(errno) => return Err(Error::io(OPEN_DIRECTORY, &root.path(), errno)),
    };
    // The walker takes a link as what it leads to, and finds rules in the directories above only with the real path.
    let real = root.base.canonicalize().map_err(|cause| Error::io("find the real path of", &root.base, cause))?;
    let mut path = real.clone();
    path.extend(&root.name);
    let node = Node::new(None, index, name, attributes, is_exposed(root, base, attributes), None);
    if look.scan.split_roots {
        node.split(&look.tree);
    }
    let gate = Arc::new(Gate {
        prune: look.scan.prune.clone(),
        hard_links: look.scan.hard_links,
        waiting: Mutex::default(),
        confused: AtomicBool::new(false),
        panic: Mutex::default(),
        start: Start::new(look.scan.threads.get()),
    });
    let mut walk = Walk { look, gate: &gate, base: &real, top: Arc::new(Open { node, dir }) };
    let filter = Arc::clone(&gate);
    let mut walker = WalkBuilder::new(&path);
    // Something to visit for each of the other threads, see `Start`.
    for _ in 1..look.scan.threads.get() {
        walker.add(NOTHING);
    }
    walker
        .standard_filters(false)
        .ignore(true)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(true)
        .require_git(false)
        // Without a repository around it the source alone decides.
        .parents(is_in_repository(&path))
        .threads(look.scan.threads.get())
        .filter_entry(move |entry| filter.passes(entry));
    let walked = catch_unwind(AssertUnwindSafe(|| walker.build_parallel().visit(&mut walk)));
    if gate.start.refused() {
        return Err(thread::refused());
    }
    walked.unwrap_or_else(|panic| resume_unwind(panic));
    if let Some(panic) = gate.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
        resume_unwind(panic);
    }
    if gate.confused.load(Ordering::Relaxed) {
        return Err(Error::usage("the walker of ignore rules lost its way").remedy("leave out --gitignore"));
    }
    Ok(())
}

/// Whether a directory that could not be opened is closed to rsync as well, which then copies nothing in it.
fn rsync_fails_too(errno: Errno) -> bool {
    errno == Errno::ACCESS || errno == Errno::PERM
}

/// Whether a directory above this one is the top of a git repository that this one belongs to.
fn is_in_repository(path: &Path) -> bool {
    let is_top = |dir: &Path| dir.join(".git").symlink_metadata().is_ok();
    !is_top(path) && path.ancestors().skip(1).any(is_top)
}

/// The walk of one root.
struct Walk<'w> {
    look: &'w Look<'w>,
    gate: &'w Gate,
    base: &'w Path,
    top: Arc<Open>,
}

impl<'w> ParallelVisitorBuilder<'w> for Walk<'w> {
    fn build(&mut self) -> Box<dyn ParallelVisitor + 'w> {
        // The first is for roots that cannot be looked at, and has no thread.
        let waits = self.gate.start.built.fetch_add(1, Ordering::Relaxed) > 0;
        Box::new(Visitor { walk: Walk { top: Arc::clone(&self.top), ..*self }, waits })
    }
}

/// One thread of the walk.
struct Visitor<'w> {
    walk: Walk<'w>,
    /// The thread has not begun.
    waits: bool,
}

impl ParallelVisitor for Visitor<'_> {
    fn visit(&mut self, visited: std::result::Result<DirEntry, ignore::Error>) -> WalkState {
        let Visitor { walk, waits } = self;
        let is_nothing = visited.as_ref().is_ok_and(DirEntry::is_stdin);
        if visited.is_ok() && std::mem::take(waits) && !walk.gate.start.waits() {
            return WalkState::Quit;
        }
        if is_nothing {
            return WalkState::Continue;
        }
        catch_unwind(AssertUnwindSafe(|| walk.visit(visited))).unwrap_or_else(|panic| {
            walk.gate.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            WalkState::Quit
        })
    }
}

impl Drop for Visitor<'_> {
    /// There is no other word from the walker that a thread has done its last directory.
    fn drop(&mut self) {
        let Visitor { walk, waits } = self;
        if *waits && std::thread::current().id() == walk.gate.start.from {
            walk.gate.start.refuse();
        } else if !std::thread::panicking() {
            walk.finish();
        }
    }
}

impl Walk<'_> {
    fn visit(&self, visited: std::result::Result<DirEntry, ignore::Error>) -> WalkState {
        match visited {
            Err(error) => {
                self.complain(&error);
                WalkState::Continue
            }
            Ok(entry) => {
                self.finish();
                if self.look.tree.watch.stopped() { WalkState::Quit } else { self.enter(&entry) }
            }
        }
    }

    /// Makes a directory the one that this thread goes through.
    fn enter(&self, entry: &DirEntry) -> WalkState {
        let Walk { look: Look { tree, scan, .. }, gate, top, .. } = self;
        let open = if entry.depth() == 0 {
            Arc::clone(top)
        } else {
            let Some(parent) = gate.holder(entry.path()) else {
                gate.confused.store(true, Ordering::Relaxed);
                return WalkState::Quit;
            };
            let (name, holder) = (entry.file_name().as_bytes(), &parent.node);
            if holder.is_pruned() {
                holder.done(tree);
                return WalkState::Skip;
            }
            match open_dir(&parent.dir, &CString::new(name).unwrap_or_default(), false) {
                Ok((attributes, _)) if scan.left_out == Some(attributes.identity) => {
                    holder.split(tree);
                    holder.done(tree);
                    return WalkState::Skip;
                }
                Ok((attributes, _)) if scan.one_file_system > 0 && attributes.identity.0 != holder.device() => {
                    if scan.one_file_system == 1 {
                        holder.take(tree, Item::Mount(name, attributes));
                    }
                    holder.done(tree);
                    return WalkState::Skip;
                }
                Ok((attributes, dir)) => {
                    let exposed = holder.exposes(attributes);
                    let node = Node::new(Some(holder), holder.root(), name, attributes, exposed, None);
                    Arc::new(Open { node, dir })
                }
                Err(errno) => {
                    self.unread(holder, name, errno);
                    holder.done(tree);
                    return WalkState::Skip;
                }
            }
        };
        let mut path = entry.path().as_os_str().as_bytes().to_vec();
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        let all = self.list(&open);
        let listing = Listing {
            open,
            path,
            all,
            passed: Tally::default(),
            directories: 0,
            listed: Vec::new(),
            known: Names::default(),
        };
        LISTING.set(Some(listing));
        WalkState::Continue
    }

    fn list(&self, open: &Open) -> Tally {
        let mut all = Tally::default();
        let mut buffer = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut entries = RawDir::new(&open.dir, &mut buffer);
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) if entry.file_name() == c"." || entry.file_name() == c".." => {}
                Ok(entry) => all.add(entry.file_name().to_bytes()),
                Err(errno) => {
                    self.look.tell_error(&open.node, b"", READ_DIRECTORY, errno, false);
                    // Nobody knows whether something in it is ignored.
                    all.names = u64::MAX;
                    break;
                }
            }
        }
        all
    }

    /// Ends the directory that this thread went through, if there is one.
    fn finish(&self) {
        let Some(mut listing) = LISTING.take() else { return };
        let Walk { look, .. } = self;
        let Open { node, dir } = &*listing.open;
        if listing.passed != listing.all {
            node.split(&look.tree);
        }
        // A directory meanwhile: it was not judged as one, and came too late.
        let replaced = |_: &_, _| node.split(&look.tree);
        look.take(node, dir, b"", &mut listing.known, listing.directories, true, replaced);
        let mut rest = &listing.listed[..];
        while !rest.is_empty() {
            let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
            let end = ends.take(BATCH).last().map_or(rest.len(), |(at, _)| at + 1);
            let (batch, more) = rest.split_at(end);
            listing.known.clear();
            look.take(node, dir, batch, &mut listing.known, 0, false, replaced);
            rest = more;
        }
        node.done(&look.tree);
    }

    /// A directory that cannot be opened is part of a unit only if rsync cannot read it either: it would copy what is ignored in it.
    fn unread(&self, holder: &Arc<Node>, name: &[u8], errno: Errno) {
        let Walk { look, .. } = self;
        // Another process replaced it by something else, and it is copied as what it is now.
        let replaced = errno == Errno::NOTDIR || errno == Errno::LOOP;
        let in_unit = replaced || rsync_fails_too(errno);
        if !replaced {
            look.tell_error(holder, name, OPEN_DIRECTORY, errno, in_unit);
        }
        if in_unit {
            let mut one = Names::default();
            one.push_bytes(name, Weight { entries: 1, bytes: 0 });
            holder.take(&look.tree, Item::Names(&one));
        } else {
            holder.split(&look.tree);
        }
    }

    /// Something that the walker could not read: whatever it is, its directory lacks it then, and is split. Rules that make no sense
    /// match nothing, as in git.
    fn complain(&self, error: &ignore::Error) {
        let Some((path, cause)) = io_error(error, None) else { return };
        let path = path.unwrap_or(self.base);
        let path = path.strip_prefix(self.base).unwrap_or(path).as_os_str().as_bytes().to_vec();
        let errno = Errno::from_io_error(cause).unwrap_or(Errno::IO);
        let root = self.top.node.root();
        self.look.tree.tell(Event::Error(ScanError { root, path, attempted: READ_DIRECTORY, errno, in_unit: false }));
    }
}

/// The first failure of the system in an error, and what it is about.
fn io_error<'e>(error: &'e ignore::Error, about: Option<&'e Path>) -> Option<(Option<&'e Path>, &'e io::Error)> {
    match error {
        ignore::Error::Partial(errors) => errors.iter().find_map(|error| io_error(error, about)),
        ignore::Error::WithPath { path, err } => io_error(err, Some(path)),
        ignore::Error::WithLineNumber { err, .. } | ignore::Error::WithDepth { err, .. } => io_error(err, about),
        ignore::Error::Io(cause) => Some((about, cause)),
        _ => None,
    }
}
