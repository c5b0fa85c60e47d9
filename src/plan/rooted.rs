//! Lines about sources that were typed as paths from the root, with `--relative`: rsync prints their names with the leading slash. Launches get such sources in
//! another form (`/./home/user/f`), for which rsync prints no slash.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;

use crate::config::Config;
use crate::endpoint::Source;
use crate::rsync::options::Meaning;

/// The number of letters in a line of `-i`.
const LETTERS: usize = 11;

/// The names of such sources, without the slash.
#[derive(Debug, Clone, Default)]
pub struct Rooted(Vec<Vec<u8>>);

impl Rooted {
    pub(super) fn new(config: &Config, meaning: &Meaning) -> Rooted {
        let sources = if meaning.relative && !config.pulls() { &config.sources[..] } else { &[] };
        Rooted(sources.iter().filter(|source| is_rooted(source)).map(name).collect())
    }

    /// The line as one rsync would print it. For deletions, one rsync prints no slash either.
    pub fn line<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let begins = [Some(0), (line.get(LETTERS) == Some(&b' ') && line[0] != b'*').then_some(LETTERS + 1)];
        let names = |at: &usize| self.0.iter().any(|name| is_of(&line[*at..], name));
        match begins.into_iter().flatten().find(names) {
            Some(at) => Cow::Owned([&line[..at], b"/", &line[at..]].concat()),
            None => Cow::Borrowed(line),
        }
    }
}

/// Whether lines about sources that were typed from the root cannot be distinguished from others with certainty.
pub(super) fn are_unclear(sources: &[(Source, std::fs::Metadata)]) -> bool {
    let (rooted, others): (Vec<_>, Vec<_>) =
        sources.iter().map(|(source, _)| source).partition(|source| is_rooted(source));
    // rsync prints other bytes as numbers, depending on the locale.
    let is_plain = |source: &&Source| name(source).iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    let clear = others.is_empty() && rooted.iter().all(is_plain);
    !rooted.is_empty() && !clear
}

/// Whether the source was typed as a path from the root without `/./`.
pub(super) fn is_rooted(source: &Source) -> bool {
    let word = source.original().as_bytes();
    word.starts_with(b"/") && !word.contains_str(b"/./")
}

fn name(source: &Source) -> Vec<u8> {
    let parts = source.original().as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Whether the line is about this source, its contents, or a directory above it.
fn is_of(line: &[u8], name: &[u8]) -> bool {
    match line.strip_prefix(name) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || rest.starts_with(b" "),
        None => line.ends_with(b"/") && name.starts_with(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_such_sources_get_their_slash() {
        let rooted = Rooted(vec![b"home/me".to_vec(), b"etc".to_vec()]);
        for (line, printed) in [
            ("home/", "/home/"),
            ("home/me/", "/home/me/"),
            ("home/me/f -> x", "/home/me/f -> x"),
            ("home/me/f => home/me/g", "/home/me/f => home/me/g"),
            ("etc -> x", "/etc -> x"),
            (">f+++++++++ home/me/f", ">f+++++++++ /home/me/f"),
            (".d..t...... home/", ".d..t...... /home/"),
            ("deleting home/me/f", "deleting home/me/f"),
            ("*deleting   home/me/f", "*deleting   home/me/f"),
            ("home/meadow", "home/meadow"),
            ("created directory D", "created directory D"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&rooted.line(line.as_bytes())), printed);
        }
    }
}
