//! Reads `--bwlimit` as rsync does. The engine divides it among the launches.

use std::ffi::OsString;
use std::num::NonZero;

use crate::rsync::bandwidth::{self, kib_per_second};
use crate::rsync::options::Meaning;

/// The limit in KiB a second, rsync's unit; `None` without a limit. If it cannot be read, the result is an error, and rsync reports that better.
pub(super) fn limit(meaning: &Meaning) -> std::result::Result<Option<NonZero<u64>>, ()> {
    let Some(limit) = &meaning.bwlimit else { return Ok(None) };
    limit.to_str().and_then(kib_per_second).map(NonZero::new).ok_or(())
}

/// The option with which one rsync that does everything keeps to the limit in every second; `None` if the limit need not be changed.
pub(super) fn steady(meaning: &Meaning) -> Option<OsString> {
    let limit = limit(meaning).ok().flatten()?.get();
    let steady = bandwidth::steady(limit);
    (steady < limit).then(|| format!("--bwlimit={steady}").into())
}
