//! Sizes and counts: how `--size`, `--files` and `--processes` are typed, and how bytes and rates are shown to users.
//!
//! This module owns the grammar `DIGITS[KMGTPEZY]`, with powers of 1024, as in msrsync's `-s` and the one-letter suffixes of rsync(1) `--max-size`. It
//! refuses everything else with a specific message: zero, signs, blanks, fractions, exponents, and the suffixes `KB` and `KiB`, because rsync reads the first
//! as a power of 1000 and the second as a power of 1024, and users should not have to remember which is which. The crate `bytesize` is used only for
//! printing, because it reads `1G` as 10^9.

use std::ffi::OsStr;
use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytesize::ByteSize;

use crate::entry::Printable;
use crate::error::{Error, Result};

/// The suffixes in order: the one at index `i` stands for 1024 to the power `i + 1`.
const SUFFIXES: &[u8; 8] = b"KMGTPEZY";

/// A limit in bytes, at least one. Its `Display` is exact: it uses the largest suffix that divides it, and [`Size::parse`] reads it back.
///
/// ```
/// use multi_sync::harness::size::Size;
/// let size = Size::parse("1536m".as_ref())?;
/// assert_eq!(size.bytes(), 1536 << 20);
/// assert_eq!(size.to_string(), "1536M");
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(NonZeroU64);

impl Size {
    /// The largest size there is: one byte less than 16 E.
    pub const MAX: Size = Size(NonZeroU64::MAX);

    /// A size known in bytes.
    pub const fn new(bytes: NonZeroU64) -> Self {
        Size(bytes)
    }

    /// Reads a word such as `500`, `64k` or `1G`. Suffixes are powers of 1024 in either case.
    ///
    /// `Z` and `Y` are valid suffixes, but exceed 64 bits: they are refused as too large, not as unknown.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let (digits, suffix) = split_digits(word.as_bytes());
        let power = match suffix {
            [] => Some(0),
            [letter] => SUFFIXES.iter().position(|s| s.eq_ignore_ascii_case(letter)).map(|index| index + 1),
            _ => None,
        };
        let Some(power) = power.filter(|_| !digits.is_empty()) else {
            return Err(not_a_size(word, "is not a size").remedy(SIZE_REMEDY));
        };
        if digits.iter().all(|&digit| digit == b'0') {
            return Err(not_a_size(word, "is zero").remedy(SIZE_REMEDY));
        }
        number(digits)
            .zip(1024_u64.checked_pow(power as u32))
            .and_then(|(number, unit)| number.checked_mul(unit))
            .and_then(NonZeroU64::new)
            .map(Size)
            .ok_or_else(|| {
                not_a_size(word, "is too large")
                    .remedy(format!("the largest size is {} bytes (16E less one)", Size::MAX.0))
            })
    }

    /// The size in bytes, never zero.
    pub const fn bytes(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes().trailing_zeros() / 10) as usize {
            0 => write!(f, "{}", self.0),
            power => write!(f, "{}{}", self.bytes() >> (10 * power), SUFFIXES[power - 1] as char),
        }
    }
}

/// Reads a count: only digits, at least one, at most `usize::MAX`.
///
/// ```
/// assert_eq!(multi_sync::harness::size::parse_count("1000".as_ref())?.get(), 1000);
/// # Ok::<(), multi_sync::Error>(())
/// ```
pub fn parse_count(word: &OsStr) -> Result<NonZeroUsize> {
    let refused = |problem| {
        Error::usage(format!("count {} {problem}", Quoted(word)))
            .remedy(format!("write a whole number from 1 to {}", usize::MAX))
    };
    let (digits, rest) = split_digits(word.as_bytes());
    if digits.is_empty() || !rest.is_empty() {
        return Err(refused("is not a whole number"));
    }
    let number = number(digits).and_then(|n| usize::try_from(n).ok()).ok_or_else(|| refused("is too large"))?;
    NonZeroUsize::new(number).ok_or_else(|| refused("is zero"))
}

