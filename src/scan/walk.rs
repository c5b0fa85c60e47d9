//! The default walker: work stealing over directory handles.
//!
//! A directory is opened relative to its parent's handle and never by a full path, so that neither `PATH_MAX` nor a directory that
//! is renamed meanwhile leads it astray; links are not followed. Only regular files are looked up (for their length): everything
//! else is known from the directory itself where the file system tells the type.

use std::cell::RefCell;
use std::ffi::{CStr, CString, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rayon::Scope;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;

use super::subtree::{Attributes, Item, LinkedName, Node, Tree, below};
use super::{Event, Follow, KeptWhole, Names, Root, Scan, ScanError, Watch, Weight};
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
    scan: &'a Scan,
}

pub(super) fn walk(
    scan: &Scan,
    pool: &rayon::ThreadPool,
    watch: &Watch,
    sink: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let bases = scan.roots.iter().map(open_base).collect::<Result<Vec<_>>>()?;
    let split_open_roots = scan.roots.len() > 1;
    let walk = Walk { tree: Tree::new(scan.limits, split_open_roots, watch, sink), scan };
    pool.scope(|scope| {
        for (index, (root, base)) in scan.roots.iter().zip(bases).enumerate() {
            let walk = &walk;
            scope.spawn(move |scope| walk.visit_root(scope, index as u32, root, base));
        }
    });
    Ok(())
}

fn open_base(root: &Root) -> Result<OwnedFd> {
    // A base need not be readable: it may be entered by name only.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(&root.base, flags, Mode::empty())
        .map_err(|errno| Error::io("open source directory", &root.base, errno).remedy("check that it may be entered"))
}

