//! A run that a batch job will begin: its run directory is created here, before the job, and the job resumes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::file_system;
use crate::run_dir::{self, Asked};
use crate::scan;
use crate::spool;

/// The directory of a run that has not begun to copy.
#[derive(Debug)]
pub struct Prepared {
    /// Its path; absolute, and without symbolic links.
    pub dir: PathBuf,
    /// It is on a local file system: other machines see it only if that is exported to them.
    pub is_local: bool,
}

/// Creates the run directory for the command line `words` below `--buckets DIR`, and checks whether other machines can see it. The source is not looked at,
/// because perhaps only the nodes can see it.
///
/// # Errors
/// The directory cannot be created, is inside what is copied or deleted, or is visible to no other machine.
pub fn prepare(config: &Config, words: &[OsString]) -> Result<Prepared> {
    const REMEDY: &str = "give --buckets DIR on storage that this machine and all nodes see";
    spool::refuse_streams_of_later(config)?;
    let parent = config.buckets.as_ref().map(|parent| config.cwd.join(parent));
    let parent = parent.ok_or_else(|| Error::usage("--submit without --buckets DIR").remedy(REMEDY))?;
    if file_system::is_in_memory(&parent) {
        let shown = Printable::path(&parent);
        return Err(Error::usage(format!("{shown} is in the memory of this machine: no other machine can see it"))
            .remedy(REMEDY));
    }
    let here = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let sources = config.sources.iter().filter(|source| source.is_local()).map(|source| {
        let base = source.base(&config.cwd);
        here(source.name().map_or_else(|| base.clone(), |name| base.join(name)))
    });
    let sources: Vec<PathBuf> = sources.collect();
    let destination =
        config.destination.is_local().then(|| here(config.cwd.join(Path::new(config.destination.original()))));
    let mut made = BucketDir::create(Some(&parent), &sources, destination.as_deref())?;
    if made.is_in_source() {
        return Err(Error::usage(format!(
            "--buckets {} lies inside a source, and would be copied",
            Printable::path(&parent)
        ))
        .remedy("give one elsewhere"));
    }
    let dir = here(made.path().to_owned());
    // The version of rsync is known only on the nodes.
    Asked::new(words, &config.cwd, String::new()).write(&dir, true)?;
    made.keep();
    Ok(Prepared { is_local: !scan::is_elsewhere(&dir), dir })
}

/// Removes what [`prepare`] has created, because there is no job.
pub fn take_back(dir: &Path) {
    // If this fails, the rest is a run that the user can forget.
    let _ = run_dir::forget(dir);
}
