//! A bandwidth as rsync reads it.

/// rsync(1), `--bwlimit`: a number with or without a fraction, in KiB unless a suffix says otherwise; `K` and `KiB` are powers of 1024, `KB` of 1000, and
/// `+1` or `-1` at the end is a byte. Rounded to KiB; `None` if rsync would not accept the text.
pub fn kib_per_second(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (rest, byte) = match (text.strip_suffix("+1"), text.strip_suffix("-1")) {
        (Some(rest), _) => (rest, 1.0),
        (_, Some(rest)) => (rest, -1.0),
        _ => (text.as_str(), 0.0),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let number: f64 = rest[..end].parse().ok()?;
    let mut suffix = rest[end..].chars();
    let power = suffix.next().map_or(Some(1), |letter| "bkmgtp".find(letter))?;
    let base = match suffix.as_str() {
        "" | "ib" => 1024_f64,
        "b" => 1000.0,
        _ => return None,
    };
    let bytes = (number * base.powi(power as i32)).floor() + byte;
    // rsync refuses less than this, except 0, which means no limit.
    const LEAST: f64 = 512.0;
    (bytes == 0.0 || (LEAST..u64::MAX as f64).contains(&bytes)).then(|| (bytes as u64).saturating_add(512) / 1024)
}

/// The `--bwlimit` that makes rsync keep within a limit in every single second, both in KiB a second: in one second rsync passes up to 1.15 times its limit,
/// and less in the next (3.5.0, measured at a link), so that only the mean is right. A small limit is left unchanged.
pub fn steady(limit: u64) -> u64 {
    const LEAST: u64 = 1024;
    if limit < LEAST { limit } else { limit - limit.div_ceil(16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_held_back_of_a_limit() {
        assert_eq!([40_960, 1024, 1023, 1].map(steady), [38_400, 960, 1023, 1]);
        assert!(steady(u64::MAX) < u64::MAX);
    }

    #[test]
    fn a_bandwidth_limit_is_read_as_rsync_reads_it() {
        for (text, kib) in [
            ("100", Some(100)),
            ("2m", Some(2048)),
            ("1GiB", Some(1 << 20)),
            ("1mb", Some(977)),
            ("2048b", Some(2)),
            ("1.5m", Some(1536)),
            ("0.5", Some(1)),
            (".25M", Some(256)),
            ("1m-1", Some(1024)),
            ("0k", Some(0)),
            ("100b", None),
            ("1x", None),
            ("-1", None),
            ("1e3", None),
            ("k", None),
        ] {
            assert_eq!(kib_per_second(text), kib, "{text}");
        }
    }
}
