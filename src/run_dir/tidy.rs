//! What becomes of the directories of runs that nobody took up again.

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

/// How long run directories stay, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days since something was last written there; 0 if none is kept at all.
    pub days: u64,
    /// How many.
    pub most: usize,
}

impl Keep {
    /// If the user does not say.
    pub const USUAL: Keep = Keep { days: 30, most: 50 };

    /// Removes what is older, or too much, from the place for run directories. Nothing that somebody works on, or that is not a run of this user's.
    /// What cannot be removed stays: nobody has asked for it.
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
            // Somebody may be about to make what has no plan yet.
            let is_made = dir.join(PLAN).exists() || is_older(written, 1);
            if is_too_much && is_made && Lock::is_held(dir).is_ok_and(|held| !held) {
                let _ = remove(dir);
            }
        }
    }
}

/// When something was last written down. One that is just being made has no journal yet.
fn last_written(dir: &Path) -> Option<SystemTime> {
    let of = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified());
    of(&dir.join(JOURNAL)).or_else(|_| of(dir)).ok()
}

/// Removes the directory of a run, which is not taken up again then.
///
/// # Errors
/// It is none, somebody works on it, or something cannot be removed.
pub fn forget(dir: &Path) -> Result<()> {
    let plan = dir.join(PLAN);
    if !plan.is_file() || fs::symlink_metadata(dir).is_ok_and(|found| found.is_symlink()) {
        return Err(Error::usage(format!("{} is no run directory", Printable::path(dir)))
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

/// Removes the directory of a run that has come to its end, unless it is one that stays.
///
/// # Errors
/// Something cannot be removed.
pub fn close(dir: BucketDir) -> Result<()> {
    if dir.goes() {
        // What is left is removed, or complained about, below.
        let _ = remove_but_last(dir.path());
    }
    dir.remove()
}

/// Removes the directory of a run that is complete, also where it was to stay.
///
/// # Errors
/// Something cannot be removed.
pub fn discard(dir: BucketDir) -> Result<()> {
    let path = dir.path().to_owned();
    close(dir)?;
    remove_all(&path).map_err(|cause| Error::io("remove run directory", &path, cause).remedy("remove it by hand"))
}

/// Whoever is killed meanwhile leaves a run that can still be read, or none.
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
