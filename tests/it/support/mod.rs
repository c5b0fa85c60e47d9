//! What the tests share: real programs, started on this machine only, and ended for certain.
//!
//! [`work`] makes temporary folders, [`command`] runs a command under a time limit with a readable failure, [`processes`] says who is still alive,
//! [`sshd`] and [`rsyncd`] are real servers on 127.0.0.0/8, [`netns`] hosts with links of their own, [`mount`] and [`fuse`] other file systems, [`terminal`] a terminal
//! to type at, [`twin`] the comparison with one rsync. Nothing here knows what multi-sync should do: what is right is decided in the tests. A program
//! that is missing is an `Err` to be handed to [`skip`]; anything else that goes wrong panics, because a broken support must not look like a
//! passed test.

pub mod command;
pub mod daemon;
pub mod events;
pub mod fuse;
pub mod mount;
pub mod netns;
pub mod processes;
pub mod rsyncd;
pub mod slurm;
pub mod sources;
pub mod sshd;
pub mod terminal;
pub mod trees;
pub mod twin;
pub mod work;

use std::io::Write;

/// Says on stderr that `test` was not run. Written past the capture of the test harness, so that skipped tests can be counted
/// with `grep 'SKIP: '` in the output of a run where everything passed.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIP: {test}: {why}\n");
    // One write, so that lines of parallel tests do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The name of the test that calls this: the harness gives it to the thread, unless there is only one.
pub fn this_test() -> String {
    let thread = std::thread::current();
    thread.name().filter(|name| *name != "main").unwrap_or("a test").to_owned()
}

/// Whether the tests run as root: owners, devices and other users can be tried only then.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
