//! A terminal of a given size with a command in it, for which it is the controlling terminal (setsid(1), `--ctty`).
#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::command::{MARK, shown};
use super::processes;

/// A terminal and the command that was started in it. Both end when this value is dropped.
pub struct Terminal {
    master: Option<Arc<OwnedFd>>,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reads: Arc<AtomicBool>,
    mark: String,
    shown: String,
}

impl Terminal {
    /// `Err` with the reason if this is not possible.
    pub fn start(command: Command, columns: u16) -> Result<Terminal, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let why = |errno: rustix::io::Errno| format!("cannot make a terminal: {errno}");
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(why)?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(why)?;
        let name = ptsname(&master, Vec::new()).map_err(why)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(&name, flags, Mode::empty()).map_err(why)?);
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).map_err(why)?;
        let mark = format!("lab-terminal-{}-{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut in_it = Command::new("setsid");
        in_it.args(["--ctty", "--"]).arg(command.get_program()).args(command.get_args());
        in_it.env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => in_it.env(name, value),
                None => in_it.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            in_it.current_dir(dir);
        }
        let dup = || slave.try_clone().expect("another descriptor");
        in_it.env(MARK, &mark).stdin(dup()).stdout(dup()).stderr(dup());
        let child = in_it.spawn().map_err(|cause| format!("cannot start setsid: {cause}"))?;
        let (master, seen) = (Arc::new(master), Arc::<Mutex<Vec<u8>>>::default());
        let reads = Arc::new(AtomicBool::new(true));
        let (its, filled, goes_on) = (Arc::downgrade(&master), Arc::clone(&seen), Arc::clone(&reads));
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            // The terminal is held only for a moment, so that it is closed when its owner drops it.
            while let Some(master) = its.upgrade() {
                if !goes_on.load(Ordering::SeqCst) {
                    drop(master);
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                let ready = poll(&mut [PollFd::new(&*master, PollFlags::IN)], Some(&patience));
                if ready.is_ok_and(|count| count > 0) {
                    // An error while no process has the other end open.
                    match rustix::io::read(&*master, &mut buffer) {
                        Ok(count @ 1..) => {
                            filled.lock().expect("the test panicked").extend_from_slice(&buffer[..count])
                        }
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            }
        });
        Ok(Terminal { master: Some(master), child, seen, reads, mark, shown: shown(&command) })
    }

    fn master(&self) -> &OwnedFd {
        self.master.as_ref().expect("the terminal is there")
    }

    pub fn types(&self, keys: &str) {
        rustix::io::write(self.master().as_fd(), keys.as_bytes()).expect("type");
    }

    pub fn resize(&self, columns: u16) {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.master(), size).expect("resize");
    }

    /// Whether typed text is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(self.master()).expect("settings").local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// Stops reading the screen, as with ^S or a connection that hangs.
    pub fn stops_reading(&self) {
        self.reads.store(false, Ordering::SeqCst);
    }

    /// Closes the window.
    pub fn closes(&mut self) {
        self.master = None;
    }

    /// Everything that was written so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("a reader panicked")).into_owned()
    }

    pub fn mark(&self) -> &str {
        &self.mark
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn wait_for(&self, what: &str, limit: Duration, condition: impl Fn(&str) -> bool) {
        let end = Instant::now() + limit;
        while !condition(&self.seen()) {
            assert!(Instant::now() < end, "no {what} within {limit:?}: {}\n{}", self.shown, self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end; returns the exit code and the time.
    #[track_caller]
    pub fn ends(&mut self, limit: Duration) -> (Option<i32>, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                // Waits for its last output.
                std::thread::sleep(Duration::from_millis(60));
                return (status.code(), began.elapsed());
            }
            assert!(began.elapsed() < limit, "no end within {limit:?}: {}\n{}", self.shown, self.seen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        processes::kill_until_gone(|| processes::marked(&self.mark));
    }
}
