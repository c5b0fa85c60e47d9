//! A part of a directory that one thread processes.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::look::{READ_AT_ONCE, kind_of, needs_more};
use super::{Names, Scan, Weight};

/// The number of names in a portion, unless the directory ends earlier. A portion is larger only if a single read returns more. Some file systems return few
/// entries per read.
const PORTION: usize = 128;

/// The names in these fields end with a NUL.
pub(super) struct Portion {
    buffer: Vec<MaybeUninit<u8>>,
    pub directories: Vec<u8>,
    /// Names to be looked up.
    pub listed: Vec<u8>,
    /// Names for which the listing tells enough.
    pub known: Names,
}

impl Default for Portion {
    fn default() -> Self {
        let buffer = vec![MaybeUninit::uninit(); READ_AT_ONCE];
        Portion { buffer, directories: Vec::new(), listed: Vec::new(), known: Names::default() }
    }
}

impl Portion {
    /// Continues reading a directory. Returns whether it may have more entries, and the number of entries read, up to an error if there was one. `observed`
    /// is described at [`needs_more`]; `excludes` says whether a directory of this name is not entered. Inlined for the reason given in [`super::look`].
    #[inline(always)]
    pub fn fill(
        &mut self,
        scan: &Scan,
        observed: bool,
        dir: impl AsFd,
        excludes: impl Fn(&[u8]) -> bool,
    ) -> (bool, u64, Option<Errno>) {
        let Portion { buffer, directories, listed, known } = self;
        directories.clear();
        listed.clear();
        known.clear();
        let mut entries = RawDir::new(&dir, buffer);
        let (mut count, mut dots) = (0, 0);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return (false, (count - dots) as u64, Some(errno)),
            };
            let name = entry.file_name();
            let kind = match entry.file_type() {
                // Some ignore rules apply only to directories, so the kind must be known.
                FileType::Unknown if scan.gitignore => kind_of(&dir, name),
                kind => kind,
            };
            match kind {
                FileType::Directory | FileType::Unknown if name == c"." || name == c".." => dots += 1,
                FileType::Directory if !excludes(name.to_bytes()) => {
                    directories.extend_from_slice(name.to_bytes_with_nul());
                }
                kind if kind != FileType::Directory && needs_more(scan, observed, kind) => {
                    listed.extend_from_slice(name.to_bytes_with_nul());
                }
                _ => known.push(name, Weight { entries: 1, bytes: 0 }),
            }
            count += 1;
            if count >= PORTION && entries.is_buffer_empty() {
                return (true, (count - dots) as u64, None);
            }
        }
        (false, (count - dots) as u64, None)
    }
}
