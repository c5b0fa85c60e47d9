//! Where a case runs: destinations on other file systems, a receiver that is another user, another locale. One rsync runs in the same place, so that a
//! failure of both is no difference.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::support::daemon::helper;
use crate::support::fuse;
use crate::support::is_root;
use crate::support::work::{NOBODY, Work};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On tmpfs, in the locale C.
    #[default]
    Here,
    /// The receiver runs as nobody, reached by a stand-in for ssh.
    OtherUser,
    /// The receiver is another rsync: `ORACLE_OTHER_RSYNC`.
    OtherRsync,
    /// The sources are pulled through a stand-in for ssh, from the rsync of [`Place::OtherRsync`] if there is one. `find` lists them.
    Pulled,
    /// The same, but the program that is judged lists them there.
    PulledByAgent,
    /// The same, but rsync lists them.
    PulledByListing,
    /// The sources are in a daemon that is reached by a pipe.
    PulledModule,
    /// Two hosts copy the sources, which both see, and scan them with the program that is judged.
    ByHosts,
    /// The same, but with `find`.
    ByHostsWithFind,
    /// The locale C.UTF-8.
    Utf8,
    /// ext4 with times of one second.
    Seconds,
    Overlay,
    /// FUSE, where each name first gets a temporary one.
    Fuse,
    /// exFAT: no owners, modes or links, and names that differ only by case are equal.
    Exfat,
    Vfat,
    /// ext4 in which names that differ only by case are equal.
    CaseFold,
}

impl Place {
    pub const ALL: [Place; 8] = [
        Place::Seconds,
        Place::OtherUser,
        Place::Utf8,
        Place::Overlay,
        Place::Fuse,
        Place::Exfat,
        Place::Vfat,
        Place::CaseFold,
    ];

    pub fn is_here(&self) -> bool {
        *self == Place::Here
    }

    /// Places with the sources on another machine.
    pub const PULLED: [Place; 4] = [Place::Pulled, Place::PulledModule, Place::PulledByAgent, Place::PulledByListing];

    /// Places in which source hosts copy.
    pub const HOSTS: [Place; 2] = [Place::ByHosts, Place::ByHostsWithFind];

    /// Whether source hosts copy.
    pub fn has_hosts(self) -> bool {
        Place::HOSTS.contains(&self)
    }

    /// Whether the sources are reached as if they were on another machine.
    pub fn is_pulled(self) -> bool {
        Place::PULLED.contains(&self)
    }

    /// The means with which multi-sync has to list the sources (`--remote-scan`).
    pub fn remote_scan(self) -> Option<&'static str> {
        match self {
            Place::Pulled => Some("find"),
            Place::PulledByAgent => Some("agent"),
            Place::PulledByListing | Place::PulledModule => Some("rsync"),
            _ => None,
        }
    }

    /// The name of the command that connects to a host.
    pub fn login(self) -> &'static str {
        if self == Place::ByHosts { "login" } else { "login-without-agent" }
    }

    /// Whether DEST is reached as if it were on another machine.
    pub fn is_remote(self) -> bool {
        matches!(self, Place::OtherUser | Place::OtherRsync)
    }

    pub fn locale(self) -> &'static str {
        if self == Place::Utf8 { "C.UTF-8" } else { "C" }
    }

    /// Whether `d` is a separate file system.
    pub fn is_mounted(self) -> bool {
        let is_there = matches!(self, Place::Here | Place::OtherUser | Place::OtherRsync | Place::Utf8);
        !is_there && !self.is_pulled() && !self.has_hosts()
    }

    /// Whether this place exists on this machine.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn check(self) -> Result<(), String> {
        match self {
            Place::Here | Place::Pulled | Place::PulledByAgent | Place::PulledByListing | Place::PulledModule => Ok(()),
            Place::ByHosts | Place::ByHostsWithFind => Ok(()),
            Place::Utf8 => {
                let (all, _) = helper(Command::new("locale").arg("-a"))?;
                let all = String::from_utf8_lossy(&all).to_lowercase();
                let is_there = all.lines().any(|name| name == "c.utf8" || name == "c.utf-8");
                is_there.then_some(()).ok_or_else(|| "no locale C.UTF-8".to_owned())
            }
            Place::OtherRsync => {
                std::env::var_os("ORACLE_OTHER_RSYNC").map(|_| ()).ok_or_else(|| "no other rsync".into())
            }
            _ if !is_root() => Err("needs root".into()),
            Place::OtherUser => helper(Command::new("setpriv").arg("--version")).map(|_| ()),
            _ => {
                let work = Work::public();
                let at = work.dir("d");
                self.mount(&work, &at, 0)?;
                unmount(&at);
                Ok(())
            }
        }
    }

    /// Mounts the file system at this directory, for this user.
    ///
    /// # Errors
    /// What could not be done.
    pub fn mount(self, work: &Work, at: &Path, owner: u32) -> Result<(), String> {
        if matches!(self, Place::Overlay | Place::Fuse) {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let side = work.join(format!("side{}", COUNT.fetch_add(1, Ordering::Relaxed)));
            for name in ["upper", "work"] {
                fs::create_dir_all(side.join(name)).map_err(|e| e.to_string())?;
            }
            // The upper directory must have the same attributes as the one that it hides.
            let found = fs::metadata(at).map_err(|e| e.to_string())?;
            let upper = side.join("upper");
            fs::set_permissions(&upper, found.permissions()).map_err(|e| e.to_string())?;
            std::os::unix::fs::chown(&upper, Some(found.uid()), Some(found.gid())).map_err(|e| e.to_string())?;
            let name = |name: &str| side.join(name).display().to_string();
            if self == Place::Fuse {
                let server = fuse::build("failing_fs")?;
                let mut server = Command::new(server);
                server.env("FAILING_SOURCE", &upper).args(["-o", "allow_other,default_permissions"]);
                helper(server.arg(at))?;
            } else {
                let layers = format!("lowerdir={},upperdir={},workdir={}", at.display(), name("upper"), name("work"));
                helper(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(at))?;
            }
            // Restores the time, because the directory was created again.
            return helper(Command::new("touch").args(["-d", &format!("@{}", super::world::OLD)]).arg(at)).map(|_| ());
        }
        let image = work.join("image");
        let file = fs::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(24 << 20).map_err(|e| e.to_string())?;
        drop(file);
        let (program, words): (&str, &[&str]) = match self {
            Place::Seconds => ("mkfs.ext4", &["-q", "-F", "-I", "128", "-O", "^has_journal"]),
            Place::CaseFold => ("mkfs.ext4", &["-q", "-F", "-O", "casefold,^has_journal"]),
            Place::Exfat => ("mkfs.exfat", &[]),
            _ => ("mkfs.vfat", &[]),
        };
        let ids = format!("uid={owner},gid={owner}");
        let made = helper(Command::new(program).args(words).arg(&image)).and_then(|_| {
            let mut mount = Command::new("mount");
            mount.args(["-o", "loop"]);
            if matches!(self, Place::Exfat | Place::Vfat) {
                mount.args(["-o", &ids]);
            }
            helper(mount.arg(&image).arg(at)).map(|_| ())
        });
        let _ = fs::remove_file(&image);
        made?;
        let _ = fs::remove_dir(at.join("lost+found"));
        if self == Place::CaseFold {
            helper(Command::new("chattr").arg("+F").arg(at))?;
        }
        Ok(())
    }
}

