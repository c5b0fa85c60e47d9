//! Small file systems of other types, in files, if the system supports them.

use std::path::PathBuf;

use super::command::{run, sh};
use super::work::Work;

/// A mounted file system; it is unmounted when this value is dropped.
pub struct Mounted<'a> {
    work: &'a Work,
    name: String,
    pub path: PathBuf,
}

impl<'a> Mounted<'a> {
    /// A file system on `name` in the work folder. `make` creates it in "$1", `mount` mounts the block device "$1" on "$2". `Err` says why this is not
    /// possible here.
    pub fn new(work: &'a Work, name: &str, megabytes: u32, make: &str, mount: &str) -> Result<Mounted<'a>, String> {
        if !super::is_root() {
            return Err("needs root".into());
        }
        let path = work.dir(name);
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin; truncate -s {megabytes}M {name}.img && set -- {name}.img {name} && {{ {make}; }} >/dev/null && \
             loop=$(losetup -f --show {name}.img) && echo \"$loop\" >{name}.loop && set -- \"$loop\" {name} && {{ {mount}; }}"
        );
        let mounted = Mounted { work, name: name.to_owned(), path };
        let ran = run(sh(work, &script));
        if ran.status.success() {
            Ok(mounted)
        } else {
            Err(format!("no such file system: {}", ran.stderr_text().trim()))
        }
    }

    /// exFAT, which does not distinguish names by case, and has no links and no owners.
    pub fn exfat(work: &'a Work, name: &str) -> Result<Mounted<'a>, String> {
        Mounted::new(work, name, 32, "mkfs.exfat \"$1\"", "mount.exfat-fuse \"$1\" \"$2\" 2>&1 >/dev/null")
    }

    /// btrfs, whose subvolumes are not mount points but have devices of their own.
    pub fn btrfs(work: &'a Work, name: &str) -> Result<Mounted<'a>, String> {
        Mounted::new(work, name, 128, "mkfs.btrfs -q \"$1\"", "mount \"$1\" \"$2\"")
    }

    /// ext2 with inodes of 128 bytes, whose times are in whole seconds.
    pub fn whole_seconds(work: &'a Work, name: &str) -> Result<Mounted<'a>, String> {
        Mounted::new(work, name, 16, "mkfs.ext2 -q -I 128 \"$1\" 2>/dev/null", "mount \"$1\" \"$2\"")
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin; umount {name} 2>/dev/null || umount -l {name} 2>/dev/null; [ ! -s {name}.loop ] || losetup -d \"$(cat {name}.loop)\""
        );
        run(sh(self.work, &script));
    }
}
