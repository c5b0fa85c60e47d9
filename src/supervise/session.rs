//! The processes of a session, read from /proc, and how they are ended in an order in which rsync removes its temporary files.
//!
//! A launch leads a session. The processes that it starts belong to the session, also after the leader has died, unless they make a session of their own: a
//! daemon, such as a master connection of ssh, is left alone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// After this time all processes of a session are asked to end, not only those on which the others depend.
const ASK_ALL: Duration = Duration::from_secs(2);
/// After this time they are killed.
const KILL: Duration = Duration::from_secs(5);
/// If a killed process is still there after this time, it is not waited for, because it hangs in the kernel with a disk or a server.
const DEAD: Duration = Duration::from_secs(1);
/// How long a leader may take to end after the signal that the system gave it when its parent died.
const LEADER: Duration = Duration::from_millis(200);
/// How long a launch that ends with its input may take to end by itself: its remote end may be far away.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process that was asked to end may stay in one system call without doing anything.
const STUCK: Duration = Duration::from_millis(600);
/// How often a session that is ending is checked.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the system tells about a process (proc_pid_stat(5)). Everybody may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub pid: Pid,
    pub parent: i32,
    pub session: i32,
    state: u8,
    /// The processor time that it has used, in clock ticks.
    ticks: u64,
    /// When it was started, in clock ticks since the start of the system. This distinguishes processes with the same PID.
    pub started: u64,
}

