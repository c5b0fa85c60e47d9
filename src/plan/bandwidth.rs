//! `--bwlimit`: what it says, read as rsync reads it. The engine shares it among the launches.

use std::ffi::OsString;
use std::num::NonZero;

use crate::rsync::bandwidth::{self, kib_per_second};
use crate::rsync::options::Meaning;

/// The limit in KiB a second, rsync's unit. `None` without one; an error if it cannot be read, which rsync says better.
pub(super) fn limit(meaning: &Meaning) -> std::result::Result<Option<NonZero<u64>>, ()> {
    let Some(limit) = &meaning.bwlimit else { return Ok(None) };
    limit.to_str().and_then(kib_per_second).map(NonZero::new).ok_or(())
}

/// The option by which one rsync that does it all keeps to the limit in every second; none where it is not changed.
pub(super) fn steady(meaning: &Meaning) -> Option<OsString> {
    let limit = limit(meaning).ok().flatten()?.get();
    let steady = bandwidth::steady(limit);
    (steady < limit).then(|| format!("--bwlimit={steady}").into())
}
