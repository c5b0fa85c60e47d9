//! Makes a case that differs as small as it can be while it still differs in the same way.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::case::Case;
use super::judge::{Court, Outcome};
use super::world::{Kind, OLD};

struct Shrinker<'a> {
    court: &'a Court,
    sorts: BTreeSet<String>,
    best: Case,
    end: Instant,
}

/// The smallest case found within this time; `sorts` are those of the findings to keep.
pub fn shrink(court: &Court, case: &Case, sorts: &BTreeSet<String>, within: Duration) -> Case {
    let mut shrinker = Shrinker { court, sorts: sorts.clone(), best: case.clone(), end: Instant::now() + within };
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
        if case == self.best || Instant::now() >= self.end {
            return false;
        }
        let verdict = self.court.judge(&case);
        let same = verdict.outcome == Outcome::Different && !verdict.sorts().is_disjoint(&self.sorts);
        if same {
            self.best = case;
        }
        same
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
        for at in 0..self.best.world.nodes.len() {
            self.with(|case| {
                let node = &mut case.world.nodes[at];
                (node.owner, node.xattr, node.acl) = ((0, 0), None, false);
            });
            self.with(|case| case.world.nodes[at].mode = plain(&case.world.nodes[at].kind));
            self.with(|case| case.world.nodes[at].mtime = (OLD, 0));
            self.with(|case| match &mut case.world.nodes[at].kind {
                Kind::File { size, .. } => *size = 1.min(*size),
                kind @ (Kind::Sparse { .. } | Kind::Link(_) | Kind::Fifo | Kind::Socket | Kind::Device { .. }) => {
                    *kind = Kind::File { letter: b'a', size: 1 };
                }
                _ => {}
            });
        }
    }
}
