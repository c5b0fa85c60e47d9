//! What the walker asks the file system about names, and what they tell of the answers.
//!
//! Names are looked up relative to their directory's handle, and followed only where rsync follows links. Only what the directory
//! itself does not tell is looked up: the length of a regular file, the kind where listings leave it out, and inodes if hard links
//! matter.
//!
//! What makes a system call for each name or directory is inlined into the loop over them. Where Linux protects AMD's processors by
//! "Safe RET" (spec_rstack_overflow), a function that returned after its call made the next one 250 ns slower: a million entries
//! took one thread 1.69 s, and 1.44 s inlined.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::observe::{LOOKED_AT, Listing, Observer, Seen};
use super::subtree::{Attributes, Item, LinkedName, Node, Tree, below};
use super::{Event, Follow, KeptWhole, Names, Root, Scan, ScanError, Weight};
use crate::error::{Error, Result};

/// Bytes of directory entries read at once. From 4 KiB to 32 KiB made no difference; what no longer fits the processor's cache did.
pub(super) const READ_AT_ONCE: usize = 8 * 1024;
/// What was attempted, in errors.
pub(super) const OPEN_DIRECTORY: &str = "open directory";
pub(super) const READ_DIRECTORY: &str = "read directory";
pub(super) const LOOK_UP: &str = "look up";
pub(super) const FOLLOW_LINK: &str = "follow link";

const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const USER_RWX: u32 = 0o700;

/// What a walker works with.
pub(super) struct Look<'a> {
    pub tree: Tree<'a>,
    pub scan: &'a Scan,
    pub observer: Option<&'a dyn Observer>,
}

/// What is known of a name.
pub(super) struct Found {
    pub kind: FileType,
    pub bytes: u64,
    /// Inode and number of names, if it has several and that matters.
    pub linked: Option<((u64, u64), u32)>,
}

impl Found {
    /// Of an entry that cannot be looked up.
    pub const UNKNOWN: Found = Found { kind: FileType::RegularFile, bytes: 0, linked: None };
}

/// Names that each end with a NUL.
pub(super) fn c_strings(mut names: &[u8]) -> impl Iterator<Item = &CStr> {
    std::iter::from_fn(move || {
        let name = CStr::from_bytes_until_nul(names).ok()?;
        names = &names[name.count_bytes() + 1..];
        Some(name)
    })
}

/// Opens the base of a root, following links as rsync does with an argument.
pub(super) fn open_base(root: &Root) -> Result<OwnedFd> {
    try_open_base(root)
        .map_err(|errno| Error::io("open source directory", &root.base, errno).remedy("check that it may be entered"))
}

/// The same, with the error as it is.
pub(super) fn try_open_base(root: &Root) -> rustix::io::Result<OwnedFd> {
    // A base need not be readable: it may be entered by name only.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(&root.base, flags, Mode::empty())
}

/// Opens a directory by its name in another one, or through a link.
#[inline(always)]
pub(super) fn open_dir(above: impl AsFd, name: &CStr, link: bool) -> rustix::io::Result<(Attributes, OwnedFd)> {
    let flags = if link { OPEN_DIR } else { OPEN_DIR | OFlags::NOFOLLOW };
    let dir = fs::openat(above, name, flags, Mode::empty())?;
    Ok((attributes(&dir)?, dir))
}

/// Opens the directory of a root, whose base is open. The name of a root with a base only is empty.
pub(super) fn open_root<'r>(base: &OwnedFd, root: &'r Root) -> (&'r [u8], rustix::io::Result<(Attributes, OwnedFd)>) {
    let (name, opened) = match &root.name {
        None => (&b""[..], fs::openat(base, c".", OPEN_DIR, Mode::empty())),
        Some(name) => (name.as_bytes(), fs::openat(base, &**name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty())),
    };
    (name, opened.and_then(|dir| Ok((attributes(&dir)?, dir))))
}

