//! One ssh connection for each slot, shared by its launches: a launch through an open connection takes a third of the time of one with its own handshake (155
//! instead of 414 ms on loopback).
//!
//! The connection of a slot is a separate `ssh -N`, which is the master of a control socket (ssh_config(5), `ControlMaster`). It is a child like any other
//! and ends with this process. A launch that finds no socket connects by itself, so a master that fails only costs time. Connections are shared only if the
//! remote shell is ssh and the user has not chosen a control socket.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::endpoint::Target;
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::supervise::{Stop, Stream, Supervisor, leave_no_folder};
use crate::temporary;
use crate::thread;

/// A longer handshake is not waited for.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(20);
/// Forwardings in the user's configuration can exist only once, for the first connection (ssh_config(5), `ExitOnForwardFailure`).
const NO_FORWARDS: &str = "ClearAllForwardings=yes";
/// How long to wait for the end of all connections.
const LONGEST_END: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The path of a socket, with the suffix that ssh adds while creating it, must fit into `sun_path` (unix(7)).
const LONGEST_SOCKET: usize = 107 - 17;
/// The longest name of a socket, which is the number of its slot.
const LONGEST_NAME: &str = "9999";
/// After its master has ended this often, a slot gets no connection.
const TRIES: u32 = 3;

/// How the other machine is reached: the words of the remote shell, and those that name user and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `ssh` and the user's options for it.
    command: Vec<OsString>,
    /// User and host as rsync passes them: `-l USER HOST`.
    machine: Vec<OsString>,
    /// The working directory of the command.
    cwd: PathBuf,
    /// The same command as launches get it (`--rsh`).
    rsh: OsString,
    /// The options from [`WATCHES`] that are added.
    watches: &'static [&'static str],
}

/// Options with which ssh notices within 15 seconds that a machine does not answer, or was cut off (ssh_config(5)).
pub const WATCHES: [&str; 3] = ["ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"];

impl Route {
    /// The route to a target through this remote shell; `None` if the shell is not ssh, or if the user or ssh's own configuration has chosen a control
    /// socket. This asks ssh for its configuration, but does not connect. `rsh` is the command as launches get it.
    pub fn find(
        target: &Target,
        command: Vec<OsString>,
        rsh: OsString,
        cwd: &Path,
        supervisor: &Supervisor,
    ) -> Option<Route> {
        let Target::Ssh { user, host, .. } = target else { return None };
        let program = Path::new(command.first()?).file_name()?;
        let sets_socket = |word: &OsString| {
            let word = word.as_bytes();
            let option = word.strip_prefix(b"-o").unwrap_or(word).to_ascii_lowercase();
            word.starts_with(b"-S") || word.starts_with(b"-M") || option.starts_with(b"control")
        };
        if program != "ssh" || command.iter().any(sets_socket) {
            return None;
        }
        let mut machine: Vec<OsString> = user.iter().flat_map(|user| ["-l".into(), user.into()]).collect();
        machine.push(host.into());
        let route = Route { command, machine, cwd: cwd.to_owned(), rsh, watches: &[] };
        route.has_no_socket(supervisor).then_some(route)
    }

    /// With options that make ssh notice soon if the machine is cut off and, if there are other addresses, if it does not answer at all.
    #[must_use]
    pub fn watched(self, has_others: bool) -> Route {
        Route { watches: if has_others { &WATCHES } else { &WATCHES[1..] }, ..self }
    }

    fn has_no_socket(&self, supervisor: &Supervisor) -> bool {
        let mut chosen = false;
        let ended = supervisor.run(&self.invocation(&["-G".into()]), &mut |stream, line| {
            let is = |option: &str| line.strip_prefix(option.as_bytes()).is_some_and(|value| value != b"none");
            chosen |= stream == Stream::Stdout && is("controlpath ");
        });
        !chosen && ended.is_ok_and(|ended| ended.code() == exit::OK)
    }

    fn master(&self, socket: &Path) -> Invocation {
        let mut path = OsString::from("ControlPath=");
        path.push(socket);
        let options = ["ControlMaster=yes", "ControlPersist=no", "BatchMode=yes", NO_FORWARDS];
        let options = options.iter().chain(self.watches).map(OsString::from);
        let options = options.chain([path]).flat_map(|option| ["-o".into(), option]);
        self.invocation(&options.chain(["-N".into(), "-T".into()]).collect::<Vec<_>>())
    }

    fn invocation(&self, options: &[OsString]) -> Invocation {
        let (program, own) = self.command.split_first().expect("a route has a program");
        let arguments = [own, options, &self.machine].concat();
        Invocation::new(program, arguments, &self.cwd)
    }
}

/// The open connections of a run.
#[derive(Debug)]
pub struct Connections {
    /// One route for each address.
    routes: Vec<Route>,
    folder: tempfile::TempDir,
    /// Not the supervisor of the rsyncs, because a connection has to end after the rsyncs that use it.
    supervisor: Arc<Supervisor>,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    tries: u32,
    /// Whether its master has ended; `None` if none was started.
    ended: Option<Arc<AtomicBool>>,
}

