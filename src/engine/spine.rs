//! The split directories by their names: which ones there are, and whether the source still has them. What they are at DEST is in [`super::created`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::file_system::renumbers;
use crate::first_pass::Known;
use crate::plan::Keeps;
use crate::rsync::command::Recipe;

use super::created::Created;
use super::feed::SpineDir;

/// The split directories known so far, in the order of discovery. Parents come first.
#[derive(Default)]
pub(super) struct SpineList {
    dirs: Vec<SpineDir>,
    /// The identity of each directory, by its argument, to see later whether it is still the one that was scanned.
    identities: HashMap<Vec<u8>, (u64, u64)>,
    /// Directories that are known to be replaced.
    replaced: HashSet<Vec<u8>>,
    /// Directories that could not be created at the destination.
    unmade: Vec<Vec<u8>>,
    /// Directories, split or not, that are blocked at the destination by something that could not be deleted; paths in the transfer.
    pub blocked: BTreeSet<Vec<u8>>,
    /// The number of directories that exist at the destination.
    made: usize,
    /// Directories that existed already with other times; paths in the transfer.
    pub other_times: HashSet<Vec<u8>>,
    /// DEST exists.
    pub dest_made: bool,
    /// DEST is another directory now, and that was reported.
    pub dest_lost: bool,
    /// A source on another machine is another directory now, and that was reported.
    pub source_lost: bool,
    /// The arguments of directories that lack `u+rwx`.
    locked: HashSet<Vec<u8>>,
    /// What each directory was when it had been created at a local DEST; empty if that is not known.
    noted: Vec<Option<Created>>,
    /// What directories were before launches began to copy into them although the rsync that had created them had not ended; by their arguments.
    standing: HashMap<Vec<u8>, Created>,
    /// Launches may have begun to copy in that way.
    begun_early: bool,
    /// Directories that did not exist before, or had hardly any names; by their arguments.
    new: HashMap<Vec<u8>, Known>,
}

/// The split directories that one launch gets: DEST itself, and arguments.
pub(super) struct Part {
    /// DEST itself is one of them. This happens only if a source has a trailing slash; its arguments then begin with `./`.
    pub dest: bool,
    pub arguments: Vec<OsString>,
    /// Another user could replace one of them.
    pub exposed: bool,
}

impl SpineList {
    pub fn push(&mut self, dir: SpineDir) {
        // DEST itself is `.`, because all `./` arguments are below it.
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

    /// The directories that exist at the destination, by their paths in the transfer.
    pub fn made(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs[..self.made].iter().filter_map(|dir| dir.argument.as_deref().map(path_in_transfer))
    }

    /// All directories, by their paths in the transfer.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.dirs.iter().map(|dir| dir.argument.as_deref().map_or(&b"."[..], path_in_transfer))
    }

    pub fn dirs(&self, range: Range<usize>) -> Vec<SpineDir> {
        self.dirs[range].to_vec()
    }

    /// Records that directories exist at the destination, and what they are, if known. They come in order.
    pub fn note_made(&mut self, range: Range<usize>, noted: Option<Vec<Option<Created>>>) {
        self.dest_made = true;
        self.made = self.made.max(range.end);
        if let Some(mut noted) = noted.filter(|_| self.noted.len() == range.start) {
            for (dir, noted) in self.dirs[range].iter().zip(&mut noted).filter(|_| self.begun_early) {
                let standing = dir.argument.as_ref().and_then(|argument| self.standing.get(argument));
                // Others may have copied into it meanwhile.
                *noted = standing.copied().or(noted.filter(Created::is_settled));
            }
            self.noted.extend(noted);
        }
    }

    /// Records directories into which launches may begin to copy before [`SpineList::note_made`].
    pub fn note_standing(&mut self, dirs: &[SpineDir], found: Vec<Option<Created>>) {
        let known = |(dir, found): (&SpineDir, Option<Created>)| dir.argument.clone().zip(found);
        self.begun_early = true;
        self.standing.extend(dirs.iter().zip(found).filter_map(known));
    }

    /// What these directories were when they had been created; `None` if that is not known of some.
    pub fn noted(&self, range: Range<usize>) -> Option<Vec<Option<Created>>> {
        self.noted.get(range).map(<[_]>::to_vec)
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

    /// Records a directory that is new, or has only these names.
    pub fn note_new(&mut self, argument: Vec<u8>, known: Known) {
        self.new.insert(argument, known);
    }

    /// Whether this split directory certainly did not have this name when the run first looked at it.
    pub fn is_new(&self, above: &[u8], name: &[u8]) -> bool {
        self.new.get(above).is_some_and(|known| !known.has(name))
    }

    /// Whether this split directory did not exist before, or had hardly any names.
    pub fn is_known(&self, argument: &[u8]) -> bool {
        self.new.contains_key(argument)
    }

    /// Whether this is the first report that the directory was replaced.
    pub fn is_news(&mut self, replaced: &[u8]) -> bool {
        self.replaced.insert(replaced.to_vec())
    }

    /// Records directories that could not be created, by their paths in the transfer.
    pub fn note_unmade(&mut self, paths: &[Vec<u8>]) {
        if paths.is_empty() {
            return;
        }
        let arguments = self.dirs.iter().filter_map(|dir| dir.argument.as_ref());
        let unmade = arguments.filter(|argument| paths.iter().any(|path| path == path_in_transfer(argument)));
        self.unmade.extend(unmade.cloned());
    }

    /// Whether this directory, or one above it, could not be created at the destination. rsync then skips what is in it.
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

    /// The split directories above or among these arguments, with their identities.
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

/// Checks whether all these directories exist at `dest`, a local directory, with everything except times as rsync would set it. Returns those with other times,
/// by their paths in the transfer; `None` if the check fails.
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

/// A split directory that is no longer as it was scanned.
pub(super) struct Changed {
    pub path: Vec<u8>,
    pub how: Change,
}

/// What happened to a split directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Something else has its name.
    Replaced,
    /// Nothing has its name.
    Gone,
    /// It is a source that multi-sync holds open, and copying below it continues. Only its name leads elsewhere, or nowhere.
    NameOnly,
}

pub(super) fn change_of(recipe: &Recipe, path: &[u8], identity: (u64, u64)) -> Option<Change> {
    let look = |name: &Path| match std::fs::symlink_metadata(name) {
        Ok(found) if (found.dev(), found.ino()) == identity || found.is_dir() && renumbers(name) => None,
        Ok(_) => Some(Change::Replaced),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Some(Change::Gone),
        // rsync will report this itself.
        Err(_) => None,
    };
    let named = look(&recipe.local(path))?;
    let held = recipe.handles.is_held_source(&recipe.base, path);
    let goes_on = held && look(&recipe.local(&[path, b"/."].concat())).is_none();
    Some(if goes_on { Change::NameOnly } else { named })
}

/// Whether an argument is this split directory, or below it.
pub(super) fn is_in(argument: &[u8], dir: &[u8]) -> bool {
    argument.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The path of an argument at the destination: the part after `/./`, or after the leading `./`.
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
}
