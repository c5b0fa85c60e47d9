//! Whether a local destination treats names that differ only in case as one name. Only looks, and writes nothing.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::config::Config;
use crate::file_system::{self, Case};
use crate::names;
use crate::rsync::options::Meaning;

/// How a destination treats names that differ only in case or form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// As different names.
    Tells,
    /// Some of them as one name.
    Folds,
    /// Nothing there shows it.
    Unknown,
}

/// Whether names have to be watched that may be one name at DEST: with several rsyncs, each might delete what another one copies.
pub(super) fn watches_names(config: &Config, meaning: &Meaning) -> bool {
    if meaning.dry_run || config.dry_run {
        return false;
    }
    let found = match config.destination.is_local() && config.hosts.is_empty() {
        true => of(Path::new(&config.destination.as_typed(&config.cwd))),
        false => Folding::Unknown,
    };
    found == Folding::Folds || found == Folding::Unknown && meaning.delete.is_some()
}

/// Tests a directory, or the part of its path that exists.
pub fn of(path: &Path) -> Folding {
    let Some(dir) = path.ancestors().find(|path| path.is_dir()) else { return Folding::Unknown };
    let shown = of_entries(dir).or_else(|| of_itself(dir));
    shown.unwrap_or_else(|| of_type(dir))
}

/// Tests the name of a directory in its parent directory.
pub fn of_name(dir: &Path) -> Option<Folding> {
    let (above, name) = (dir.parent()?, dir.file_name()?.as_bytes());
    lookup(above, name, &names::swapped(name)?, false)
}

/// Tests the names in a directory, by looking one up with its case swapped.
fn of_entries(dir: &Path) -> Option<Folding> {
    const MOST: usize = 1000;
    let entries = fs::read_dir(dir).ok()?.take(MOST).filter_map(|entry| Some(entry.ok()?.file_name().into_vec()));
    let names: HashSet<Vec<u8>> = entries.collect();
    // A name that is found, but not in the list, is another form of a listed one. On FUSE, the two may have different inode numbers.
    let all = names.len() < MOST;
    let mut asked = names.iter().filter_map(|name| Some((name, names::swapped(name)?)));
    asked.find_map(|(name, other)| match names.contains(&other) {
        true => Some(Folding::Tells),
        false => lookup(dir, name, &other, all),
    })
}

/// Tests the name of the directory itself, if its parent is on the same file system.
fn of_itself(dir: &Path) -> Option<Folding> {
    let dir = dir.canonicalize().ok()?;
    let (above, name) = (dir.parent()?, dir.file_name()?.as_bytes());
    let device = |path: &Path| Some(fs::metadata(path).ok()?.dev());
    let other = names::swapped(name).filter(|_| device(above) == device(&dir))?;
    // Directories of one file system may differ, so that only a parent that folds names is evidence.
    lookup(above, name, &other, false).filter(|found| *found == Folding::Folds)
}

fn lookup(dir: &Path, name: &[u8], other: &[u8], is_unlisted: bool) -> Option<Folding> {
    let look = |name: &[u8]| fs::symlink_metadata(dir.join(std::ffi::OsStr::from_bytes(name)));
    match (look(name), look(other)) {
        (Ok(one), Ok(two)) if is_unlisted || (one.dev(), one.ino()) == (two.dev(), two.ino()) => Some(Folding::Folds),
        (Ok(_), Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Some(Folding::Tells),
        _ => None,
    }
}

fn of_type(dir: &Path) -> Folding {
    match file_system::case(dir) {
        Case::Folds => Folding::Folds,
        Case::Tells => Folding::Tells,
        Case::OfDirectory => of_flag(dir),
        Case::Unknown => Folding::Unknown,
    }
}

fn of_flag(dir: &Path) -> Folding {
    let opened = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match opened.and_then(file_system::folds_case) {
        Ok(true) => Folding::Folds,
        Ok(false) => Folding::Tells,
        // A file system without flags has no such directories.
        Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP) => Folding::Tells,
        Err(_) => Folding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_this_machine_tells_names_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(&dir.path().join("gone/too")), Folding::Tells);
        fs::write(dir.path().join("Some"), "").unwrap();
        assert_eq!(of(dir.path()), Folding::Tells);
    }
}
