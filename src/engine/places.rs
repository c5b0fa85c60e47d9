//! The places where rsyncs run: this machine, or source hosts. Owns the connections of the slots, and decides what a launch that was lost there means.

use std::io::PipeReader;
use std::sync::Arc;
use std::time::Duration;

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::connection::Connections;
use crate::endpoint::Addresses;
use crate::error::Result;
use crate::hosts::{self, Agents, Host};
use crate::plan::{Plan, Strategy};
use crate::rsync::command::Invocation;
use crate::sched::{HostPool, Input};
use crate::shared::{Script, Scripts};
use crate::shell;
use crate::supervise::{Ended, Sign, Stream, Supervisor};

use super::logs::{Log, Logs};

/// A scan that ends within this time is waited for, and the split directories are then created at once.
const SHORT_SCAN: Duration = Duration::from_millis(20);
/// The same while a connection is being opened, because nothing can be created before.
const SHORT_SCAN_CONNECTING: Duration = Duration::from_millis(200);
/// A host that does not answer for this long counts as unreachable.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// The ways to the places, shared with the threads of launches.
pub(super) enum Ways {
    /// Launches run on this machine: through connections to the other machine, if there are any, and through its addresses, if it has several.
    Here(Option<Arc<Connections>>, Option<Through>),
    Hosts(Hosts),
}

/// Launches run on source hosts.
pub(super) struct Hosts {
    agents: Agents,
    first: Host,
    /// Scripts for the hosts that see the bucket directory.
    scripts: Option<Scripts>,
    logs: Option<Logs>,
}

/// The addresses of the other machine.
pub(super) struct Through {
    addresses: Addresses,
}

impl Through {
    /// Changes a launch to use another address. SRC is the last argument but one, DEST the last.
    fn lead(&self, mut invocation: Invocation, at: usize) -> Invocation {
        let back = if self.addresses.are_of_source() { 2 } else { 1 };
        let words = &mut invocation.arguments;
        if let Some(word) = words.len().checked_sub(back).and_then(|last| words.get_mut(last)) {
            *word = self.addresses.through(at, word);
        }
        invocation
    }
}

impl Ways {
    /// Opens what the launches of this run need. Logs of hosts are kept if the user has named a run directory.
    ///
    /// # Errors
    /// The scripts or the logs cannot be written.
    pub fn new(config: &Config, plan: &Plan, buckets: &BucketDir) -> Result<Ways> {
        if config.hosts.is_empty() || config.dry_run {
            let shares = plan.strategy == Strategy::Parallel && !config.dry_run;
            let routes =
                plan.route.clone().filter(|_| shares).map(|route| [vec![route], plan.other_routes.clone()].concat());
            let open = || routes.and_then(|routes| Connections::new(routes, config.processes.get())).map(Arc::new);
            let connections = plan.early.clone().filter(|_| !config.dry_run).or_else(open);
            let addresses = config.addresses.clone().filter(|_| shares && !config.address_hosts().is_empty());
            let through = addresses.map(|addresses| Through { addresses });
            return Ok(Ways::Here(connections, through));
        }
        let see = config.hosts.iter().any(|host| host.sees_buckets);
        let scripts = see.then(|| Scripts::create(buckets)).transpose()?;
        let named = config.buckets.is_some() || config.keep;
        let logs = named.then(|| Logs::open(&config.hosts, buckets)).transpose()?;
        let first = config.hosts[0].clone();
        Ok(Ways::Hosts(Hosts { agents: config.agents.clone(), first, scripts, logs }))
    }

    /// For how long nothing is created while the scan is running.
    pub fn short_scan(&self) -> Duration {
        match self {
            Ways::Here(None, _) => SHORT_SCAN,
            Ways::Here(Some(_), _) | Ways::Hosts(_) => SHORT_SCAN_CONNECTING,
        }
    }

    /// Begins to open the connection of a slot, or a shell on its host, and returns at once.
    pub fn open(&self, place: &Place, supervisor: &Supervisor) {
        match (self, &place.name) {
            (Ways::Here(Some(connections), _), _) => connections.open(place.slot, place.host),
            (Ways::Hosts(hosts), Some(host)) => hosts.agents.open(supervisor, host),
            _ => {}
        }
    }

