//! Removes the directories of runs that were never resumed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::bucket::BucketDir;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::state;

use super::Lock;
use super::layout::{JOURNAL, LAST, PLAN};

/// How long run directories are kept, and how many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days since the last record was written; 0 keeps none.
    pub days: u64,
    /// The number of directories.
    pub most: usize,
}

impl Keep {
    /// The default.
    pub const USUAL: Keep = Keep { days: 30, most: 50 };

    /// Removes directories that are too old or too many from the place for run directories, except those of runs that a process works on, and everything that
    /// is not a run of this user. A failure is ignored, because nobody has asked for the removal.
    pub fn tidy(self, place: &Path) {
        const DAY: u64 = 24 * 60 * 60;
        let Ok(place) = state::check(place) else { return };
        let now = SystemTime::now();
        let mut runs: Vec<(SystemTime, PathBuf)> = fs::read_dir(place)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| state::is_name_of_run(&entry.file_name()) && state::is_own_dir(&entry.path()))
            .map(|entry| (last_written(&entry.path()).unwrap_or(now), entry.path()))
            .collect();
        runs.sort_by(|one, other| other.cmp(one));
        let before = |days: u64| now.checked_sub(Duration::from_secs(days.saturating_mul(DAY)));
        let is_older = |written: &SystemTime, days| before(days).is_some_and(|oldest| *written < oldest);
        for (number, (written, dir)) in runs.iter().enumerate() {
            let is_too_much = number >= self.most || is_older(written, self.days);
            // Without a plan, the directory may be one that is just being created.
            let is_made = dir.join(PLAN).exists() || is_older(written, 1);
            if is_too_much && is_made && Lock::is_held(dir).is_ok_and(|held| !held) {
                let _ = remove(dir);
            }
        }
    }
}

/// When the last record was written. A directory that is just being created has no journal yet.
fn last_written(dir: &Path) -> Option<SystemTime> {
    let of = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified());
    of(&dir.join(JOURNAL)).or_else(|_| of(dir)).ok()
}

/// Removes the directory of a run, which cannot be resumed afterwards.
///
/// # Errors
/// It is no run directory, a process works on it, or something cannot be removed.
pub fn forget(dir: &Path) -> Result<()> {
    let plan = dir.join(PLAN);
    if !plan.is_file() || fs::symlink_metadata(dir).is_ok_and(|found| found.is_symlink()) {
        return Err(Error::usage(format!("{} is not a run directory", Printable::path(dir)))
            .remedy("name the directory of a run: --runs lists them"));
    }
    remove(dir)
}

fn remove(dir: &Path) -> Result<()> {
    let lock = Lock::take(dir)?;
    let removed = remove_all(dir);
    drop(lock);
    removed.map_err(|cause| Error::io("remove run directory", dir, cause).remedy("remove it by hand"))
}

/// Removes the directory of a run that has ended, unless it has to be kept.
///
/// # Errors
/// Something cannot be removed.
pub fn close(dir: BucketDir) -> Result<()> {
    if dir.goes() {
        // What could not be removed here is removed, or reported, below.
        let _ = remove_but_last(dir.path());
    }
    dir.remove()
}

/// Removes the directory of a complete run, even if it was to be kept.
///
/// # Errors
/// Something cannot be removed.
pub fn discard(dir: BucketDir) -> Result<()> {
    let path = dir.path().to_owned();
    close(dir)?;
    remove_all(&path).map_err(|cause| Error::io("remove run directory", &path, cause).remedy("remove it by hand"))
}

/// If the process is killed meanwhile, the rest is a run that can still be read, or no run.
fn remove_all(dir: &Path) -> io::Result<()> {
    match remove_but_last(dir).and_then(|()| fs::remove_dir_all(dir)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

fn remove_but_last(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if LAST.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    LAST.iter().try_for_each(|name| match fs::remove_file(dir.join(name)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    })
}
