//! What is started: a program, its arguments, and where.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::entry::Printable;

/// A program with its arguments and the directory it starts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Program, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Variables that it gets beside those of this process.
    pub environment: Vec<(OsString, OsString)>,
    /// What it reads from standard input; nothing if empty.
    pub input: Vec<u8>,
    /// Standard input stays open until the process ends: what is at its other end learns that way that this process is gone.
    pub held: bool,
    /// It may ask at the terminal: it is started as a shell starts a command, in the session and the process group of this process, and the
    /// terminal's signals reach it. Anything else has no terminal.
    pub asks: bool,
}

impl Invocation {
    /// A program that reads nothing.
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
    /// As a POSIX shell would read it, but for names with bytes that no terminal should get.
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
