//! What is said between who reads directories ([`Reader`](super::Reader)) and who makes units of them ([`Divided`](super::Divided)).

use rustix::io::Errno;

use super::subtree::LinkedName;
use super::{KeptWhole, Limits, Weight};

/// A part of a path: a name, and whether a link of that name is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// A file name.
    pub name: Vec<u8>,
    /// It is a link that leads to a directory.
    pub link: bool,
}

/// A directory that somebody is to read, with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Its number, which no other directory of the same reader has.
    pub id: u64,
    /// Index into [`Scan::roots`](super::Scan::roots).
    pub root: u32,
    /// The way from the root's base; empty for the base itself.
    pub steps: Vec<Step>,
}

/// What a reader is told.
#[derive(Debug)]
pub enum Order {
    /// Read these.
    Read(Vec<Handed>),
    /// Give back as many that are not begun, those that were found first: the largest, as far as anybody knows.
    Give(usize),
    /// Nothing below this one is of interest any more.
    Drop(u64),
    /// A directory that holds nothing but names, and is within these, is a unit whatever else there is: its names are of no interest.
    Limits(Limits),
}

/// What a reader says.
#[derive(Debug)]
pub enum Said<'a> {
    /// Something of a directory.
    Part(Part<'a>),
    /// Directories that it gives back, not begun.
    Given(Vec<u64>),
}

/// What was found in a directory, or some of it: parts come in any order, but for the first and the last.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// Its number.
    pub id: u64,
    /// How it was met; in the first part.
    pub met: Option<Met>,
    /// Names that each end with a NUL: all but those that follow.
    pub names: &'a [u8],
    /// What each of them weighs.
    pub weights: &'a [Weight],
    /// Names of files that have others.
    pub linked: Vec<Linked>,
    /// Directories, which the reader reads too. They are numbered upwards from [`Part::children`].
    pub directories: Vec<Step>,
    /// Number of the first directory.
    pub children: u64,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Nothing more comes of it.
    pub is_last: bool,
}

impl Part<'_> {
    /// One that tells how a directory was met, and nothing else.
    pub fn only(id: u64, met: Met) -> Part<'static> {
        Part { id, met: Some(met), is_last: true, ..Part::default() }
    }
}

/// How a directory was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It was opened.
    Opened(Opened),
    /// It was opened and read, and is a unit: this is the weight of what is in it.
    Leaf(Opened, Weight),
    /// It could not be opened.
    Unopened(Errno),
    /// It is on another file system than the root of its scan, and this reader does not read it.
    Elsewhere,
    /// It was not looked at, because one above it was dropped.
    Dropped,
}

/// What is known of a directory that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Permission bits.
    pub mode: u32,
    /// Number of its owner.
    pub owner: u32,
    /// Device and inode. The device counts only where the tree is put together.
    pub identity: (u64, u64),
    /// Why it must not be split.
    pub whole: Option<KeptWhole>,
}

/// A name of a file that has others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The name.
    pub name: Vec<u8>,
    /// Its weight.
    pub weight: Weight,
    /// Device and inode; the device is that of its directory.
    pub inode: (u64, u64),
    /// Number of names the file has.
    pub names: u32,
}

impl Linked {
    /// As the tree has it.
    pub(super) fn within(self, device: u64) -> LinkedName {
        let Linked { name, weight, inode, names } = self;
        LinkedName { name: name.into(), weight, inode: (device, inode.1), names }
    }
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The name; empty for the directory itself.
    pub name: Vec<u8>,
    /// What was attempted.
    pub attempted: &'static str,
    /// Why it failed.
    pub errno: Errno,
    /// The name is a unit all the same.
    pub in_unit: bool,
}
