//! The last look at a source, begun before it is due: over a long link the handshake takes longer than all that it asks.

use std::io::{PipeWriter, Write};

use super::sources::FarScan;
use super::{listed_kind, without_motd};
use crate::config::Config;
use crate::endpoint::{Form, Target};
use crate::far::{Begun, Piece};
use crate::rsync::exit;
use crate::supervise::{Lines, Stream};

/// An rsync that has shaken hands with a daemon, and waits for the name that it is to list. It is ended when this goes.
#[derive(Debug)]
pub struct WaitingLook {
    rsync: Begun<()>,
    names: PipeWriter,
}

impl FarScan {
    /// Starts an rsync for the last look, where that takes a new connection to a daemon for the contents of one directory. Elsewhere, and if the system
    /// does not let it start, the look is begun when it is due.
    pub fn prepare_look(&self, config: &Config) -> Option<WaitingLook> {
        let ([source], true) = (&config.sources[..], self.are_listed_again()) else { return None };
        let is_daemon = matches!(source.target(), Target::Daemon { .. });
        if !is_daemon || source.form() != Form::Contents || config.addresses.is_some() {
            return None;
        }
        let mut invocation = self.reach.rsync.clone();
        // The directory, without what is in it. It is listed, whatever DEST is.
        invocation.arguments.extend(["--list-only", "-d", "--exclude=*", "--files-from=-"].map(Into::into));
        invocation.arguments.extend(without_motd(config));
        let dest = config.destination.as_argument(&config.cwd);
        invocation.arguments.extend(["--".into(), source.original().to_owned(), dest]);
        let (reader, names) = std::io::pipe().ok()?;
        let rsync = Begun::start(invocation, Some(reader), self.reach.stall, |_, ()| false).ok()?;
        Some(WaitingLook { rsync, names })
    }
}

impl WaitingLook {
    /// How the directory is listed now; `None` if it does not come to its end well, or it is `given_up`.
    pub(super) fn list(mut self, given_up: impl Fn() -> bool) -> Option<Vec<u8>> {
        self.names.write_all(b".\n").ok()?;
        drop(self.names);
        let mut lines = Lines::new(Stream::Stdout);
        let mut listed = None;
        // What looks so before it was the daemon's.
        let mut each = |_, line: &[u8]| listed = listed_kind(line).map(|_| line.to_vec()).or(listed.take());
        while !given_up() {
            match self.rsync.next() {
                Some(Piece::Out(Some(bytes))) => lines.feed(&bytes, &mut each),
                Some(Piece::Out(None)) => lines.finish(&mut each),
                Some(Piece::Ended(ended)) => {
                    return listed.filter(|_| ended.is_ok_and(|(end, ())| end.ended.code() == exit::OK));
                }
                None => {}
            }
        }
        None
    }
}
