//! Remembers the sources of a pair of SRC and DEST from the last run: their file systems, and whether they were empty. There is a file for each pair, in the
//! user's state directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statvfs, statx};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::endpoint::Source;
use crate::entry::Printable;
use crate::report::Withheld;
use crate::state;

/// The folder for these files.
const FOLDER: &str = "sources";
/// The most files that are kept, because a new destination for each day would leave a file for each day.
const MOST: usize = 500;
const VERSION: u32 = 1;

/// A pair, and the state of its sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// Printable, absolute, without a trailing slash.
    sources: Vec<String>,
    destination: String,
    seen: Vec<Option<Seen>>,
}

/// The state of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The type of its file system.
    kind: String,
    /// The source of the mount, as the system names it: a device, or `HOST:PATH`.
    from: String,
    /// The device number, which may change with a restart.
    device: u64,
    /// The ID of the file system (`f_fsid`); 0 if it has none.
    identity: u64,
    /// Whether it is an empty directory.
    empty: bool,
}

/// What is known about the sources of a run.
#[derive(Debug)]
pub struct Memory {
    /// The path of the file, or why there is no place for it.
    path: Result<PathBuf, String>,
    before: Option<Record>,
    now: Record,
}

impl Memory {
    /// Looks at the sources, and reads what was recorded about them.
    pub fn of(config: &Config) -> Memory {
        // A source is the same however its path is spelt, and with or without the slash that means its contents.
        let absolute = |typed: &Path| config.cwd.join(typed).components().collect::<PathBuf>();
        let shown = |path: &Path| Printable::path(path).to_string();
        let typed = |source: &Source| match source.is_local() {
            true => absolute(Path::new(source.original())),
            false => PathBuf::from(source.original()),
        };
        let typed: Vec<PathBuf> = config.sources.iter().map(typed).collect();
        let destination = match config.destination.is_local() {
            true => shown(&absolute(Path::new(config.destination.original()))),
            false => Printable::os(config.destination_word()).to_string(),
        };
        let now = Record {
            version: VERSION,
            sources: typed.iter().map(|path| shown(path)).collect(),
            destination,
            seen: config.sources.iter().zip(&typed).map(|(source, path)| seen(source, path)).collect(),
        };
        let path = state::place().map(|place| place.join(FOLDER).join(now.file_name()));
        let before = path.as_ref().ok().and_then(|path| now.read_other(path));
        Memory { path, before, now }
    }

    /// Why nothing should be deleted even if the number of deletions is within the limit.
    pub fn warns(&self, config: &Config) -> Option<Withheld> {
        let before = self.before.as_ref().map(|before| &before.seen);
        config.sources.iter().zip(&self.now.seen).enumerate().find_map(|(at, (source, now))| {
            let source = source.original().to_owned();
            let was = before.and_then(|before| before.get(at)?.as_ref());
            let now = now.as_ref()?;
            if let Some(was) = was.filter(|was| !now.is_on_that_of(was)) {
                return Some(Withheld::OtherFileSystem { source, was: was.shown(), is: now.shown() });
            }
            let known = was.is_some_and(|was| was.empty);
            (now.empty && !known).then_some(Withheld::Empty { source })
        })
    }

    /// Why there is no place for the file.
    pub fn is_lost(&self) -> Option<&str> {
        self.path.as_ref().err().map(String::as_str)
    }

    /// Records the current state of the sources.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let Ok(path) = &self.path else { return Ok(()) };
        let parent = path.parent().unwrap_or(path);
        state::make(parent.parent().unwrap_or(parent))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        serde_json::to_writer(&mut file, &self.now)?;
        file.persist(path)?;
        forget_oldest(parent);
        Ok(())
    }
}

impl Record {
    /// The file name for a pair. If two pairs had the same name, each would only overwrite the record of the other.
    fn file_name(&self) -> String {
        let pair = [&self.sources.join("\n"), "\n\n", &self.destination].concat();
        format!("{:016x}.json", xxh3_64(pair.as_bytes()))
    }

    /// The record of the same pair, if there is one.
    fn read_other(&self, path: &Path) -> Option<Record> {
        // Ignored if another user could have written it.
        state::check(path.parent()?).ok()?;
        let read: Record = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let same = read.version == VERSION && read.sources == self.sources && read.destination == self.destination;
        same.then_some(read)
    }
}

impl Seen {
    /// Whether it is on the same file system as the other. Device numbers may change with a restart, and a network file system may have no identity except
    /// its server.
    fn is_on_that_of(&self, other: &Seen) -> bool {
        let identical = self.identity == other.identity;
        let by_identity = identical && self.identity != 0;
        let tells = self.identity != 0 && other.identity != 0;
        let by_server = self.from == other.from && self.from.contains(':');
        self.kind == other.kind && (by_identity || !tells && (self.device == other.device || by_server))
    }