impl<'a> Walk<'a> {
    fn visit_root<'s>(&'s self, scope: &Scope<'s>, root: u32, wanted: &Root, base: OwnedFd) {
        let (name, opened) = match &wanted.name {
            None => (&b""[..], fs::openat(&base, c".", OPEN_DIR, Mode::empty())),
            Some(name) => (name.as_bytes(), fs::openat(&base, &**name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty())),
        };
        self.tree.watch.count(1, Weight { entries: 1, bytes: 0 });
        let opened = opened.and_then(|dir| Ok((attributes(&dir)?, dir)));
        let (attributes, dir) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                let path = name.to_vec();
                self.tree.tell(Event::Error(ScanError {
                    root,
                    path,
                    attempted: "open directory",
                    errno,
                    in_unit: errno != Errno::NOENT,
                }));
                // rsync has to meet it as well: it copies the directory itself.
                return self.tree.unread_root(root, name);
            }
        };
        let exposed =
            wanted.name.is_some() && self::attributes(&base).is_ok_and(|base| base.lets_others_swap(attributes));
        let node = Node::new(None, root, name, attributes, exposed, self.keep_whole(attributes, &dir));
        if self.scan.split_roots && !node.is_in_whole() {
            node.split(&self.tree);
        }
        self.read(scope, &node, dir);
        node.done(&self.tree);
    }

    /// Ends the piece of work that [`Walk::spawn`] announced: by the end of the child's own node, or at once.
    fn visit<'s>(&'s self, scope: &Scope<'s>, parent: &Arc<Node>, parent_dir: &OwnedFd, name: &CStr, link: bool) {
        if self.tree.watch.stopped() || parent.is_pruned() {
            return parent.done(&self.tree);
        }
        let flags = if link { OPEN_DIR } else { OPEN_DIR | OFlags::NOFOLLOW };
        let opened = fs::openat(parent_dir, name, flags, Mode::empty()).and_then(|dir| Ok((attributes(&dir)?, dir)));
        match opened {
            Ok((attributes, _)) if self.scan.left_out == Some(attributes.identity) => {
                parent.split(&self.tree);
                parent.done(&self.tree);
            }
            Ok((attributes, _)) if self.scan.one_file_system > 0 && attributes.identity.0 != parent.device() => {
                if self.scan.one_file_system == 1 {
                    parent.take(&self.tree, Item::Mount(name.to_bytes(), attributes));
                }
                parent.done(&self.tree);
            }
            Ok((attributes, dir)) => {
                let whole = if link { Some(KeptWhole::Link) } else { self.keep_whole(attributes, &dir) };
                let exposed = parent.exposes(attributes);
                let node = Node::new(Some(parent), parent.root(), name.to_bytes(), attributes, exposed, whole);
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
                    parent.take(&self.tree, Item::Names(&one));
                }
                parent.done(&self.tree);
            }
        }
    }

    fn unread(&self, parent: &Node, name: &[u8], errno: Errno) {
        let path = below(&parent.path(), name);
        let root = parent.root();
        if errno == Errno::MFILE || errno == Errno::NFILE {
            self.tree.tell(Event::KeptWhole { root, path: &path, why: KeptWhole::NoDescriptor });
        } else {
            self.tree.tell(Event::Error(ScanError {
                root,
                path,
                attempted: "open directory",
                errno,
                in_unit: errno != Errno::NOENT,
            }));
        }
    }

    fn keep_whole(&self, attributes: Attributes, dir: &OwnedFd) -> Option<KeptWhole> {
        if self.scan.keep_locked_whole && attributes.mode & USER_RWX != USER_RWX {
            return Some(KeptWhole::Locked);
        }
        let is_there = |name: &OsString| fs::statat(dir, &**name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        self.scan.merge_files.iter().any(is_there).then_some(KeptWhole::MergeFile)
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
                        let error =
                            ScanError { root: node.root(), path, attempted: "read directory", errno, in_unit: false };
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
                let kind = match entry.file_type() {
                    FileType::Unknown if self.scan.follow != Follow::Nothing => self.kind(&dir, name),
                    kind => kind,
                };
                let follow = kind == FileType::Symlink && self.scan.follow != Follow::Nothing && !node.is_in_link();
                let found = match kind {
                    FileType::Directory => Found { kind: FileType::Directory, bytes: 0, linked: None },
                    FileType::Symlink if follow => self.look_through(node, &dir, name),
                    FileType::RegularFile | FileType::Unknown => match self.look_up(node, &dir, name) {
                        Some(found) => found,
                        None => continue,
                    },
                    _ if self.scan.hard_links => match self.look_up(node, &dir, name) {
                        Some(found) => found,
                        None => continue,
                    },
                    kind => Found { kind, bytes: 0, linked: None },
                };
                let weight = Weight { entries: 1, bytes: found.bytes };
                let excluded = || self.scan.prune.excludes(name.to_bytes(), || below(&node.path(), name.to_bytes()));
                if found.kind == FileType::Directory && !excluded() {
                    directories += 1;
                    self.spawn(scope, node, &dir, name.to_owned(), follow);
                } else if let Some((inode, names)) = found.linked {
                    self.tree.watch.count(0, weight);
                    let linked = LinkedName { name: name.to_bytes().into(), weight, inode, names };
                    node.take(&self.tree, Item::Linked(linked));
                } else {
                    batch.push(name.to_bytes(), weight);
                    if batch.weights.len() == BATCH {
                        self.flush(node, &mut batch, &mut directories);
                        if node.is_pruned() {
                            return;
                        }
                    }
                }
            }
        });
        self.flush(node, &mut batch, &mut directories);
    }

    fn spawn<'s>(&'s self, scope: &Scope<'s>, node: &Arc<Node>, dir: &Arc<OwnedFd>, name: CString, link: bool) {
        let (node, dir) = (Arc::clone(node), Arc::clone(dir));
        node.expect_child();
        scope.spawn(move |scope| self.visit(scope, &node, &dir, &name, link));
    }

    fn kind(&self, dir: &OwnedFd, name: &CStr) -> FileType {
        let stat = fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE);
        stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.stx_mode.into()))
    }

    /// What a link leads to. One that leads nowhere is a unit all the same: rsync complains of it, and deletes nothing then, if it
    /// follows all links; else it copies the link.
    fn look_through(&self, node: &Node, dir: &OwnedFd, name: &CStr) -> Found {
        let link = Found { kind: FileType::Symlink, bytes: 0, linked: None };
        match fs::statx(dir, name, AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE | StatxFlags::SIZE) {
            Ok(stat) => match FileType::from_raw_mode(stat.stx_mode.into()) {
                FileType::Directory => Found { kind: FileType::Directory, ..link },
                kind if self.scan.follow == Follow::All => Found { kind, bytes: stat.stx_size, linked: None },
                _ => link,
            },
            Err(errno) => {
                if self.scan.follow == Follow::All {
                    let path = below(&node.path(), name.to_bytes());
                    let root = node.root();
                    self.tree.tell(Event::Error(ScanError {
                        root,
                        path,
                        attempted: "follow link",
                        errno,
                        in_unit: true,
                    }));
                }
                link
            }
        }
    }

    fn flush(&self, node: &Arc<Node>, batch: &mut Names, directories: &mut u64) {
        let weight = batch.weight() + Weight { entries: *directories, bytes: 0 };
        self.tree.watch.count(*directories, weight);
        *directories = 0;
        if !batch.weights.is_empty() {
            node.take(&self.tree, Item::Names(batch));
            batch.clear();
        }
    }

    /// What the directory itself does not tell of an entry. An entry that cannot be looked up is still a unit, of no known length,
    /// so that rsync meets it and says so; one that vanished is not.
    fn look_up(&self, node: &Node, dir: &OwnedFd, name: &CStr) -> Option<Found> {
        let mut wanted = StatxFlags::TYPE | StatxFlags::SIZE;
        if self.scan.hard_links {
            wanted |= StatxFlags::NLINK | StatxFlags::INO;
        }
        match fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, wanted) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.stx_mode.into());
                let bytes = if kind == FileType::RegularFile { stat.stx_size } else { 0 };
                let linked = (self.scan.hard_links && stat.stx_nlink > 1).then(|| (identity(&stat), stat.stx_nlink));
                Some(Found { kind, bytes, linked })
            }
            Err(errno) => {
                let path = below(&node.path(), name.to_bytes());
                let vanished = errno == Errno::NOENT;
                let error = ScanError { root: node.root(), path, attempted: "look up", errno, in_unit: !vanished };
                self.tree.tell(Event::Error(error));
                (!vanished).then_some(Found { kind: FileType::RegularFile, bytes: 0, linked: None })
            }
        }
    }
}

/// What is known of a name.
struct Found {
    kind: FileType,
    bytes: u64,
    /// Inode and number of names, if it has several and that matters.
    linked: Option<((u64, u64), u32)>,
}

fn identity(stat: &fs::Statx) -> (u64, u64) {
    (fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}

fn attributes(dir: impl AsFd) -> rustix::io::Result<Attributes> {
    let wanted = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID | StatxFlags::INO;
    let stat = fs::statx(dir, c"", AtFlags::EMPTY_PATH, wanted)?;
    Ok(Attributes { mode: u32::from(stat.stx_mode) & 0o7777, owner: stat.stx_uid, identity: identity(&stat) })
}
