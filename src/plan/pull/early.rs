//! What is begun before it is known whether several rsyncs copy: over a slow link, each question costs as much as a listing.

use std::sync::Arc;

use super::super::up_to_date::{self, UpToDate};
use super::Way;
use super::list::{Listed, patiently};
use crate::endpoint::Target;
use crate::far::{self, Listing, Means, Reach, Wanted};
use crate::scan::Scan;

/// What is running while the sources are examined.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// rsync's listing of everything in the only source.
    pub begun: Option<Listing>,
    /// The check whether everything is up to date.
    pub up_to_date: Option<UpToDate>,
}

impl Early {
    /// Begins a listing of everything that `scan` asks for, if the source will be scanned in that way and no other question comes first, and a check whether
    /// everything is up to date. A daemon that accepts only one client answers only one of them; the other question is asked again later.
    pub fn start(way: &Way<'_>, reach: &Reach, scan: Option<&Scan>) -> Early {
        let config = way.config;
        let is_daemon = config.sources.iter().any(|source| matches!(source.target(), Target::Daemon { .. }));
        let is_wanted = matches!(config.remote_scan, Wanted::Auto | Wanted::Rsync) && config.addresses.is_none();
        let lists = |scan: &&Scan| is_wanted && !scan.hard_links && Means::Rsync.refuse(scan).is_ok();
        let begun = scan.filter(lists).filter(|_| is_daemon).and_then(|scan| far::begin_listing(reach, scan).ok());
        let mut early = Early { begun, up_to_date: None };
        if !is_daemon || early.begun.is_some() {
            early.ask(way);
        }
        early
    }

    /// Begins the check whether everything is up to date, unless it was begun.
    pub fn ask(&mut self, way: &Way<'_>) {
        if self.up_to_date.is_none() && up_to_date::may_be(way.config) {
            self.up_to_date = UpToDate::start(way.config, way.early.cloned());
        }
    }

    /// The first line of the listing, if that was begun and accepted.
    pub fn first_line(&mut self, way: &Way<'_>) -> Option<Vec<u8>> {
        let line = self.begun.as_ref()?.first_line(|| way.supervisor.stopped());
        if line.is_none() {
            // The check may occupy the only connection that the daemon accepts.
            *self = Early::default();
        }
        line
    }

    /// The answer about the source. If the daemon accepted no further client, everything else is ended, and the question is asked again.
    pub fn let_in(&mut self, answer: Listed, ask: impl Fn() -> Listed, way: &Way<'_>) -> Listed {
        if !answer.has_no_place() {
            return answer;
        }
        *self = Early::default();
        patiently(way.supervisor, ask, Listed::has_no_place)
    }

    /// Shares both with all parts of the run.
    pub fn shared(self) -> (Option<Arc<Listing>>, Option<Arc<UpToDate>>) {
        (self.begun.map(Arc::new), self.up_to_date.map(Arc::new))
    }
}
