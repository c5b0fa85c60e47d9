//! The destination of a copy, as an argument of rsync.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::target::{Role, Target};
use crate::entry::Printable;
use crate::error::Result;

/// The destination of a copy: the word as it was typed, and its meaning for rsync.
///
/// ```
/// use multi_sync::harness::endpoint::Destination;
/// use std::path::Path;
/// let cwd = Path::new("/home/me");
/// assert_eq!(Destination::parse("backup".as_ref())?.as_directory(cwd), "/home/me/backup/");
/// assert_eq!(Destination::parse("nas:".as_ref())?.as_directory(cwd), "nas:./");
/// assert_eq!(Destination::parse("nas:".as_ref())?.as_argument(cwd), "nas:.");
/// assert!(Destination::parse("-oProxyCommand=x:".as_ref()).is_err());
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    original: OsString,
    target: Target,
}

impl Destination {
    /// Reads a destination as rsync would. Fails, naming the word and the remedy, if the word is one that the [module](super) refuses.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let target = Target::parse(Role::Destination, word)?;
        Ok(Destination { original: word.to_owned(), target })
    }

    /// The word as it was typed.
    pub fn original(&self) -> &OsStr {
        &self.original
    }

    /// What the word names.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the copy stays on this machine.
    pub fn is_local(&self) -> bool {
        self.target.is_local()
    }

    /// The other machine, if there is one.
    pub fn host(&self) -> Option<&str> {
        self.target.host()
    }

    /// The one argument that makes rsync take the destination for a directory, whatever is copied and whatever exists there: it ends with a slash. A local
    /// path becomes absolute, so that it is never read as a host or an option; `host:` becomes `host:./`, because `host:/` would be the root directory.
    /// Nothing else changes: `new/.` must still fail if `new` does not exist, as with rsync.
    ///
    /// # Panics
    /// If `cwd`, the directory the user typed the word in, is not absolute.
    pub fn as_directory(&self, cwd: &Path) -> OsString {
        let mut word = self.as_typed(cwd);
        if let Target::Ssh { path, .. } = &self.target
            && path.is_empty()
        {
            word.push(".");
        }
        if !word.as_bytes().ends_with(b"/") {
            word.push("/");
        }
        word
    }

    /// [`Destination::as_directory`] as the last argument of rsync: for `host:` it is `host:.`, which rsync itself would send. A guard on the other side
    /// (rrsync) may accept no other word.
    ///
    /// # Panics
    /// As [`Destination::as_directory`].
    pub fn as_argument(&self, cwd: &Path) -> OsString {
        match &self.target {
            Target::Ssh { path, .. } if path.is_empty() => [&self.as_typed(cwd), OsStr::new(".")].into_iter().collect(),
            _ => self.as_directory(cwd),
        }
    }

    /// The argument for one plain rsync: a local path is made absolute, and its end stays as it was typed, because without a slash a single file is copied to
    /// that very name.
    ///
    /// # Panics
    /// If `cwd` is not absolute.
    pub fn as_typed(&self, cwd: &Path) -> OsString {
        if self.is_local() { absolute(cwd, &self.original) } else { self.original.clone() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::os(&self.original).fmt(f)
    }
}

