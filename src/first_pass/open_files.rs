//! Open files that no child of this process inherits.
//!
//! Some file systems report only when a file is closed that its bytes were lost (close(2)); they report it once, to whoever closes the file first. A child
//! process has all open files of the thread that starts it, until it executes another program. Therefore the files that are written here are in a separate
//! table of open files, which only the threads of one first pass share (clone(2), `CLONE_FILES`), and these threads start no children.

use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

/// Only the standard streams are kept.
const KEPT: RawFd = 3;

/// Whether this system supports a separate table.
pub fn can_be_apart() -> bool {
    std::thread::scope(|scope| {
        let tried = crate::thread::start(scope, set_apart);
        tried.is_ok_and(|tried| tried.join().is_ok_and(|apart| apart.is_ok()))
    })
}

/// Gives the calling thread, and the threads that it starts, a separate table of open files, with only the standard streams. These threads must not have or
/// receive any handle that was opened before.
///
/// # Errors
/// The system does not support that, or it is forbidden (seccomp(2)).
#[expect(unsafe_code, reason = "open files are left behind by number")]
pub fn set_apart() -> io::Result<()> {
    // SAFETY: only files in this thread's copy of the table are closed, and no handle refers to that copy.
    unsafe {
        if libc::syscall(libc::SYS_close_range, KEPT, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) == 0 {
            return Ok(());
        }
        // For kernels before Linux 5.9.
        if libc::unshare(libc::CLONE_FILES) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let listed = fs::read_dir("/proc/thread-self/fd")?;
    let open: Vec<RawFd> = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for file in open.into_iter().filter(|file| *file >= KEPT) {
        // SAFETY: as above. The handle that listed the files is closed already, and its number was not used again.
        unsafe { libc::close(file) };
    }
    Ok(())
}

/// Closes a file, and returns the error that only closing reports.
///
/// # Errors
/// Its bytes may be lost.
#[expect(unsafe_code, reason = "nothing else gives what close(2) says")]
pub fn close(file: OwnedFd) -> Result<()> {
    // SAFETY: the handle was given up, so that nothing else uses this number.
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

    /// The open files of a process or a thread.
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
                // A thread that this one starts has the file, too.
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
