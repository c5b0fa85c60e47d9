//! What is started: a program, its arguments, and its working directory.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::entry::Printable;

/// A program with its arguments and its working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program, looked up in `PATH` if it contains no slash.
    pub program: OsString,
    /// Arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Environment variables that it gets in addition to those of this process.
    pub environment: Vec<(OsString, OsString)>,
    /// The data on its standard input; nothing if empty.
    pub input: Vec<u8>,
    /// Whether standard input stays open until the process ends, so that the remote end notices when this process is gone.
    pub held: bool,
    /// Whether it may ask at the terminal. It is then started as a shell starts a command, in the session and the process group of this process, and the
    /// terminal's signals reach it. Any other process has no terminal.
    pub asks: bool,
}

impl Invocation {
    /// A program without input.
    pub fn new(program: impl Into<OsString>, arguments: Vec<OsString>, cwd: impl Into<PathBuf>) -> Invocation {
        Invocation {
            program: program.into(),
            arguments,
            cwd: cwd.into(),
            environment: Vec::new(),
            input: Vec::new(),
            held: false,
            asks: false,
        }
    }
}

impl fmt::Display for Invocation {
    /// In a form that a POSIX shell would read, except for names with bytes that must not be sent to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Quoted(&self.program))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", Quoted(argument)))
    }
}

/// One word, quoted for a POSIX shell and safe to print.
pub struct Quoted<'a>(pub &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            Some(text) if !text.contains(char::is_control) => f.write_str(&shell_words::quote(text)),
            _ => write!(f, "'{}'", Printable::os(self.0)),
        }
    }
}