/// Whether somebody else may put something in the place of the directory of a root.
pub(super) fn is_exposed(root: &Root, base: &OwnedFd, found: Attributes) -> bool {
    root.name.is_some() && attributes(base).is_ok_and(|base| base.lets_others_swap(found))
}

/// Whether a directory holds a link that may lead out of the source (it is absolute, or has a `..`), and not to a file: rules for directories
/// are about it, also where it leads nowhere, and then whether that is an error depends on them.
pub(crate) fn holds_unsafe_link(dir: impl AsFd) -> bool {
    let Ok(entries) = fs::Dir::read_from(&dir) else { return false };
    let may_be_unsafe = |name: &CStr| {
        let target = fs::readlinkat(&dir, name, Vec::new()).map(CString::into_bytes).unwrap_or_default();
        target.starts_with(b"/") || target.split(|byte| *byte == b'/').any(|part| part == b"..")
    };
    let leads_to_file = |name: &CStr| {
        let found = fs::statat(&dir, name, AtFlags::empty());
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Directory)
    };
    entries.flatten().any(|entry| {
        let may_be_link = matches!(entry.file_type(), FileType::Symlink | FileType::Unknown);
        may_be_link && may_be_unsafe(entry.file_name()) && !leads_to_file(entry.file_name())
    })
}

