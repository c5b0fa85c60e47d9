//! Sources and destinations as rsync reads them on its command line, checked once, then spelled for the rsync that is started.
//!
//! Owns the grammar of rsync(1) (GENERAL, USAGE, ADVANCED USAGE): which words name another machine, what a trailing slash means, and
//! how a destination becomes one argument for a process with another working directory. Never touches the file system and never
//! resolves `..`, whose meaning a symbolic link can change.
//! Refuses: empty words; a remote source (pull); users, hosts, modules and remote paths that rsync, ssh or a remote shell would take
//! for an option or for several words; URLs that rsync would not read as URLs. A local path may begin with `-`: it is passed on as an
//! absolute path or, for a source, as a name below its base, where the caller writes `./` before it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::NonZeroU16;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::entry::Printable;
use crate::error::{Error, Result};

/// Where a copy goes: the word as it was typed, and what rsync understands by it.
///
/// ```
/// use multi_sync::endpoint::Destination;
/// use std::path::Path;
/// let cwd = Path::new("/home/me");
/// assert_eq!(Destination::parse("backup".as_ref())?.as_directory(cwd), "/home/me/backup/");
/// assert_eq!(Destination::parse("nas:".as_ref())?.as_directory(cwd), "nas:./");
/// assert!(Destination::parse("-oProxyCommand=x:".as_ref()).is_err());
/// # Ok::<(), multi_sync::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    original: OsString,
    target: Target,
}

/// What a [`Destination`] names. Users and hosts are checked: they are neither empty nor options, and hold no blank, control character
/// or shell syntax. A `[host]` is kept without its brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path on this machine: [`Destination::original`] itself.
    Local,
    /// A path on a machine reached through the remote shell: `[user@]host:path`.
    Ssh {
        /// Login name, if one was typed.
        user: Option<String>,
        /// Name or address of the machine.
        host: String,
        /// Everything after the colon; empty for the home directory.
        path: OsString,
    },
    /// A path inside a module of an rsync daemon.
    Daemon {
        /// How it was typed.
        form: DaemonForm,
        /// Name to authenticate with, if one was typed.
        user: Option<String>,
        /// Name or address of the machine.
        host: String,
        /// TCP port, if one was typed (URLs only).
        port: Option<NonZeroU16>,
        /// Name of the module, never empty.
        module: OsString,
        /// Everything after the slash behind the module; empty for the module itself.
        path: OsString,
    },
}

/// The two spellings of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonForm {
    /// `[user@]host::module/path`.
    DoubleColon,
    /// `rsync://[user@]host[:port]/module/path`.
    Url,
}

impl Destination {
    /// Reads a destination as rsync would. Fails, naming the word and the remedy, on what the file comment lists as refused.
    pub fn parse(word: &OsStr) -> Result<Self> {
        let target = match Reading::of(word.as_bytes()) {
            Reading::Local => check_local("destination", word).map(|()| Target::Local),
            Reading::Shell { machine, path } => ssh_target(machine, path).map_err(|problem| problem.about(word)),
            Reading::Daemon { form, machine, port, rest } => {
                daemon_target(form, machine, port, rest).map_err(|problem| problem.about(word))
            }
            Reading::BrokenUrl => Err(Problem {
                what: "is not rsync://[USER@]HOST[:PORT]/MODULE[/PATH], and rsync would take 'rsync' for a host".into(),
                remedy: "put an IPv6 address in brackets and a password in RSYNC_PASSWORD or --password-file".into(),
            }
            .about(word)),
        }?;
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
        matches!(self.target, Target::Local)
    }

    /// The other machine, if there is one.
    pub fn host(&self) -> Option<&str> {
        match &self.target {
            Target::Local => None,
            Target::Ssh { host, .. } | Target::Daemon { host, .. } => Some(host),
        }
    }

    /// The one argument that makes rsync take the destination for a directory, whatever is copied and whatever is there: it ends
    /// with a slash. A local path becomes absolute, so it is never read as a host or an option; `host:` becomes `host:./`, because
    /// `host:/` would be the root directory. Nothing else changes: `new/.` must go on failing where `new` is missing, as in rsync.
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

