//! Reads the output of `rsync --list-only`: a line for each entry, depth first.
//!
//! It is always the rsync on this machine that prints (generator.c, `list_file_entry`): type and permissions, length, date, time and path. rsync prints the
//! target after a link only if links are copied. They are not, so that only the path follows the time, and the line is unambiguous. With
//! `--no-human-readable` a length has no separators; they are skipped nevertheless. The path is escaped as in messages ([`super::filter::unescape`]).

use std::ffi::OsString;

use super::filter::unescape;
use super::prune::Prune;
use crate::entry::Kind;

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The kind of the entry.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Its length.
    pub size: u64,
    /// Its path in the transfer; `.` for the directory of a source with a trailing slash.
    pub path: Vec<u8>,
}

/// The options that list everything in a source, except the contents of directories that `prune` excludes: these are listed as if they were empty.
pub fn options(prune: &Prune) -> Vec<OsString> {
    let all = ["--recursive", "--list-only", "--no-links", "--no-human-readable", "--no-motd"];
    all.into_iter().map(OsString::from).chain(prune.contents_options()).collect()
}

/// The options with which rsync reports which names of a source are hard links of one file. It copies to nowhere, and changes nothing.
pub fn link_options(prune: &Prune) -> Vec<OsString> {
    let all = ["--recursive", "--links", "--devices", "--specials", "--hard-links", "--dry-run", "--no-motd"];
    // Two slashes are a safe separator, because no path contains two in a row.
    let format = "--out-format=%i//%n//%L";
    all.into_iter().chain([format]).map(OsString::from).chain(prune.contents_options()).collect()
}

/// Reads a line that is printed with `link_options`: a name, and an earlier name of the same file. `None` for all other names, which are the first of their
/// file.
///
/// ```
/// use multi_sync::harness::rsync::listing;
/// let line = listing::read_link(br"hf+++++++++//b/c => d// => a/1\#012").unwrap();
/// assert_eq!(line, (b"b/c => d".to_vec(), b"a/1\n".to_vec()));
/// assert_eq!(listing::read_link(b">f+++++++++//a/1//"), None);
/// ```
pub fn read_link(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let cut = |text: &'_ [u8]| text.windows(2).position(|two| two == b"//");
    // `h` marks an entry that is created as a hard link (rsync(1), --itemize-changes).
    let rest = line.strip_prefix(b"h")?;
    let rest = &rest[cut(rest)? + 2..];
    let end = cut(rest)?;
    let other = rest[end + 2..].strip_prefix(b" => ")?;
    Some((unescape(&rest[..end]), unescape(other)))
}

/// Reads a line; `None` if it is not part of the list.
///
/// ```
/// use multi_sync::harness::rsync::listing;
/// let line = listing::read(br"-rw-r--r--          4,096 2026/11/29 14:44:08  a\#012b -> c").unwrap();
/// assert_eq!((line.size, line.path), (4096, b" a\nb -> c".to_vec()));
/// assert_eq!(listing::read(b"Welcome to this server"), None);
/// ```
pub fn read(line: &[u8]) -> Option<Line> {
    const PERMISSIONS: usize = 10;
    let (permissions, rest) = line.split_at_checked(PERMISSIONS)?;
    let kind = match permissions[0] {
        b'd' => Kind::Dir,
        b'-' => Kind::File,
        b'l' => Kind::Symlink,
        b'p' | b's' | b'c' | b'b' => Kind::Special,
        _ => return None,
    };
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let mut fields = rest.get(blanks.max(1)..)?.splitn(4, |byte| *byte == b' ');
    let (length, date, time, path) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if !date.contains(&b'/') || !time.contains(&b':') || path.is_empty() {
        return None;
    }
    Some(Line { kind, mode: mode(&permissions[1..])?, size: size(length)?, path: unescape(path) })
}

/// The permission bits of a mode in the form of `ls -l` (lib/permstring.c).
fn mode(letters: &[u8]) -> Option<u32> {
    let mut mode = 0;
    for (at, letter) in letters.iter().enumerate() {
        let (group, bit) = (at / 3, 1 << (8 - at));
        let special = 0o4000 >> group;
        mode |= match (at % 3, letter) {
            (_, b'-') => 0,
            (0, b'r') | (1, b'w') | (2, b'x') => bit,
            (2, b's' | b't') => bit | special,
            (2, b'S' | b'T') => special,
            _ => return None,
        };
    }
    Some(mode)
}

fn size(digits: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = digits.iter().copied().filter(|byte| !matches!(byte, b',' | b'.')).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_are_read() {
        let line = |kind, mode, size, path: &[u8]| Some(Line { kind, mode, size, path: path.to_vec() });
        for (text, expected) in [
            (&b"drwxr-xr-x        4096 2026/11/29 14:44:08 ."[..], line(Kind::Dir, 0o755, 4096, b".")),
            (b"drwxrwxrwt          4,096 2026/11/29 14:44:08 d", line(Kind::Dir, 0o1777, 4096, b"d")),
            (b"-rwsr-S--T 12345678901 1901/12/13 20:45:52 big", line(Kind::File, 0o7740, 12_345_678_901, b"big")),
            (b"-rw-r--r--           1 2026/11/29 14:44:08  lead", line(Kind::File, 0o644, 1, b" lead")),
            (b"-rw-r--r--           1 2026/11/29 14:44:08   ", line(Kind::File, 0o644, 1, b"  ")),
            (b"lrwxrwxrwx           6 2026/11/29 14:44:08 s -> t", line(Kind::Symlink, 0o777, 6, b"s -> t")),
            (b"prw-r--r--           0 2026/11/29 14:44:08 lit\\#134#012", line(Kind::Special, 0o644, 0, b"lit\\#012")),
            (b"crw-rw-rw-           0 2026/11/29 14:44:08 a/\xff", line(Kind::Special, 0o666, 0, b"a/\xff")),
            (b"-rw-r--r--           0 2026/11/29 14:44:08 ", None),
            (b"-rw-r--r--           0 2026/11/29 14:44:08", None),
            (b"-rw-r--r--", None),
            (b"", None),
            (b"-rw-r--r--           x 2026/11/29 14:44:08 a", None),
            (b"-rw-r--rw-           - 2026/11/29 14:44:08 a", None),
            (b"the quick brown fox 1 2/3 4:5 a", None),
            (b"deleting a", None),
        ] {
            assert_eq!(read(text), expected, "{}", text.escape_ascii());
        }
    }
}
