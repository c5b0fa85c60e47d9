//! Buckets: units packed up to the limits, and the files that hold them.
//!
//! A bucket is the unit of accounting and retry. Its file (`0000/0000/000000.bucket` below the bucket directory, two levels of
//! folders of 1024 each) contains rsync arguments, each terminated by a NUL. Therefore only small [`Bucket`] records stay in memory, and
//! a person can run a bucket again with `xargs -0`. This module does not decide how many buckets go into one rsync process.
//!
//! A record contains the length and checksum of its file ([`Content`]), and a file is compared with them each time it is read: a file that was
//! emptied, cut, changed or exchanged is an error, and never just has fewer units.

mod dir;
mod packer;

pub use dir::BucketDir;
pub(crate) use dir::IN_TEMPORARY;

pub use packer::{GroupMember, Packer};

use xxhash_rust::xxh3::xxh3_64;

use crate::scan::Weight;

/// One bucket: its weight and its requirements. Its arguments are in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// Its number, from 0, in the order in which buckets were closed.
    pub id: u64,
    /// The total weight of its units.
    pub weight: Weight,
    /// The number of units, that is, of arguments.
    pub units: u64,
    /// How many bytes its arguments use of the system's limit for the arguments of a new process.
    pub argument_bytes: usize,
    /// The number of spine directories that must exist at the destination before this bucket starts. [`u32::MAX`] stands for all of them, if the bucket
    /// is of an earlier scan, which found others.
    pub spine_before: u32,
    /// Whether somebody else could swap a directory above its units for something else while rsync runs ([`crate::scan::Spine::exposed`]).
    pub exposed: bool,
    /// Whether it contains single names that [`Packer::singles_apart`] keeps apart from subtrees.
    pub singles: bool,
    /// The length and checksum of its file.
    pub content: Content,
}

/// The length and checksum of a bucket file, by which a record recognises its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// The number of bytes in the file.
    pub length: u64,
    /// The XXH3 checksum (64 bits) of these bytes; unknown in a run directory of version 1.
    pub sum: Option<u64>,
}

impl Content {
    /// The length and checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Content {
        Content { length: bytes.len() as u64, sum: Some(xxh3_64(bytes)) }
    }

    /// Why these bytes are not the content, if they are not.
    fn differs(&self, bytes: &[u8], units: u64) -> Option<String> {
        let (length, ends) = (bytes.len() as u64, bytes.iter().filter(|byte| **byte == 0).count() as u64);
        if length != self.length {
            return Some(format!("it has {length} bytes, and the journal says {}", self.length));
        }
        if ends != units || bytes.last().is_some_and(|last| *last != 0) {
            return Some(format!("it has {ends} names, and the journal says {units}"));
        }
        self.sum.is_some_and(|sum| sum != xxh3_64(bytes)).then(|| "its checksum is not that in the journal".to_owned())
    }
}

/// What the units of one directory have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// See [`Bucket::spine_before`].
    pub spine_before: u32,
    /// See [`Bucket::exposed`]. Exposed and other units do not share a bucket.
    pub exposed: bool,
}

/// Iterates over the arguments in a bucket file.
///
/// ```
/// let mut seen = Vec::new();
/// multi_sync::bucket::arguments(b"./a\0./b\nc\0").for_each(|argument| seen.push(argument));
/// assert_eq!(seen, [&b"./a"[..], b"./b\nc"]);
/// ```
pub fn arguments(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == 0).map(|argument| argument.strip_suffix(b"\0").unwrap_or(argument))
}
