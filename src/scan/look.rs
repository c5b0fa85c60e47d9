//! Asks the file system about names for the walker, and reports errors.
//!
//! Names are looked up relative to their directory's handle, and symbolic links are followed only if rsync follows them. A name is looked up only if the
//! directory listing does not tell enough: for the length of a regular file, for the kind if the listing lacks it, and for inodes if hard links matter.
//!
//! Functions that make a system call for each name or directory are inlined into the loop over the names. On AMD processors with Linux's "Safe RET"
//! mitigation (spec_rstack_overflow), a function that returned after its system call made the next call 250 ns slower: a million entries took one thread 1.69
//! s, and 1.44 s inlined.

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

/// The buffer size for directory entries. Sizes from 4 KiB to 32 KiB made no difference; sizes that exceed the processor's cache were slower.
pub(super) const READ_AT_ONCE: usize = 8 * 1024;
/// The operations that error messages name.
pub(super) const OPEN_DIRECTORY: &str = "open directory";
pub(super) const READ_DIRECTORY: &str = "read directory";
pub(super) const LOOK_UP: &str = "look up";
pub(super) const FOLLOW_LINK: &str = "follow link";

const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const USER_RWX: u32 = 0o700;

/// The data that a walker works with.
pub(super) struct Look<'a> {
    pub tree: Tree<'a>,
    pub scan: &'a Scan,
    pub observer: Option<&'a dyn Observer>,
}

/// The result of looking up a name.
pub(super) struct Found {
    pub kind: FileType,
    pub bytes: u64,
    /// The inode and its link count, if it has several names and hard links matter.
    pub linked: Option<((u64, u64), u32)>,
}

impl Found {
    /// Used for an entry that cannot be looked up.
    pub const UNKNOWN: Found = Found { kind: FileType::RegularFile, bytes: 0, linked: None };
}

/// Iterates over names that each end with a NUL.
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
        .map_err(|errno| Error::io("open source directory", &root.base, errno).remedy("check that you may enter it"))
}

/// Like [`open_base`], but returns the plain error number.
pub(super) fn try_open_base(root: &Root) -> rustix::io::Result<OwnedFd> {
    // A base need not be readable: search permission is enough to reach a name in it.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(&root.base, flags, Mode::empty())
}

/// Opens a directory by its name in another directory; if `link`, the name is a symbolic link that is followed.
#[inline(always)]
pub(super) fn open_dir(above: impl AsFd, name: &CStr, link: bool) -> rustix::io::Result<(Attributes, OwnedFd)> {
    let flags = if link { OPEN_DIR } else { OPEN_DIR | OFlags::NOFOLLOW };
    let dir = fs::openat(above, name, flags, Mode::empty())?;
    Ok((attributes(&dir)?, dir))
}

/// Opens the directory of a root whose base is open, and returns its name, which is empty for a root without a name.
pub(super) fn open_root<'r>(base: &OwnedFd, root: &'r Root) -> (&'r [u8], rustix::io::Result<(Attributes, OwnedFd)>) {
    let (name, opened) = match &root.name {
        None => (&b""[..], fs::openat(base, c".", OPEN_DIR, Mode::empty())),
        Some(name) => (name.as_bytes(), fs::openat(base, &**name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty())),
    };
    (name, opened.and_then(|dir| Ok((attributes(&dir)?, dir))))
}

/// Whether another user could put something else in the place of the root's directory.
pub(super) fn is_exposed(root: &Root, base: &OwnedFd, found: Attributes) -> bool {
    root.name.is_some() && attributes(base).is_ok_and(|base| base.lets_others_swap(found))
}

