//! Ignore rules ([`Scan::gitignore`](super::Scan::gitignore)): which files contain rules, in which directories they apply, and which rule wins. The crate
//! `ignore` interprets single lines.
//!
//! A name is checked against all `.ignore` files first, then against all `.gitignore` files, then `.git/info/exclude`, then git's global file. Among files of
//! one kind, the nearest one with a matching rule wins (gitignore(5)). Directories are accessed by handles, so that rules work at any path length.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, gitconfig_excludes_path};
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Root, below};
use crate::error::{Error, Result};

/// The operation that error messages name.
pub(super) const READ_RULES: &str = "read ignore rules";

const IGNORE: &CStr = c".ignore";
const GIT_IGNORE: &CStr = c".gitignore";
const GIT: &CStr = c".git";
/// The path of the exclude file below git's own directory.
const EXCLUDE: &str = "info/exclude";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The rules that apply in a directory.
#[derive(Clone)]
pub(super) struct Rules {
    scan: Arc<Whole>,
    nearest: Option<Arc<Level>>,
    /// The length of the path, from the top, of the directory to which the patterns of the global file are relative.
    global_from: usize,
}

/// What all directories of a root share.
struct Whole {
    /// The path from the top, which is the top of the repository, to the base of the root. Empty if the root is in no repository.
    way: Vec<u8>,
    global: Gitignore,
}

/// The rules of one directory.
struct Level {
    above: Option<Arc<Level>>,
    /// The length of the path prefix, from the top, up to the entries of the directory.
    from: usize,
    ignore: Gitignore,
    git_ignore: Gitignore,
    exclude: Gitignore,
}

impl Drop for Level {
    /// Dropped in a loop, because dropping a chain of thousands of levels by recursion would overflow the stack.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(mut level) = above.and_then(Arc::into_inner) {
            above = level.above.take();
        }
    }
}

/// Which files with rules a directory contains.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    ignore: bool,
    git_ignore: bool,
    git: bool,
}

impl Present {
    /// All may be there, because the directory has not been listed completely.
    pub fn unknown() -> Present {
        Present { ignore: true, git_ignore: true, git: true }
    }

    pub fn see(&mut self, name: &CStr) {
        self.ignore |= name == IGNORE;
        self.git_ignore |= name == GIT_IGNORE;
        self.git |= name == GIT;
    }
}

/// A file of rules that could not be read, or that contains rules that could not be used.
pub(super) struct Unread {
    /// Path relative to the directory.
    pub name: Vec<u8>,
    pub errno: Errno,
}

