//! A command line as a value, and how long one may be.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use crate::rsync::options::Aliases;
use crate::supervise::Invocation;

impl Invocation {
    /// An rsync, whatever aliases the user has for its options.
    pub fn rsync(program: impl Into<OsString>, arguments: Vec<OsString>, cwd: impl Into<PathBuf>) -> Invocation {
        Invocation::new(program, Aliases::installed().respell(arguments), cwd)
    }

    /// Adds another remote shell, which outweighs one that is given already.
    #[must_use]
    pub fn through(self, rsh: OsString) -> Invocation {
        self.with(vec!["-e".into(), rsh])
    }

    /// Adds a log file.
    #[must_use]
    pub fn logging(self, file: &OsStr) -> Invocation {
        let mut option = OsString::from("--log-file=");
        option.push(file);
        self.with(vec![option])
    }

    /// Adds a limit in KiB a second, which outweighs one that is given already; 0 is none.
    #[must_use]
    pub fn limited(self, kib: u64) -> Invocation {
        self.with(vec![format!("--bwlimit={kib}").into()])
    }

    fn with(mut self, options: Vec<OsString>) -> Invocation {
        // The last `--` ends the options: what follows it are paths.
        let end = self.arguments.iter().rposition(|word| word == "--").unwrap_or(self.arguments.len());
        self.arguments.splice(end..end, Aliases::installed().respell(options));
        self
    }
}

/// What an argument of `length` bytes takes of the limit: also its NUL and its pointer (execve(2)), and what leads to a source that is
/// held open (`handle`).
pub const fn argument_cost(length: usize) -> usize {
    const HANDLE: usize = "/proc/4194304/fd/65535/.".len();
    HANDLE + length + 1 + size_of::<usize>()
}

/// Bytes that the arguments of a new process may take, after this process's environment: a quarter of the stack limit, between
/// 128 KiB and 6 MiB (execve(2), "Limits on size of arguments and environment"), less some room for what the kernel adds.
pub fn argument_limit() -> usize {
    const LEAST: u64 = 128 * 1024;
    const MOST: u64 = 6 * 1024 * 1024;
    const ROOM: usize = 32 * 1024;
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    let limit = (stack / 4).clamp(LEAST, MOST) as usize;
    let environment: usize = std::env::vars_os().map(|(name, value)| argument_cost(name.len() + 1 + value.len())).sum();
    limit.saturating_sub(environment + ROOM)
}
