//! Whether there is a first pass, and what it creates; otherwise the reason why not.

use std::path::Path;

use crate::config::Config;
use crate::file_system;
use crate::first_pass::{self, Known, Makes, Wish};
use crate::rsync::options::Meaning;

use super::folding::{self, Folding};

/// What a first pass creates.
///
/// # Errors
/// The reason why there is none, as a text for users.
pub(super) fn find(config: &Config, meaning: &Meaning, one_rsync: bool, as_root: bool) -> Result<Makes, String> {
    let off = |why: &str| Err(why.to_owned());
    if config.first_pass == Wish::Off {
        return off("--first-pass is off");
    }
    if one_rsync {
        return off("one rsync does it all");
    }
    if !config.hosts.is_empty() {
        return off("the rsyncs run on the source hosts");
    }
    if config.pulls() {
        return off("the sources are on another machine");
    }
    if !config.destination.is_local() {
        return off("the destination is on another machine");
    }
    if config.dry_run || config.verify_only || config.counts_deletions {
        return off("nothing is copied");
    }
    if config.gitignore {
        return off("--gitignore leaves entries out");
    }
    if config.stall.is_some() {
        return off("--stall ends an rsync that hangs, but not a first pass");
    }
    let makes = first_pass::find(&config.options, meaning, as_root)?;
    let dest = config.destination.as_typed(&config.cwd);
    let waits = |path: &Path| file_system::is_of_a_process_below(&config.cwd.join(path));
    if waits(Path::new(&dest)) || config.sources.iter().any(|source| waits(Path::new(source.original()))) {
        return off("another process serves the file system of a source or of the destination (FUSE)");
    }
    if !first_pass::can_be_apart() {
        return off("this system cannot hide the files being written from the processes that multi-sync starts");
    }
    if folding::of(Path::new(&dest)) == Folding::Folds {
        return off("the destination does not distinguish upper and lower case in names");
    }
    Ok(makes)
}

/// Whether DEST is local and nearly empty, so that nearly everything has to be created.
pub(super) fn is_dest_new(config: &Config) -> bool {
    if !config.destination.is_local() || !config.hosts.is_empty() {
        return false;
    }
    let dest = config.destination.as_typed(&config.cwd);
    let name = match &config.sources[..] {
        [only] => only.name(),
        _ => None,
    };
    let name = name.map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
    Known::of(Path::new(&dest), name).is_some_and(|known| known.is_empty())
}
