//! The default walker: work stealing over directory handles.
//!
//! A directory is opened relative to its parent's handle and never by a full path, so that neither `PATH_MAX` nor a directory that
//! is renamed meanwhile leads it astray; links are not followed. Only regular files are looked up (for their length): everything
//! else is known from the directory itself where the file system tells the type.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rayon::Scope;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;

use super::subtree::{Attributes, Node, Tree};
use super::{Event, KeptWhole, Names, Root, Scan, ScanError, Watch, Weight};
use crate::error::{Error, Result};

/// Bytes of directory entries read at once: about 1,000 names.
const READ_AT_ONCE: usize = 64 * 1024;
/// Names told to the node at once; bounds what a flat directory holds in memory.
const BATCH: usize = 1024;
const USER_RWX: u32 = 0o700;

const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

thread_local! {
    static BUFFER: RefCell<Vec<MaybeUninit<u8>>> = RefCell::new(vec![MaybeUninit::uninit(); READ_AT_ONCE]);
}

struct Walk<'a> {
    tree: Tree<'a>,
    keep_locked_whole: bool,
}

pub(super) fn walk(
    scan: &Scan,
    pool: &rayon::ThreadPool,
    watch: &Watch,
    sink: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let bases = scan.roots.iter().map(open_base).collect::<Result<Vec<_>>>()?;
    let walk = Walk { tree: Tree::new(scan.limits, watch, sink), keep_locked_whole: scan.keep_locked_whole };
    pool.scope(|scope| {
        for (index, (root, base)) in scan.roots.iter().zip(bases).enumerate() {
            let walk = &walk;
            scope.spawn(move |scope| walk.visit_root(scope, index as u32, root, base, scan.split_roots));
        }
    });
    Ok(())
}

fn open_base(root: &Root) -> Result<OwnedFd> {
    fs::open(&root.base, OPEN_DIR, Mode::empty()).map_err(|errno| Error::io("open source directory", &root.base, errno))
}

