//! The source hosts and the addresses of a job: they are checked before anything else is done, and those that cannot do their part are left out.

use std::path::Path;

use crate::config::Config;
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::hosts::spread;
use crate::plan;
use crate::preflight;
use crate::report::{Event, Note};
use crate::rsync::exit;

/// Keeps only the hosts that can do their part, and reports the result for each host.
pub(super) fn use_hosts(
    config: &mut Config,
    shared: Option<&Path>,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    if let Some(job) = config.way.job() {
        let slots = spread(&config.hosts, config.processes).len();
        tell(Event::Note(Note::Allocation {
            job: job.to_owned(),
            nodes: config.hosts.len(),
            rsyncs: slots,
            ends_at: config.ends_at,
        }));
    }
    let checked = preflight::check(config, shared, control.supervisor())?;
    checked.iter().for_each(|host| {
        tell(Event::Note(Note::HostChecked { usable: host.refused.is_none(), text: host.to_string() }))
    });
    let Some(workers) = preflight::workers(&checked) else {
        let code = checked.iter().find_map(|host| host.refused.as_ref()).map_or(exit::IPC, |(_, code)| *code);
        return Err(Error::of_rsync("none of the hosts can be used", code)
            .remedy("correct the problem that each of them reported above"));
    };
    let fit = checked.into_iter().filter(|host| host.refused.is_none()).map(|host| host.host);
    config.use_hosts(fit.collect(), workers);
    Ok(())
}

/// Keeps only the addresses that lead to the one directory, and reports the result for each address.
pub(super) fn use_addresses(config: &mut Config, control: &Control, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    // A job that will be refused anyway is refused before the addresses are asked.
    config.options.refuse_unsupported_with(|name| std::env::var_os(name))?;
    let checked = plan::check_addresses(config, control.supervisor())?;
    checked.iter().for_each(|address| {
        tell(Event::Note(Note::AddressChecked { usable: address.refused.is_none(), text: address.to_string() }));
    });
    let usable = checked.into_iter().filter(|address| address.refused.is_none());
    let usable: Vec<_> = usable.map(|address| (address.at, address.seen)).collect();
    config.use_addresses(&usable)
}
