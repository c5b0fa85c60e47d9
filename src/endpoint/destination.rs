//! Where a copy goes, and what of the words that say so is refused.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::NonZeroU16;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::check_local;
use super::reading::{Machine, Reading};
use crate::entry::Printable;
use crate::error::{Error, Result};

/// Where a copy goes: the word as it was typed, and what rsync understands by it.
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
    /// Reads a destination as rsync would. Fails, naming the word and the remedy, on what the [module](super) lists as refused.
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

    /// [`Destination::as_directory`] as the last argument of rsync: for `host:` it is `host:.`, which rsync sends by itself. What guards the other
    /// side (rrsync) may take no other word.
    ///
    /// # Panics
    /// As [`Destination::as_directory`].
    pub fn as_argument(&self, cwd: &Path) -> OsString {
        match &self.target {
            Target::Ssh { path, .. } if path.is_empty() => [&self.as_typed(cwd), OsStr::new(".")].into_iter().collect(),
            _ => self.as_directory(cwd),
        }
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

impl Machine<'_> {
    fn checked(self) -> std::result::Result<(Option<String>, String), Problem> {
        let user = self.user.map(|user| check_login("user", user)).transpose()?;
        Ok((user, check_login("host", self.host)?))
    }
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
}