impl<'a> Walk<'a> {
    fn visit_root<'s>(&'s self, scope: &Scope<'s>, root: u32, wanted: &Root, base: OwnedFd, split: bool) {
        let (name, opened) = match &wanted.name {
            None => (&b""[..], Ok(base)),
            Some(name) => (name.as_bytes(), fs::openat(&base, &**name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty())),
        };
        self.tree.watch.count(1, Weight { entries: 1, bytes: 0 });
        let opened = opened.and_then(|dir| Ok((attributes(&dir)?, dir)));
        let (attributes, dir) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                let path = name.to_vec();
                return self.tree.tell(Event::Error(ScanError { root, path, attempted: "open directory", errno }));
            }
        };
        let node = self.node(None, root, name, attributes);
        if split && !node.is_whole() {
            node.split(&self.tree);
        }
        self.read(scope, &node, dir);
        node.done(&self.tree);
    }

    /// Ends the piece of work that [`Walk::spawn`] announced: by the end of the child's own node, or at once.
    fn visit<'s>(&'s self, scope: &Scope<'s>, parent: &Arc<Node>, parent_dir: &OwnedFd, name: &CStr) {
        if self.tree.watch.stopped() {
            return parent.done(&self.tree);
        }
        let opened = fs::openat(parent_dir, name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty())
            .and_then(|dir| Ok((attributes(&dir)?, dir)));
        match opened {
            Ok((attributes, dir)) => {
                let node = self.node(Some(parent), parent.root(), name.to_bytes(), attributes);
                self.read(scope, &node, dir);
                node.done(&self.tree);
            }
            Err(errno) => {
                // A directory that another process replaced by something else is copied as what it is now.
                if errno != Errno::NOTDIR && errno != Errno::LOOP {
                    self.unread(parent, name.to_bytes(), errno);
                }
                if errno != Errno::NOENT {
                    let mut one = Names::default();
                    one.push(name.to_bytes(), Weight { entries: 1, bytes: 0 });
                    parent.add(&self.tree, &one);
                }
                parent.done(&self.tree);
            }
        }
    }

    fn unread(&self, parent: &Node, name: &[u8], errno: Errno) {
        let path = below(parent, name);
        let root = parent.root();
        if errno == Errno::MFILE || errno == Errno::NFILE {
            self.tree.tell(Event::KeptWhole { root, path: &path, why: KeptWhole::NoDescriptor });
        } else {
            self.tree.tell(Event::Error(ScanError { root, path, attempted: "open directory", errno }));
        }
    }

    fn node(&self, parent: Option<&Arc<Node>>, root: u32, name: &[u8], attributes: Attributes) -> Arc<Node> {
        let locked = self.keep_locked_whole && attributes.mode & USER_RWX != USER_RWX;
        let node = Node::new(parent, root, name, attributes, locked);
        if locked && !parent.is_some_and(|parent| parent.is_whole()) {
            self.tree.tell(Event::KeptWhole { root, path: &node.path(), why: KeptWhole::Locked });
        }
        node
    }

    fn read<'s>(&'s self, scope: &Scope<'s>, node: &Arc<Node>, dir: OwnedFd) {
        let dir = Arc::new(dir);
        let mut batch = Names::default();
        let mut directories = 0;
        BUFFER.with_borrow_mut(|buffer| {
            let mut entries = RawDir::new(&*dir, buffer);
            while let Some(entry) = entries.next() {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(errno) => {
                        let path = node.path();
                        let error = ScanError { root: node.root(), path, attempted: "read directory", errno };
                        return self.tree.tell(Event::Error(error));
                    }
                };
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                if self.tree.watch.stopped() {
                    return;
                }
                let (kind, bytes) = match entry.file_type() {
                    FileType::RegularFile | FileType::Unknown => match self.look_up(node, &dir, name) {
                        Some(found) => found,
                        None => continue,
                    },
                    known => (known, 0),
                };
                if kind == FileType::Directory {
                    directories += 1;
                    self.spawn(scope, node, &dir, name.to_owned());
                } else {
                    batch.push(name.to_bytes(), Weight { entries: 1, bytes });
                    if batch.weights.len() == BATCH {
                        self.flush(node, &mut batch, &mut directories);
                    }
                }
            }
        });
        self.flush(node, &mut batch, &mut directories);
    }

    fn spawn<'s>(&'s self, scope: &Scope<'s>, node: &Arc<Node>, dir: &Arc<OwnedFd>, name: CString) {
        let (node, dir) = (Arc::clone(node), Arc::clone(dir));
        node.expect_child();
        scope.spawn(move |scope| self.visit(scope, &node, &dir, &name));
    }

    fn flush(&self, node: &Arc<Node>, batch: &mut Names, directories: &mut u64) {
        let weight = batch.weight() + Weight { entries: *directories, bytes: 0 };
        self.tree.watch.count(*directories, weight);
        *directories = 0;
        if !batch.weights.is_empty() {
            node.add(&self.tree, batch);
            batch.clear();
        }
    }

    /// Type and length of an entry that the directory itself does not tell. An entry that cannot be looked up is still a unit, of
    /// no known length, so that rsync meets it and says so; one that vanished is not.
    fn look_up(&self, node: &Node, dir: &OwnedFd, name: &CStr) -> Option<(FileType, u64)> {
        let wanted = StatxFlags::TYPE | StatxFlags::SIZE;
        match fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, wanted) {
            Ok(found) => {
                let kind = FileType::from_raw_mode(found.stx_mode.into());
                Some((kind, if kind == FileType::RegularFile { found.stx_size } else { 0 }))
            }
            Err(errno) => {
                let path = below(node, name.to_bytes());
                let error = ScanError { root: node.root(), path, attempted: "look up", errno };
                let vanished = error.vanished();
                self.tree.tell(Event::Error(error));
                (!vanished).then_some((FileType::RegularFile, 0))
            }
        }
    }
}

fn attributes(dir: impl AsFd) -> rustix::io::Result<Attributes> {
    let found = fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::INO)?;
    let device = fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(Attributes { mode: u32::from(found.stx_mode) & 0o7777, identity: (device, found.stx_ino) })
}

fn below(node: &Node, name: &[u8]) -> Vec<u8> {
    let mut path = node.path();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
