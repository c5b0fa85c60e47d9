//! A pause: all children are stopped (SIGSTOP), and none is started.
//!
//! What is stopped is the whole session of a child, as by `^Z` ([`super::guardian`]). A child whose work is on another machine is not: there it would
//! go on until nobody reads what it prints. It is told so, and stops what runs there; the connection stays alive meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};

use super::pipes::Feed;
use super::session;
use super::{Live, Supervisor};

/// Lines that a process reads behind its input whose standard input stays open ([`Invocation::held`](super::Invocation::held)): it stops what it has
/// started, and lets it go on. Each may come several times.
pub const STOP: &str = "S";
pub const GO_ON: &str = "C";

/// What starts a process just when it is stopped is looked at so often, with this much time between.
const ROUNDS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(2);
/// How often another machine is told that something is to stand still: a shell that has not begun yet does not hear it.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Stops all children, and has those wait that are about to be started, until [`Supervisor::go_on`] or [`Supervisor::stop`].
    pub fn pause(&self) {
        self.lock().paused = true;
        self.paused.store(true, Ordering::Relaxed);
        self.holds.store(true, Ordering::Relaxed);
        self.hold();
    }

    /// Stops what goes on although there is a pause: `fg` after `^Z` lets all children go on.
    pub fn hold(&self) {
        if !self.is_paused() {
            return;
        }
        for _ in 0..ROUNDS {
            // Nobody is reaped meanwhile.
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

    /// Whether work of our own is to go on; waits while there is a pause.
    pub fn goes_on(&self) -> bool {
        if !self.holds.load(Ordering::Relaxed) {
            return true;
        }
        self.when_it_goes_on().stop.is_none()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Waits until something may be started, or everything is to end.
    pub(super) fn when_it_goes_on(&self) -> MutexGuard<'_, Live> {
        let mut live = self.lock();
        while live.paused && live.stop.is_none() {
            live = self.goes_on.wait(live).unwrap_or_else(PoisonError::into_inner);
        }
        live
    }
}

impl Live {
    /// Whether something had to be stopped.
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

/// What another machine was told of a pause.
#[derive(Debug, Default)]
pub(super) struct There(Option<Instant>);

impl There {
    /// Tells it what it does not know yet, once it has got its script.
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
