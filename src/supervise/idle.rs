//! Whether a child is still active: it prints, or it or a process of the same program below it reads or writes.
//!
//! A remote shell below it does not count, because it may read nothing but the keep-alive messages of the other side. The system reports what a process has
//! read and written only to the user of the process, and not for a program with capabilities. For these it is known how often they ran. If nothing is known,
//! nothing is ended.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::session;

/// How often the figures of a silent child are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between asking a child to end and killing it.
const GRACE: Duration = Duration::from_secs(2);
/// If the checks are further apart than this, this process itself was stopped, or is blocked by its own output.
const ABSENT: Duration = Duration::from_secs(2);
/// An rsync that waits for the other side wakes up once a minute (io.c, SELECT_TIMEOUT). Each process may run once in this number of seconds and still count
/// as idle.
const WAKES_EVERY: u64 = 30;

/// Watches a child, and ends it if it stalls.
pub(super) struct Idle {
    pid: Pid,
    limit: Duration,
    alive: Instant,
    called: Instant,
    looked: Instant,
    signs: Signs,
    /// How often in a row nothing was known. Nothing is known about a process that is just ending.
    unseen: u32,
    asked: Option<Instant>,
    killed: bool,
}

/// What is known about the processes of a child.
#[derive(Debug, Default, PartialEq, Eq)]
struct Signs {
    /// How much they have read and written so far (proc_pid_io(5)).
    figures: Vec<u8>,
    /// For how many processes this is not known, and how often these ran.
    others: u64,
    runs: u64,
    /// Whether there is a process about which nothing is known.
    unknown: bool,
}

impl Signs {
    /// Whether they show more activity than `before`, which was this long ago.
    fn are_news(&self, before: &Signs, since: Duration) -> bool {
        let idle_runs = self.others * (1 + since.as_secs() / WAKES_EVERY);
        self.figures != before.figures || self.others != before.others || self.runs > before.runs + idle_runs
    }
}

impl Idle {
    pub fn new(child: &Child, limit: Duration) -> Idle {
        let now = Instant::now();
        let pid = Pid::from_child(child);
        let signs = Signs::default();
        Idle { pid, limit, alive: now, called: now, looked: now, signs, unseen: 0, asked: None, killed: false }
    }

    /// Counts the child as active, because it was stopped on purpose.
    pub fn rest(&mut self) {
        self.alive = Instant::now();
    }

    /// Checks the child. Called several times a second until the child is reaped.
    pub fn look(&mut self, printed: bool) {
        let now = Instant::now();
        let absent = now.duration_since(std::mem::replace(&mut self.called, now));
        if let Some(asked) = self.asked {
            if !self.killed && now.duration_since(asked) >= GRACE {
                self.killed = true;
                session::signal(self.pid, Signal::KILL);
            }
            return;
        }
        if absent >= ABSENT {
            self.alive = (self.alive + absent).min(now);
        }
        if printed {
            self.alive = now;
            return;
        }
        if now.duration_since(self.looked) >= LOOK_EVERY.min(self.limit) {
            self.looked = now;
            let signs = signs(self.pid);
            self.unseen = if signs.unknown { self.unseen + 1 } else { 0 };
            if signs.unknown || signs.are_news(&self.signs, now.duration_since(self.alive)) {
                self.signs = signs;
                self.alive = now;
            }
        }
        if now.duration_since(self.alive) >= self.limit {
            self.asked = Some(now);
            // It may have been stopped, or have ended meanwhile.
            let _ = kill_process(self.pid, Signal::TERM);
            session::signal(self.pid, Signal::CONT);
        }
    }

    pub fn ended_it(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the system does not show if the child is active.
    pub fn is_blind(&self) -> bool {
        self.unseen > 1
    }
}

fn signs(leader: Pid) -> Signs {
    let read = |pid: &str, file: &str| fs::read(format!("/proc/{pid}/{file}")).ok().filter(|text| !text.is_empty());
    let leader = leader.as_raw_nonzero().to_string();
    let kind = read(&leader, "comm");
    let mut signs = Signs { unknown: kind.is_none(), ..Signs::default() };
    let mut left = vec![leader];
    while let Some(pid) = left.pop() {
        if read(&pid, "comm") == kind {
            let runs = || read(&pid, "schedstat").and_then(|text| times_run(&text));
            let switches = || read(&pid, "status").and_then(|text| switches(&text));
            if let Some(figures) = read(&pid, "io") {
                signs.figures.extend(figures);
            } else if let Some(runs) = runs().or_else(switches) {
                signs.others += 1;
                signs.runs += runs;
            } else {
                // It may just have ended; then the next check says so.
                signs.unknown = true;
            }
        }
        let children = read(&pid, &format!("task/{pid}/children")).unwrap_or_default();
        left.extend(String::from_utf8_lossy(&children).split_ascii_whitespace().map(str::to_owned));
    }
    signs
}

/// The third number of /proc/PID/schedstat. A system without these statistics has zeros there.
fn times_run(schedstat: &[u8]) -> Option<u64> {
    let runs = std::str::from_utf8(schedstat).ok()?.split_ascii_whitespace().nth(2)?.parse().ok()?;
    Some(runs).filter(|runs| *runs > 0)
}

/// How often a process gave up the processor (proc_pid_status(5)).
fn switches(status: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(status);
    let counts = text.lines().filter_map(|line| line.split_once("_ctxt_switches:"));
    let counts: Vec<u64> = counts.filter_map(|(_, count)| count.trim().parse().ok()).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsync_that_wakes_up_once_a_minute_is_idle() {
        let at = |runs| Signs { others: 3, runs, ..Signs::default() };
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert!(!at(100).are_news(&at(100), minutes(10)));
        assert!(!at(103).are_news(&at(100), Duration::from_secs(2)), "three processes may wake up at any moment");
        assert!(at(104).are_news(&at(100), Duration::from_secs(2)));
        assert!(!at(130).are_news(&at(100), minutes(10)));
        assert!(at(1000).are_news(&at(100), minutes(10)));
        let figures = |text: &str| Signs { figures: text.into(), ..at(100) };
        assert!(figures("rchar: 2").are_news(&figures("rchar: 1"), minutes(1)));
    }

    #[test]
    fn figures_of_the_system_are_read() {
        assert_eq!(times_run(b"5063516 2004 17\n"), Some(17));
        assert_eq!(times_run(b"0 0 0\n"), None);
        assert_eq!(switches(b"Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n"), Some(7));
        assert_eq!(switches(b"Name:\tx\n"), None);
        let this = signs(rustix::process::getpid());
        assert!(!this.unknown && !this.figures.is_empty(), "{this:?}");
    }
}
