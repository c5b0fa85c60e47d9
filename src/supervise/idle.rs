//! Whether a child still does something: it prints, or it or a process of its kind below it reads or writes.
//!
//! A remote shell below it does not count: what it reads may be no more than the other side's sign that the connection stands.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often a silent child's figures are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(2);

/// Watches one child, and ends it.
pub(super) struct Idle {
    pid: Pid,
    limit: Duration,
    alive: Instant,
    looked: Instant,
    figures: Vec<u8>,
    asked: Option<Instant>,
    killed: bool,
}

impl Idle {
    pub fn new(child: &Child, limit: Duration) -> Idle {
        let now = Instant::now();
        let pid = Pid::from_child(child);
        Idle { pid, limit, alive: now, looked: now, figures: Vec::new(), asked: None, killed: false }
    }

    /// Called several times a second, as long as the child is not reaped.
    pub fn look(&mut self, printed: bool) {
        let now = Instant::now();
        if let Some(asked) = self.asked {
            if !self.killed && now.duration_since(asked) >= GRACE {
                self.killed = true;
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
            return;
        }
        if printed {
            self.alive = now;
            return;
        }
        if now.duration_since(self.looked) >= LOOK_EVERY.min(self.limit) {
            self.looked = now;
            let figures = figures(self.pid);
            if figures != self.figures {
                self.figures = figures;
                self.alive = now;
            }
        }
        if now.duration_since(self.alive) >= self.limit {
            self.asked = Some(now);
            // It may have been stopped. It may have ended meanwhile.
            let _ = kill_process(self.pid, Signal::TERM);
            let _ = kill_process_group(self.pid, Signal::CONT);
        }
    }

    pub fn ended_it(&self) -> bool {
        self.asked.is_some()
    }
}

/// What the processes have read and written so far (proc_pid_io(5)). Empty where the system does not say.
fn figures(leader: Pid) -> Vec<u8> {
    let name = |pid: &str| fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let leader = leader.as_raw_nonzero().to_string();
    let kind = name(&leader);
    let (mut all, mut left) = (Vec::new(), vec![leader]);
    while let Some(pid) = left.pop() {
        if name(&pid) == kind {
            all.extend(fs::read(format!("/proc/{pid}/io")).unwrap_or_default());
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        left.extend(children.split_ascii_whitespace().map(str::to_owned));
    }
    all
}
