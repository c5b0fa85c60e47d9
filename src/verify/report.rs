//! The result of a comparison: differences and the report that contains them, with their text for users.
//!
//! Nothing here reads a tree.

use std::fmt;

use crate::entry::Printable;

/// The result of [`compare`](super::compare). Prints as one line per kept difference, and one more if others were not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of names that were looked at, on either side; the roots, and names below a name that only one side has, are not counted.
    pub entries: u64,
    /// The number of differences found.
    pub found: u64,
    /// The differences that were kept, sorted by path; all of them unless [`Options::keep`](super::Options::keep) was smaller. Which ones are kept then
    /// depends on the order in which the threads found them.
    pub differences: Vec<Difference>,
}

/// One attribute of one name that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The path relative to the roots, as bytes; `.` for the roots themselves.
    pub path: Vec<u8>,
    /// What differs.
    pub kind: DifferenceKind,
}

/// What differs, with the values of both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The right side has no such name. What lies below a directory is not listed.
    OnlyLeft,
    /// The left side has no such name. What lies below a directory is not listed.
    OnlyRight,
    /// Different types of file: `f` file, `d` directory, `l` symbolic link, `p` FIFO, `s` socket, `c` and `b` devices. Nothing
    /// else of this name is compared.
    Type {
        /// The type on the left.
        left: char,
        /// The type on the right.
        right: char,
    },
    /// Different permission bits, `0o7777` of the mode.
    Mode {
        /// The bits on the left.
        left: u32,
        /// The bits on the right.
        right: u32,
    },
    /// Different user ids.
    Owner {
        /// The user id on the left.
        left: u32,
        /// The user id on the right.
        right: u32,
    },
    /// Different group ids.
    Group {
        /// The group id on the left.
        left: u32,
        /// The group id on the right.
        right: u32,
    },
    /// Regular files of different sizes, in bytes. Their content is not read.
    Size {
        /// The size on the left.
        left: u64,
        /// The size on the right.
        right: u64,
    },
    /// Regular files of the same size with different bytes.
    Content,
    /// Different modification times: seconds since 1970 and nanoseconds.
    Mtime {
        /// The time on the left.
        left: (i64, u32),
        /// The time on the right.
        right: (i64, u32),
    },
    /// Symbolic links with different targets.
    LinkTarget {
        /// The target on the left.
        left: Vec<u8>,
        /// The target on the right.
        right: Vec<u8>,
    },
    /// Devices of the same type with different numbers.
    Device {
        /// Major and minor number on the left.
        left: (u32, u32),
        /// Major and minor number on the right.
        right: (u32, u32),
    },
    /// An extended attribute of this name is missing on one side, or its values differ.
    Xattr(Vec<u8>),
    /// The name is hard-linked to other names than on the other side. A group is identified by its first name in byte order, among the names that both sides
    /// have; each name whose groups begin differently is one difference.
    HardLinks {
        /// First name of the group on the left, which is the path itself for a group of one.
        left: Vec<u8>,
        /// First name of the group on the right.
        right: Vec<u8>,
    },
    /// Regular files of the same size with clearly different amounts of allocated bytes.
    Holes {
        /// Bytes allocated on the left.
        left: u64,
        /// Bytes allocated on the right.
        right: u64,
    },
    /// The name, or the content of the file or directory, cannot be read; what is below an unreadable directory is not compared.
    Unreadable {
        /// The side on which it cannot be read.
        side: Side,
        /// The error number of the failed call.
        errno: i32,
    },
}

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first one.
    Left,
    /// The second one.
    Right,
}

impl Report {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.found == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        match self.found - self.differences.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Printable::bytes(&self.path), self.kind)
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DifferenceKind::OnlyLeft => f.write_str("only left"),
            DifferenceKind::OnlyRight => f.write_str("only right"),
            DifferenceKind::Type { left, right } => write!(f, "type {left} left, {right} right"),
            DifferenceKind::Mode { left, right } => write!(f, "mode {left:04o} left, {right:04o} right"),
            DifferenceKind::Owner { left, right } => write!(f, "owner {left} left, {right} right"),
            DifferenceKind::Group { left, right } => write!(f, "group {left} left, {right} right"),
            DifferenceKind::Size { left, right } => write!(f, "size {left} left, {right} right"),
            DifferenceKind::Content => f.write_str("content"),
            DifferenceKind::Mtime { left, right } => {
                write!(f, "mtime {}.{:09} left, {}.{:09} right", left.0, left.1, right.0, right.1)
            }
            DifferenceKind::LinkTarget { left, right } => {
                write!(f, "link target '{}' left, '{}' right", Printable::bytes(left), Printable::bytes(right))
            }
            DifferenceKind::Device { left, right } => {
                write!(f, "device {}:{} left, {}:{} right", left.0, left.1, right.0, right.1)
            }
            DifferenceKind::Xattr(name) => write!(f, "extended attribute {}", Printable::bytes(name)),
            DifferenceKind::HardLinks { left, right } => {
                write!(f, "hard link of '{}' left, '{}' right", Printable::bytes(left), Printable::bytes(right))
            }
            DifferenceKind::Holes { left, right } => write!(f, "allocated bytes {left} left, {right} right"),
            DifferenceKind::Unreadable { side, errno } => {
                write!(f, "unreadable {side}: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Left => "left",
            Side::Right => "right",
        })
    }
}
