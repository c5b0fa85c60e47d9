//! The lowest possible cost of a scan: one thread, `getdents64` and `statx`, nothing kept.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, openat, statx};

const READ_AT_ONCE: usize = 64 * 1024;

/// Lists and looks up everything below `root`, and returns the number of entries.
pub fn walk(root: &Path) -> rustix::io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut buffer = vec![MaybeUninit::uninit(); READ_AT_ONCE];
    let mut open: Vec<(Rc<OwnedFd>, CString)> = Vec::new();
    let mut dir = Rc::new(openat(CWD, root, flags, Mode::empty())?);
    let mut found = 0;
    loop {
        let mut names = RawDir::new(&*dir, &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statx(
                &*dir,
                name,
                AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
                StatxFlags::TYPE | StatxFlags::SIZE,
            )?;
            found += 1;
            if FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Directory {
                open.push((Rc::clone(&dir), name.to_owned()));
            }
        }
        let Some((above, name)) = open.pop() else { return Ok(found) };
        dir = Rc::new(openat(&*above, &name, flags, Mode::empty())?);
    }
}
