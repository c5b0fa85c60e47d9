//! What split directories are at a local DEST when they have been created, and whether copying into them has changed more than their times. If not, the launch
//! that would set their attributes is not needed: their times are set back here, to what rsync itself had set.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, futimens, openat2};

use crate::first_pass::open_dest;

use super::feed::SpineDir;
use super::spine::path_in_transfer;

/// Seconds and nanoseconds.
type Time = (i64, i64);

/// A directory at DEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Created {
    /// Device and inode.
    identity: (u64, u64),
    mode: u32,
    /// User and group.
    owner: (u32, u32),
    modified: Time,
    changed: Time,
}

impl Created {
    fn of(found: &Metadata) -> Created {
        Created {
            identity: (found.dev(), found.ino()),
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether its modification time was set: otherwise it is that of the last change.
    pub fn is_settled(&self) -> bool {
        const LEAST: i64 = 2;
        self.modified.0 + LEAST <= self.changed.0
    }

    /// Whether they differ only in times.
    fn is_still(&self, other: &Created) -> bool {
        Created { modified: self.modified, changed: self.changed, ..*other } == *self
    }
}

/// What these directories are at `dest`, a local directory.
pub(super) fn look(dirs: &[SpineDir], dest: &Path) -> Vec<Option<Created>> {
    dirs.iter().map(|dir| find(dest, dir)).collect()
}

/// The path at `dest` of a directory, by its argument.
pub(super) fn at_dest(dest: &Path, argument: &[u8]) -> PathBuf {
    dest.join(OsStr::from_bytes(path_in_transfer(argument)))
}

fn find(dest: &Path, dir: &SpineDir) -> Option<Created> {
    let found = match &dir.argument {
        None => std::fs::metadata(dest),
        Some(argument) => std::fs::metadata(at_dest(dest, argument)),
    };
    found.ok().filter(Metadata::is_dir).map(|found| Created::of(&found))
}

/// Whether nothing was written into these directories since they were created, so that they still have the right attributes. Adding, removing or renaming an
/// entry of a directory, and setting its attributes, sets its change time (inode(7)).
pub(super) fn are_unchanged(dirs: &[SpineDir], noted: &[Option<Created>], dest: &Path) -> bool {
    // A time in whole seconds comes from a file system, or an inode, without finer times (ext4 with inodes of 128 bytes): two changes may have the same time.
    let same = |(dir, noted): (&SpineDir, &Option<Created>)| {
        noted.is_some_and(|noted| {
            noted.changed.1 != 0 && find(dest, dir).is_some_and(|now| now.changed == noted.changed)
        })
    };
    dirs.len() == noted.len() && dirs.iter().zip(noted).all(same)
}

/// Gives these directories the times that they had when they had been created. False if that fails for one of them, or if one of them is another directory
/// now, or has other attributes.
pub(super) fn set_back(dirs: &[SpineDir], noted: &[Option<Created>], dest: &Path) -> bool {
    let Ok(top) = open_dest(dest) else { return false };
    let set =
        |(dir, noted): (&SpineDir, &Option<Created>)| noted.is_some_and(|noted| set_one(&top, dir, &noted).is_ok());
    dirs.len() == noted.len() && dirs.iter().zip(noted).all(set)
}

/// The directory is opened without following a link on the way, and compared: otherwise a user who replaces a directory above it would have the time of any
/// other directory set.
fn set_one(top: &OwnedFd, dir: &SpineDir, noted: &Created) -> io::Result<()> {
    let path = dir.argument.as_deref().map_or(&b"."[..], path_in_transfer);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = File::from(openat2(top, OsStr::from_bytes(path), flags, Mode::empty(), resolve)?);
    let now = Created::of(&opened.metadata()?);
    if !noted.is_still(&now) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if now.modified == noted.modified {
        return Ok(());
    }
    let (tv_sec, tv_nsec) = noted.modified;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec, tv_nsec: tv_nsec as _ } };
    Ok(futimens(opened.as_fd(), &times)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn dir(argument: Option<&str>) -> SpineDir {
        SpineDir {
            argument: argument.map(|argument| argument.as_bytes().to_vec()),
            identity: (0, 0),
            locked: false,
            mount_point: false,
            exposed: false,
        }
    }

    /// DEST with two directories, which have an older time with nanoseconds, and what was noted of them.
    fn ground() -> (tempfile::TempDir, PathBuf, Vec<SpineDir>, Vec<Option<Created>>) {
        let ground = tempfile::tempdir().unwrap();
        let dest = ground.path().join("dest");
        fs::create_dir_all(dest.join("a/b")).unwrap();
        let dirs = vec![dir(None), dir(Some("./a")), dir(Some("./a/b"))];
        for name in ["a/b", "a", "."] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
            File::open(dest.join(name)).unwrap().set_modified(time).unwrap();
        }
        let noted = look(&dirs, &dest);
        (ground, dest, dirs, noted)
    }

    #[test]
    fn a_directory_that_was_written_into_is_noticed_and_gets_its_time_back() {
        let (_ground, dest, dirs, noted) = ground();
        assert!(are_unchanged(&dirs, &noted, &dest));
        std::thread::sleep(Duration::from_millis(30));
        fs::write(dest.join("a/b/file"), "").unwrap();
        assert!(!are_unchanged(&dirs, &noted, &dest));
        assert!(set_back(&dirs, &noted, &dest));
        let modified = |noted: Vec<Option<Created>>| {
            noted.into_iter().map(|created| created.unwrap().modified).collect::<Vec<_>>()
        };
        assert_eq!(modified(look(&dirs, &dest)), [(1_000_000_000, 123_456_789); 3]);
        // Their change times tell that something was done.
        assert!(!are_unchanged(&dirs, &noted, &dest));
        assert!(!set_back(&dirs, &noted[..2], &dest));
        assert!(!set_back(&dirs, &[noted[0], noted[1], None], &dest));
    }

    #[test]
    fn another_directory_and_other_attributes_are_left_to_rsync() {
        let (_ground, dest, dirs, noted) = ground();
        fs::set_permissions(dest.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!set_back(&dirs, &noted, &dest));

        let (_ground, dest, dirs, noted) = ground();
        fs::rename(dest.join("a/b"), dest.join("c")).unwrap();
        assert!(!set_back(&dirs, &noted, &dest));
        fs::create_dir(dest.join("a/b")).unwrap();
        assert!(!set_back(&dirs, &noted, &dest));
    }

    #[test]
    fn no_link_is_followed() {
        let (_ground, dest, dirs, noted) = ground();
        fs::rename(dest.join("a"), dest.join("../elsewhere")).unwrap();
        symlink("../elsewhere", dest.join("a")).unwrap();
        fs::write(dest.join("a/b/file"), "").unwrap();
        // The directories are the same ones, but not below DEST.
        assert!(!set_back(&dirs, &noted, &dest));
        let now = fs::metadata(dest.join("a/b")).unwrap();
        assert_ne!(now.mtime(), 1_000_000_000);
    }
}
