//! Subtree sums, and the decision which directories are split.
//!
//! One [`Node`] stands for one directory that is being read or has children being read. While it may still become a unit it holds
//! the names it was given; when its sum outgrows the limits it becomes spine, after its parent, and what it held leaves. A finished
//! directory that never outgrew them is handed to its parent as one unit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Event, Limits, Names, Spine, Units, Watch, Weight};

/// What all nodes of a scan share.
pub(super) struct Tree<'a> {
    pub limits: Limits,
    pub watch: &'a Watch,
    sink: &'a (dyn Fn(Event<'_>) + Sync),
    /// Number of spine directories; held while one is announced, so that they are announced in order.
    spines: Mutex<u32>,
}

/// What the scan knows of the directory itself.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub identity: (u64, u64),
}

pub(super) struct Node {
    parent: Option<Arc<Node>>,
    root: u32,
    name: Box<[u8]>,
    attributes: Attributes,
    /// This directory, or one above it, must not be split.
    whole: bool,
    /// Pieces of work not finished: reading the directory itself, and each child directory.
    pending: AtomicUsize,
    state: Mutex<State>,
}

/// `held` and `sum` matter only while `spine` is `None`.
#[derive(Default)]
struct State {
    spine: Option<u32>,
    held: Names,
    sum: Weight,
}

impl<'a> Tree<'a> {
    pub fn new(limits: Limits, watch: &'a Watch, sink: &'a (dyn Fn(Event<'_>) + Sync)) -> Self {
        Tree { limits, watch, sink, spines: Mutex::new(0) }
    }

    pub fn tell(&self, event: Event<'_>) {
        (self.sink)(event);
    }

    fn announce(&self, node: &Node) -> u32 {
        let mut count = lock(&self.spines);
        let index = *count;
        *count = index.checked_add(1).expect("more than 4 billion spine directories");
        self.tell(Event::Spine(Spine {
            index,
            root: node.root,
            path: &node.path(),
            mode: node.attributes.mode,
            identity: node.attributes.identity,
        }));
        index
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
}

impl Node {
    /// A node with one piece of work pending: the reading of the directory itself, ended by [`Node::done`].
    pub fn new(
        parent: Option<&Arc<Node>>,
        root: u32,
        name: &[u8],
        attributes: Attributes,
        keep_whole: bool,
    ) -> Arc<Node> {
        Arc::new(Node {
            parent: parent.cloned(),
            root,
            name: name.into(),
            attributes,
            whole: keep_whole || parent.is_some_and(|parent| parent.whole),
            pending: AtomicUsize::new(1),
            // The directory itself is an entry of its unit.
            state: Mutex::new(State { sum: Weight { entries: 1, bytes: 0 }, ..State::default() }),
        })
    }

    pub fn root(&self) -> u32 {
        self.root
    }

    pub fn is_whole(&self) -> bool {
        self.whole
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

    /// Announces a piece of work: a child directory, whose own last [`Node::done`] ends it here too.
    pub fn expect_child(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes names that are units by themselves if this directory is split.
    pub fn add(self: &Arc<Self>, tree: &Tree<'_>, names: &Names) {
        let mut state = lock(&self.state);
        if let Some(spine) = state.spine {
            drop(state);
            return tree.send(self, spine, names);
        }
        if !self.whole {
            state.held.append(names);
        }
        state.sum += names.weight();
        let split = !self.whole && !tree.limits.hold(state.sum);
        drop(state);
        if split {
            self.split(tree);
        }
    }

    /// Ends one pending piece of work. The last one hands the directory to its parent, unless it is spine.
    pub fn done(self: &Arc<Self>, tree: &Tree<'_>) {
        let mut node = Arc::clone(self);
        let mut one = Names::default();
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let state = lock(&node.state);
            let unsplit = state.spine.is_none().then_some(state.sum);
            drop(state);
            if let Some(sum) = unsplit {
                one.clear();
                one.push(&node.name, sum);
                match &node.parent {
                    Some(parent) => parent.add(tree, &one),
                    None => tree.tell(Event::Units(Units {
                        root: node.root,
                        spine: None,
                        dir: b"",
                        names: &one.names,
                        weights: &one.weights,
                    })),
                }
            }
            let Some(parent) = node.parent.clone() else { return };
            node = parent;
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
        for node in chain.into_iter().rev() {
            let mut state = lock(&node.state);
            if state.spine.is_none() {
                let spine = tree.announce(node);
                state.spine = Some(spine);
                // Under the lock: units of this directory that other threads send come after the announcement.
                let held = std::mem::take(&mut state.held);
                tree.send(node, spine, &held);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a thread of the scan panicked")
}
