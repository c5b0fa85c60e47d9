//! rsync's exit codes: what each one means for a launch, and the one code a run ends with.
//!
//! The table is data (rsync(1), EXIT VALUES). Whether something is retried depends only on its [`Class`].

use std::fmt;

use crate::supervise::Ended;

/// Everything was transferred.
pub const OK: u8 = 0;
/// Syntax or usage error.
pub const USAGE: u8 = 1;
/// The two sides do not understand each other's protocol.
pub const PROTOCOL: u8 = 2;
/// Errors selecting input/output files, directories.
pub const FILE_SELECT: u8 = 3;
/// A process could not be started, or communication with one failed.
pub const IPC: u8 = crate::error::EXIT_IPC;
/// rsync reports this if a signal has ended one of its children. Here it is also used for an rsync that was itself ended by a signal.
pub const TERMINATED: u8 = crate::error::EXIT_TERMINATED;
/// Interrupted by SIGINT, SIGTERM or SIGHUP.
pub const INTERRUPTED: u8 = crate::error::EXIT_INTERRUPTED;
/// Some files or attributes were not transferred.
pub const PARTIAL: u8 = crate::error::EXIT_PARTIAL;
/// Some source files vanished before they could be transferred; nothing else went wrong.
pub const VANISHED: u8 = 24;
/// `--max-delete` or `--delete-limit` stopped deletions.
pub const MAX_DELETE: u8 = 25;

/// Timeout in data send/receive. Also used when the time of `--stop-after` or `--stop-at` is over.
pub const TIMEOUT: u8 = 30;

/// What an exit code means for the launch that ended with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Done.
    Done,
    /// Done, except for source entries that had vanished.
    Vanished,
    /// Done, but deletions were stopped.
    MaxDelete,
    /// Done, except for entries that were named.
    Partial,
    /// The connection failed: the same work may succeed later.
    Connection,
    /// rsync itself was ended from outside, or ran out of a resource: the same work may succeed in another attempt.
    Broken,
    /// Another attempt would fail in the same way, and so would every other launch.
    Fatal,
}

const TABLE: &[(u8, Class, &str)] = &[
    (OK, Class::Done, "success"),
    (USAGE, Class::Fatal, "syntax or usage error"),
    (PROTOCOL, Class::Fatal, "protocol incompatibility"),
    (FILE_SELECT, Class::Fatal, "errors selecting input/output files, directories"),
    (4, Class::Fatal, "requested action not supported"),
    (5, Class::Connection, "error starting the client-server protocol"),
    (6, Class::Fatal, "daemon unable to append to its log file"),
    (10, Class::Connection, "error in socket I/O"),
    (11, Class::Fatal, "error in file I/O"),
    (12, Class::Connection, "error in the rsync protocol data stream"),
    (13, Class::Broken, "errors with program diagnostics"),
    (IPC, Class::Connection, "error in IPC code"),
    (15, Class::Broken, "a process of rsync crashed"),
    (TERMINATED, Class::Broken, "a process of rsync was killed"),
    (19, Class::Broken, "received SIGUSR1"),
    (INTERRUPTED, Class::Broken, "received SIGINT, SIGTERM or SIGHUP"),
    (21, Class::Broken, "error waiting for a process"),
    (22, Class::Broken, "error allocating memory"),
    (PARTIAL, Class::Partial, "some files or attributes were not transferred"),
    (VANISHED, Class::Vanished, "some source files vanished"),
    (MAX_DELETE, Class::MaxDelete, "a limit stopped deletions"),
    (TIMEOUT, Class::Connection, "timeout in data send/receive"),
    (35, Class::Connection, "timeout waiting for the daemon"),
    (124, Class::Fatal, "the remote shell failed"),
    (125, Class::Fatal, "the remote shell was killed"),
    (126, Class::Fatal, "the remote command cannot be run"),
    (127, Class::Fatal, "the remote command was not found"),
    (255, Class::Connection, "the connection of the remote shell failed"),
];

/// Whether the launch has finished: everything that it did not do was named.
pub fn is_settled(code: u8) -> bool {
    matches!(class(code), Class::Done | Class::Vanished | Class::MaxDelete | Class::Partial)
}

/// Whether the launch broke off: the same work may succeed later.
pub fn breaks_off(code: u8) -> bool {
    matches!(class(code), Class::Connection | Class::Broken)
}

/// The class of an exit code. A code that rsync does not have comes from a remote shell or a wrapper, and is fatal.
pub fn class(code: u8) -> Class {
    TABLE.iter().find(|row| row.0 == code).map_or(Class::Fatal, |row| row.1)
}

/// A short description of an exit code.
pub fn meaning(code: u8) -> &'static str {
    TABLE.iter().find(|row| row.0 == code).map_or("not a code of rsync", |row| row.2)
}

/// The exit code of a run, combined from the codes of its parts as inside one rsync: the first fatal one, otherwise 23, otherwise 24, otherwise 25, otherwise
/// 0.
///
/// ```
/// use multi_sync::harness::rsync::exit::RunCode;
/// let mut code = RunCode::default();
/// for part in [0, 25, 24, 23, 0] { code.add(part); }
/// assert_eq!(code.get(), 23);
/// code.add(12);
/// code.add(11);
/// assert_eq!(code.get(), 12);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCode(u8);

impl RunCode {
    /// Takes the code of one part.
    pub fn add(&mut self, code: u8) {
        if rank(code) > rank(self.0) {
            self.0 = code;
        }
    }

    /// The code so far.
    pub fn get(self) -> u8 {
        self.0
    }
}

fn rank(code: u8) -> u8 {
    match code {
        OK => 0,
        MAX_DELETE => 1,
        VANISHED => 2,
        PARTIAL => 3,
        _ => 4,
    }
}

impl fmt::Display for RunCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, meaning(self.0))
    }
}

impl Ended {
    /// The exit code that it counts as: an rsync that was killed by a signal has not transferred everything, whatever it printed.
    pub fn code(self) -> u8 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(_) => TERMINATED,
            Ended::Stalled => TIMEOUT,
            Ended::NotStarted => INTERRUPTED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_code_twice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_first_fatal_code_stays() {
        for (codes, expected) in
            [(vec![], 0), (vec![24, 25], 24), (vec![24, 23], 23), (vec![12, 23, 11], 12), (vec![23, 255], 255)]
        {
            let mut code = RunCode::default();
            codes.iter().for_each(|c| code.add(*c));
            assert_eq!(code.get(), expected, "{codes:?}");
        }
    }

    #[test]
    fn only_codes_that_can_change_are_tried_again() {
        for (code, expected) in [
            (0, Class::Done),
            (1, Class::Fatal),
            (11, Class::Fatal),
            (12, Class::Connection),
            (20, Class::Broken),
            (23, Class::Partial),
            (24, Class::Vanished),
            (127, Class::Fatal),
            (77, Class::Fatal),
            (255, Class::Connection),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }
}
