//! The one error type of the library: what was attempted, on what, why it failed, what to do.
//!
//! It prints as `attempted: cause` (the whole chain, one line); the remedy is kept apart so that the command can print it on a
//! line of its own. Nothing here decides whether an error is fatal: an error that stops a run is returned, an error about one entry
//! is a result and travels in events.

use std::fmt;
use std::path::Path;

/// Exit code of rsync for "syntax or usage error" (rsync(1), EXIT VALUES).
pub const EXIT_USAGE: u8 = 1;
/// Exit code of rsync for "error in file I/O".
pub const EXIT_FILE_IO: u8 = 11;
/// Exit code of rsync for "error in IPC code": a process or the way to one could not be had.
pub const EXIT_IPC: u8 = 14;

/// Shorthand for results of this library.
pub type Result<T> = std::result::Result<T, Error>;

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What was attempted on what, its cause, what to do about it, and the exit code (rsync's numbers) it stands for.
#[derive(Debug)]
pub struct Error {
    attempted: String,
    cause: Option<Cause>,
    remedy: Option<String>,
    exit: u8,
}

impl Error {
    /// Bad input: the message names the culprit. Exit code [`EXIT_USAGE`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error { attempted: message.into(), cause: None, remedy: None, exit: EXIT_USAGE }
    }

    /// A failed system call or file operation: `attempted` is a verb phrase such as "create bucket directory".
    /// Exit code [`EXIT_FILE_IO`].
    pub fn io(attempted: &str, path: &Path, cause: impl Into<std::io::Error>) -> Self {
        Error {
            attempted: format!("cannot {attempted} {}", crate::entry::Printable::path(path)),
            cause: Some(Box::new(cause.into())),
            remedy: None,
            exit: EXIT_FILE_IO,
        }
    }

    /// Adds the error behind this one.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    /// The exit code a command should end with, in rsync's numbers.
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
            // An `Error` prints its own chain.
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
