//! Sources that are held open: rsync reads the directory that was found at the beginning, even if its path leads elsewhere later.
//!
//! A single rsync stays in the directory that it has entered: a snapshot that is rotated (`mv daily.0 daily.1`), replaced or lazily unmounted is copied
//! completely. With several arguments, rsync opens each by its absolute path when its turn comes (3.5.0). Therefore the paths lead through `/proc/PID/fd` of
//! this process, whose entries lead to the directories themselves (proc(5)). A source that is sent with its name cannot be held in this way, because the name
//! is part of what is sent: instead, a link of that name in a temporary directory of multi-sync leads to it.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bstr::ByteSlice;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
use tempfile::TempDir;

use crate::file_system::renumbers;

/// The most directories that are held. Others are found by their paths.
const MOST: u64 = 64;
/// Held directories use at most this part (as a divisor) of the files that a process may open.
const SHARE: u64 = 8;
const SPLIT: &[u8] = b"/./";

/// The source directories of a run.
#[derive(Debug, Clone, Default)]
pub struct Handles {
    bases: Arc<Vec<Base>>,
    /// Whether started processes cannot access the held directories.
    given_up: Arc<AtomicBool>,
    /// A directory of another machine as rsync prints it, and as the user knows it.
    printed: Option<Arc<(Vec<u8>, Vec<u8>)>>,
}

/// A directory to which names are relative.
#[derive(Debug, Clone)]
struct Base {
    /// The path as in arguments: absolute, without a trailing slash.
    path: Vec<u8>,
    /// Its device and inode at the beginning.
    identity: Option<(u64, u64)>,
    held: Option<Arc<Held>>,
    /// Sources in it that are sent with their names.
    view: Option<Arc<View>>,
}

/// A directory that is held open.
#[derive(Debug)]
struct Held {
    dir: OwnedFd,
    /// The path through `/proc`.
    path: Vec<u8>,
}

/// A temporary directory of multi-sync with a link to each source that is held.
#[derive(Debug)]
struct View {
    held: Held,
    sources: Vec<(Vec<u8>, Held)>,
    _dir: TempDir,
}

impl PartialEq for Handles {
    fn eq(&self, other: &Handles) -> bool {
        self.bases.iter().map(|base| &base.path).eq(other.bases.iter().map(|base| &base.path))
    }
}

impl Eq for Handles {}

impl Held {
    fn of(dir: OwnedFd) -> Held {
        let path = format!("/proc/{}/fd/{}", std::process::id(), dir.as_raw_fd()).into_bytes();
        Held { dir, path }
    }

    fn open(path: &Path) -> io::Result<Held> {
        Ok(Held::of(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    fn open_in(above: impl AsFd, name: &[u8]) -> io::Result<Held> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Held::of(openat(above, name, flags, Mode::empty())?))
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let found = rustix::fs::fstat(&self.dir).ok()?;
        Some((found.st_dev, found.st_ino))
    }

    /// Whether the path through `/proc` leads to it.
    fn is_reached(&self) -> bool {
        self.identity().is_some() && identity(OsStr::from_bytes(&self.path).as_ref()) == self.identity()
    }
}

/// How many directories may be held.
fn most() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.map_or(MOST, |files| (files / SHARE).min(MOST));
    allowed as usize
}

