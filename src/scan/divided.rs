//! A scan whose directories are read by several readers: on this machine ([`Reader`](super::Reader)), or on other machines that see the same file system.
//!
//! The tree is put together here, with the same rules and numbers as in every scan: a reader reports the contents of a directory, and then also reads the
//! directories below it. A reader that has nothing to do gets directories that another reader has not begun. So no size has to be known beforehand, and no
//! reader waits for the largest subtree.
//!
//! If machines disagree about a directory, this machine decides:
//! - device numbers are valid on one machine only. A reader on another machine stays on the file system of the root, whose device number is known here;
//!   anything that is mounted below it is read here.
//! - a directory that another machine cannot read is read here, and the result of this machine counts: a host that has lost its mount causes no errors.
//! - when a reader is lost, the directories that it has not reported completely are read again, and names that it has reported are not reported twice.

mod dirs;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::look::{Look, OPEN_DIRECTORY, is_exposed, open_base, open_root};
use super::part::{Met, Opened, Order, Part, Said, Step, Unread};
use super::subtree::{Attributes, Item, Node, Small, Tree, below};
use super::{Event, KeptWhole, Names, Scan, ScanError, Watch, Weight, linked};
use crate::error::{Error, Result};

pub use dirs::Member;
use dirs::{Dir, Reads, Says, State, Told};

/// The most directories that a reader gets at once.
const MOST_HANDED: usize = 64;
/// The most directories that a reader is asked to give back at once.
const MOST_GIVEN: usize = 512;

/// See the [module](self).
pub struct Divided<'a> {
    look: Look<'a>,
    state: Mutex<State>,
    changed: Condvar,
    /// The device number of each root, as this machine sees it.
    devices: Vec<u64>,
    limits_told: AtomicBool,
    hasher: [RandomState; 2],
}

impl<'a> Divided<'a> {
    /// Opens the roots, as every scan does.
    ///
    /// # Errors
    /// The base of a root cannot be opened, or the scan uses ignore rules, which are only known to a scan that reads the whole source itself.
    pub fn new(
        scan: &'a Scan,
        small: Option<Small<'a>>,
        watch: &'a Watch,
        sink: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Result<Divided<'a>> {
        if scan.gitignore {
            return Err(Error::usage("ignore rules are read by one that reads all of the source"));
        }
        let bases = scan.roots.iter().map(open_base).collect::<Result<Vec<_>>>()?;
        let tree = Tree::new(scan.limits, small, scan.roots.len() > 1, watch, sink);
        let look = Look { tree, scan, observer: None };
        let mut state = State::default();
        let mut devices = vec![0; scan.roots.len()];
        for (index, (root, base)) in scan.roots.iter().zip(&bases).enumerate() {
            let index = index as u32;
            watch.count_root();
            let (name, opened) = open_root(base, root);
            let (attributes, dir) = match opened {
                Ok(opened) => opened,
                Err(errno) => {
                    look.tell_unread_root(index, name, errno, false);
                    continue;
                }
            };
            devices[index as usize] = attributes.identity.0;
            let exposed = is_exposed(root, base, attributes);
            let node = Node::new(None, index, name, attributes, exposed, look.keep_whole(attributes, &dir));
            let node = node.within(scan.path_room(root));
            if scan.split_roots && !node.is_in_whole() && !node.is_too_long() {
                node.split(&look.tree);
            }
            let told = Mutex::new(Told { node: Some(node), ..Told::default() });
            let (name, is_own) = (name.into(), AtomicBool::new(false));
            state.spare.push(Arc::new(Dir { parent: None, root: index, name, link: false, is_own, told }));
            state.open += 1;
        }
        Ok(Divided {
            look,
            state: Mutex::new(state),
            changed: Condvar::new(),
            devices,
            limits_told: AtomicBool::new(false),
            hasher: [RandomState::new(), RandomState::new()],
        })
    }

    /// Adds a reader. `says` gives it an order, and must not wait. A reader with fewer than `low` directories gets more. `is_here` means that it runs on this
    /// machine, and sees the file systems as this machine does.
    pub fn join(&self, low: usize, is_here: bool, says: impl Fn(Order) + Send + Sync + 'static) -> Member {
        let says: Arc<Says> = Arc::new(Box::new(says));
        let mut state = self.lock();
        state.members.push(Reads {
            says: Arc::clone(&says),
            dirs: HashMap::new(),
            next: 1,
            low: low.max(1),
            is_here,
            takes: !is_here,
            is_gone: false,
            asked: false,
            had_nothing: None,
            heard: 0,
            listened_to: 0,
        });
        let member = state.members.len() - 1;
        drop(state);
        if let Some(limits) = self.look.tree.known_limits() {
            says(Order::Limits(limits));
        }
        self.share(self.lock());
        member
    }

