//! The spine: which split directories there are, which exist at the destination, and whether the source still has them.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::rsync::command::argument_cost;

use super::feed::SpineDir;

/// The spine directories known so far, in the order of discovery: parents first.
#[derive(Default)]
pub(super) struct SpineList {
    dirs: Vec<SpineDir>,
    /// Identity by argument, to see later whether a directory is still the one that was scanned.
    identities: HashMap<Vec<u8>, (u64, u64)>,
    /// How many exist at the destination.
    pub created: u32,
    /// A launch that creates some is running.
    pub creating: bool,
    /// DEST exists.
    pub dest_made: bool,
    /// At least one lacks `u+rwx`.
    pub locked: bool,
}

/// What a launch about spine directories gets: DEST itself, and arguments.
pub(super) struct Part {
    /// DEST itself is one of them. Only a source with a trailing slash brings that, and its arguments start with `./`.
    pub dest: bool,
    pub arguments: Vec<OsString>,
    /// Somebody else could put something in the place of one of them.
    pub exposed: bool,
}

impl SpineList {
    pub fn push(&mut self, dir: SpineDir) {
        self.locked |= dir.locked;
        if let Some(argument) = &dir.argument {
            self.identities.insert(argument.clone(), dir.identity);
        }
        self.dirs.push(dir);
    }

    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// The longest part from `from` on whose arguments fit into one launch.
    pub fn fitting(&self, from: usize, room: usize) -> Range<usize> {
        let mut taken = 0;
        for (place, dir) in self.dirs.iter().enumerate().skip(from) {
            taken += argument_cost(dir.argument.as_ref().map_or(0, Vec::len) + 1);
            if taken > room && place > from {
                return from..place;
            }
        }
        from..self.dirs.len()
    }

    /// All of it, in parts that fit one launch each.
    pub fn parts(&self, room: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < self.dirs.len() {
            let part = self.fitting(from, room);
            from = part.end;
            parts.push(part);
        }
        parts
    }

    pub fn part(&self, range: Range<usize>, with_mount_points: bool) -> Part {
        let dirs = self.dirs[range].iter().filter(|dir| with_mount_points || !dir.mount_point);
        let mut part = Part { dest: false, arguments: Vec::new(), exposed: false };
        for dir in dirs {
            part.exposed |= dir.exposed;
            match &dir.argument {
                Some(argument) => part.arguments.push(OsStr::from_bytes(argument).to_owned()),
                None => part.dest = true,
            }
        }
        part
    }

    /// Spine directories above these arguments (or among them) that are no longer what was scanned. A directory that is gone is
    /// not among them: rsync will say that itself. `base` is what `./` arguments are relative to.
    pub fn changed<'a>(&self, base: &Path, arguments: impl Iterator<Item = &'a OsString>) -> Vec<Vec<u8>> {
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut changed = Vec::new();
        for argument in arguments {
            let mut path = argument.as_bytes();
            loop {
                if let Some(identity) = self.identities.get(path) {
                    if !seen.insert(path) {
                        break;
                    }
                    let found = std::fs::symlink_metadata(base.join(OsStr::from_bytes(path)));
                    if found.is_ok_and(|found| (found.dev(), found.ino()) != *identity) {
                        changed.push(path.to_vec());
                    }
                }
                match path.iter().rposition(|byte| *byte == b'/') {
                    Some(end) if end > 0 => path = &path[..end],
                    _ => break,
                }
            }
        }
        changed
    }
}