/// The device and inode of the file to which a path leads.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Handles {
    /// Looks up the directories to which arguments are relative. If `hold`, they are held open, provided that started processes can access them.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a [u8]>, hold: bool) -> Handles {
        // /proc/PID/fd is accessible to other processes of the same user only if this process is dumpable (ptrace(2)).
        let hold = hold && dumpable_behavior().is_ok_and(|found| found == DumpableBehavior::Dumpable);
        let mut bases: Vec<Base> = Vec::new();
        for path in paths {
            let path = without_slash(path);
            // "/" is not held.
            if path.is_empty() || bases.iter().any(|base| base.path == path) {
                continue;
            }
            let found = Path::new(OsStr::from_bytes(path));
            let held =
                (hold && bases.len() < most()).then(|| Held::open(found).ok().filter(Held::is_reached)).flatten();
            let identity = held.as_ref().map_or_else(|| identity(found), Held::identity);
            bases.push(Base { path: path.to_vec(), identity, held: held.map(Arc::new), view: None });
        }
        Handles { bases: Arc::new(bases), ..Handles::default() }
    }

    /// The same, but also with these sources held: names in these directories. The links for them are created in `dir`.
    pub fn with_sources(&self, sources: &[(&[u8], &[u8])], dir: &Path) -> Handles {
        let mut left = most();
        let bases = self.bases.iter().map(|base| {
            let names = sources.iter().filter(|(path, _)| without_slash(path) == base.path);
            let names: Vec<&[u8]> = names.map(|(_, name)| *name).take(left).collect();
            left -= names.len();
            let held = base.held.as_ref().filter(|_| !names.is_empty());
            // If the links cannot be created, the sources are found by their paths.
            let view = held.and_then(|held| View::make(held, &names, dir).ok());
            Base { view: view.map(Arc::new), ..base.clone() }
        });
        Handles { bases: Arc::new(bases.collect()), ..self.clone() }
    }

    /// The same, with a directory of another machine that rsync prints differently from what the user has typed.
    #[must_use]
    pub fn showing(self, printed: (Vec<u8>, Vec<u8>)) -> Handles {
        Handles { printed: Some(Arc::new(printed)), ..self }
    }

    fn are_used(&self) -> bool {
        !self.given_up.load(Ordering::SeqCst)
    }

    /// From now on sources are found by their paths. Returns false if they already were.
    pub fn give_up(&self) -> bool {
        !self.given_up.swap(true, Ordering::SeqCst)
    }

    /// Whether rsync reports in this line that it cannot enter a held directory, because it runs as another user, who may not access `/proc/PID/fd` of this
    /// process.
    pub fn is_out_of_reach(&self, line: &[u8]) -> bool {
        let Some(said) = line.strip_prefix(b"rsync: ") else { return false };
        let said = said.strip_prefix(b"[sender] ").unwrap_or(said);
        let rest = said.strip_prefix(b"change_dir \"").unwrap_or_default();
        self.held_ways().any(|(way, _)| rest.strip_prefix(way).is_some_and(ends_name))
    }

    /// The paths to held directories, and the paths that the user knows.
    fn ways(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.held_ways().chain(self.printed.iter().map(|printed| (&printed.0[..], &printed.1[..])))
    }

    fn held_ways(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bases.iter().flat_map(|base| {
            let held = base.held.as_deref().into_iter().chain(base.view.as_ref().map(|view| &view.held));
            held.map(|held| (&held.path[..], &base.path[..]))
        })
    }

    fn base(&self, path: &[u8]) -> Option<&Base> {
        let path = without_slash(path);
        self.bases.iter().find(|base| base.path == path)
    }

    /// The path for entering a directory to which names are relative.
    pub fn dir(&self, path: &Path) -> PathBuf {
        let base = self.base(path.as_os_str().as_bytes()).filter(|_| self.are_used());
        let held = base.and_then(|base| base.held.as_deref());
        held.map_or_else(|| path.to_owned(), |held| OsString::from_vec(held.path.clone()).into())
    }

    /// An argument that leads through a held directory; `base` is the directory to which relative arguments are relative. An argument that is not held stays
    /// as it is.
    pub fn argument<'a>(&self, base: &Path, argument: &'a [u8]) -> Cow<'a, [u8]> {
        match self.way(base, argument) {
            Some((way, name)) => Cow::Owned([way, SPLIT, name].concat()),
            None => Cow::Borrowed(argument),
        }
    }

    /// The directory below which all these arguments can be listed by their own names, if there is one.
    pub fn list_in<'a>(&self, base: &Path, arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<PathBuf> {
        let mut common = None;
        for argument in arguments {
            let way = self.way(base, argument).filter(|_| !argument.starts_with(b"/"))?.0;
            if *common.get_or_insert(way) != way {
                return None;
            }
        }
        common.map(|way| OsString::from_vec([way, b"/"].concat()).into())
    }

    /// The path to the held directory, and the part of the argument that is sent.
    fn way<'a>(&self, base: &Path, argument: &'a [u8]) -> Option<(&[u8], &'a [u8])> {
        if !self.are_used() {
            return None;
        }
        let (base, name) = if argument.starts_with(b"/") {
            let (above, name) = split(argument)?;
            (self.base(above)?, name)
        } else {
            // `/./` does what `././` does in arguments: it keeps directories out of the transfer.
            (self.base(base.as_os_str().as_bytes())?, argument.strip_prefix(b"././").unwrap_or(argument))
        };
        Some((base.way(name)?, name))
    }

    /// The local path of the entry that an argument names.
    pub fn local(&self, base: &Path, argument: &[u8]) -> PathBuf {
        let held = self.argument(base, argument);
        base.join(OsStr::from_bytes(&held))
    }

    /// Whether an argument is a source that is held with its name: what is below it does not depend on what has this name now.
    pub fn is_held_source(&self, base: &Path, argument: &[u8]) -> bool {
        let below = |argument: &[u8]| self.local(base, &[argument, b"/."].concat());
        below(argument) != self.local(base, argument).join(".")
    }

    /// The directories that are not held and whose path now leads elsewhere.
    pub fn lost(&self) -> impl Iterator<Item = &[u8]> {
        let by_path = self.bases.iter().filter(|base| base.held.is_none() || !self.are_used());
        let lost = by_path.filter(|base| {
            let path = Path::new(OsStr::from_bytes(&base.path));
            let found = identity(path);
            found != base.identity && !(found.is_some() && renumbers(path))
        });
        lost.map(|base| &base.path[..])
    }

    /// A line of rsync with the paths that the user knows.
    pub fn shown<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        const PROC: &[u8] = b"\"/proc/";
        if self.printed.is_none() && !line.contains_str(PROC) {
            return Cow::Borrowed(line);
        }
        let mut shown = Vec::with_capacity(line.len());
        let mut rest = line;
        while let Some(&first) = rest.first() {
            shown.push(first);
            rest = &rest[1..];
            if first != b'"' {
                continue;
            }
            let after = |way| rest.strip_prefix(way).filter(|rest| ends_name(rest));
            let way = self.ways().find_map(|(way, path)| Some((after(way)?, path)));
            if let Some((after, path)) = way {
                shown.extend_from_slice(path);
                rest = after;
            }
        }
        Cow::Owned(shown)
    }
}

