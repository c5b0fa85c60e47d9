//! Whether a directory at DEST is new, or nearly empty: then it is known, without looking up each name, which names do not exist.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RawDir, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// A directory with more names than these is not used. A new file system has `lost+found`, and some servers show snapshots.
const FEW: usize = 8;
const BUFFER: usize = 2048;

/// The names in a directory in which the first pass may create others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(Box<[Vec<u8>]>);

impl Known {
    /// Looks at a directory below DEST; `None` if the first pass must not create names in it without looking up each one.
    pub fn of(dest: &Path, path: &[u8]) -> Option<Known> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = match openat(CWD, dest, flags, Mode::empty()) {
            Ok(top) => top,
            Err(Errno::NOENT) => return Some(Known::default()),
            Err(_) => return None,
        };
        let dir = if path.is_empty() || path == b"." {
            top
        } else {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(&top, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => return Some(Known::default()),
                // Something else has the name of the directory, and rsync may replace it.
                Err(_) => return None,
            }
        };
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&dir, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == FEW {
                return None;
            }
            names.push(name.to_vec());
        }
        Some(Known(names.into()))
    }

    /// Whether there were no names, except for the one that a new file system has.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|name| name == b"lost+found")
    }

    /// Whether this name existed.
    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn new_and_nearly_empty_directories_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("dest");
        assert_eq!(Known::of(&dest, b"."), Some(Known::default()));
        fs::create_dir_all(dest.join("a/b")).unwrap();
        fs::create_dir(dest.join("lost+found")).unwrap();
        let top = Known::of(&dest, b"").unwrap();
        assert!(top.has(b"a") && top.has(b"lost+found") && !top.has(b"b"));
        assert_eq!(Known::of(&dest, b"a/b"), Some(Known::default()));
        assert_eq!(Known::of(&dest, b"a/new"), Some(Known::default()));
        for at in 0..=FEW {
            fs::write(dest.join(format!("a/b/{at}")), "").unwrap();
        }
        assert_eq!(Known::of(&dest, b"a/b"), None);
        std::os::unix::fs::symlink("a", dest.join("link")).unwrap();
        fs::write(dest.join("file"), "").unwrap();
        assert_eq!((Known::of(&dest, b"link"), Known::of(&dest, b"file/x")), (None, None));
    }
}
