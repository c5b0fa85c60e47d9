//! Where temporary folders are created.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The default, if the environment does not name a place.
const USUAL: &str = "/tmp";
/// Other places, in this order.
const OTHERS: [&str; 5] = [USUAL, "/var/tmp", "/dev/shm", "/run", "/var/run"];
const MODE: u32 = 0o700;
/// A place with less room than this is regarded as full.
const LEAST_ROOM: usize = 64 << 10;

/// The user's temporary folder: `TMPDIR`, unless it is not set or empty.
pub fn usual() -> PathBuf {
    std::env::var_os("TMPDIR").filter(|set| !set.is_empty()).map_or_else(|| USUAL.into(), PathBuf::from)
}

/// Places for temporary folders: [`usual`], then other existing places, in case the first one is missing, full, or inaccessible to this user.
pub fn places() -> Vec<PathBuf> {
    let of_session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let others = OTHERS.iter().map(PathBuf::from).chain(of_session);
    let mut places = vec![usual()];
    for place in others {
        if place.is_absolute() && place.is_dir() && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Those [`places`] that lie in none of these directories. All paths are real paths.
pub fn places_outside(sources: &[PathBuf], destination: Option<&Path>) -> Vec<PathBuf> {
    let mut places = places();
    places.retain(|place| {
        let real = place.canonicalize().unwrap_or_else(|_| place.clone());
        !sources.iter().map(PathBuf::as_path).chain(destination).any(|dir| real.starts_with(dir))
    });
    places
}

/// Creates a folder in this place that only this user can enter, and checks that something can be written in it.
///
/// # Errors
/// The place is missing, full, or inaccessible to this user.
pub fn folder_in(place: &Path, prefix: &str) -> io::Result<TempDir> {
    let own = Permissions::from_mode(MODE);
    let made = tempfile::Builder::new().prefix(prefix).permissions(own).tempdir_in(std::path::absolute(place)?)?;
    let mut tried = tempfile::tempfile_in(made.path())?;
    tried.write_all(&[0; LEAST_ROOM])?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_used_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let made = folder_in(place.path(), "x-").unwrap();
        assert_eq!(std::fs::read_dir(made.path()).unwrap().count(), 0);
        assert_eq!(std::fs::metadata(made.path()).unwrap().permissions().mode() & 0o777, MODE);
        assert!(folder_in(&place.path().join("gone"), "x-").is_err());
        // A file system in which nothing can be created.
        assert!(folder_in(Path::new("/proc"), "x-").is_err());
    }
}
