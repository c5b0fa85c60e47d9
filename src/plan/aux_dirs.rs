//! Directories at the destination that options name (`--backup-dir`, `--temp-dir`, `--compare-dest`, ...): whether they lie inside DEST. rsync reads or writes
//! there while several launches copy, and before the last one deletes, so that the order of the launches would show in the result.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::endpoint::Target;
use crate::rsync::options::{Meaning, Opt, Options};

use super::relative::Relative;
use super::sources::resolve;

/// Options that name a directory to compare with.
pub(super) const COMPARED: [Opt; 3] = [Opt::CompareDest, Opt::CopyDest, Opt::LinkDest];

/// Whether directories at DEST may change without a message: except with `-ii`, rsync prints nothing about a file that it links or copies unchanged from
/// elsewhere, nor about what it removes in the directory for partial files.
pub(super) fn are_silent(options: &Options, meaning: &Meaning) -> bool {
    meaning.partial_dir.is_some() || options.mentions(&COMPARED)
}

/// Whether one of these options names a directory that lies inside DEST, or that contains DEST.
pub(super) fn any_meets_dest(config: &Config, options: &Options, opts: &[Opt]) -> bool {
    let mut named = options.settings().iter().filter(|setting| opts.contains(&setting.spec.id));
    named.any(|setting| setting.value.as_ref().is_some_and(|dir| meets_dest(config, Path::new(dir))))
}

/// Whether rsync creates the backup directory, when it starts, inside a directory that is copied: the time of that directory may be read before or after.
/// `sources` are the real paths.
pub(super) fn backups_are_made_in_sources(
    config: &Config,
    meaning: &Meaning,
    sources: &[PathBuf],
    relative: Option<&[Relative]>,
) -> bool {
    let Some(dir) = meaning.backup_dir.as_deref().filter(|_| config.destination.is_local()) else { return false };
    let dest = resolve(Path::new(&config.destination.as_typed(&config.cwd)));
    let made = joined(&dest, Path::new(dir));
    let Some(above) = made.ancestors().find(|dir| dir.exists()).filter(|above| *above != made) else { return false };
    let above = resolve(above);
    relative.is_some_and(|all| all.iter().any(|source| source.sends(&above)))
        || sources.iter().any(|source| above.starts_with(source))
}

/// Whether a directory, which is relative to DEST, lies inside DEST or contains it. On another machine, only the paths are compared.
fn meets_dest(config: &Config, dir: &Path) -> bool {
    let (dest, there) = match config.destination.target() {
        Target::Local => {
            let dest = resolve(Path::new(&config.destination.as_typed(&config.cwd)));
            // A real path contains no symbolic links, so that `..` is the directory above.
            let there = resolve(&joined(&dest, dir));
            (dest, there)
        }
        Target::Ssh { path, .. } | Target::Daemon { path, .. } => {
            let dest = joined(Path::new(""), Path::new(OsStr::from_bytes(path.as_bytes())));
            let there = joined(&dest, dir);
            if dest.as_os_str().is_empty() || there.is_absolute() != dest.is_absolute() {
                // The name of a home directory or of a module is not known here.
                return dir.components().next().is_some_and(|first| matches!(first, Component::Normal(_)));
            }
            (dest, there)
        }
    };
    there.starts_with(&dest) || dest.starts_with(&there)
}

/// Appends a path, and removes `.` and `..` from it without looking at the file system.
fn joined(base: &Path, dir: &Path) -> PathBuf {
    let mut path = base.to_owned();
    for component in dir.components() {
        match component {
            Component::ParentDir if path.file_name().is_some_and(|name| name != "..") => {
                path.pop();
            }
            Component::ParentDir if path.is_absolute() => {}
            Component::CurDir => {}
            Component::RootDir => path = PathBuf::from("/"),
            component => path.push(component),
        }
    }
    path
}