impl Connections {
    /// Connections along these routes, one for each slot; none is open yet. `None` if no temporary folder has a path that is short enough for a socket.
    pub fn new(routes: Vec<Route>, slots: usize) -> Option<Connections> {
        let folder = temporary::places().into_iter().find_map(|place| {
            let made = temporary::folder_in(&place, "ms-").ok()?;
            let path = made.path().join(LONGEST_NAME);
            // rsync splits the command of the remote shell at blanks.
            let bytes = path.as_os_str().as_bytes();
            let plain = !bytes.iter().any(|byte| matches!(byte, b' ' | b'\'' | b'"' | b'%' | b'$'));
            (bytes.len() <= LONGEST_SOCKET && plain).then_some(made)
        })?;
        leave_no_folder(folder.path());
        let slots = Mutex::new(vec![Slot::default(); slots]);
        Some(Connections { routes, folder, supervisor: Arc::default(), slots })
    }

    /// Opens the connection of a slot along this route, unless it is already open. Returns at once.
    pub fn open(&self, slot: usize, route: usize) {
        let mut slots = self.slots.lock().expect("a thread that opens a connection panicked");
        // The number of slots may have grown.
        if slots.len() <= slot {
            slots.resize(slot + 1, Slot::default());
        }
        let state = &mut slots[slot];
        if state.tries >= TRIES || state.ended.as_ref().is_some_and(|ended| !ended.load(Ordering::SeqCst)) {
            return;
        }
        state.tries += 1;
        let ended = Arc::new(AtomicBool::new(false));
        state.ended = Some(Arc::clone(&ended));
        let has_ended = Arc::clone(&ended);
        let (master, supervisor) = (self.routes[route].master(&self.socket(slot)), Arc::clone(&self.supervisor));
        let started = thread::detach(move || {
            // Errors are ignored, because the launches will report them too.
            let _ = supervisor.run(&master, &mut |_, _| {});
            has_ended.store(true, Ordering::SeqCst);
        });
        if started.is_err() {
            ended.store(true, Ordering::SeqCst);
        }
    }

    /// Whether the connection of a slot is open.
    pub fn is_open(&self, slot: usize) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let runs =
            slots.get(slot).and_then(|slot| slot.ended.as_ref()).is_some_and(|ended| !ended.load(Ordering::SeqCst));
        runs && self.socket(slot).exists()
    }

    /// The remote shell command for a launch in this slot, along this route. Waits until the connection is open. If it cannot be opened, or `launches` are
    /// stopped, the command connects by itself.
    pub fn wait(&self, slot: usize, route: usize, launches: &Supervisor) -> OsString {
        let route = &self.routes[route];
        let mut command = route.rsh.clone();
        command.push(format!(" -o {NO_FORWARDS}"));
        route.watches.iter().for_each(|option| command.push(format!(" -o {option}")));
        if let Some(socket) = self.wait_for_socket(slot, launches) {
            command.push(" -o ControlMaster=no -o ControlPath=");
            command.push(&socket);
        }
        command
    }

    /// The control socket of a slot, as soon as it exists; `None` in the cases in which [`Connections::wait`] does without.
    pub fn wait_for_socket(&self, slot: usize, launches: &Supervisor) -> Option<PathBuf> {
        let began = Instant::now();
        let socket = self.socket(slot);
        let ended = self.slots.lock().expect("a thread that opens a connection panicked").get(slot)?.ended.clone()?;
        while !socket.exists() {
            if ended.load(Ordering::SeqCst) || launches.stopped() || began.elapsed() > LONGEST_HANDSHAKE {
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Some(socket)
    }

    /// Ends all connections.
    pub fn close(&self) {
        self.supervisor.stop(Stop::Terminate);
        let began = Instant::now();
        let runs = || {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(|slot| slot.ended.as_ref()).any(|ended| !ended.load(Ordering::SeqCst))
        };
        while runs() && began.elapsed() < LONGEST_END {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn socket(&self, slot: usize) -> PathBuf {
        self.folder.path().join(slot.to_string())
    }
}

/// For connections that were opened before it turned out that nothing is launched.
impl Drop for Connections {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(words: &[&str]) -> Option<Route> {
        let target = Target::Ssh { user: Some("u".into()), host: "h".into(), path: "p".into() };
        let command = words.iter().map(OsString::from).collect();
        Route::find(&target, command, "ssh".into(), Path::new("/"), &Supervisor::default())
    }

    #[test]
    fn a_socket_that_somebody_has_chosen_stays() {
        for words in [
            &["ssh", "-S", "none"][..],
            &["ssh", "-oControlPath=x"],
            &["ssh", "-o", "controlmaster auto"],
            &["ssh", "-M"],
            &["rsh"],
            &["./wrapper"],
            &[],
        ] {
            assert_eq!(route(words), None, "{words:?}");
        }
    }

    #[test]
    fn a_master_is_the_same_command_with_a_socket() {
        let command = vec!["ssh".into(), "-p22".into()];
        let route = Route { command, machine: vec!["h".into()], cwd: "/".into(), rsh: "ssh -p22".into(), watches: &[] };
        assert_eq!(
            route.master(Path::new("/tmp/x/0")).to_string(),
            "ssh -p22 -o 'ControlMaster=yes' -o 'ControlPersist=no' -o 'BatchMode=yes' -o 'ClearAllForwardings=yes' -o 'ControlPath=/tmp/x/0' -N -T h"
        );
    }
}
