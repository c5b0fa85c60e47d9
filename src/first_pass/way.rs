//! Opens DEST by its path. Symbolic links are followed only if they belong to root or to the user of this process: a link of another user may lead anywhere,
//! and rsync's own refusal (3.5.0, experiment) would come too late.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::{Errno, Result};

/// The same number as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Opens a directory.
///
/// # Errors
/// The directory cannot be opened; [`Errno::LOOP`] if a link on the way belongs to another user.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let open_top = |path: &[u8]| if path.starts_with(b"/") { open_dir(CWD, c"/") } else { open_dir(CWD, c".") };
    let path = path.as_os_str().as_bytes();
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    let mut dir = open_top(path)?;
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        dir = match open_dir(&dir, &*name) {
            Err(Errno::NOTDIR) => {
                let link = openat(&dir, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                let found = fstat(&link)?;
                if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
                    return Err(Errno::NOTDIR);
                }
                links += 1;
                if found.st_uid != 0 && found.st_uid != rustix::process::geteuid().as_raw() || links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(&link, c"", Vec::new())?.into_bytes();
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
                if target.starts_with(b"/") { open_top(&target)? } else { dir }
            }
            opened => opened?,
        };
    }
    // If the directory may be passed, but not be read, this fails.
    openat(&dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the parent directory of a path in the same way, and returns it with the last name.
///
/// # Errors
/// The directory cannot be opened, or the path does not end with a name.
pub fn open_above(path: &Path) -> Result<(OwnedFd, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let begin = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (above, name) = (&bytes[..begin], &bytes[begin..end]);
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Errno::INVAL);
    }
    let above = if above.is_empty() { b"." } else { above };
    Ok((open(Path::new(OsStr::from_bytes(above)))?, OsStr::from_bytes(name)))
}

fn names(path: &[u8]) -> VecDeque<OsString> {
    let named = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    named.map(|name| OsString::from_vec(name.to_vec())).collect()
}

/// Opens a directory by its name, but no symbolic link. If the directory may not be read, the handle can only be used to pass it. Otherwise it is really
/// opened, because this makes an automounter mount it.
fn open_dir(above: impl std::os::fd::AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&above, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => openat(&above, name, flags | OFlags::PATH, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};
    use std::path::PathBuf;

    use super::*;

    fn inode(path: &Path) -> Result<(u64, u64)> {
        let found = fstat(open(path)?)?;
        Ok((found.st_dev, found.st_ino))
    }

    #[test]
    fn links_of_root_and_ours_are_followed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("real/below")).unwrap();
        fs::write(at("file"), "").unwrap();
        for (name, target) in [
            ("relative", "real/below/../below/"),
            ("absolute", at("real/below").to_str().unwrap()),
            ("twice", "relative"),
            ("way", "real"),
            ("up", "real/below/../.."),
            ("around", "around"),
            ("broken", "nothing"),
            ("to-file", "file"),
        ] {
            symlink(target, at(name)).unwrap();
        }
        let found = fs::metadata(at("real/below")).unwrap();
        for name in ["real/below", "real//./below/", "relative", "absolute", "twice", "way/below", "up/way/below/."] {
            assert_eq!(inode(&at(name)), Ok((found.dev(), found.ino())), "{name}");
        }
        for (name, errno) in [
            ("around", Errno::LOOP),
            ("broken", Errno::NOENT),
            ("to-file", Errno::NOTDIR),
            ("file/below", Errno::NOTDIR),
            ("real/other", Errno::NOENT),
        ] {
            assert_eq!(inode(&at(name)), Err(errno), "{name}");
        }
        assert_eq!(inode(Path::new("")), Err(Errno::NOENT));
        assert_eq!(inode(Path::new("src/..")), inode(Path::new(".")));
        if rustix::process::geteuid().is_root() {
            lchown(at("way"), Some(65534), Some(65534)).unwrap();
            assert_eq!(inode(&at("way/below")), Err(Errno::LOOP));
            assert_eq!(inode(&at("up/way")), Err(Errno::LOOP));
            assert!(open_above(&at("way/below")).is_err());
        }
    }

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let above = |path: &str| {
            let path = if path.starts_with('.') { PathBuf::from(path) } else { dir.path().join(path) };
            open_above(&path).map(|(_, name)| name.to_str().unwrap().to_owned())
        };
        assert_eq!(above("new"), Ok("new".into()));
        assert_eq!(above("new//"), Ok("new".into()));
        assert_eq!(above("./new"), Ok("new".into()));
        assert_eq!(above("new/."), Err(Errno::INVAL));
        assert_eq!(above("new/.."), Err(Errno::INVAL));
        assert_eq!(above("no/new"), Err(Errno::NOENT));
        assert_eq!(open_above(Path::new("new")).unwrap().1, "new");
        assert!(open_above(Path::new("/")).is_err());
    }
}
