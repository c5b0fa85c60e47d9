//! Directories at the destination that options name (`--backup-dir`, `--temp-dir`, `--compare-dest`, ...): whether they lie in DEST. rsync reads
//! or writes there while several launches copy and before the last one deletes, so the order would show.

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

/// Whether directories at DEST may change without a word: rsync says nothing of a file that it links or copies from elsewhere as it is (but for
/// `-ii`), nor of what it removes in the directory for partial files.
pub(super) fn are_silent(options: &Options, meaning: &Meaning) -> bool {
    meaning.partial_dir.is_some() || options.mentions(&COMPARED)
}

/// Whether one of these options names a directory that lies in DEST, or DEST in it.
pub(super) fn any_meets_dest(config: &Config, options: &Options, opts: &[Opt]) -> bool {
    let mut named = options.settings().iter().filter(|setting| opts.contains(&setting.spec.id));
    named.any(|setting| setting.value.as_ref().is_some_and(|dir| meets_dest(config, Path::new(dir))))
}

/// Whether the directory for backups, which rsync makes when it starts, is new in one that is sent: the time of that is read before or after.
/// `sources` are their real paths.
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

/// Whether a directory, which is relative to DEST, lies in DEST or DEST in it. At another machine that is told by the words alone.
fn meets_dest(config: &Config, dir: &Path) -> bool {
    let (dest, there) = match config.destination.target() {
        Target::Local => {
            let dest = resolve(Path::new(&config.destination.as_typed(&config.cwd)));
            // Nothing in a real path is a link: `..` is what is above.
            let there = resolve(&joined(&dest, dir));
            (dest, there)
        }
        Target::Ssh { path, .. } | Target::Daemon { path, .. } => {
            let dest = joined(Path::new(""), Path::new(OsStr::from_bytes(path.as_bytes())));
            let there = joined(&dest, dir);
            if dest.as_os_str().is_empty() || there.is_absolute() != dest.is_absolute() {
                // A home directory or a module, of which nobody knows here what it is called.
                return dir.components().next().is_some_and(|first| matches!(first, Component::Normal(_)));
            }
            (dest, there)
        }
    };
    there.starts_with(&dest) || dest.starts_with(&there)
}

/// The path with `..` and `.` taken by their words.
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
