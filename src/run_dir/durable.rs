//! What of a run the disk has to keep, and in which order. What it has not kept after a power cut is scanned or copied again.
//!
//! 1. The files of the buckets, `plan.json`, and the directories that lead to them ([`sync_buckets`]).
//! 2. The journal that says that the scan is complete ([`sync_scanned`]): it names the buckets.
//! 3. The journal at the end of the run ([`sync_end`]), and then the lists of what failed, which are written from it.
//!
//! Nothing waits for the disk in between. A process that is killed loses nothing of what it has written: `started` is in the journal's file
//! before an rsync starts, `done` as soon as it is decided.

use std::fs::File;
use std::io;

use crate::bucket::BucketDir;
use crate::error::{Error, Result};

use super::journal::Journal;
use super::layout::PLAN;

/// The disk has the buckets of a complete scan.
#[derive(Debug)]
pub struct BucketsKept(());

/// Has the disk keep the files of these buckets, and all that leads to them. `None` if `stop` said so before all was done.
///
/// # Errors
/// The disk could not.
pub fn sync_buckets(
    dir: &BucketDir,
    buckets: impl Iterator<Item = u64> + Clone,
    stop: &dyn Fn() -> bool,
) -> Result<Option<BucketsKept>> {
    let plan = dir.path().join(PLAN);
    match File::open(&plan).and_then(|plan| plan.sync_all()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound && !stop() => {
            return Err(Error::io("write to disk", &plan, cause));
        }
        _ => {}
    }
    Ok(dir.sync(buckets, stop)?.then_some(BucketsKept(())))
}

/// Has the disk keep the journal that says that the scan is complete.
///
/// # Errors
/// The disk could not.
pub fn sync_scanned(journal: &mut Journal, _: BucketsKept) -> Result<()> {
    journal.sync()
}

/// Has the disk keep the journal of a run that ends. If the run directory is about to be removed, whoever reads it by then needs the file only.
///
/// # Errors
/// The disk could not, or the file cannot be written.
pub fn sync_end(journal: &mut Journal, is_removed: bool) -> Result<()> {
    if is_removed { journal.flush() } else { journal.sync() }
}
