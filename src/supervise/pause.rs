//! A pause: all children are stopped (SIGSTOP), and none is started.
//!
//! The whole session of a child is stopped, as by `^Z` ([`super::guardian`]). A child whose work is on another machine is not stopped: the work there would
//! continue until its output is no longer read. The other machine is asked to stop it instead, and the connection stays alive.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};

use super::pipes::Feed;
use super::session;
use super::{Live, Supervisor};

/// Lines for a process whose standard input stays open ([`Invocation::held`](super::Invocation::held)), sent after its input: it stops the processes that it
/// has started, or continues them. Each line may come several times.
pub const STOP: &str = "S";
pub const GO_ON: &str = "C";

/// How often to check for processes that were started just while their parent was being stopped, and the time between the checks.
const ROUNDS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(2);
/// How often the request to pause is repeated: a shell that has not begun yet does not receive it.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Stops all children, and lets threads that are about to start children wait, until [`Supervisor::go_on`] or [`Supervisor::stop`].
    pub fn pause(&self) {
        self.lock().paused = true;
        self.paused.store(true, Ordering::Relaxed);
        self.holds.store(true, Ordering::Relaxed);
        self.hold();
    }

    /// Stops children that run although there is a pause: `fg` after `^Z` continues all children.
    pub fn hold(&self) {
        if !self.is_paused() {
            return;
        }
        for _ in 0..ROUNDS {
            // The lock keeps children from being reaped, so that their PIDs stay valid.
            let live = self.lock();
            if !live.paused || live.stop.is_some() || !live.hold() {
                return;
            }
            drop(live);
            std::thread::sleep(BETWEEN);
        }
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        let mut live = self.lock();
        if std::mem::take(&mut live.paused) {
            self.paused.store(false, Ordering::Relaxed);
            self.holds.store(live.stop.is_some(), Ordering::Relaxed);
            live.let_go();
            self.goes_on.notify_all();
        }
    }

    /// Whether multi-sync's own work is to continue; waits during a pause.
    pub fn goes_on(&self) -> bool {
        if !self.holds.load(Ordering::Relaxed) {
            return true;
        }
        self.when_it_goes_on().stop.is_none()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Waits until a child may be started, or everything is to end.
    pub(super) fn when_it_goes_on(&self) -> MutexGuard<'_, Live> {
        let mut live = self.lock();
        while live.paused && live.stop.is_none() {
            live = self.goes_on.wait(live).unwrap_or_else(PoisonError::into_inner);
        }
        live
    }
}

impl Live {
    /// Stops all children that are running. Returns whether there were any.
    pub(super) fn hold(&self) -> bool {
        let here = self.leaders.iter().filter(|(_, is_elsewhere)| !**is_elsewhere).map(|(leader, _)| *leader);
        let Some(table) = session::table() else {
            // They may have ended meanwhile.
            for leader in here {
                let _ = kill_process_group(leader, Signal::STOP);
            }
            return false;
        };
        let mut any = false;
        for leader in here {
            for process in session::of(leader, &table).into_iter().filter(|process| !process.is_stopped()) {
                any |= kill_process(process.pid, Signal::STOP).is_ok();
            }
        }
        any
    }

    fn let_go(&self) {
        let table = session::table();
        for leader in self.leaders.keys() {
            match &table {
                Some(table) => session::of(*leader, table).into_iter().for_each(|process| {
                    let _ = kill_process(process.pid, Signal::CONT);
                }),
                None => {
                    let _ = kill_process_group(*leader, Signal::CONT);
                }
            }
        }
    }
}

/// What another machine was told about a pause.
#[derive(Debug, Default)]
pub(super) struct There(Option<Instant>);

impl There {
    /// Tells the other machine about a change, as soon as it has received its script.
    pub fn tell(&mut self, feed: &mut Feed<'_>, paused: bool) {
        if !feed.left.is_empty() {
            return;
        }
        let line = match self.0 {
            Some(_) if !paused => GO_ON,
            None if paused => STOP,
            Some(told) if told.elapsed() >= TELL_AGAIN => STOP,
            _ => return,
        };
        if feed.say(line) {
            self.0 = paused.then(Instant::now);
        }
    }
}
