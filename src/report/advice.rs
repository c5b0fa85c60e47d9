//! What the user can do about a run that failed, judging by the messages of rsync, ssh and the other machine. These messages are printed unchanged; this is
//! the line after them.

use std::ffi::{OsStr, OsString};

use crate::endpoint::Target;
use crate::entry::Printable;
use crate::rsync::exit;
use crate::rsync::options::{Opt, Options};

/// Texts of which one must occur, and what to do then.
type Row = (&'static [&'static str], fn(&Place) -> String);

/// Names of protocols that look like a host to rsync.
const SCHEMES: [&str; 12] = ["ssh", "sftp", "scp", "ftp", "ftps", "http", "https", "s3", "gs", "smb", "nfs", "file"];

/// How rsync says that it does not delete more (generator.c and main.c).
const LIMITED: &str = "Deletions stopped due to --max-delete limit";

/// The first row that matches wins: errors in making a connection come before errors of a connection that was made.
const TABLE: &[Row] = &[
    (&["REMOTE HOST IDENTIFICATION HAS CHANGED"], |at| {
        format!(
            "find out why the host key of {0} has changed, then remove the old one with `ssh-keygen -R {0}`",
            at.host
        )
    }),
    (&["Host key verification failed"], |at| {
        format!("log in once with `{} {}` and accept the host key: multi-sync does not ask", at.shell, at.login)
    }),
    (
        &[
            ": Permission denied (publickey",
            ": Permission denied (password",
            ": Permission denied (keyboard",
            "Too many authentication failures",
        ],
        |at| format!("use an ssh key or an agent (`ssh-copy-id {}`): several rsyncs ask for no password", at.login),
    ),
    (&["@ERROR: auth failed"], |at| match at.user {
        Some(user) => format!(
            "check the name {user} and the password: --password-file=FILE among the rsync options, or RSYNC_PASSWORD"
        ),
        None => format!(
            "write {}, and give the password with --password-file=FILE among the rsync options",
            at.daemon("USER@")
        ),
    }),
    (&["Could not resolve hostname", "getaddrinfo: "], |at| match at.scheme() {
        Some(scheme) => {
            format!("write [USER@]HOST:PATH or rsync://[USER@]HOST/MODULE/PATH: rsync does not know {scheme}")
        }
        None => format!("check the name {}", at.host),
    }),
    (&["Connection refused"], |at| {
        if at.is_daemon {
            format!("start an rsync daemon on {0}, or name its port: rsync://{0}:PORT/MODULE/PATH", at.host)
        } else {
            format!("start sshd on {}, or name its port: -e 'ssh -p PORT' among the rsync options", at.host)
        }
    }),
    (
        &[
            "No route to host",
            "Connection timed out",
            "Network is unreachable",
            "timeout waiting for daemon connection",
        ],
        |at| format!("check the network on the way to {}, and its firewall", at.host),
    ),
    (&["@ERROR: Unknown module"], |at| format!("name one of the modules that `rsync {}` lists", at.modules())),
    (&["@ERROR: access denied"], |at| format!("allow this machine in `hosts allow` of the module on {}", at.host)),
    (&["@ERROR: max connections"], |at| {
        format!("start fewer processes (-p), or raise `max connections` of the module on {}", at.host)
    }),
    (&["module is read only"], |at| {
        format!("set `read only = no` for the module on {}, or write to another one", at.host)
    }),
    (&["sudo: a password is required", "sudo: a terminal is required", "sudo: no tty present"], |at| {
        format!("let the user on {} start rsync with sudo and without a password (`NOPASSWD:` in sudoers)", at.host)
    }),
    (&["account is currently not available", "account is not available"], |at| {
        format!("log in on {} as a user who has a shell", at.host)
    }),
    (&["is your shell clean"], |at| {
        format!("have the login shell on {} print nothing: `{} {} true` has to be silent", at.host, at.shell, at.login)
    }),
    (&["command not found", "rsync: not found", "rsync: No such file or directory"], |at| {
        format!("install rsync on {}, or say where it is with --rsync-path=PATH among the rsync options", at.host)
    }),
    (&["No space left on device (28)", "Disk quota exceeded (122)"], |_| {
        "make room at the destination, and run the same command again: it copies what is missing".into()
    }),
    (&["Read-only file system (30)"], |_| "mount the file system of the destination so that it can be written".into()),
];

/// How rsync reaches the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// The remote shell, if it is not ssh.
    pub shell: Option<OsString>,
    /// The port of the daemon, if an option names one.
    pub port: Option<OsString>,
}

