//! Compares one name in two directories: its attributes and its content, but never what lies below it.
//!
//! Everything is accessed through the handles of the two directories, so that the length of the path does not matter. Only regular files are opened, and
//! without blocking, in case one has just become a FIFO.

use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, lgetxattr, llistxattr, openat, readlinkat, statx,
};
use rustix::io::{Errno, read};

use super::links::FileId;
use super::{Both, Content, DifferenceKind, Mtime, Options, Side};

/// Files are compared in blocks of this many bytes. Also the largest list or value of extended attributes that can be read, so
/// not less than 64 KiB (xattr(7), `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`).
const BLOCK: usize = 128 * 1024;

/// Allocated bytes that never count as a difference: file systems round up and preallocate.
const HOLE_SLACK: u64 = 64 * 1024;
/// The part of the allocated bytes, as a divisor, that does not count either.
const HOLE_SLACK_SHARE: u64 = 64;

/// Space for a block of each side.
pub(super) type Buffers = Both<Vec<u8>>;

pub(super) fn buffers() -> Buffers {
    Both { left: vec![0; BLOCK], right: vec![0; BLOCK] }
}

/// The result of a pair for the walk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// Two directories, whose content is still to be compared.
    Dirs,
    /// Other things of one type, at least one of them with more than one link.
    Linked(Both<FileId>),
    /// Nothing more to do.
    Done,
}

/// Compares the entries called `name` in both directories and passes every difference to `found`.
pub(super) fn compare(
    options: &Options,
    dirs: Both<&OwnedFd>,
    name: &CStr,
    buffers: &mut Buffers,
    found: &mut dyn FnMut(DifferenceKind),
) -> Outcome {
    let stats = dirs.map(|dir| statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS));
    let stats = match stats.all() {
        Ok(stats) => stats,
        Err(errors) => {
            unreadable(errors, found);
            return Outcome::Done;
        }
    };
    let kinds = stats.as_ref().map(file_type);
    if kinds.differ() {
        let letters = kinds.map(letter);
        found(DifferenceKind::Type { left: letters.left, right: letters.right });
        return Outcome::Done;
    }
    let kind = kinds.left;

    inode(options, kind, stats.as_ref(), found);
    if options.xattrs {
        xattrs(dirs, name, buffers, found);
    }
    match kind {
        FileType::RegularFile => {
            let sizes = stats.as_ref().map(|stat| stat.stx_size);
            if sizes.differ() {
                found(DifferenceKind::Size { left: sizes.left, right: sizes.right });
            } else {
                if options.holes {
                    holes(stats.as_ref(), found);
                }
                if options.content == Content::Bytes {
                    content(dirs, name, buffers, found);
                }
            }
        }
        FileType::Symlink => {
            let targets = dirs.map(|dir| readlinkat(dir, name, Vec::new()));
            match targets.all() {
                Ok(targets) if targets.as_ref().differ() => {
                    let targets = targets.map(CString::into_bytes);
                    found(DifferenceKind::LinkTarget { left: targets.left, right: targets.right });
                }
                Ok(_) => {}
                Err(errors) => unreadable(errors, found),
            }
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            let numbers = stats.as_ref().map(|stat| (stat.stx_rdev_major, stat.stx_rdev_minor));
            if numbers.differ() {
                found(DifferenceKind::Device { left: numbers.left, right: numbers.right });
            }
        }
        _ => {}
    }

    if kind == FileType::Directory {
        Outcome::Dirs
    } else if options.hard_links && (stats.left.stx_nlink > 1 || stats.right.stx_nlink > 1) {
        Outcome::Linked(stats.as_ref().map(file_id))
    } else {
        Outcome::Done
    }
}

/// Passes the errors of a call on both sides to `found`.
pub(super) fn unreadable(errors: Vec<(Side, Errno)>, found: &mut dyn FnMut(DifferenceKind)) {
    for (side, errno) in errors {
        found(DifferenceKind::Unreadable { side, errno: errno.raw_os_error() });
    }
}

fn inode(options: &Options, kind: FileType, stats: Both<&Statx>, found: &mut dyn FnMut(DifferenceKind)) {
    let bits = stats.map(|stat| u32::from(stat.stx_mode) & 0o7777);
    if options.perms && kind != FileType::Symlink && bits.differ() {
        found(DifferenceKind::Mode { left: bits.left, right: bits.right });
    }
    let owners = stats.map(|stat| stat.stx_uid);
    if options.owner && owners.differ() {
        found(DifferenceKind::Owner { left: owners.left, right: owners.right });
    }
    let groups = stats.map(|stat| stat.stx_gid);
    if options.group && groups.differ() {
        found(DifferenceKind::Group { left: groups.left, right: groups.right });
    }

    let counts = match kind {
        FileType::Directory => options.dir_mtime,
        FileType::Symlink => options.link_mtime,
        _ => true,
    };
    let times = stats.map(|stat| (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec));
    let differ = match options.mtime {
        Mtime::Ignore => false,
        Mtime::Seconds => times.map(|time| time.0).differ(),
        Mtime::Nanoseconds => times.differ(),
    };
    if counts && differ {
        found(DifferenceKind::Mtime { left: times.left, right: times.right });
    }
}

