//! One ssh connection for each slot, which its launches share: a launch through an open connection costs a third of one that shakes hands
//! (155 against 414 ms on loopback).
//!
//! The connection of a slot is an `ssh -N` of its own that is master of a control socket (ssh_config(5), `ControlMaster`); it is a child
//! like any other and ends with this process. A launch that finds no socket connects by itself, so a master that fails costs time and
//! nothing else. Only where the remote shell is ssh and nobody has chosen its control socket.

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

/// A handshake that takes longer is not waited for.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(20);
/// What the user's configuration forwards can be had once only, by whoever comes first (ssh_config(5), `ExitOnForwardFailure`).
const NO_FORWARDS: &str = "ClearAllForwardings=yes";
/// So long the end of all connections is waited for.
const LONGEST_END: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A socket's path with what ssh adds while it makes one must fit `sun_path` (unix(7)).
const LONGEST_SOCKET: usize = 107 - 17;
/// The name of a socket, which is the number of its slot, is not longer.
const LONGEST_NAME: &str = "9999";
/// A slot whose master ended this often does without.
const TRIES: u32 = 3;

/// How to reach the other machine: the words of the remote shell and those that name user and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `ssh` and the user's options for it.
    command: Vec<OsString>,
    /// As rsync gives them: `-l USER HOST`.
    machine: Vec<OsString>,
    /// The directory the command runs in.
    cwd: PathBuf,
    /// The same command as launches get it (`--rsh`).
    rsh: OsString,
    /// What is added of [`WATCHES`].
    watches: &'static [&'static str],
}

/// What notices that a machine does not answer, or that it is cut off, within 15 seconds (ssh_config(5)).
pub const WATCHES: [&str; 3] = ["ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"];

impl Route {
    /// The route to a target through this remote shell; `None` if it is not ssh's, or if the user or ssh's own configuration has chosen
    /// a control socket. Asks ssh for its configuration, and connects nowhere. `rsh` is the command as launches get it.
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

    /// The same, and a machine that is cut off is noticed soon: also one that never answers, if there are other addresses.
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
    /// One for each address.
    routes: Vec<Route>,
    folder: tempfile::TempDir,
    /// Not that of the rsyncs: a connection ends after what goes through it.
    supervisor: Arc<Supervisor>,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    tries: u32,
    /// Its master, if one was started.
    ended: Option<Arc<AtomicBool>>,
}

impl Connections {
    /// Connections along routes, one of which each slot takes; none is open yet. `None` if no folder has a path that is short enough for a socket.
    pub fn new(routes: Vec<Route>, slots: usize) -> Option<Connections> {
        let folder = temporary::places().into_iter().find_map(|place| {
            let made = temporary::folder_in(&place, "ms-").ok()?;
            let path = made.path().join(LONGEST_NAME);
            // rsync splits the remote shell's command at blanks.
            let bytes = path.as_os_str().as_bytes();
            let plain = !bytes.iter().any(|byte| matches!(byte, b' ' | b'\'' | b'"' | b'%' | b'$'));
            (bytes.len() <= LONGEST_SOCKET && plain).then_some(made)
        })?;
        leave_no_folder(folder.path());
        let slots = Mutex::new(vec![Slot::default(); slots]);
        Some(Connections { routes, folder, supervisor: Arc::default(), slots })
    }

    /// Opens the connection of a slot along this route, unless it is open, and returns at once.
    pub fn open(&self, slot: usize, route: usize) {
        let mut slots = self.slots.lock().expect("a thread that opens a connection panicked");
        // There may be more than there were.
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
            // What it complains of, the launches will complain of.
            let _ = supervisor.run(&master, &mut |_, _| {});
            has_ended.store(true, Ordering::SeqCst);
        });
        if started.is_err() {
            ended.store(true, Ordering::SeqCst);
        }
    }

    /// Whether the connection of a slot is there.
    pub fn is_open(&self, slot: usize) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let runs =
            slots.get(slot).and_then(|slot| slot.ended.as_ref()).is_some_and(|ended| !ended.load(Ordering::SeqCst));
        runs && self.socket(slot).exists()
    }

    /// The remote shell's command of a launch in this slot, along this route: waits until the connection is open, and goes without one that cannot be,
    /// or if `launches` are stopped.
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

    /// The control socket of a slot, when it is there; `None` as for [`Connections::wait`].
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

/// Where they are opened before it is known whether anything is launched.
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
