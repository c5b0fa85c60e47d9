//! Where rsyncs run: on this machine, or on source hosts. Owns the connections of the slots, and knows what a lost launch means there.

use std::thread::Scope;
use std::time::Duration;

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::connection::{Connections, Route};
use crate::error::Result;
use crate::hosts::{self, Host, Ssh};
use crate::plan::{Plan, Strategy};
use crate::rsync::command::Invocation;
use crate::sched::{HostPool, Input};
use crate::shared::{Script, Scripts};
use crate::shell;
use crate::supervise::{Ended, Supervisor};

use super::logs::{Log, Logs};

/// A scan that ends so soon is awaited: the spine is made at once then.
const SHORT_SCAN: Duration = Duration::from_millis(20);
/// The same while a connection is opened, without which nothing is made.
const SHORT_SCAN_CONNECTING: Duration = Duration::from_millis(200);
/// A host that does not answer for so long is not there.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// What is shared with the threads of launches.
pub(super) enum Ways {
    /// Launches run here, through connections to DEST's machine if there are some.
    Here(Option<Connections>),
    Hosts(Hosts),
}

/// Launches run on hosts.
pub(super) struct Hosts {
    ssh: Ssh,
    first: Host,
    /// For each host those of its slots.
    connections: Vec<Option<Connections>>,
    /// Where hosts read that see the bucket directory.
    scripts: Option<Scripts>,
    logs: Option<Logs>,
}

impl Ways {
    /// Logs of hosts are kept if the user has named a place for them.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(config: &Config, plan: &Plan, buckets: &BucketDir, supervisor: &Supervisor) -> Result<Ways> {
        if config.hosts.is_empty() || config.dry_run {
            let shared = plan.route.clone().filter(|_| plan.strategy == Strategy::Parallel && !config.dry_run);
            return Ok(Ways::Here(shared.and_then(|route| Connections::new(route, config.processes.get()))));
        }
        let ssh = config.ssh.clone();
        let slots = hosts::spread(&config.hosts, config.processes);
        let of_host = |(at, host): (usize, &Host)| {
            let count = slots.iter().filter(|slot| **slot == at).count();
            Route::to_host(&ssh, host, supervisor).and_then(|route| Connections::new(route, count))
        };
        let connections = config.hosts.iter().enumerate().map(of_host).collect();
        let see = config.hosts.iter().any(|host| host.sees_buckets);
        let scripts = see.then(|| Scripts::create(buckets)).transpose()?;
        let named = config.buckets.is_some() || config.keep;
        let logs = named.then(|| Logs::open(&config.hosts, buckets)).transpose()?;
        let first = config.hosts[0].clone();
        Ok(Ways::Hosts(Hosts { ssh, first, connections, scripts, logs }))
    }

    /// For how long nothing is made before the scan has ended.
    pub fn short_scan(&self) -> Duration {
        match self {
            Ways::Here(None) => SHORT_SCAN,
            Ways::Here(Some(_)) | Ways::Hosts(_) => SHORT_SCAN_CONNECTING,
        }
    }

    /// Opens the connection of a slot, and returns at once. A slot of a host is known by its number there.
    pub fn open<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, place: &Place) {
        let connections = match self {
            Ways::Here(connections) => connections.as_ref(),
            Ways::Hosts(hosts) => hosts.connections[place.host].as_ref(),
        };
        connections.into_iter().for_each(|connections| connections.open(scope, place.slot));
    }

    /// The launch as it is started in this place, and what it reads meanwhile; waits for the connection. `shares` it with others,
    /// and the bucket directory: not the one rsync that does everything.
    pub fn prepare(
        &self,
        invocation: Invocation,
        place: &Place,
        shares: bool,
        supervisor: &Supervisor,
    ) -> (Invocation, Option<Script>) {
        let invocation = match self {
            Ways::Here(connections) => {
                let connections = connections.as_ref().filter(|_| shares);
                match connections {
                    Some(connections) => invocation.through(connections.wait(place.slot, supervisor)),
                    None => invocation,
                }
            }
            Ways::Hosts(hosts) => {
                let connections = hosts.connections[place.host].as_ref();
                let socket = connections.and_then(|connections| connections.wait_for_socket(place.slot, supervisor));
                let host = place.name.as_ref().expect("a place on a host has the host");
                let script = shell::script(&invocation);
                // What cannot be written there travels.
                let there = hosts.scripts.as_ref().filter(|_| shares && host.sees_buckets);
                let there = there.and_then(|scripts| scripts.write(&script).ok());
                let script = there.as_ref().map_or(script, Script::that_reads);
                return (hosts.ssh.run(host, socket.as_deref(), script), there);
            }
        };
        (invocation, None)
    }

    /// The log of a launch in this place, if there is one.
    pub fn log(&self, place: &Place, launch: u64) -> Option<Log<'_>> {
        let Ways::Hosts(Hosts { logs: Some(logs), .. }) = self else { return None };
        Some(logs.of_launch(place.host, launch))
    }

    /// What is only asked, through a connection of its own: here, or on the first host.
    pub fn ask(&self, invocation: Invocation) -> Invocation {
        match self {
            Ways::Hosts(Hosts { ssh, first, .. }) => ssh.run(first, None, shell::script(&invocation)),
            Ways::Here(_) => invocation,
        }
    }

    /// Whether a host is there and has an rsync.
    pub fn answers(&self, host: &Host, supervisor: &Supervisor) -> bool {
        let Ways::Hosts(Hosts { ssh, .. }) = self else { return true };
        let question = shell::script(&Invocation::new("rsync", vec!["--version".into()], "/"));
        let ended = supervisor.run_while_alive(&ssh.run(host, None, question), Some(LONGEST_ANSWER), &mut |_, _| {});
        ended.is_ok_and(|ended| ended == Ended::Code(0))
    }

    pub fn close(&self) {
        match self {
            Ways::Here(connections) => connections.iter().for_each(Connections::close),
            Ways::Hosts(hosts) => hosts.connections.iter().flatten().for_each(Connections::close),
        }
    }
}

/// Where one launch runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Number of the slot among those of its host.
    slot: usize,
    host: usize,
    name: Option<Host>,
}

impl Place {
    /// The host, if it is not this machine.
    pub fn host(&self) -> Option<&Host> {
        self.name.as_ref()
    }
}

/// Where the slots are.
pub(super) struct Slots {
    hosts: Vec<Host>,
    /// The host of each slot, if launches run on hosts.
    of_slots: Vec<usize>,
}

impl Slots {
    pub fn new(config: &Config) -> Slots {
        Slots { hosts: config.hosts.clone(), of_slots: hosts::spread(&config.hosts, config.processes) }
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
            Some(host) => {
                let before = self.of_slots[..slot].iter().filter(|other| *other == host).count();
                Place { slot: before, host: *host, name: Some(self.hosts[*host].clone()) }
            }
            None => Place { slot, host: 0, name: None },
        }
    }
}
