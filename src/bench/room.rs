//! Checks that there is enough room for the trees before they are created.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::scan::Weight;
use crate::size;

/// How much space an entry occupies besides its content: an inode, its name, and in memory the kernel's data about it.
const PER_ENTRY: u64 = 1536;

/// Checks the room for a tree of this weight in each of `places`, several of which may be on one file system.
///
/// # Errors
/// There is not enough room on one of them, in bytes or in inodes; the figures are in the message.
pub(super) fn check(places: &[PathBuf], weight: Weight, in_memory: bool) -> Result<()> {
    let mut systems: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for place in places {
        let found = fs::metadata(place).map_err(|cause| Error::io("look at", place, cause))?;
        systems.entry(found.dev()).or_insert((place, 0)).1 += 1;
    }
    for (place, trees) in systems.into_values() {
        let found = rustix::fs::statvfs(place).map_err(|cause| Error::io("ask for the room in", place, cause))?;
        let bytes = bytes_of(weight).saturating_mul(trees);
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let free = if in_memory { free.min(available_memory().unwrap_or(free)) } else { free };
        let shown = Printable::path(place);
        if bytes > free {
            return Err(too_little(format!(
                "{shown} has too little room: {} are needed for {trees} trees, and {} are free",
                size::human(bytes),
                size::human(free)
            )));
        }
        let inodes = weight.entries.saturating_mul(trees);
        // A file system without a fixed number of inodes reports 0 of 0.
        if found.f_files > 0 && inodes > found.f_favail {
            return Err(too_little(format!(
                "{shown} has too few inodes: {inodes} are needed for {trees} trees, and {} are free",
                found.f_favail
            )));
        }
    }
    Ok(())
}

/// Whether this many copies take at most a quarter of what is free there, in bytes and in inodes.
pub(super) fn is_ample(place: &Path, weight: Weight, copies: u64) -> bool {
    const SHARE: u64 = 4;
    let Ok(found) = rustix::fs::statvfs(place) else { return false };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let fits = |each: u64, free: u64| each.saturating_mul(copies).saturating_mul(SHARE) <= free;
    fits(bytes_of(weight), free) && (found.f_files == 0 || fits(weight.entries, found.f_favail))
}

/// The bytes that a tree of this weight occupies.
fn bytes_of(weight: Weight) -> u64 {
    weight.bytes.saturating_add(weight.entries.saturating_mul(PER_ENTRY))
}

fn too_little(message: String) -> Error {
    Error::file_io(message).remedy("measure fewer entries, or another place")
}

/// The available memory in bytes, from proc_meminfo(5).
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures() {
        let place = std::env::temp_dir();
        check(&[place.clone(), place.clone()], Weight { entries: 1, bytes: 1 }, false).unwrap();
        let error =
            check(std::slice::from_ref(&place), Weight { entries: 1, bytes: 1 << 60 }, true).unwrap_err().to_string();
        assert!(error.contains("1.0 EiB are needed") && error.contains("are free"), "{error}");
        assert!(available_memory().is_some());
    }

    #[test]
    fn copies_are_kept_only_where_there_is_much_room() {
        let place = std::env::temp_dir();
        assert!(is_ample(&place, Weight { entries: 1, bytes: 1 }, 18));
        assert!(!is_ample(&place, Weight { entries: 1, bytes: 1 << 56 }, 18));
        assert!(!is_ample(&place, Weight { entries: 1, bytes: 1 }, 1 << 56));
    }
}
