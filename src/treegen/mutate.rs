//! Seeded changes to a tree, for tests of updates and deletions.
//!
//! The same seed changes equal trees in the same way. Every change is visible to rsync: an entry that gets other content also gets another modification time,
//! later than any that this module's siblings give.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rustix::fs::FileType;

use super::Fill;
use super::folder::{Attributes, Folder, Found, Mtime, join, split};
use super::random::Random;
use crate::entry::Printable;
use crate::error::Result;

/// A change that was made. Prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path that was changed, relative to the root.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// The kind of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// A new file, or a new directory with one file.
    Add,
    /// Removed, with everything below.
    Remove,
    /// A file with other content of a different size.
    Content,
    /// A file with other content of the same size.
    SameSize,
    /// Another modification time.
    Touch,
    /// Other permission bits.
    Chmod,
    /// A file that has become a directory, with one file in it.
    FileToDir,
    /// A directory that has become a file.
    DirToFile,
    /// Moved to this path, with everything below.
    Rename(Vec<u8>),
}

/// Makes `count` changes to the tree at `root` and returns them, in order. A later change may affect the result of an earlier one. The permission bits of the
/// root itself are not changed.
///
/// The caller must be able to enter and list all directories and must own everything. Memory is proportional to the tree.
pub fn mutate(root: &Path, seed: u64, count: u64) -> Result<Vec<Change>> {
    let mut tree = Tree { root: Folder::existing(root)?, random: Random::part(seed, 1), names: BTreeMap::new() };
    tree.list(&[])?;
    (0..count).map(|_| tree.change()).collect()
}

struct Tree {
    root: Folder,
    random: Random,
    /// All existing entries, by path.
    names: BTreeMap<Vec<u8>, FileType>,
}

impl Tree {
    fn list(&mut self, path: &[u8]) -> Result<()> {
        let mut pending = vec![path.to_vec()];
        while let Some(path) = pending.pop() {
            let folder = self.root.reach(&path)?;
            for name in folder.names()? {
                let (path, kind) = (join(&path, &name), folder.look(&name)?.kind);
                if kind == FileType::Directory {
                    pending.push(path.clone());
                }
                self.names.insert(path, kind);
            }
        }
        Ok(())
    }

    fn change(&mut self) -> Result<Change> {
        let is_file = |kind| kind == FileType::RegularFile;
        let is_dir = |kind| kind == FileType::Directory;
        let (path, kind) = match self.random.below(9) {
            1 => (self.any(|_| true), ChangeKind::Remove),
            2 => (self.any(is_file), ChangeKind::Content),
            3 => (self.any(is_file), ChangeKind::SameSize),
            4 => (self.any(|_| true), ChangeKind::Touch),
            5 => (self.any(|kind| is_file(kind) || is_dir(kind)), ChangeKind::Chmod),
            6 => (self.any(is_file), ChangeKind::FileToDir),
            7 => (self.any(is_dir), ChangeKind::DirToFile),
            8 => (self.any(|_| true), ChangeKind::Rename(Vec::new())),
            _ => (None, ChangeKind::Add),
        };
        // If there is nothing suitable, something is added.
        let Some(path) = path else { return self.add() };
        let kind = match kind {
            ChangeKind::Rename(_) => self.rename(&path)?,
            kind => self.within(&path, kind)?,
        };
        Ok(Change { path, kind })
    }

    /// A path of a suitable type, if there is one.
    fn any(&mut self, suits: impl Fn(FileType) -> bool) -> Option<Vec<u8>> {
        let at = self.random.index(self.names.len());
        let mut names = self.names.iter().skip(at).chain(self.names.iter().take(at));
        names.find(|(_, kind)| suits(**kind)).map(|(path, _)| path.clone())
    }

    fn add(&mut self) -> Result<Change> {
        let above = self.any_dir();
        let path = self.free_path(&above);
        let folder = self.open(&above)?;
        let (_, name) = split(&path);
        if self.random.percent(70) {
            self.make_file(&folder.folder, &path, name)?;
        } else {
            self.make_dir(&folder.folder, &path, name)?;
        }
        self.close(folder)?;
        Ok(Change { path, kind: ChangeKind::Add })
    }

    /// A change that needs only the directory above the path.
    fn within(&mut self, path: &[u8], kind: ChangeKind) -> Result<ChangeKind> {
        let (above, name) = split(path);
        let opened = self.open(above)?;
        let folder = &opened.folder;
        let Found { kind: is, mode, size } = folder.look(name)?;
        let mtime = self.mtime();
        match kind {
            ChangeKind::Remove => self.remove(folder, path, name)?,
            ChangeKind::FileToDir => {
                self.remove(folder, path, name)?;
                self.make_dir(folder, path, name)?;
            }
            ChangeKind::DirToFile => {
                self.remove(folder, path, name)?;
                self.make_file(folder, path, name)?;
            }
            ChangeKind::SameSize if size > 0 => {
                folder.rewrite(name, size, self.random.next(), Attributes { mode, mtime })?;
            }
            // Only one content has size 0, so the size must change.
            ChangeKind::Content | ChangeKind::SameSize => {
                let shrink = size > 0 && self.random.percent(50);
                let size = if shrink { size / 2 } else { size + 1 + self.random.below(1000) };
                folder.rewrite(name, size, self.random.next(), Attributes { mode, mtime })?;
            }
            ChangeKind::Chmod => {
                let modes: &[u32] = match is {
                    FileType::Directory => &[0o755, 0o700, 0o750, 0o1777, 0o2755],
                    _ => &[0o644, 0o600, 0o755, 0o444, 0o4755],
                };
                let others: Vec<u32> = modes.iter().copied().filter(|&other| other != mode).collect();
                folder.chmod(name, *self.random.pick(&others))?;
            }
            ChangeKind::Touch | ChangeKind::Add | ChangeKind::Rename(_) => folder.touch(name, mtime)?,
        }
        self.close(opened)?;
        Ok(kind)
    }

