//! The messages between those who read directories ([`Reader`](super::Reader)) and the part that makes units of them ([`Divided`](super::Divided)).

use rustix::io::Errno;

use super::subtree::LinkedName;
use super::{KeptWhole, Limits, Weight};

/// A component of a path: a name, and whether it is a symbolic link that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// A file name.
    pub name: Vec<u8>,
    /// Whether it is a link that leads to a directory.
    pub link: bool,
}

/// A directory that a reader is given, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Its number, which is unique among the directories of the reader.
    pub id: u64,
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// The path from the root's base; empty for the base itself.
    pub steps: Vec<Step>,
}

/// A message to a reader.
#[derive(Debug)]
pub enum Order {
    /// Read these.
    Read(Vec<Handed>),
    /// Give back this number of directories that are not begun. Those that were found first are given back, because they are likely to be the largest.
    Give(usize),
    /// Nothing below this directory is needed any more.
    Drop(u64),
    /// The limits of units. A directory without sub-directories that is within these limits is one unit in any case, so its names need not be reported.
    Limits(Limits),
}

/// A message from a reader.
#[derive(Debug)]
pub enum Said<'a> {
    /// Contents of a directory.
    Part(Part<'a>),
    /// Directories that it gives back because it has not begun them.
    Given(Vec<u64>),
}

/// The contents of a directory, or some of them. Parts come in any order, except for the first and the last one.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// The number of the directory.
    pub id: u64,
    /// How opening the directory ended; in the first part.
    pub met: Option<Met>,
    /// Names that each end with a NUL: all except those in the fields below.
    pub names: &'a [u8],
    /// The weight of each of these names.
    pub weights: &'a [Weight],
    /// Names of files that have several names.
    pub linked: Vec<Linked>,
    /// Sub-directories, which the reader reads too. They are numbered consecutively from [`Part::children`].
    pub directories: Vec<Step>,
    /// The number of the first sub-directory.
    pub children: u64,
    /// Entries that could not be read.
    pub unread: Vec<Unread>,
    /// Whether this is the last part of the directory.
    pub is_last: bool,
}

impl Part<'_> {
    /// A part that only tells how opening the directory ended.
    pub fn only(id: u64, met: Met) -> Part<'static> {
        Part { id, met: Some(met), is_last: true, ..Part::default() }
    }
}

/// How opening a directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It was opened.
    Opened(Opened),
    /// It was opened and read, and is one unit: this is the weight of its contents.
    Leaf(Opened, Weight),
    /// It could not be opened.
    Unopened(Errno),
    /// It is on another file system than the root of its scan, and this reader does not read it.
    Elsewhere,
    /// It was not opened, because a directory above it was dropped.
    Dropped,
}

/// Attributes of a directory that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Permission bits.
    pub mode: u32,
    /// The user ID of its owner.
    pub owner: u32,
    /// Device and inode. The device is only valid on the machine that puts the tree together.
    pub identity: (u64, u64),
    /// Why it must not be split.
    pub whole: Option<KeptWhole>,
}

/// A name of a file that has several names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The name.
    pub name: Vec<u8>,
    /// Its weight.
    pub weight: Weight,
    /// Its device and inode. The device is that of its directory.
    pub inode: (u64, u64),
    /// The link count of the file.
    pub names: u32,
}

impl Linked {
    /// Converts to the form that the tree uses, with the device as this machine sees it.
    pub(super) fn within(self, device: u64) -> LinkedName {
        let Linked { name, weight, inode, names } = self;
        LinkedName { name: name.into(), weight, inode: (device, inode.1), names }
    }
}

/// An entry that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The name; empty for the directory itself.
    pub name: Vec<u8>,
    /// What was attempted.
    pub attempted: &'static str,
    /// Why it failed.
    pub errno: Errno,
    /// Whether the name is a unit nevertheless.
    pub in_unit: bool,
}
