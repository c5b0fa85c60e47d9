//! The run directory: everything that a run leaves for its continuation, for processes that ask about it, and for the user.
//!
//! No other module knows a name in it, except for [`crate::bucket`], which owns the bucket files. [`layout`] lists the names; [`durable`] defines what is
//! synced to the disk, and in which order. Directories of older versions can be read.

mod around;
mod asked;
mod batch;
mod channel;
pub mod durable;
pub mod failed;
mod find;
pub mod journal;
pub mod layout;
mod lock;
mod noted;
mod tidy;

pub use around::Around;
pub use asked::Asked;
pub use batch::Batch;
pub use channel::{Asking, Channel, ask, refuse_stranger};
pub use find::{find, id, list, refuse_others, usual, usual_places, word};
pub use lock::{Lock, holder};
pub use noted::{Ended, Noted, Noter};
pub use tidy::{Keep, close, discard, forget};

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The longest file that is read in one piece. A command line has two MiB at most, and a name in JSON takes up to six times its length.
const LONGEST: u64 = 64 << 20;

/// Reads a regular file. Others may have put anything there, so that this never blocks and follows no symbolic link.
fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file, or is too long"));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let [fifo, link, file] = ["fifo", "link", "file"].map(|name| dir.path().join(name));
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read_plain(&fifo).is_err() && read_plain(&link).is_err() && read_plain(dir.path()).is_err());
        assert_eq!(read_plain(&file).unwrap(), b"x");
        File::options().write(true).open(&file).unwrap().set_len(LONGEST + 1).unwrap();
        assert!(read_plain(&file).is_err());
    }
}
