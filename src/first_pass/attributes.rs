//! Sets owner, group, mode and time of an entry that was created, through its open handle.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown, flistxattr_query};
use rustix::io::{Errno, Result};

use super::Makes;

/// An entry that this process creates belongs to this user and this group, and its mode lacks the bits of `umask`.
#[derive(Clone, Copy)]
pub struct Own {
    pub user: u32,
    pub group: u32,
    umask: u32,
}

impl Own {
    pub fn look() -> Own {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Own { user, group, umask: umask() }
    }

    /// Whether the attributes must be left to rsync: an ACL, extended attributes, or a group that this user perhaps may not set. `other_group`: new entries
    /// there get another group than that of this process.
    pub fn leaves(self, source: Option<&OwnedFd>, found: &Stat, other_group: bool, makes: Makes) -> bool {
        makes.own_group_only && (found.st_gid != self.group || other_group)
            || makes.plain_only && !source.is_some_and(is_plain)
    }

    /// The mode with which a directory is created: closed to others until it has its owner. A user other than root must be able to create entries in it.
    pub fn first_mode_of_dir(self, found: &Stat) -> Mode {
        if self.user == 0 { Mode::from_raw_mode(found.st_mode & 0o700) } else { Mode::RWXU }
    }

    /// Gives a new directory the owner of its source, and the rest of its mode, before anything is created in it. Returns whether entries in it will get
    /// another group than that of this process.
    pub fn of_dir(self, new: &OwnedFd, found: &Stat, other_group: bool, makes: Makes) -> Result<bool> {
        self.hand_over(new.as_fd(), found, other_group, makes)?;
        let first = self.first_mode_of_dir(found);
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777) | first;
        // Removes what the directory has inherited from its parent.
        if mode != first || other_group || mode.bits() & self.umask != 0 {
            fchmod(new, mode)?;
        }
        Ok(mode.contains(Mode::SGID))
    }

    /// Sets the owner and group, as far as that is asked for.
    pub fn hand_over(self, new: BorrowedFd<'_>, found: &Stat, other_group: bool, makes: Makes) -> Result<()> {
        let user = (makes.owner && found.st_uid != self.user).then(|| Uid::from_raw(found.st_uid));
        let other_group = found.st_gid != self.group || other_group;
        let group = (makes.group && other_group).then(|| Gid::from_raw(found.st_gid));
        if user.is_some() || group.is_some() { fchown(new, user, group) } else { Ok(()) }
    }

    /// Sets the mode of a file that has its owner, unless it has that mode.
    pub fn mode_of_file(self, file: BorrowedFd<'_>, found: &Stat, has_mode: bool) -> Result<()> {
        let mode = found.st_mode & 0o7777;
        // Changing the owner removes the special bits (chown(2)).
        if !has_mode || mode > 0o777 || mode & self.umask != 0 {
            fchmod(file, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }
}

/// The times for a file. They are set last, because rsync skips a file with the right time and size.
pub fn times(found: &Stat) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification = Timespec { tv_sec: found.st_mtime, tv_nsec: found.st_mtime_nsec as _ };
    Timestamps { last_access, last_modification }
}

/// Whether it has neither an ACL nor extended attributes.
fn is_plain(source: &OwnedFd) -> bool {
    matches!(flistxattr_query(source), Ok(0) | Err(Errno::OPNOTSUPP))
}

/// The bits that the system removes from the mode of a new file (proc_pid_status(5)); all bits if that is not known.
pub fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    text.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
