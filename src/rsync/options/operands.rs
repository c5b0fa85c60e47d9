//! A whole command line of rsync: options and, anywhere among them, sources and destination.

use super::reader::read_words;
use super::{Aliases, Options};
use crate::Result;
use std::ffi::{OsStr, OsString};

/// Where words that are not options are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Nowhere.
    Refused,
    /// Among the options, as popt allows.
    Anywhere,
    /// After the options: the first of them ends the options.
    Last,
}

/// The words after `rsync` on a command line, as popt reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The options, in order.
    pub options: Options,
    /// The sources and, as the last one, the destination.
    pub operands: Vec<OsString>,
}

impl CommandLine {
    /// Reads words that a shell has already split. If `posix`, the first operand ends the options ([`CommandLine::is_posix`]).
    ///
    /// ```
    /// use multi_sync::harness::rsync::options::{Aliases, CommandLine};
    /// let words = ["src/", "-av", "--exclude", "*.tmp", "host:dst", "--", "-odd"];
    /// let line = CommandLine::parse(&words, &Aliases::default(), false)?;
    /// assert_eq!(line.operands, ["src/", "host:dst", "-odd"]);
    /// assert_eq!(line.options.argv(), ["-a", "-v", "--exclude=*.tmp"]);
    /// # Ok::<(), multi_sync::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::parse_with`], except that words that are not options are allowed.
    pub fn parse<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases, posix: bool) -> Result<CommandLine> {
        let read = read_words(words, aliases, if posix { Operands::Last } else { Operands::Anywhere })?;
        Ok(CommandLine { options: Options { settings: read.settings }, operands: read.operands })
    }

    /// Whether the environment tells popt not to look for options after the first operand (popt(3), `POPT_CONTEXT_POSIXMEHARDER`).
    pub fn is_posix() -> bool {
        ["POSIXLY_CORRECT", "POSIX_ME_HARDER"].into_iter().any(|name| std::env::var_os(name).is_some())
    }
}
