//! Open files that no child of this process has.
//!
//! A network or a process may tell only when a file is closed that its bytes were lost (close(2)), once, and to whoever closes it first. A child that is started
//! has all open files of the thread that starts it until it is another program. So what is written here is open in a table of its own, which only the
//! threads of one first pass share (clone(2), `CLONE_FILES`), and those start no child.

use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

/// The standard streams, which are the only ones that are kept.
const KEPT: RawFd = 3;

/// Whether this system can do that.
pub fn can_be_apart() -> bool {
    std::thread::scope(|scope| {
        let tried = crate::thread::start(scope, set_apart);
        tried.is_ok_and(|tried| tried.join().is_ok_and(|apart| apart.is_ok()))
    })
}

/// Gives the thread that calls this, and those that it starts, a table of open files of its own, with nothing but the standard streams. It may not have or be
/// given a handle that was opened before.
///
/// # Errors
/// The system cannot do that, or somebody forbids it (seccomp(2)).
#[expect(unsafe_code, reason = "open files are left behind by number")]
pub fn set_apart() -> io::Result<()> {
    // SAFETY: the files that are closed are those of a table that nothing has handles of: the copy that this thread gets.
    unsafe {
        if libc::syscall(libc::SYS_close_range, KEPT, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) == 0 {
            return Ok(());
        }
        // Before Linux 5.9.
        if libc::unshare(libc::CLONE_FILES) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let listed = fs::read_dir("/proc/thread-self/fd")?;
    let open: Vec<RawFd> = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for file in open.into_iter().filter(|file| *file >= KEPT) {
        // SAFETY: as above. The one through which they were listed is closed already, and its number is no other's.
        unsafe { libc::close(file) };
    }
    Ok(())
}

/// Closes a file, and hears what only that tells.
///
/// # Errors
/// Its bytes may be lost.
#[expect(unsafe_code, reason = "nothing else gives what close(2) says")]
pub fn close(file: OwnedFd) -> Result<()> {
    // SAFETY: nobody has it any more.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    use super::*;

    /// What a process or a thread has open.
    fn open(of: &str) -> Vec<PathBuf> {
        let listed = fs::read_dir(format!("/proc/{of}/fd")).unwrap();
        listed.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
    }

    #[test]
    fn what_is_opened_apart_is_open_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let here = File::open(dir.path()).unwrap();
        let number = here.as_raw_fd();
        let path = dir.path().join("file");
        std::thread::scope(|scope| {
            let apart = scope.spawn(|| {
                set_apart().unwrap();
                assert!(!open("thread-self").contains(&dir.path().to_owned()));
                let file = File::create(&path).unwrap();
                // A thread that this one starts has it too.
                let shared = scope.spawn(|| open("thread-self")).join().unwrap();
                let found = (open("thread-self"), shared, open(&std::process::id().to_string()));
                assert_eq!(close(file.into()), Ok(()));
                found
            });
            let (here, shared, others) = apart.join().unwrap();
            assert!(here.contains(&path) && shared.contains(&path) && !others.contains(&path));
        });
        assert_eq!(open("self").iter().filter(|name| **name == dir.path()).count(), 1);
        assert_eq!(here.as_raw_fd(), number);
        assert!(can_be_apart());
    }
}
