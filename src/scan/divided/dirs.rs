//! Who reads, and what there is to be read: data, and what changes it. Nobody waits here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lock;
use crate::scan::part::{Handed, Order, Step};
use crate::scan::subtree::Node;

/// Who had nothing to give is not asked again before.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Number of one that reads.
pub type Member = usize;
/// How one that reads is told something.
pub type Says = Box<dyn Fn(Order) + Send + Sync>;

#[derive(Default)]
pub struct State {
    pub members: Vec<Reads>,
    /// Directories that nobody has. The last one is given away first.
    pub spare: Vec<Arc<Dir>>,
    /// The same, of those that only this machine reads.
    pub own: Vec<Arc<Dir>>,
    /// Directories that are not read to the end.
    pub open: usize,
}

/// One that reads.
pub struct Reads {
    pub says: Arc<Says>,
    pub dirs: HashMap<u64, Arc<Dir>>,
    pub next: u64,
    /// With less than this it has nothing to do soon.
    pub low: usize,
    /// It is this machine.
    pub is_here: bool,
    /// It gets what anybody may read.
    pub takes: bool,
    pub is_gone: bool,
    /// It is to give something back.
    pub asked: bool,
    pub had_nothing: Option<Instant>,
    /// How often something was heard of it.
    pub heard: u64,
    /// What it says is being dealt with.
    pub listened_to: u32,
}

impl Reads {
    pub fn is_hungry(&self) -> bool {
        !self.is_gone && self.dirs.len() < self.low
    }

    /// Whether it may have something to give back.
    pub fn has_much(&self) -> bool {
        let had_nothing = self.had_nothing.is_some_and(|at| at.elapsed() < ASK_AGAIN);
        !self.is_gone && self.takes && !self.asked && !had_nothing && self.dirs.len() > self.low
    }

    pub fn hand(&mut self, dir: Arc<Dir>) -> Handed {
        let id = self.next;
        self.next += 1;
        let handed = Handed { id, root: dir.root, steps: dir.steps() };
        self.dirs.insert(id, dir);
        handed
    }
}

/// A directory that is to be read, or being read.
pub struct Dir {
    pub parent: Option<Arc<Node>>,
    pub root: u32,
    pub name: Box<[u8]>,
    pub link: bool,
    /// Only this machine reads it.
    pub is_own: AtomicBool,
    pub told: Mutex<Told>,
}

#[derive(Default)]
pub struct Told {
    /// Known since it was opened.
    pub node: Option<Arc<Node>>,
    /// Hashes of the names that were told, if it was not all at once.
    pub names: HashSet<(u64, u64)>,
    /// Somebody else has told a part of it before.
    pub again: bool,
}

impl Dir {
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.parent.as_ref().map_or(Vec::new(), |parent| parent.steps());
        if !self.name.is_empty() {
            steps.push(Step { name: self.name.to_vec(), link: self.link });
        }
        steps
    }

    /// Somebody else goes on with it.
    pub fn is_left(&self) {
        let mut told = self.told();
        told.again = told.node.is_some();
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }
}

impl State {
    /// Nobody has it any more.
    pub fn put(&mut self, dir: Arc<Dir>) {
        let pool = if dir.is_own.load(Ordering::Relaxed) { &mut self.own } else { &mut self.spare };
        pool.push(dir);
    }

    /// The one with the most.
    pub fn richest(&self) -> Option<Member> {
        let much = self.members.iter().enumerate().filter(|(_, reads)| reads.has_much());
        much.max_by_key(|(_, reads)| reads.dirs.len()).map(|(member, _)| member)
    }
}
