//! A real sshd on the loopback network with its own keys and configuration: nothing in ~/.ssh or /etc/ssh is read or written.
//!
//! It runs as the user of the tests, who logs in by key. For root, sshd needs the folder for privilege separation, which the package's service creates at
//! boot; if there was no boot, it is created here.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::command::MARK;
use super::daemon::{Daemon, find_program, helper};
use super::netns::Space;
use super::work::set_mode;

/// All ports are free on a host of its own.
const OWN_PORT: u16 = 22;

/// A running sshd; it ends, with its sessions and their processes, when this value is dropped.
pub struct Sshd {
    // Declared before the folder, because the server must end before its files are removed.
    daemon: Daemon,
    folder: tempfile::TempDir,
    alias: String,
    hosts: String,
}

impl Sshd {
    /// On 127.0.0.1, as host `lab`. `Err` with the reason if OpenSSH is not installed or the user cannot log in.
    pub fn start() -> Result<Sshd, String> {
        Sshd::start_at(Ipv4Addr::LOCALHOST)
    }

    /// On another address of this machine: 127.0.0.11 is host `lab11`.
    pub fn start_at(address: Ipv4Addr) -> Result<Sshd, String> {
        Sshd::start_in(address, &std::env::temp_dir())
    }

    /// The same with its folder below `parent`, which may have an odd name.
    pub fn start_in(address: Ipv4Addr, parent: &Path) -> Result<Sshd, String> {
        Sshd::launch(address, parent, None, "")
    }

    /// With lines of sshd_config(5) that override the others.
    pub fn start_with(address: Ipv4Addr, lines: &str) -> Result<Sshd, String> {
        Sshd::launch(address, &std::env::temp_dir(), None, lines)
    }

    /// On a host with its own network: the host with number 3 is `net3`.
    pub fn start_on(space: &Space) -> Result<Sshd, String> {
        Sshd::launch(space.address(), &std::env::temp_dir(), Some(space), "")
    }

    fn launch(address: Ipv4Addr, parent: &Path, space: Option<&Space>, first: &str) -> Result<Sshd, String> {
        let program = find_program("sshd")?;
        find_program("ssh")?;
        let keygen = find_program("ssh-keygen")?;
        let user = login_name()?;
        let folder = tempfile::Builder::new().prefix("multi-sync-sshd.").tempdir_in(parent).expect("make a folder");
        let inside = |name: &str| folder.path().join(name);
        for name in ["host_key", "user_key"] {
            let mut command = Command::new(&keygen);
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(inside(name));
            helper(&mut command).unwrap_or_else(|why| panic!("{why}"));
        }
        fs::copy(inside("user_key.pub"), inside("authorized_keys")).expect("write authorized_keys");
        let alias = match (space, address.octets()[3]) {
            (Some(_), last) => format!("net{}", last / 4),
            (None, 1) => "lab".to_owned(),
            (None, last) => format!("lab{last}"),
        };
        let host_key = fs::read_to_string(inside("host_key.pub")).expect("read the host key");
        fs::write(inside("known_hosts"), format!("{alias} {host_key}")).expect("write known_hosts");

        let mark = format!("sshd:{}", folder.path().display());
        let config = inside("sshd_config");
        write_server_config(&program, &config, &folder, address, &mark, first)?;
        let port = space.map(|_| OWN_PORT);
        let daemon = Daemon::start_on(port, address.into(), b"SSH-2.0", &mark, &inside("log"), |port| {
            let mut command = space.map_or_else(|| Command::new(&program), |space| space.command(&program));
            // In the foreground, messages to stderr.
            command.args(["-D", "-e", "-p", &port.to_string(), "-f"]).arg(&config);
            command
        });
        let hosts = client_config(&folder, &alias, address.into(), daemon.port, &user);
        fs::write(inside("ssh_config"), &hosts).expect("write ssh_config");
        Ok(Sshd { daemon, folder, alias, hosts })
    }

    /// The value of rsync's `-e`: an ssh that knows only [`Sshd::host`].
    pub fn rsh(&self) -> String {
        rsh(&self.folder.path().join("ssh_config"))
    }

    /// The name by which [`Sshd::rsh`] knows this server.
    pub fn host(&self) -> &str {
        &self.alias
    }

    /// `HOST:PATH` for rsync.
    pub fn remote(&self, path: impl AsRef<OsStr>) -> OsString {
        let mut remote = OsString::from(format!("{}:", self.alias));
        remote.push(path.as_ref());
        remote
    }

    /// The option file of [`Sshd::rsh`], for `ssh -F`.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// A path in the command line of each ssh of [`Sshd::rsh`] and the environment of each remote command: a mark for [`processes`](super::processes).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }
}