impl Look<'_> {
    /// See [`keep_whole`].
    pub fn keep_whole(&self, attributes: Attributes, dir: &OwnedFd) -> Option<KeptWhole> {
        keep_whole(self.scan, attributes.mode, dir)
    }

    /// Deals with a directory that was opened in another one, or was not. Gives its node if it is to be read; else the piece of work that was announced for it has
    /// ended. `whole` says why it must not be split.
    pub fn meet(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        link: bool,
        opened: rustix::io::Result<Attributes>,
        whole: impl FnOnce(Attributes) -> Option<KeptWhole>,
    ) -> Option<Arc<Node>> {
        let Look { tree, scan, .. } = self;
        match opened {
            Ok(attributes) if scan.left_out == Some(attributes.identity) && !parent.is_too_long() => parent.split(tree),
            Ok(attributes) if scan.one_file_system > 0 && attributes.identity.0 != parent.device() => {
                if scan.one_file_system == 1 {
                    parent.take(tree, Item::Mount(name, attributes));
                }
            }
            Ok(attributes) => {
                let whole = if link { Some(KeptWhole::Link) } else { whole(attributes) };
                let exposed = parent.exposes(attributes);
                return Some(Node::new(Some(parent), parent.root(), name, attributes, exposed, whole));
            }
            Err(errno) => self.unread(parent, name, errno),
        }
        // Nothing in it is to be found.
        tree.watch.count_in(parent.depth() + 1, 0, Weight::default(), true);
        parent.done(tree);
        None
    }

    fn unread(&self, parent: &Arc<Node>, name: &[u8], errno: Errno) {
        if self.scan.gitignore && may_hold_ignored(errno) {
            self.tell_error(parent, name, OPEN_DIRECTORY, errno, false);
            return parent.split(&self.tree);
        }
        match errno {
            Errno::MFILE | Errno::NFILE => {
                let path = below(&parent.path(), name);
                self.tree.tell(Event::KeptWhole { root: parent.root(), path: &path, why: KeptWhole::NoDescriptor });
            }
            // Another process replaced it by something else, and it is copied as what it is now.
            Errno::NOTDIR | Errno::LOOP => {}
            _ => self.tell_error(parent, name, OPEN_DIRECTORY, errno, errno != Errno::NOENT),
        }
        if errno != Errno::NOENT {
            let mut one = Names::default();
            one.push_bytes(name, Weight { entries: 1, bytes: 0 });
            parent.take(&self.tree, Item::Names(&one));
        }
    }

    /// Whether a directory of this name is not entered.
    pub fn excludes(&self, node: &Node, name: &[u8]) -> bool {
        self.scan.prune.excludes(name, || below(&node.path(), name))
    }

    /// Gives names to the node of their directory: those of `known`, and after looking them up those of `listed`, each ended by a NUL.
    /// Counts them, and the `directories` found besides. What turns out to be a directory that is entered goes to `enter` instead, which
    /// hears whether it is one by way of a link. `is_read` says that the directory has nothing more.
    #[expect(clippy::too_many_arguments, reason = "one call for each portion")]
    pub fn take(
        &self,
        node: &Arc<Node>,
        dir: &OwnedFd,
        listed: &[u8],
        known: &mut Names,
        mut directories: u64,
        is_read: bool,
        mut enter: impl FnMut(&CStr, bool),
    ) {
        let mut linked = Weight::default();
        let mut seen = Vec::new();
        for name in c_strings(listed) {
            let Some(mut found) = self.look_up(node, dir, name, &mut seen) else { continue };
            let link = found.kind == FileType::Symlink && self.scan.follow != Follow::Nothing && !node.is_in_link();
            if link {
                found = self.look_through(node, dir, name);
            }
            let weight = Weight { entries: 1, bytes: found.bytes };
            if found.kind == FileType::Directory && !self.excludes(node, name.to_bytes()) {
                directories += 1;
                enter(name, link);
            } else if let Some((inode, names)) = found.linked {
                linked += weight;
                let linked = LinkedName { name: name.to_bytes().into(), weight, inode, names };
                node.take(&self.tree, Item::Linked(linked));
            } else {
                known.push(name, weight);
            }
        }
        if let Some(observer) = self.observer.filter(|_| !seen.is_empty()) {
            observer.entries(&Listing { node, dir }, &seen);
        }
        let weight = known.weight() + linked + Weight { entries: directories, bytes: 0 };
        self.tree.watch.count_in(node.depth(), directories, weight, is_read);
        if !known.weights.is_empty() {
            node.take(&self.tree, Item::Names(known));
        }
    }

    /// What the directory itself does not tell of an entry. An entry that cannot be looked up is still a unit, of no known length,
    /// so that rsync meets it and says so; one that vanished is not.
    #[inline(always)]
    fn look_up<'n>(&self, node: &Node, dir: &OwnedFd, name: &'n CStr, seen: &mut Vec<Seen<'n>>) -> Option<Found> {
        match look_up(self.scan, self.observer.is_some(), dir, name) {
            Ok((found, stat)) => {
                if self.observer.is_some() && found.kind != FileType::Directory {
                    seen.push(Seen::of(name.to_bytes(), &stat));
                }
                Some(found)
            }
            Err(errno) => {
                let vanished = errno == Errno::NOENT;
                self.tell_error(node, name.to_bytes(), LOOK_UP, errno, !vanished);
                (!vanished).then_some(Found::UNKNOWN)
            }
        }
    }

    /// See [`look_through`].
    fn look_through(&self, node: &Node, dir: &OwnedFd, name: &CStr) -> Found {
        let (found, failed) = look_through(self.scan, dir, name);
        if let Some(errno) = failed {
            self.tell_error(node, name.to_bytes(), FOLLOW_LINK, errno, true);
        }
        found
    }

    /// Tells that something below a directory could not be read; `name` is empty for the directory itself.
    pub fn tell_error(&self, node: &Node, name: &[u8], attempted: &'static str, errno: Errno, in_unit: bool) {
        let path = if name.is_empty() { node.path() } else { below(&node.path(), name) };
        self.tree.tell(Event::Error(ScanError { root: node.root(), path, attempted, errno, in_unit }));
    }

    /// Tells a root that cannot be opened: as one unit, because rsync has to meet it as well, unless it is left out.
    pub fn tell_unread_root(&self, root: u32, name: &[u8], errno: Errno, left_out: bool) {
        let (path, in_unit) = (name.to_vec(), errno != Errno::NOENT && !left_out);
        self.tree.tell(Event::Error(ScanError { root, path, attempted: OPEN_DIRECTORY, errno, in_unit }));
        if !left_out {
            self.tree.unread_root(root, name);
        }
    }
}