impl Rules {
    /// The rules from above a root: those of the repository that contains it, if there is one, and those of git's global file.
    ///
    /// # Errors
    /// One of these files cannot be read.
    pub fn above(root: &Root) -> Result<Rules> {
        let find = |cause| Error::io("find the real path of", &root.base, cause);
        let base = root.base.canonicalize().map_err(find)?;
        let mut path = base.clone();
        path.extend(&root.name);
        let is_top = |dir: &&Path| dir.join(".git").symlink_metadata().is_ok();
        let top = if is_top(&&*path) { None } else { path.ancestors().skip(1).find(is_top) };
        let way = top.and_then(|top| base.strip_prefix(top).ok()).map_or(&b""[..], |way| way.as_os_str().as_bytes());
        let way = if way.is_empty() { Vec::new() } else { [way, b"/"].concat() };
        let inside = root.name.as_ref().map_or(0, |name| name.len() + 1);
        let global_from = if top.is_some() { 0 } else { inside };
        let mut rules = Rules { scan: Arc::new(Whole { way, global: global()? }), nearest: None, global_from };
        let Some(top) = top else { return Ok(rules) };
        let mut dirs: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.starts_with(top)).collect();
        dirs.reverse();
        for dir in dirs {
            let from = dir.strip_prefix(top).map_or(0, |way| way.as_os_str().len());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = fs::open(dir, flags, Mode::empty());
            let handle = opened.map_err(|errno| Error::io(READ_RULES, dir, errno))?;
            let from = if from == 0 { 0 } else { from + 1 };
            let (level, unread) = rules.with(&handle, from, Present::unknown());
            if let Some(Unread { name, errno }) = unread.into_iter().next() {
                let file = dir.join(OsStr::from_bytes(&name));
                return Err(Error::io(READ_RULES, &file, errno).remedy("make it readable, or leave out --gitignore"));
            }
            rules = level;
        }
        Ok(rules)
    }

    /// The rules in the directory at this path below the base, and the files of rules that could not be read.
    pub fn inside(&self, dir: &OwnedFd, path: &[u8], present: Present) -> (Rules, Vec<Unread>) {
        let from = self.way_to(path).len();
        self.with(dir, from, present)
    }

    fn with(&self, dir: &OwnedFd, from: usize, present: Present) -> (Rules, Vec<Unread>) {
        let mut unread = Vec::new();
        let mut take = |text: rustix::io::Result<Option<Vec<u8>>>, name: &[u8]| {
            let (matcher, errno) = match text {
                Ok(None) => return Gitignore::empty(),
                Ok(Some(text)) => compile(&text),
                Err(errno) => (Gitignore::empty(), Some(errno)),
            };
            unread.extend(errno.map(|errno| Unread { name: name.to_vec(), errno }));
            matcher
        };
        let look = |wanted: bool, name: &CStr| if wanted { read(dir, name.to_bytes()) } else { Ok(None) };
        let ignore = take(look(present.ignore, IGNORE), IGNORE.to_bytes());
        let git_ignore = take(look(present.git_ignore, GIT_IGNORE), GIT_IGNORE.to_bytes());
        let git = if present.git { git_directory(dir) } else { None };
        let is_top = git.is_some();
        let exclude = git.map_or_else(Gitignore::empty, |git| {
            let file = below(&git, EXCLUDE.as_bytes());
            take(read(dir, &file), &file)
        });
        let global_from = if is_top { from } else { self.global_from };
        let nearest = if [&ignore, &git_ignore, &exclude].iter().all(|rules| rules.is_empty()) {
            self.nearest.clone()
        } else {
            Some(Arc::new(Level { above: self.nearest.clone(), from, ignore, git_ignore, exclude }))
        };
        (Rules { scan: Arc::clone(&self.scan), nearest, global_from }, unread)
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.nearest.is_none() && self.scan.global.is_empty()
    }

    /// The prefix of the paths that [`Rules::ignore`] takes, for the directory at this path below the base.
    pub fn way_to(&self, path: &[u8]) -> Vec<u8> {
        let slash = if path.is_empty() { &b""[..] } else { b"/" };
        [&self.scan.way, path, slash].concat()
    }

    /// Whether the rules ignore the entry with this path, which is relative to the top.
    pub fn ignore(&self, path: &[u8], is_dir: bool) -> bool {
        let judge = |rules: &Gitignore, from: usize| {
            Some(rules.matched(Path::new(OsStr::from_bytes(&path[from..])), is_dir).map(|_| ()))
                .filter(|verdict| !verdict.is_none())
        };
        let kinds: [fn(&Level) -> &Gitignore; 3] =
            [|level| &level.ignore, |level| &level.git_ignore, |level| &level.exclude];
        let levels = || std::iter::successors(self.nearest.as_deref(), |level| level.above.as_deref());
        let nearest = |kind: fn(&Level) -> &Gitignore| levels().find_map(|level| judge(kind(level), level.from));
        let verdict: Option<Match<()>> =
            kinds.into_iter().find_map(nearest).or_else(|| judge(&self.scan.global, self.global_from));
        verdict.is_some_and(|verdict| verdict.is_ignore())
    }
}

/// git's global file, if this user has one. A file that this user may not read counts as absent, as in git.
fn global() -> Result<Gitignore> {
    let Some(path) = gitconfig_excludes_path() else { return Ok(Gitignore::empty()) };
    match read(fs::CWD, path.as_os_str().as_bytes()).map(|text| text.map(|text| compile(&text))) {
        Ok(None) | Err(Errno::ACCESS) => Ok(Gitignore::empty()),
        Ok(Some((rules, None))) => Ok(rules),
        Ok(Some((_, Some(errno)))) | Err(errno) => {
            Err(Error::io(READ_RULES, &path, errno).remedy("correct it, or leave out --gitignore"))
        }
    }
}

/// The contents of the file at a path below a directory; `None` if there is none, or if it is not a regular file.
fn read(dir: impl AsFd, path: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    // Opened without blocking, because it may be a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(dir, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text).map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
    Ok(Some(text))
}

/// The rules of a file, and an error if some cannot be used. An invalid line matches nothing, as in git. A line that is not UTF-8 is an error, because git
/// would apply it, but the crate cannot.
fn compile(text: &[u8]) -> (Gitignore, Option<Errno>) {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut rules = GitignoreBuilder::new("");
    let mut wrong = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok(line) => drop(rules.add_line(None, line)),
            Err(_) if line.starts_with(b"#") => {}
            Err(_) => wrong = Some(Errno::ILSEQ),
        }
    }
    match rules.build() {
        Ok(rules) => (rules, wrong),
        Err(_) => (Gitignore::empty(), Some(Errno::INVAL)),
    }
}