impl Stat {
    pub fn of(pid: Pid) -> Option<Stat> {
        Stat::read(pid, &fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
    }

    fn read(pid: Pid, text: &[u8]) -> Option<Stat> {
        // The name, in parentheses, may contain anything.
        let name_ends = text.iter().rposition(|byte| *byte == b')')?;
        let fields: Vec<&str> = std::str::from_utf8(&text[name_ends + 1..]).ok()?.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        Some(Stat {
            pid,
            state: *fields.first()?.as_bytes().first()?,
            parent: number(1)?,
            session: number(3)?,
            ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it is in a system call that only SIGKILL can end, such as an access to a file whose server does not answer.
    fn waits_in_kernel(&self) -> bool {
        self.state == b'D'
    }

    /// Whether it was stopped by a signal, not by a debugger.
    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Kills processes that a thread of this process has forked and that have not executed their program yet.
pub(super) fn kill_starting(thread: Pid, guardian: Option<Pid>) {
    let Ok(own) = fs::read_link("/proc/self/exe") else { return };
    let path = format!("/proc/self/task/{}/children", thread.as_raw_nonzero());
    let children = fs::read_to_string(path).unwrap_or_default();
    let is_us = |child: &Pid| {
        fs::read_link(format!("/proc/{}/exe", child.as_raw_nonzero())).is_ok_and(|program| program == own)
    };
    let number = |child: &str| Pid::from_raw(child.parse().ok()?);
    // The guardian is a fork of the main thread, and stays what it is.
    let starting = children.split_ascii_whitespace().filter_map(number).filter(|child| Some(*child) != guardian);
    for child in starting.filter(is_us) {
        let _ = kill_process(child, Signal::KILL);
    }
}

/// All current processes; `None` if the system does not tell.
pub(super) fn table() -> Option<Vec<Stat>> {
    let pid = |entry: fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(pid);
    let all: Vec<Stat> = pids.filter_map(Stat::of).filter(Stat::is_alive).collect();
    // /proc may be an empty directory.
    (!all.is_empty()).then_some(all)
}

/// The processes of the session of this leader. If it leads none, because it shares the session of its parent, the processes that it has started.
pub(super) fn of(leader: Pid, table: &[Stat]) -> Vec<&Stat> {
    let number = leader.as_raw_nonzero().get();
    let shares = |process: &&Stat| process.pid == leader && process.session != number;
    let mut found: Vec<&Stat> = table.iter().filter(shares).collect();
    if found.is_empty() {
        return table.iter().filter(|process| process.session == number).collect();
    }
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|process| process.pid.as_raw_nonzero().get()) {
        found.extend(table.iter().filter(|process| process.parent == parent));
        at += 1;
    }
    found
}

/// Signals the process group of a leader or, if it leads none, the processes that it has started.
pub(super) fn signal(leader: Pid, signal: Signal) {
    if kill_process_group(leader, signal).is_err()
        && let Some(table) = table()
    {
        // They may have ended meanwhile.
        for process in of(leader, &table) {
            let _ = kill_process(process.pid, signal);
        }
    }
}

/// Processes that were asked to end but cannot react, because they have been in the kernel for [`STUCK`] without doing anything. Other processes of the
/// launch clean up after them.
#[derive(Default)]
pub(super) struct Stuck(HashMap<Pid, (u64, u64, Instant)>);

impl Stuck {
    /// Kills those processes in `asked` that are stuck.
    pub fn end(&mut self, asked: &[&Stat]) {
        let now = Instant::now();
        let waits = |pid: &Pid| asked.iter().any(|process| process.pid == *pid && process.waits_in_kernel());
        self.0.retain(|pid, _| waits(pid));
        for process in asked.iter().filter(|process| process.waits_in_kernel()) {
            let is = (process.started, process.ticks);
            let (started, ticks, since) = self.0.entry(process.pid).or_insert((is.0, is.1, now));
            if (*started, *ticks) != is {
                (*started, *ticks, *since) = (is.0, is.1, now);
            } else if now.duration_since(*since) >= STUCK {
                // It may have ended meanwhile, or belong to another user.
                let _ = kill_process(process.pid, Signal::KILL);
            }
        }
    }
}

/// Ends the rest of a session: first the processes whose parent is not in the session, which is how rsync ends its own processes; after two seconds all
/// processes; after five seconds with SIGKILL.
pub(super) struct Ending {
    leader: Pid,
    began: Instant,
    /// Until then the leader is expected to end by itself.
    spared: Instant,
    asked: HashSet<Pid>,
    asked_all: bool,
    killed: Option<Instant>,
    stuck: Stuck,
}

impl Ending {
    pub fn new(leader: Pid) -> Ending {
        let now = Instant::now();
        Ending {
            leader,
            began: now,
            spared: now,
            asked: HashSet::new(),
            asked_all: false,
            killed: None,
            stuck: Stuck::default(),
        }
    }

    /// For a leader that has already got a signal from the system.
    pub fn of_orphan(leader: Pid) -> Ending {
        let ending = Ending::new(leader);
        Ending { spared: ending.began + LEADER, ..ending }
    }

    /// For a leader whose input has ended, and which ends with it.
    pub fn of_patient(leader: Pid) -> Ending {
        let ending = Ending::new(leader);
        let began = ending.began + PATIENCE;
        Ending { began, spared: began, ..ending }
    }

    /// Does the next step. Returns true when nothing is left, or nothing more can be done.
    pub fn step(&mut self, table: Option<&[Stat]>, firmly: bool) -> bool {
        if Instant::now() < self.began && !table.is_some_and(|table| of(self.leader, table).is_empty()) {
            return false;
        }
        let Some(table) = table else { return self.without_table(firmly) };
        let left = of(self.leader, table);
        if left.is_empty() {
            return true;
        }
        let send = |process: &Stat, signal| {
            // It may have ended meanwhile, or belong to another user.
            let _ = kill_process(process.pid, signal);
            let _ = kill_process(process.pid, Signal::CONT);
        };
        if firmly || self.began.elapsed() >= KILL {
            let since = *self.killed.get_or_insert_with(Instant::now);
            left.iter().for_each(|process| send(process, Signal::KILL));
            return since.elapsed() >= DEAD;
        }
        let all = self.began.elapsed() >= ASK_ALL && !std::mem::replace(&mut self.asked_all, true);
        for process in &left {
            let is_top = !left.iter().any(|other| other.pid.as_raw_nonzero().get() == process.parent);
            let is_spared = process.pid == self.leader && Instant::now() < self.spared;
            if all || is_top && !is_spared && self.asked.insert(process.pid) {
                send(process, Signal::TERM);
            }
        }
        let asked: Vec<&Stat> =
            left.iter().copied().filter(|process| self.asked_all || self.asked.contains(&process.pid)).collect();
        self.stuck.end(&asked);
        false
    }

    /// Without /proc only the leader's process group can be signalled, and its end cannot be observed.
    fn without_table(&mut self, firmly: bool) -> bool {
        let signal = if firmly { Signal::KILL } else { Signal::TERM };
        let _ = kill_process_group(self.leader, signal);
        let _ = kill_process_group(self.leader, Signal::CONT);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let fields: Vec<String> = (4..=30).map(|n: u32| n.to_string()).collect();
        let text = format!("7 (a) b) (c\n) S {}", fields.join(" "));
        let pid = Pid::from_raw(7).unwrap();
        let stat = Stat::read(pid, text.as_bytes()).unwrap();
        assert_eq!(stat, Stat { pid, parent: 4, session: 6, state: b'S', ticks: 14 + 15, started: 22 });
        assert_eq!(Stat::read(pid, b"7 (a"), None);
        assert_eq!(Stat::read(pid, b"7 (a) S 1"), None);
    }

    #[test]
    fn who_leads_no_session_has_what_it_has_started() {
        let stat = |(pid, parent, session)| Stat {
            pid: Pid::from_raw(pid).unwrap(),
            parent,
            session,
            state: b'S',
            ticks: 0,
            started: 1,
        };
        let table = [(5, 4, 5), (10, 5, 5), (11, 10, 5), (12, 11, 12), (13, 5, 5), (20, 5, 20), (21, 1, 20)].map(stat);
        let numbers = |leader| -> Vec<i32> {
            let found = of(Pid::from_raw(leader).unwrap(), &table);
            found.into_iter().map(|process| process.pid.as_raw_nonzero().get()).collect()
        };
        assert_eq!(numbers(10), [10, 11, 12]);
        assert_eq!(numbers(20), [20, 21]);
        assert_eq!(numbers(30), [0; 0]);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let this = rustix::process::getpid();
        let table = table().unwrap();
        let found = table.iter().find(|process| process.pid == this).unwrap();
        assert_eq!(found.started, Stat::of(this).unwrap().started);
        let parent = rustix::process::getppid().unwrap();
        assert_eq!(found.parent, parent.as_raw_nonzero().get());
    }
}
