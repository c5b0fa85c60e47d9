//! Where a run keeps its directory if the user names no place for it: in a folder of this user that outlives the session and a restart of the machine.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::entry::Printable;

/// The name of the folder, below the folder in which programs keep their state.
const NAME: &str = "multi-sync";
/// The folder for root's programs (hier(7)).
const OF_ROOT: &str = "/var/lib";
/// The folder for other users, below HOME (XDG Base Directory Specification).
const OF_USER: &str = ".local/state";
const MODE: u32 = 0o700;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The place for run directories; it need not exist. `XDG_STATE_HOME` is used for root as well.
///
/// # Errors
/// The environment names no place: the text says why.
pub fn place() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    place_of(set("XDG_STATE_HOME"), set("HOME"), rustix::process::geteuid().is_root())
}

fn place_of(state_home: Option<PathBuf>, home: Option<PathBuf>, is_root: bool) -> Result<PathBuf, String> {
    // A relative path is invalid according to the specification.
    if let Some(state_home) = state_home.filter(|path| path.is_absolute()) {
        return Ok(state_home.join(NAME));
    }
    if is_root {
        return Ok(Path::new(OF_ROOT).join(NAME));
    }
    let home = home.ok_or("HOME is not set")?;
    // If the home directory does not exist, it must not be created.
    match home.is_absolute() && home.is_dir() {
        true => Ok(home.join(OF_USER).join(NAME)),
        false => Err(format!("HOME ({}) is not a directory", Printable::path(&home))),
    }
}

