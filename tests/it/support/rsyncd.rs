//! A real rsync daemon on the loopback network, with modules that keep attributes unchanged.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::{Daemon, find_program};
use super::work::{Work, set_mode};

/// A module to be served: writable, without chroot, symlinks not munged, ids numeric, as root if the tests run as root.
///
/// Without chroot, rsync itself changes symlinks that are absolute or lead out of the module, so that a copy equals another copy through the daemon but not a
/// local one. Root can get exact ones with `.line("use chroot = yes")`.
pub struct Module {
    name: String,
    path: PathBuf,
    max_connections: Option<u32>,
    login: Option<(String, String)>,
    extra: Vec<String>,
}

impl Module {
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Module {
        Module { name: name.to_owned(), path: path.into(), max_connections: None, login: None, extra: Vec::new() }
    }

    /// Refuse more simultaneous connections than this.
    #[must_use]
    pub fn max_connections(mut self, count: u32) -> Module {
        self.max_connections = Some(count);
        self
    }

    /// Requires this user and password.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Module {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Adds a line of rsyncd.conf(5), such as `read only = yes`; it overrides the defaults.
    #[must_use]
    pub fn line(mut self, line: &str) -> Module {
        self.extra.push(line.to_owned());
        self
    }
}

/// A running daemon; it ends, with its connections, when this value is dropped.
pub struct Rsyncd {
    // Declared before the folder, because the daemon must end before its files are removed.
    daemon: Daemon,
    folder: Work,
    address: IpAddr,
    users: Vec<(String, String)>,
}

impl Rsyncd {
    /// On 127.0.0.1. `Err` if rsync is not installed.
    pub fn start(modules: &[Module]) -> Result<Rsyncd, String> {
        Rsyncd::start_at(Ipv4Addr::LOCALHOST.into(), modules)
    }

    /// On another address of this machine, such as 127.0.0.11.
    pub fn start_at(address: IpAddr, modules: &[Module]) -> Result<Rsyncd, String> {
        let program = find_program("rsync")?;
        let folder = Work::new();
        let config = folder.file("rsyncd.conf", configuration(&folder, modules));
        for module in modules {
            if let Some((user, password)) = &module.login {
                let line = format!("{user}:{password}\n");
                set_mode(&folder.file(format!("{}.secrets", module.name), line), 0o600);
                set_mode(&folder.file(format!("{}.password", module.name), format!("{password}\n")), 0o600);
            }
        }
        let mark = format!("rsyncd:{}", folder.path().display());
        let daemon = Daemon::start(address, b"@RSYNCD:", &mark, &folder.join("output"), |port| {
            let mut command = Command::new(&program);
            command.args(["--daemon", "--no-detach"]);
            command.arg(format!("--address={address}")).arg(format!("--port={port}"));
            command.arg("--config").arg(&config).current_dir(folder.path());
            command
        });
        let users = modules.iter().filter_map(|m| Some((m.name.clone(), m.login.as_ref()?.0.clone()))).collect();
        Ok(Rsyncd { daemon, folder, address, users })
    }

    /// `rsync://[USER@]ADDRESS:PORT/MODULE`
    pub fn url(&self, module: &str) -> String {
        format!("rsync://{}{}:{}/{module}", self.user(module), self.address, self.daemon.port)
    }

    /// `[USER@]ADDRESS::MODULE`; needs [`Rsyncd::port_option`].
    pub fn double_colon(&self, module: &str) -> String {
        format!("{}{}::{module}", self.user(module), self.address)
    }

    /// `--port=PORT`
    pub fn port_option(&self) -> String {
        format!("--port={}", self.daemon.port)
    }

    /// `--password-file=...` for a module with a login.
    pub fn password_option(&self, module: &str) -> String {
        format!("--password-file={}", self.folder.join(format!("{module}.password")).display())
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// A path in the command line of the daemon and its connections: a mark for [`processes`](super::processes).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn user(&self, module: &str) -> String {
        let user = self.users.iter().find(|(name, _)| name == module);
        user.map_or(String::new(), |(_, user)| format!("{user}@"))
    }
}

fn configuration(folder: &Work, modules: &[Module]) -> String {
    let mut text = String::new();
    let inside = |name: &str| folder.join(name).display().to_string();
    let _ = writeln!(text, "pid file = {}", inside("pid"));
    let _ = writeln!(text, "lock file = {}", inside("lock"));
    let _ = writeln!(text, "log file = {}", inside("log"));
    // Otherwise a name server would be asked for the names of addresses.
    text.push_str("reverse lookup = no\nforward lookup = no\nhosts allow = 127.0.0.0/8\n");
    // Without chroot, rsync puts /rsyncd-munged/ before the target of each symlink unless this is disabled.
    text.push_str("use chroot = no\nmunge symlinks = no\nread only = no\nnumeric ids = yes\n");
    if super::is_root() {
        text.push_str("uid = root\ngid = root\n");
    }
    for module in modules {
        let _ = writeln!(text, "[{}]\npath = {}", module.name, module.path.display());
        if let Some(count) = module.max_connections {
            let _ = writeln!(text, "max connections = {count}");
        }
        if let Some((user, _)) = &module.login {
            let _ =
                writeln!(text, "auth users = {user}\nsecrets file = {}", inside(&format!("{}.secrets", module.name)));
        }
        for line in &module.extra {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
