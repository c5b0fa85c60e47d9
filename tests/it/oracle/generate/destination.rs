//! The previous contents of the destination, including entries that are in the way.

use super::{ABSOLUTE, Draw, FOREIGN, Kind, Node, Theme, is_below, join, parent};

impl Draw {
    /// Creates the destination, and returns it as it is typed.
    pub(super) fn destination(&mut self, cwd: &str, copies: &[(Vec<u8>, Vec<u8>)], mkpath: bool) -> Vec<u8> {
        let up = if cwd.is_empty() { "" } else { "../" };
        let slash = if self.random.percent(50) { "/" } else { "" };
        let obstructed = self.theme == Some(Theme::Obstructed);
        let existing = match self.random.below(100) {
            _ if obstructed => 1,
            0..25 => {
                if (mkpath && self.random.percent(50)) || self.random.percent(2) {
                    return format!("{up}new/deep/d{slash}").into();
                }
                return format!("{up}d{slash}").into();
            }
            25..33 => 0,
            33..85 => 1,
            _ => 2,
        };
        let mut top = self.node(b"d", Kind::Dir);
        top.owner = (0, 0);
        if self.nobody && top.mode & 0o700 != 0o700 && self.random.percent(80) {
            top.mode = 0o755;
        }
        self.world.add(top);
        match existing {
            0 => {}
            1 => {
                let alike = self.random.pick(&[40, 70, 70, 90, 97]);
                for (from, to) in copies {
                    self.copy(from, to, alike);
                }
                let extra = self.random.below(15);
                self.grow(b"d", extra);
            }
            _ => {
                let count = self.random.skewed(5, 60);
                self.grow(b"d", count);
            }
        }
        if !self.hard_links && (obstructed || self.random.percent(2)) {
            self.obstruct();
        }
        if self.random.percent(4) {
            return [&[ABSOLUTE], format!("/d{slash}").as_bytes()].concat();
        }
        format!("{up}d{slash}").into()
    }

    /// Adds a copy of a tree that was changed since.
    pub(super) fn copy(&mut self, from: &[u8], to: &[u8], alike: u64) {
        let mut above = Vec::new();
        for name in parent(to).split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            above = join(&above, name);
            let node = self.node(&above, Kind::Dir);
            self.world.add(node);
        }
        let nodes: Vec<Node> =
            self.world.nodes.iter().filter(|node| node.path == from || is_below(&node.path, from)).cloned().collect();
        for mut node in nodes {
            node.path = [to, &node.path[from.len()..]].concat();
            if let Kind::Link(first) = &node.kind {
                let mapped = if is_below(first, from) { [to, &first[from.len()..]].concat() } else { Vec::new() };
                node.kind = match self.world.get(&mapped) {
                    Some(first) if !matches!(first.kind, Kind::Dir | Kind::Link(_)) && self.random.percent(85) => {
                        Kind::Link(mapped)
                    }
                    _ => self.file(),
                };
            }
            if !self.random.percent(alike) {
                match self.changed(node) {
                    Some(changed) => node = changed,
                    None => continue,
                }
            }
            let (path, was_dir) = (node.path.clone(), node.is_dir());
            if self.world.add(node) && was_dir && self.random.below(100) >= alike.max(90) {
                self.grow(&path, 2);
            }
        }
    }

    /// The node after a change; `None` if it was removed.
    fn changed(&mut self, mut node: Node) -> Option<Node> {
        let dir = parent(&node.path).to_vec();
        match self.random.below(12) {
            0 | 1 => return None,
            2 | 3 => {
                let target = self.target(&dir);
                match &mut node.kind {
                    Kind::File { letter, .. } | Kind::Sparse { letter, .. } => {
                        *letter = (*letter - b'a' + 1) % 26 + b'a'
                    }
                    Kind::Symlink(old) => *old = target,
                    _ => {}
                }
                if self.random.percent(70) {
                    node.mtime = self.time();
                }
            }
            4 => {
                if let Kind::File { size, .. } = &mut node.kind {
                    *size = if self.random.percent(50) { *size / 2 } else { *size + 100 };
                }
            }
            5 | 6 => node.mtime = self.time(),
            7 | 8 => {
                let mtime = node.mtime;
                self.draw_attributes(&mut node);
                node.mtime = mtime;
            }
            9 => {
                if let Kind::File { .. } | Kind::Link(_) = node.kind
                    && let Some(other) = self.linkable(b"d")
                {
                    node.kind = Kind::Link(other);
                }
            }
            _ => {
                // Another type; contents of a former directory are left out automatically.
                node.kind = match self.random.below(6) {
                    0 | 1 if !node.is_dir() => Kind::Dir,
                    2 => Kind::Symlink(self.target(&dir)),
                    3 => Kind::Fifo,
                    _ => self.file(),
                };
                self.draw_attributes(&mut node);
            }
        }
        Some(node)
    }

    /// Makes some directories immutable.
    fn obstruct(&mut self) {
        let dirs: Vec<usize> =
            (0..self.world.nodes.len()).filter(|&at| is_below(&self.world.nodes[at].path, b"d")).collect();
        let dirs: Vec<usize> = dirs.into_iter().filter(|&at| self.world.nodes[at].is_dir()).collect();
        for _ in 0..1 + self.random.below(2) {
            if dirs.is_empty() {
                return;
            }
            let at = self.random.pick(&dirs);
            if self.nobody && self.random.percent(70) {
                self.world.nodes[at].owner = (FOREIGN, FOREIGN);
            } else {
                self.world.nodes[at].immutable = crate::support::is_root();
            }
        }
    }
}
