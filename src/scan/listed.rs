//! Walks trees that another machine lists: it builds units and spine directories from a stream of entries, with the guarantees of the [module above](super),
//! and reads nothing itself.
//!
//! Entries come depth first: a directory, then its contents, in any order; everything below a directory comes before anything outside it. So only the
//! directories above the last entry are open, whatever the size of the tree. An entry out of this order ends the scan, because its directory may already have
//! been emitted as a unit.
//!
//! If the list lacks an attribute, the safe value is assumed: a directory of unknown owner is regarded as one that others may swap.

use std::sync::Arc;

use rustix::io::Errno;

use super::look::OPEN_DIRECTORY;
use super::subtree::{Attributes, Item, LinkedName, Node, Small, Tree, below};
use super::{Event, Follow, KeptWhole, Names, Scan, ScanError, Watch, Weight, linked};
use crate::entry::{Kind, Printable};
use crate::error::{EXIT_PARTIAL, Error, Result};

/// How many names of a directory are handed on together.
const BATCH: usize = 128;
const USER_RWX: u32 = 0o700;

/// An entry as another machine lists it.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Path relative to the root's base: empty for the contents of a base, the root's name for the directory of that name.
    pub path: &'a [u8],
    /// Its kind. A symbolic link is not followed.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Its length, which counts for regular files.
    pub size: u64,
    /// The user ID of its owner, if it is listed.
    pub owner: Option<u32>,
    /// Its device and inode, and its link count, if they are listed.
    pub inode: Option<((u64, u64), u32)>,
    /// Why the directory could not be read, if it could not: nothing in it is listed.
    pub unread: Option<Errno>,
}

/// Builds the events of a scan from listed entries.
pub struct Walk<'a> {
    scan: &'a Scan,
    /// The ID of the user who lists there, if it is known. Besides root, this is the only user who is trusted.
    user: Option<u32>,
    tree: Tree<'a>,
    root: u32,
    /// The directory that contains the root's directory, if it is known.
    base: Option<Attributes>,
    /// Whether an entry of the root was listed.
    begun: bool,
    /// The open directories, each inside the one before it.
    open: Vec<Open>,
    /// The path of the last open directory.
    path: Vec<u8>,
}

/// A directory of which more entries may be listed.
struct Open {
    /// `None` if nothing in it counts: the directory is excluded, pruned, or on another file system.
    node: Option<Arc<Node>>,
    /// The length of its path.
    length: usize,
    names: Names,
    /// Directories found since names were last handed on.
    directories: u64,
    others: Weight,
}

impl<'a> Walk<'a> {
    /// For a scan whose roots are on another machine, where `user` lists them.
    ///
    /// # Errors
    /// The scan needs something that no list contains: targets of links, filter files or ignore files.
    pub fn new(
        scan: &'a Scan,
        user: Option<u32>,
        small: Option<Small<'a>>,
        watch: &'a Watch,
        sink: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Result<Walk<'a>> {
        if scan.gitignore || scan.follow != Follow::Nothing || scan.unsafe_links_whole || !scan.merge_files.is_empty() {
            return Err(Error::usage("a listing does not tell what this scan asks for"));
        }
        let tree = Tree::new(scan.limits, small, scan.roots.len() > 1, watch, sink);
        let (open, path) = (Vec::new(), Vec::new());
        Ok(Walk { scan, user, tree, root: 0, base: None, begun: false, open, path })
    }

    /// Starts a root: the entries that follow belong to it. `base` is the directory that contains its name, if that was looked up.
    pub fn begin_root(&mut self, index: u32, base: Option<&Listed<'_>>) {
        debug_assert!(self.open.is_empty(), "the root before was ended");
        self.root = index;
        self.base = base.map(|base| self.attributes(base));
        self.begun = false;
        self.tree.watch.count_root();
    }

