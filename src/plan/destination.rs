//! A local DEST: whether it can be a directory, and whether its file system records what was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{EXIT_FILE_IO, Error, Result};
use crate::file_system;
use crate::rsync::exit;
use crate::rsync::options::Meaning;

/// Returns a DEST on a local file system that records every change of a directory in its ctime.
pub(super) fn watched_dest(config: &Config) -> Option<PathBuf> {
    let path = PathBuf::from(config.destination.as_directory(&config.cwd));
    let existing = path.ancestors().find(|path| path.is_dir())?;
    (config.destination.is_local() && file_system::dates_changes(existing)).then_some(path)
}

/// Checks a local DEST. One rsync creates only the last level of DEST, and otherwise ends with these codes before it writes anything. In a dry run it does not
/// look for the parent.
pub(super) fn check_local_destination(config: &Config, meaning: &Meaning, needs_parent: bool) -> Result<()> {
    if !config.destination.is_local() {
        return Ok(());
    }
    let typed = config.destination.as_typed(&config.cwd);
    let path = Path::new(&typed);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::io("use destination", path, io::Error::from(io::ErrorKind::NotADirectory))
            .remedy("name a directory, existing or new")
            .exit(exit::FILE_SELECT)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if needs_parent && !parent.is_dir() => Err(Error::io("create destination", path, cause)
                .remedy("create its parent directory, or add --mkpath to the rsync options")
                .exit(EXIT_FILE_IO)),
            _ => Ok(()),
        },
        Err(cause) => Err(Error::io("look at destination", path, cause)
            .remedy("name a directory, existing or new, in one that you may enter")
            .exit(if meaning.mkpath { EXIT_FILE_IO } else { exit::FILE_SELECT })),
    }
}
