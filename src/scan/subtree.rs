//! Subtree sums, and the decision which directories are split.
//!
//! One [`Node`] stands for one directory that is being read or has children being read. While it may still become a unit it holds
//! the names it was given; when its sum outgrows the limits it becomes spine, after its parent, and what it held leaves. A finished
//! directory that never outgrew them is handed to its parent as one unit, unless it holds names of files that have more names than it
//! has seen (only asked for with hard links): then it stays open, and is held for `linked` if its parent is split.
//!
//! The limits of a small tree depend on what it weighs ([`Small`]). Until they are known finished directories stay as they are below their
//! parents, and nothing leaves; then each is divided, or becomes a unit, without being read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::{Event, KeptWhole, Limits, Linked, LinkedDir, Names, Spine, Units, Watch, Weight};

/// Other limits for a tree that turns out to be small ([`super::Scan::run_sized`]).
#[derive(Clone, Copy)]
pub struct Small<'a> {
    /// It holds at most so many entries, which the scan keeps in memory until it knows.
    pub entries: u64,
    /// Its limits, by what was found; asked once, and only if the tree is small.
    pub limits: &'a (dyn Fn(Weight) -> Limits + Sync),
}

/// What all nodes of a scan share.
pub(super) struct Tree<'a> {
    usual: Limits,
    small: Option<Small<'a>>,
    /// Unknown as long as the tree may be a small one.
    limits: OnceLock<Limits>,
    /// Nodes that can do nothing before the limits are known: finished roots, and spine.
    waiting: Mutex<Vec<Arc<Node>>>,
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
    /// A finished child that is not yet a unit: of unknown limits, or with files that have names elsewhere (each inode, names seen, names in
    /// all).
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

/// Everything but `spine` and `is_open` is empty once `spine` is known, and the limits are.
#[derive(Debug, Default)]
struct State {
    spine: Option<u32>,
    held: Names,
    sum: Weight,
    /// Mount points: never a unit, spine if this directory is.
    mounts: Vec<(Box<[u8]>, Attributes)>,
    linked: Vec<LinkedName>,
    /// Finished children that are no units yet.
    children: Vec<Arc<Node>>,
    /// Finished with files that have names elsewhere.
    is_open: bool,
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

