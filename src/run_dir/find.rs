//! Finds the run that a user means: by the path of its directory, or by its name in a place where runs are kept.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::bucket::IN_TEMPORARY;
use crate::entry::Printable;
use crate::error::{EXIT_USAGE, Error, Result};
use crate::{state, temporary};

use super::layout::PLAN;

/// The write permissions of the group and of all others.
const OTHERS_WRITE: u32 = 0o022;

/// Where the runs of this user are without `--buckets DIR`: the place for run directories, if it is safe, and temporary folders.
pub fn usual_places() -> Vec<PathBuf> {
    let state = state::place().ok().and_then(|place| state::check(&place).ok());
    let mut places: Vec<PathBuf> = state.into_iter().collect();
    for place in temporary::places().iter().filter_map(|place| place.canonicalize().ok()) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The run directories in a place that belong to this user. In the usual places, other users may have put anything.
fn in_place(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| state::is_own_dir(path) && path.join(PLAN).is_file()).collect()
}

/// This user's run directories in the usual places.
pub fn usual() -> Vec<PathBuf> {
    usual_places().iter().flat_map(|place| in_place(place)).collect()
}

/// The run directories in a folder, sorted by name.
///
/// # Errors
/// The folder cannot be read.
pub fn list(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent).map_err(|cause| Error::io("list", parent, cause).exit(1))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(PLAN).is_file()).collect();
    found.sort();
    Ok(found)
}

/// The name of a run: the name of its directory, without the prefix that distinguishes it from other files.
pub fn id(dir: &Path) -> &OsStr {
    let name = dir.file_name().unwrap_or(dir.as_os_str());
    name.as_bytes().strip_prefix(IN_TEMPORARY.as_bytes()).map_or(name, OsStr::from_bytes)
}

/// The shortest word for this run: its name, if that can be looked up, otherwise its path.
pub fn word(dir: &Path) -> OsString {
    let parent = dir.parent().and_then(|parent| parent.canonicalize().ok());
    match parent.is_some_and(|parent| usual_places().contains(&parent)) {
        true => id(dir).to_owned(),
        false => dir.as_os_str().to_owned(),
    }
}

/// The directory of the run that a user means by a path, by its name in one of the usual places, or by the beginning of such a name.
///
/// # Errors
/// There is no such run, or there are several names with this beginning.
pub fn find(typed: &Path) -> Result<PathBuf> {
    // A path is accepted even if nothing exists there, because reading it reports the problem better.
    let is_path = typed.as_os_str().as_bytes().contains(&b'/');
    if is_path {
        return Ok(typed.to_owned());
    }
    let wanted = typed.as_os_str().as_bytes();
    let wanted = wanted.strip_prefix(IN_TEMPORARY.as_bytes()).unwrap_or(wanted);
    let (whole, begin): (Vec<PathBuf>, Vec<PathBuf>) = usual()
        .into_iter()
        .filter(|dir| !wanted.is_empty() && id(dir).as_bytes().starts_with(wanted))
        .partition(|dir| id(dir).as_bytes() == wanted);
    // A name in the working directory comes last, because that directory may belong to anyone.
    if whole.is_empty() && typed.is_dir() {
        return Ok(typed.to_owned());
    }
    let shown = Printable::path(typed);
    match (&whole[..], &begin[..]) {
        ([one], _) | ([], [one]) => Ok(one.clone()),
        ([], []) => {
            let places: Vec<String> = usual_places().iter().map(|place| Printable::path(place).to_string()).collect();
            Err(Error::usage(format!(
                "there is no run {shown}: no {shown}/{PLAN}, and nothing of that name in {}",
                places.join(", ")
            ))
            .remedy("look for it with --runs; name a run below --buckets DIR by its path"))
        }
        ([], several) | (several, _) => {
            let names: Vec<String> = several.iter().map(|dir| Printable::path(dir).to_string()).collect();
            Err(Error::usage(format!("{shown} may be any of {}", names.join(", ")))
                .remedy("write more of the name, or the path"))
        }
    }
}

/// Refuses a run directory in which another user could have changed what the run will do, because it would be done with the rights of this user. This also
/// applies to root.
///
/// # Errors
/// The directory belongs to another user, others may write in it, or this cannot be determined.
pub fn refuse_others(dir: &Path) -> Result<()> {
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        // Reading the directory will report this.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Error::io("use run directory", dir, cause).exit(EXIT_USAGE)),
    };
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    let shown = Printable::path(dir);
    if owner != own {
        return Err(Error::usage(format!("run directory {shown} belongs to user {owner}, and this is user {own}"))
            .remedy("continue a run as the user who started it; give --buckets a directory in which new files belong to that user"));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(Error::usage(format!("others may write in run directory {shown}, and so decide what is run"))
            .remedy("check that its plan.json is yours, then `chmod go-w` the directory; give --buckets a directory on a file system that keeps modes"));
    }
    Ok(())
}
