//! Where rsyncs run: on this machine, or on source hosts. Owns the connections of the slots, and knows what a lost launch means there.

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

/// A scan that ends so soon is awaited: the spine is made at once then.
const SHORT_SCAN: Duration = Duration::from_millis(20);
/// The same while a connection is opened, without which nothing is made.
const SHORT_SCAN_CONNECTING: Duration = Duration::from_millis(200);
/// A host that does not answer for so long is not there.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// What is shared with the threads of launches.
pub(super) enum Ways {
    /// Launches run here, through connections to the other machine if there are some, and through its addresses if it has several.
    Here(Option<Arc<Connections>>, Option<Through>),
    Hosts(Hosts),
}

/// Launches run on hosts.
pub(super) struct Hosts {
    agents: Agents,
    first: Host,
    /// Where hosts read that see the bucket directory.
    scripts: Option<Scripts>,
    logs: Option<Logs>,
}

/// The addresses of the other machine.
pub(super) struct Through {
    addresses: Addresses,
}

impl Through {
    /// A launch by another address: SRC is the last word but one, DEST the last.
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
    /// Logs of hosts are kept if the user has named a place for them.
    ///
    /// # Errors
    /// Nothing can be written there.
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

    /// For how long nothing is made before the scan has ended.
    pub fn short_scan(&self) -> Duration {
        match self {
            Ways::Here(None, _) => SHORT_SCAN,
            Ways::Here(Some(_), _) | Ways::Hosts(_) => SHORT_SCAN_CONNECTING,
        }
    }

    /// Opens the connection of a slot, or a shell on its host, and returns at once. A slot of a host is known by its number there.
    pub fn open(&self, place: &Place, supervisor: &Supervisor) {
        match (self, &place.name) {
            (Ways::Here(Some(connections), _), _) => connections.open(place.slot, place.host),
            (Ways::Hosts(hosts), Some(host)) => hosts.agents.open(supervisor, host),
            _ => {}
        }
    }

    /// The launch as it is started in this place; waits for the connection. `shares` it with others, and the bucket directory: not the one rsync that
    /// does everything.
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
                // One rsync for everything is as it was typed, unless a connection was opened to look at its source.
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
        // What cannot be written there travels.
        let there = hosts.scripts.as_ref().filter(|_| shares && host.sees_buckets);
        let script = there.and_then(|scripts| scripts.write(&body).ok());
        let body = script.as_ref().map_or(body, Script::that_reads);
        Carrier::There { agents: &hosts.agents, host, body, _script: script }
    }

    /// The log of a launch in this place, if there is one.
    pub fn log(&self, place: &Place, launch: u64) -> Option<Log<'_>> {
        let Ways::Hosts(Hosts { logs: Some(logs), .. }) = self else { return None };
        Some(logs.of_launch(place.host, launch))
    }

    /// Asks an rsync something: here, or on the first host.
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

    /// Launches run here, through several addresses.
    pub fn are_addresses(&self) -> bool {
        matches!(self, Ways::Here(_, Some(_)))
    }

    /// Whether a host is there and has an rsync.
    pub fn answers(&self, host: &Host, supervisor: &Supervisor) -> bool {
        let Ways::Hosts(Hosts { agents, .. }) = self else { return true };
        let question = shell::body(&Invocation::new("rsync", vec!["--version".into()], "/"));
        let ended = agents.run(supervisor, host, &question, Some(LONGEST_ANSWER), &mut |_, _| {});
        ended.is_ok_and(|ended| ended == Ended::Code(0))
    }

    /// Ends what was opened for this run alone. Shells on hosts serve what comes after it too.
    pub fn close(&self) {
        if let Ways::Here(connections, _) = self {
            connections.iter().for_each(|connections| connections.close());
        }
    }
}

/// What carries out a launch.
pub(super) enum Carrier<'a> {
    /// A process of this machine.
    Here(Invocation),
    /// A shell on a host. What it reads is there as long as this.
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

    /// It may ask at the terminal.
    pub fn asks(&self) -> bool {
        matches!(self, Carrier::Here(invocation) if invocation.asks)
    }
}

/// Where one launch runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Number of the slot: of a host among those that it has.
    slot: usize,
    host: usize,
    name: Option<Host>,
}

impl Place {
    /// The host, if it is not this machine; or the address of the other machine, if it has several.
    pub fn host(&self) -> Option<&Host> {
        self.name.as_ref()
    }
}

/// Where the slots are.
pub(super) struct Slots {
    hosts: Vec<Host>,
    /// The host of each slot, if launches run on hosts.
    of_slots: Vec<usize>,
    /// They are addresses, and launches run here.
    are_addresses: bool,
}

impl Slots {
    pub fn new(config: &Config, plan: &Plan) -> Slots {
        let are_addresses = config.hosts.is_empty() && plan.strategy == Strategy::Parallel && !config.dry_run;
        let hosts = if are_addresses { config.address_hosts() } else { config.hosts.clone() };
        Slots { of_slots: hosts::spread(&hosts, config.processes), hosts, are_addresses }
    }

    /// The host of each slot; none if launches run here.
    pub fn hosts(&self) -> Vec<String> {
        self.of_slots.iter().map(|host| self.hosts[*host].to_string()).collect()
    }

    /// The health of the hosts, if there are some.
    pub fn pool(&self, timeout: Duration) -> Option<HostPool> {
        (!self.hosts.is_empty()).then(|| HostPool::new(&self.hosts, self.of_slots.clone(), timeout))
    }

    /// There are more slots from now on.
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
