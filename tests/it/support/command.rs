//! Runs a command with a time limit. A failure prints everything that is needed to repeat it by hand.
//!
//! A command is a `std::process::Command` built here ([`multi_sync`], [`rsync`], [`sh`]) with an environment without any settings of the user that could
//! change what rsync or ssh do. [`run`] waits for it; [`start`] returns it while it runs, for tests that send signals. Neither passes on standard input.
#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use super::daemon::helper;
use super::processes;
use super::work::{NOBODY, Work, reachable_by_all, set_mode};

/// The time limit of [`run`]: far more than a test needs, short enough for a hanging one to be noticed.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The environment variable by which [`processes::marked`] finds all processes that a command has started.
pub const MARK: &str = "MULTI_SYNC_LAB_MARK";

/// How long pipes may stay open after the command itself has ended, if a process that it left behind holds them.
const LEAK_LIMIT: Duration = Duration::from_secs(2);

/// The multi-sync of this build, in a clean environment, with the work folder as working directory.
pub fn multi_sync(work: &Work) -> Command {
    command(work, env!("CARGO_BIN_EXE_multi-sync"))
}

/// The first two numbers of the version of the installed rsync.
pub fn rsync_version(work: &Work) -> (u32, u32) {
    let mut command = rsync(work);
    command.arg("--version");
    let said = run(command).stdout_text();
    let number = said.split("version ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The rsync of this machine, in the same environment.
pub fn rsync(work: &Work) -> Command {
    command(work, "rsync")
}

/// A shell script, in the same environment.
pub fn sh(work: &Work, script: &str) -> Command {
    let mut command = command(work, "sh");
    command.arg("-c").arg(script);
    command
}

/// Any program, in the same environment.
pub fn command(work: &Work, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let unwanted =
        ["RSYNC_", "MULTI_SYNC_", "SSH_", "LC_", "LANG", "XDG_", "POPT_", "RUST_LOG", "NO_COLOR", "CLICOLOR"];
    for (name, _) in std::env::vars_os() {
        if unwanted.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("TMPDIR", work.join("tmp")).env("HOME", work.join("home"));
    command.env("XDG_STATE_HOME", work.join("state"));
    command.current_dir(work.path());
    command
}

/// A program that every user can execute: itself, or a copy in `work` if it was built under /root.
pub fn for_all(work: &Work, program: &OsStr) -> PathBuf {
    // No thread may start the copy while it is being written.
    static COPYING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let program = PathBuf::from(program);
    if !program.is_absolute() || reachable_by_all(&program) {
        return program;
    }
    let copy = work.dir("bin").join(program.file_name().expect("a program has a name"));
    let _copying = COPYING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !copy.exists() {
        copy_program(&program, &copy);
    }
    copy
}

/// Copies with a separate process: otherwise a child that another thread starts at the same time would hold the file open for writing, and such a file cannot
/// be executed (execve(2), `ETXTBSY`).
pub fn copy_program(program: &Path, copy: &Path) {
    let new = copy.with_extension("new");
    helper(Command::new("cp").arg(program).arg(&new)).expect("copy a program");
    set_mode(&new, 0o755);
    std::fs::rename(&new, copy).expect("name a copy");
}

/// The same command as user and group nobody, without other groups, if the tests run as root; unchanged otherwise.
///
/// The caller must provide the folders that it needs ([`Work::public`], [`Work::dir_for_nobody`]). A program that nobody cannot reach, such as one built
/// under /root, is copied into `work`.
pub fn as_nobody(work: &Work, command: Command) -> Command {
    as_user(work, command, NOBODY)
}

/// The same as another user, who need not exist.
pub fn as_user(work: &Work, command: Command, user: u32) -> Command {
    if !super::is_root() {
        return command;
    }
    let mut other = Command::new(for_all(work, command.get_program()));
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        other.current_dir(dir);
    }
    // std calls setgroups(0) when root gives itself another user.
    other.uid(user).gid(user);
    other
}

/// Runs to the end, for at most [`LIMIT`].
#[track_caller]
pub fn run(command: Command) -> Run {
    run_within(command, LIMIT)
}

/// Runs to the end, for at most `limit`; then all processes that it has started are killed.
#[track_caller]
pub fn run_within(command: Command, limit: Duration) -> Run {
    start(command).finish(limit)
}

/// Starts in a process group of its own. Remaining processes are killed when the [`Started`] is dropped.
#[track_caller]
pub fn start(mut command: Command) -> Started {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let shown = shown(&command);
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos());
    let mark = format!("lab-{}-{}-{nanos}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    command.env(MARK, &mark).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            Ok(child) => break child,
            // A program that was just copied stays open for writing in a child that another thread is forking, until this child executes its program.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::TXTBSY.raw_os_error()) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(e) => panic!("cannot start {shown}: {e}"),
        }
    };
    let stdout = Capture::new(child.stdout.take().expect("piped"));
    let stderr = Capture::new(child.stderr.take().expect("piped"));
    Started { child, mark, shown, since: Instant::now(), stdout, stderr }
}

