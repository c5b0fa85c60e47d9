//! Sums up subtrees, and decides which directories are split.
//!
//! A [`Node`] stands for a directory that is being read, or whose children are being read. As long as it may still become a unit, it holds the names that it
//! was given. When its sum outgrows the limits, it becomes spine, after its parent, and the names are emitted. A finished directory that never outgrew the
//! limits is handed to its parent as one unit, unless it contains files with more names than were seen below it (this matters only with hard links): then it
//! stays open, and is held for `linked` if its parent is split.
//!
//! The limits of a small tree depend on its weight ([`Small`]). Until they are known, finished directories are kept below their parents, and nothing is
//! emitted. Then each is split, or becomes a unit, without being read again.

mod node;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::event::Ends;
use super::{Event, Limits, Linked, Names, Spine, Units, Watch, Weight};

pub(super) use node::Node;

/// Other limits for a tree that turns out to be small ([`super::Scan::run_sized`]).
#[derive(Clone, Copy)]
pub struct Small<'a> {
    /// A tree is small if it contains at most this number of entries. The scan keeps them in memory until it knows whether it is.
    pub entries: u64,
    /// The limits, computed from what was found; called once, and only if the tree is small.
    pub limits: &'a (dyn Fn(Weight) -> Limits + Sync),
}

impl std::fmt::Debug for Small<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Small").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What all nodes of a scan share.
pub(super) struct Tree<'a> {
    usual: Limits,
    small: Option<Small<'a>>,
    /// Unknown as long as the tree may be small.
    limits: OnceLock<Limits>,
    /// Nodes that have to wait until the limits are known: finished roots, and spine.
    waiting: Mutex<Vec<Arc<Node>>>,
    pub watch: &'a Watch,
    /// Several roots may share an inode, so a single root never contains all names of a file for certain.
    pub split_open_roots: bool,
    sink: &'a (dyn Fn(Event<'_>) + Sync),
    /// The number of spine directories. Locked while one is announced, so that they are announced in order.
    spines: Mutex<u32>,
    /// Finished directories with open files whose parents are spine.
    held: Mutex<Vec<Arc<Node>>>,
    /// The weight of the names that were reported for each inode.
    linked: Mutex<HashMap<(u64, u64), Weight>>,
}

/// Attributes of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub owner: u32,
    pub identity: (u64, u64),
}

impl Attributes {
    /// Whether a user other than root and the one who runs this process could put something else in the place of `child` in this directory.
    pub fn lets_others_swap(self, child: Attributes) -> bool {
        const GROUP_OR_OTHERS: u32 = 0o022;
        const STICKY: u32 = 0o1000;
        let writable = self.mode & GROUP_OR_OTHERS != 0;
        // In a sticky directory users can only rename or delete their own entries (inode(7)).
        !self.is_ours() || writable && (self.mode & STICKY == 0 || !child.is_ours())
    }

    fn is_ours(self) -> bool {
        self.owner == 0 || self.owner == rustix::process::geteuid().as_raw()
    }
}

/// A name of a file that has several names.
#[derive(Debug)]
pub(super) struct LinkedName {
    pub name: Box<[u8]>,
    pub weight: Weight,
    pub inode: (u64, u64),
    pub names: u32,
}

