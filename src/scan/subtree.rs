//! Subtree sums, and the decision which directories are split.
//!
//! One [`Node`] stands for one directory that is being read or has children being read. While it may still become a unit it holds
//! the names it was given; when its sum outgrows the limits it becomes spine, after its parent, and what it held leaves. A finished
//! directory that never outgrew them is handed to its parent as one unit, unless it holds names of files that have more names than it
//! has seen (only asked for with hard links): then it stays open, and is held for `linked` if its parent is split.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Event, KeptWhole, Limits, Linked, LinkedDir, Names, Spine, Units, Watch, Weight};

/// What all nodes of a scan share.
pub(super) struct Tree<'a> {
    pub limits: Limits,
    pub watch: &'a Watch,
    /// Several roots may share an inode, so that one of them alone is never closed.
    pub split_open_roots: bool,
    sink: &'a (dyn Fn(Event<'_>) + Sync),
    /// Number of spine directories; held while one is announced, so that they are announced in order.
    spines: Mutex<u32>,
    /// Finished directories with open files, whose parents are spine.
    held: Mutex<Vec<Arc<Node>>>,
    /// What was told of names of an inode.
    linked: Mutex<HashMap<(u64, u64), Weight>>,
}

/// What the scan knows of the directory itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub owner: u32,
    pub identity: (u64, u64),
}

impl Attributes {
    /// Whether a user other than root and the one that runs this may put something else in the place of `child` in this directory.
    pub fn lets_others_swap(self, child: Attributes) -> bool {
        const GROUP_OR_OTHERS: u32 = 0o022;
        const STICKY: u32 = 0o1000;
        let writable = self.mode & GROUP_OR_OTHERS != 0;
        // In a sticky directory everybody may only touch what is theirs (inode(7)).
        !self.is_ours() || writable && (self.mode & STICKY == 0 || !child.is_ours())
    }

    fn is_ours(self) -> bool {
        self.owner == 0 || self.owner == rustix::process::geteuid().as_raw()
    }
}

/// A name of a file that has others.
#[derive(Debug)]
pub(super) struct LinkedName {
    pub name: Box<[u8]>,
    pub weight: Weight,
    pub inode: (u64, u64),
    pub names: u32,
}

