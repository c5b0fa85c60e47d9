//! The machine of the measurements. Without it, the figures mean nothing to others.

use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::entry::Printable;
use crate::error::Result;
use crate::size;
use crate::trial::{self, Stopper};

/// The machine and the programs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub date: String,
    pub multi_sync: String,
    pub rsync: String,
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub memory: String,
    /// The load average of the last minute, before the first run.
    pub load: String,
}

impl Machine {
    pub fn look(cwd: &Path, stopper: &Stopper) -> Result<Machine> {
        let rsync = trial::rsync(vec!["--version".into()], cwd, stopper)?;
        let first = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |path: &str, key: &str| {
            let text = first(path);
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
            found.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
        };
        let memory = after("/proc/meminfo", "MemTotal");
        let kilobytes = memory.strip_suffix("kB").and_then(|number| number.trim().parse::<u64>().ok());
        Ok(Machine {
            date: jiff::Timestamp::now().strftime("%F %T UTC").to_string(),
            multi_sync: env!("CARGO_PKG_VERSION").into(),
            rsync: version(rsync.output.said_first().unwrap_or_default()),
            kernel: first("/proc/sys/kernel/osrelease").trim().into(),
            processor: after("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            memory: kilobytes.map_or(memory, |kilobytes| size::human(kilobytes << 10)),
            load: first("/proc/loadavg").split_whitespace().next().unwrap_or("unknown").into(),
        })
    }
}

/// The version in a line such as `rsync  version 3.2.7  protocol version 31`.
fn version(line: &str) -> String {
    let found = line.split("version").nth(1).and_then(|rest| rest.split_whitespace().next());
    found.unwrap_or("unknown").to_owned()
}

/// The type of the file system of `path`, from proc_pid_mountinfo(5).
pub(super) fn file_system(path: &Path) -> String {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    kind_at(&mounts, &path).unwrap_or_else(|| "unknown file system".into())
}

/// The type for the longest mount point above the path; if several have the same mount point, for the last one.
fn kind_at(mounts: &[u8], path: &Path) -> Option<String> {
    let mounted = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let point = unescaped(fields.get(4)?);
        let kind = fields.iter().position(|field| *field == b"-").and_then(|dash| fields.get(dash + 1).copied())?;
        path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&point))).then(|| (point.len(), kind.to_vec()))
    };
    let lines = mounts.split(|byte| *byte == b'\n');
    let (_, kind) = lines.filter_map(mounted).max_by_key(|(length, _)| *length)?;
    Some(Printable::bytes(&kind).to_string())
}

/// Decodes a field, in which blanks and some other characters are written as octal numbers.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_path_is_that_of_the_longest_mount_point() {
        let mounts = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:2 / /dev rw shared:1 - devtmpfs none rw\n\
            3 2 0:3 / /dev/shm rw - tmpfs none rw\n\
            4 1 0:4 / /with\\040blank rw - xfs none rw\n";
        for (path, kind) in
            [("/home/me", "ext4"), ("/dev/shm/x", "tmpfs"), ("/dev/null", "devtmpfs"), ("/with blank/x", "xfs")]
        {
            assert_eq!(kind_at(mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert_eq!(version("rsync  version 3.2.7  protocol version 31"), "3.2.7");
    }
}