/// An entry, or entries, found in a directory.
pub(super) enum Item<'a> {
    /// Names that are units by themselves if the directory is split: files, links, finished children.
    Names(&'a Names),
    /// A name of a file that has several names.
    Linked(LinkedName),
    /// A directory on another file system that is not entered.
    Mount(&'a [u8], Attributes),
    /// A finished child that is not yet a unit, because the limits are unknown, or because it has files with names elsewhere (for each inode: names seen,
    /// link count).
    Child { child: &'a Arc<Node>, sum: Weight, open: Vec<((u64, u64), u32, u32)> },
}

impl Item<'_> {
    fn weight(&self) -> Weight {
        match self {
            Item::Names(names) => names.weight(),
            Item::Linked(linked) => linked.weight,
            Item::Mount(..) => Weight { entries: 1, bytes: 0 },
            Item::Child { sum, .. } => *sum,
        }
    }
}

impl<'a> Tree<'a> {
    pub fn new(
        usual: Limits,
        small: Option<Small<'a>>,
        split_open_roots: bool,
        watch: &'a Watch,
        sink: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Self {
        Tree {
            usual,
            small,
            limits: if small.is_some() { OnceLock::new() } else { OnceLock::from(usual) },
            waiting: Mutex::default(),
            watch,
            split_open_roots,
            sink,
            spines: Mutex::new(0),
            held: Mutex::default(),
            linked: Mutex::default(),
        }
    }

    pub fn tell(&self, event: Event<'_>) {
        (self.sink)(event);
    }

    /// The limits, once everything was read.
    pub fn limits(&self) -> Limits {
        self.limits.get().copied().unwrap_or(self.usual)
    }

    /// The limits, if they are known.
    pub fn known_limits(&self) -> Option<Limits> {
        self.limits.get().copied()
    }

    /// Ends the scan: the limits are known now, and everything that waited for them is emitted.
    pub fn conclude(&self) {
        if self.limits.get().is_none() {
            let small = self.small.filter(|_| !self.watch.stopped());
            self.decide(small.map_or(self.usual, |small| (small.limits)(self.watch.found())));
        }
    }

    fn decide_if_large(&self) {
        if self.limits.get().is_none() && self.small.is_some_and(|small| self.watch.found().entries > small.entries) {
            self.decide(self.usual);
        }
    }

    fn decide(&self, limits: Limits) {
        let mut waiting = lock(&self.waiting);
        // Another thread may have set them already.
        if self.limits.set(limits).is_ok() {
            let nodes = std::mem::take(&mut *waiting);
            drop(waiting);
            nodes.iter().for_each(|node| node.go_on(self, limits));
        }
    }

    /// The limits. If they are unknown, the node is continued as soon as they are known.
    fn limits_for(&self, node: &Arc<Node>) -> Option<Limits> {
        let known = || self.limits.get().copied();
        known().or_else(|| {
            let mut waiting = lock(&self.waiting);
            let known = known();
            if known.is_none() {
                waiting.push(Arc::clone(node));
            }
            known
        })
    }

    fn announce(
        &self,
        parent: Option<&Node>,
        root: u32,
        path: &[u8],
        attributes: Attributes,
        node: Option<&Arc<Node>>,
    ) -> u32 {
        let mut count = lock(&self.spines);
        let index = *count;
        *count = index.checked_add(1).expect("more than 4 billion spine directories");
        let Attributes { mode, identity, .. } = attributes;
        let exposed = match node {
            Some(node) => node.exposed,
            None => parent.is_some_and(|parent| parent.exposes(attributes)),
        };
        self.tell(Event::Spine(Spine {
            index,
            root,
            path,
            mode,
            identity,
            mount_point: node.is_none(),
            exposed,
            ends: node.map_or(Ends::Nothing, Ends::Node),
        }));
        index
    }

    /// Emits a root that cannot be read as one unit.
    pub fn unread_root(&self, root: u32, name: &[u8]) {
        self.send_root(root, name, Weight { entries: 1, bytes: 0 });
    }

    fn send_root(&self, root: u32, name: &[u8], weight: Weight) {
        let mut one = Names::default();
        one.push_bytes(name, weight);
        let (names, weights) = (&one.names[..], &one.weights[..]);
        self.tell(Event::Units(Units { root, spine: None, dir: b"", names, weights }));
    }

    fn send(&self, node: &Node, spine: u32, names: &Names) {
        if !names.weights.is_empty() {
            self.tell(Event::Units(Units {
                root: node.root,
                spine: Some(spine),
                dir: &node.path(),
                names: &names.names,
                weights: &names.weights,
            }));
        }
    }

    fn hold(&self, node: &Arc<Node>) {
        lock(&self.held).push(Arc::clone(node));
    }

    pub fn take_held(&self) -> Vec<Arc<Node>> {
        std::mem::take(&mut lock(&self.held))
    }

    /// The weight of the names of an inode that were reported.
    pub fn linked_weight(&self, inode: &(u64, u64)) -> Weight {
        lock(&self.linked).get(inode).copied().unwrap_or_default()
    }

    fn send_linked(&self, node: &Node, spine: u32, dir: &[u8], linked: &LinkedName) {
        let LinkedName { name, weight, inode, names } = linked;
        let (weight, inode, names) = (*weight, *inode, *names);
        *lock(&self.linked).entry(inode).or_default() += weight;
        self.tell(Event::Linked(Linked { root: node.root, spine, dir, name, weight, inode, names }));
    }
}

/// The path of a name in a directory.
pub(crate) fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread of the scan panicked")
}