    /// The argument for one plain rsync: a local path made absolute, and its end as it was typed, because without a slash a single file
    /// is copied to that very name.
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

/// What is copied: a local path, split into the directory that rsync is started in and, if the slash rule says so, a name in it.
///
/// ```
/// use multi_sync::endpoint::{Form, Source};
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

/// What rsync makes of a word, before anything is checked. Pinned by a test that asks rsync itself about random words.
#[derive(Debug, PartialEq, Eq)]
enum Reading<'a> {
    Local,
    Shell {
        machine: Machine<'a>,
        path: &'a [u8],
    },
    Daemon {
        form: DaemonForm,
        machine: Machine<'a>,
        /// The digits behind the colon, possibly none.
        port: Option<&'a [u8]>,
        /// Module and path, without the slash that ends the host of a URL.
        rest: &'a [u8],
    },
    /// `rsync://` without `[user@]host[:port]` behind it: rsync falls back to a host called `rsync`.
    BrokenUrl,
}

#[derive(Debug, PartialEq, Eq)]
struct Machine<'a> {
    user: Option<&'a [u8]>,
    host: &'a [u8],
}

impl<'a> Reading<'a> {
    fn of(word: &'a [u8]) -> Self {
        const SCHEME: &[u8] = b"rsync://";
        match word.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                Self::url(rest).unwrap_or(Reading::BrokenUrl)
            }
            _ => Self::colon(word).unwrap_or(Reading::Local),
        }
    }

    fn url(word: &'a [u8]) -> Option<Self> {
        let (machine, rest) = Machine::split(word)?;
        let (port, rest) = match rest.strip_prefix(b":") {
            Some(rest) => {
                let (digits, rest) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
                (Some(digits), rest)
            }
            None => (None, rest),
        };
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b"/")? };
        Some(Reading::Daemon { form: DaemonForm::Url, machine, port, rest })
    }

    fn colon(word: &'a [u8]) -> Option<Self> {
        let (machine, rest) = Machine::split(word)?;
        let path = rest.strip_prefix(b":")?;
        Some(match path.strip_prefix(b":") {
            Some(rest) => Reading::Daemon { form: DaemonForm::DoubleColon, machine, port: None, rest },
            None => Reading::Shell { machine, path },
        })
    }
}

