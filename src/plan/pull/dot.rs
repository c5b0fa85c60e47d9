//! Whether a daemon shows the directory whose contents are copied to launches. They name it `.`, and a module may leave out names such as `.*`, which is
//! one of them (rsyncd.conf(5), `exclude`); one rsync does not ask about the directory that it was given (3.5.0, flist.c, `send_file_list`).

use std::sync::OnceLock;

use super::{Way, listed_kind, without_motd};
use crate::endpoint::{Source, Target};
use crate::far::{Begun, Piece};
use crate::rsync::command::{FarSource, NO_NAME};
use crate::rsync::exit;
use crate::supervise::{Invocation, Lines, Stream};

/// The question, and the answer when it is known.
#[derive(Debug)]
pub struct Dot {
    rsync: Begun<()>,
    is_shown: OnceLock<bool>,
}

impl Dot {
    /// Asks, as launches name the directory; `None` of what is not the contents of a daemon's directory, or if the system allows no more threads.
    pub(super) fn ask(way: &Way<'_>, source: &Source, far: &FarSource) -> Option<Dot> {
        let Target::Daemon { .. } = source.target() else { return None };
        far.root.as_ref()?;
        let mut words = way.options();
        words.extend(["--list-only", "-d", "-R", "--ignore-missing-args", "--files-from=-", "--from0"].map(Into::into));
        words.extend(without_motd(way.config));
        words.extend(["--".into(), far.word.clone(), way.config.destination.as_argument(&way.config.cwd)]);
        let input = [&far.name(&[&b"./"[..], NO_NAME.as_bytes()].concat()), &b"\0"[..]].concat();
        let question = Invocation { input, ..Invocation::rsync(&way.config.program, words, &way.config.cwd) };
        let rsync = Begun::start(question, None, way.config.stall, |_, ()| false).ok()?;
        Some(Dot { rsync, is_shown: OnceLock::new() })
    }

    /// Waits for the answer. What is not known, or `given_up`, is not shown.
    pub fn is_shown(&self, given_up: impl Fn() -> bool) -> bool {
        *self.is_shown.get_or_init(|| {
            let mut lines = Lines::new(Stream::Stdout);
            let mut listed = false;
            let mut each = |_, line: &[u8]| listed |= listed_kind(line) == Some(b'd') && line.ends_with(b" .");
            while !given_up() {
                match self.rsync.next() {
                    Some(Piece::Out(Some(bytes))) => lines.feed(&bytes, &mut each),
                    Some(Piece::Out(None)) => lines.finish(&mut each),
                    Some(Piece::Ended(ended)) => {
                        return listed && ended.is_ok_and(|(end, ())| end.ended.code() == exit::OK);
                    }
                    None => {}
                }
            }
            false
        })
    }
}