    fn rename(&mut self, path: &[u8]) -> Result<ChangeKind> {
        let (above, name) = split(path);
        let mut target = self.any_dir();
        // A directory cannot move into itself.
        if target == path || target.starts_with(&join(path, b"")) {
            target = above.to_vec();
        }
        let to = self.free_path(&target);
        let from = self.open(above)?;
        if target == above {
            from.folder.rename(name, &from.folder, split(&to).1)?;
            self.close(from)?;
        } else {
            let into = self.open(&target)?;
            // Without privileges, a directory without the w bit cannot be moved, because its `..` changes.
            let mode = from.folder.look(name)?;
            if mode.kind == FileType::Directory {
                from.folder.chmod(name, 0o700)?;
            }
            from.folder.rename(name, &into.folder, split(&to).1)?;
            if mode.kind == FileType::Directory {
                into.folder.chmod(split(&to).1, mode.mode)?;
            }
            self.close(into)?;
            self.close(from)?;
        }
        for (old, kind) in self.take(path) {
            self.names.insert([&to, &old[path.len()..]].concat(), kind);
        }
        Ok(ChangeKind::Rename(to))
    }

    fn remove(&mut self, folder: &Folder, path: &[u8], name: &[u8]) -> Result<()> {
        self.take(path);
        folder.remove(name)
    }

    /// Removes a path and everything below it from the list.
    fn take(&mut self, path: &[u8]) -> Vec<(Vec<u8>, FileType)> {
        let below = join(path, b"");
        let mut taken: Vec<(Vec<u8>, FileType)> = self.names.remove_entry(path).into_iter().collect();
        let paths: Vec<Vec<u8>> =
            self.names.range(below.clone()..).map(|(p, _)| p.clone()).take_while(|p| p.starts_with(&below)).collect();
        taken.extend(paths.iter().filter_map(|path| self.names.remove_entry(path)));
        taken
    }

    fn make_file(&mut self, folder: &Folder, path: &[u8], name: &[u8]) -> Result<()> {
        let to = Attributes { mode: 0o644, mtime: self.mtime() };
        folder.make_file(name, self.random.below(3000), Fill::Random, self.random.next(), to)?;
        self.names.insert(path.to_vec(), FileType::RegularFile);
        Ok(())
    }

    fn make_dir(&mut self, folder: &Folder, path: &[u8], name: &[u8]) -> Result<()> {
        folder.make_dir(name)?;
        let made = folder.enter(name)?;
        self.make_file(&made, &join(path, b"new"), b"new")?;
        made.settle(Attributes { mode: 0o755, mtime: self.mtime() })?;
        self.names.insert(path.to_vec(), FileType::Directory);
        Ok(())
    }

    /// A directory, possibly the root.
    fn any_dir(&mut self) -> Vec<u8> {
        if self.random.percent(10) {
            return Vec::new();
        }
        self.any(|kind| kind == FileType::Directory).unwrap_or_default()
    }

    fn free_path(&mut self, above: &[u8]) -> Vec<u8> {
        loop {
            let path = join(above, format!("new{}", self.random.below(1_000_000)).as_bytes());
            if !self.names.contains_key(&path) {
                return path;
            }
        }
    }

    fn mtime(&mut self) -> Mtime {
        Mtime(1_600_000_000 + self.random.below(100_000_000) as i64, self.random.below(1_000_000_000) as u32)
    }

    /// Opens a directory for changes in it.
    fn open(&self, path: &[u8]) -> Result<Opened> {
        let folder = self.root.reach(path)?;
        let mode = folder.look(b".")?.mode;
        folder.unlock()?;
        Ok(Opened { folder, mode })
    }

    /// Restores the mode of the directory, and sets a new time, because the time of the change would depend on the clock.
    fn close(&mut self, opened: Opened) -> Result<()> {
        let mtime = self.mtime();
        opened.folder.settle(Attributes { mode: opened.mode, mtime })
    }
}

/// A directory that can be written, and its original mode.
struct Opened {
    folder: Folder,
    mode: u32,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.kind {
            ChangeKind::Add => "add",
            ChangeKind::Remove => "remove",
            ChangeKind::Content => "change the content of",
            ChangeKind::SameSize => "change the content but not the size of",
            ChangeKind::Touch => "touch",
            ChangeKind::Chmod => "change the mode of",
            ChangeKind::FileToDir => "make a directory of",
            ChangeKind::DirToFile => "make a file of",
            ChangeKind::Rename(to) => {
                return write!(f, "rename {} to {}", Printable::bytes(&self.path), Printable::bytes(to));
            }
        };
        write!(f, "{word} {}", Printable::bytes(&self.path))
    }
}
