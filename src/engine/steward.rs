//! Controls a run while it is going on: receives requests from this program and, as files in the run directory, from others, checks the timetable and the
//! throttles, and tells the driver what changes. This runs in a thread that nothing waits for, so that a hanging file system delays the answers, but not the
//! run.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::endpoint::Target;
use crate::error::{Error, Result};
use crate::plan::{Plan, Strategy};
use crate::report::{Adjusted, Event};
use crate::run_dir::Channel;
use crate::sched::{InForce, Input};
use crate::steer::{self, Change, Request, Steered, Steering, Timetable};
use crate::thread;

use super::driver::{Driver, Message};
use super::{Context, Control};

/// How often requests, timetable and throttles are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same in a pause, because others may have continued the rsyncs meanwhile (`fg`).
const IN_A_PAUSE: Duration = Duration::from_millis(200);

/// The requests to a run, and its answers. The copy and the verification after it share them.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The settings that are wanted, once a run has begun.
    steering: Option<Steering>,
    /// What this program has asked for since the last check.
    asked: Vec<Change>,
    /// Where other processes put their requests.
    channel: Option<Channel>,
    /// Why one rsync does everything, if it does.
    one_rsync: Option<String>,
    /// What may end a run that is paused for too long.
    risk: Option<String>,
    /// The number of the last orders, and the settings after the last orders that were carried out.
    ordered: u64,
    carried_out: Option<(u64, InForce)>,
    /// How full the destination is in per cent, if that is measured.
    full: Option<f64>,
}

/// What the driver has to change.
#[derive(Debug)]
pub(super) struct Orders {
    pub number: u64,
    pub changes: Vec<Steered>,
}

/// The answer of a run to any request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    v: u32,
    /// Why the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The number of rsyncs that was asked for, and how many of them may run now.
    pub processes: usize,
    pub allowed: usize,
    /// The rsyncs that are running.
    pub running: usize,
    /// The limit of all rsyncs together, in KiB a second.
    pub bandwidth: Option<NonZero<u64>>,
    /// The reasons why the run is paused.
    pub paused: Vec<String>,
    /// What may end the rsyncs in a longer pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<String>,
    /// The run ends when the running launches have ended.
    pub stops: bool,
    pub schedule: Option<String>,
    /// When the timetable makes its next change.
    pub until: Option<String>,
    pub throttles: Option<String>,
    pub one_rsync: Option<String>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This program asks for a change.
    pub fn ask(&self, change: Change) {
        self.lock().asked.push(change);
        self.changed.notify_all();
    }

    /// Others may put requests into this run directory.
    pub fn listen(&self, dir: &std::path::Path) {
        self.lock().channel = Some(Channel::of(dir));
    }

    /// One rsync does everything.
    pub fn is_one_rsync(&self, why: &str) {
        self.lock().one_rsync = Some(why.to_owned());
    }

    /// Orders were carried out, and these settings are in force.
    pub fn carried_out(&self, number: u64, in_force: InForce) {
        self.lock().carried_out = Some((number, in_force));
        self.changed.notify_all();
    }

    /// Begins a run: returns the settings that differ from its plan as inputs, and the changes that are to be reported.
    pub fn begin(&self, config: &Config, plan: &Plan, full: Option<f64>) -> (Vec<Input>, Vec<Steered>) {
        let mut state = self.lock();
        state.risk = risk(config, plan);
        state.full = full;
        state.one_rsync = match &plan.strategy {
            Strategy::Plain(why) => Some(why.clone()),
            Strategy::Parallel => None,
        };
        let State { steering, asked, .. } = &mut *state;
        let steering = steering.get_or_insert_with(|| {
            Steering::new(config.processes, plan.bwlimit, config.timetable.clone(), config.throttles.clone())
        });
        asked.drain(..).for_each(|change| steering.change(&change));
        let readings = steering.throttles().read(full);
        let changes = steering.look(Timestamp::now(), &readings);
        let wanted = steering.wanted();
        let mut inputs = Vec::new();
        if wanted.processes != config.processes || wanted.bandwidth != plan.bwlimit {
            inputs.push(Input::Adjust { processes: Some(wanted.processes), bandwidth: Some(wanted.bandwidth) });
        }
        inputs.extend((!wanted.paused.is_empty()).then_some(Input::Pause));
        inputs.extend(wanted.winds_down.then_some(Input::WindDown));
        (inputs, changes)
    }
}