    /// Sets whether a reader gets directories that any reader may read. By default a reader on this machine does not.
    pub fn takes(&self, member: Member, takes: bool) {
        let mut state = self.lock();
        state.members[member].takes = takes;
        self.share(state);
    }

    /// Marks a reader as lost: other readers read the directories that it has not reported completely. Returns false if it was already marked.
    pub fn lost(&self, member: Member) -> bool {
        let mut state = self.lock();
        let reads = &mut state.members[member];
        if std::mem::replace(&mut reads.is_gone, true) {
            return false;
        }
        let dirs = std::mem::take(&mut reads.dirs);
        for (_, dir) in dirs {
            dir.is_left();
            state.put(dir);
        }
        self.share(state);
        self.changed.notify_all();
        true
    }

    /// Notes a sign of life of a reader that has reported nothing.
    pub fn is_there(&self, member: Member) {
        self.lock().members[member].heard += 1;
    }

    /// How often a reader was heard; `None` if it need not be heard now, because it has nothing to do, is lost, or a report of it is being processed.
    pub fn heard(&self, member: Member) -> Option<u64> {
        let state = self.lock();
        let reads = &state.members[member];
        (!reads.dirs.is_empty() && !reads.is_gone && reads.listened_to == 0).then_some(reads.heard)
    }

    /// Whether there are directories that only this machine can read.
    pub fn needs_this_machine(&self) -> bool {
        !self.lock().own.is_empty()
    }

    /// Whether everything was read.
    pub fn is_over(&self) -> bool {
        self.lock().open == 0
    }

