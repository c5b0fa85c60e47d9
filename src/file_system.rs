//! What depends on the type of a file system: one table, with a row for each type and a column for each property. A type that is not in it has no property.
//!
//! The types are the magic numbers of statfs(2), or those in the list in `stat -f` of coreutils.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstatfs, ioctl_getflags, statfs};
use rustix::io::Result;

/// How a file system treats names that differ only in case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// As different names.
    Tells,
    /// As one name.
    Folds,
    /// As the directory says, see [`folds_case`].
    OfDirectory,
    Unknown,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct FileSystem {
    magic: u32,
    /// How `stat -f` names it, that of coreutils and that of busybox.
    names: &'static [&'static str],
    /// Its data come over a network or from another process.
    is_elsewhere: bool,
    /// A process serves it. A thread that waits for this process cannot be ended, not even by SIGKILL, and would keep multi-sync from ending, while of an rsync
    /// only a child process remains. In addition, these file systems have peculiarities, such as a time or an error that belongs to another file
    /// (experiments).
    is_of_a_process: bool,
    /// It is in the memory of one machine.
    is_in_memory: bool,
    /// An error of a write is reported when the write returns, and never only when the file is closed. Not so for an overlay, because it may be on top of any
    /// file system.
    tells_at_once: bool,
    /// It records every change of a directory in the ctime of the directory, with fine times, as far as its inodes have room for them. On others, such as NFS,
    /// attributes may come from a cache.
    dates_changes: bool,
    /// It invents inode numbers, and new ones after it has forgotten one (such as overlayfs without `xino`, and most of FUSE): then another number does not
    /// mean another directory.
    renumbers: bool,
    case: Case,
}

const fn row(magic: u32, names: &'static [&'static str], properties: [bool; 6], case: Case) -> FileSystem {
    let [is_elsewhere, is_of_a_process, is_in_memory, tells_at_once, dates_changes, renumbers] = properties;
    FileSystem {
        magic,
        names,
        is_elsewhere,
        is_of_a_process,
        is_in_memory,
        tells_at_once,
        dates_changes,
        renumbers,
        case,
    }
}

const X: bool = true;
const O: bool = false;

#[rustfmt::skip] // A table.
static TABLE: [FileSystem; 35] = [
    //                                          elsewhere, of a process, in memory, tells at once, dates changes, renumbers
    row(0x0000_ef53, &["ext2/ext3"],           [O, O, O, X, X, O], Case::OfDirectory), // ext2 to ext4
    row(0x5846_5342, &["xfs"],                 [O, O, O, X, X, O], Case::Unknown),
    row(0x9123_683e, &["btrfs"],               [O, O, O, X, X, O], Case::Tells),
    row(0xf2f5_2010, &["f2fs"],                [O, O, O, O, X, O], Case::OfDirectory),
    row(0x0102_1994, &["tmpfs"],               [O, O, X, X, X, O], Case::OfDirectory),
    row(0x8584_58f6, &["ramfs"],               [O, O, X, O, O, O], Case::Unknown),
    row(0x794c_7630, &["overlayfs"],           [O, O, O, O, O, X], Case::Unknown),
    row(0x2011_bab0, &["exfat"],               [O, O, O, O, O, X], Case::Folds),
    row(0x0000_4d44, &["msdos"],               [O, O, O, O, O, X], Case::Folds),
    row(0x0000_4244, &["hfs"],                 [O, O, O, O, O, O], Case::Folds),
    row(0x0000_482b, &["hfs+"],                [O, O, O, O, O, O], Case::Folds),
    row(0x6573_5546, &["fuseblk", "fuse"],     [X, X, O, O, O, X], Case::Unknown), // FUSE, virtiofs
    row(0x0000_6969, &["nfs"],                 [X, O, O, O, O, O], Case::Unknown),
    row(0x0000_517b, &["smb"],                 [X, O, O, O, O, X], Case::Unknown),
    row(0xff53_4d42, &["cifs"],                [X, O, O, O, O, X], Case::Unknown),
    row(0xfe53_4d42, &["smb2"],                [X, O, O, O, O, X], Case::Unknown),
    row(0x0bd0_0bd0, &["lustre"],              [X, O, O, O, O, O], Case::Unknown),
    row(0x4750_4653, &["gpfs"],                [X, O, O, O, O, O], Case::Unknown),
    row(0x00c3_6400, &["ceph"],                [X, O, O, O, O, O], Case::Unknown),
    row(0x1983_0326, &["fhgfs"],               [X, O, O, O, O, O], Case::Unknown), // BeeGFS
    row(0x0102_1997, &["v9fs"],                [X, O, O, O, O, O], Case::Unknown), // 9p
    row(0x5346_414f, &["afs"],                 [X, O, O, O, O, O], Case::Unknown), // OpenAFS
    row(0x6b41_4653, &["k-afs"],               [X, O, O, O, O, O], Case::Unknown), // AFS
    row(0x7375_7245, &["coda"],                [X, O, O, O, O, O], Case::Unknown),
    row(0x0000_564c, &["novell"],              [X, O, O, O, O, O], Case::Unknown), // NCP
    row(0xaad7_aaea, &["panfs"],               [X, O, O, O, O, O], Case::Unknown),
    row(0x2003_0528, &[],                      [X, O, O, O, O, O], Case::Unknown), // OrangeFS
    row(0xbeef_dead, &["snfs"],                [X, O, O, O, O, O], Case::Unknown), // StorNext
    row(0x7461_636f, &["ocfs2"],               [X, O, O, O, O, O], Case::Unknown),
    row(0x0116_1970, &["gfs/gfs2"],            [X, O, O, O, O, O], Case::Unknown),
    row(0x6163_6673, &["acfs"],                [X, O, O, O, O, O], Case::Unknown),
    row(0xbacb_acbc, &["vmhgfs"],              [X, O, O, O, O, O], Case::Unknown), // VMware shared folders
    row(0x786f_4256, &["vboxsf"],              [X, O, O, O, O, O], Case::Unknown), // VirtualBox shared folders
    row(0x7c7c_6673, &["prl_fs"],              [X, O, O, O, O, O], Case::Unknown), // Parallels shared folders
    row(0x1803_1977, &[],                      [X, O, O, O, O, O], Case::Unknown), // WekaFS
];