impl State {
    /// The orders, if something has to change or if someone waits for an answer.
    fn look(&mut self, waits: bool) -> Option<Orders> {
        let steering = self.steering.as_mut()?;
        self.asked.drain(..).for_each(|change| steering.change(&change));
        let readings = steering.throttles().read(self.full);
        let changes = steering.look(Timestamp::now(), &readings);
        if changes.is_empty() && !waits {
            return None;
        }
        self.ordered += 1;
        Some(Orders { number: self.ordered, changes })
    }

    fn refuse(&self, change: &Change) -> Result<()> {
        // Some timetables contain only pauses.
        let sets = |timetable: &Timetable| timetable.sets_bandwidth() || timetable.most_processes().is_some();
        let adjusts =
            change.processes.is_some() || change.bandwidth.is_some() || change.timetable.iter().flatten().any(sets);
        if let Some(why) = self.one_rsync.as_ref().filter(|_| adjusts) {
            return Err(Error::usage(format!(
                "one rsync does it all ({why}): the number of rsyncs and the bandwidth cannot be changed"
            ))
            .remedy("use only --pause, --continue or --stop for such a run"));
        }
        let timetable = change.timetable.iter().flatten().filter_map(|timetable| timetable.most_processes());
        let most = change.processes.into_iter().chain(timetable).max();
        steer::check_processes(most)
    }

    fn answer(&self, refused: Option<&Error>) -> Answer {
        let in_force = self.carried_out.map(|(_, in_force)| in_force);
        let steering = self.steering.as_ref();
        let timetable = steering.and_then(Steering::timetable);
        let paused = steering.map(|steering| &steering.wanted().paused[..]).unwrap_or_default();
        Answer {
            v: 1,
            refused: refused.map(Error::to_string),
            remedy: refused.and_then(|error| error.advice()).map(str::to_owned),
            processes: in_force.map_or(0, |in_force| in_force.most.get()),
            allowed: in_force.map_or(0, |in_force| in_force.processes.get()),
            running: in_force.map_or(0, |in_force| in_force.running),
            bandwidth: in_force.and_then(|in_force| in_force.bandwidth),
            paused: paused.iter().map(ToString::to_string).collect(),
            risk: self.risk.clone().filter(|_| !paused.is_empty()),
            stops: in_force.is_some_and(|in_force| in_force.winds_down),
            schedule: timetable.map(|(timetable, _)| timetable.text().to_owned()),
            until: timetable.and_then(|(timetable, until)| {
                Some(ZonedDateTime::new(until?, timetable.zone().clone()).strftime("%Y-%m-%d %H:%M %Z").to_string())
            }),
            throttles: steering
                .map(Steering::throttles)
                .filter(|throttles| !throttles.is_empty())
                .map(ToString::to_string),
            one_rsync: self.one_rsync.clone(),
        }
    }
}

/// What may end an rsync that is paused for long.
fn risk(config: &Config, plan: &Plan) -> Option<String> {
    let timeout = config.options.meaning().timeout;
    let mut ends = Vec::new();
    if timeout > 0 {
        ends.push(format!("rsync's --timeout={timeout}"));
    }
    match config.far_end() {
        Target::Daemon { .. } => ends.push("a `timeout` of the daemon".to_owned()),
        // The shared connection of a slot is not paused, and answers the sshd.
        Target::Ssh { .. }
            if plan.route.is_none() || plan.strategy != Strategy::Parallel || !config.hosts.is_empty() =>
        {
            ends.push("a ClientAliveInterval of the sshd there".to_owned());
        }
        _ => {}
    }
    let then = match plan.strategy {
        Strategy::Plain(_) => "then the run ends",
        Strategy::Parallel => "then its work is done again",
    };
    (!ends.is_empty()).then(|| format!("{} may end an rsync that is paused for longer; {then}", ends.join(", or ")))
}

impl Driver<'_, '_> {
    /// Gives orders to the scheduler, before its other inputs.
    pub(super) fn steer(&mut self, orders: Orders) {
        for change in &orders.changes {
            (self.tell)(Event::Steered(change));
            let input = match change {
                Steered::Processes { most, .. } => Input::Adjust { processes: Some(*most), bandwidth: None },
                Steered::Bandwidth { kib, .. } => Input::Adjust { processes: None, bandwidth: Some(*kib) },
                Steered::Paused { .. } => Input::Pause,
                Steered::Continued => Input::Continue,
                Steered::WindsDown => Input::WindDown,
            };
            self.slots.hear(&input);
            self.state.inputs.push(input);
        }
        self.state.ordered = Some(orders.number);
    }

