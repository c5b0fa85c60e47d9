//! Starts a program in place of this one: with its process ID, terminal, standard streams and signals.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use multi_sync::Error;
use multi_sync::command::entry::Printable;

/// Returns only if the program cannot be started, with the reason.
pub fn start(program: &OsStr, words: &[OsString]) -> Error {
    let cause = Command::new(program).args(words).exec();
    let text = format!("cannot start {}", Printable::os(program));
    match cause.kind() {
        io::ErrorKind::NotFound => Error::usage(text).remedy("install rsync, or put its folder into PATH"),
        io::ErrorKind::PermissionDenied => {
            Error::usage(text).remedy("put the folder of an rsync that you may execute first in PATH")
        }
        _ => Error::system(text),
    }
    .because(cause)
}
