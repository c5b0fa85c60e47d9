//! Chooses what scans the sources of a run: this machine, the machine that has them, or source hosts that see them.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::far::crew::{self, Crew, News};
use crate::far::{self, Far};
use crate::plan::FarScan;
use crate::scan::{Event, Scan, Small};

use super::feed::Inputs;

/// If rsyncs wait for the scan after this time, the hosts scan as well.
const LONG_SCAN: Duration = Duration::from_secs(10);

/// The scan of a run, and what decides where it runs.
pub(super) struct Scans<'a> {
    pub inputs: &'a Inputs<'a>,
    pub scan: &'a Scan,
    pub began: Instant,
    /// Called when a host joins the scan or leaves it.
    pub tell_news: &'a (dyn Fn(News) + Sync),
}

impl Scans<'_> {
    /// Scans everything, and reports what it finds to `hear`.
    ///
    /// # Errors
    /// As [`Scan::run_sized`], [`far::scan`] or [`crew::scan`].
    pub fn run(&self, small: Option<Small<'_>>, hear: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        let Scans { inputs, scan, .. } = self;
        if let Some(far) = &inputs.plan.far {
            return self.there(far, small, hear);
        }
        match inputs.plan.hosts_scan(inputs.config)?.filter(|_| inputs.packs()) {
            Some(begin) => self.by_hosts(begin, small, hear),
            None => scan.run_sized(small, inputs.watch, hear),
        }
    }

    fn there(&self, far: &FarScan, small: Option<Small<'_>>, hear: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        let Scans { inputs, scan, .. } = *self;
        let FarScan { reach, means, user, hold, begun, .. } = far;
        let identity = hold.as_ref().map(|hold| hold.identity);
        let (begun, supervisor) = (begun.as_deref(), inputs.supervisor);
        let far = Far { scan, reach, means: *means, user: *user, identity, begun, supervisor };
        far::scan(far, small, inputs.watch, hear)
    }

    fn by_hosts(&self, begin: crew::Begin, small: Option<Small<'_>>, hear: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        let Scans { inputs, scan, began, tell_news } = *self;
        let config = inputs.config;
        let crew = Crew {
            scan,
            roots: &inputs.plan.roots_there(config),
            hosts: &config.hosts,
            way: &config.way,
            agents: &config.agents,
            threads: config.scan_threads,
            begin,
            wanted: &|| began.elapsed() >= LONG_SCAN && inputs.watch.is_awaited(),
            supervisor: inputs.supervisor,
            tell: tell_news,
        };
        crew::scan(crew, small, inputs.watch, hear)
    }
}