/// Something found in a directory.
pub(super) enum Item<'a> {
    /// Names that are units by themselves if the directory is split: files, links, finished children.
    Names(&'a Names),
    /// A name of a file that has others.
    Linked(LinkedName),
    /// A directory on another file system that is not entered.
    Mount(&'a [u8], Attributes),
    /// A finished child with files that have names elsewhere: each inode, names seen, names in all.
    OpenChild { child: &'a Arc<Node>, sum: Weight, open: Vec<((u64, u64), u32, u32)> },
}

impl Item<'_> {
    fn weight(&self) -> Weight {
        match self {
            Item::Names(names) => names.weight(),
            Item::Linked(linked) => linked.weight,
            Item::Mount(..) => Weight { entries: 1, bytes: 0 },
            Item::OpenChild { sum, .. } => *sum,
        }
    }
}

#[derive(Debug)]
pub(super) struct Node {
    parent: Option<Arc<Node>>,
    root: u32,
    name: Box<[u8]>,
    attributes: Attributes,
    /// Why this directory must not be split; one above it may be the reason as well.
    whole: Option<KeptWhole>,
    /// `whole`, or a directory above is.
    in_whole: bool,
    /// A link was followed to this directory or to one above.
    in_link: bool,
    /// Somebody else may put something in the place of this directory, or of one above it in the source.
    exposed: bool,
    /// Bytes that paths of split directories below this one may still take; none if it must not be split itself.
    room: usize,
    /// Pieces of work not finished: reading the directory itself, by portions, and each child directory.
    pending: AtomicUsize,
    pruned: AtomicBool,
    state: Mutex<State>,
}

/// Everything but `spine` matters only while `spine` is `None`.
#[derive(Debug, Default)]
struct State {
    spine: Option<u32>,
    held: Names,
    sum: Weight,
    /// Mount points: never a unit, spine if this directory is.
    mounts: Vec<(Box<[u8]>, Attributes)>,
    linked: Vec<LinkedName>,
    /// Finished children with open files.
    open_children: Vec<Arc<Node>>,
    /// Files with names not seen below this directory: names seen, names in all.
    open: HashMap<(u64, u64), (u32, u32)>,
}

impl State {
    fn see(&mut self, inode: (u64, u64), seen: u32, names: u32) {
        let count = self.open.entry(inode).or_insert((0, names));
        count.0 += seen;
        if count.0 >= names {
            self.open.remove(&inode);
        }
    }
}

impl<'a> Tree<'a> {
    pub fn new(limits: Limits, split_open_roots: bool, watch: &'a Watch, sink: &'a (dyn Fn(Event<'_>) + Sync)) -> Self {
        Tree {
            limits,
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
            node,
        }));
        index
    }

    /// Tells a root that cannot be read as one unit.
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

    /// The weight of the names of an inode that were told.
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

impl Node {
    /// A node with one piece of work pending: the reading of the directory itself, ended by [`Node::done`].
    pub fn new(
        parent: Option<&Arc<Node>>,
        root: u32,
        name: &[u8],
        attributes: Attributes,
        exposed: bool,
        whole: Option<KeptWhole>,
    ) -> Arc<Node> {
        Arc::new(Node {
            parent: parent.cloned(),
            root,
            name: name.into(),
            attributes,
            whole,
            in_whole: whole.is_some() || parent.is_some_and(|parent| parent.in_whole),
            in_link: whole == Some(KeptWhole::Link) || parent.is_some_and(|parent| parent.in_link),
            exposed,
            room: parent.map_or(usize::MAX, |parent| parent.room.saturating_sub(1 + name.len())),
            pending: AtomicUsize::new(1),
            pruned: AtomicBool::new(false),
            // The directory itself is an entry of its unit.
            state: Mutex::new(State { sum: Weight { entries: 1, bytes: 0 }, ..State::default() }),
        })
    }

    /// Limits the paths of directories that are split: arguments of rsync have to stay within what a system call takes. `self` is new, and
    /// that of a root.
    pub fn within(mut self: Arc<Self>, room: usize) -> Arc<Node> {
        let node = Arc::get_mut(&mut self).expect("nobody else has a new node");
        node.room = room.saturating_sub(node.name.len());
        self
    }

    /// Whether its path is too long for it to be split.
    pub fn is_too_long(&self) -> bool {
        self.room == 0
    }

    pub fn root(&self) -> u32 {
        self.root
    }

    pub fn is_in_whole(&self) -> bool {
        self.in_whole
    }

    /// Links in here are not followed: they may lead round in circles, and all of it is one unit anyway.
    pub fn is_in_link(&self) -> bool {
        self.in_link
    }

    /// Whether somebody else may put something in the place of this child, or of a directory above it in the source.
    pub fn exposes(&self, child: Attributes) -> bool {
        self.exposed || self.attributes.lets_others_swap(child)
    }

    pub fn device(&self) -> u64 {
        self.attributes.identity.0
    }

    /// Path relative to the root's base.
    pub fn path(&self) -> Vec<u8> {
        let mut names = vec![&*self.name];
        let mut above = self.parent.as_deref();
        while let Some(node) = above {
            names.push(&node.name);
            above = node.parent.as_deref();
        }
        names.iter().rev().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join(&b'/')
    }

    /// The sum so far.
    pub fn sum(&self) -> Weight {
        lock(&self.state).sum
    }

    /// Files with names not seen below this finished directory.
    pub fn open(&self) -> Vec<(u64, u64)> {
        let mut seen = HashMap::new();
        self.count_names(&mut seen);
        seen.into_iter().filter(|(_, (seen, names))| seen < names).map(|(inode, _)| inode).collect()
    }

    fn count_names(&self, seen: &mut HashMap<(u64, u64), (u32, u32)>) {
        let state = lock(&self.state);
        for linked in &state.linked {
            seen.entry(linked.inode).or_insert((0, linked.names)).0 += 1;
        }
        state.open_children.iter().for_each(|child| child.count_names(seen));
    }

    /// This directory as a unit of its parent, which is spine.
    pub fn as_linked_dir(&self) -> LinkedDir {
        let parent = self.parent.as_deref().expect("a root is not held");
        let spine = lock(&parent.state).spine.expect("its parent was split");
        LinkedDir { root: self.root, spine, dir: parent.path(), name: self.name.to_vec(), weight: self.sum() }
    }

    pub fn prune(&self) {
        self.pruned.store(true, Ordering::Relaxed);
    }

    /// Whether this directory or one above it was pruned.
    pub fn is_pruned(&self) -> bool {
        let mut node = Some(self);
        while let Some(this) = node {
            if this.pruned.load(Ordering::Relaxed) {
                return true;
            }
            node = this.parent.as_deref();
        }
        false
    }

    /// Announces a piece of work: more of the directory, or a child, whose own last [`Node::done`] ends it here too.
    pub fn expect_more(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes something found in this directory: hands it on if the directory is spine, else holds it, and splits if that is too much.
    pub fn take(self: &Arc<Self>, tree: &Tree<'_>, item: Item<'_>) {
        let mut state = lock(&self.state);
        if let Some(spine) = state.spine {
            drop(state);
            return match item {
                Item::Names(names) => tree.send(self, spine, names),
                Item::Linked(linked) => tree.send_linked(self, spine, &self.path(), &linked),
                Item::Mount(name, attributes) => {
                    tree.announce(Some(self), self.root, &below(&self.path(), name), attributes, None);
                }
                Item::OpenChild { child, .. } => tree.hold(child),
            };
        }
        state.sum += item.weight();
        if let Item::OpenChild { open, .. } = &item {
            open.iter().for_each(|(inode, seen, names)| state.see(*inode, *seen, *names));
        }
        if !self.in_whole {
            match item {
                Item::Names(names) => state.held.append(names),
                Item::Linked(linked) => {
                    state.see(linked.inode, 1, linked.names);
                    state.linked.push(linked);
                }
                Item::Mount(name, attributes) => state.mounts.push((name.into(), attributes)),
                Item::OpenChild { child, .. } => state.open_children.push(Arc::clone(child)),
            }
        }
        let split = !self.in_whole && !self.is_too_long() && !tree.limits.hold(state.sum);
        drop(state);
        if split {
            self.split(tree);
        }
    }

    /// Ends one pending piece of work. The last one hands the directory to its parent, unless it is spine.
    pub fn done(self: &Arc<Self>, tree: &Tree<'_>) {
        let mut node = Arc::clone(self);
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            node.hand_up(tree);
            let Some(parent) = node.parent.clone() else { return };
            node = parent;
        }
    }

    fn hand_up(self: &Arc<Self>, tree: &Tree<'_>) {
        let mut state = lock(&self.state);
        if state.spine.is_some() {
            return;
        }
        let sum = state.sum;
        // From now on those above count: kept at each level, the files of a farm of links would fill the memory.
        let open: Vec<_> =
            std::mem::take(&mut state.open).into_iter().map(|(inode, (seen, names))| (inode, seen, names)).collect();
        state.linked.shrink_to_fit();
        drop(state);
        // Of directories in each other the first is told.
        let first_too_long = self.is_too_long() && self.parent.as_ref().is_none_or(|parent| !parent.is_too_long());
        let whole = self.whole.or((first_too_long && !self.in_whole).then_some(KeptWhole::LongPath));
        if let Some(why) = whole.filter(|_| !tree.limits.hold(sum)) {
            tree.tell(Event::KeptWhole { root: self.root, path: &self.path(), why });
        }
        let mut one = Names::default();
        one.push_bytes(&self.name, sum);
        match &self.parent {
            Some(parent) if open.is_empty() || self.in_whole => parent.take(tree, Item::Names(&one)),
            Some(parent) => parent.take(tree, Item::OpenChild { child: self, sum, open }),
            None if tree.split_open_roots && !open.is_empty() && !self.in_whole && !self.is_too_long() => {
                self.split(tree);
            }
            None => tree.send_root(self.root, &self.name, sum),
        }
    }

    /// Makes this directory and all above it spine, top down.
    pub fn split(self: &Arc<Self>, tree: &Tree<'_>) {
        let mut chain = vec![self];
        while let Some(parent) = chain[chain.len() - 1].parent.as_ref() {
            if lock(&parent.state).spine.is_some() {
                break;
            }
            chain.push(parent);
        }
        chain.into_iter().rev().for_each(|node| node.become_spine(tree));
    }

    pub fn become_spine(self: &Arc<Self>, tree: &Tree<'_>) {
        let mut state = lock(&self.state);
        if state.spine.is_some() {
            return;
        }
        let path = self.path();
        let spine = tree.announce(self.parent.as_deref(), self.root, &path, self.attributes, Some(self));
        let held = std::mem::replace(&mut *state, State { spine: Some(spine), ..State::default() });
        // Under the lock: what other threads send of this directory comes after the announcement.
        tree.send(self, spine, &held.held);
        for (name, attributes) in &held.mounts {
            tree.announce(Some(self), self.root, &below(&path, name), *attributes, None);
        }
        held.linked.iter().for_each(|linked| tree.send_linked(self, spine, &path, linked));
        drop(state);
        held.open_children.iter().for_each(|child| tree.hold(child));
    }
}

/// Path of a name in a directory.
pub(crate) fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread of the scan panicked")
}
