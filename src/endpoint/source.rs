//! What is copied, by rsync's trailing-slash rule.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::check_local;
use super::reading::Reading;
use crate::entry::Printable;
use crate::error::{Error, Result};

/// What is copied: a local path, split into the directory that rsync is started in and, if the slash rule says so, a name in it.
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
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    original: OsString,
    /// Without repeated slashes and `.` components; empty for the directory the word was typed in.
    base: PathBuf,
    name: Option<OsString>,
}

/// rsync's trailing-slash rule (rsync(1), USAGE): what of a source arrives at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What the directory holds, and its attributes for the destination itself: the word ends in `/`, `.` or `..`.
    Contents,
    /// The entry itself, under its own name.
    Named,
}

impl Source {
    /// Reads a source as rsync would. Fails on an empty word, and on every word that rsync would look for on another machine.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let bytes = word.as_bytes();
        if Reading::of(bytes) != Reading::Local {
            let shown = Printable::os(word);
            return Err(Error::usage(format!("source '{shown}' is on another machine; multi-sync only pushes"))
                .remedy(format!(
                    "run multi-sync on the machine that has the data; for a local name with a colon write './{shown}'"
                )));
        }
        check_local("source", word)?;
        let mut components: Vec<&[u8]> =
            bytes.split(|&byte| byte == b'/').filter(|component| !matches!(*component, b"" | b".")).collect();
        let last = bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let name = match last {
            b"" | b"." | b".." => None,
            _ => components.pop().map(|name| OsStr::from_bytes(name).to_owned()),
        };
        let mut base = if bytes.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() };
        base.extend(components.into_iter().map(OsStr::from_bytes));
        Ok(Source { original: word.to_owned(), base, name })
    }

    /// The word as it was typed.
    pub fn original(&self) -> &OsStr {
        &self.original
    }

    /// Whether the contents are copied or the entry under its name.
    pub fn form(&self) -> Form {
        if self.name.is_some() { Form::Named } else { Form::Contents }
    }

    /// The directory to start rsync in, absolute: the source itself for [`Form::Contents`], its parent for [`Form::Named`].
    /// `..` stays where it was typed, for the kernel to resolve.
    ///
    /// # Panics
    /// If `cwd`, the directory the user typed the word in, is not absolute.
    pub fn base(&self, cwd: &Path) -> PathBuf {
        assert!(cwd.is_absolute(), "the current directory is an absolute path");
        // Joining an empty path would add a slash.
        if self.base.as_os_str().is_empty() { cwd.to_owned() } else { cwd.join(&self.base) }
    }

    /// The entry below [`Source::base`], if the form is [`Form::Named`]: one path component, never `.` or `..`. It may begin with `-`
    /// or hold a colon: write `./` before it on a command line.
    pub fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }
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
            // Compared as bytes: `Path` takes `a/` and `a` for the same.
            assert_eq!(read.base(Path::new(CWD)).as_os_str(), base, "{word}");
            assert_eq!(read.name(), name.map(OsStr::new), "{word}");
            assert_eq!(read.form() == Form::Named, name.is_some(), "{word}");
            assert_eq!(read.original(), word);
        }
        assert_eq!(source("x").base(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn sources_on_another_machine_are_refused() {
        for word in
            ["h:p", "h:", ":p", "a:b", "u@h:p", "[::1]:p", "h::m", "::m", "rsync://h/m", "rsync://h:x/m", "-h:p"]
        {
            let error = Source::parse(word.as_ref()).expect_err(word);
            assert!(error.to_string().contains(&format!("source '{word}' is on another machine")), "{error}");
            assert!(error.advice().unwrap().contains(&format!("'./{word}'")), "{word}");
            assert_eq!(source(&format!("./{word}")).base(Path::new(CWD)).as_os_str().as_bytes().first(), Some(&b'/'));
        }
        assert_eq!(Source::parse("".as_ref()).unwrap_err().to_string(), "a source is empty");
        assert!(Source::parse("a\0".as_ref()).is_err());
    }
}
