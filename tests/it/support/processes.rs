//! Living processes: the process table read from /proc, searched by ancestry or by a mark.
//!
//! A mark is a text that no other process has in its command line or environment: the path of a temporary folder, or the value that
//! [`command`](super::command) adds to the environment of its processes. Children inherit it, so that orphans are found too.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process that had not ended when the table was read. Zombies are not included.
#[derive(Debug)]
pub struct Live {
    pub pid: i32,
    pub parent: i32,
    /// The command line, joined with spaces; for messages.
    pub command: String,
    cmdline: Vec<u8>,
}

/// Processes with `mark` in their command line or environment, except this one.
///
/// The environment is that with which a process was started, and is readable only for root or the same user.
pub fn marked(mark: &str) -> Vec<Live> {
    let mark = mark.as_bytes();
    let has = |text: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    all()
        .into_iter()
        .filter(|live| {
            has(&live.cmdline) || fs::read(format!("/proc/{}/environ", live.pid)).is_ok_and(|environ| has(&environ))
        })
        .collect()
}

/// Children of `pid`, their children, and so on. A child whose parent has died belongs to init and is not found.
pub fn descendants(pid: u32) -> Vec<Live> {
    let mut rest = all();
    let mut family = vec![i32::try_from(pid).expect("a pid")];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        let (children, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|live| live.parent == parent);
        family.extend(children.iter().map(|live| live.pid));
        found.extend(children);
        rest = others;
    }
    found
}

/// Panics with the list if a process with `mark` is still alive after `limit`.
#[track_caller]
pub fn expect_gone(mark: &str, limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        if Instant::now() >= end {
            let list: Vec<_> =
                left.iter().map(|l| format!("  {} (parent {}): {}", l.pid, l.parent, l.command)).collect();
            panic!("after {limit:?} still alive with mark {mark:?}:\n{}", list.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills the processes that `find` returns with SIGKILL, again and again, because a process may fork while it is being killed.
pub fn kill_until_gone(find: impl Fn() -> Vec<Live>) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let left = find();
        if left.is_empty() || Instant::now() >= end {
            return;
        }
        for pid in left.iter().filter_map(|live| Pid::from_raw(live.pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn all() -> Vec<Live> {
    let this = i32::try_from(std::process::id()).expect("a pid");
    fs::read_dir("/proc")
        .expect("the tests need /proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != this)
        .filter_map(read)
        .collect()
}

/// `None` for a process that has ended meanwhile, including zombies.
fn read(pid: i32) -> Option<Live> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): "pid (name) state ppid ..."; the name may contain anything, including brackets.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&cmdline).trim_end_matches('\0').replace('\0', " ");
    Some(Live { pid, parent, command, cmdline })
}
