//! FUSE file systems for the tests, each a C program next to this file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::command::{Started, command, run, start};
use super::daemon::helper;
use super::work::Work;

const SOON: Duration = Duration::from_secs(60);

/// A mounted file system; it is unmounted when this value is dropped.
pub struct Fuse<'a> {
    work: &'a Work,
    pub path: PathBuf,
    server: Option<Started>,
}

impl<'a> Fuse<'a> {
    /// Builds `program`, the name of a C file in this directory, and mounts it on `name` in the work folder. `words` come before the mount point. `Err` says
    /// what is missing.
    pub fn mount(work: &'a Work, program: &str, words: &[OsString], name: &str) -> Result<Fuse<'a>, String> {
        Fuse::mount_told(work, program, words, &[], name)
    }

    /// The same for a program that is configured by environment variables.
    pub fn mount_told(
        work: &'a Work,
        program: &str,
        words: &[OsString],
        variables: &[(&str, &OsStr)],
        name: &str,
    ) -> Result<Fuse<'a>, String> {
        let program = build(program)?;
        let path = work.dir(name);
        let mut server = command(work, program);
        server.args(words).arg("-f").arg(&path).envs(variables.iter().copied());
        let mounted = Fuse { work, server: Some(start(server)), path };
        for _ in 0..100 {
            if mounted.is_mounted() {
                return Ok(mounted);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("FUSE cannot be mounted".into())
    }

    fn is_mounted(&self) -> bool {
        let path = self.path.to_str().expect("the path of a work folder is UTF-8");
        fs::read_to_string("/proc/self/mounts").expect("the tests need /proc").contains(path)
    }
}

/// Builds a C program in this directory, once for all tests of a process.
///
/// # Errors
/// What is missing.
pub fn build(program: &str) -> Result<PathBuf, String> {
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(program).with_extension("c");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}.{}", std::process::id()));
        let mut build = Command::new("sh");
        build.args(["-c", "cc -o \"$1\" \"$2\" $(pkg-config --cflags --libs fuse3)", "sh"]).arg(&path).arg(source);
        let missing = |why| format!("no C compiler, or no libfuse3 with its headers: {why}");
        helper(&mut build).map(|_| path).map_err(missing)
    };
    built.entry(program.to_owned()).or_insert_with(make).clone()
}

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        let unmount = if super::is_root() { ["umount", "-l"] } else { ["fusermount3", "-uz"] };
        let mut unmounted = command(self.work, unmount[0]);
        unmounted.arg(unmount[1]).arg(&self.path);
        run(unmounted);
        let server = self.server.take().expect("ended once");
        server.signal(super::command::Signal::TERM);
        server.finish(SOON);
    }
}
