//! Observes the scan, and adds up what it sees. The figures are divided into shares, one for each thread.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, flistxattr, llistxattr, statx};

use super::figures::{AGES, Attributes, DEEPEST, Figures, power};
use crate::scan::{Listing, Observer, Seen};

/// Of this number of files, one is asked for its extended attributes, in addition to the first of each portion, because each question is another system call.
const SAMPLED: usize = 32;
/// The most bytes of names of extended attributes.
const NAMES: usize = 4096;
/// The set-user-ID and set-group-ID bits of a mode.
const SET_ID: u32 = 0o6000;
/// A difference of less than a page is not counted as a hole.
const PAGE: u64 = 4096;

thread_local! {
    /// A number for each thread, so that threads started one after the other use different shares.
    static PLACE: usize = NEXT_PLACE.fetch_add(1, Ordering::Relaxed);
}

static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

/// The counts of all threads.
pub struct Collector {
    now: i64,
    /// How many bytes a name may have at the destination.
    longest_name: usize,
    shares: Vec<Mutex<Figures>>,
}

impl Collector {
    /// For a scan with this number of threads.
    pub fn new(threads: usize, longest_name: usize) -> Collector {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let shares = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        Collector { now, longest_name, shares }
    }

    /// The sum of all threads.
    pub fn sum(self) -> Figures {
        let mut all = Figures::default();
        for share in self.shares {
            all.merge(share.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }

    fn share(&self) -> MutexGuard<'_, Figures> {
        let place = PLACE.with(|place| *place);
        self.shares[place % self.shares.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, figures: &mut Figures, name: &[u8], path: impl Fn() -> Vec<u8>) {
        if std::str::from_utf8(name).is_err() {
            figures.not_utf8.add(&path);
        }
        if name.len() > self.longest_name {
            figures.too_long.add(&path);
        }
        if name.iter().any(|byte| *byte < b' ' || *byte == 127) {
            figures.control_characters.add(&path);
        }
    }

    /// Counts a source that is not a directory.
    pub fn single(&self, path: &Path) {
        if let Ok(found) = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            let name = path.file_name().unwrap_or_default().as_bytes();
            self.entry(&mut self.share(), &Seen::of(name, &found), || name.to_vec());
        }
    }

    fn entry(&self, figures: &mut Figures, seen: &Seen<'_>, path: impl Fn() -> Vec<u8>) {
        self.name(figures, seen.name, &path);
        match FileType::from_raw_mode(seen.mode) {
            FileType::RegularFile => self.file(figures, seen, path),
            FileType::Symlink => figures.kinds.links += 1,
            FileType::Fifo => figures.kinds.fifos += 1,
            FileType::Socket => figures.kinds.sockets += 1,
            FileType::Directory => figures.kinds.directories += 1,
            _ => figures.kinds.devices += 1,
        }
        let bytes = if seen.is_file() { seen.size } else { 0 };
        figures.users.add(seen.user, bytes);
        figures.groups.add(seen.group, bytes);
    }

    fn file(&self, figures: &mut Figures, seen: &Seen<'_>, path: impl Fn() -> Vec<u8>) {
        let Seen { size, allocated, names, .. } = *seen;
        figures.kinds.files += 1;
        figures.bytes = figures.bytes.saturating_add(size);
        figures.allocated = figures.allocated.saturating_add(allocated);
        figures.sizes[power(size)].add(size);
        let age = self.now.saturating_sub(seen.modified);
        figures.ages[AGES.iter().position(|(most, _)| age < *most).unwrap_or(AGES.len())].add(size);
        if size > 0 && figures.largest_files.wants(size) {
            figures.largest_files.add(size, path());
        }
        if names > 1 {
            let links = &mut figures.hard_links;
            let share = 1.0 / f64::from(names);
            links.names += 1;
            links.files += share;
            links.more_bytes += size as f64 * (1.0 - share);
            links.most_names = links.most_names.max(names.into());
        }
        if allocated.saturating_add(PAGE) <= size {
            figures.sparse.files += 1;
            figures.sparse.bytes += size;
            figures.sparse.allocated += allocated;
        }
        figures.set_id_files += u64::from(seen.mode & SET_ID != 0);
    }
}

impl Observer for Collector {
    fn entries(&self, directory: &Listing<'_>, entries: &[Seen<'_>]) {
        let figures = &mut *self.share();
        let length = directory.path_length();
        let mut before = 0;
        for seen in entries {
            self.entry(figures, seen, || below(directory.path(), seen.name));
            figures.longest_path = figures.longest_path.max(length + seen.name.len());
            if seen.is_file() {
                if before % SAMPLED == 0 {
                    look_at_file(&mut figures.attributes, directory, seen.name);
                }
                before += 1;
            }
        }
    }