/// Bytes for users, in powers of 1024 and rounded: `1.5 GiB`, `17 B`. [`Size`] prints exactly.
pub fn human(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Bytes per second for users: `12.3 MiB/s`; `-` if no time has passed.
pub fn human_rate(bytes: u64, elapsed: Duration) -> String {
    const NANOS_PER_SECOND: u128 = 1_000_000_000;
    match (u128::from(bytes) * NANOS_PER_SECOND).checked_div(elapsed.as_nanos()) {
        Some(per_second) => format!("{}/s", human(u64::try_from(per_second).unwrap_or(u64::MAX))),
        None => "-".to_owned(),
    }
}

const SIZE_REMEDY: &str = "write a whole number from 1, alone (bytes) or with one letter of K M G T P E (powers of 1024), \
                           such as 500M: not KB or KiB, no fraction, sign or blank";

fn not_a_size(word: &OsStr, problem: &str) -> Error {
    Error::usage(format!("size {} {problem}", Quoted(word)))
}

/// The leading ASCII digits and what follows them.
fn split_digits(word: &[u8]) -> (&[u8], &[u8]) {
    word.split_at(word.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

/// The value of ASCII digits, if it fits into 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// A culprit between quotes, safe for a terminal.
struct Quoted<'a>(&'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", Printable::os(self.0))
    }
}

/// A number with its noun: `1 bucket`, `2 buckets`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Like [`counted`], with digits in groups of three.
pub fn grouped_of(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A number such as `12,345`, as rsync prints it.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(word: &str) -> u64 {
        Size::parse(word.as_ref()).unwrap_or_else(|error| panic!("{word}: {error}")).bytes()
    }

    fn refusal(word: &[u8]) -> Error {
        Size::parse(OsStr::from_bytes(word)).expect_err(&String::from_utf8_lossy(word))
    }

    #[test]
    fn a_number_has_the_noun_that_it_needs() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "entry", "entries")), ["0 entries", "1 entry", "2 entries"]);
        assert_eq!([1, 1000].map(|count| grouped_of(count, "run", "runs")), ["1 run", "1,000 runs"]);
    }

    #[test]
    fn suffixes_are_powers_of_1024_in_either_case() {
        assert_eq!(bytes("1"), 1);
        assert_eq!(bytes("007"), 7);
        for (index, letter) in ["K", "M", "G", "T", "P", "E"].iter().enumerate() {
            let unit = 1_u64 << (10 * (index + 1));
            assert_eq!(bytes(&format!("1{letter}")), unit);
            assert_eq!(bytes(&format!("3{}", letter.to_lowercase())), 3 * unit);
        }
        assert_eq!(bytes("18446744073709551615"), u64::MAX);
        assert_eq!(bytes("15E"), 15 << 60);
        assert_eq!(bytes("18014398509481983K"), u64::MAX - 1023);
    }

    #[test]
    fn what_is_not_a_size_is_named_with_what_is() {
        for word in [
            "",
            " ",
            "K",
            "10KK",
            "10Q",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1 K",
            "1e3",
            "1.5G",
            "1,5G",
            "0x10",
            "1_000",
            "1B",
            "1KB",
            "1KiB",
            "\u{661}",
            "1\u{212a}",
            "K1",
            "1\n",
        ] {
            let error = refusal(word.as_bytes());
            assert_eq!(
                error.to_string(),
                format!("size '{}' is not a size", Printable::bytes(word.as_bytes())),
                "{word:?}"
            );
            assert!(error.advice().unwrap().contains("K M G T P E ("), "{word:?}");
        }
        assert_eq!(refusal(b"1\xff").to_string(), "size '1\\xff' is not a size");
        for word in ["0", "000", "0K", "0Y"] {
            assert_eq!(refusal(word.as_bytes()).to_string(), format!("size '{word}' is zero"));
        }
    }

    #[test]
    fn what_64_bits_cannot_hold_is_refused_with_the_largest_size() {
        for word in ["18446744073709551616", "16E", "16384P", "18014398509481984K", "1Z", "1Y", "1y", &"9".repeat(99)] {
            let error = refusal(word.as_bytes());
            assert_eq!(error.to_string(), format!("size '{word}' is too large"));
            assert!(error.advice().unwrap().contains("18446744073709551615"), "{word}");
        }
    }

    #[test]
    fn counts_are_whole_numbers_from_one() {
        let count = |word: &str| parse_count(word.as_ref()).map_err(|error| error.to_string());
        assert_eq!(count("1").unwrap().get(), 1);
        assert_eq!(count("18446744073709551615").unwrap(), NonZeroUsize::MAX);
        assert_eq!(count("0").unwrap_err(), "count '0' is zero");
        assert_eq!(count("18446744073709551616").unwrap_err(), "count '18446744073709551616' is too large");
        for word in ["", "-1", "+1", "1k", " 1", "1.0", "1e3", "four"] {
            assert_eq!(count(word).unwrap_err(), format!("count '{word}' is not a whole number"));
        }
        assert!(parse_count("x".as_ref()).unwrap_err().advice().unwrap().contains("from 1 to"));
    }

    #[test]
    fn people_read_powers_of_1024() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(3 << 29), "1.5 GiB");
        assert_eq!(human(u64::MAX), "16.0 EiB");
        for (power, unit) in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().enumerate() {
            assert_eq!(human(1 << (10 * (power + 1))), format!("1.0 {unit}"));
        }
    }

    #[test]
    fn rates_survive_no_time_and_very_little_of_it() {
        assert_eq!(human_rate(123 << 20, Duration::from_secs(10)), "12.3 MiB/s");
        assert_eq!(human_rate(0, Duration::from_secs(1)), "0 B/s");
        assert_eq!(human_rate(1, Duration::ZERO), "-");
        assert_eq!(human_rate(u64::MAX, Duration::from_nanos(1)), "16.0 EiB/s");
    }

    proptest! {
        #[test]
        fn an_exact_print_reads_back(value in 1..=u64::MAX, zeros in 0..64_u32) {
            if let Some(value) = NonZeroU64::new(value >> zeros << zeros) {
                let size = Size::new(value);
                prop_assert_eq!(Size::parse(size.to_string().as_ref()).unwrap(), size);
            }
        }

        #[test]
        fn an_exact_print_uses_the_largest_suffix_that_divides(number in 1..1024_u64, power in 0..6_u32) {
            let size = Size::new(NonZeroU64::new(number << (10 * power)).unwrap_or(NonZeroU64::MIN));
            let suffix = if power == 0 { String::new() } else { (SUFFIXES[power as usize - 1] as char).to_string() };
            prop_assume!(size.bytes() >> (10 * power) == number && number % 1024 != 0);
            prop_assert_eq!(size.to_string(), format!("{number}{suffix}"));
        }

        #[test]
        fn sizes_compare_as_their_bytes(a in 1..=u64::MAX, b in 1..=u64::MAX) {
            let read = |value: u64| Size::parse(value.to_string().as_ref()).unwrap();
            prop_assert_eq!(read(a).cmp(&read(b)), a.cmp(&b));
        }

        #[test]
        fn any_bytes_give_a_value_or_a_refusal(word in prop::collection::vec(any::<u8>(), 0..24)) {
            let word = OsStr::from_bytes(&word);
            for error in [Size::parse(word).err(), parse_count(word).err()].into_iter().flatten() {
                prop_assert_eq!(error.exit_code(), crate::error::EXIT_USAGE);
                prop_assert!(!error.to_string().contains('\n') && error.advice().is_some());
            }
        }
    }
}
