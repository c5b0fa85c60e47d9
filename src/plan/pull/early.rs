//! What is begun before it is known whether several rsyncs copy: over a long link each question costs as much as a listing.

use std::sync::Arc;

use super::super::up_to_date::{self, UpToDate};
use super::Way;
use super::list::{Listed, patiently};
use crate::endpoint::Target;
use crate::far::{self, Listing, Means, Reach, Wanted};
use crate::scan::Scan;

/// What goes on while the sources are asked what they are.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// rsync's listing of all that is in the one source.
    pub begun: Option<Listing>,
    /// Looks whether there is anything to do.
    pub up_to_date: Option<UpToDate>,
}

impl Early {
    /// Has rsync list all that `scan` asks for, where that is how it will be scanned and no other question comes before; and one look whether there is
    /// anything to do. A daemon that lets in one client only answers one of them, and who needs the other answer asks again.
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

    /// Looks whether there is anything to do, if that was not begun.
    pub fn ask(&mut self, way: &Way<'_>) {
        if self.up_to_date.is_none() && up_to_date::may_be(way.config) {
            self.up_to_date = UpToDate::start(way.config, way.early.cloned());
        }
    }

    /// The first line of the listing, if that has begun and was let in.
    pub fn first_line(&mut self, way: &Way<'_>) -> Option<Vec<u8>> {
        let line = self.begun.as_ref()?.first_line(|| way.supervisor.stopped());
        if line.is_none() {
            // What goes on beside it may have the only place.
            *self = Early::default();
        }
        line
    }

    /// What the source is, where the answer may be that there is no place: what goes on beside it is ended then, and it is asked again.
    pub fn let_in(&mut self, answer: Listed, ask: impl Fn() -> Listed, way: &Way<'_>) -> Listed {
        if !answer.has_no_place() {
            return answer;
        }
        *self = Early::default();
        patiently(way.supervisor, ask, Listed::has_no_place)
    }

    /// For all who have a part in the run.
    pub fn shared(self) -> (Option<Arc<Listing>>, Option<Arc<UpToDate>>) {
        (self.begun.map(Arc::new), self.up_to_date.map(Arc::new))
    }
}