    fn listed(&self, directory: &Listing<'_>, entries: u64) {
        let figures = &mut *self.share();
        figures.kinds.directories += 1;
        figures.crowds[power(entries)] += 1;
        figures.depths[directory.depth().min(DEEPEST)] += 1;
        if figures.most_crowded.wants(entries) {
            figures.most_crowded.add(entries, directory.path());
        }
        figures.longest_path = figures.longest_path.max(directory.path_length());
        self.name(figures, directory.name(), || directory.path());
        // The scan does not ask for these, because it does not need the owner and group of a directory.
        let found = statx(directory.dir(), c"", AtFlags::EMPTY_PATH, StatxFlags::UID | StatxFlags::GID);
        if let Ok(found) = found {
            figures.users.add(found.stx_uid, 0);
            figures.groups.add(found.stx_gid, 0);
            figures.add_device(rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), 1);
        }
        let mut names = [0; NAMES];
        if let Ok(length) = flistxattr(directory.dir(), &mut names[..]) {
            figures.attributes.directories += 1;
            for kind in kinds(&names[..length]) {
                figures.attributes.kinds.entry(kind).or_default().0 += 1;
            }
        }
    }
}

fn below(mut directory: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !directory.is_empty() {
        directory.push(b'/');
    }
    directory.extend_from_slice(name);
    directory
}

fn look_at_file(attributes: &mut Attributes, directory: &Listing<'_>, name: &[u8]) {
    let mut path = format!("/proc/self/fd/{}/", directory.dir().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let Ok(path) = CString::new(path) else { return };
    let mut names = [0; NAMES];
    if let Ok(length) = llistxattr(&path, &mut names[..]) {
        attributes.files += 1;
        for kind in kinds(&names[..length]) {
            attributes.kinds.entry(kind).or_default().1 += 1;
        }
    }
}

/// The kinds of these names, each once.
fn kinds(names: &[u8]) -> Vec<&'static str> {
    let mut kinds: Vec<&'static str> =
        names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(kind_of).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The kind of an attribute by its name, see xattr(7).
fn kind_of(name: &[u8]) -> &'static str {
    match name {
        b"system.posix_acl_access" => ACL,
        b"system.posix_acl_default" => DEFAULT_ACL,
        b"system.nfs4_acl" | b"system.richacl" | b"system.cifs_acl" | b"system.smb3_acl" => FOREIGN_ACL,
        b"security.capability" => CAPABILITIES,
        b"security.selinux" => SELINUX,
        _ if name.starts_with(b"user.") => USER,
        _ if name.starts_with(b"trusted.") => TRUSTED,
        _ if name.starts_with(b"security.") => "other security",
        _ => "other",
    }
}

pub const ACL: &str = "POSIX ACL";
pub const DEFAULT_ACL: &str = "default POSIX ACL";
pub const FOREIGN_ACL: &str = "NFSv4 or SMB ACL";
pub const CAPABILITIES: &str = "capabilities";
pub const SELINUX: &str = "SELinux label";
pub const USER: &str = "user attribute";
pub const TRUSTED: &str = "trusted attribute";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_attributes() {
        assert_eq!(kinds(b"user.a\0user.b\0system.posix_acl_access\0"), [ACL, USER]);
        assert_eq!(
            kinds(b"security.capability\0security.ima\0trusted.x\0system.other\0"),
            [CAPABILITIES, "other", "other security", TRUSTED]
        );
        assert!(kinds(b"").is_empty());
    }
}