impl Base {
    /// The path to the directory for a name: for entries below a held source, it differs from that for the source itself.
    fn way(&self, name: &[u8]) -> Option<&[u8]> {
        let slash = name.iter().position(|byte| *byte == b'/');
        let view = slash.zip(self.view.as_deref()).map(|(end, view)| (&name[..end], view));
        let view = view.filter(|(first, view)| view.sources.iter().any(|(source, _)| source == first));
        view.map(|(_, view)| &view.held).or(self.held.as_deref()).map(|held| &held.path[..])
    }
}

impl View {
    fn make(above: &Held, names: &[&[u8]], dir: &Path) -> io::Result<View> {
        let dir = tempfile::Builder::new().prefix("sources-").tempdir_in(dir)?;
        let mut sources = Vec::with_capacity(names.len());
        for name in names {
            let source = Held::open_in(&above.dir, name)?;
            symlink(OsStr::from_bytes(&source.path), dir.path().join(OsStr::from_bytes(name)))?;
            sources.push((name.to_vec(), source));
        }
        Ok(View { held: Held::open(dir.path())?, sources, _dir: dir })
    }
}

/// The directory to which the rest of an argument is relative; `base` is the one for relative arguments.
pub fn base_of<'a>(base: &'a Path, prefix: &'a [u8]) -> &'a [u8] {
    let absolute = prefix.starts_with(b"/").then(|| split(prefix)).flatten();
    absolute.map_or_else(|| base.as_os_str().as_bytes(), |(above, _)| above)
}

/// Splits an argument into the part that only says where it is, and the part that is sent (rsync(1), `--relative`).
fn split(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = argument.find(SPLIT)?;
    Some((&argument[..at], &argument[at + SPLIT.len()..]))
}

fn ends_name(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'/' | b'"'))
}

fn without_slash(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lead_to_what_was_there_and_are_shown_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        for dir in ["base/source/a", "own", "elsewhere"] {
            fs::create_dir_all(top.join(dir)).unwrap();
        }
        let (base, other) = (top.join("base"), top.join("elsewhere"));
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let (base_bytes, other_bytes) = (bytes(&base), bytes(&other));
        let handles = Handles::of([&base_bytes[..], b"/"], true);
        assert_eq!(handles.argument(&base, b"/x/./a"), Cow::Borrowed(b"/x/./a"));
        assert_eq!(handles.argument(Path::new("/"), b"./a"), Cow::Borrowed(b"./a"));
        let handles = handles.with_sources(&[(&base_bytes, b"source")], &top.join("own"));
        let argument = |name: &[u8]| handles.argument(&base, name).into_owned();
        let leads = |name: &[u8]| handles.local(&base, name).exists();
        fs::rename(base.join("source"), top.join("moved")).unwrap();
        assert!(leads(b"././source/a") && !leads(b"././source") && handles.is_held_source(&base, b"././source"));
        assert!(!handles.is_held_source(&base, b"./single"));
        fs::rename(&base, top.join("rotated")).unwrap();
        assert!(leads(b"././source/a") && leads(b"./"));
        for (name, shown) in [(&b"././source/a"[..], "source/a"), (b"././source", "source"), (b"././f", "f")] {
            let argument = String::from_utf8(argument(name)).unwrap().replace("/./", "/");
            let line = format!("link_stat \"{argument}\" failed, not {argument}");
            let expected = format!("link_stat \"{}/{shown}\" failed, not {argument}", base.display());
            assert_eq!(handles.shown(line.as_bytes()), expected.as_bytes());
        }
        let list_in = |names: &[&[u8]]| handles.list_in(&base, names.iter().copied());
        assert_eq!(list_in(&[b"./a", b"./b/c"]), Some(handles.dir(&base).join("")));
        assert!(list_in(&[b"././source/a", b"././source/b/c"]).is_some());
        assert_eq!(list_in(&[b"././source/a", b"././f"]), None);

        let by_path = Handles::of([&other_bytes[..]], false);
        assert_eq!(by_path.argument(&other, b"./a"), Cow::Borrowed(b"./a"));
        assert_eq!(by_path.lost().count(), 0);
        fs::rename(&other, top.join("gone")).unwrap();
        assert_eq!(by_path.lost().collect::<Vec<_>>(), [other_bytes]);
    }
}
