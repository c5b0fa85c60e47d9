//! Which machine a word names, and which path on it. This is also where such words are refused, for sources and destinations alike.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU16;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::check_local;
use super::reading::{Machine, Reading};
use crate::entry::Printable;
use crate::error::{Error, Result};

/// The machine and path that a source or a destination names. Users and hosts are checked: they are neither empty nor options, and contain no blank, control
/// character or shell syntax. A `[host]` is stored without its brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path on this machine: the word itself.
    Local,
    /// A path on a machine reached through the remote shell: `[user@]host:path`.
    Ssh {
        /// The login name, if one was typed.
        user: Option<String>,
        /// The name or address of the machine.
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
        /// Everything after the slash that follows the module; empty for the module itself.
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

/// The role of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Destination,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Destination => "destination",
        }
    }
}

impl Target {
    /// Reads a word as rsync would. Fails, naming the word and the remedy, if the word is one that the [module](super) refuses.
    pub(super) fn parse(role: Role, word: &OsStr) -> Result<Target> {
        let read = match Reading::of(word.as_bytes()) {
            Reading::Local => return check_local(role.name(), word).map(|()| Target::Local),
            Reading::Shell { machine, path } => ssh_target(machine, path),
            Reading::Daemon { form, machine, port, rest } => daemon_target(form, machine, port, rest),
            Reading::BrokenUrl => Err(Problem {
                what: "is not rsync://[USER@]HOST[:PORT]/MODULE[/PATH], and rsync would take 'rsync' for a host".into(),
                remedy: "put an IPv6 address in brackets and a password in RSYNC_PASSWORD or --password-file".into(),
            }),
        };
        read.map_err(|problem| problem.about(role, word))
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Target::Local)
    }

    /// The other machine, if there is one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Target::Local => None,
            Target::Ssh { host, .. } | Target::Daemon { host, .. } => Some(host),
        }
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

/// Why a word is refused. The word itself is added later.
struct Problem {
    what: String,
    remedy: String,
}

impl Problem {
    fn about(self, role: Role, word: &OsStr) -> Error {
        Error::usage(format!("{} '{}' {}", role.name(), Printable::os(word), self.what)).remedy(self.remedy)
    }
}

/// A user or host that is one plain word for ssh and for every shell after it. OpenSSH refuses most other words itself, but only in recent versions. The
/// daemon forms go through ssh too if the user gives `-e`.
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
    // `DOMAIN\user` and `user@domain` are valid login names.
    let of_login_names = |c| role == "user" && matches!(c, '\\' | '@');
    let unsafe_char = |c: char| c.is_control() || c.is_whitespace() || r#"'"`$\;&|<>(){}[]@"#.contains(c);
    if text.ends_with('\\') || text.contains(|c| unsafe_char(c) && !of_login_names(c)) {
        return Err(refused(format!("a {role} with characters that ssh or a shell would misread: '{shown}'")));
    }
    Ok(text.to_owned())
}

/// A path that a remote rsync, a remote shell and the line-based greeting of a daemon read as one word. Blanks, quotes and wildcards are allowed, because
/// rsync protects them (rsync(1), `--old-args`).
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

/// rsync takes port 0 and an empty port for the default, and truncates numbers above 65535: both would hide a mistake.
fn check_port(digits: &[u8]) -> std::result::Result<NonZeroU16, Problem> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(|| Problem {
        what: format!("has a bad port: '{}'", Printable::bytes(digits)),
        remedy: format!("write a port from {} to {}, or none and no colon", NonZeroU16::MIN, NonZeroU16::MAX),
    })
}

fn owned(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
