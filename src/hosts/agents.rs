//! The shells that a run has on its hosts: each runs one command after another, and there are as many as commands run at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::supervise::{Agent, Ended, Sign, Stream, Supervisor, Wire, by_line};
use crate::thread;

use super::{Host, Way};

/// How often each shell gets a sign of life. A shell ends itself if it has received none for too long.
const PULSE: Duration = Duration::from_secs(10);
/// How often the thread that sends it checks whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a launch waits for an idle shell, if another launch of its slot is about to end, before it starts a new shell.
const SOON: Duration = Duration::from_millis(200);
const LOOK_SOON: Duration = Duration::from_millis(2);
/// How long the end of idle shells may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shells on the hosts. Clones share them.
#[derive(Debug, Clone)]
pub struct Agents(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    way: Way,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The idle shells, by the address of their host.
    idle: HashMap<String, Vec<Agent>>,
    /// The inputs of all shells, each with the address of its host.
    wires: Vec<(String, Weak<Wire>)>,
    pulses: bool,
    closed: bool,
}

impl State {
    /// Whether the host has a shell for each of its slots.
    fn has_enough(&self, host: &Host) -> bool {
        let its = |(address, wire): &&(String, Weak<Wire>)| *address == host.address && wire.strong_count() > 0;
        host.slots.is_some_and(|slots| self.wires.iter().filter(its).count() >= slots.get())
    }
}

impl Agents {
    /// No shell is started yet.
    pub fn new(way: &Way) -> Agents {
        Agents(Arc::new(Pool { way: way.clone(), state: Mutex::default() }))
    }

    /// Starts a shell on a host if it has none idle, and does not wait for it.
    pub fn open(&self, supervisor: &Supervisor, host: &Host) {
        let lacks = {
            let state = self.lock();
            state.idle.get(&host.address).is_none_or(Vec::is_empty) && !state.has_enough(host)
        };
        // An error is ignored here: the command that needs the shell will report it.
        if lacks && let Ok(Some(agent)) = self.start(supervisor, host) {
            self.keep(host, agent);
        }
    }

    /// Runs a command ([`crate::shell::body`]) on a host, and passes its output on as [`Supervisor::run_raw`] does. If `stall` is given, a command without
    /// activity for this time is ended, and a host that does not answer for this time is regarded as lost.
    ///
    /// # Errors
    /// The local program that connects to the host cannot be started.
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
            // If one connection broke, the other ones to this host may be broken as well.
            let others = self.lock().idle.remove(&host.address);
            others.iter().flatten().for_each(Agent::dismiss);
        }
        ended
    }

    /// Like [`Agents::run_raw`], but line by line.
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

    /// Ends all idle shells, and starts no more.
    pub fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        // All are asked to end at once, and then each is waited for.
        idle.values().flatten().for_each(Agent::dismiss);
        idle.into_values().flatten().for_each(|mut agent| agent.end(PATIENCE));
    }

    /// An idle shell, or a new one; `None` if no more are to be started.
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

/// Sends the signs of life. The threads that follow commands cannot do this, because they may have to wait for the reader of their output.
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
