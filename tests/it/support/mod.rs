//! Shared code of the tests: real programs, started on this machine only, and reliably ended.
//!
//! [`work`] creates temporary folders, [`command`] runs a command with a time limit and a readable failure, [`processes`] lists living processes, [`sshd`]
//! and [`rsyncd`] are real servers on 127.0.0.0/8, [`netns`] hosts with links of their own, [`mount`] and [`fuse`] other file systems, [`terminal`] a
//! terminal for typing, [`twin`] the comparison with one rsync. This code does not know what multi-sync should do: the tests decide what is right. A missing
//! program is an `Err`, which is passed to [`skip`]; any other problem panics, because broken test support must not look like a passed test.

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

/// Prints on stderr that `test` was not run. It bypasses the capture of the test harness, so that skipped tests can be counted with `grep 'SKIP: '` in the
/// output of a run in which everything passed.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIP: {test}: {why}\n");
    // A single write, so that lines of parallel tests do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The name of the calling test, which the harness gives to the thread, unless there is only one thread.
pub fn this_test() -> String {
    let thread = std::thread::current();
    thread.name().filter(|name| *name != "main").unwrap_or("a test").to_owned()
}

/// Whether the tests run as root: only then can owners, devices and other users be tested.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
