//! One scan of which several read the directories: on this machine ([`Reader`](super::Reader)), or on others that see the same.
//!
//! The tree is put together here, with the rules and the numbers that every scan has: who reads a directory tells what is in it, and reads what is below it too.
//! Who has nothing to do gets what another one has not begun. So nobody knows before what is large, and nobody waits for the largest subtree.
//!
//! What is true of a directory is what this machine sees:
//! - numbers of devices are those of one machine. Whoever reads for others stays on the file system of the root, whose number is known here; what is mounted
//!   below it is read here.
//! - what another one cannot read is read here, and what this machine then says counts: a host that has lost its mount makes no errors.
//! - when one is lost, what it has not told to the end is read again, and names that it has told are not told twice.

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

/// Directories that are handed over at once, at most.
const MOST_HANDED: usize = 64;
/// Directories that one is asked to give back at once, at most.
const MOST_GIVEN: usize = 512;

/// See the [module](self).
pub struct Divided<'a> {
    look: Look<'a>,
    state: Mutex<State>,
    changed: Condvar,
    /// Of each root, as this machine has it.
    devices: Vec<u64>,
    limits_told: AtomicBool,
    hasher: [RandomState; 2],
}

impl<'a> Divided<'a> {
    /// Opens the roots, as every scan does.
    ///
    /// # Errors
    /// The base of one cannot be opened; or the scan asks for rules of ignore files, which only one that reads all of it knows.
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

    /// One more reads, which does not wait when it is told something. It has enough to do with `low` directories. `is_here` says that it is on this machine, and
    /// sees what that sees.
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

    /// Whether one gets what anybody may read: this machine does not unless it is said.
    pub fn takes(&self, member: Member, takes: bool) {
        let mut state = self.lock();
        state.members[member].takes = takes;
        self.share(state);
    }

    /// One is gone, or is not to be waited for any more: others read what it has not told to the end. False if that is known already.
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

    /// One is there, though it has told nothing.
    pub fn is_there(&self, member: Member) {
        self.lock().members[member].heard += 1;
    }

    /// How often something was heard of one; none where nothing is expected of it: it has nothing to do, or is not listened to.
    pub fn heard(&self, member: Member) -> Option<u64> {
        let state = self.lock();
        let reads = &state.members[member];
        (!reads.dirs.is_empty() && !reads.is_gone && reads.listened_to == 0).then_some(reads.heard)
    }

    /// There is something that only this machine reads.
    pub fn needs_this_machine(&self) -> bool {
        !self.lock().own.is_empty()
    }

    /// Everything was read.
    pub fn is_over(&self) -> bool {
        self.lock().open == 0
    }

    /// Waits for a change: that everything was read, that one was lost, that this machine has to read something.
    pub fn wait(&self, longest: Duration) {
        let state = self.lock();
        if state.open > 0 {
            drop(self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Everything was read, or nothing more is: tells what had to wait for that.
    pub fn conclude(&self) {
        self.look.tree.conclude();
        linked::settle(&self.look.tree, self.look.scan.linked_parts);
    }

    /// What one has said.
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
        // The one that was found first is given away first.
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
            // What was given to somebody else meanwhile, or is below what nobody is interested in.
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
            // Another thread of the same reader may be telling a part of it: only the last one ends it.
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

    /// Whether another machine is not believed: it sees another file system, or could not open it; or it sees another directory.
    fn is_for_this_machine(&self, dir: &Dir, met: Met) -> bool {
        match met {
            Met::Elsewhere | Met::Unopened(_) => true,
            Met::Opened(Opened { identity, .. }) | Met::Leaf(Opened { identity, .. }, _) => {
                dir.told().node.as_ref().is_some_and(|node| node.identity().1 != identity.1)
            }
            Met::Dropped => false,
        }
    }

    /// What another machine could not read, or not all of it.
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

    /// The node of a directory, if it is to be read; else it is done with.
    fn meet(&self, dir: &Dir, met: Met, is_here: bool) -> Option<Arc<Node>> {
        let mut told = dir.told();
        let tree = &self.look.tree;
        if let Some(node) = &told.node {
            // A root, or told in part: what was in it besides is not known.
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
        // Whoever is on this machine has told its device; all others have told that it is that of the root.
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

    /// Takes what is in a part, but for what was told before; of a doubtful one also but for what could not be read.
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
            // Whoever is elsewhere has it on the file system of the root.
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

    /// Nothing more comes of a directory.
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

    /// Gives those who have little to do something that nobody has, or has it given back by who has the most.
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
            // Not before all above them know that.
            let mut state = self.lock();
            state.open -= over.len();
            self.changed.notify_all();
        }
        orders.into_iter().for_each(|(says, order)| says(order));
    }

    /// Nothing in it is of interest any more.
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
