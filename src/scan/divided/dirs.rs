//! The readers and the directories that are to be read: plain data, and functions that change it. Nothing here blocks.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lock;
use crate::scan::part::{Handed, Order, Step};
use crate::scan::subtree::Node;

/// A reader that had nothing to give back is not asked again before this time has passed.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The number of a reader.
pub type Member = usize;
/// The function that gives a reader an order.
pub type Says = Box<dyn Fn(Order) + Send + Sync>;

#[derive(Default)]
pub struct State {
    pub members: Vec<Reads>,
    /// Directories that no reader has. The last one is given away first.
    pub spare: Vec<Arc<Dir>>,
    /// Directories that no reader has, and that only this machine can read.
    pub own: Vec<Arc<Dir>>,
    /// The number of directories that have not been read completely.
    pub open: usize,
}

/// A reader.
pub struct Reads {
    pub says: Arc<Says>,
    pub dirs: HashMap<u64, Arc<Dir>>,
    pub next: u64,
    /// With fewer directories than this, it will soon have nothing to do.
    pub low: usize,
    /// It runs on this machine.
    pub is_here: bool,
    /// It gets directories that any reader may read.
    pub takes: bool,
    pub is_gone: bool,
    /// It was asked to give directories back, and has not answered yet.
    pub asked: bool,
    pub had_nothing: Option<Instant>,
    /// How often it was heard.
    pub heard: u64,
    /// How many of its reports are being processed.
    pub listened_to: u32,
}

impl Reads {
    pub fn is_hungry(&self) -> bool {
        !self.is_gone && self.dirs.len() < self.low
    }

    /// Whether it may have directories to give back.
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
    /// Only this machine can read it.
    pub is_own: AtomicBool,
    pub told: Mutex<Told>,
}

#[derive(Default)]
pub struct Told {
    /// Its node; known since the directory was opened.
    pub node: Option<Arc<Node>>,
    /// Hashes of the names that were reported, unless all were reported at once.
    pub names: HashSet<(u64, u64)>,
    /// An earlier reader has reported a part of it.
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

    /// Prepares the directory for another reader, which starts again from its beginning.
    pub fn is_left(&self) {
        let mut told = self.told();
        told.again = told.node.is_some();
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }
}

impl State {
    /// Puts back a directory that no reader has any more.
    pub fn put(&mut self, dir: Arc<Dir>) {
        let pool = if dir.is_own.load(Ordering::Relaxed) { &mut self.own } else { &mut self.spare };
        pool.push(dir);
    }

    /// The reader that can give back the most directories.
    pub fn richest(&self) -> Option<Member> {
        let much = self.members.iter().enumerate().filter(|(_, reads)| reads.has_much());
        much.max_by_key(|(_, reads)| reads.dirs.len()).map(|(member, _)| member)
    }
}
