//! Odd trees: a bit of everything that a tree can contain without privileges, for property tests.
//!
//! A single thread creates them, entry by entry; they are meant to be small.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::FileType;

use super::folder::{Attributes, Folder, Mtime, join};
use super::names::all_odd_names;
use super::random::Random;
use super::{Fill, Totals};
use crate::error::Result;

/// What an odd tree may contain besides files, directories, symbolic links, FIFOs, hard links, sparse files and odd times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The number of names below the root; the tree has exactly this number.
    pub entries: u64,
    /// The deepest nesting of directories.
    pub depth: u32,
    /// Whether some names are odd ones.
    pub names: bool,
    /// Whether there are sockets.
    pub sockets: bool,
    /// Whether there are directories without the w bit. Without privileges, such a tree cannot be removed as it is.
    pub read_only_dirs: bool,
    /// Whether there are files and directories without any permission bit. Without privileges, they cannot be copied.
    pub unreadable: bool,
}

impl Odd {
    /// A tree that every user can copy and remove.
    pub fn new(entries: u64) -> Self {
        Odd { entries, depth: 6, names: true, sockets: true, read_only_dirs: false, unreadable: false }
    }
}

/// Creates an odd tree in `root`, which must be empty or not exist yet.
///
/// Symbolic links point to neighbours, to directories, to nothing and to absolute paths that do not exist. Hard links of files and of symbolic links connect
/// arbitrary places in the tree.
pub fn odd_tree(root: &Path, odd: &Odd, seed: u64) -> Result<Totals> {
    let mut making = Making {
        odd,
        root: Folder::new_root(root)?,
        random: Random::part(seed, 0),
        odd_names: all_odd_names(),
        dirs: vec![MadeDir::default()],
        taken: HashSet::new(),
        linkable: Vec::new(),
        totals: Totals::default(),
    };
    for _ in 0..odd.entries {
        making.entry()?;
    }
    making.settle()?;
    Ok(making.totals)
}

struct Making<'a> {
    odd: &'a Odd,
    root: Folder,
    random: Random,
    odd_names: Vec<Vec<u8>>,
    dirs: Vec<MadeDir>,
    taken: HashSet<Vec<u8>>,
    linkable: Vec<Linkable>,
    totals: Totals,
}

#[derive(Debug, Default)]
struct MadeDir {
    path: Vec<u8>,
    level: u32,
    /// Names in it, as targets for symbolic links.
    names: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Linkable {
    path: Vec<u8>,
    /// `None` for a symbolic link.
    size: Option<u64>,
}

impl Making<'_> {
    fn entry(&mut self) -> Result<()> {
        let at = self.random.index(self.dirs.len());
        let name = self.name(at);
        let path = join(&self.dirs[at].path, &name);
        let folder = self.root.reach(&self.dirs[at].path)?;
        match self.random.below(100) {
            0..20 if self.dirs[at].level < self.odd.depth => {
                folder.make_dir(&name)?;
                self.dirs.push(MadeDir { path, level: self.dirs[at].level + 1, names: Vec::new() });
                self.totals.dirs += 1;
            }
            20..32 => {
                let target = self.target(at);
                folder.make_symlink(&name, &target, mtime(&mut self.random))?;
                self.totals.symlinks += 1;
                self.linkable.push(Linkable { path, size: None });
            }
            32..40 if !self.linkable.is_empty() => {
                let old = self.random.pick(&self.linkable);
                folder.make_link(&name, &self.root, &old.path)?;
                match old.size {
                    Some(size) => {
                        self.totals.files += 1;
                        self.totals.bytes += size;
                    }
                    None => self.totals.symlinks += 1,
                }
            }
            40..43 => self.special(&folder, &name, FileType::Fifo)?,
            43..45 if self.odd.sockets => self.special(&folder, &name, FileType::Socket)?,
            kind => {
                let (size, fill) = match kind {
                    45..50 => (self.random.below(1 << 20), Fill::Islands),
                    50..53 => (self.random.below(1 << 20), Fill::Hole),
                    53..65 => (0, Fill::Random),
                    65..70 => (self.random.below(200_000), Fill::Random),
                    _ => (self.random.below(2000), Fill::Random),
                };
                let to = Attributes { mode: self.file_mode(), mtime: mtime(&mut self.random) };
                folder.make_file(&name, size, fill, self.random.next(), to)?;
                self.totals.files += 1;
                self.totals.bytes += size;
                self.linkable.push(Linkable { path, size: Some(size) });
            }
        }
        self.dirs[at].names.push(name);
        Ok(())
    }

    /// A name that is still unused in this directory.
    fn name(&mut self, at: usize) -> Vec<u8> {
        loop {
            let mut name = if self.odd.names && self.random.percent(30) {
                self.random.pick(&self.odd_names).clone()
            } else {
                format!("n{}", self.random.below(1000)).into_bytes()
            };
            let path = join(&self.dirs[at].path, &name);
            // The path must be short enough for an argument, for tests that compare with other tools.
            if path.len() > 2000 {
                name = format!("s{}", self.random.below(1_000_000)).into_bytes();
            }
            if self.taken.insert(join(&self.dirs[at].path, &name)) {
                return name;
            }
        }
    }

    fn target(&mut self, at: usize) -> Vec<u8> {
        match self.random.below(10) {
            0..4 if !self.dirs[at].names.is_empty() => self.random.pick(&self.dirs[at].names).clone(),
            4 => b"..".to_vec(),
            5 => b".".to_vec(),
            6 => b"../nowhere".to_vec(),
            7 => b"/nonexistent/absolute".to_vec(),
            8 => self.random.pick(&self.odd_names).clone(),
            _ => vec![b't'; 1 + self.random.index(1000)],
        }
    }

    fn special(&mut self, folder: &Folder, name: &[u8], kind: FileType) -> Result<()> {
        let mode = *self.random.pick(&[0o644, 0o600, 0o666]);
        self.totals.specials += 1;
        folder.make_special(name, kind, Attributes { mode, mtime: mtime(&mut self.random) })
    }

    fn file_mode(&mut self) -> u32 {
        if self.odd.unreadable && self.random.percent(10) {
            return 0;
        }
        *self.random.pick(&[0o644, 0o644, 0o600, 0o755, 0o444, 0o400, 0o666, 0o4755, 0o2755, 0o1644, 0o6711])
    }

    fn dir_mode(&mut self) -> u32 {
        if self.odd.unreadable && self.random.percent(10) {
            return 0;
        }
        if self.odd.read_only_dirs && self.random.percent(15) {
            return 0o555;
        }
        *self.random.pick(&[0o755, 0o755, 0o700, 0o750, 0o1777, 0o2755, 0o775])
    }

    /// Gives the directories their attributes, the deepest first: nothing is created in them any more.
    fn settle(&mut self) -> Result<()> {
        for at in (0..self.dirs.len()).rev() {
            let mode = if at == 0 { 0o755 } else { self.dir_mode() };
            let mtime = mtime(&mut self.random);
            self.root.reach(&self.dirs[at].path)?.settle(Attributes { mode, mtime })?;
        }
        Ok(())
    }
}

/// Mostly the usual times, some from the seventies.
fn mtime(random: &mut Random) -> Mtime {
    if random.percent(10) {
        Mtime(86_400 + random.below(300_000_000) as i64, random.below(1_000_000_000) as u32)
    } else {
        Mtime::random(random)
    }
}
