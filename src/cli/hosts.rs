//! Where the rsyncs run: the source hosts, and how they are reached.

use std::ffi::OsString;
use std::path::Path;

use clap::ArgMatches;
use multi_sync::command::config::Config;
use multi_sync::command::hosts::{self, Wanted};
use multi_sync::{Error, Result};

use super::begun::Overrides;
use super::definition::{AUTO, MANY_TO_ONE};
use super::{about, is_many_to_one, seconds_of};
use crate::folder::Typed;

/// The options about hosts, as they were typed.
#[derive(Default)]
pub(super) struct HostWords {
    engine: Option<OsString>,
    hosts: Option<OsString>,
    file: Option<OsString>,
    ssh: Option<OsString>,
    says_processes: bool,
}

impl HostWords {
    pub fn of(matches: &ArgMatches) -> HostWords {
        let word = |name: &str| matches.get_one::<OsString>(name).cloned();
        HostWords {
            engine: word("engine"),
            hosts: word("hosts"),
            file: word("hosts-file"),
            ssh: word("ssh"),
            says_processes: word("processes").is_some(),
        }
    }

    /// Adds options that are given for continuing a run. If the engine changes, ssh's options and the old hosts do not apply.
    pub fn anew(self, typed: &Overrides) -> HostWords {
        let names = typed.hosts.is_some() || typed.hosts_file.is_some();
        let (hosts, file) = if names { (None, None) } else { (self.hosts, self.file) };
        let other = typed.engine.is_some();
        HostWords {
            engine: typed.engine.clone().or(self.engine.filter(|_| typed.ssh.is_none())),
            hosts: typed.hosts.clone().or(hosts),
            file: typed.hosts_file.clone().or(file),
            ssh: typed.ssh.clone().or(self.ssh.filter(|_| !other)),
            says_processes: self.says_processes || typed.processes.is_some(),
        }
    }

    pub fn set(self, config: &mut Config) -> Result<()> {
        let named = match (&self.hosts, &self.file) {
            (Some(list), None) => Some(about("--hosts", hosts::parse_list(list))?),
            (None, Some(file)) => Some(about("--hosts-file", hosts::parse_file(Path::new(file)))?),
            (Some(_), Some(_)) => {
                return Err(Error::usage("--hosts and --hosts-file").remedy("give one of them"));
            }
            (None, None) => None,
        };
        let wanted = Wanted {
            engine: self.engine.as_deref(),
            hosts: named,
            ssh: self.ssh.as_deref(),
            most: self.says_processes.then_some(config.processes),
            looks_for_job: true,
        };
        let (way, hosts) = hosts::reach(wanted, &config.cwd, |name| std::env::var_os(name))?;
        if hosts.is_empty() {
            return Err(Error::usage(format!("--mode {MANY_TO_ONE} needs hosts"))
                .remedy("give --hosts USER@HOST,... or --hosts-file FILE, or start it in a job of Slurm"));
        }
        config.hosts = hosts;
        config.reach_by(way);
        Ok(())
    }
}

/// Sets where the rsyncs run.
pub(super) fn set_hosts(config: &mut Config, matches: &ArgMatches, typed: &Typed) -> Result<()> {
    let word = |name: &str| matches.get_one::<OsString>(name);
    if !is_many_to_one(matches) {
        let about_hosts =
            ["hosts", "hosts-file", "engine", "ssh", "host-timeout"].into_iter().find(|name| word(name).is_some());
        let about_hosts = about_hosts.or(matches.get_flag("mixed-users").then_some("mixed-users"));
        return about_hosts.map_or(Ok(()), |name| {
            Err(Error::usage(format!("--{name} without --mode {MANY_TO_ONE}")).remedy(format!("add -m {MANY_TO_ONE}")))
        });
    }
    if config.adapts {
        return Err(Error::usage(format!("--processes {AUTO} with --mode {MANY_TO_ONE}"))
            .remedy("give a number, or USER@HOST*N for each host"));
    }
    let mut words = HostWords::of(matches);
    if words.hosts.is_none() && words.file.is_none() {
        words.file.clone_from(&typed.hosts_file);
    }
    words.set(config)?;
    config.mixed_users = matches.get_flag("mixed-users");
    if let Some(seconds) = word("host-timeout") {
        config.host_timeout = seconds_of("--host-timeout", seconds)?;
    }
    Ok(())
}
