//! The real rsync, for bodies that compare with it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The version of the installed rsync, such as `3.5.0`; without one `None`, and a line on standard error, once, that says so.
pub fn version() -> Option<&'static str> {
    static VERSION: OnceLock<Option<String>> = OnceLock::new();
    let found = VERSION.get_or_init(|| {
        let here = std::env::temp_dir();
        let version = run(rsync(&here).arg("--version")).ok().and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(text.split_whitespace().nth(2)?.to_owned())
        });
        if version.is_none() {
            skip("rsync is not installed");
        }
        version
    });
    found.as_deref()
}

/// Says past the capture of a test that nothing is compared.
pub fn skip(why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIP: comparison with rsync: {why}\n").as_bytes());
}

/// An empty folder, in memory where that can be: many are made.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// rsync in `cwd`, where it finds neither input nor settings of the user.
pub fn rsync(cwd: &Path) -> Command {
    let mut command = Command::new("rsync");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C").env("HOME", cwd);
    command.current_dir(cwd).stdin(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "a comparison starts the real rsync")]
pub fn run(command: &mut Command) -> std::io::Result<Output> {
    command.output()
}
