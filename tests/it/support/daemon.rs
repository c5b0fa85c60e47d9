//! A server in the foreground as a child of the test: it is ready before the test continues, and ends afterwards, even if the test is killed.
#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::command::{MARK, shown};
use super::processes;

const READY_LIMIT: Duration = Duration::from_secs(20);

/// A listening server.
pub struct Daemon {
    child: Child,
    leash: Child,
    mark: String,
    pub port: u16,
}

impl Daemon {
    /// Starts the command that `command` makes for a free port of `address`, and waits until a connection is greeted with `greeting`. Both its streams go to
    /// `log`. `mark` must also be in the environment of the processes that the server starts for its clients.
    ///
    /// Another process can take the port between its choice and its use: then the next one is tried. Panics with the log if the server ends or prints
    /// nothing.
    pub fn start(address: IpAddr, greeting: &[u8], mark: &str, log: &Path, command: impl Fn(u16) -> Command) -> Daemon {
        Daemon::start_on(None, address, greeting, mark, log, command)
    }

    /// The same on a port that is known to be free, such as any port on a host of its own.
    pub fn start_on(
        port: Option<u16>,
        address: IpAddr,
        greeting: &[u8],
        mark: &str,
        log: &Path,
        command: impl Fn(u16) -> Command,
    ) -> Daemon {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = port.unwrap_or_else(|| free_port(address));
            let mut command = command(port);
            let output = File::create(log).expect("make the log of a server");
            command.env(MARK, mark).process_group(0);
            command.stdin(Stdio::null()).stdout(output.try_clone().expect("dup")).stderr(output);
            let shown = shown(&command);
            let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
            let mut daemon = Daemon { leash: leash_on(&child), child, mark: mark.to_owned(), port };
            match daemon.wait_until_greeted(SocketAddr::new(address, port), greeting) {
                Ok(()) => return daemon,
                Err(why) => {
                    let said = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
                    assert!(said.contains("in use") && attempts < 5, "{why}\ncommand: {shown}\nlog:\n{said}");
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_greeted(&mut self, address: SocketAddr, greeting: &[u8]) -> Result<(), String> {
        let end = Instant::now() + READY_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("wait for a server") {
                return Err(format!("the server ended: {status}"));
            }
            if greets(address, greeting) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the server did not answer within {READY_LIMIT:?}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Sessions have process groups of their own, and lose their ancestor when the listener dies, so they are searched before.
        let (server, mark) = (self.child.id(), self.mark.as_str());
        let family = || {
            let mut found = processes::descendants(server);
            found.extend(processes::marked(mark));
            found
        };
        let sessions: Vec<_> = family().iter().filter_map(|live| Pid::from_raw(live.pid)).collect();
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        for pid in sessions {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.leash.kill();
        let _ = self.leash.wait();
        processes::kill_until_gone(family);
        let _ = self.child.wait();
    }
}

/// Kills the process group of the server when this process dies: it does not get the terminal's signals, because it has a group of its own.
fn leash_on(child: &Child) -> Child {
    leash(&format!("kill -s KILL -- -{}", child.id()))
}

/// A shell that cleans up when the pipe from this process breaks, because a test that is interrupted or killed runs no `Drop`.
pub fn leash(cleanup: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("read -r _; {cleanup}"), "leash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start sh")
}

fn free_port(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
    listener.local_addr().expect("a bound socket has an address").port()
}

fn greets(address: SocketAddr, greeting: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut start = vec![0; greeting.len()];
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set a socket option");
    stream.read_exact(&mut start).is_ok() && start == greeting
}

/// The path of a program, also searched in the directories of system programs, because the PATH of a normal user often lacks /usr/sbin.
pub fn find_program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is not installed (scripts/setup.sh test)"))
}

/// Runs a helper program to its end; returns its standard output and error.
pub fn helper(command: &mut Command) -> Result<(Vec<u8>, String), String> {
    let shown = shown(command);
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(format!("{shown}: not installed")),
        Err(e) => return Err(format!("{shown}: {e}")),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok((output.stdout, said)) } else { Err(format!("{shown}: {}\n{said}", output.status)) }
}
