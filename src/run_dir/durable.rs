//! What has to be synced to the disk, and in which order. Whatever is lost in a power cut is scanned or copied again.
//!
//! 1. The bucket files, `plan.json`, and the directories that lead to them ([`sync_buckets`]).
//! 2. The journal record that the scan is complete ([`sync_scanned`]), because it refers to the buckets.
//! 3. The journal at the end of the run ([`sync_end`]). After that, the lists of failures are written from it.
//!
//! Nothing else waits for the disk. A process that is killed loses nothing that it has written: `started` is in the journal file before an rsync starts, and
//! `done` as soon as it is decided.

use std::fs::File;
use std::io;

use crate::bucket::BucketDir;
use crate::error::{Error, Result};

use super::journal::Journal;
use super::layout::PLAN;

/// Proof that the buckets of a complete scan are on the disk.
#[derive(Debug)]
pub struct BucketsKept(());

/// Syncs these bucket files, and everything that leads to them. `None` if `stop` returned true before all was done.
///
/// # Errors
/// The disk failed.
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

/// Syncs the journal record that the scan is complete.
///
/// # Errors
/// The disk failed.
pub fn sync_scanned(journal: &mut Journal, _: BucketsKept) -> Result<()> {
    journal.sync()
}

/// Syncs the journal of a run that ends. If the run directory is about to be removed, the record only has to reach the file, for processes that still read it.
///
/// # Errors
/// The disk failed, or the file cannot be written.
pub fn sync_end(journal: &mut Journal, is_removed: bool) -> Result<()> {
    if is_removed { journal.flush() } else { journal.sync() }
}
