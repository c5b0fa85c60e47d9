//! The terminal of the command: one rsync that does it all may ask there, and leaves it as it was.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// What it was before; that is restored when this goes. A program that asks without showing the answer may be ended in the middle of it.
pub struct Terminal {
    terminal: OwnedFd,
    settings: Termios,
}

impl Terminal {
    /// `None` where there is none, or where nobody will answer: who started this with `nohup` leaves.
    pub fn find(nohup: bool) -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = if nohup { None } else { rustix::fs::open("/dev/tty", flags, Mode::empty()).ok() }?;
        let settings = tcgetattr(&terminal).ok()?;
        Some(Terminal { terminal, settings })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // In the background it belongs to others, and the system would stop us (tcsetattr(3)).
        if tcgetpgrp(&self.terminal) == Ok(rustix::process::getpgrp()) {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.settings);
        }
    }
}
