//! A directory that is being read, or whose children are being read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::scan::part::Step;
use crate::scan::{Event, KeptWhole, Limits, LinkedDir, Names, Weight};

use super::{Attributes, Item, LinkedName, Tree, below, lock};

#[derive(Debug)]
pub(in crate::scan) struct Node {
    parent: Option<Arc<Node>>,
    pub(super) root: u32,
    name: Box<[u8]>,
    /// How many directories are above it, up to that of its root.
    depth: u32,
    attributes: Attributes,
    /// Why this directory must not be split. A directory above it may also forbid it, see `in_whole`.
    whole: Option<KeptWhole>,
    /// Whether this directory or one above it must stay whole.
    in_whole: bool,
    /// Whether a link was followed to this directory or to one above it.
    in_link: bool,
    /// Whether another user could put something else in the place of this directory, or of one above it in the source.
    pub(super) exposed: bool,
    /// How many bytes the paths of split directories below this one may still use; 0 if this directory itself must not be split.
    room: usize,
    /// Unfinished pieces of work: each portion of the directory itself, and each child directory.
    pending: AtomicUsize,
    pruned: AtomicBool,
    state: Mutex<State>,
}

/// Everything but `spine` and `is_open` is empty once this directory is spine and the limits are known.
#[derive(Debug, Default)]
struct State {
    spine: Option<u32>,
    held: Names,
    sum: Weight,
    /// Mount points that are not entered: never units, but spine if this directory is.
    mounts: Vec<(Box<[u8]>, Attributes)>,
    linked: Vec<LinkedName>,
    /// Finished children that are not units yet.
    children: Vec<Arc<Node>>,
    /// Whether it is finished and contains files that have names elsewhere.
    is_open: bool,
    /// Files of which not all names were seen below this directory: names seen, link count.
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
            depth: parent.map_or(0, |parent| parent.depth.saturating_add(1)),
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

    /// Limits the length of the paths of split directories, because arguments of rsync must be paths that a system call takes. `self` is a new node of a
    /// root.
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

    /// How many directories are above it.
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    pub fn is_in_whole(&self) -> bool {
        self.in_whole
    }

    /// Whether links in here are not followed: they could form a loop, and everything in here is one unit anyway.
    pub fn is_in_link(&self) -> bool {
        self.in_link
    }

    /// Whether another user could put something else in the place of this child, or of a directory above it in the source.
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

    /// The path components from the root's base.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = std::iter::successors(Some(self), |node| node.parent.as_deref())
            .filter(|node| !node.name.is_empty())
            .map(|node| Step { name: node.name.to_vec(), link: node.whole == Some(KeptWhole::Link) })
            .collect();
        steps.reverse();
        steps
    }

    pub fn identity(&self) -> (u64, u64) {
        self.attributes.identity
    }

    /// Counts contents that cannot outgrow the limits. They are not held, because the directory is never split.
    pub fn add(&self, inside: Weight) {
        lock(&self.state).sum += inside;
    }

    /// Its name; empty for the contents of a root's base.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The length of its path in bytes, each name with a slash.
    pub fn path_length(&self) -> usize {
        let above = std::iter::successors(Some(self), |node| node.parent.as_deref());
        above.map(|node| node.name.len() + usize::from(!node.name.is_empty())).sum()
    }

    /// The weight found so far.
    pub fn sum(&self) -> Weight {
        lock(&self.state).sum
    }

    /// Files of which not all names were seen below this finished directory.
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

    /// This directory as a unit of its parent, which must be spine.
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

    /// Announces a piece of work: another portion of the directory, or a child. Each is ended by a call of [`Node::done`]; for a child, its own last one does
    /// it.
    pub fn expect_more(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an entry of this directory: emits it if the directory is spine; otherwise holds it, and splits the directory if it becomes too large.
    pub fn take(self: &Arc<Self>, tree: &Tree<'_>, item: Item<'_>) {
        tree.decide_if_large();
        let mut state = lock(&self.state);
        // Read under the lock: anything that is held here while the limits are unknown is taken out by `go_on` when they are known.
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

    /// Whether this directory has to be split if it has this weight.
    fn outgrows(&self, limits: Limits, sum: Weight) -> bool {
        !self.in_whole && !self.is_too_long() && !limits.hold(sum)
    }

    /// Ends a pending piece of work. The last one hands the directory to its parent, unless the directory is spine.
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
        // From here on the directories above do the counting: if each level kept its own copy, a tree full of hard links would fill the memory.
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
            // The directory had been held back until the limits were known.
            Some(limits) if self.outgrows(*limits, sum) => self.split(tree),
            Some(limits) if open.is_empty() || self.in_whole => {
                let mut one = Names::default();
                one.push_bytes(&self.name, self.become_unit(tree, *limits));
                parent.take(tree, Item::Names(&one));
            }
            _ => parent.take(tree, Item::Child { child: self, sum, open }),
        }
    }

    /// Continues this finished root or split directory, which has waited for the limits.
    pub(super) fn go_on(self: &Arc<Self>, tree: &Tree<'_>, limits: Limits) {
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

    /// Ends this finished directory, which becomes a unit. Returns its weight.
    fn become_unit(&self, tree: &Tree<'_>, limits: Limits) -> Weight {
        let sum = self.forget_children();
        // If directories with too long paths are nested, only the outermost is reported.
        let first_too_long = self.is_too_long() && self.parent.as_ref().is_none_or(|parent| !parent.is_too_long());
        let whole = self.whole.or((first_too_long && !self.in_whole).then_some(KeptWhole::LongPath));
        if let Some(why) = whole.filter(|_| !limits.hold(sum)) {
            tree.tell(Event::KeptWhole { root: self.root, path: &self.path(), why });
        }
        sum
    }

    /// Drops the children, because parents and children refer to each other and would never be freed. Returns the weight of the directory.
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
        // The deepest node is dropped first: dropping a chain of parents by recursion could overflow the stack.
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

    /// Emits everything that a directory held when it was split.
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

    /// Handles finished children of a split directory: each is split, held for `linked`, or becomes a unit.
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