impl Way {
    /// The way that these options name, with these variables.
    pub fn of(options: &Options, env: impl Fn(&str) -> Option<OsString>) -> Way {
        let port = options.settings().iter().rev().find(|setting| setting.spec.id == Opt::Port);
        Way { shell: options.meaning_with(env).rsh, port: port.and_then(|setting| setting.value.clone()) }
    }
}

/// The other end, as the advice describes it.
struct Place<'a> {
    typed: String,
    host: &'a str,
    /// As ssh takes it: with the user, if one was typed.
    login: String,
    /// The login name, if one was typed.
    user: Option<&'a str>,
    /// The command that logs in there.
    shell: String,
    /// The port of the daemon, if one was typed.
    daemon_port: Option<String>,
    is_daemon: bool,
}

impl Place<'_> {
    /// A protocol that was typed as if it were a host.
    fn scheme(&self) -> Option<String> {
        let rest = self.typed.strip_prefix(self.host)?;
        let known = SCHEMES.contains(&self.host);
        if known && rest.starts_with("://") {
            Some(format!("{}://", self.host))
        } else {
            (known && rest.starts_with(':') && ["s3", "gs"].contains(&self.host)).then(|| format!("{}:", self.host))
        }
    }

    /// The port in `HOST:PORT::MODULE`, which rsync would take for a path.
    fn port(&self) -> Option<&str> {
        let (port, _) = self.typed.split_once(self.host)?.1.strip_prefix(':')?.split_once("::")?;
        (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
    }

    /// What rsync is given to list the modules of the daemon.
    fn modules(&self) -> String {
        match &self.daemon_port {
            Some(port) => format!("rsync://{}:{port}/", self.host),
            None => format!("{}::", self.host),
        }
    }

    fn daemon(&self, user: &str) -> String {
        format!("{user}{}::MODULE/PATH", self.host)
    }
}

