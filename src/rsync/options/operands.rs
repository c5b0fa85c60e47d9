//! A whole command line of rsync: options and, anywhere among them, sources and destination.

use super::reader::read_words;
use super::{Aliases, Options};
use crate::Result;
use std::ffi::{OsStr, OsString};

/// Where words that are no options may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Nowhere.
    Refused,
    /// Among the options, as popt takes them.
    Anywhere,
    /// After the first of them there are no more options.
    Last,
}

/// What follows the word `rsync` on a command line, as popt reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The options, in order.
    pub options: Options,
    /// Sources and, last, the destination.
    pub operands: Vec<OsString>,
}

impl CommandLine {
    /// Reads words that a shell has split already. With `posix` the first operand ends the options ([`CommandLine::is_posix`]).
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
    /// As [`Options::parse_with`], but for words that are no options.
    pub fn parse<S: AsRef<OsStr>>(words: &[S], aliases: &Aliases, posix: bool) -> Result<CommandLine> {
        let read = read_words(words, aliases, if posix { Operands::Last } else { Operands::Anywhere })?;
        Ok(CommandLine { options: Options { settings: read.settings }, operands: read.operands })
    }

    /// Whether popt has been told not to look for options behind the first operand (popt(3), `POPT_CONTEXT_POSIXMEHARDER`).
    pub fn is_posix() -> bool {
        ["POSIXLY_CORRECT", "POSIX_ME_HARDER"].into_iter().any(|name| std::env::var_os(name).is_some())
    }
}