/// A value of rsync's `-e` that knows all these servers by their names. They must have different addresses.
pub fn joint_rsh(servers: &[&Sshd]) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ssh_config.{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let path = servers.first().expect("at least one server").folder.path().join(name);
    fs::write(&path, servers.iter().map(|server| server.hosts.as_str()).collect::<String>()).expect("write ssh_config");
    rsh(&path)
}

fn rsh(config: &Path) -> String {
    // rsync(1), --rsh: words are separated by spaces, quotes keep spaces, a doubled quote is one quote.
    format!("ssh -F '{}'", text(config).replace('\'', "''"))
}

/// Writes the configuration and lets sshd check it. Special requirements of a release or system are handled when sshd reports them.
fn write_server_config(
    program: &Path,
    config: &Path,
    folder: &tempfile::TempDir,
    address: Ipv4Addr,
    mark: &str,
    first: &str,
) -> Result<(), String> {
    let inside = |name: &str| conf_path(&folder.path().join(name));
    let path = std::env::var("PATH").unwrap_or_default();
    // The startup files of this user's shell are not part of a test, and may wait for a lock.
    let home = text(folder.path());
    let lines = format!(
        "{first}ListenAddress {address}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile {}\n\
         StrictModes no\n\
         UsePAM no\n\
         UseDNS no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         X11Forwarding no\n\
         PrintMotd no\n\
         LogLevel VERBOSE\n\
         MaxSessions 200\n\
         MaxStartups 500:30:1000\n\
         SetEnv \"{MARK}={mark}\" \"PATH={path}\" \"HOME={home}\"\n",
        inside("host_key"),
        inside("authorized_keys"),
        inside("pid"),
    );
    // OpenSSH 9.8 and later block an address whose connections break off, as those of killed tests do. Older versions do not know this option.
    for penalties in ["PerSourcePenalties no\n", ""] {
        fs::write(config, format!("{lines}{penalties}")).expect("write sshd_config");
        set_mode(config, 0o600);
        let check = || helper(Command::new(program).arg("-t").arg("-f").arg(config));
        let missing = "Missing privilege separation directory: ";
        let said = match check() {
            Ok(_) => return Ok(()),
            Err(said) => said,
        };
        if let Some(dir) = said.split_once(missing).and_then(|(_, rest)| rest.lines().next()) {
            fs::create_dir_all(dir.trim()).map_err(|e| format!("sshd needs {dir}: {e}"))?;
            set_mode(Path::new(dir.trim()), 0o755);
            if check().is_ok() {
                return Ok(());
            }
        }
        if said.contains("Privilege separation user") {
            return Err(said);
        }
        assert!(!penalties.is_empty() && said.contains("PerSourcePenalties"), "sshd refuses its configuration: {said}");
    }
    unreachable!("the last attempt returns or panics");
}

/// A `Host` block; blocks of several servers can follow each other.
fn client_config(folder: &tempfile::TempDir, alias: &str, address: IpAddr, port: u16, user: &str) -> String {
    let inside = |name: &str| conf_path(&folder.path().join(name));
    format!(
        "Host {alias}\n\
         HostName {address}\n\
         Port {port}\n\
         User {user}\n\
         HostKeyAlias {alias}\n\
         IdentityFile {}\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         BatchMode yes\n\
         StrictHostKeyChecking yes\n\
         UserKnownHostsFile {}\n\
         GlobalKnownHostsFile /dev/null\n\
         UpdateHostKeys no\n\
         ConnectTimeout 30\n\
         LogLevel ERROR\n",
        inside("user_key"),
        inside("known_hosts"),
    )
}

/// A path as an argument in sshd_config(5) and ssh_config(5).
fn conf_path(path: &Path) -> String {
    format!("\"{}\"", text(path))
}

fn text(path: &Path) -> String {
    let text = path.to_str().expect("the folder of a server is UTF-8");
    // `%` begins a token in some options and not in others.
    assert!(!text.contains(['"', '\\', '\n', '%']), "{text:?} cannot be written in an OpenSSH configuration");
    text.to_owned()
}

/// The user of the tests, if the account can run a command: sshd gives it to the login shell.
fn login_name() -> Result<String, String> {
    let uid = rustix::process::getuid().as_raw();
    let (entry, _) = helper(Command::new("getent").arg("passwd").arg(uid.to_string()))
        .map_err(|why| format!("user {uid} has no account to log in to: {why}"))?;
    let entry = String::from_utf8_lossy(&entry).into_owned();
    let fields: Vec<_> = entry.trim_end().split(':').collect();
    let shell = fields.get(6).copied().unwrap_or_default();
    if shell.ends_with("/nologin") || shell.ends_with("/false") {
        return Err(format!("user {} has no login shell but {shell}", fields[0]));
    }
    Ok(fields[0].to_owned())
}