/// A running command.
pub struct Started {
    child: Child,
    mark: String,
    shown: String,
    since: Instant,
    stdout: Capture,
    stderr: Capture,
}

impl Started {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The mark by which [`processes::marked`] finds this command and all processes that it has started.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Sends a signal to the command alone, not to its group.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.shown));
    }

    /// Sends a signal to the group, as a terminal does for ^C.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|e| panic!("signal {}: {e}", self.shown));
    }

    /// Polls `condition` until it is true; panics if the command ends or `limit` is over before.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, limit: Duration, mut condition: impl FnMut(&Started) -> bool) {
        let end = Instant::now() + limit;
        while !condition(self) {
            let ended = self.child.try_wait().expect("wait for a child");
            assert!(ended.is_none(), "ended ({}) before {what}: {}", ended.unwrap(), self.shown);
            assert!(Instant::now() < end, "no {what} within {limit:?}: {}", self.shown);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What has been written to standard error so far.
    pub fn stderr_so_far(&self) -> Vec<u8> {
        self.stderr.bytes.lock().expect("a reader panicked").clone()
    }

    /// What has been written to standard output so far.
    pub fn stdout_so_far(&self) -> Vec<u8> {
        self.stdout.bytes.lock().expect("a reader panicked").clone()
    }

    /// Waits for the end, for at most `limit`; then everything is killed, and the result says so.
    pub fn finish(mut self, limit: Duration) -> Run {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        let mut over_limit = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if Instant::now() >= end {
                over_limit = true;
                self.kill_all();
                break self.child.wait().expect("wait for a child");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let elapsed = self.since.elapsed();
        let leaked = !self.stdout.ended() | !self.stderr.ended();
        Run {
            status,
            stdout: self.stdout_so_far(),
            stderr: self.stderr_so_far(),
            elapsed,
            over_limit,
            leaked,
            mark: self.mark.clone(),
            shown: self.shown.clone(),
            listed: Vec::new(),
        }
    }

    fn kill_all(&self) {
        // The group first, at once; then processes with groups or sessions of their own.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        processes::kill_until_gone(|| processes::marked(&self.mark));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // After a command was waited for, remaining processes, such as a connection master, may be intended: the test has to deal with them.
        if let Ok(None) = self.child.try_wait() {
            self.kill_all();
            let _ = self.child.wait();
        }
    }
}

/// A pipe that a thread reads to its end. Its contents are available meanwhile.
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: mpsc::Receiver<()>,
}

impl Capture {
    fn new(mut pipe: impl Read + Send + 'static) -> Capture {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = mpsc::channel();
        let filled = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                filled.lock().expect("the test panicked").extend_from_slice(&buffer[..count]);
            }
            let _ = ended.send(());
        });
        Capture { bytes, end }
    }

    /// Whether the pipe has ended; waits for at most [`LEAK_LIMIT`].
    fn ended(&self) -> bool {
        self.end.recv_timeout(LEAK_LIMIT).is_ok()
    }
}

/// A command that has ended.
pub struct Run {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub elapsed: Duration,
    /// Whether it was killed because it took too long.
    pub over_limit: bool,
    /// Whether a process that it left behind still held one of its pipes.
    pub leaked: bool,
    /// The mark for [`processes::marked`].
    pub mark: String,
    shown: String,
    listed: Vec<PathBuf>,
}

