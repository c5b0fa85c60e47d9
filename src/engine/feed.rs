//! From the scan to buckets: turns what the scan finds into rsync arguments, packs them, and tells the coordinator.

use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::bucket::{Bucket, BucketDir, Packer};
use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::scan::{self, KeptWhole, ScanError, Unit, Watch};

/// What the coordinator hears of the scan.
pub(super) enum Found {
    /// A spine directory, in their order: its argument, or `None` if it is DEST itself.
    Spine(Option<Vec<u8>>),
    Buckets(Vec<Bucket>),
    KeptWhole(KeptWhole, String),
    Unread(ScanError),
    /// The scan ended, and took this long.
    End(Result<Duration>),
}

/// Scans and packs; returns when all is told. `room` is what the arguments of one launch may take.
pub(super) fn feed(
    config: &Config,
    plan: &Plan,
    buckets: &BucketDir,
    room: usize,
    watch: &Watch,
    tell: &(dyn Fn(Found) + Sync),
) {
    let began = Instant::now();
    let packer = Packer::new(config.limits, room, buckets);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let take = |packed: Result<Vec<Bucket>>| match packed {
        Ok(closed) if closed.is_empty() => {}
        Ok(closed) => tell(Found::Buckets(closed)),
        Err(error) => {
            failure.lock().expect("a thread that packs panicked").get_or_insert(error);
            watch.stop();
        }
    };
    for single in &plan.singles {
        watch.count_single(single.weight);
        let unit = Unit { name: single.name.as_bytes(), weight: single.weight };
        take(packer.pack(&single.prefix, 0, std::iter::once(unit)));
    }
    let scanned = plan.scan(config).run(watch, &|event| match event {
        scan::Event::Spine(spine) => {
            let argument = join(&plan.trees[spine.root as usize].prefix, spine.path);
            tell(Found::Spine((!spine.path.is_empty()).then_some(argument)));
        }
        scan::Event::Units(units) => {
            let mut prefix = join(&plan.trees[units.root as usize].prefix, units.dir);
            if !units.dir.is_empty() {
                prefix.push(b'/');
            }
            take(packer.pack(&prefix, units.spine.map_or(0, |spine| spine + 1), units.iter()));
        }
        scan::Event::KeptWhole { path, why, .. } => {
            tell(Found::KeptWhole(why, Printable::bytes(path).to_string()));
        }
        scan::Event::Error(error) => tell(Found::Unread(error)),
    });
    take(packer.finish().map(|last| last.into_iter().collect()));
    let failure = failure.into_inner().expect("a thread that packs panicked");
    tell(Found::End(scanned.and(failure.map_or(Ok(()), Err)).map(|()| began.elapsed())));
}

fn join(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    [prefix, path].concat()
}
