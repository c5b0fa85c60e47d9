//! The shells that a run has on its hosts: each runs one command after another, and as many are started as commands run at once there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::supervise::{Agent, Ended, Sign, Stream, Supervisor, Wire, by_line};
use crate::thread;

use super::{Host, Way};

/// How often a shell is told that this end is there. It ends itself when it has not heard that for too long.
const PULSE: Duration = Duration::from_secs(10);
/// How often the thread that does it looks whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A launch may begin while another one of its slot only ends: so long its shell is waited for.
const SOON: Duration = Duration::from_millis(200);
const LOOK_SOON: Duration = Duration::from_millis(2);
/// How long the end of shells that do nothing may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shells on hosts. Clones are the same.
#[derive(Debug, Clone)]
pub struct Agents(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    way: Way,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that run nothing, by the address of their host.
    idle: HashMap<String, Vec<Agent>>,
    /// Those that are there, each with the address of its host.
    wires: Vec<(String, Weak<Wire>)>,
    pulses: bool,
    closed: bool,
}

impl State {
    /// There is one for each slot of a host.
    fn has_enough(&self, host: &Host) -> bool {
        let its = |(address, wire): &&(String, Weak<Wire>)| *address == host.address && wire.strong_count() > 0;
        host.slots.is_some_and(|slots| self.wires.iter().filter(its).count() >= slots.get())
    }
}

impl Agents {
    /// None is started yet.
    pub fn new(way: &Way) -> Agents {
        Agents(Arc::new(Pool { way: way.clone(), state: Mutex::default() }))
    }

    /// Has a shell ready on a host, and does not wait for it.
    pub fn open(&self, supervisor: &Supervisor, host: &Host) {
        let lacks = {
            let state = self.lock();
            state.idle.get(&host.address).is_none_or(Vec::is_empty) && !state.has_enough(host)
        };
        // Whoever needs it hears why it cannot be had.
        if lacks && let Ok(Some(agent)) = self.start(supervisor, host) {
            self.keep(host, agent);
        }
    }

    /// Runs a command ([`crate::shell::body`]) on a host, and hears what it prints as [`Supervisor::run_raw`] does. With `stall` one that does nothing for
    /// so long is ended, and a host that does not answer for so long is not there.
    ///
    /// # Errors
    /// What leads to the host cannot be started.
    pub fn run_raw(
        &self,
        supervisor: &Supervisor,
        host: &Host,
        body: &[u8],
        stall: Option<Duration>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> Result<Ended> {
        let Some(mut agent) = self.take(supervisor, host)? else { return Ok(Ended::NotStarted) };
        let ended = supervisor.run_there(&mut agent, body, stall, signs, each);
        if agent.is_usable() {
            self.keep(host, agent);
        } else if !supervisor.stopped() {
            // Where one connection broke, the others may have.
            let others = self.lock().idle.remove(&host.address);
            others.iter().flatten().for_each(Agent::dismiss);
        }
        ended
    }

    /// The same, line by line.
    ///
    /// # Errors
    /// As [`Agents::run_raw`].
    pub fn run(
        &self,
        supervisor: &Supervisor,
        host: &Host,
        body: &[u8],
        stall: Option<Duration>,
        each: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended> {
        by_line(each, |raw| self.run_raw(supervisor, host, body, stall, &|_| {}, raw))
    }

    /// Ends all shells that run nothing, and starts no more.
    pub fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        // All at once, and then one after another.
        idle.values().flatten().for_each(Agent::dismiss);
        idle.into_values().flatten().for_each(|mut agent| agent.end(PATIENCE));
    }

    /// One that runs nothing, or a new one; none where no more is to be started.
    fn take(&self, supervisor: &Supervisor, host: &Host) -> Result<Option<Agent>> {
        let began = Instant::now();
        loop {
            let mut state = self.lock();
            if state.closed {
                return Ok(None);
            }
            let idle = state.idle.get_mut(&host.address).and_then(Vec::pop);
            let has_enough = state.has_enough(host);
            drop(state);
            match idle {
                Some(agent) if agent.is_usable() => return Ok(Some(agent)),
                Some(_) => {}
                None if has_enough && began.elapsed() < SOON => std::thread::sleep(LOOK_SOON),
                None => return self.start(supervisor, host),
            }
        }
    }

    fn start(&self, supervisor: &Supervisor, host: &Host) -> Result<Option<Agent>> {
        let way = self.0.way.clone();
        let Some(agent) = Agent::start(&way.leads_to(host), supervisor)? else { return Ok(None) };
        let agent = agent.that_waits_for_answers(way.job().is_some());
        let agent = agent.that_can_be_ended_by(Box::new(move |step| way.ends(step)));
        let mut state = self.lock();
        state.wires.push((host.address.clone(), Arc::downgrade(agent.wire())));
        if !std::mem::replace(&mut state.pulses, true) {
            let pool = Arc::downgrade(&self.0);
            state.pulses = thread::detach(move || keep_alive(&pool)).is_ok();
        }
        Ok(Some(agent))
    }

    fn keep(&self, host: &Host, agent: Agent) {
        let mut state = self.lock();
        if !state.closed {
            state.idle.entry(host.address.clone()).or_default().push(agent);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not by those who follow commands: what they tell may have to wait for whoever reads it.
fn keep_alive(pool: &Weak<Pool>) {
    let mut slept = Duration::ZERO;
    while let Some(pool) = pool.upgrade() {
        let mut state = pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed && state.wires.is_empty() {
            return;
        }
        if slept >= PULSE {
            slept = Duration::ZERO;
            state.wires.retain(|(_, wire)| wire.upgrade().inspect(|wire| wire.pulse()).is_some());
        }
        drop(state);
        drop(pool);
        std::thread::sleep(LOOK_EVERY);
        slept += LOOK_EVERY;
    }
}
