//! Which launch runs in which slot. This module also contains what saves waiting: launches that are started ahead and wait only for their names, and launches
//! that are only exiting.
//!
//! To another machine, the handshake takes most of the time that a launch needs to begin (240 of 395 ms with a round trip of 50 ms). Therefore the next
//! launches connect while the one that they have to wait for is running: launches that copy connect while the split directories are created, and the launch
//! that sets the attributes of these connects while the last buckets are copied. They receive their names on standard input (rsync(1), `--files-from`) when
//! they may begin, and have read and written nothing before. Meanwhile there is one process more than there are slots, and it only waits.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;

use crate::queue::Pace;
use crate::scan::Weight;

use super::host_pool::HostPool;
use super::work::{LaunchId, Work};

/// How many launches per slot may be exiting without taking a place: an exit takes up to 40 ms, and a short launch works for 10 ms.
const DRAINING: usize = 4;
/// The same for all slots together: each one costs the system two processes, and multi-sync three open files.
const MOST_DRAINING: usize = 32;

/// What a launch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It works. `prestarted`: it had to wait for its names.
    Working { prestarted: bool },
    /// It waits for its names.
    Prestarted,
    /// It is receiving its names.
    Releasing,
    /// It has done all its work, and is only exiting.
    Draining { prestarted: bool },
    /// It ends without having done anything, because its work is done in another way.
    Dismissed,
}

impl State {
    pub fn waits(self) -> bool {
        self == State::Prestarted
    }

    pub fn works(self) -> bool {
        !matches!(self, State::Prestarted | State::Dismissed)
    }
}

/// A launch that has started and not ended.
#[derive(Debug)]
pub(crate) struct Running {
    pub work: Work,
    pub slot: usize,
    pub weight: Weight,
    pub state: State,
    /// Launches that were started ahead may have taken its connection.
    pub crowded: bool,
    /// It was stopped in a pause, so that its peer may have given it up.
    pub held: bool,
}

impl Running {
    fn drains(&self) -> bool {
        matches!(self.state, State::Draining { .. })
    }

    fn copies(&self) -> bool {
        matches!(self.work, Work::Copy(_))
    }
}

/// All launches that have started and not ended, and the slots in which they run.
pub(crate) struct SlotTable {
    count: NonZero<usize>,
    running: HashMap<LaunchId, Running>,
    pub hosts: Option<HostPool>,
}

impl SlotTable {
    pub fn new(count: NonZero<usize>, hosts: Option<HostPool>) -> SlotTable {
        SlotTable { count, running: HashMap::new(), hosts }
    }

    /// Sets how many launches may run from now on. If more are running, they are not interrupted.
    pub fn resize(&mut self, count: NonZero<usize>) {
        self.count = count;
        self.hosts.iter_mut().for_each(|hosts| hosts.grow(count));
    }

    /// Records that all running launches are stopped.
    pub fn hold(&mut self) {
        self.running.values_mut().for_each(|running| running.held = true);
    }

    pub fn insert(&mut self, launch: LaunchId, running: Running) {
        self.hosts.iter_mut().for_each(|hosts| hosts.started(running.slot));
        self.running.insert(launch, running);
    }

    pub fn remove(&mut self, launch: LaunchId) -> Option<Running> {
        self.running.remove(&launch)
    }

    pub fn set(&mut self, launch: LaunchId, state: State) {
        self.running.get_mut(&launch).into_iter().for_each(|running| running.state = state);
    }

