//! The spine: which split directories there are, which exist at the destination, whether the source still has them, and whether
//! anything was written into them there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::handle::renumbers;
use crate::plan::Keeps;
use crate::rsync::command::{Recipe, argument_cost};

use super::feed::SpineDir;

/// The spine directories known so far, in the order of discovery: parents first.
#[derive(Default)]
pub(super) struct SpineList {
    dirs: Vec<SpineDir>,
    /// Identity by argument, to see later whether a directory is still the one that was scanned.
    identities: HashMap<Vec<u8>, (u64, u64)>,
    /// Those that are known not to be.
    replaced: HashSet<Vec<u8>>,
    /// Those that could not be made at the destination.
    unmade: Vec<Vec<u8>>,
    /// Directories, in the spine or not, in whose place at the destination something is that could not be deleted: names in the transfer.
    pub blocked: BTreeSet<Vec<u8>>,
    /// How many exist at the destination.
    pub created: u32,
    /// A launch that creates some is running.
    pub creating: bool,
    /// Launches that have created some, or do.
    pub creations: u64,
    /// Those that were there already with other times, by their paths in the transfer.
    pub other_times: HashSet<Vec<u8>>,
    /// DEST exists.
    pub dest_made: bool,
    /// Device and inode of a DEST on this machine.
    pub dest: Option<(u64, u64)>,
    /// At least one lacks `u+rwx`.
    pub locked: bool,
    /// Arguments of those that do.
    locked_dirs: HashSet<Vec<u8>>,
    /// Time of the last change of each that exists at a destination on this machine; empty if that cannot be told.
    changes: Vec<Option<ChangeTime>>,
}

