//! The forms in which sources are typed.

use super::{ABSOLUTE, Draw, Forms, Kind, Theme, join, parent};

impl Draw {
    pub(super) fn forms(&mut self, tops: &[&str], relative: bool) -> Forms {
        if relative {
            return self.relative_forms();
        }
        if let [only] = tops {
            let absolute = |end: &str| [&[ABSOLUTE, b'/'], only.as_bytes(), end.as_bytes()].concat();
            let (cwd, typed, to) = match self.random.below(100) {
                0..42 => ("", format!("{only}/").into(), "d"),
                42..72 => ("", only.as_bytes().to_vec(), "d/s"),
                72..77 => ("", absolute("/"), "d"),
                77..82 => ("", absolute(""), "d/s"),
                82..88 => (*only, b".".to_vec(), "d"),
                88..90 => (*only, b"./".to_vec(), "d"),
                90..92 => ("", format!("{only}/.").into(), "d"),
                92..94 => (*only, b"../s".to_vec(), "d/s"),
                _ => return self.children(only),
            };
            return Forms {
                cwd: cwd.to_owned(),
                typed: vec![typed],
                copies: vec![(only.as_bytes().to_vec(), to.as_bytes().to_vec())],
            };
        }
        let mut typed: Vec<Vec<u8>> = Vec::new();
        let mut copies = Vec::new();
        let contents = self.random.below(3);
        for top in tops {
            let content = contents == 0 || (contents == 1 && self.random.percent(50));
            let to = if content { b"d".to_vec() } else { join(b"d", top.as_bytes()) };
            copies.push((top.as_bytes().to_vec(), to));
            typed.push(format!("{top}{}", if content { "/" } else { "" }).into());
        }
        if self.random.percent(if self.theme == Some(Theme::Sources) { 25 } else { 4 }) {
            // Another source of the same name.
            let inside = join(b"out", tops[0].as_bytes());
            let node = self.node(&inside, Kind::Dir);
            self.world.add(node);
            self.grow(&inside, 4);
            typed.push(inside);
        } else if self.random.percent(3) {
            typed.push(self.random.pick(&typed).clone());
        }
        if self.random.percent(8) {
            typed.insert(self.random.index(typed.len() + 1), b"missing".to_vec());
        }
        if self.random.percent(15) {
            typed.push(b"out/f".to_vec());
        }
        Forms { cwd: String::new(), typed, copies }
    }

    /// Some entries of a source, each as an argument.
    fn children(&mut self, top: &str) -> Forms {
        let mut names: Vec<Vec<u8>> = self
            .world
            .below(top.as_bytes())
            .filter(|node| parent(&node.path) == top.as_bytes())
            .map(|node| node.path.clone())
            .collect();
        let most = 1 + self.random.index(5);
        while names.len() > most {
            let at = self.random.index(names.len());
            names.remove(at);
        }
        let copies = names.iter().map(|path| (path.clone(), join(b"d", &path[top.len() + 1..]))).collect();
        // A colon would make a host of the name.
        let typed = names.into_iter().map(|path| [b"./", &path[..]].concat()).collect();
        Forms { cwd: String::new(), typed, copies }
    }

    fn relative_forms(&mut self) -> Forms {
        let all: Vec<Vec<u8>> = self.world.below(b"s").map(|node| node.path.clone()).collect();
        let mut typed = Vec::new();
        let mut copies = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let path = match self.random.below(3) {
                0 => b"s".to_vec(),
                _ if all.is_empty() => b"s".to_vec(),
                _ => self.random.pick(&all).clone(),
            };
            // The position at which the part that is sent begins.
            let slashes: Vec<usize> = (0..path.len()).filter(|&at| path[at] == b'/').collect();
            let mut argument =
                match (self.random.below(if self.theme == Some(Theme::Chain) { 5 } else { 6 }), slashes.is_empty()) {
                    (0, false) => {
                        let at = self.random.pick(&slashes);
                        copies.push((path.clone(), join(b"d", &path[at + 1..])));
                        [&path[..at], b"/./", &path[at + 1..]].concat()
                    }
                    (1, _) => {
                        copies.push((path.clone(), join(b"d", &path)));
                        [b"./", &path[..]].concat()
                    }
                    (2, _) => {
                        copies.push((path.clone(), join(b"d", &path)));
                        [&[ABSOLUTE], &b"/./"[..], &path[..]].concat()
                    }
                    (3, false) => {
                        let at = self.random.pick(&slashes);
                        copies.push((path.clone(), join(b"d", &path[at + 1..])));
                        [&[ABSOLUTE, b'/'], &path[..at], b"/./", &path[at + 1..]].concat()
                    }
                    // All directories above the world are sent too.
                    (4, _) => [&[ABSOLUTE, b'/'], &path[..]].concat(),
                    _ => {
                        copies.push((path.clone(), join(b"d", &path)));
                        [b"././", &path[..]].concat()
                    }
                };
            let is_link = self.world.get(&path).is_some_and(|node| matches!(node.kind, Kind::Symlink(_)));
            if (is_link || self.world.has_dir(&path)) && self.random.percent(30) {
                argument.push(b'/');
            }
            typed.push(argument);
        }
        Forms { cwd: String::new(), typed, copies }
    }
}