/// Unmounts the file system at a directory, if there is one.
pub fn unmount(at: &Path) {
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let above = at.parent().and_then(device);
    while device(at).is_some() && device(at) != above {
        if helper(Command::new("umount").arg("-l").arg(at)).is_err() {
            return;
        }
    }
}

/// The name of the module that contains the world for [`Place::PulledModule`].
pub const MODULE: &str = "w";

/// Names that some modules hide. `.` matches the first and the second pattern.
const HIDDEN: [&str; 3] = [".*", "?", "*1*"];

/// The command that connects to a daemon: `world` is its module, which hides names for some seeds.
pub fn daemon(work: &Work, world: &Path, is_root: bool, seed: u64) -> String {
    let path = work.join("pulled.conf");
    let user = if is_root { "uid = 0\ngid = 0\n" } else { "" };
    let hides = HIDDEN.get((seed % 8) as usize).map_or_else(String::new, |names| format!("exclude = {names}\n"));
    let text = format!("use chroot = no\n{user}[{MODULE}]\npath = {}\nread only = yes\n{hides}", world.display());
    fs::write(&path, text).expect("write the configuration of a daemon");
    let other = work.join("other/rsync");
    let program = if other.exists() { other.display().to_string() } else { "rsync".to_owned() };
    format!("{program} --daemon --config={}", path.display())
}

/// Writes the command that connects to a host, which is this machine. It has `program` in its `PATH` if the place requires this.
pub fn login(work: &Work, place: Place, program: &Path) {
    let folder = match place {
        Place::ByHosts => program.parent().map_or_else(String::new, |folder| folder.display().to_string()),
        _ => String::new(),
    };
    let text = format!("#!/bin/sh\nexec env HOME=/nonexistent PATH=\"$PATH\":{folder} sh -s\n");
    write_program(work, place.login(), &text);
}

/// A stand-in for ssh that becomes nobody if requested. It has `program` in its `PATH` if the place requires this.
pub fn shell(work: &Work, place: Place, program: &Path) -> std::path::PathBuf {
    let user = match place {
        Place::OtherUser => format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "),
        Place::PulledByAgent => {
            let folder = program.parent().unwrap_or(program);
            format!("env PATH={}:\"$PATH\":{} ", work.join("other").display(), folder.display())
        }
        // Its rsync is first in its `PATH`.
        _ => format!("env PATH={}:\"$PATH\" ", work.join("other").display()),
    };
    let text = format!("#!/bin/sh\n[ \"$1\" != -l ] || shift 2\nshift\nexec {user}sh -c \"$*\"\n");
    let name = match place {
        Place::OtherUser => "shell-of-nobody",
        Place::PulledByAgent => "shell-with-agent",
        _ => "shell",
    };
    write_program(work, name, &text)
}

fn write_program(work: &Work, name: &str, text: &str) -> std::path::PathBuf {
    let path = work.join("bin").join(name);
    if !path.exists() {
        work.dir("bin");
        // Written by another process, because a script that is open for writing anywhere cannot be executed.
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$1\" >\"$2.new\" && chmod 755 \"$2.new\" && mv \"$2.new\" \"$2\"", "sh"]);
        helper(write.arg(text).arg(&path)).expect("write a stand-in for ssh");
        let _ = fs::set_permissions(work.join("bin"), fs::Permissions::from_mode(0o755));
    }
    path
}
