//! A line of the journal: its checksum and its record.

use std::io::{self, BufRead};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Record;

/// The number of hexadecimal digits of a checksum; `DIGITS_1` is that of version 1.
const DIGITS: usize = 16;
const DIGITS_1: usize = 8;

/// Writes the line of a record. `last` is the checksum of the previous line, and becomes that of this one.
pub(super) fn write(record: &Record, last: &mut u64) -> Vec<u8> {
    let value = serde_json::to_vec(record).expect("records are plain data");
    *last = xxh3_64_with_seed(&value, *last);
    let mut line = format!("{last:016x} ").into_bytes();
    line.extend(value);
    line.push(b'\n');
    line
}

/// The record and the checksum of a line, if it is intact and follows a line with the checksum `last`.
pub(super) fn read(line: &[u8], last: u64) -> Option<(Record, u64)> {
    let line = line.strip_suffix(b"\n")?;
    let digits = line.iter().position(|byte| *byte == b' ')?;
    let (sum, value) = (sum(&line[..digits])?, &line[digits + 1..]);
    let expected = match digits {
        DIGITS => xxh3_64_with_seed(value, last),
        // No line of version 1 follows one of version 2.
        DIGITS_1 if last <= u64::from(u32::MAX) => u64::from(crc32fast::hash(value)),
        _ => return None,
    };
    (sum == expected).then(|| Some((serde_json::from_slice(value).ok()?, sum)))?
}

/// The record of a line whose checksum was verified before, or that this process has written.
pub(super) fn record(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let digits = line.iter().position(|byte| *byte == b' ')?;
    serde_json::from_slice(&line[digits + 1..]).ok()
}

/// Whether any line after `bad` is intact, considering the checksum that its previous line claims to have.
pub(super) fn any_whole(bad: &[u8], mut rest: impl BufRead) -> io::Result<bool> {
    let of = |line: &[u8]| line.iter().position(|byte| *byte == b' ').and_then(|end| sum(&line[..end]));
    // `bad` may itself be an intact line in the wrong place, and the next line then matches its checksum.
    let mut last = of(bad);
    let mut line = Vec::new();
    loop {
        line.clear();
        if rest.read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let after = |last: Option<u64>| last.is_some_and(|last| read(&line, last).is_some());
        if after(last) || after(Some(0)) {
            return Ok(true);
        }
        last = of(&line);
    }
}

/// The record of the last complete line in the end of a journal. The inner value is `None` if this line is damaged. The outer value is `None` if more of the
/// journal is needed. `is_all`: this is the whole journal.
pub(super) fn last(end: &[u8], is_all: bool) -> Option<Option<Record>> {
    // Whatever follows the last line break is incomplete.
    let whole = &end[..end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)];
    let before = |lines: &[u8]| {
        let without = lines.strip_suffix(b"\n").unwrap_or(lines);
        without.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1)
    };
    let Some(begin) = before(whole) else { return is_all.then(|| read(whole, 0).map(|(record, _)| record)) };
    // Of the previous line, only the checksum at its beginning is needed.
    let earlier = &whole[..begin];
    let start = match before(earlier) {
        Some(start) => start,
        None if is_all => 0,
        None => return None,
    };
    let digits = earlier[start..].split(|byte| *byte == b' ').next().unwrap_or_default();
    Some(sum(digits).and_then(|sum| read(&whole[begin..], sum)).map(|(record, _)| record))
}

fn sum(digits: &[u8]) -> Option<u64> {
    let small = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_sum = [DIGITS, DIGITS_1].contains(&digits.len()) && digits.iter().all(small);
    is_sum.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}