/// Why a directory that was opened must not be split.
pub(super) fn keep_whole(scan: &Scan, mode: u32, dir: &OwnedFd) -> Option<KeptWhole> {
    if let Some(why) = locked(scan, mode) {
        return Some(why);
    }
    let is_there = |name: &OsString| fs::statat(dir, &**name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if scan.merge_files.iter().any(is_there) {
        return Some(KeptWhole::MergeFile);
    }
    (scan.unsafe_links_whole && holds_unsafe_link(dir)).then_some(KeptWhole::UnsafeLink)
}

/// As far as its mode is the reason.
pub(crate) fn locked(scan: &Scan, mode: u32) -> Option<KeptWhole> {
    (scan.keep_locked_whole && mode & USER_RWX != USER_RWX).then_some(KeptWhole::Locked)
}

/// Whether more must be known of an entry than what a listing says: that it is of this kind. With `observed` all of it is.
pub(super) fn needs_more(scan: &Scan, observed: bool, kind: FileType) -> bool {
    match kind {
        FileType::RegularFile | FileType::Unknown => true,
        FileType::Symlink if scan.follow != Follow::Nothing => true,
        _ => scan.hard_links || observed,
    }
}

/// Whether rsync may be able to read a directory that could not be opened, and would copy what is ignored in it.
pub(super) fn may_hold_ignored(errno: Errno) -> bool {
    !matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// What the directory itself does not tell of an entry.
#[inline(always)]
pub(super) fn look_up(
    scan: &Scan,
    observed: bool,
    dir: &OwnedFd,
    name: &CStr,
) -> rustix::io::Result<(Found, fs::Statx)> {
    let mut wanted = StatxFlags::TYPE | StatxFlags::SIZE;
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if scan.hard_links {
        wanted |= StatxFlags::NLINK | StatxFlags::INO;
    } else {
        // A length may be as old as the client's cache: half the requests where looking a name up brings it along.
        flags |= AtFlags::STATX_DONT_SYNC;
    }
    if observed {
        wanted |= LOOKED_AT;
    }
    let stat = fs::statx(dir, name, flags, wanted)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let bytes = if kind == FileType::RegularFile { stat.stx_size } else { 0 };
    let names = if scan.found_again { u32::MAX } else { stat.stx_nlink };
    let linked = (scan.hard_links && stat.stx_nlink > 1).then(|| (identity(&stat), names));
    Ok((Found { kind, bytes, linked }, stat))
}

/// What a link leads to. One that leads nowhere is a unit all the same: rsync complains of it, and deletes nothing then, if it
/// follows all links; else it copies the link.
pub(super) fn look_through(scan: &Scan, dir: &OwnedFd, name: &CStr) -> (Found, Option<Errno>) {
    let link = Found { kind: FileType::Symlink, bytes: 0, linked: None };
    match fs::statx(dir, name, AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE | StatxFlags::SIZE) {
        Ok(stat) => match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => (Found { kind: FileType::Directory, ..link }, None),
            kind if scan.follow == Follow::All => (Found { kind, bytes: stat.stx_size, linked: None }, None),
            _ => (link, None),
        },
        Err(errno) => (link, (scan.follow == Follow::All).then_some(errno)),
    }
}

/// The kind of a name of which the listing does not tell it.
pub(super) fn kind_of(dir: impl AsFd, name: &CStr) -> FileType {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    fs::statx(dir, name, flags, StatxFlags::TYPE)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.stx_mode.into()))
}

fn identity(stat: &fs::Statx) -> (u64, u64) {
    (fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}

#[inline(always)]
pub(super) fn attributes(dir: impl AsFd) -> rustix::io::Result<Attributes> {
    let wanted = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID | StatxFlags::INO;
    let stat = fs::statx(dir, c"", AtFlags::EMPTY_PATH, wanted)?;
    Ok(Attributes { mode: u32::from(stat.stx_mode) & 0o7777, owner: stat.stx_uid, identity: identity(&stat) })
}