/// Compares allocated space, without what is preallocated beyond the end of the file.
fn holes(stats: Both<&Statx>, found: &mut dyn FnMut(DifferenceKind)) {
    let allocated = stats.map(|stat| stat.stx_blocks.saturating_mul(512).min(stat.stx_size));
    let larger = allocated.left.max(allocated.right);
    if allocated.left.abs_diff(allocated.right) > HOLE_SLACK + larger / HOLE_SLACK_SHARE {
        found(DifferenceKind::Holes { left: allocated.left, right: allocated.right });
    }
}

fn content(dirs: Both<&OwnedFd>, name: &CStr, buffers: &mut Buffers, found: &mut dyn FnMut(DifferenceKind)) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let files = match dirs.map(|dir| openat(dir, name, flags, Mode::empty())).all() {
        Ok(files) => files,
        Err(errors) => return unreadable(errors, found),
    };
    loop {
        let filled = Both { left: fill(&files.left, &mut buffers.left), right: fill(&files.right, &mut buffers.right) };
        let filled = match filled.all() {
            Ok(filled) => filled,
            Err(errors) => return unreadable(errors, found),
        };
        if buffers.left[..filled.left] != buffers.right[..filled.right] {
            return found(DifferenceKind::Content);
        }
        if filled.left < BLOCK {
            return;
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn xattrs(dirs: Both<&OwnedFd>, name: &CStr, buffers: &mut Buffers, found: &mut dyn FnMut(DifferenceKind)) {
    let paths = dirs.map(|dir| proc_path(dir, name));
    let lists = Both {
        left: xattr_names(&paths.left, &mut buffers.left),
        right: xattr_names(&paths.right, &mut buffers.right),
    };
    let lists = match lists.all() {
        Ok(lists) => lists,
        Err(errors) => return unreadable(errors, found),
    };
    for (name, sides) in merge(lists.left, lists.right) {
        if sides != Sides::Both {
            found(DifferenceKind::Xattr(name.into_bytes()));
            continue;
        }
        let lengths = Both {
            left: lgetxattr(&paths.left, &name, buffers.left.as_mut_slice()),
            right: lgetxattr(&paths.right, &name, buffers.right.as_mut_slice()),
        };
        match lengths.all() {
            Ok(lengths) if buffers.left[..lengths.left] == buffers.right[..lengths.right] => {}
            Ok(_) => found(DifferenceKind::Xattr(name.into_bytes())),
            Err(errors) => unreadable(errors, found),
        }
    }
}

/// A short path to `name` below an open directory, needed because before Linux 6.13 there are no calls for extended attributes relative to a handle, and a
/// symbolic link or a FIFO cannot be opened for them.
fn proc_path(dir: &OwnedFd, name: &CStr) -> CString {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).unwrap_or_default() // A `CStr` has no NUL byte within.
}

/// The names of the extended attributes, sorted. A file system without them has none.
fn xattr_names(path: &CStr, buffer: &mut [u8]) -> Result<Vec<CString>, Errno> {
    let length = match llistxattr(path, &mut *buffer) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let mut names: Vec<CString> = buffer[..length]
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|n| CStr::from_bytes_with_nul(n).ok())
        .map(CString::from)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Which sides have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sides {
    /// The left one only.
    Left,
    /// The right one only.
    Right,
    /// Both.
    Both,
}

/// The union of two sorted lists.
pub(super) fn merge(left: Vec<CString>, right: Vec<CString>) -> impl Iterator<Item = (CString, Sides)> {
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    std::iter::from_fn(move || {
        let order = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => l.cmp(r),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => Some((left.next()?, Sides::Left)),
            Ordering::Greater => Some((right.next()?, Sides::Right)),
            Ordering::Equal => {
                right.next();
                Some((left.next()?, Sides::Both))
            }
        }
    })
}

fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

fn file_id(stat: &Statx) -> FileId {
    (u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), stat.stx_ino)
}

/// The letter that find(1) and ls(1) use.
fn letter(kind: FileType) -> char {
    match kind {
        FileType::RegularFile => 'f',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Unknown => '?',
    }
}