/// Seconds and nanoseconds.
type ChangeTime = (i64, i64);

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
        // The base itself is what every `./` argument is below.
        let argument = dir.argument.clone().unwrap_or_else(|| b".".to_vec());
        if dir.locked {
            self.locked_dirs.insert(argument.clone());
        }
        self.identities.insert(argument, dir.identity);
        self.dirs.push(dir);
    }

    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Those that were made at the destination, by their paths in the transfer.
    pub fn made(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs[..self.created as usize].iter().filter_map(|dir| dir.argument.as_deref().map(path_in_transfer))
    }

    /// All of them, by their paths in the transfer.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs.iter().map(|dir| dir.argument.as_deref().map_or(&b"."[..], path_in_transfer))
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

    /// The directories of this part whose times differ, by their paths in the transfer, if all of it is at `dest`, a local directory, with
    /// everything else that rsync would give them; `None` if not.
    pub fn stands(&self, range: Range<usize>, recipe: &Recipe, dest: &Path, keeps: Keeps) -> Option<Vec<Vec<u8>>> {
        let mut other_times = Vec::new();
        for dir in &self.dirs[range] {
            let (source, there) = match &dir.argument {
                None => (std::fs::metadata(recipe.handles.dir(&recipe.base)), std::fs::metadata(dest)),
                Some(argument) => (
                    std::fs::symlink_metadata(recipe.local(argument)),
                    std::fs::symlink_metadata(dest.join(OsStr::from_bytes(path_in_transfer(argument)))),
                ),
            };
            let (source, there) = (source.ok()?, there.ok()?);
            let same = source.is_dir()
                && there.is_dir()
                && (!keeps.mode || source.mode() == there.mode())
                && (!keeps.owner || source.uid() == there.uid())
                && (!keeps.group || source.gid() == there.gid());
            if !same {
                return None;
            }
            let time = |found: &Metadata| (found.mtime(), found.mtime_nsec());
            if keeps.time && time(&source) != time(&there) {
                other_times.push(dir.argument.as_deref().map_or(&b"."[..], path_in_transfer).to_vec());
            }
        }
        Some(other_times)
    }

    /// Notes how the directories created so far look at `dest`, a local directory.
    pub fn note_changes(&mut self, dest: &Path) {
        for dir in &self.dirs[self.changes.len()..self.created as usize] {
            self.changes.push(change_time(dest, dir));
        }
    }

    /// Whether nothing was written into any spine directory since it was created: its attributes are those it was given.
    /// Whatever adds, removes or renames an entry of a directory, or sets its attributes, sets its change time (inode(7)).
    pub fn unchanged_since(&self, dest: &Path) -> bool {
        // Whole seconds are those of a file system, or an inode, that has no finer times (ext4 with inodes of 128 bytes): two changes may
        // have the same.
        let is_fine = |noted: &Option<ChangeTime>| noted.is_some_and(|(_, nanoseconds)| nanoseconds != 0);
        let same = |(dir, noted): (&SpineDir, &Option<ChangeTime>)| is_fine(noted) && change_time(dest, dir) == *noted;
        self.changes.len() == self.dirs.len() && self.dirs.iter().zip(&self.changes).all(same)
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

    /// Whether that this one was replaced was not said before.
    pub fn is_news(&mut self, replaced: &[u8]) -> bool {
        self.replaced.insert(replaced.to_vec())
    }

    /// Takes note of directories that could not be made, by their paths in the transfer.
    pub fn note_unmade(&mut self, range: Range<usize>, paths: &[Vec<u8>]) {
        let arguments = self.dirs[range].iter().filter_map(|dir| dir.argument.as_ref());
        let unmade = arguments.filter(|argument| paths.iter().any(|path| path == path_in_transfer(argument)));
        self.unmade.extend(unmade.cloned());
    }

    /// Whether a directory above (or this one) could not be made at the destination: rsync skips what is in it.
    pub fn is_unmade(&self, argument: &[u8]) -> bool {
        self.unmade.iter().any(|dir| is_in(argument, dir))
    }

    /// Whether a directory above one of these arguments lacks `u+rwx`.
    pub fn is_below_locked(&self, arguments: &[OsString]) -> bool {
        let is_below = |argument: &OsString| {
            let path = argument.as_bytes();
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
            ends.into_iter().any(|end| self.locked_dirs.contains(&path[..end]))
        };
        self.locked && arguments.iter().any(is_below)
    }

    /// Spine directories above these arguments (or among them) that are no longer what was scanned.
    pub fn changed(&self, recipe: &Recipe, arguments: &[OsString]) -> Vec<Changed> {
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut changed = Vec::new();
        for argument in arguments {
            let mut path = argument.as_bytes();
            loop {
                if let Some(identity) = self.identities.get(path) {
                    if !seen.insert(path) {
                        break;
                    }
                    if let Some(how) = change_of(recipe, path, *identity) {
                        changed.push(Changed { path: path.to_vec(), how });
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

/// A spine directory that is no longer what was scanned.
pub(super) struct Changed {
    pub path: Vec<u8>,
    pub how: Change,
}

/// What became of a spine directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Something else has its name.
    Replaced,
    /// Nothing has its name.
    Gone,
    /// It is a source that is held open, which goes on below it; only its name leads elsewhere, or nowhere.
    NameOnly,
}

fn change_of(recipe: &Recipe, path: &[u8], identity: (u64, u64)) -> Option<Change> {
    let look = |name: &Path| match std::fs::symlink_metadata(name) {
        Ok(found) if (found.dev(), found.ino()) == identity || found.is_dir() && renumbers(name) => None,
        Ok(_) => Some(Change::Replaced),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Some(Change::Gone),
        // rsync will say that itself.
        Err(_) => None,
    };
    let named = look(&recipe.local(path))?;
    let held = recipe.handles.is_held_source(&recipe.base, path);
    let goes_on = held && look(&recipe.local(&[path, b"/."].concat())).is_none();
    Some(if goes_on { Change::NameOnly } else { named })
}

/// Whether an argument is this spine directory or below it.
pub(super) fn is_in(argument: &[u8], dir: &[u8]) -> bool {
    argument.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn change_time(dest: &Path, dir: &SpineDir) -> Option<ChangeTime> {
    let found = match &dir.argument {
        None => std::fs::metadata(dest),
        Some(argument) => std::fs::metadata(dest.join(OsStr::from_bytes(path_in_transfer(argument)))),
    };
    found.ok().map(|found| (found.ctime(), found.ctime_nsec()))
}

/// What an argument is called at the destination: what follows `/./`, or the leading `./`.
pub(super) fn path_in_transfer(argument: &[u8]) -> &[u8] {
    match argument.windows(3).position(|window| window == b"/./") {
        Some(at) => &argument[at + 3..],
        None => argument.strip_prefix(b"./").unwrap_or(argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_known_by_its_name_at_the_destination() {
        for (argument, expected) in [("./a/b", "a/b"), ("././s/a", "s/a"), ("/x/y/./s/a", "s/a")] {
            assert_eq!(path_in_transfer(argument.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn a_directory_that_was_written_into_is_noticed() {
        let dest = tempfile::tempdir().unwrap();
        std::fs::create_dir(dest.path().join("a")).unwrap();
        let mut list = SpineList::default();
        let dir = |argument: Option<&[u8]>| SpineDir {
            argument: argument.map(<[u8]>::to_vec),
            identity: (0, 0),
            locked: false,
            mount_point: false,
            exposed: false,
        };
        list.push(dir(None));
        list.push(dir(Some(b"./a")));
        list.created = 2;
        assert!(!list.unchanged_since(dest.path()));
        list.note_changes(dest.path());
        assert!(list.unchanged_since(dest.path()));
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(dest.path().join("a/f"), "").unwrap();
        assert!(!list.unchanged_since(dest.path()));
    }
}
