//! The terminal of the command: a single rsync that does everything may ask there, and must leave it as it was.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal and its original settings, which are restored when this value is dropped: a program that has turned off echo for a password may be ended
/// before it turns it on again.
pub struct Terminal {
    terminal: OwnedFd,
    settings: Termios,
}

impl Terminal {
    /// `None` if there is no terminal, or if nobody will answer, because the user has started multi-sync with `nohup`.
    pub fn find(nohup: bool) -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = if nohup { None } else { rustix::fs::open("/dev/tty", flags, Mode::empty()).ok() }?;
        let settings = tcgetattr(&terminal).ok()?;
        Some(Terminal { terminal, settings })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A background process must not do this: the terminal belongs to another one, and the system would stop us (tcsetattr(3)).
        if tcgetpgrp(&self.terminal) == Ok(rustix::process::getpgrp()) {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.settings);
        }
    }
}
