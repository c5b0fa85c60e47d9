//! Buckets: units packed up to the limits, and the files that hold them.
//!
//! A bucket is the unit of accounting and retry. Its file (`0000/0000/000000.bucket` below the bucket directory, two levels of
//! folders of 1024 each) holds rsync arguments, each ended by a NUL, so that only small [`Bucket`] records stay in memory and
//! a person can replay one with `xargs -0`. How many buckets go into one rsync process is not decided here.
//!
//! A record knows what its file holds ([`Content`]), and a file is compared with it each time it is read: one that was emptied, cut, changed
//! or exchanged is an error, never fewer units.

mod dir;
mod packer;

pub use dir::BucketDir;
pub(crate) use dir::IN_TEMPORARY;

pub use packer::{GroupMember, Packer};

use xxhash_rust::xxh3::xxh3_64;

use crate::scan::Weight;

/// One bucket: what it weighs and what it needs; its arguments are in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// Number, from 0, in the order buckets were closed.
    pub id: u64,
    /// Sum over the units.
    pub weight: Weight,
    /// Number of units, that is arguments.
    pub units: u64,
    /// What the arguments take of the system's limit for a new process.
    pub argument_bytes: usize,
    /// Number of spine directories that must exist at the destination before this bucket starts.
    pub spine_before: u32,
    /// A directory above its units may be swapped for something else while rsync runs ([`crate::scan::Spine::exposed`]).
    pub exposed: bool,
    /// It holds single names that [`Packer::singles_apart`] keeps away from subtrees.
    pub singles: bool,
    /// What its file holds.
    pub content: Content,
}

/// Binds a record to the bytes of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes in the file.
    pub length: u64,
    /// XXH3 (64 bits) of them; unknown in a run directory of version 1.
    pub sum: Option<u64>,
}

impl Content {
    /// What these bytes are known by.
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

/// Every argument of a bucket file.
///
/// ```
/// let mut seen = Vec::new();
/// multi_sync::bucket::arguments(b"./a\0./b\nc\0").for_each(|argument| seen.push(argument));
/// assert_eq!(seen, [&b"./a"[..], b"./b\nc"]);
/// ```
pub fn arguments(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == 0).map(|argument| argument.strip_suffix(b"\0").unwrap_or(argument))
}