    fn shown(&self) -> String {
        format!("{} ({}, device {:x})", self.from, self.kind, self.device)
    }
}

/// The state of a local source; `None` for a source on another machine. A symbolic link is followed only if the source has a trailing slash, as in rsync.
/// Without it the link itself is copied, and its file system does not matter.
fn seen(source: &Source, path: &Path) -> Option<Seen> {
    let is_link = source.name().is_some() && path.is_symlink();
    if is_link || !source.is_local() { None } else { look(path).ok() }
}

fn look(path: &Path) -> io::Result<Seen> {
    let found = fs::metadata(path)?;
    let empty = found.is_dir() && fs::read_dir(path)?.next().is_none();
    let mount = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok();
    let mount = mount.filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0).map(|found| found.stx_mnt_id);
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let (kind, from) = mount.and_then(|mount| mounted(&table, mount)).unwrap_or_else(|| {
        let kind = statfs(path).map_or(0, |found| found.f_type);
        (format!("{kind:x}"), String::from("a file system"))
    });
    let identity = statvfs(path).map_or(0, |found| found.f_fsid);
    Ok(Seen { kind, from, device: found.dev(), identity, empty })
}

/// Type and source of a mount: the fields after the dash in its line (proc_pid_mountinfo(5)).
fn mounted(table: &[u8], mount: u64) -> Option<(String, String)> {
    let number = format!("{mount} ");
    let line = table.split(|byte| *byte == b'\n').find(|line| line.starts_with(number.as_bytes()))?;
    let mut fields = line.split(|byte| *byte == b' ').skip_while(|field| *field != b"-").skip(1);
    let shown = |field: &[u8]| Printable::bytes(field).to_string();
    Some((shown(fields.next()?), shown(fields.next()?)))
}

fn forget_oldest(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let written = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
    let mut files: Vec<(Option<SystemTime>, PathBuf)> =
        entries.map(|entry| entry.path()).map(|path| (written(&path), path)).collect();
    if files.len() > MOST {
        files.sort();
        let count = files.len() - MOST;
        // A file that cannot be removed stays, because the user has not asked for this.
        files.iter().take(count).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(kind: &str, from: &str, device: u64, identity: u64) -> Seen {
        Seen { kind: kind.into(), from: from.into(), device, identity, empty: false }
    }

    #[test]
    fn a_file_system_is_known_again() {
        let ext4 = on("ext4", "/dev/sda1", 1, 77);
        for (other, same) in [
            (on("ext4", "/dev/sda1", 1, 77), true),
            // The disk has got another name.
            (on("ext4", "/dev/sdb1", 2, 77), true),
            // Another disk has the same name.
            (on("ext4", "/dev/sda1", 1, 78), false),
            (on("xfs", "/dev/sda1", 1, 77), false),
            (on("overlay", "overlay", 1, 77), false),
        ] {
            assert_eq!(other.is_on_that_of(&ext4), same, "{other:?}");
        }
        let nfs = on("nfs4", "nas:/export", 45, 0);
        for (other, same) in [
            (on("nfs4", "nas:/export", 51, 0), true),
            (on("nfs4", "nas:/other", 51, 0), false),
            (on("nfs4", "nas:/other", 45, 0), true),
        ] {
            assert_eq!(other.is_on_that_of(&nfs), same, "{other:?}");
        }
        assert!(!on("tmpfs", "tmpfs", 2, 0).is_on_that_of(&on("tmpfs", "tmpfs", 1, 0)));
    }

    #[test]
    fn the_mount_of_a_directory_is_found() {
        let table = b"36 35 98:0 / / rw - ext4 /dev/a rw\n37 36 0:45 / /n rw,noatime shared:1 master:2 - nfs4 nas:/e\\040f rw\n";
        assert_eq!(mounted(table, 37), Some(("nfs4".into(), "nas:/e\\x5c040f".into())));
        assert_eq!(mounted(table, 36), Some(("ext4".into(), "/dev/a".into())));
        assert_eq!(mounted(table, 3), None);
        let here = look(Path::new("/proc")).unwrap();
        assert_eq!((here.kind.as_str(), here.empty), ("proc", false));
    }

    #[test]
    fn only_the_newest_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MOST + 3 {
            let path = folder.path().join(format!("{number}"));
            fs::write(&path, "").unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
        }
        forget_oldest(folder.path());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST);
        assert!(!folder.path().join("2").exists() && folder.path().join("3").exists());
    }
}
