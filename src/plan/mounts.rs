//! Mounts on this machine: whether something is mounted below a directory, and whether two directories contain the same files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether nothing is mounted below `dir`, a resolved path; false if that cannot be found out.
pub(super) fn none_below(dir: &Path) -> bool {
    std::fs::read("/proc/self/mountinfo").is_ok_and(|table| !mounts_below(&table, dir))
}

/// A part of a file system, and where it is visible.
struct Seen {
    device: Vec<u8>,
    /// The path in the file system.
    path: PathBuf,
    /// The path on this machine.
    at: PathBuf,
    /// The directory does not exist yet, and this is only what is above it.
    is_above: bool,
    /// The path in the file system is a guess, because `/` is no mount point, as in a chroot(2).
    is_made_up: bool,
}

impl Seen {
    /// Whether it cannot be found out what the two have in common.
    fn is_unknown_beside(&self, other: &Seen) -> bool {
        self.device == other.device && self.is_made_up != other.is_made_up
    }
}

/// Whether two directories, given by resolved paths, have something in common because of a mount, although neither is below the other: for example if one is
/// bind-mounted inside the other. Device and inode are compared as well, because the table may have made-up device numbers and paths.
pub(super) fn share(one: &Path, other: &Path) -> bool {
    let Ok(table) = std::fs::read("/proc/self/mountinfo") else { return false };
    let (one, other) = (seen_in(&table, one), seen_in(&table, other));
    let within = |inner: &Seen, outer: &Seen| {
        let same = inner.device == outer.device;
        let rest = inner.path.strip_prefix(&outer.path).ok().filter(|_| same && !outer.is_above);
        rest.is_some_and(|rest| {
            let (inner, outer) = (std::fs::metadata(&inner.at), std::fs::metadata(outer.at.join(rest)));
            matches!((inner, outer), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
        })
    };
    one.iter().any(|a| other.iter().any(|b| a.is_unknown_beside(b) || within(a, b) || within(b, a)))
}

/// Whether an entry at or below these directories, given by resolved paths, may be visible on several paths: one directory lies inside another, or a file
/// system is mounted twice.
pub(super) fn found_again(dirs: &[PathBuf]) -> bool {
    let Ok(table) = std::fs::read("/proc/self/mountinfo") else { return true };
    let mut seen: Vec<Seen> = dirs.iter().flat_map(|dir| seen_in(&table, dir)).collect();
    seen.sort_by(|one, other| (&one.device, &one.path).cmp(&(&other.device, &other.path)));
    // In this order, a directory is directly followed by its contents.
    seen.windows(2).any(|pair| {
        let [one, next] = pair else { return false };
        one.device == next.device && (one.is_unknown_beside(next) || next.path.starts_with(&one.path))
    })
}

/// What is visible at and below a directory, of which the last components may not exist yet.
fn seen_in(table: &[u8], dir: &Path) -> Vec<Seen> {
    let mounts = || {
        table.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let (device, path, at) = (fields.next()?.to_vec(), fields.next()?, fields.next()?);
            let (path, at) = (PathBuf::from(unescape(path)), PathBuf::from(unescape(at)));
            Some(Seen { device, path, at, is_above: false, is_made_up: false })
        })
    };
    // Of several mounts at one place, the last one is visible.
    let above = mounts().filter(|mount| dir.starts_with(&mount.at)).max_by_key(|mount| mount.at.components().count());
    let existing = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(dir);
    let (at, is_above) = (existing.to_owned(), existing != dir);
    let itself = match above {
        Some(mount) => existing.strip_prefix(&mount.at).ok().map(|rest| Seen {
            path: mount.path.join(rest),
            device: mount.device,
            at,
            is_above,
            is_made_up: false,
        }),
        None => std::fs::metadata(existing).ok().map(|found| {
            let device = format!("{}:{}", rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
            Seen { device: device.into_bytes(), path: existing.to_owned(), at, is_above, is_made_up: true }
        }),
    };
    let below = mounts().filter(|mount| mount.at != dir && mount.at.starts_with(dir));
    itself.into_iter().chain(below).collect()
}

/// The fifth field of a line is the mount point (proc_pid_mountinfo(5)).
fn mounts_below(table: &[u8], dir: &Path) -> bool {
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescape).any(|point| {
        let point = Path::new(&point);
        point != dir && point.starts_with(dir)
    })
}

/// Space, tab, newline and backslash are written as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                name.push(digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                name.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_beside_each_other_share_nothing() {
        let work = tempfile::tempdir().unwrap();
        let work = work.path().canonicalize().unwrap();
        std::fs::create_dir_all(work.join("source/a")).unwrap();
        std::fs::create_dir(work.join("dest")).unwrap();
        assert!(!share(&work.join("source"), &work.join("dest")));
        assert!(!share(&work.join("source"), &work.join("new")));
        assert!(share(&work.join("source"), &work.join("source/new/one")));
        let [source, inner, dest] = ["source", "source/a", "dest"].map(|name| work.join(name));
        assert!(!found_again(&[source.clone(), dest.clone()]));
        assert!(!found_again(std::slice::from_ref(&source)));
        assert!(found_again(&[source.clone(), source.clone()]));
        assert!(found_again(&[inner, dest, source]));
    }

    #[test]
    fn where_the_root_is_no_mount_point_directories_are_told_apart() {
        let work = tempfile::tempdir().unwrap();
        let work = work.path().canonicalize().unwrap();
        std::fs::create_dir(work.join("a")).unwrap();
        let seen = |dir: &str| seen_in(b"40 36 0:1 / /proc rw - proc proc rw\n", &work.join(dir));
        let [inner, outer] = [&seen("a")[..], &seen("")].map(|seen| match seen {
            [one] => (one.device.clone(), one.path.clone(), one.is_made_up),
            _ => panic!("{}", seen.len()),
        });
        assert!(inner.0 == outer.0 && inner.1.starts_with(&outer.1) && inner.2 && outer.2);
        let bound = Seen { is_made_up: false, ..seen("a").remove(0) };
        assert!(bound.is_unknown_beside(&seen("")[0]));
    }

    #[test]
    fn a_mount_counts_below_a_directory_and_not_at_it() {
        let table =
            b"36 35 98:0 / /d rw - ext4 /dev/a rw\n37 36 98:1 / /d\\040e/f\\134g rw shared:1 - ext4 /dev/b rw\n";
        for (dir, below) in [("/", true), ("/d", false), ("/d e", true), ("/d e/f\\g", false), ("/d e/f", false)] {
            assert_eq!(mounts_below(table, Path::new(dir)), below, "{dir}");
        }
        assert!(!none_below(Path::new("/")));
        assert!(none_below(tempfile::tempdir().unwrap().path()));
    }
}