impl Run {
    /// Folders that are listed if an expectation fails.
    #[must_use]
    pub fn listing<P: AsRef<Path>>(mut self, dirs: impl IntoIterator<Item = P>) -> Run {
        self.listed.extend(dirs.into_iter().map(|dir| dir.as_ref().to_path_buf()));
        self
    }

    /// Panics with all details unless the command ended by itself with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Run {
        if self.over_limit || self.status.code() != Some(code) {
            panic!("expected exit code {code}\n{}", self.report());
        }
        self
    }

    /// Panics with all details, and `message`, unless `condition`.
    #[track_caller]
    pub fn expect(self, condition: bool, message: &str) -> Run {
        if !condition {
            panic!("{message}\n{}", self.report());
        }
        self
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The command as it can be typed, how it ended, both streams, and the folders of [`Run::listing`].
    pub fn report(&self) -> String {
        let mut text = format!("command: {}\n", self.shown);
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => self.status.to_string(),
        };
        let limit = if self.over_limit { ", killed at the time limit" } else { "" };
        let leak = if self.leaked { ", a pipe was left open" } else { "" };
        let _ = writeln!(text, "ended:   {how} after {:.2?}{limit}{leak}", self.elapsed);
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let _ = writeln!(text, "{name} ({} bytes):", bytes.len());
            let tail = &bytes[bytes.len().saturating_sub(32 * 1024)..];
            for line in tail.split_inclusive(|&byte| byte == b'\n') {
                let _ = writeln!(text, "  {}", printable(line.strip_suffix(b"\n").unwrap_or(line)));
            }
        }
        for dir in &self.listed {
            let _ = writeln!(text, "listing of {}:", quoted(dir.as_os_str()));
            let mut left = 300;
            list(dir, dir, &mut left, &mut text);
        }
        text
    }
}

fn list(top: &Path, dir: &Path, left: &mut u32, text: &mut String) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            let _ = writeln!(text, "  {}: {e}", quoted(dir.as_os_str()));
            return;
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let name = quoted(path.strip_prefix(top).unwrap_or(&path).as_os_str());
        match path.symlink_metadata() {
            Ok(meta) => {
                let target =
                    std::fs::read_link(&path).map_or(String::new(), |t| format!(" -> {}", quoted(t.as_os_str())));
                let (mode, uid, gid) = (meta.permissions().mode(), meta.uid(), meta.gid());
                let (size, time, nanos) = (meta.size(), meta.mtime(), meta.mtime_nsec());
                let _ = writeln!(text, "  {mode:06o} {uid}:{gid} {size:>9} {time}.{nanos:09} {name}{target}");
                if meta.is_dir() {
                    list(top, &path, left, text);
                }
            }
            Err(e) => {
                let _ = writeln!(text, "  {name}: {e}");
            }
        }
    }
    if *left == 0 {
        let _ = writeln!(text, "  ... (more entries)");
    }
}

/// The command as a line for a shell (bash if a name is not plain text), including working directory and environment.
pub fn shown(command: &Command) -> String {
    let mut line = String::new();
    if let Some(dir) = command.get_current_dir() {
        let _ = write!(line, "cd {} && ", quoted(dir.as_os_str()));
    }
    let removed =
        command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| format!("-u {}", quoted(name)));
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let set = set.map(|(name, value)| format!("{}={}", name.to_string_lossy(), quoted(value)));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    let env: Vec<_> = removed.chain(set).collect();
    if !env.is_empty() {
        let _ = write!(line, "env {} ", env.join(" "));
    }
    line.push_str(&words.collect::<Vec<_>>().join(" "));
    line
}

/// A word for a shell: bare, in single quotes, or as `$'...'` if it is not printable ASCII.
pub fn quoted(word: &OsStr) -> String {
    let bytes = word.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        word.to_string_lossy().into_owned()
    } else if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
    } else {
        // escape_ascii also escapes double quotes, which bash accepts.
        format!("$'{}'", bytes.escape_ascii())
    }
}

fn printable(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\t') => text.to_owned(),
        _ => line.escape_ascii().to_string(),
    }
}