    /// Reports a new step, before the launches of this step.
    pub(super) fn tell_step(&mut self) {
        let step = self.scheduler.step();
        if std::mem::replace(&mut self.state.step, step) != step {
            (self.tell)(Event::Entered(step));
        }
        let in_force = self.in_force();
        if self.state.in_force.as_ref() != Some(&in_force) {
            // Initially the settings are those of the plan, and are reported only if something has changed them.
            if self.state.in_force.is_some() {
                (self.tell)(Event::Adjusted(&in_force));
            }
            self.state.in_force = Some(in_force);
        }
    }

    fn in_force(&self) -> Adjusted {
        let InForce { bandwidth, paused, winds_down, .. } = self.scheduler.in_force();
        Adjusted { processes: self.scheduler.processes().get(), bandwidth, paused, winds_down }
    }
}

/// The thread. It ends when this value is dropped.
pub(super) struct Steward(Arc<Over>);

#[derive(Default)]
struct Over(std::sync::atomic::AtomicBool);

impl Over {
    fn is(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.0.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Starts the thread.
///
/// # Errors
/// The system allows no more threads.
pub(super) fn start(context: &Context, sender: &Sender<Message>) -> Result<Steward> {
    let over = Arc::<Over>::default();
    let looks = context.config.throttles.looks_at_destination();
    if let Some(dest) = context.local_dest().map(PathBuf::from).filter(|_| looks) {
        let (over, desk) = (Arc::clone(&over), Arc::clone(context.control.desk()));
        thread::detach(move || {
            while !over.is() {
                // This call may hang.
                let full = steer::percent_full(&dest);
                desk.lock().full = full;
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
    }
    let (its_over, control, sender) = (Arc::clone(&over), context.control.clone(), sender.clone());
    thread::detach(move || watch(&its_over, &control, &sender))?;
    Ok(Steward(over))
}

fn watch(over: &Over, control: &Control, sender: &Sender<Message>) {
    let desk = control.desk();
    // The requests that wait for an answer, each with the number of the orders that have to be carried out first.
    let mut waiting: Vec<(String, u64)> = Vec::new();
    while !over.is() {
        let channel = desk.lock().channel.clone();
        let requests = channel.as_ref().map(Channel::requests).unwrap_or_default();
        let mut answers: Vec<(String, Answer)> = Vec::new();
        let mut state = desk.lock();
        let mut heard = Vec::new();
        for (id, request) in requests {
            let read = serde_json::from_value::<Request>(request).map_err(|cause| {
                Error::usage("the run does not understand the request")
                    .because(cause)
                    .remedy("use the version of multi-sync with which the run was started")
            });
            let change = read
                .and_then(|request| Change::read(&request))
                .and_then(|change| state.refuse(&change).map(|()| change));
            match change {
                Ok(change) => {
                    state.asked.push(change);
                    heard.push(id);
                }
                Err(error) => answers.push((id, state.answer(Some(&error)))),
            }
        }
        if let Some(orders) = state.look(!heard.is_empty()) {
            waiting.extend(heard.drain(..).map(|id| (id, orders.number)));
            // The driver only goes away after the run has ended.
            let _ = sender.send(Message::Steer(orders));
        }
        let carried_out = state.carried_out.map_or(0, |(number, _)| number);
        waiting.retain(|(id, number)| {
            let waits = *number > carried_out;
            if !waits {
                answers.push((id.clone(), state.answer(None)));
            }
            waits
        });
        drop(state);
        if let Some(channel) = &channel {
            answers.iter().for_each(|(id, answer)| channel.answer(id, answer));
        }
        control.supervisor().hold();
        let state = desk.lock();
        let pauses = state.steering.as_ref().is_some_and(|steering| !steering.wanted().paused.is_empty());
        let patience = if pauses { IN_A_PAUSE } else { LOOK_EVERY };
        let is_idle = |state: &mut State| {
            let carried_out = state.carried_out.map_or(0, |(number, _)| number);
            state.asked.is_empty() && waiting.iter().all(|(_, number)| *number > carried_out)
        };
        drop(desk.changed.wait_timeout_while(state, patience, is_idle));
    }
}