    /// Everything was read: the limits are known now, and what waited for them leaves.
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
        // Another thread may have been faster.
        if self.limits.set(limits).is_ok() {
            let nodes = std::mem::take(&mut *waiting);
            drop(waiting);
            nodes.iter().for_each(|node| node.go_on(self, limits));
        }
    }

    /// The limits; as long as they are unknown the node is told of them when they are.
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
        state.children.iter().for_each(|child| child.count_names(seen));
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
        tree.decide_if_large();
        let mut state = lock(&self.state);
        // Looked at under the lock: what is held here while they are unknown is taken out after they are known.
        let limits = tree.limits.get().copied();
        if let (Some(spine), Some(limits)) = (state.spine, limits) {
            drop(state);
            return match item {
                Item::Names(names) => tree.send(self, spine, names),
                Item::Linked(linked) => tree.send_linked(self, spine, &self.path(), &linked),
                Item::Mount(name, attributes) => self.announce_mount(tree, &self.path(), name, attributes),
                Item::Child { child, .. } => self.place(tree, spine, limits, std::slice::from_ref(child)),
            };
        }
        state.sum += item.weight();
        if let Item::Child { open, .. } = &item {
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
                Item::Child { child, .. } => state.children.push(Arc::clone(child)),
            }
        }
        let split = state.spine.is_none() && limits.is_some_and(|limits| self.outgrows(limits, state.sum));
        drop(state);
        if split {
            self.split(tree);
        }
    }

    /// Whether this directory is to be split at this weight.
    fn outgrows(&self, limits: Limits, sum: Weight) -> bool {
        !self.in_whole && !self.is_too_long() && !limits.hold(sum)
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
        state.is_open = !open.is_empty();
        state.linked.shrink_to_fit();
        drop(state);
        let Some(parent) = &self.parent else {
            if let Some(limits) = tree.limits_for(self) {
                self.end_root(tree, limits);
            }
            return;
        };
        match tree.limits.get() {
            // It was held back until now.
            Some(limits) if self.outgrows(*limits, sum) => self.split(tree),
            Some(limits) if open.is_empty() || self.in_whole => {
                let mut one = Names::default();
                one.push_bytes(&self.name, self.become_unit(tree, *limits));
                parent.take(tree, Item::Names(&one));
            }
            _ => parent.take(tree, Item::Child { child: self, sum, open }),
        }
    }

    /// The limits are known, and this finished root or directory that was split has waited for them.
    fn go_on(self: &Arc<Self>, tree: &Tree<'_>, limits: Limits) {
        let state = lock(&self.state);
        match state.spine {
            Some(spine) => self.release(tree, spine, limits, state),
            None => {
                drop(state);
                self.end_root(tree, limits);
            }
        }
    }

    fn end_root(self: &Arc<Self>, tree: &Tree<'_>, limits: Limits) {
        let state = lock(&self.state);
        let (sum, shares) = (state.sum, state.is_open && tree.split_open_roots);
        drop(state);
        if self.outgrows(limits, sum) || shares && !self.in_whole && !self.is_too_long() {
            self.split(tree);
        } else {
            let sum = self.become_unit(tree, limits);
            tree.send_root(self.root, &self.name, sum);
        }
    }

    /// Nothing below this finished directory is of interest any more. Returns what it weighs.
    fn become_unit(&self, tree: &Tree<'_>, limits: Limits) -> Weight {
        let sum = self.forget_children();
        // Of directories in each other the first is told.
        let first_too_long = self.is_too_long() && self.parent.as_ref().is_none_or(|parent| !parent.is_too_long());
        let whole = self.whole.or((first_too_long && !self.in_whole).then_some(KeptWhole::LongPath));
        if let Some(why) = whole.filter(|_| !limits.hold(sum)) {
            tree.tell(Event::KeptWhole { root: self.root, path: &self.path(), why });
        }
        sum
    }

    /// Parents and children hold each other, and nobody else would end that. Returns what the directory weighs.
    pub fn forget_children(&self) -> Weight {
        let mut state = lock(&self.state);
        let (sum, mut nodes) = (state.sum, std::mem::take(&mut state.children));
        drop(state);
        let mut looked_at = 0;
        while let Some(node) = nodes.get(looked_at) {
            let below = std::mem::take(&mut lock(&node.state).children);
            nodes.extend(below);
            looked_at += 1;
        }
        // The deepest goes first: a chain of parents that only it holds would go by recursion.
        while nodes.pop().is_some() {}
        sum
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
        let spine = tree.announce(self.parent.as_deref(), self.root, &self.path(), self.attributes, Some(self));
        state.spine = Some(spine);
        if let Some(limits) = tree.limits_for(self) {
            self.release(tree, spine, limits, state);
        }
    }

    /// What a directory that was split has held leaves.
    fn release(self: &Arc<Self>, tree: &Tree<'_>, spine: u32, limits: Limits, mut state: MutexGuard<'_, State>) {
        let held = std::mem::replace(&mut *state, State { spine: Some(spine), ..State::default() });
        drop(state);
        let path = self.path();
        tree.send(self, spine, &held.held);
        for (name, attributes) in &held.mounts {
            self.announce_mount(tree, &path, name, *attributes);
        }
        held.linked.iter().for_each(|linked| tree.send_linked(self, spine, &path, linked));
        self.place(tree, spine, limits, &held.children);
    }

    fn announce_mount(&self, tree: &Tree<'_>, path: &[u8], name: &[u8], attributes: Attributes) {
        tree.announce(Some(self), self.root, &below(path, name), attributes, None);
    }

    /// Finished children of a directory that was split: each is split, held for `linked`, or a unit.
    fn place(&self, tree: &Tree<'_>, spine: u32, limits: Limits, children: &[Arc<Node>]) {
        let mut units = Names::default();
        for child in children {
            let state = lock(&child.state);
            let (sum, is_open) = (state.sum, state.is_open);
            drop(state);
            if child.outgrows(limits, sum) {
                child.become_spine(tree);
            } else if is_open && !child.in_whole {
                tree.hold(child);
            } else {
                units.push_bytes(&child.name, child.become_unit(tree, limits));
            }
        }
        tree.send(self, spine, &units);
    }
}

/// Path of a name in a directory.
pub(crate) fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread of the scan panicked")
}
