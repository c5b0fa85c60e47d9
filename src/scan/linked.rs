//! Directories that share files. A finished directory that contains names of files with more names elsewhere is held back when its parent is split, because
//! only at the end of the scan it is known which directories share an inode. Directories that do are emitted together. If they are too large together, each
//! is split, one level at a time, down to single names ([`super::Event::Linked`]).

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;

use super::subtree::{Node, Tree};
use super::{Event, Limits, LinkedDirs, Weight};

type Inode = (u64, u64);

/// Directories that must reach one rsync together.
#[derive(Default)]
struct Group {
    nodes: Vec<Arc<Node>>,
    /// The files that have names outside these directories.
    inodes: Vec<Inode>,
}

/// Emits the directories that were held back; `parts` is [`super::Scan::linked_parts`].
pub(super) fn settle(tree: &Tree<'_>, parts: Option<NonZero<u64>>) {
    let limits = tree.limits();
    let limits = parts.map_or(limits, |parts| larger(limits, tree.watch.found(), parts));
    loop {
        let mut held = tree.take_held();
        held.retain(|node| !node.is_pruned());
        if held.is_empty() {
            return;
        }
        for Group { nodes, inodes } in groups(held) {
            let names: Weight = inodes.iter().map(|inode| tree.linked_weight(inode)).sum();
            let sum: Weight = nodes.iter().map(|node| node.sum()).sum();
            if limits.hold(sum + names) || nodes.iter().any(|node| node.is_too_long()) {
                let units = nodes.iter().map(|node| node.as_linked_dir()).collect();
                tree.tell(Event::LinkedDirs(LinkedDirs { units, inodes }));
                for node in nodes {
                    node.forget_children();
                }
            } else {
                nodes.iter().for_each(|node| node.become_spine(tree));
            }
        }
    }
}

/// `limits`, or a `parts`-th of everything that was found if that is more.
fn larger(limits: Limits, found: Weight, parts: NonZero<u64>) -> Limits {
    let part = |limit: NonZero<u64>, whole: u64| NonZero::new(whole / parts).map_or(limit, |part| limit.max(part));
    Limits { entries: part(limits.entries, found.entries), bytes: part(limits.bytes, found.bytes) }
}

/// Groups directories that share files (union-find).
fn groups(held: Vec<Arc<Node>>) -> Vec<Group> {
    let mut leaders: Vec<usize> = (0..held.len()).collect();
    let mut first: HashMap<Inode, usize> = HashMap::new();
    for (index, node) in held.iter().enumerate() {
        for inode in node.open() {
            let other = *first.entry(inode).or_insert(index);
            let (a, b) = (leader(&mut leaders, index), leader(&mut leaders, other));
            leaders[a.max(b)] = a.min(b);
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    // A leader is the first member of its group.
    let mut places = vec![0; held.len()];
    for (index, node) in held.into_iter().enumerate() {
        let leader = leader(&mut leaders, index);
        if leader == index {
            places[index] = groups.len();
            groups.push(Group::default());
        }
        groups[places[leader]].nodes.push(node);
    }
    for (inode, index) in first {
        groups[places[leader(&mut leaders, index)]].inodes.push(inode);
    }
    groups
}

fn leader(leaders: &mut [usize], mut of: usize) -> usize {
    while leaders[of] != of {
        leaders[of] = leaders[leaders[of]];
        of = leaders[of];
    }
    of
}
