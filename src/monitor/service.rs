//! Notifications to the service manager (sd_notify(3)): that the run has begun, its progress, that it is alive, and that it ends. If the manager does not
//! listen, nothing changes.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The connection to the manager.
pub(super) struct Service {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    ready: AtomicBool,
}

impl Service {
    /// The manager that has started this process, if it wants notifications.
    pub fn find() -> Option<Service> {
        let env = |name: &str| std::env::var_os(name);
        let address = address(&env("NOTIFY_SOCKET")?)?;
        let number = |name: &str| env(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 0).map(Duration::from_micros);
        let socket = UnixDatagram::unbound().ok()?;
        // Non-blocking, so that a manager that hangs delays nothing.
        socket.set_nonblocking(true).ok()?;
        Some(Service { socket, address, watchdog, ready: AtomicBool::new(false) })
    }

    /// How long the manager waits for a sign of life before it ends this process.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that the run has begun.
    pub fn begins(&self) {
        if !self.ready.swap(true, Ordering::SeqCst) {
            self.send("READY=1");
        }
    }

    /// Reports the progress, as text for users.
    pub fn status(&self, text: &str) {
        let line = text.replace(['\n', '\r'], " ");
        self.send(&format!("STATUS={line}"));
    }

    /// Reports that the run is alive.
    pub fn lives(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// Reports that the process is about to end.
    pub fn stops(&self) {
        self.send("STOPPING=1");
    }

    /// Reports that another program takes the place of this one. That program will send nothing.
    pub fn gives_way(&self, status: &str) {
        self.begins();
        self.status(status);
        if self.watchdog.is_some() {
            self.send("WATCHDOG_USEC=0");
        }
    }

    fn send(&self, state: &str) {
        // The manager may be gone.
        let _ = self.socket.send_to_addr(state.as_bytes(), &self.address);
    }
}

/// The address: a path, or a name in the abstract namespace after an `@` (unix(7)).
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(Path::new(name)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_reached_by_a_path_or_an_abstract_name() {
        let name = |name: &str| address(OsStr::new(name));
        assert_eq!(name("/run/notify").unwrap().as_pathname(), Some(Path::new("/run/notify")));
        assert_eq!(name("@notify").unwrap().as_abstract_name(), Some(&b"notify"[..]));
        assert!(name("notify").is_none() && name("").is_none() && name("vsock:2:3").is_none());
    }
}