    /// Whether an entry of the root was listed.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// The entry is out of order, or comes twice.
    pub fn entry(&mut self, entry: &Listed<'_>) -> Result<()> {
        if !self.begun {
            return self.begin(entry);
        }
        let (above, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&b""[..], entry.path),
        };
        while self.path != above {
            if self.open.len() < 2 {
                return Err(self.disorder(entry));
            }
            self.close();
        }
        if self.open.is_empty() || matches!(name, b"" | b"." | b"..") || name.contains(&0) {
            return Err(self.disorder(entry));
        }
        match entry.kind {
            Kind::Dir => self.directory(entry, name),
            _ => self.other(entry, name),
        }
        Ok(())
    }

    /// Reports that something in a root could not be listed.
    pub fn failed(&self, root: u32, path: &[u8], attempted: &'static str, errno: Errno, in_unit: bool) {
        let path = path.to_vec();
        self.tree.tell(Event::Error(ScanError { root, path, attempted, errno, in_unit }));
    }

    /// Ends a root. If nothing in it was listed, it could not be opened, and `unread` says why.
    pub fn end_root(&mut self, unread: Errno) {
        while !self.open.is_empty() {
            self.close();
        }
        if !self.begun {
            self.unread_root(unread);
        }
    }

    /// Ends the scan, when all roots were listed.
    pub fn end(self) {
        self.tree.conclude();
        linked::settle(&self.tree, self.scan.linked_parts);
    }

    /// The first entry of a root: itself.
    fn begin(&mut self, entry: &Listed<'_>) -> Result<()> {
        let root = &self.scan.roots[self.root as usize];
        let name = root.name.as_deref().map_or(&b""[..], std::os::unix::ffi::OsStrExt::as_bytes);
        if entry.path != name {
            return Err(self.disorder(entry));
        }
        self.begun = true;
        if entry.kind != Kind::Dir {
            self.unread_root(Errno::NOTDIR);
            return Ok(());
        }
        if let Some(errno) = entry.unread {
            self.unread_root(errno);
            return Ok(());
        }
        let attributes = self.attributes(entry);
        let exposed = root.name.is_some() && self.base.is_none_or(|base| base.lets_others_swap(attributes));
        let node = Node::new(None, self.root, name, attributes, exposed, self.keep_whole(attributes));
        let node = node.within(self.scan.path_room(root));
        if self.scan.split_roots && !node.is_in_whole() && !node.is_too_long() {
            node.split(&self.tree);
        }
        self.enter(Some(node), entry.path);
        Ok(())
    }

    fn unread_root(&self, errno: Errno) {
        let name = self.scan.roots[self.root as usize].name.as_deref();
        let name = name.map_or(&b""[..], std::os::unix::ffi::OsStrExt::as_bytes);
        self.failed(self.root, name, OPEN_DIRECTORY, errno, errno != Errno::NOENT);
        self.tree.unread_root(self.root, name);
    }

    fn directory(&mut self, entry: &Listed<'_>, name: &[u8]) {
        let last = self.open.last_mut().expect("a directory is open");
        let Some(parent) = last.node.clone() else { return self.enter(None, entry.path) };
        if self.scan.prune.excludes(name, || below(&parent.path(), name)) {
            last.push(name, 0);
            self.hand_on_much();
            return self.enter(None, entry.path);
        }
        last.directories += 1;
        let attributes = self.attributes(entry);
        let mounted =
            self.scan.one_file_system > 0 && entry.inode.is_some_and(|((device, _), _)| device != parent.device());
        if mounted {
            if self.scan.one_file_system == 1 {
                parent.take(&self.tree, Item::Mount(name, attributes));
            }
        } else if let Some(errno) = entry.unread {
            self.failed(self.root, entry.path, OPEN_DIRECTORY, errno, errno != Errno::NOENT);
            if errno != Errno::NOENT {
                let mut one = Names::default();
                one.push_bytes(name, Weight { entries: 1, bytes: 0 });
                parent.take(&self.tree, Item::Names(&one));
            }
        } else if self.tree.watch.stopped() || parent.is_pruned() {
            return self.enter(None, entry.path);
        } else {
            let whole = self.keep_whole(attributes);
            parent.expect_more();
            let node = Node::new(Some(&parent), self.root, name, attributes, parent.exposes(attributes), whole);
            return self.enter(Some(node), entry.path);
        }
        // The directory is counted as read, because nothing in it will be counted.
        self.tree.watch.count_in(parent.depth() + 1, 0, Weight::default(), true);
        self.enter(None, entry.path);
    }

    fn other(&mut self, entry: &Listed<'_>, name: &[u8]) {
        let last = self.open.last_mut().expect("a directory is open");
        let Some(node) = &last.node else { return };
        let bytes = if entry.kind == Kind::File { entry.size } else { 0 };
        match entry.inode.filter(|(_, names)| self.scan.hard_links && *names > 1) {
            Some((inode, names)) => {
                let weight = Weight { entries: 1, bytes };
                last.others += weight;
                let names = if self.scan.found_again { u32::MAX } else { names };
                let linked = LinkedName { name: name.into(), weight, inode, names };
                node.take(&self.tree, Item::Linked(linked));
            }
            None => last.push(name, bytes),
        }
        self.hand_on_much();
    }

    fn enter(&mut self, node: Option<Arc<Node>>, path: &[u8]) {
        self.path.clear();
        self.path.extend_from_slice(path);
        let (names, others) = (Names::default(), Weight::default());
        self.open.push(Open { node, length: path.len(), names, directories: 0, others });
    }

    /// Closes the last open directory: it is complete.
    fn close(&mut self) {
        let Some(mut last) = self.open.pop() else { return };
        last.hand_on(&self.tree, true);
        if let Some(node) = last.node {
            node.done(&self.tree);
        }
        self.path.truncate(self.open.last().map_or(0, |above| above.length));
    }

    fn hand_on_much(&mut self) {
        if let Some(last) = self.open.last_mut().filter(|last| last.names.weights.len() >= BATCH) {
            last.hand_on(&self.tree, false);
        }
    }

    fn attributes(&self, entry: &Listed<'_>) -> Attributes {
        /// A user ID that no process has.
        const SOMEBODY: u32 = u32::MAX;
        let trusted = |owner: u32| owner == 0 || Some(owner) == self.user;
        // User IDs of the other machine mean nothing here: a trusted owner becomes root, all others become a user that is not trusted.
        let owner = if entry.owner.is_some_and(trusted) { 0 } else { SOMEBODY };
        let identity = entry.inode.map_or((0, 0), |(identity, _)| identity);
        Attributes { mode: entry.mode & 0o7777, owner, identity }
    }

    fn keep_whole(&self, attributes: Attributes) -> Option<KeptWhole> {
        let locked = self.scan.keep_locked_whole && attributes.mode & USER_RWX != USER_RWX;
        locked.then_some(KeptWhole::Locked)
    }

    fn disorder(&self, entry: &Listed<'_>) -> Error {
        let shown = Printable::bytes(entry.path);
        Error::system(format!("the listing of the source is out of order at '{shown}'"))
            .remedy("choose another way to scan it with --remote-scan")
            .exit(EXIT_PARTIAL)
    }
}

impl Open {
    fn push(&mut self, name: &[u8], bytes: u64) {
        let weight = Weight { entries: 1, bytes };
        self.names.push_bytes(name, weight);
        self.others += weight;
    }

    fn hand_on(&mut self, tree: &Tree<'_>, is_read: bool) {
        let Some(node) = &self.node else { return };
        let directories = std::mem::take(&mut self.directories);
        let weight = std::mem::take(&mut self.others) + Weight { entries: directories, bytes: 0 };
        tree.watch.count_in(node.depth(), directories, weight, is_read);
        if !self.names.weights.is_empty() {
            node.take(tree, Item::Names(&self.names));
            self.names.clear();
        }
    }
}
