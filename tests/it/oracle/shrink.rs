//! Makes a differing case as small as possible while it still differs in the same way.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::case::{ABSOLUTE, Case};
use super::judge::{Court, Outcome, Verdict};
use super::world::{Kind, Node, OLD, join, parent};

struct Shrinker<'a> {
    court: &'a Court,
    sorts: BTreeSet<String>,
    /// The exit code of one rsync: without its sources it would end in another way.
    code: Option<i32>,
    /// How often to try, because a race condition does not occur every time.
    tries: u64,
    missing: Vec<Vec<u8>>,
    best: Case,
    end: Instant,
}

/// The sources that do not exist.
fn missing(case: &Case) -> Vec<Vec<u8>> {
    let is_there = |source: &Vec<u8>| {
        let parts = source.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"." | [ABSOLUTE]));
        let mut path = case.cwd.as_bytes().to_vec();
        for part in parts {
            path = if part == b".." { parent(&path).to_vec() } else { join(&path, part) };
        }
        path.is_empty() || case.world.get(&path).is_some()
    };
    case.sources.iter().filter(|source| !is_there(source)).cloned().collect()
}

/// The smallest case found within this time that differs like this verdict in one of `tries` runs.
pub fn shrink(court: &Court, case: &Case, verdict: &Verdict, tries: u64, within: Duration) -> Case {
    let (sorts, code, end) = (verdict.sorts(), verdict.code(), Instant::now() + within);
    let mut shrinker = Shrinker { court, sorts, code, tries, missing: missing(case), best: case.clone(), end };
    while shrinker.round() && Instant::now() < shrinker.end {}
    shrinker.best
}

impl Shrinker<'_> {
    fn round(&mut self) -> bool {
        let before = self.best.clone();
        self.nodes();
        self.arguments();
        self.nodes();
        self.attributes();
        before != self.best
    }

    fn keep(&mut self, case: Case) -> bool {
        let homeless = !case.cwd.is_empty() && !case.world.has_dir(case.cwd.as_bytes());
        // A case with a missing source would be another case.
        let loses = missing(&case).iter().any(|source| !self.missing.contains(source));
        if case == self.best || homeless || loses || Instant::now() >= self.end {
            return false;
        }
        for _ in 0..self.tries {
            let verdict = self.court.judge(&case);
            let alike = verdict.code() == self.code && !verdict.sorts().is_disjoint(&self.sorts);
            if verdict.outcome == Outcome::Different && alike {
                self.best = case;
                return true;
            }
        }
        false
    }

    fn with(&mut self, change: impl FnOnce(&mut Case)) -> bool {
        let mut case = self.best.clone();
        change(&mut case);
        self.keep(case)
    }

    fn arguments(&mut self) {
        for at in (1..self.best.options.len()).rev() {
            self.with(|case| drop(case.options.remove(at)));
        }
        for at in (0..self.best.sources.len()).rev() {
            if self.best.sources.len() > 1 {
                self.with(|case| drop(case.sources.remove(at)));
            }
        }
        self.with(|case| case.processes = 1);
        self.with(|case| case.bytes = None);
        self.with(|case| case.files = 1);
        self.with(|case| case.umask = 0o022);
        self.with(|case| case.nobody = false);
        self.with(|case| case.options[0] = vec!["-a".into()]);
    }

    fn nodes(&mut self) {
        let mut size = self.best.world.nodes.len() / 2;
        while size > 0 {
            let mut end = self.best.world.nodes.len();
            while end > 0 {
                let begin = end.saturating_sub(size);
                let gone: HashSet<Vec<u8>> =
                    self.best.world.nodes[begin..end].iter().map(|node| node.path.clone()).collect();
                self.with(|case| case.world.remove(&gone));
                end = begin.min(self.best.world.nodes.len());
            }
            size /= 2;
        }
    }

    fn attributes(&mut self) {
        let plain = |kind: &Kind| if *kind == Kind::Dir { 0o755 } else { 0o644 };
        self.simplify(|node| (node.owner, node.xattr, node.acl) = ((0, 0), None, false));
        self.simplify(|node| node.mode = plain(&node.kind));
        self.simplify(|node| node.mtime = (OLD, 0));
        self.simplify(|node| match &mut node.kind {
            Kind::File { size, .. } => *size = 1.min(*size),
            kind @ (Kind::Sparse { .. } | Kind::Link(_) | Kind::Fifo | Kind::Socket | Kind::Device { .. }) => {
                *kind = Kind::File { letter: b'a', size: 1 };
            }
            _ => {}
        });
    }

    /// Changes as many nodes as possible, large parts first.
    fn simplify(&mut self, change: impl Fn(&mut Node)) {
        let count = self.best.world.nodes.len();
        let mut size = count;
        while size > 0 {
            for begin in (0..count).step_by(size) {
                let end = count.min(begin + size);
                self.with(|case| case.world.nodes[begin..end].iter_mut().for_each(&change));
            }
            size /= 2;
        }
    }
}