/// What to do, if that is known. `said` contains the lines of standard error; `typed` names the other end, which is `far` and reached in this way.
pub fn advice(said: &[String], code: u8, typed: &OsStr, far: &Target, way: &Way) -> Option<String> {
    if code == exit::MAX_DELETE && said.iter().any(|line| line.starts_with(LIMITED)) {
        return Some("if the rest may be deleted as well: the same command with a higher --max-delete".to_owned());
    }
    if [exit::OK, exit::PARTIAL, exit::VANISHED, exit::MAX_DELETE, exit::INTERRUPTED].contains(&code) {
        return None;
    }
    let has = |words: &str| said.iter().any(|line| line.contains(words));
    let host = far.host().unwrap_or("this machine");
    let (user, port) = match far {
        Target::Local => (None, None),
        Target::Ssh { user, .. } => (user.as_deref(), None),
        Target::Daemon { user, port, .. } => (user.as_deref(), port.map(|port| port.to_string())),
    };
    let is_daemon = matches!(far, Target::Daemon { .. });
    let place = Place {
        typed: typed.to_string_lossy().into_owned(),
        host,
        login: user.filter(|_| !is_daemon).map_or_else(|| host.to_owned(), |user| format!("{user}@{host}")),
        user,
        shell: way.shell.as_ref().map_or_else(|| "ssh".to_owned(), |shell| Printable::os(shell).to_string()),
        daemon_port: port.or_else(|| way.port.as_ref().map(|port| Printable::os(port).to_string())),
        is_daemon,
    };
    if let Some((_, todo)) = TABLE.iter().find(|(words, _)| words.iter().any(|words| has(words))) {
        return Some(todo(&place));
    }
    let not_made = |why: &str| said.iter().any(|line| line.contains("mkdir \"") && line.contains(why));
    if not_made("No such file or directory (2)") {
        return Some(match place.port() {
            Some(port) => format!("write the port of a daemon as rsync://{host}:{port}/MODULE/PATH"),
            None => format!("create its parent directory on {host}, or add --mkpath to the rsync options"),
        });
    }
    not_made("Permission denied (13)").then(|| format!("name a directory on {host} in which the user may write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Destination;

    fn told(dest: &str, said: &str) -> String {
        let read = Destination::parse(dest.as_ref()).unwrap();
        advice(&[said.to_owned()], 255, dest.as_ref(), read.target(), &Way::default()).unwrap_or_default()
    }

    #[test]
    fn a_limit_that_stopped_deletions_can_be_raised() {
        let told =
            |code| advice(&[format!("{LIMITED} (38 skipped)")], code, "D".as_ref(), &Target::Local, &Way::default());
        assert!(told(exit::MAX_DELETE).is_some_and(|todo| todo.contains("a higher --max-delete")));
        assert_eq!(told(exit::PARTIAL), None);
    }

    /// A line that is to be typed reaches the same machine as the run.
    #[test]
    fn what_is_to_be_typed_goes_the_same_way() {
        let told = |dest: &str, options: &str, said: &str| {
            let read = Destination::parse(dest.as_ref()).unwrap();
            let way = Way::of(&Options::parse_str(options.as_ref()).unwrap(), |name| {
                (name == "RSYNC_RSH").then(|| "ssh -F conf".into())
            });
            advice(&[said.to_owned()], 5, dest.as_ref(), read.target(), &way).unwrap_or_default()
        };
        for (dest, options, said, expected) in [
            ("u@nas:/b", "-a -e 'ssh -p 22 -i k'", "Host key verification failed.", "`ssh -p 22 -i k u@nas`"),
            ("nas:/b", "-a", "Host key verification failed.", "`ssh -F conf nas`"),
            ("nas:/b", "-a -e ssh", "is your shell clean?", "`ssh nas true`"),
            ("rsync://nas:8730/m", "-a", "@ERROR: Unknown module 'm'", "`rsync rsync://nas:8730/`"),
            ("nas::m", "-a --port=8730", "@ERROR: Unknown module 'm'", "`rsync rsync://nas:8730/`"),
            ("nas::m", "-a", "@ERROR: Unknown module 'm'", "`rsync nas::`"),
            ("bob@nas::m", "-a --password-file=f", "@ERROR: auth failed on module m", "check the name bob and the"),
        ] {
            assert!(told(dest, options, said).contains(expected), "{dest}: {}", told(dest, options, said));
        }
    }

    #[test]
    fn who_cannot_get_there_is_told_what_to_do() {
        for (dest, said, expected) in [
            ("nas:/b", "Host key verification failed.", "log in once with `ssh nas`"),
            ("u@nas:/b", "u@nas: Permission denied (publickey,password).", "`ssh-copy-id u@nas`"),
            (
                "nas::m/d",
                "@ERROR: auth failed on module m",
                "write USER@nas::MODULE/PATH, and give the password with --password-file=FILE",
            ),
            ("nsa:/b", "ssh: Could not resolve hostname nsa: Name or service not known", "check the name nsa"),
            (
                "ssh://nas/b",
                "ssh: Could not resolve hostname ssh: Name or service not known",
                "HOST/MODULE/PATH: rsync does not know ssh://",
            ),
            ("s3:bucket/b", "ssh: Could not resolve hostname s3: Name or service not known", "rsync does not know s3:"),
            ("ssh:b", "ssh: Could not resolve hostname ssh: Name or service not known", "check the name ssh"),
            ("nas:/b", "ssh: connect to host nas port 22: Connection refused", "start sshd on nas"),
            (
                "nas::m/d",
                "rsync: failed to connect to nas (10.0.0.1): Connection refused (111)",
                "rsync://nas:PORT/MODULE/PATH",
            ),
            ("nas:/b", "ssh: connect to host nas port 22: Connection timed out", "firewall"),
            ("nas:/b/c", "rsync: [Receiver] mkdir \"/b/c\" failed: No such file or directory (2)", "--mkpath"),
            (
                "nas:8730::m/d",
                "rsync: [Receiver] mkdir \"/root/8730::m/d\" failed: No such file or directory (2)",
                "rsync://nas:8730/MODULE/PATH",
            ),
            ("nas:/b", "bash: line 1: rsync: command not found", "--rsync-path=PATH"),
            ("nas:/b", "sudo: a password is required", "NOPASSWD"),
            ("nas:/b", "protocol version mismatch -- is your shell clean?", "`ssh nas true` has to be silent"),
            ("nas::m/d", "ERROR: module is read only", "read only = no"),
            ("/b", "rsync: [receiver] write failed on \"/b/f\": No space left on device (28)", "make room"),
            ("/b", "rsync: [generator] mkdir \"/b\" failed: Read-only file system (30)", "can be written"),
        ] {
            assert!(told(dest, said).contains(expected), "{dest}, {said}: {}", told(dest, said));
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_is_known_or_the_run_came_to_its_end() {
        assert_eq!(told("nas:/b", "rsync error: unexplained error (code 255) at io.c(285)"), "");
        let dest = Destination::parse("nas:/b".as_ref()).unwrap();
        let said = ["Host key verification failed.".to_owned()];
        for code in [exit::OK, exit::PARTIAL, exit::INTERRUPTED] {
            assert_eq!(advice(&said, code, dest.original(), dest.target(), &Way::default()), None);
        }
    }
}
