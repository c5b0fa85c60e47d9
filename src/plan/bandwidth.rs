//! `--bwlimit` as the total over all processes: each gets an even part.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;

use crate::rsync::options::Meaning;

/// The part of `--bwlimit` that each of so many processes may use, as an option in rsync's unit (KiB per second). `None` without a
/// limit; an error if it cannot be shared.
pub(super) fn share(meaning: &Meaning, processes: NonZero<usize>) -> std::result::Result<Option<OsString>, ()> {
    let Some(limit) = meaning.bwlimit.as_deref().filter(|limit| *limit != "0") else { return Ok(None) };
    let kib = kib_per_second(limit).ok_or(())?;
    match kib / processes.get() as u64 {
        0 => Err(()),
        share => Ok(Some(format!("--bwlimit={share}").into())),
    }
}

/// rsync(1), `--bwlimit`: KiB unless a suffix says otherwise; `K` and `KiB` are powers of 1024, `KB` of 1000.
fn kib_per_second(limit: &OsStr) -> Option<u64> {
    let text = limit.to_str()?.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let bytes: u64 = match &text[digits..] {
        "" | "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "b" => 1,
        _ => return None,
    };
    Some(number.checked_mul(bytes)? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_limit_is_read_as_rsync_reads_it() {
        for (text, kib) in [
            ("100", Some(100)),
            ("2m", Some(2048)),
            ("1GiB", Some(1 << 20)),
            ("1mb", Some(976)),
            ("2048b", Some(2)),
            ("1.5m", None),
        ] {
            assert_eq!(kib_per_second(OsStr::new(text)), kib, "{text}");
        }
    }
}