impl FileSystem {
    /// The row of a type; a row without properties if there is none.
    fn of_type(magic: u32) -> FileSystem {
        let known = TABLE.iter().find(|row| row.magic == magic);
        known.copied().unwrap_or(row(magic, &[], [O; 6], Case::Unknown))
    }

    fn at(path: &Path) -> Result<FileSystem> {
        Ok(FileSystem::of_type(statfs(path)?.f_type as u32))
    }

    fn of(dir: impl AsFd) -> Result<FileSystem> {
        Ok(FileSystem::of_type(fstatfs(dir)?.f_type as u32))
    }
}

/// Whether the data at this path come over a network or from another process.
pub fn is_elsewhere(path: &Path) -> bool {
    FileSystem::at(path).is_ok_and(|found| found.is_elsewhere)
}

/// Whether a process serves the file system of this directory.
pub fn is_of_a_process(dir: impl AsFd) -> bool {
    FileSystem::of(dir).map_or(true, |found| found.is_of_a_process)
}

/// The same for a path, which need not exist.
pub fn is_of_a_process_below(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| FileSystem::at(path).ok());
    found.is_none_or(|found| found.is_of_a_process)
}

/// Whether the file system is in the memory of this machine.
pub fn is_in_memory(path: &Path) -> bool {
    FileSystem::at(path).is_ok_and(|found| found.is_in_memory)
}

/// Whether an error of a write is reported when the write returns, and never only when the file is closed.
pub fn tells_at_once(dir: impl AsFd) -> bool {
    FileSystem::of(dir).is_ok_and(|found| found.tells_at_once)
}

/// Whether every change of a directory is recorded in its ctime.
pub fn dates_changes(path: &Path) -> bool {
    FileSystem::at(path).is_ok_and(|found| found.dates_changes)
}

/// Whether the file system of a directory invents inode numbers: then another number does not mean another directory.
pub fn renumbers(dir: &Path) -> bool {
    FileSystem::at(dir).is_ok_and(|found| found.renumbers)
}

/// The same for a file system that is named as `stat -f` names it.
pub fn named_renumbers(name: &[u8]) -> bool {
    TABLE.iter().any(|row| row.renumbers && row.names.iter().any(|known| known.as_bytes() == name))
}

/// How the file system of a directory treats names that differ only in case.
pub fn case(dir: &Path) -> Case {
    FileSystem::at(dir).map_or(Case::Unknown, |found| found.case)
}

/// Whether names that differ only in case are one name in this directory: a flag says so, which new directories inherit (ioctl_iflags(2), `FS_CASEFOLD_FL`).
pub fn folds_case(dir: impl AsFd) -> Result<bool> {
    const CASEFOLD: u32 = 0x4000_0000;
    Ok(ioctl_getflags(dir)?.bits() & CASEFOLD != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_type_and_no_name_has_two_rows() {
        let magic: BTreeSet<u32> = TABLE.iter().map(|row| row.magic).collect();
        let names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
        assert_eq!(magic.len(), TABLE.len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_type_that_is_not_in_the_table_has_no_property() {
        let proc = Path::new("/proc/self");
        assert!(!is_elsewhere(proc) && !is_in_memory(proc) && !dates_changes(proc) && !renumbers(proc));
        assert_eq!(case(proc), Case::Unknown);
        assert!(named_renumbers(b"overlayfs") && named_renumbers(b"fuse") && !named_renumbers(b"ext2/ext3"));
    }
}
