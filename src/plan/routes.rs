//! The routes to the other machine on which launches share connections.

use super::addresses;
use crate::config::Config;
use crate::connection::Route;
use crate::endpoint::Target;
use crate::rsync::options::{Meaning, Opt, Options, command_words};
use crate::supervise::Supervisor;

/// One route for each address of the other machine; empty if one of them has none.
pub(super) fn find(config: &Config, options: &Options, meaning: &Meaning, supervisor: &Supervisor) -> Vec<Route> {
    if options.mentions(&[Opt::Ipv4, Opt::Ipv6]) || !config.hosts.is_empty() {
        return Vec::new();
    }
    let typed = meaning.rsh.clone().unwrap_or_else(|| "ssh".into());
    let Some(command) = command_words(&typed) else { return Vec::new() };
    let rsh = options.remote_shell(&typed, &config.cwd);
    let route_to = |target: &Target| Route::find(target, command.clone(), rsh.clone(), &config.cwd, supervisor);
    let targets = addresses::targets(config);
    let all: Option<Vec<Route>> = match targets.len() {
        0 | 1 => route_to(config.far_end())
            .map(|route| if config.pulls() { route.watched(false) } else { route })
            .map(|route| vec![route]),
        _ => targets.iter().map(|target| route_to(target).map(|route| route.watched(true))).collect(),
    };
    all.unwrap_or_default()
}