impl<'a> Machine<'a> {
    /// Splits `[user@]host` from what follows: a colon, a slash or nothing. `None` where a bracket opens but is not around the whole
    /// host: rsync then sees no machine at all.
    fn split(word: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut start = 0;
        let mut end = word.len();
        for (index, byte) in word.iter().enumerate() {
            match byte {
                b'@' => start = index + 1,
                b'[' if index == start => {
                    let inside = &word[index + 1..];
                    let length = inside.iter().position(|byte| matches!(byte, b']' | b'/'))?;
                    let (host, rest) = (&inside[..length], inside[length..].strip_prefix(b"]")?);
                    let ended = matches!(rest, [] | [b':' | b'/', ..]);
                    return (ended && !host.is_empty()).then_some((Machine { user: user(word, start), host }, rest));
                }
                b'[' => return None,
                b'/' | b':' => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        Some((Machine { user: user(word, start), host: &word[start..end] }, &word[end..]))
    }

    fn checked(self) -> std::result::Result<(Option<String>, String), Problem> {
        let user = self.user.map(|user| check_login("user", user)).transpose()?;
        Ok((user, check_login("host", self.host)?))
    }
}

/// What stands before the `@` that ends just before `start`.
fn user(word: &[u8], start: usize) -> Option<&[u8]> {
    Some(&word[..start.checked_sub(1)?])
}

fn ssh_target(machine: Machine, path: &[u8]) -> std::result::Result<Target, Problem> {
    let (user, host) = machine.checked()?;
    check_remote_path(path)?;
    Ok(Target::Ssh { user, host, path: owned(path) })
}

fn daemon_target(
    form: DaemonForm,
    machine: Machine,
    port: Option<&[u8]>,
    rest: &[u8],
) -> std::result::Result<Target, Problem> {
    let (user, host) = machine.checked()?;
    let port = port.map(check_port).transpose()?;
    check_remote_path(rest)?;
    let slash = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    let (module, path) = (&rest[..slash], rest.get(slash + 1..).unwrap_or_default());
    if module.is_empty() {
        return Err(Problem {
            what: "names no module of the daemon".into(),
            remedy: "write HOST::MODULE/PATH or rsync://HOST/MODULE/PATH; for a path of the machine itself HOST:PATH"
                .into(),
        });
    }
    Ok(Target::Daemon { form, user, host, port, module: owned(module), path: owned(path) })
}

/// Why a word is refused, before it is known which word.
struct Problem {
    what: String,
    remedy: String,
}

impl Problem {
    fn about(self, word: &OsStr) -> Error {
        Error::usage(format!("destination '{}' {}", Printable::os(word), self.what)).remedy(self.remedy)
    }
}

fn check_local(role: &str, word: &OsStr) -> Result<()> {
    if word.is_empty() {
        return Err(Error::usage(format!("a {role} is empty")).remedy("write '.' for the current directory"));
    }
    if word.as_bytes().contains(&0) {
        return Err(Error::usage(format!("{role} '{}' holds a NUL byte", Printable::os(word)))
            .remedy("no path can hold one: check how the argument was made"));
    }
    Ok(())
}

/// A user or host that is one plain word to ssh and to every shell behind it. OpenSSH refuses most of the rest itself, in versions
/// that not everybody has; the daemon forms go through ssh too when the user gives `-e`.
fn check_login(role: &str, name: &[u8]) -> std::result::Result<String, Problem> {
    let shown = Printable::bytes(name);
    let refused = |what: String| Problem {
        what: format!("has {what}"),
        remedy: format!("write the {role} as ssh(1) knows it; for a local path with a colon write './PATH'"),
    };
    let Ok(text) = std::str::from_utf8(name) else {
        return Err(refused(format!("a {role} that is not UTF-8: '{shown}'")));
    };
    if text.is_empty() {
        return Err(refused(format!("an empty {role}")));
    }
    if text.starts_with('-') {
        return Err(refused(format!("a {role} that ssh would read as an option: '{shown}'")));
    }
    // `DOMAIN\user` and `user@domain` are login names.
    let of_login_names = |c| role == "user" && matches!(c, '\\' | '@');
    let unsafe_char = |c: char| c.is_control() || c.is_whitespace() || r#"'"`$\;&|<>(){}[]@"#.contains(c);
    if text.ends_with('\\') || text.contains(|c| unsafe_char(c) && !of_login_names(c)) {
        return Err(refused(format!("a {role} with characters that ssh or a shell would misread: '{shown}'")));
    }
    Ok(text.to_owned())
}

/// A path that a remote rsync, a remote shell and the line-based greeting of a daemon read as one word. Blanks, quotes and wildcards
/// are rsync's to protect (rsync(1), `--old-args`), so they pass.
fn check_remote_path(path: &[u8]) -> std::result::Result<(), Problem> {
    if path.starts_with(b"-") {
        return Err(Problem {
            what: "has a remote path that rsync there could read as an option".into(),
            remedy: "write './' before the path, as in HOST:./-PATH; a module cannot begin with '-'".into(),
        });
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err(Problem {
            what: "has a control character in its remote path".into(),
            remedy: "rename the directory on the other machine, or reach it through a symbolic link".into(),
        });
    }
    Ok(())
}

/// rsync takes port 0 and no digits for the default, and cuts numbers above 65535: both hide a mistake.
fn check_port(digits: &[u8]) -> std::result::Result<NonZeroU16, Problem> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(|| Problem {
        what: format!("has a bad port: '{}'", Printable::bytes(digits)),
        remedy: format!("write a port from {} to {}, or none and no colon", NonZeroU16::MIN, NonZeroU16::MAX),
    })
}

fn absolute(cwd: &Path, word: &OsStr) -> OsString {
    assert!(cwd.is_absolute(), "the current directory is an absolute path");
    cwd.join(word).into_os_string()
}

fn owned(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Output};

    const CWD: &str = "/home/me";

