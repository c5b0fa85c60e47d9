//! Sizes and counts agree with a model in 128 bits, and what is printed exactly reads back.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use multi_sync::Error;
use multi_sync::harness::size::{Size, human, human_rate, parse_count};

/// Takes the input as a word and, where it is long enough, as a number of bytes.
pub fn check(data: &[u8]) {
    let word = OsStr::from_bytes(data);
    let size = Size::parse(word);
    assert_eq!(size.as_ref().ok().map(|size| size.bytes()), model(data, "KMGTPEZY"), "size {word:?}");
    let count = parse_count(word);
    assert_eq!(count.as_ref().ok().map(|count| count.get() as u64), model(data, ""), "count {word:?}");
    size.err().iter().chain(&count.err()).for_each(explains_itself);

    let number = data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default();
    let zeros = data.last().map_or(0, |byte| u32::from(byte % 64));
    for bytes in [number, number >> zeros << zeros, number >> zeros] {
        people_are_told_the_truth(bytes);
        let Some(size) = NonZeroU64::new(bytes).map(Size::new) else { continue };
        let printed = size.to_string();
        assert_eq!(Size::parse(printed.as_ref()).unwrap(), size);
        assert_eq!(model(printed.as_bytes(), "KMGTPE"), Some(bytes), "{printed}");
        // The number in front of the largest suffix that divides is odd in base 1024.
        let shown: u128 = printed.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap();
        assert!(!shown.is_multiple_of(1024) || printed.ends_with('E'), "{printed}");
    }
}

fn model(word: &[u8], suffixes: &str) -> Option<u64> {
    let word = std::str::from_utf8(word).ok()?;
    let (digits, unit) = match word.chars().last()? {
        letter if letter.is_ascii_alphabetic() => {
            let power = suffixes.find(letter.to_ascii_uppercase())? + 1;
            (&word[..word.len() - 1], 1_u128 << (10 * power))
        }
        _ => (word, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<u128>().ok()?.checked_mul(unit)?;
    u64::try_from(value).ok().filter(|&value| value > 0)
}

fn explains_itself(error: &Error) {
    assert_eq!(error.exit_code(), 1);
    assert!(!error.to_string().contains(char::is_control), "{error}");
    assert!(error.advice().is_some_and(|advice| !advice.is_empty()), "{error}");
}

fn people_are_told_the_truth(bytes: u64) {
    let printed = human(bytes);
    let (number, unit) = printed.split_once(' ').unwrap();
    let unit = match unit.strip_suffix("iB") {
        Some(letter) => 1024_f64.powi("KMGTPE".find(letter).unwrap() as i32 + 1),
        None => 1.0,
    };
    let error = (number.parse::<f64>().unwrap() * unit - bytes as f64).abs();
    assert!(error <= 0.051 * unit, "{bytes} is shown as {printed}");
    assert_eq!(human_rate(bytes, Duration::from_secs(1)), format!("{printed}/s"));
}
