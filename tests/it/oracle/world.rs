//! The world of a case as a value: sources, destination and what lies next to them. It can be created on disk repeatedly, reduced by the shrinker, and
//! printed as a shell script.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use rustix::fs::{
    AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, XattrFlags, ioctl_getflags, ioctl_setflags, mknodat,
    setxattr, utimensat,
};

use super::saved::name;
use crate::support::command::quoted;

/// 2001-09-09, the default time: old enough never to be taken for "now".
pub const OLD: i64 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Dir,
    /// This number of times the letter.
    File {
        letter: u8,
        size: u64,
    },
    /// A block of letters, followed by a hole up to the size.
    Sparse {
        letter: u8,
        size: u64,
    },
    Text(String),
    Symlink(#[serde(with = "name")] Vec<u8>),
    Fifo,
    Socket,
    /// A character device with major number 1.
    Device {
        minor: u32,
    },
    /// Another name of an earlier node.
    Link(#[serde(with = "name")] Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The path, relative to the world.
    #[serde(with = "name")]
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub mtime: (i64, u32),
    /// User and group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub owner: (u32, u32),
    /// The value of `user.oracle`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub xattr: Option<String>,
    /// Whether it has an access ACL with an additional user.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acl: bool,
    /// Whether nothing can be created or removed in it, even by root (chattr +i).
    #[serde(default, skip_serializing_if = "is_default")]
    pub immutable: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Node {
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Node {
        let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
        Node {
            path: path.into(),
            kind,
            mode,
            mtime: (OLD, 0),
            owner: (0, 0),
            xattr: None,
            acl: false,
            immutable: false,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// The user and group in a world for this user: only root can have files of others.
    fn ids(&self, owner: u32) -> (u32, u32) {
        match self.owner {
            (FOREIGN, _) => (0, 0),
            ids if owner == 0 => ids,
            _ => (owner, owner),
        }
    }
}

/// Mounts a file system at a path.
pub type Mount<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// Nodes, each parent before its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    pub nodes: Vec<Node>,
}

impl World {
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.iter().find(|node| node.path == path)
    }

    pub fn has_dir(&self, path: &[u8]) -> bool {
        self.get(path).is_some_and(Node::is_dir)
    }

    /// Adds a node, unless its name exists or its directory does not.
    pub fn add(&mut self, node: Node) -> bool {
        let above = parent(&node.path);
        let free = self.get(&node.path).is_none() && (above.is_empty() || self.has_dir(above));
        if free {
            self.nodes.push(node);
        }
        free
    }

    /// Lets the owner of a directory enter it, because a process can only be started in such a directory.
    pub fn let_in(&mut self, dir: &[u8]) {
        self.nodes.iter_mut().filter(|node| node.path == dir).for_each(|node| node.mode |= 0o100);
    }

    /// Everything below a directory, without the directory itself.
    pub fn below<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = &'a Node> + 'a {
        self.nodes.iter().filter(move |node| is_below(&node.path, dir))
    }

    /// Removes names with everything below them. A link to a removed name becomes a node like it.
    pub fn remove(&mut self, gone: &HashSet<Vec<u8>>) {
        let is_gone = |path: &[u8]| {
            let mut path = path;
            loop {
                if gone.contains(path) {
                    return true;
                }
                if path.is_empty() {
                    return false;
                }
                path = parent(path);
            }
        };
        let mut heirs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let old = std::mem::take(&mut self.nodes);
        for mut node in old.iter().cloned() {
            if is_gone(&node.path) {
                continue;
            }
            if let Kind::Link(to) = &node.kind
                && is_gone(to)
            {
                match heirs.iter().find(|(dead, _)| dead == to) {
                    Some((_, heir)) => node.kind = Kind::Link(heir.clone()),
                    None => {
                        heirs.push((to.clone(), node.path.clone()));
                        let first = old.iter().find(|node| node.path == *to).expect("a link leads to a node");
                        node = Node { path: node.path, ..first.clone() };
                    }
                }
            }
            self.nodes.push(node);
        }
    }

    /// Creates everything in `root`, which is created too, for this user if the tests run as root. `mount` is called for `d` while it is still empty; some of
    /// its contents may then be impossible.
    pub fn make(&self, root: &Path, owner: u32, mount: Option<Mount>) -> io::Result<()> {
        fs::create_dir(root)?;
        for node in &self.nodes {
            let made = self.make_node(root, node).map_err(|e| io::Error::new(e.kind(), format!("{node:?}: {e}")));
            match mount {
                // Links between file systems are impossible too.
                Some(_) if is_below(&node.path, b"d") || matches!(node.kind, Kind::Link(_)) => {}
                _ => made?,
            }
            if let (Some(mount), b"d") = (mount, &node.path[..]) {
                mount(&root.join("d"))?;
            }
        }
        for node in self.nodes.iter().rev() {
            let lenient = mount.is_some() && node.path.starts_with(b"d");
            set_attributes(root, node, owner, lenient)?;
        }
        if crate::support::is_root() {
            chown(root, Some(owner), Some(owner))?;
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        touch(root, (OLD, 0))
    }

    fn make_node(&self, root: &Path, node: &Node) -> io::Result<()> {
        let path = root.join(OsStr::from_bytes(&node.path));
        let special = |kind, device| Ok(mknodat(CWD, &path, kind, Mode::RUSR, device)?);
        match &node.kind {
            Kind::Dir => fs::create_dir(&path),
            Kind::File { letter, size } => write(&path, &vec![*letter; *size as usize], None),
            Kind::Sparse { letter, size } => write(&path, &vec![*letter; (*size).min(4096) as usize], Some(*size)),
            Kind::Text(text) => write(&path, text.as_bytes(), None),
            Kind::Symlink(target) => symlink(OsStr::from_bytes(target), &path),
            Kind::Fifo => special(FileType::Fifo, 0),
            Kind::Socket => special(FileType::Socket, 0),
            Kind::Device { minor } => special(FileType::CharacterDevice, rustix::fs::makedev(1, *minor)),
            Kind::Link(to) => {
                let to: PathBuf = root.join(OsStr::from_bytes(to));
                fs::hard_link(to, &path)
            }
        }
    }

    /// Shell commands that create the world in the current directory.
    pub fn script(&self, owner: u32) -> String {
        let mut text = String::new();
        let name = |path: &[u8]| {
            let dashed = if path.starts_with(b"-") { [b"./", path].concat() } else { path.to_vec() };
            quoted(OsStr::from_bytes(&dashed))
        };
        for node in &self.nodes {
            let shown = name(&node.path);
            let letters =
                |letter: &u8, count: u64| format!("head -c {count} /dev/zero | tr '\\0' {}", char::from(*letter));
            let _ = match &node.kind {
                Kind::Dir => writeln!(text, "mkdir {shown}"),
                Kind::File { letter, size } => writeln!(text, "{} > {shown}", letters(letter, *size)),
                Kind::Sparse { letter, size } => {
                    let front = (*size).min(4096);
                    writeln!(text, "{} > {shown}; truncate -s {size} {shown}", letters(letter, front))
                }
                Kind::Text(lines) => writeln!(text, "printf %s {} > {shown}", quoted(OsStr::new(lines))),
                Kind::Symlink(target) => writeln!(text, "ln -s -- {} {shown}", quoted(OsStr::from_bytes(target))),
                Kind::Fifo => writeln!(text, "mkfifo {shown}"),
                Kind::Socket => {
                    writeln!(text, "python3 -c 'import os,sys,stat; os.mknod(sys.argv[1], stat.S_IFSOCK)' {shown}")
                }
                Kind::Device { minor } => writeln!(text, "mknod {shown} c 1 {minor}"),
                Kind::Link(to) => writeln!(text, "ln {} {shown}", name(to)),
            };
        }
        for node in self.nodes.iter().rev() {
            if matches!(node.kind, Kind::Link(_)) {
                continue;
            }
            let shown = name(&node.path);
            let (user, group) = node.ids(owner);
            if (user, group) != (0, 0) {
                let _ = write!(text, "chown -h {user}:{group} {shown}; ");
            }
            if !matches!(node.kind, Kind::Symlink(_)) {
                if let Some(value) = &node.xattr {
                    let _ = write!(text, "setfattr -n user.oracle -v {value} {shown}; ");
                }
                if node.mode != if node.is_dir() { 0o755 } else { 0o644 } {
                    let _ = write!(text, "chmod {:o} {shown}; ", node.mode);
                }
                if node.acl {
                    let _ = write!(text, "setfacl -m u:1000:r {shown}; ");
                }
            }
            let _ = writeln!(text, "touch -h -d @{}.{:09} {shown}", node.mtime.0, node.mtime.1);
            if node.immutable {
                let _ = writeln!(text, "chattr +i {shown}");
            }
        }
        text
    }
}

/// An owner that becomes root, whoever runs the case.
pub const FOREIGN: u32 = u32::MAX;

pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(b"", |slash| &path[..slash])
}

pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

fn write(path: &Path, content: &[u8], size: Option<u64>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    size.map_or(Ok(()), |size| file.set_len(size))
}

/// `lenient` ignores errors that the file system may cause.
fn set_attributes(root: &Path, node: &Node, owner: u32, lenient: bool) -> io::Result<()> {
    let path = root.join(OsStr::from_bytes(&node.path));
    if matches!(node.kind, Kind::Link(_)) {
        return Ok(());
    }
    let must = |done: io::Result<()>| if lenient { Ok(()) } else { done };
    if crate::support::is_root() {
        let (user, group) = node.ids(owner);
        must(lchown(&path, Some(user), Some(group)))?;
    }
    if !matches!(node.kind, Kind::Symlink(_)) {
        if let Some(value) = &node.xattr {
            // Not every file system supports them, and FIFOs do not.
            let _ = setxattr(&path, "user.oracle", value.as_bytes(), XattrFlags::empty());
        }
        must(fs::set_permissions(&path, fs::Permissions::from_mode(node.mode)))?;
        if node.acl {
            let _ = setxattr(&path, "system.posix_acl_access", &acl(node.mode), XattrFlags::empty());
        }
    }
    must(touch(&path, node.mtime))?;
    if node.immutable {
        must(set_immutable(&path, true))?;
    }
    Ok(())
}

/// Only root can do this, and not every file system supports it.
pub fn set_immutable(path: &Path, immutable: bool) -> io::Result<()> {
    let dir = fs::File::open(path)?;
    let flags = ioctl_getflags(&dir)?;
    let wanted = if immutable { flags | IFlags::IMMUTABLE } else { flags - IFlags::IMMUTABLE };
    if wanted != flags {
        ioctl_setflags(&dir, wanted)?;
    }
    Ok(())
}

fn touch(path: &Path, (seconds, nanos): (i64, u32)) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// An ACL (acl(5)) as Linux stores it: version 2, then tag, permissions and id of each entry.
fn acl(mode: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let entries = [
        (0x01, mode >> 6 & 7, NO_ID),
        (0x02, 4, 1000),
        (0x04, mode >> 3 & 7, NO_ID),
        (0x10, (mode >> 3 & 7) | 4, NO_ID),
        (0x20, mode & 7, NO_ID),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend((permissions as u16).to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
