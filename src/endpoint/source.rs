//! A source of a copy, by rsync's trailing-slash rule.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::destination::Destination;
use super::reading::{Machine, Reading};
use super::target::{Role, Target};
use crate::entry::Printable;
use crate::error::{Error, Result};

/// A source of a copy: a path, here or on another machine, split into the directory in which rsync is started (or to which it changes there) and, if the
/// slash rule says so, a name in it.
///
/// ```
/// use multi_sync::harness::endpoint::{Form, Source};
/// use std::path::Path;
/// let cwd = Path::new("/home/me");
/// let named = Source::parse("photos/2024".as_ref())?;
/// assert_eq!((named.form(), named.base(cwd).as_path()), (Form::Named, Path::new("/home/me/photos")));
/// assert_eq!(named.name(), Some("2024".as_ref()));
/// let contents = Source::parse("photos/2024/".as_ref())?;
/// assert_eq!((contents.form(), contents.base(cwd).as_path()), (Form::Contents, Path::new("/home/me/photos/2024")));
/// assert!(!Source::parse("nas:photos".as_ref())?.is_local());
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    original: OsString,
    target: Target,
    /// Without repeated slashes and `.` components; empty for the user's working directory, or for the directory in which the other machine begins.
    base: PathBuf,
    name: Option<OsString>,
}

/// rsync's trailing-slash rule (rsync(1), USAGE): which part of a source arrives at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The contents of the directory, and its attributes for the destination itself: the word ends in `/`, `.` or `..`.
    Contents,
    /// The entry itself, under its own name.
    Named,
}

impl Source {
    /// Reads a source as rsync would. Fails, naming the word and the remedy, if the word is one that the [module](super) refuses.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let target = Target::parse(Role::Source, word)?;
        let path = match &target {
            Target::Local => word.as_bytes(),
            // A module always stands for its contents, with a slash or without, because it has no name in the transfer.
            Target::Ssh { path, .. } | Target::Daemon { path, .. } => path.as_bytes(),
        };
        let (base, name) = split(path);
        Ok(Source { original: word.to_owned(), target, base, name })
    }

    /// Reads all sources of a command line. After a source on another machine, `:PATH` and `::MODULE/PATH` are on the same machine (rsync(1), ADVANCED
    /// USAGE).
    ///
    /// # Errors
    /// As [`Source::parse`]; also if the sources are not all on one machine, or both they and DEST are on another machine than this.
    pub fn parse_all(words: &[OsString], destination: &Destination) -> Result<Vec<Source>> {
        let Some((first, rest)) = words.split_first() else { return Ok(Vec::new()) };
        let first = Source::parse(first)?;
        let mut all = vec![first];
        for word in rest {
            let next = match all[0].target.is_local() {
                true => Source::parse(word)?,
                false => all[0].parse_another(word)?,
            };
            if !next.is_beside(&all[0]) {
                return Err(Error::usage(format!("sources '{}' and '{next}' are not on one machine", all[0]))
                    .remedy("give each machine a command of its own; for a local name with a colon write './NAME'"));
            }
            all.push(next);
        }
        if !all[0].is_local() && !destination.is_local() {
            return Err(Error::usage(format!(
                "source '{}' and destination '{destination}' are both on other machines",
                all[0]
            ))
            .remedy("run multi-sync on one of them; for a local name with a colon write './NAME'"));
        }
        Ok(all)
    }

    /// Reads a source that may leave out the machine: then the machine of `self` is meant.
    fn parse_another(&self, word: &OsStr) -> Result<Source> {
        const NOBODY: Machine<'_> = Machine { user: None, host: b"" };
        let path = match (Reading::of(word.as_bytes()), &self.target) {
            (Reading::Shell { machine: NOBODY, path }, Target::Ssh { path: own, .. }) => Some((path, own.len())),
            (Reading::Daemon { machine: NOBODY, .. }, Target::Daemon { .. }) => None,
            _ => return Source::parse(word),
        };
        let typed = self.original.as_bytes();
        let machine = match path {
            Some((_, own)) => &typed[..typed.len() - own - 1],
            // Up to the two colons; a URL has no such short form.
            None => typed.windows(2).position(|pair| pair == b"::").map_or(&b""[..], |at| &typed[..at]),
        };
        let whole = OsString::from_vec([machine, word.as_bytes()].concat());
        Ok(Source { original: word.to_owned(), ..Source::parse(&whole)? })
    }

    /// Whether both are on the same machine, reached in the same way. A source without a user means the user of the first one, as with rsync.
    fn is_beside(&self, first: &Source) -> bool {
        match (&self.target, &first.target) {
            (Target::Local, Target::Local) => true,
            (Target::Ssh { user, host, .. }, Target::Ssh { user: its_user, host: its_host, .. }) => {
                host == its_host && (user.is_none() || user == its_user)
            }
            (
                Target::Daemon { form, user, host, port, .. },
                Target::Daemon { form: its_form, user: its_user, host: its_host, port: its_port, .. },
            ) => form == its_form && host == its_host && port == its_port && (user.is_none() || user == its_user),
            _ => false,
        }
    }

    /// What the word names.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.target.is_local()
    }

    /// The word as it was typed.
    pub fn original(&self) -> &OsStr {
        &self.original
    }

    /// The prefix that names the machine, up to the path or the module: `[user@]host:`, `host::` or `rsync://host/`. Only for a source that names the machine
    /// itself.
    pub fn machine(&self) -> &[u8] {
        let typed = self.original.as_bytes();
        let rest = match &self.target {
            Target::Local => typed.len(),
            Target::Ssh { path, .. } => path.len(),
            Target::Daemon { module, path, .. } => {
                let slash = !path.is_empty() || typed.ends_with(b"/");
                module.len() + usize::from(slash) + path.len()
            }
        };
        &typed[..typed.len() - rest]
    }

    /// The same source as a word that names the machine as `first` does, even if this source leaves the machine out.
    pub fn through(&self, first: &Source) -> OsString {
        let rest = match &self.target {
            Target::Local => return self.original.clone(),
            Target::Ssh { path, .. } => path.as_bytes().to_vec(),
            Target::Daemon { module, path, .. } => [module.as_bytes(), b"/", path.as_bytes()].concat(),
        };
        OsString::from_vec([first.machine(), &rest].concat())
    }

    /// Whether the contents are copied, or the entry under its name.
    pub fn form(&self) -> Form {
        if self.name.is_some() { Form::Named } else { Form::Contents }
    }

    /// The directory in which rsync is started, absolute: the source itself for [`Form::Contents`], its parent for [`Form::Named`]. `..` stays where it was
    /// typed, for the kernel to resolve. Only for a source on this machine.
    ///
    /// # Panics
    /// If `cwd`, the directory the user typed the word in, is not absolute.
    pub fn base(&self, cwd: &Path) -> PathBuf {
        assert!(cwd.is_absolute(), "the current directory is an absolute path");
        debug_assert!(self.is_local(), "a path on another machine is looked for on this one");
        // Joining an empty path would add a slash.
        if self.base.as_os_str().is_empty() { cwd.to_owned() } else { cwd.join(&self.base) }
    }

    /// The same two for a source on another machine, as paths of that machine: relative if they are relative to the login directory there, or to a module.
    pub fn there(&self) -> (&Path, Option<&OsStr>) {
        (&self.base, self.name())
    }

    /// The entry below [`Source::base`], if the form is [`Form::Named`]: one path component, never `.` or `..`. It may begin with `-` or contain a colon:
    /// write `./` before it on a command line.
    pub fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }
}