    fn destination(word: &str) -> Destination {
        Destination::parse(word.as_ref()).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    fn source(word: &str) -> Source {
        Source::parse(word.as_ref()).unwrap_or_else(|error| panic!("{word}: {error}"))
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
            // A bracket that is not around the whole host is part of a local name.
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

    /// A scratch directory with an empty `src` and a remote shell `rsh` that notes its arguments, plays a daemon up to the module name,
    /// and gives up.
    struct Real {
        dir: tempfile::TempDir,
    }

    impl Real {
        fn new() -> Option<Self> {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("src")).unwrap();
            let real = Real { dir };
            real.script(
                "rsh",
                r#"printf '%s\0' "$@" >"$NOTES"
                case "$*" in *' --daemon '*)
                    echo '@RSYNCD: 31.0 md5'; read -r greeting; IFS= read -r module; printf '%s\0' "$module" >>"$NOTES";;
                esac
                exit 3"#,
            );
            match run(Command::new("rsync").arg("--version")) {
                Ok(_) => Some(real),
                Err(error) => {
                    println!("SKIP: rsync cannot be started: {error}");
                    None
                }
            }
        }

        fn path(&self) -> &Path {
            self.dir.path()
        }

        fn script(&self, name: &str, body: &str) {
            fs::write(self.path().join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
            fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn rsync(&self, cwd: &Path, shell: &str, words: &[&OsStr]) -> Output {
            let mut command = Command::new("rsync");
            command.current_dir(cwd).env("NOTES", self.path().join("notes")).env("HOME", self.path().join("home"));
            for name in ["RSYNC_OLD_ARGS", "RSYNC_PROTECT_ARGS", "RSYNC_PROXY", "RSYNC_PORT", "RSYNC_PARTIAL_DIR"] {
                command.env_remove(name);
            }
            command.arg("-e").arg(self.path().join(shell)).args(words);
            run(&mut command).unwrap()
        }

        /// What rsync makes of a destination.
        fn reads(&self, word: &OsStr) -> Seen {
            let notes = self.path().join("notes");
            let _ = fs::remove_file(&notes);
            let output = self.rsync(self.path(), "rsh", &["-nr".as_ref(), "--".as_ref(), "src".as_ref(), word]);
            match (fs::read(&notes), output.status.code()) {
                (Ok(notes), _) => Seen::Remote(notes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()),
                (Err(_), Some(1 | 5)) => Seen::Refused,
                (Err(_), _) => Seen::Local,
            }
        }
    }

    #[derive(Debug)]
    enum Seen {
        Local,
        Refused,
        /// Arguments of the remote shell, then the module asked for if it is a daemon, then nothing.
        Remote(Vec<Vec<u8>>),
    }

    #[expect(clippy::disallowed_methods, reason = "asks the real rsync in a test")]
    fn run(command: &mut Command) -> std::io::Result<Output> {
        command.output()
    }

    /// Where the type reads a word, rsync must read it the same; where it refuses, rsync must not have meant a local path.
    fn agrees(real: &Real, word: &str) {
        let seen = real.reads(word.as_ref());
        let read = Destination::parse(word.as_ref());
        match (&read, &seen) {
            (Ok(Destination { target: Target::Local, .. }), Seen::Local) => {}
            (Ok(Destination { target: Target::Ssh { user, host, path }, .. }), Seen::Remote(words)) => {
                let path = if path.is_empty() { b"." } else { path.as_bytes() };
                assert_eq!(login(words), (user.as_deref(), host.as_str()), "{word:?}");
                // rsync protects blanks and shell characters with backslashes, in its own way in each version.
                let bare = |path: &[u8]| -> Vec<u8> { path.iter().copied().filter(|&byte| byte != b'\\').collect() };
                assert_eq!(bare(&words[words.len() - 2]), bare(path), "{word:?}");
            }
            (Ok(Destination { target: Target::Daemon { user, host, module, .. }, .. }), Seen::Remote(words)) => {
                assert_eq!(login(words), (user.as_deref(), host.as_str()), "{word:?}");
                assert_eq!(OsStr::from_bytes(&words[words.len() - 2]), module, "{word:?}");
                assert!(words.contains(&b"--daemon".to_vec()), "{word:?}");
            }
            (Err(_), Seen::Refused | Seen::Remote(_)) => {}
            _ => panic!("{word:?} is read as {read:?}, by rsync as {seen:?}"),
        }
        assert_eq!(Source::parse(word.as_ref()).is_ok(), matches!(seen, Seen::Local), "{word:?} as a source");
    }

    /// User and host among the arguments of a remote shell.
    fn login(words: &[Vec<u8>]) -> (Option<&str>, &str) {
        let text = |index: usize| std::str::from_utf8(&words[index]).unwrap();
        if text(0) == "-l" { (Some(text(1)), text(2)) } else { (None, text(0)) }
    }

    #[test]
    fn rsync_reads_words_the_same_way() {
        let Some(real) = Real::new() else { return };
        assert!(matches!(real.reads("p".as_ref()), Seen::Local), "the oracle knows a local path");
        assert!(matches!(real.reads("h:p".as_ref()), Seen::Remote(_)), "the oracle knows a machine");
        let atom = prop::sample::select(vec![
            "a", "b", "@", "@", ":", ":", "::", "[", "]", "[", "]", "/", "/", ".", "-", "~", " ", "\\", "1", "%",
            "rsync:", "//",
        ]);
        let word = (prop::bool::weighted(0.3), prop::collection::vec(atom, 0..9))
            .prop_map(|(url, atoms)| format!("{}{}", if url { "rsync://" } else { "" }, atoms.concat()));
        proptest!(ProptestConfig::with_cases(400), |(word in word)| agrees(&real, &word));
        for word in
            ["u@[fe80::1%eth0]:p", "[u@h]:p", "u@v@[::1]::m", "RSYNC://u@[::1]:8/m", "rsync://u:p@h/m", "h:a b$c;*'"]
        {
            agrees(&real, word);
        }
    }

    fn names(dir: &Path) -> BTreeSet<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn what_arrives_is_the_contents_of_the_base_or_the_name_in_it() {
        let Some(real) = Real::new() else { return };
        let tree = real.path().join("tree");
        for name in ["x/src/sub", "x/src/...", ".x/y", ".../z", "-d/e", "a:b/c"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::write(tree.join("x/src/f"), "f").unwrap();
        symlink("x/src", tree.join("lnk")).unwrap();
        let mut seen = BTreeSet::new();
        let words = "x/src x/src/ x/src// x/src/. x/src/./ x/src/.// x/src//. x//src x/./src ./x/src . ./ .// ././ x/.. x/../ x/..// x/../. x/../x \
                     x/src/.. lnk lnk/ lnk// lnk/. ./lnk .x .x/ ... .../ .../. x/src/... -d -d/ ./a:b ./a:b/ a:b/. x/src/f x/src/../src";
        for word in words.split_whitespace() {
            let Ok(read) = Source::parse(word.as_ref()) else {
                assert_eq!(word, "a:b/.", "only a machine colon is refused");
                continue;
            };
            let to = tempfile::tempdir_in(real.path()).unwrap();
            let output = real.rsync(
                &tree,
                "rsh",
                &["-a".as_ref(), "--".as_ref(), word.as_ref(), to.path().join("").as_os_str()],
            );
            assert!(output.status.success(), "rsync {word}: {output:?}");
            let base = read.base(&tree);
            match read.name() {
                None => assert_eq!(names(to.path()), names(&base), "{word}"),
                Some(name) => {
                    assert_eq!(names(to.path()), BTreeSet::from([name.to_owned()]), "{word}");
                    let (from, to) = (base.join(name), to.path().join(name));
                    assert_eq!(
                        fs::symlink_metadata(&from).unwrap().file_type(),
                        fs::symlink_metadata(&to).unwrap().file_type()
                    );
                    assert!(!to.is_dir() || to.is_symlink() || names(&to) == names(&from), "{word}");
                }
            }
            seen.insert(read.form() == Form::Named);
        }
        assert_eq!(seen.len(), 2, "both forms were seen");
    }

    /// All paths below a directory.
    fn tree_of(dir: &Path, found: &mut BTreeSet<PathBuf>) {
        for name in names(dir) {
            let path = dir.join(name);
            if path.is_dir() && !path.is_symlink() {
                tree_of(&path, found);
            }
            found.insert(path);
        }
    }

    #[test]
    fn a_directory_spelling_goes_where_the_typed_word_goes() {
        let Some(real) = Real::new() else { return };
        fs::write(real.path().join("src/f"), "f").unwrap();
        fs::write(real.path().join("src/g"), "g").unwrap();
        // A remote shell that runs the command line on this machine, in the home directory.
        real.script("here", r#"[ "$1" = -l ] && shift 2; shift; cd "$HOME" && exec sh -c "$*""#);
        let home = real.path().join("home");
        let copy = |cwd: &Path, word: &OsStr| {
            let _ = fs::remove_dir_all(&home);
            fs::create_dir_all(home.join("there/in")).unwrap();
            fs::create_dir(home.join("aim")).unwrap();
            fs::write(home.join("file"), "").unwrap();
            symlink("aim", home.join("lnk")).unwrap();
            symlink("nowhere", home.join("gone")).unwrap();
            let from = real.path().join("src/");
            let output = real.rsync(cwd, "here", &["-r".as_ref(), "--".as_ref(), from.join("").as_os_str(), word]);
            let mut found = BTreeSet::new();
            tree_of(&home, &mut found);
            (output.status.code(), found)
        };
        let mut arrived = 0;
        let plain = "new new/ new/. new/.. there there// there/in/.. lnk lnk/ lnk/.. gone file no/new -x ./a:b ~";
        for path in plain.split(' ').chain(["a b", ""]) {
            for word in [path.to_owned(), format!("u@[::1]:{path}")] {
                let Ok(read) = Destination::parse(word.as_ref()) else {
                    assert!(path.is_empty() || path.starts_with('-'), "{word}");
                    continue;
                };
                let typed = copy(&home, read.original());
                arrived += usize::from(typed.0 == Some(0));
                assert_eq!(copy(Path::new("/"), &read.as_directory(&home)), typed, "{word}");
                if read.is_local() {
                    assert_eq!(copy(Path::new("/"), &read.as_typed(&home)), typed, "{word}");
                }
            }
        }
        assert!(arrived > 10, "only {arrived} copies went anywhere");
    }
}
