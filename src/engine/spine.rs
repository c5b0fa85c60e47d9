//! The split directories by their names: which there are, whether the source still has them, and whether anything was written into them at the
//! destination.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::first_pass::Known;
use crate::handle::renumbers;
use crate::plan::Keeps;
use crate::rsync::command::Recipe;

use super::feed::SpineDir;

/// The split directories known so far, in the order of discovery: parents first.
#[derive(Default)]
pub(super) struct SpineList {
    dirs: Vec<SpineDir>,
    /// Identity by argument, to see later whether a directory is still the one that was scanned.
    identities: HashMap<Vec<u8>, (u64, u64)>,
    /// Those that are known not to be.
    replaced: HashSet<Vec<u8>>,
    /// Those that could not be made at the destination.
    unmade: Vec<Vec<u8>>,
    /// Directories, split or not, in whose place at the destination something is that could not be deleted: names in the transfer.
    pub blocked: BTreeSet<Vec<u8>>,
    /// How many exist at the destination.
    made: usize,
    /// Those that were there already with other times, by their paths in the transfer.
    pub other_times: HashSet<Vec<u8>>,
    /// DEST exists.
    pub dest_made: bool,
    /// DEST is another directory now, and that was told.
    pub dest_lost: bool,
    /// So is a source on another machine.
    pub source_lost: bool,
    /// Arguments of those that lack `u+rwx`.
    locked: HashSet<Vec<u8>>,
    /// Time of the last change of each that exists at a destination on this machine; empty if that cannot be told.
    changes: Vec<Option<ChangeTime>>,
    /// Those that were not there before, or hardly had a name, by their arguments.
    new: HashMap<Vec<u8>, Known>,
}

/// Seconds and nanoseconds.
pub(super) type ChangeTime = (i64, i64);

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
        // The base itself is what every `./` argument is below.
        let argument = dir.argument.clone().unwrap_or_else(|| b".".to_vec());
        if dir.locked {
            self.locked.insert(argument.clone());
        }
        self.identities.insert(argument, dir.identity);
        self.dirs.push(dir);
    }

    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Those that were made at the destination, by their paths in the transfer.
    pub fn made(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs[..self.made].iter().filter_map(|dir| dir.argument.as_deref().map(path_in_transfer))
    }

    /// All of them, by their paths in the transfer.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs.iter().map(|dir| dir.argument.as_deref().map_or(&b"."[..], path_in_transfer))
    }

    pub fn dirs(&self, range: Range<usize>) -> Vec<SpineDir> {
        self.dirs[range].to_vec()
    }

    /// Takes note of directories that are at the destination now, and how they look there if that is known. They come in order.
    pub fn note_made(&mut self, range: Range<usize>, changes: Option<Vec<Option<ChangeTime>>>) {
        self.dest_made = true;
        self.made = self.made.max(range.end);
        if let Some(changes) = changes.filter(|_| self.changes.len() == range.start) {
            self.changes.extend(changes);
        }
    }

    /// How they looked at the destination when they had been created; `None` if that is not known of all.
    pub fn noted_changes(&self, range: Range<usize>) -> Option<Vec<Option<ChangeTime>>> {
        self.changes.get(range).map(<[_]>::to_vec)
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

    /// Takes note of a directory that is new, or has no other names than these.
    pub fn note_new(&mut self, argument: Vec<u8>, known: Known) {
        self.new.insert(argument, known);
    }

    /// Whether nothing can have had this name in this split directory when the run came upon it.
    pub fn is_new(&self, above: &[u8], name: &[u8]) -> bool {
        self.new.get(above).is_some_and(|known| !known.has(name))
    }

    /// Whether this split directory was not there, or hardly had a name.
    pub fn is_known(&self, argument: &[u8]) -> bool {
        self.new.contains_key(argument)
    }

    /// Whether that this one was replaced was not said before.
    pub fn is_news(&mut self, replaced: &[u8]) -> bool {
        self.replaced.insert(replaced.to_vec())
    }

    /// Takes note of directories that could not be made, by their paths in the transfer.
    pub fn note_unmade(&mut self, paths: &[Vec<u8>]) {
        if paths.is_empty() {
            return;
        }
        let arguments = self.dirs.iter().filter_map(|dir| dir.argument.as_ref());
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
            ends.into_iter().any(|end| self.locked.contains(&path[..end]))
        };
        !self.locked.is_empty() && arguments.iter().any(is_below)
    }

    /// Split directories above these arguments (or among them), with their identities.
    pub fn above(&self, arguments: &[OsString]) -> Vec<(Vec<u8>, (u64, u64))> {
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut above = Vec::new();
        for argument in arguments {
            let mut path = argument.as_bytes();
            loop {
                if let Some(identity) = self.identities.get(path) {
                    if !seen.insert(path) {
                        break;
                    }
                    above.push((path.to_vec(), *identity));
                }
                match path.iter().rposition(|byte| *byte == b'/') {
                    Some(end) if end > 0 => path = &path[..end],
                    _ => break,
                }
            }
        }
        above
    }
}

/// The directories of these whose times differ, by their paths in the transfer, if all are at `dest`, a local directory, with everything else that
/// rsync would give them; `None` if not.
pub(super) fn stand(dirs: &[SpineDir], recipe: &Recipe, dest: &Path, keeps: Keeps) -> Option<Vec<Vec<u8>>> {
    let mut other_times = Vec::new();
    for dir in dirs {
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

/// How these look at `dest`, a local directory.
pub(super) fn change_times(dirs: &[SpineDir], dest: &Path) -> Vec<Option<ChangeTime>> {
    dirs.iter().map(|dir| change_time(dest, dir)).collect()
}

/// Whether nothing was written into any of these since it was noted how they look: their attributes are those they were given.
/// Whatever adds, removes or renames an entry of a directory, or sets its attributes, sets its change time (inode(7)).
pub(super) fn are_unchanged(dirs: &[SpineDir], noted: &[Option<ChangeTime>], dest: &Path) -> bool {
    // Whole seconds are those of a file system, or an inode, that has no finer times (ext4 with inodes of 128 bytes): two changes may
    // have the same.
    let is_fine = |noted: &Option<ChangeTime>| noted.is_some_and(|(_, nanoseconds)| nanoseconds != 0);
    let same = |(dir, noted): (&SpineDir, &Option<ChangeTime>)| is_fine(noted) && change_time(dest, dir) == *noted;
    dirs.len() == noted.len() && dirs.iter().zip(noted).all(same)
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

pub(super) fn change_of(recipe: &Recipe, path: &[u8], identity: (u64, u64)) -> Option<Change> {
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
    match argument.find(b"/./") {
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
        let unchanged = |list: &SpineList| {
            let noted = list.noted_changes(0..2);
            noted.is_some_and(|noted| are_unchanged(&list.dirs(0..2), &noted, dest.path()))
        };
        assert!(!unchanged(&list));
        let changes = change_times(&list.dirs(0..2), dest.path());
        list.note_made(0..2, Some(changes));
        assert!(unchanged(&list));
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(dest.path().join("a/f"), "").unwrap();
        assert!(!unchanged(&list));
    }
}