/// Applies the slash rule: the directory, and a name in it.
fn split(path: &[u8]) -> (PathBuf, Option<OsString>) {
    let mut components: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|component| !matches!(*component, b"" | b".")).collect();
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = match last {
        b"" | b"." | b".." => None,
        _ => components.pop().map(|name| OsStr::from_bytes(name).to_owned()),
    };
    let mut base = if path.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() };
    base.extend(components.into_iter().map(OsStr::from_bytes));
    (base, name)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::os(&self.original).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CWD: &str = "/home/me";

    fn source(word: &str) -> Source {
        Source::parse(word.as_ref()).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    #[test]
    fn sources_follow_the_slash_rule() {
        for (word, base, name) in [
            ("src", "/home/me", Some("src")),
            ("/src", "/", Some("src")),
            ("/abs/src", "/abs", Some("src")),
            ("x/src", "/home/me/x", Some("src")),
            ("./src", "/home/me", Some("src")),
            ("x//./src", "/home/me/x", Some("src")),
            ("x/../src", "/home/me/x/..", Some("src")),
            ("../src", "/home/me/..", Some("src")),
            ("//src", "/", Some("src")),
            ("...", "/home/me", Some("...")),
            (".x", "/home/me", Some(".x")),
            ("..x", "/home/me", Some("..x")),
            ("-x", "/home/me", Some("-x")),
            ("./a:b", "/home/me", Some("a:b")),
            ("[::1]", "/home/me", Some("[::1]")),
            ("src/", "/home/me/src", None),
            ("src//", "/home/me/src", None),
            ("src/.", "/home/me/src", None),
            ("src/./", "/home/me/src", None),
            ("src/.//", "/home/me/src", None),
            (".", "/home/me", None),
            ("./", "/home/me", None),
            ("..", "/home/me/..", None),
            ("..//", "/home/me/..", None),
            ("a/..", "/home/me/a/..", None),
            ("a/../", "/home/me/a/..", None),
            ("/", "/", None),
            ("///", "/", None),
            ("/.", "/", None),
            ("/..", "/..", None),
        ] {
            let read = source(word);
            // Compared as bytes, because `Path` regards `a/` and `a` as equal.
            assert_eq!(read.base(Path::new(CWD)).as_os_str(), base, "{word}");
            assert_eq!(read.name(), name.map(OsStr::new), "{word}");
            assert_eq!(read.form() == Form::Named, name.is_some(), "{word}");
            assert_eq!(read.original(), word);
        }
        assert_eq!(source("x").base(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn sources_on_another_machine_follow_the_slash_rule_too() {
        for (word, base, name) in [
            ("h:p", "", Some("p")),
            ("h:", "", None),
            ("h:.", "", None),
            ("u@h:/a//b/./c", "/a/b", Some("c")),
            ("h:/a/", "/a", None),
            ("h:/", "/", None),
            ("h:../x", "..", Some("x")),
            ("[::1]:p/q", "p", Some("q")),
            ("h::m", "", None),
            ("h::m/", "", None),
            ("h::m/p", "", Some("p")),
            ("rsync://h/m/p/q/", "p/q", None),
            ("rsync://h:99/m//p", "/", Some("p")),
        ] {
            let read = source(word);
            assert!(!read.is_local(), "{word}");
            assert_eq!((read.base.as_os_str(), read.name()), (base.as_ref(), name.map(OsStr::new)), "{word}");
        }
        for word in ["-h:p", ":p", "::m", "h:-p", "h:a\nb", "rsync://h:x/m", "h::", "u@:p"] {
            let error = Source::parse(word.as_ref()).expect_err(word);
            assert!(error.to_string().starts_with("source '"), "{error}");
            assert!(error.advice().is_some(), "{word}");
        }
        assert_eq!(Source::parse("".as_ref()).unwrap_err().to_string(), "a source is empty");
        assert!(Source::parse("a\0".as_ref()).is_err());
    }

    #[test]
    fn all_sources_are_on_one_machine() {
        let read = |words: &[&str], dest: &str| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Source::parse_all(&words, &Destination::parse(dest.as_ref()).unwrap())
        };
        for words in [
            &["a", "b"][..],
            &["h:a", ":b", "h:c"],
            &["u@[::1]:a/", ":/b", "[::1]:c"],
            &["h::m/a", "::n/b", "h::m"],
            &["rsync://h:9/m/a", "rsync://h:9/n"],
        ] {
            let all = read(words, "dst").unwrap();
            let originals: Vec<&OsStr> = all.iter().map(Source::original).collect();
            assert_eq!(originals, words, "{words:?}");
            assert!(all.iter().all(|one| one.target().host() == all[0].target().host()), "{words:?}");
        }
        for (words, dest, problem) in [
            (&["a", "h:b"][..], "dst", "not on one machine"),
            (&["h:a", "b"], "dst", "not on one machine"),
            (&["h:a", "i:b"], "dst", "not on one machine"),
            (&["h:a", "u@h:b"], "dst", "not on one machine"),
            (&["h:a", "h::m/b"], "dst", "not on one machine"),
            (&["h:a", "::m/b"], "dst", "empty host"),
            (&["h::m/a", ":b"], "dst", "empty host"),
            (&["rsync://h/m", "rsync://h:9/m"], "dst", "not on one machine"),
            (&[":a"], "dst", "empty host"),
            (&["h:a"], "i:dst", "both on other machines"),
            (&["rsync://h/m"], "h:dst", "both on other machines"),
        ] {
            let error = read(words, dest).unwrap_err();
            assert!(error.to_string().contains(problem) && error.advice().is_some(), "{words:?}: {error}");
        }
        assert_eq!(read(&["h:/s/a", ":b/c"], "d").unwrap()[1].base, PathBuf::from("b"));
        for (words, machine, second) in [
            (["u@h:/s/a/", ":b/c"], "u@h:", "u@h:b/c"),
            (["u@h:", "h:b"], "u@h:", "u@h:b"),
            (["u@[::1]:a", ":/b/"], "u@[::1]:", "u@[::1]:/b/"),
            (["h::m", "::n"], "h::", "h::n/"),
            (["h::m/a", "h::n/b/"], "h::", "h::n/b/"),
            (["rsync://u@h:9/m/", "rsync://u@h:9/n/b"], "rsync://u@h:9/", "rsync://u@h:9/n/b"),
            (["rsync://h/m", "rsync://h/m/b"], "rsync://h/", "rsync://h/m/b"),
        ] {
            let all = read(&words, "d").unwrap();
            assert_eq!(all[0].machine(), machine.as_bytes(), "{words:?}");
            assert_eq!(all[1].through(&all[0]), second, "{words:?}");
        }
    }
}
