//! Sources with the user's own `--relative`: which part of a path only leads to the source, and which part is its name at the destination.
//!
//! The name is what follows `/./`, or otherwise the whole path (rsync(1), `--relative`). Only paths whose meaning is certain without following links are
//! accepted; the others are left to one rsync.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

/// A source with `--relative`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relative {
    /// The directory that contains the source, as an absolute path.
    pub parent: PathBuf,
    /// Its name in this directory.
    pub name: OsString,
    /// The beginning of rsync's arguments for entries below `parent`.
    pub prefix: Vec<u8>,
    /// The path that precedes `name` in the transfer, with a slash at its end; may be empty.
    pub above: Vec<u8>,
    /// The directory at which names begin.
    base: PathBuf,
}

impl Relative {
    /// Reads a source that was typed in the directory `cwd`; `None` if it has to be left to one rsync.
    pub fn of(word: &OsStr, cwd: &Path) -> Option<Relative> {
        let word = word.as_bytes();
        let (before, name) = match word.find(b"/./") {
            Some(at) => (Some(&word[..at]), &word[at + 3..]),
            None => (None, word),
        };
        let base = match before {
            Some(b"") => PathBuf::from("/"),
            Some(before) => cwd.join(OsStr::from_bytes(before)),
            None if name.starts_with(b"/") => PathBuf::from("/"),
            None => cwd.to_owned(),
        };
        // Without `.` components, which would split the path again.
        let base: PathBuf = base.components().collect();
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || parts.iter().any(|part| [&b"."[..], b".."].contains(part)) {
            return None;
        }
        let (last, above) = parts.split_last()?;
        let mut parent = base.clone();
        for part in above {
            parent.push(OsStr::from_bytes(part));
            if !std::fs::symlink_metadata(&parent).ok()?.is_dir() {
                return None;
            }
        }
        if std::fs::symlink_metadata(parent.join(OsStr::from_bytes(last))).ok()?.is_symlink() {
            return None;
        }
        let above: Vec<u8> = above.iter().flat_map(|part| [part, &b"/"[..]].concat()).collect();
        let mut prefix = base.as_os_str().as_bytes().to_vec();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        prefix.extend_from_slice(b"./");
        prefix.extend_from_slice(&above);
        Some(Relative { parent, name: OsStr::from_bytes(last).to_owned(), prefix, above, base })
    }

    /// Whether this directory is above the source, and part of the transfer.
    pub fn sends(&self, dir: &Path) -> bool {
        self.parent.starts_with(dir) && dir.starts_with(&self.base) && dir != self.base
    }

    /// Whether rsync would have to merge the two sources: one is inside the other, or the directories above them have the same names but different origins.
    pub fn meets(&self, other: &Relative) -> bool {
        let path = |source: &Relative| [&source.above[..], source.name.as_bytes(), b"/"].concat();
        let (one, two) = (path(self), path(other));
        let first = |path: &[u8]| path.split(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        one.starts_with(&two) || two.starts_with(&one) || self.base != other.base && first(&one) == first(&two)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_follows_the_dot_or_everything() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(cwd.join("a/b/c")).unwrap();
        std::os::unix::fs::symlink("b", cwd.join("a/link")).unwrap();
        let shown = |word: &str| {
            Relative::of(OsStr::new(word), &cwd).map(|relative| {
                let prefix = String::from_utf8(relative.prefix).unwrap().replace(cwd.to_str().unwrap(), "CWD");
                (prefix, String::from_utf8(relative.above).unwrap(), relative.name.into_string().unwrap())
            })
        };
        let expected = |prefix: &str, above: &str, name: &str| Some((prefix.into(), above.into(), name.into()));
        assert_eq!(shown("a/b"), expected("CWD/./a/", "a/", "b"));
        assert_eq!(shown("a/b/"), expected("CWD/./a/", "a/", "b"));
        assert_eq!(shown("a/./b/c"), expected("CWD/a/./b/", "b/", "c"));
        assert_eq!(shown("a"), expected("CWD/./", "", "a"));
        assert_eq!(shown("././a"), expected("CWD/./", "", "a"));
        assert_eq!(shown("a/././b"), None);
        for odd in [".", "./a", "a/../a", "a/.", "a/./", "a/link", "a/link/c", "none/x"] {
            assert_eq!(shown(odd), None, "{odd}");
        }
    }

    #[test]
    fn sources_that_share_names_meet() {
        let source = |base: &str, above: &str, name: &str| Relative {
            parent: PathBuf::new(),
            name: name.into(),
            prefix: Vec::new(),
            above: above.into(),
            base: base.into(),
        };
        assert!(!source("/", "a/", "b").meets(&source("/", "a/", "c")));
        assert!(!source("/", "a/", "b").meets(&source("/", "a/", "bc")));
        assert!(source("/", "a/", "b").meets(&source("/", "a/b/", "c")));
        assert!(source("/x", "a/", "b").meets(&source("/y", "a/", "c")));
    }
}