/// The path of git's directory for the working tree in `dir`, relative to `dir` or absolute; `None` if `dir` is no working tree. In a linked working tree
/// `.git` is a file that contains the path (gitrepository-layout(5)).
fn git_directory(dir: &OwnedFd) -> Option<Vec<u8>> {
    let git = GIT.to_bytes();
    let kind = FileType::from_raw_mode(fs::statat(dir, GIT, fs::AtFlags::empty()).ok()?.st_mode);
    if kind == FileType::Directory {
        return Some(git.to_vec());
    }
    let line = |text: &[u8]| text.trim_ascii_end().to_vec();
    let leads = line(read(dir, git).ok()??.strip_prefix(b"gitdir: ")?);
    match read(dir, &below(&leads, b"commondir")) {
        Ok(Some(common)) if common.starts_with(b"/") => Some(line(&common)),
        Ok(Some(common)) => Some(below(&leads, &line(&common))),
        _ => Some(leads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(dir: &Path) -> OwnedFd {
        fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn write(path: &Path, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Whether the rules in `top/dir` ignore a name in it.
    fn ignored(top: &Path, dir: &str, name: &str) -> bool {
        let mut rules = Rules::above(&Root { base: top.to_owned(), name: None }).unwrap();
        let mut at = top.to_owned();
        let mut path = String::new();
        rules = rules.inside(&handle(&at), b"", Present::unknown()).0;
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            at.push(part);
            path = if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") };
            rules = rules.inside(&handle(&at), path.as_bytes(), Present::unknown()).0;
        }
        let (name, is_dir) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
        rules.ignore(&[&rules.way_to(path.as_bytes()), name.as_bytes()].concat(), is_dir)
    }

    #[test]
    fn the_nearest_file_of_the_strongest_kind_decides() {
        let work = tempfile::tempdir().unwrap();
        let top = work.path();
        write(&top.join(".gitignore"), "*.o\n/a/only\nout/\n");
        write(&top.join("a/.gitignore"), "!b.o\n");
        write(&top.join("a/c/.ignore"), "b.o\n!d.o\n");
        assert!(ignored(top, "", "x.o") && ignored(top, "a", "x.o") && ignored(top, "a", "only"));
        assert!(!ignored(top, "a", "b.o") && ignored(top, "a/c", "b.o") && !ignored(top, "a/c", "d.o"));
        assert!(ignored(top, "a/c", "out/") && !ignored(top, "a/c", "out") && !ignored(top, "a/c", "only"));
    }

    #[test]
    fn a_repository_brings_its_excludes_and_the_rules_between_its_top_and_the_root() {
        let work = tempfile::tempdir().unwrap();
        write(&work.path().join(".gitignore"), "*\n");
        let repository = work.path().join("r");
        write(&repository.join(".git/info/exclude"), "/s/x\n*.log\n");
        write(&repository.join("s/.gitignore"), "/t/y\n");
        write(&repository.join("s/t/f"), "");
        let inside = repository.join("s/t");
        // Rules above the repository do not apply.
        assert!(ignored(&inside, "", "a.log") && ignored(&inside, "", "y") && !ignored(&inside, "", "x"));
        assert!(ignored(&repository, "s", "x") && !ignored(&repository, "s", "f"));
        // A linked working tree.
        write(&work.path().join("w/.git"), "gitdir: ../r/.git/worktrees/w\n");
        write(&repository.join(".git/worktrees/w/commondir"), "../..\n");
        assert!(ignored(&work.path().join("w"), "", "a.log"));
    }

    #[test]
    fn what_is_no_file_of_rules_says_nothing_and_what_cannot_be_taken_is_told() {
        let work = tempfile::tempdir().unwrap();
        let top = work.path();
        write(&top.join(".gitignore"), b"\xef\xbb\xbfa\r\n# \xff\n[z\nb\xff\nc\n");
        std::fs::create_dir(top.join(".ignore")).unwrap();
        let rules = Rules::above(&Root { base: top.to_owned(), name: None }).unwrap();
        let (rules, unread) = rules.inside(&handle(top), b"", Present::unknown());
        assert!(rules.ignore(b"a", false) && rules.ignore(b"c", false) && !rules.ignore(b"b", false));
        let told: Vec<_> = unread.iter().map(|unread| (&unread.name[..], unread.errno)).collect();
        assert_eq!(told, [(&b".gitignore"[..], Errno::ILSEQ)]);
        std::fs::remove_dir(top.join(".ignore")).unwrap();
        fs::mknodat(fs::CWD, top.join(".ignore"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read(handle(top), b".ignore"), Ok(None));
    }
}