    /// Waits until something may have changed: everything was read, a reader was lost, or this machine has to read something.
    pub fn wait(&self, longest: Duration) {
        let state = self.lock();
        if state.open > 0 {
            drop(self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Emits what had to wait until nothing more is read.
    pub fn conclude(&self) {
        self.look.tree.conclude();
        linked::settle(&self.look.tree, self.look.scan.linked_parts);
    }

    /// Takes a report of a reader.
    pub fn hear(&self, member: Member, said: Said<'_>) {
        self.lock().members[member].listened_to += 1;
        match said {
            Said::Given(ids) => self.given(member, &ids),
            Said::Part(part) => self.part(member, part),
        }
        let reads = &mut self.lock().members[member];
        reads.listened_to -= 1;
        reads.heard += 1;
    }

    fn given(&self, member: Member, ids: &[u64]) {
        let mut state = self.lock();
        let reads = &mut state.members[member];
        reads.asked = false;
        reads.had_nothing = ids.is_empty().then(Instant::now);
        let dirs: Vec<Arc<Dir>> = ids.iter().filter_map(|id| reads.dirs.remove(id)).collect();
        // The directory that was found first is given away first.
        for dir in dirs.into_iter().rev() {
            dir.is_left();
            state.put(dir);
        }
        self.share(state);
    }

    fn part(&self, member: Member, part: Part<'_>) {
        let (dir, is_here) = {
            let state = self.lock();
            let reads = &state.members[member];
            // The directory was given to another reader meanwhile, or lies below a pruned one.
            let Some(dir) = reads.dirs.get(&part.id) else { return };
            (Arc::clone(dir), reads.is_here)
        };
        let id = part.id;
        if !is_here && part.met.is_some_and(|met| self.is_for_this_machine(&dir, met)) {
            return self.read_here(member, id, dir);
        }
        let met = match part.met {
            Some(met) => self.meet(&dir, met, is_here),
            None => dir.told().node.clone(),
        };
        let Some(node) = met else {
            if !part.is_last {
                self.say(member, Order::Drop(id));
            }
            return self.close(member, id);
        };
        if self.look.tree.watch.stopped() || node.is_pruned() {
            // Another thread of the same reader may still report a part of it: only the last part ends the directory.
            if part.is_last {
                node.done(&self.look.tree);
                return self.close(member, id);
            }
            return self.say(member, Order::Drop(id));
        }
        let doubtful = !is_here && part.unread.iter().any(|unread| unread.errno != Errno::NOENT);
        let is_last = part.is_last && !doubtful;
        if !matches!(part.met, Some(Met::Leaf(..))) {
            self.take(member, &dir, &node, part, doubtful);
        }
        if doubtful {
            return self.read_here(member, id, dir);
        }
        if is_last {
            node.done(&self.look.tree);
            self.close(member, id);
        }
        self.tell_limits();
    }

    /// Whether this machine must read the directory itself: the other machine could not open it, it sees another file system there, or it sees another
    /// directory.
    fn is_for_this_machine(&self, dir: &Dir, met: Met) -> bool {
        match met {
            Met::Elsewhere | Met::Unopened(_) => true,
            Met::Opened(Opened { identity, .. }) | Met::Leaf(Opened { identity, .. }, _) => {
                dir.told().node.as_ref().is_some_and(|node| node.identity().1 != identity.1)
            }
            Met::Dropped => false,
        }
    }

    /// Leaves a directory to this machine, because another machine could not read it, or not all of it.
    fn read_here(&self, member: Member, id: u64, dir: Arc<Dir>) {
        dir.is_own.store(true, Ordering::Relaxed);
        dir.is_left();
        let mut state = self.lock();
        if state.members[member].dirs.remove(&id).is_some() {
            state.put(dir);
        }
        self.share(state);
        self.changed.notify_all();
    }

    /// The node of a directory that is to be read. If the directory is not to be read, ends it and returns `None`.
    fn meet(&self, dir: &Dir, met: Met, is_here: bool) -> Option<Arc<Node>> {
        let mut told = dir.told();
        let tree = &self.look.tree;
        if let Some(node) = &told.node {
            // A root, or a directory that another reader has reported in part. Its other contents are unknown.
            if let Met::Unopened(errno) = met {
                let (path, attempted) = (node.path(), OPEN_DIRECTORY);
                tree.tell(Event::Error(ScanError { root: dir.root, path, attempted, errno, in_unit: false }));
            }
            return Some(Arc::clone(node));
        }
        let parent = dir.parent.as_ref().expect("a root was met");
        if met == Met::Dropped || tree.watch.stopped() || parent.is_pruned() {
            parent.done(tree);
            return None;
        }
        let (opened, inside) = match met {
            Met::Opened(opened) => (Ok(opened), None),
            Met::Leaf(opened, inside) => (Ok(opened), Some(inside)),
            Met::Unopened(errno) => (Err(errno), None),
            Met::Elsewhere | Met::Dropped => unreachable!("was dealt with"),
        };
        let whole: Option<KeptWhole> = opened.ok().and_then(|opened: Opened| opened.whole);
        // Only a reader on this machine reports a device number that is valid here. All others stay on the device of the root.
        let device = |told: u64| if is_here { told } else { parent.device() };
        let attributes = opened.map(|Opened { mode, owner, identity, .. }| Attributes {
            mode,
            owner,
            identity: (device(identity.0), identity.1),
        });
        let node = self.look.meet(parent, &dir.name, dir.link, attributes, |_| whole)?;
        if let Some(inside) = inside {
            node.add(inside);
            tree.watch.count_in(node.depth(), 0, inside, true);
        }
        told.node = Some(Arc::clone(&node));
        Some(node)
    }

    /// Takes the entries of a part, except those that were reported before. If the part is doubtful, entries that could not be read are not taken either.
    fn take(&self, member: Member, dir: &Dir, node: &Arc<Node>, part: Part<'_>, doubtful: bool) {
        let tree = &self.look.tree;
        let Part { met, names, weights, linked, directories, children, unread, is_last, .. } = part;
        let mut told = dir.told();
        let (again, is_whole) = (told.again, met.is_some() && is_last && !doubtful);
        let mut is_new = |name: &[u8]| match (is_whole, again) {
            (true, false) => true,
            _ => told.names.insert(self.hash(name)) || !again,
        };
        let mut known = Names::default();
        for (name, weight) in names.split_inclusive(|byte| *byte == 0).zip(weights) {
            let name = &name[..name.len() - 1];
            if is_new(name) {
                known.push_bytes(name, *weight);
            }
        }
        let linked: Vec<_> = linked.into_iter().filter(|linked| is_new(&linked.name)).collect();
        let numbered = directories.into_iter().enumerate();
        let directories: Vec<(u64, Step)> = numbered
            .filter(|(_, step)| is_new(&step.name))
            .map(|(at, step)| (children.wrapping_add(at as u64), step))
            .collect();
        let mut failed = Vec::new();
        for Unread { name, attempted, errno, in_unit } in unread {
            if doubtful && errno != Errno::NOENT || !name.is_empty() && !is_new(&name) {
                continue;
            }
            if in_unit {
                known.push_bytes(&name, Weight { entries: 1, bytes: 0 });
            }
            let path = if name.is_empty() { node.path() } else { below(&node.path(), &name) };
            failed.push(ScanError { root: dir.root, path, attempted, errno, in_unit });
        }
        drop(told);
        let count = directories.len() as u64;
        if !directories.is_empty() {
            let is_own = node.device() != self.devices[dir.root as usize];
            let mut state = self.lock();
            for (id, Step { name, link }) in directories {
                node.expect_more();
                let (name, is_own, told) = (name.into(), AtomicBool::new(is_own), Mutex::default());
                let found = Dir { parent: Some(Arc::clone(node)), root: dir.root, name, link, is_own, told };
                state.members[member].dirs.insert(id, Arc::new(found));
            }
            state.open += count as usize;
        }
        failed.into_iter().for_each(|error| tree.tell(Event::Error(error)));
        let linked_weight: Weight = linked.iter().map(|linked| linked.weight).sum();
        for linked in linked {
            // A reader elsewhere stays on the file system of the root, so the device is that of the directory.
            node.take(tree, Item::Linked(linked.within(node.device())));
        }
        let weight = known.weight() + linked_weight + Weight { entries: count, bytes: 0 };
        tree.watch.count_in(node.depth(), count, weight, is_last && !doubtful);
        if !known.weights.is_empty() {
            node.take(tree, Item::Names(&known));
        }
    }

    fn hash(&self, name: &[u8]) -> (u64, u64) {
        (self.hasher[0].hash_one(name), self.hasher[1].hash_one(name))
    }

    /// Ends a directory of a reader: nothing more will be reported about it.
    fn close(&self, member: Member, id: u64) {
        let mut state = self.lock();
        let reads = &mut state.members[member];
        if reads.dirs.remove(&id).is_some() {
            state.open -= 1;
        }
        if state.open == 0 {
            self.changed.notify_all();
        }
        self.share(state);
    }

    /// Gives readers that have little to do directories that no reader has, or asks the reader with the most to give some back.
    fn share(&self, mut state: MutexGuard<'_, State>) {
        let mut orders: Vec<(Arc<Says>, Order)> = Vec::new();
        let mut over = Vec::new();
        let hungry: Vec<Member> = (0..state.members.len()).filter(|at| state.members[*at].is_hungry()).collect();
        for (served, member) in hungry.iter().copied().enumerate() {
            let reads = &state.members[member];
            let (is_here, takes) = (reads.is_here, reads.takes);
            let fair = state.spare.len().div_ceil(hungry.len() - served).min(MOST_HANDED);
            let mut handed = Vec::new();
            while handed.len() < MOST_HANDED {
                let own = if is_here { state.own.pop() } else { None };
                let anybody = || (takes && handed.len() < fair).then(|| state.spare.pop()).flatten();
                let Some(dir) = own.or_else(anybody) else { break };
                if self.is_done_with(&dir) {
                    over.push(dir);
                } else {
                    handed.push(state.members[member].hand(dir));
                }
            }
            if !handed.is_empty() {
                orders.push((Arc::clone(&state.members[member].says), Order::Read(handed)));
            } else if let Some(other) = state.richest().filter(|other| takes && *other != member) {
                let has = state.members[member].dirs.len();
                let richest = &mut state.members[other];
                let count = (richest.dirs.len().saturating_sub(has) / 2).min(richest.dirs.len() - richest.low);
                richest.asked = true;
                orders.push((Arc::clone(&richest.says), Order::Give(count.clamp(1, MOST_GIVEN))));
            }
        }
        if state.open == 0 || !state.own.is_empty() {
            self.changed.notify_all();
        }
        drop(state);
        for dir in &over {
            let node = dir.told().node.clone();
            if let Some(node) = node.as_ref().or(dir.parent.as_ref()) {
                node.done(&self.look.tree);
            }
        }
        if !over.is_empty() {
            // They count as read only now, when all directories above them have been told.
            let mut state = self.lock();
            state.open -= over.len();
            self.changed.notify_all();
        }
        orders.into_iter().for_each(|(says, order)| says(order));
    }

    /// Whether a directory need not be read any more.
    fn is_done_with(&self, dir: &Dir) -> bool {
        self.look.tree.watch.stopped() || dir.parent.as_ref().is_some_and(|parent| parent.is_pruned())
    }

    fn say(&self, member: Member, order: Order) {
        let says = Arc::clone(&self.lock().members[member].says);
        says(order);
    }

    fn tell_limits(&self) {
        let Some(limits) = self.look.tree.known_limits() else { return };
        if !self.limits_told.swap(true, Ordering::AcqRel) {
            let all: Vec<Arc<Says>> = self.lock().members.iter().map(|reads| Arc::clone(&reads.says)).collect();
            all.into_iter().for_each(|says| says(Order::Limits(limits)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl std::fmt::Debug for Divided<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Divided").field("open", &self.lock().open).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