fn absolute(cwd: &Path, word: &OsStr) -> OsString {
    assert!(cwd.is_absolute(), "the current directory is an absolute path");
    cwd.join(word).into_os_string()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::endpoint::DaemonForm;

    const CWD: &str = "/home/me";

    fn destination(word: &str) -> Destination {
        Destination::parse(word.as_ref()).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    fn ssh(user: Option<&str>, host: &str, path: &str) -> Target {
        Target::Ssh { user: user.map(Into::into), host: host.into(), path: path.into() }
    }

    fn daemon(form: DaemonForm, user: Option<&str>, host: &str, port: u16, module: &str, path: &str) -> Target {
        Target::Daemon {
            form,
            user: user.map(Into::into),
            host: host.into(),
            port: NonZeroU16::new(port),
            module: module.into(),
            path: path.into(),
        }
    }

    #[test]
    fn destinations_are_read_and_spelled() {
        use DaemonForm::{DoubleColon, Url};
        for (word, target, directory) in [
            ("d", Target::Local, "/home/me/d/"),
            ("d/", Target::Local, "/home/me/d/"),
            ("d//", Target::Local, "/home/me/d//"),
            ("d/.", Target::Local, "/home/me/d/./"),
            (".", Target::Local, "/home/me/./"),
            ("..", Target::Local, "/home/me/../"),
            ("l/../d", Target::Local, "/home/me/l/../d/"),
            ("/", Target::Local, "/"),
            ("/a:b", Target::Local, "/a:b/"),
            ("./a:b", Target::Local, "/home/me/./a:b/"),
            ("a/b:c", Target::Local, "/home/me/a/b:c/"),
            ("u@h/x:p", Target::Local, "/home/me/u@h/x:p/"),
            ("-x", Target::Local, "/home/me/-x/"),
            ("--delete", Target::Local, "/home/me/--delete/"),
            ("~", Target::Local, "/home/me/~/"),
            ("d\n", Target::Local, "/home/me/d\n/"),
            ("rsync:/", ssh(None, "rsync", "/"), "rsync:/"),
            // A bracket that does not enclose the whole host is part of a local name.
            ("a[b:p", Target::Local, "/home/me/a[b:p/"),
            ("[u]@h:p", Target::Local, "/home/me/[u]@h:p/"),
            ("[::1]", Target::Local, "/home/me/[::1]/"),
            ("[::1]p:q", Target::Local, "/home/me/[::1]p:q/"),
            ("[::1:p", Target::Local, "/home/me/[::1:p/"),
            ("[]:p", Target::Local, "/home/me/[]:p/"),
            ("[a/b]:p", Target::Local, "/home/me/[a/b]:p/"),
            ("u@[::1:p", Target::Local, "/home/me/u@[::1:p/"),
            ("h:", ssh(None, "h", ""), "h:./"),
            ("u@h:", ssh(Some("u"), "h", ""), "u@h:./"),
            ("[::1]:", ssh(None, "::1", ""), "[::1]:./"),
            ("a:b", ssh(None, "a", "b"), "a:b/"),
            ("h:b/", ssh(None, "h", "b/"), "h:b/"),
            ("h:.", ssh(None, "h", "."), "h:./"),
            ("h:/", ssh(None, "h", "/"), "h:/"),
            ("h:~", ssh(None, "h", "~"), "h:~/"),
            ("h:~u", ssh(None, "h", "~u"), "h:~u/"),
            ("h:./-x", ssh(None, "h", "./-x"), "h:./-x/"),
            ("h:a b;$c*'", ssh(None, "h", "a b;$c*'"), "h:a b;$c*'/"),
            ("h:x:y", ssh(None, "h", "x:y"), "h:x:y/"),
            ("h:b::c", ssh(None, "h", "b::c"), "h:b::c/"),
            ("u@v@h:p", ssh(Some("u@v"), "h", "p"), "u@v@h:p/"),
            ("DOM\\u@h:p", ssh(Some("DOM\\u"), "h", "p"), "DOM\\u@h:p/"),
            ("[::1]:p", ssh(None, "::1", "p"), "[::1]:p/"),
            ("u@[fe80::1%eth0]:p", ssh(Some("u"), "fe80::1%eth0", "p"), "u@[fe80::1%eth0]:p/"),
            ("[h]:p", ssh(None, "h", "p"), "[h]:p/"),
            ("ssh://h/p", ssh(None, "ssh", "//h/p"), "ssh://h/p/"),
            ("rsync:h", ssh(None, "rsync", "h"), "rsync:h/"),
            ("h::m", daemon(DoubleColon, None, "h", 0, "m", ""), "h::m/"),
            ("h::m/", daemon(DoubleColon, None, "h", 0, "m", ""), "h::m/"),
            ("u@h::m/p", daemon(DoubleColon, Some("u"), "h", 0, "m", "p"), "u@h::m/p/"),
            ("h::m//p/", daemon(DoubleColon, None, "h", 0, "m", "/p/"), "h::m//p/"),
            ("h:::m", daemon(DoubleColon, None, "h", 0, ":m", ""), "h:::m/"),
            ("[::1]::m x", daemon(DoubleColon, None, "::1", 0, "m x", ""), "[::1]::m x/"),
            ("rsync://h/m", daemon(Url, None, "h", 0, "m", ""), "rsync://h/m/"),
            ("RSYNC://h/m/p:q", daemon(Url, None, "h", 0, "m", "p:q"), "RSYNC://h/m/p:q/"),
            ("rsync://u@h:873/m/-p", daemon(Url, Some("u"), "h", 873, "m", "-p"), "rsync://u@h:873/m/-p/"),
            ("rsync://u@v@[::1]:08/m", daemon(Url, Some("u@v"), "::1", 8, "m", ""), "rsync://u@v@[::1]:08/m/"),
            ("rsync://h:65535/m", daemon(Url, None, "h", 65535, "m", ""), "rsync://h:65535/m/"),
        ] {
            let read = destination(word);
            assert_eq!(read.target(), &target, "{word}");
            assert_eq!(read.as_directory(Path::new(CWD)), directory, "{word}");
            assert_eq!(read.original(), word);
            assert_eq!(read.is_local(), target == Target::Local, "{word}");
            assert_eq!(read.host().is_none(), read.is_local(), "{word}");
        }
    }

    #[test]
    fn a_plain_rsync_gets_the_end_as_typed() {
        for (word, typed) in [
            ("d", "/home/me/d"),
            ("d/", "/home/me/d/"),
            ("d/.", "/home/me/d/."),
            ("/d", "/d"),
            ("h:", "h:"),
            ("h:~", "h:~"),
            ("h::m", "h::m"),
            ("rsync://h/m/", "rsync://h/m/"),
        ] {
            assert_eq!(destination(word).as_typed(Path::new(CWD)), typed);
        }
        assert_eq!(destination("d").as_typed(Path::new("/")), "/d");
        assert_eq!(destination("h:a\u{202e}\u{9b}").to_string(), "h:a\u{202e}\\xc2\\x9b");
    }

    #[test]
    fn dangerous_destinations_are_refused_by_name() {
        for (word, problem) in [
            ("", "a destination is empty"),
            ("a\0b", "NUL"),
            (":p", "empty host"),
            (":", "empty host"),
            ("::m", "empty host"),
            ("@h:p", "empty user"),
            ("u@:p", "empty host"),
            ("-h:p", "host that ssh would read as an option: '-h'"),
            ("-oProxyCommand=x:p", "option"),
            ("-:p", "option"),
            ("[-h]:p", "option"),
            ("u@-h:p", "option"),
            ("-u@h:p", "user that ssh would read as an option: '-u'"),
            ("rsync://-h/m", "option"),
            ("rsync://-u@h/m", "option"),
            (" h:p", "misread: ' h'"),
            ("h :p", "misread"),
            ("h\n:p", "misread: 'h\\x0a'"),
            ("h\u{a0}:p", "misread"),
            ("h\u{9b}:p", "misread"),
            ("h;x:p", "misread"),
            ("$h:p", "misread"),
            ("h]:p", "misread"),
            ("[[h]:p", "misread"),
            ("[u@h]:p", "misread"),
            ("u\\@h:p", "misread"),
            ("u`v@h:p", "misread"),
            ("h:-p", "option"),
            ("h:--server", "option"),
            ("h::-m", "option"),
            ("h:p\nq", "control"),
            ("h:p\x7f", "control"),
            ("h::m\n", "control"),
            ("rsync://h/m\t", "control"),
            ("h::", "no module"),
            ("h::/m", "no module"),
            ("rsync://h", "no module"),
            ("rsync://h/", "no module"),
            ("rsync://h//m", "no module"),
            ("rsync://h:9", "no module"),
            ("rsync://", "empty host"),
            ("rsync:///m", "empty host"),
            ("rsync://@h/m", "empty user"),
            ("rsync://h:/m", "bad port: ''"),
            ("rsync://h:0/m", "bad port: '0'"),
            ("rsync://h:65536/m", "bad port: '65536'"),
            ("rsync://h:99999999999999999999/m", "bad port"),
            ("rsync://h:8x/m", "rsync://[USER@]HOST"),
            ("rsync://h:-1/m", "rsync://[USER@]HOST"),
            ("rsync://h:+9/m", "rsync://[USER@]HOST"),
            ("rsync://::1/m", "rsync://[USER@]HOST"),
            ("rsync://[::1/m", "rsync://[USER@]HOST"),
            ("rsync://[::1]x/m", "rsync://[USER@]HOST"),
            ("rsync://a[b]/m", "rsync://[USER@]HOST"),
            ("rsync://u:secret@h/m", "rsync://[USER@]HOST"),
        ] {
            let error = Destination::parse(word.as_ref()).expect_err(word);
            let shown = error.to_string();
            assert!(shown.contains(problem), "{word:?}: {shown}");
            assert!(
                word.is_empty() || shown.contains(&Printable::bytes(word.as_bytes()).to_string()),
                "{word:?}: {shown}"
            );
            assert!(error.advice().is_some(), "{word:?}");
        }
        assert!(Destination::parse(OsStr::from_bytes(b"h\xff:p")).unwrap_err().to_string().contains("not UTF-8"));
        assert!(Destination::parse(OsStr::from_bytes(b"h:p\xff")).is_ok());
    }
}