/// Whether a directory contains a link that may lead out of the source (it is absolute, or contains `..`), and does not lead to a file: rules for directories
/// apply to it. A dangling link counts too, because the rules decide whether it is an error.
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
    /// Calls [`keep_whole`] with the options of this scan.
    pub fn keep_whole(&self, attributes: Attributes, dir: &OwnedFd) -> Option<KeptWhole> {
        keep_whole(self.scan, attributes.mode, dir)
    }

    /// Handles the attempt to open a directory inside another one. Returns its node if it is to be read. Otherwise ends the piece of work that was announced
    /// for it. `whole` says why it must not be split.
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
        // The directory is counted as read, because nothing in it will be counted.
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
            // Another process has replaced the directory by something else, which is copied as what it is now.
            Errno::NOTDIR | Errno::LOOP => {}
            _ => self.tell_error(parent, name, OPEN_DIRECTORY, errno, errno != Errno::NOENT),
        }
        if errno != Errno::NOENT {
            let mut one = Names::default();
            one.push_bytes(name, Weight { entries: 1, bytes: 0 });
            parent.take(&self.tree, Item::Names(&one));
        }
    }

    /// Whether a directory of this name is excluded, and therefore not entered.
    pub fn excludes(&self, node: &Node, name: &[u8]) -> bool {
        self.scan.prune.excludes(name, || below(&node.path(), name))
    }

    /// Gives names, each ended by a NUL, to the node of their directory: those in `known` as they are, those in `listed` after looking them up. Counts them,
    /// and `directories` that were found as well. If a name turns out to be a directory that is to be entered, `enter` gets it instead, and is told whether
    /// it was reached through a link. `is_read` means that the directory is complete.
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

    /// Looks up what the listing does not tell about an entry. If the lookup fails, the entry is still a unit, of unknown length, so that rsync meets the
    /// error and reports it; an entry that has vanished is no unit.
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

    /// Calls [`look_through`], and reports its error.
    fn look_through(&self, node: &Node, dir: &OwnedFd, name: &CStr) -> Found {
        let (found, failed) = look_through(self.scan, dir, name);
        if let Some(errno) = failed {
            self.tell_error(node, name.to_bytes(), FOLLOW_LINK, errno, true);
        }
        found
    }

    /// Reports that something below a directory could not be read; `name` is empty for the directory itself.
    pub fn tell_error(&self, node: &Node, name: &[u8], attempted: &'static str, errno: Errno, in_unit: bool) {
        let path = if name.is_empty() { node.path() } else { below(&node.path(), name) };
        self.tree.tell(Event::Error(ScanError { root: node.root(), path, attempted, errno, in_unit }));
    }

    /// Reports a root that cannot be opened. It becomes a unit, so that rsync meets the error as well, unless it is left out.
    pub fn tell_unread_root(&self, root: u32, name: &[u8], errno: Errno, left_out: bool) {
        let (path, in_unit) = (name.to_vec(), errno != Errno::NOENT && !left_out);
        self.tree.tell(Event::Error(ScanError { root, path, attempted: OPEN_DIRECTORY, errno, in_unit }));
        if !left_out {
            self.tree.unread_root(root, name);
        }
    }
}

/// Why an opened directory must not be split, if so.
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

/// Like [`keep_whole`], but checks only the mode.
pub(crate) fn locked(scan: &Scan, mode: u32) -> Option<KeptWhole> {
    (scan.keep_locked_whole && mode & USER_RWX != USER_RWX).then_some(KeptWhole::Locked)
}

/// Whether an entry of this kind must be looked up because the listing does not tell enough. If `observed`, every entry is looked up.
pub(super) fn needs_more(scan: &Scan, observed: bool, kind: FileType) -> bool {
    match kind {
        FileType::RegularFile | FileType::Unknown => true,
        FileType::Symlink if scan.follow != Follow::Nothing => true,
        _ => scan.hard_links || observed,
    }
}

/// Whether rsync might be able to read a directory that could not be opened here, and would then copy ignored entries in it.
pub(super) fn may_hold_ignored(errno: Errno) -> bool {
    !matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Looks up what the listing does not tell about an entry.
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
        // A cached length is good enough: if the name's lookup already brings attributes along, this halves the requests to the server.
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

/// Looks up the target of a link. A dangling link is still a unit: if rsync follows all links, it reports an error, and then deletes nothing; otherwise it
/// copies the link.
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

/// The kind of an entry, if the listing does not tell it.
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
