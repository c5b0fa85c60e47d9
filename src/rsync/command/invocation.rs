//! A command line as a value, and how long it may be.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use crate::rsync::options::Aliases;
use crate::supervise::Invocation;

impl Invocation {
    /// A command line of rsync that works whatever popt aliases the user has for its options.
    pub fn rsync(program: impl Into<OsString>, arguments: Vec<OsString>, cwd: impl Into<PathBuf>) -> Invocation {
        Invocation::new(program, Aliases::installed().respell(arguments), cwd)
    }

    /// Adds a remote shell, which overrides one that is already given.
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

    /// Adds a limit in KiB a second, which overrides one that is already given; 0 means no limit.
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

/// How much of the limit an argument of `length` bytes uses, including its NUL, its pointer (execve(2)), and the prefix for a source that is held open
/// (`handle`).
pub const fn argument_cost(length: usize) -> usize {
    const HANDLE: usize = "/proc/4194304/fd/65535/.".len();
    HANDLE + length + 1 + size_of::<usize>()
}

/// How many bytes the arguments of a new process may use, after this process's environment: a quarter of the stack limit, between 128 KiB and 6 MiB
/// (execve(2), "Limits on size of arguments and environment"), minus a reserve for what the kernel adds.
pub fn argument_limit() -> usize {
    const LEAST: u64 = 128 * 1024;
    const MOST: u64 = 6 * 1024 * 1024;
    const ROOM: usize = 32 * 1024;
    let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    let limit = (stack / 4).clamp(LEAST, MOST) as usize;
    let environment: usize = std::env::vars_os().map(|(name, value)| argument_cost(name.len() + 1 + value.len())).sum();
    limit.saturating_sub(environment + ROOM)
}