    /// Prepares a launch for this place, and waits for the connection. `shares`: the launch may use connections and the bucket directory together with others,
    /// unlike the one rsync that does everything.
    pub fn prepare<'a>(
        &'a self,
        invocation: Invocation,
        place: &'a Place,
        shares: bool,
        supervisor: &Supervisor,
    ) -> Carrier<'a> {
        let hosts = match self {
            Ways::Hosts(hosts) => hosts,
            Ways::Here(connections, through) => {
                let invocation = match (through, place.host()) {
                    (Some(through), Some(_)) => through.lead(invocation, place.host),
                    _ => invocation,
                };
                // One rsync for everything runs as typed, unless a connection is already open because it was used to look at the source.
                let is_open =
                    |connections: &&Arc<Connections>| shares || !invocation.asks && connections.is_open(place.slot);
                return Carrier::Here(match connections.as_ref().filter(is_open) {
                    Some(connections) => invocation.through(connections.wait(place.slot, place.host, supervisor)),
                    None => invocation,
                });
            }
        };
        let host = place.name.as_ref().expect("a place on a host has the host");
        let body = shell::body(&invocation);
        // A script that cannot be written to the bucket directory is sent through the connection.
        let there = hosts.scripts.as_ref().filter(|_| shares && host.sees_buckets);
        let script = there.and_then(|scripts| scripts.write(&body).ok());
        let body = script.as_ref().map_or(body, Script::that_reads);
        Carrier::There { agents: &hosts.agents, host, body, _script: script }
    }

    /// The log of a launch in this place, if logs are kept.
    pub fn log(&self, place: &Place, launch: u64) -> Option<Log<'_>> {
        let Ways::Hosts(Hosts { logs: Some(logs), .. }) = self else { return None };
        Some(logs.of_launch(place.host, launch))
    }

    /// Asks an rsync something: on this machine, or on the first host.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn ask(
        &self,
        question: &Invocation,
        supervisor: &Supervisor,
        each: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended> {
        match self {
            Ways::Hosts(Hosts { agents, first, .. }) => {
                agents.run(supervisor, first, &shell::body(question), None, each)
            }
            Ways::Here(..) => supervisor.run(question, each),
        }
    }

    /// Whether launches run on this machine, through several addresses.
    pub fn are_addresses(&self) -> bool {
        matches!(self, Ways::Here(_, Some(_)))
    }

    /// Whether a host is reachable and has an rsync.
    pub fn answers(&self, host: &Host, supervisor: &Supervisor) -> bool {
        let Ways::Hosts(Hosts { agents, .. }) = self else { return true };
        let question = shell::body(&Invocation::new("rsync", vec!["--version".into()], "/"));
        let ended = agents.run(supervisor, host, &question, Some(LONGEST_ANSWER), &mut |_, _| {});
        ended.is_ok_and(|ended| ended == Ended::Code(0))
    }

    /// Closes what was opened for this run alone. The shells on hosts are kept, because later runs use them, too.
    pub fn close(&self) {
        if let Ways::Here(connections, _) = self {
            connections.iter().for_each(|connections| connections.close());
        }
    }
}

/// What runs the rsync of a launch.
pub(super) enum Carrier<'a> {
    /// A process on this machine.
    Here(Invocation),
    /// A shell on a host. The script that it reads exists as long as this value.
    There { agents: &'a Agents, host: &'a Host, body: Vec<u8>, _script: Option<Script> },
}

impl Carrier<'_> {
    /// As [`Supervisor::run_raw`].
    pub fn run_raw(
        &self,
        supervisor: &Supervisor,
        names: Option<PipeReader>,
        stall: Option<Duration>,
        signs: &dyn Fn(Sign),
        each: &mut dyn FnMut(Stream, Option<&[u8]>),
    ) -> Result<Ended> {
        match self {
            Carrier::Here(invocation) => supervisor.run_raw(invocation, names, stall, signs, each),
            Carrier::There { agents, host, body, .. } => agents.run_raw(supervisor, host, body, stall, signs, each),
        }
    }

    /// Whether it may ask something at the terminal.
    pub fn asks(&self) -> bool {
        matches!(self, Carrier::Here(invocation) if invocation.asks)
    }
}

/// The place where one launch runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The number of the slot; on a source host, its number among the slots of this host.
    slot: usize,
    host: usize,
    name: Option<Host>,
}

impl Place {
    /// The host, if it is not this machine; or the address of the other machine, if that has several.
    pub fn host(&self) -> Option<&Host> {
        self.name.as_ref()
    }
}

/// All slots.
pub(super) struct Slots {
    hosts: Vec<Host>,
    /// The host of each slot, if launches run on hosts.
    of_slots: Vec<usize>,
    /// The hosts are really addresses, and launches run on this machine.
    are_addresses: bool,
}

impl Slots {
    pub fn new(config: &Config, plan: &Plan) -> Slots {
        let are_addresses = config.hosts.is_empty() && plan.strategy == Strategy::Parallel && !config.dry_run;
        let hosts = if are_addresses { config.address_hosts() } else { config.hosts.clone() };
        Slots { of_slots: hosts::spread(&hosts, config.processes), hosts, are_addresses }
    }

    /// The host of each slot; empty if launches run on this machine.
    pub fn hosts(&self) -> Vec<String> {
        self.of_slots.iter().map(|host| self.hosts[*host].to_string()).collect()
    }

    /// The health of the hosts, if there are any.
    pub fn pool(&self, timeout: Duration) -> Option<HostPool> {
        (!self.hosts.is_empty()).then(|| HostPool::new(&self.hosts, self.of_slots.clone(), timeout))
    }

    /// Adds slots if a setting needs more.
    pub fn hear(&mut self, input: &Input) {
        if let Input::Adjust { processes: Some(processes), .. } = input {
            hosts::extend(&mut self.of_slots, *processes);
        }
    }

    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    pub fn place(&self, slot: usize) -> Place {
        match self.of_slots.get(slot) {
            Some(host) if self.are_addresses => Place { slot, host: *host, name: Some(self.hosts[*host].clone()) },
            Some(host) => {
                let before = self.of_slots[..slot].iter().filter(|other| *other == host).count();
                Place { slot: before, host: *host, name: Some(self.hosts[*host].clone()) }
            }
            None => Place { slot, host: 0, name: None },
        }
    }
}
