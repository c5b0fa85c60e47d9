//! How much a run may delete: the limit that was requested, and whether a count is within it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::entry::Printable;
use crate::error::{Error, Result};

/// How much a run may delete at the destination. Deletions are counted before the first one; if there are more than allowed, nothing is deleted.
///
/// ```
/// use multi_sync::job::DeleteLimit;
///
/// assert_eq!("100".parse::<DeleteLimit>()?, DeleteLimit::Entries(100));
/// assert_eq!("2.5%".parse::<DeleteLimit>()?, DeleteLimit::Percent(2.5));
/// assert_eq!("none".parse::<DeleteLimit>()?, DeleteLimit::Unlimited);
/// assert!("-1".parse::<DeleteLimit>().is_err());
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum DeleteLimit {
    /// This number of entries.
    Entries(u64),
    /// This percentage, from 0 to 100, of the entries of the transfer at the destination: those that stay and those that are deleted.
    Percent(f64),
    /// Everything, even if a source is empty or on another file system than in the last run.
    Unlimited,
}

impl DeleteLimit {
    /// What a percentage may be.
    pub(crate) const PERCENTAGES: RangeInclusive<f64> = 0.0..=100.0;

    /// Whether `count` deletions are more than allowed if `stay` entries stay.
    pub(crate) fn forbids(self, count: u64, stay: u64) -> bool {
        match self {
            DeleteLimit::Entries(most) => count > most,
            DeleteLimit::Percent(most) => count as f64 * 100.0 > most * count.saturating_add(stay) as f64,
            DeleteLimit::Unlimited => false,
        }
    }
}

impl FromStr for DeleteLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeleteLimit> {
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let read = match text.strip_suffix('%') {
            _ if text == "none" => Some(DeleteLimit::Unlimited),
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| is_number(text) && DeleteLimit::PERCENTAGES.contains(percent))
                .map(DeleteLimit::Percent),
            None => text.parse().ok().filter(|_| is_number(text)).map(DeleteLimit::Entries),
        };
        read.ok_or_else(|| {
            Error::usage(format!("not a limit for deletions: {}", Printable::bytes(text.as_bytes())))
                .remedy("write a number of entries, a share such as 5%, or none")
        })
    }
}

impl fmt::Display for DeleteLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeleteLimit::Entries(most) => write!(f, "{most}"),
            DeleteLimit::Percent(most) => write!(f, "{most}%"),
            DeleteLimit::Unlimited => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_printed() {
        for text in ["0", "17", "0%", "2.5%", "100%", "none"] {
            assert_eq!(text.parse::<DeleteLimit>().unwrap().to_string(), text);
        }
        for text in
            ["", "%", "-1", "+1", "1.5", "101%", "-1%", "nan%", "inf%", "1 %", "None", "1e3", "99999999999999999999"]
        {
            assert!(text.parse::<DeleteLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_as_much_as_the_limit_is_allowed() {
        for (limit, count, stay, forbidden) in [
            (DeleteLimit::Entries(0), 0, 0, false),
            (DeleteLimit::Entries(0), 1, 9, true),
            (DeleteLimit::Entries(3), 3, 0, false),
            (DeleteLimit::Entries(3), 4, 0, true),
            (DeleteLimit::Percent(50.0), 5, 5, false),
            (DeleteLimit::Percent(50.0), 6, 5, true),
            (DeleteLimit::Percent(99.9), 7, 0, true),
            (DeleteLimit::Percent(100.0), 7, 0, false),
            (DeleteLimit::Percent(0.0), 0, 0, false),
            (DeleteLimit::Unlimited, u64::MAX, 0, false),
        ] {
            assert_eq!(limit.forbids(count, stay), forbidden, "{limit} {count} {stay}");
        }
    }
}
