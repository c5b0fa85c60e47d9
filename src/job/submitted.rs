//! A run that is begun by a batch job: its directory is made here, before the job is, and the job goes on with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::run_dir::{self, Asked};
use crate::scan;
use crate::spool;

/// File systems in the memory of one machine: magic numbers of statfs(2), of tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// The directory of a run that nobody has begun to copy.
#[derive(Debug)]
pub struct Prepared {
    /// Where it is; absolute, without links.
    pub dir: PathBuf,
    /// It lies on a file system of this machine: others see it only if it is exported to them.
    pub is_local: bool,
}

/// Makes the directory of the run that `words` ask for, below `--buckets DIR`, and looks whether other machines can see it. Of the source nothing is
/// looked at: it may be on the nodes alone.
///
/// # Errors
/// It cannot be made, lies where it would be copied or deleted, or no other machine can see it.
pub fn prepare(config: &Config, words: &[OsString]) -> Result<Prepared> {
    const REMEDY: &str = "give --buckets DIR on storage that this machine and all nodes see";
    spool::refuse_streams_of_later(config)?;
    let parent = config.buckets.as_ref().map(|parent| config.cwd.join(parent));
    let parent = parent.ok_or_else(|| Error::usage("--submit without --buckets DIR").remedy(REMEDY))?;
    let kind = rustix::fs::statfs(&parent).map_or(0, |found| found.f_type as u32);
    if IN_MEMORY.contains(&kind) {
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
    // Which rsync copies the nodes know.
    Asked::new(words, &config.cwd, String::new()).write(&dir, true)?;
    made.keep();
    Ok(Prepared { is_local: !scan::is_elsewhere(&dir), dir })
}

/// Removes what [`prepare`] has made: there is no job.
pub fn take_back(dir: &Path) {
    // What is left is a run that can be forgotten.
    let _ = run_dir::forget(dir);
}