/// Creates the place, and the directories above it, if they do not exist. Returns its real path.
///
/// # Errors
/// It cannot be created, or other users could replace it, or put something into it.
pub fn make(place: &Path) -> io::Result<PathBuf> {
    let existing = place.ancestors().find(|dir| dir.exists()).unwrap_or(place);
    existing.canonicalize()?.ancestors().try_for_each(|dir| refuse_others(dir, &fs::metadata(dir)?))?;
    DirBuilder::new().recursive(true).mode(MODE).create(place)?;
    let real = check(place)?;
    rustix::fs::access(&real, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
    Ok(real)
}

/// The real path of an existing place, if it belongs to this user and no other user can replace it, or put something into it.
///
/// # Errors
/// It does not exist, or these conditions are not met.
pub fn check(place: &Path) -> io::Result<PathBuf> {
    // A link is accepted only if it belongs to this user, because in a directory such as /tmp it may belong to anybody.
    let link = fs::symlink_metadata(place)?;
    if !is_own(&link) {
        return Err(refused(place, "belongs to another user"));
    }
    let real = place.canonicalize()?;
    let found = fs::metadata(&real)?;
    if !found.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    if !is_own(&found) {
        return Err(refused(&real, "belongs to another user"));
    }
    if found.mode() & (GROUP_WRITES | OTHERS_WRITE) != 0 {
        return Err(refused(&real, "may be written by others"));
    }
    real.ancestors().skip(1).try_for_each(|dir| refuse_others(dir, &fs::metadata(dir)?))?;
    Ok(real)
}

/// Whether this is a directory that belongs to this user and that no other user can write.
pub fn is_own_dir(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_dir() && is_own(&found) && found.mode() & (GROUP_WRITES | OTHERS_WRITE) == 0)
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

/// Refuses a directory above in which other users may rename our entries: its owner always can, others can if it is writable and not sticky (inode(7)). A
/// user's private group, to which homes belong on many systems, is regarded as the user.
fn refuse_others(dir: &Path, found: &Metadata) -> io::Result<()> {
    if !is_own(found) && found.uid() != 0 {
        return Err(refused(dir, "belongs to another user"));
    }
    let own_group = is_own(found) && found.uid() != 0 && found.gid() == rustix::process::getegid().as_raw();
    let others = if own_group { OTHERS_WRITE } else { GROUP_WRITES | OTHERS_WRITE };
    match found.mode() & others == 0 || found.mode() & STICKY != 0 {
        true => Ok(()),
        false => Err(refused(dir, "may be written by others")),
    }
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", Printable::path(path)))
}

/// The beginning of the name of a run directory: the local time, so that names sort by it.
pub fn prefix() -> String {
    jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H%M-").to_string()
}

/// Whether the directory of a run in such a place may have this name.
pub fn is_name_of_run(name: &OsStr) -> bool {
    const SHAPE: &str = "dddd-dd-ddTdddd-";
    const RANDOM: usize = 6;
    let Some(name) = name.to_str().map(str::as_bytes) else { return false };
    let fits = |(at, shape): (usize, u8)| {
        name.get(at).is_some_and(|byte| if shape == b'd' { byte.is_ascii_digit() } else { *byte == shape })
    };
    name.len() == SHAPE.len() + RANDOM
        && SHAPE.bytes().enumerate().all(fits)
        && name[SHAPE.len()..].iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_environment_says_where() {
        let path = |text: &str| Some(PathBuf::from(text));
        let place = |state_home, home, is_root| place_of(state_home, home, is_root).map_err(drop);
        assert_eq!(place(path("/x"), path("/"), true), Ok("/x/multi-sync".into()));
        assert_eq!(place(path("/x"), None, false), Ok("/x/multi-sync".into()));
        assert_eq!(place(path("x"), path("/"), false), Ok("/.local/state/multi-sync".into()));
        assert_eq!(place(None, path("/usr"), true), Ok("/var/lib/multi-sync".into()));
        assert_eq!(place(None, path("/nonexistent"), false), Err(()));
        assert_eq!(place(None, None, false), Err(()));
    }

    #[test]
    fn a_place_is_made_where_nobody_else_can_change_it() {
        let above = tempfile::tempdir().unwrap();
        let state = above.path().join("deep/state");
        let place = state.join(NAME);
        let made = make(&place).unwrap();
        assert_eq!(made, place.canonicalize().unwrap());
        assert_eq!([&place, &state].map(|dir| fs::metadata(dir).unwrap().mode() & 0o777), [0o700; 2]);
        assert!(make(&place).is_ok() && check(&place).is_ok());
        for (dir, mode, usable) in [
            (&place, 0o755, true),
            (&place, 0o777, false),
            (&place, 0o1777, false),
            (&state, 0o1777, true),
            (&state, 0o777, false),
        ] {
            set_mode(dir, mode);
            assert_eq!((make(&place).is_ok(), check(&place).is_ok()), (usable, usable), "{mode:o}");
            set_mode(dir, 0o700);
        }
        // A link that belongs to the user is followed.
        let link = above.path().join("link");
        symlink(&place, &link).unwrap();
        assert_eq!(make(&link).unwrap(), made);
        if rustix::process::geteuid().is_root() {
            for (path, owner) in [(&link, 12345), (&place, 12345), (&state, 12345)] {
                std::os::unix::fs::lchown(path, Some(owner), None).unwrap();
                assert!(make(&link).is_err(), "{path:?}");
                std::os::unix::fs::lchown(path, Some(0), None).unwrap();
            }
            chown(&place, Some(0), None).unwrap();
        }
        // Nothing is created below a directory that others may write.
        let open = above.path().join("open");
        fs::create_dir(&open).unwrap();
        set_mode(&open, 0o777);
        assert!(make(&open.join("a/b")).is_err() && !open.join("a").exists());
    }

    #[test]
    fn names_of_runs_are_known() {
        for (name, is) in [
            ("2026-11-28T1836-tU6IDy", true),
            ("2026-11-28T1836-tU6ID", false),
            ("multi-sync-tU6IDy", false),
            ("2026-11-28T1836-tU6ID/", false),
            ("notes", false),
        ] {
            assert_eq!(is_name_of_run(OsStr::new(name)), is, "{name}");
        }
        assert!(is_name_of_run(OsStr::new(&format!("{}abcDE1", prefix()))));
    }
}