    pub fn get(&self, launch: LaunchId) -> Option<&Running> {
        self.running.get(&launch)
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Records that a launch is only exiting, so that others may take its place.
    pub fn drains(&mut self, launch: LaunchId) {
        let Some(running) = self.running.get_mut(&launch) else { return };
        running.state = match running.state {
            State::Working { prestarted } => State::Draining { prestarted },
            State::Releasing => State::Draining { prestarted: true },
            other => other,
        };
    }

    /// The launches that wait for their names.
    pub fn waiting(&self) -> Vec<(LaunchId, Work)> {
        let waiting = self.running.iter().filter(|(_, running)| running.state.waits());
        let mut waiting: Vec<_> = waiting.map(|(launch, running)| (*launch, running.work.clone())).collect();
        waiting.sort_by_key(|(launch, _)| *launch);
        waiting
    }

    /// Whether a launch copies now.
    pub fn any_copies(&self) -> bool {
        self.running.values().any(|running| running.copies() && running.state.works())
    }

    fn any_waits(&self) -> bool {
        self.running.values().any(|running| running.state.waits())
    }

    /// Whether no launch is working, and none waits to copy.
    pub fn is_idle(&self) -> bool {
        let is_to_copy = |running: &Running| running.state.waits() && running.copies();
        !self.running.values().any(|running| running.state.works() || is_to_copy(running))
    }

    /// Whether all running launches copy, and at least one is working.
    pub fn only_copies(&self) -> bool {
        let copies = |running: &Running| running.copies() && running.state.works();
        !self.running.is_empty() && self.running.values().all(copies)
    }

    /// The last split directory, exclusive, that the current launch creates.
    pub fn creates_up_to(&self) -> Option<usize> {
        self.running.values().find_map(|running| match &running.work {
            Work::Create(part) if running.state.works() && !running.drains() => Some(part.end),
            _ => None,
        })
    }

    /// How many launches count towards the number that may run at once. Launches that are exiting do not count, up to [`DRAINING`] and [`MOST_DRAINING`]. While
    /// some launches wait, one launch less counts: either the one they wait for, or the one that waits for all others.
    pub fn working(&self, processes: NonZero<usize>) -> usize {
        self.not_draining(processes) - usize::from(self.any_waits())
    }

    /// Whether one of the launches that wait may begin without more than these working.
    pub fn may_release(&self, processes: NonZero<usize>) -> bool {
        let others_wait = self.running.values().filter(|running| running.state.waits()).count() > 1;
        self.not_draining(processes) - usize::from(others_wait) <= processes.get()
    }

    fn not_draining(&self, processes: NonZero<usize>) -> usize {
        let draining = self.running.values().filter(|running| running.drains()).count();
        self.running.len() - draining.min(MOST_DRAINING.min(DRAINING * processes.get()))
    }

    /// A slot for the next launch.
    pub fn free(&self) -> Option<usize> {
        let taken = self.taken();
        self.find(|slot| taken.contains(&slot)).or_else(|| if self.any_waits() { self.without_copy() } else { None })
    }

    /// The slots with a launch that is not only exiting.
    fn taken(&self) -> HashSet<usize> {
        self.running.values().filter(|running| !running.drains()).map(|running| running.slot).collect()
    }

    /// A slot on a host that is faster than the host of this slot.
    pub fn free_faster(&self, slot: usize) -> Option<usize> {
        let hosts = self.hosts.as_ref()?;
        let taken = self.taken();
        hosts.free_slot_faster(hosts.pace(slot).slower, |slot| taken.contains(&slot))
    }

    /// The speed of a slot, compared with the others. If nothing else runs, there is nothing faster to wait for.
    pub fn pace(&self, slot: usize) -> Pace {
        let pace = self.hosts.as_ref().map_or_else(Pace::default, |hosts| hosts.pace(slot));
        if self.is_empty() { Pace { usual: pace.slower, ..pace } } else { pace }
    }

    /// The first slot in which no launch copies. If it has a connection, that is already open, whatever else runs through it.
    fn without_copy(&self) -> Option<usize> {
        let copies = |running: &Running| running.copies() && running.state != State::Dismissed && !running.drains();
        self.find(|slot| self.running.values().any(|running| running.slot == slot && copies(running)))
    }

    fn find(&self, taken: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.hosts {
            Some(hosts) => hosts.free_slot(taken),
            None => (0..self.count.get()).find(|slot| !taken(*slot)),
        }
    }

    /// The slot for a launch that is started ahead: one in which others run or ran. `None` if no host may be used.
    pub fn place_ahead(&self, work: &Work) -> Option<usize> {
        let slot = if let Work::Copy(_) = work { self.without_copy() } else { self.find(|_| false) };
        slot.or(if self.hosts.is_some() { None } else { Some(0) })
    }
}
