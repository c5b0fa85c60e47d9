//! The error type of the library: what was attempted, on what, why it failed, and what the user can do.
//!
//! It prints as `attempted: cause` (the whole chain, one line). The remedy is separate, so that the command can print it on a line of its own. This module
//! does not decide whether an error is fatal: an error that ends a run is returned, an error about one entry is a result and part of events.

use std::fmt;
use std::path::Path;

/// Exit code of rsync for "syntax or usage error" (rsync(1), EXIT VALUES).
pub const EXIT_USAGE: u8 = 1;
/// Exit code of rsync for "error in file I/O".
pub const EXIT_FILE_IO: u8 = 11;
/// Exit code of rsync for "error in IPC code": a process could not be started, or communication with it failed.
pub const EXIT_IPC: u8 = 14;
/// Exit code of rsync for "partial transfer due to error".
pub const EXIT_PARTIAL: u8 = 23;
/// Exit code of rsync for a child that was lost; here also used for internal errors.
pub const EXIT_TERMINATED: u8 = 16;
/// Exit code of rsync for "received SIGUSR1 or SIGINT".
pub const EXIT_INTERRUPTED: u8 = 20;

/// Shorthand for results of this library.
pub type Result<T> = std::result::Result<T, Error>;

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The kind of an error, for programs that decide by it. The [`Error`] itself contains the text for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong, contradictory, or not supported. The same request will fail again.
    Usage,
    /// A file or directory could not be found, read, written or removed.
    Io,
    /// A process, thread or pipe could not be created, or communication failed.
    System,
    /// An rsync that was asked something, or does a part of the work, ended with [this exit code](Error::exit_code).
    Rsync,
    /// It was cancelled.
    Interrupted,
    /// A fault of this library.
    Internal,
}

/// What was attempted on what, its cause, what the user can do, and the exit code (one of rsync's) for it.
#[derive(Debug)]
pub struct Error {
    attempted: String,
    kind: ErrorKind,
    cause: Option<Cause>,
    remedy: Option<String>,
    exit: u8,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>, exit: u8) -> Self {
        Error { attempted: message.into(), kind, cause: None, remedy: None, exit }
    }

    /// Invalid input: the message names the culprit. Exit code [`EXIT_USAGE`].
    #[doc(hidden)]
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, message, EXIT_USAGE)
    }

    /// A process, thread or pipe could not be created, or communication failed. Exit code [`EXIT_IPC`].
    #[doc(hidden)]
    pub fn system(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::System, message, EXIT_IPC)
    }

    /// A fault of this library. Exit code [`EXIT_TERMINATED`].
    #[doc(hidden)]
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message, EXIT_TERMINATED)
    }

    /// It was cancelled. Exit code [`EXIT_INTERRUPTED`].
    #[doc(hidden)]
    pub fn interrupted(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Interrupted, message, EXIT_INTERRUPTED)
    }

    /// An rsync that was needed, or the remote shell that should have started it, ended with this exit code.
    #[doc(hidden)]
    pub fn of_rsync(message: impl Into<String>, code: u8) -> Self {
        let kind = if code == EXIT_INTERRUPTED { ErrorKind::Interrupted } else { ErrorKind::Rsync };
        Error::new(kind, message, code)
    }

    /// A failed operation on something that has no path, such as a stream. Exit code [`EXIT_FILE_IO`].
    #[doc(hidden)]
    pub fn file_io(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Io, message, EXIT_FILE_IO)
    }

    /// A failed system call or file operation: `attempted` is a verb phrase such as "create bucket directory".
    /// Exit code [`EXIT_FILE_IO`].
    #[doc(hidden)]
    pub fn io(attempted: &str, path: &Path, cause: impl Into<std::io::Error>) -> Self {
        let cause: std::io::Error = cause.into();
        Error::file_io(format!("cannot {attempted} {}", crate::entry::Printable::path(path))).because(cause)
    }

    /// Adds the underlying error.
    #[doc(hidden)]
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what the user can do.
    #[doc(hidden)]
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Replaces the exit code. The kind stays the same.
    #[doc(hidden)]
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The exit code with which a command should end, one of rsync's.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    /// What the user can do, if anything is known.
    pub fn advice(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempted)?;
        let mut next: Option<&(dyn std::error::Error + 'static)> = self.cause.as_deref().map(|c| c as _);
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            // An `Error` prints its own chain, so the loop ends here.
            next = if cause.is::<Error>() { None } else { cause.source() };
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|c| c as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_that_of_the_failure_whatever_the_exit_code() {
        let cause = || std::io::Error::from(std::io::ErrorKind::NotFound);
        for (error, kind, code) in [
            (Error::usage("no source"), ErrorKind::Usage, EXIT_USAGE),
            (Error::usage("not the scanned source").exit(EXIT_PARTIAL), ErrorKind::Usage, EXIT_PARTIAL),
            (Error::system("no thread"), ErrorKind::System, EXIT_IPC),
            (Error::of_rsync("rules", EXIT_FILE_IO), ErrorKind::Rsync, EXIT_FILE_IO),
            (Error::of_rsync("the count", EXIT_INTERRUPTED), ErrorKind::Interrupted, EXIT_INTERRUPTED),
            (Error::internal("a thread panicked"), ErrorKind::Internal, EXIT_TERMINATED),
            (Error::io("read", Path::new("/x"), cause()), ErrorKind::Io, EXIT_FILE_IO),
            (Error::io("read", Path::new("/x"), cause()).exit(EXIT_USAGE), ErrorKind::Io, EXIT_USAGE),
        ] {
            assert_eq!((error.kind(), error.exit_code()), (kind, code), "{error}");
        }
    }
}
