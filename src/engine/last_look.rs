//! The last look at sources on another machine: whether their names still lead to the directories that were scanned. Several rsyncs enter a source one after
//! another, and if it was replaced in between, they have copied from two directories.

use std::ffi::OsString;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use crate::entry::Printable;
use crate::error::Result;
use crate::plan::{FarScan, Still};
use crate::report::{Event, Note};
use crate::run_dir::journal::Record;
use crate::thread;

use super::context::Context;
use super::driver::Driver;

/// A look that has begun.
pub(super) struct LastLook<'scope> {
    found: ScopedJoinHandle<'scope, Vec<(OsString, Still)>>,
    /// How many rsyncs had begun before it. If more have begun since, they may have entered another directory than it saw.
    begun: u64,
    /// Nothing was copied any more when it began.
    at_end: bool,
}

impl Driver<'_, '_> {
    /// Starts the last look if it needs a new connection, as soon as no rsync is to enter a source any more: while the last launches copy if it is certain that
    /// they have entered it, and otherwise while the split directories get their attributes, because nothing else is read from the source at that time.
    pub(super) fn begin_last_look(&mut self) {
        let at_end = self.scheduler.is_finishing();
        let is_due = match &self.last_look {
            Some(look) => at_end && !look.at_end && look.begun != self.state.begun,
            None => at_end || self.have_entered(),
        };
        let far = self.context.plan.far.as_ref();
        if !is_due || self.statistics.one_rsync().is_some() || !far.is_some_and(FarScan::are_listed_again) {
            return;
        }
        let context = Arc::clone(&self.context);
        let look = move || {
            let far = context.plan.far.as_ref();
            far.map_or_else(Vec::new, |far| far.are_still_there(&context.config, context.control.supervisor()))
        };
        // If no thread could be started, the look is made at the end.
        let found = thread::start(self.scope, look).ok();
        self.last_look = found.map(|found| LastLook { found, begun: self.state.begun, at_end });
    }

    /// Whether the last launches are running, and each of them has entered its source.
    fn have_entered(&self) -> bool {
        let launches = &self.state.launches;
        self.scheduler.is_at_last_copies() && !launches.is_empty() && launches.values().all(|started| started.entered)
    }

    /// Checks at the end of a run whether a source on another machine is still the directory that was scanned. If not, some rsyncs have copied from one
    /// directory and some from the other.
    pub(super) fn look_at_far_source(&mut self) -> Result<()> {
        let Context { plan, config, control, .. } = &*self.context;
        let Some(far) = plan.far.as_ref().filter(|_| self.statistics.one_rsync().is_none()) else { return Ok(()) };
        // If the machine did not answer, it may have refused one more client beside the last rsyncs, so that it is asked again.
        let answered = |found: &Vec<(OsString, Still)>| found.iter().all(|(_, still)| *still != Still::Unanswered);
        let look = self.last_look.take().filter(|look| look.at_end || look.begun == self.state.begun);
        let begun = look.and_then(|look| look.found.join().ok()).filter(answered);
        for (source, still) in begun.unwrap_or_else(|| far.are_still_there(config, control.supervisor())) {
            let shown = Printable::os(&source);
            let text = match still {
                Still::There => continue,
                Still::Changed => {
                    (self.tell)(Event::Note(Note::SourceChanged { source }));
                    continue;
                }
                Still::Replaced => {
                    let text = format!(
                        "{shown}: was replaced while multi-sync ran, and the destination now has a mixture of both: copy it again"
                    );
                    self.record(&Record::Unread { text: text.clone(), vanished: false, in_unit: false })?;
                    text
                }
                // No record is written, because a resumed run asks again.
                Still::Unanswered => format!(
                    "{shown}: can no longer be looked at, so it is unknown whether it was replaced while multi-sync ran: copy it again"
                ),
            };
            self.note_unread(text, false);
            let inputs = std::mem::take(&mut self.state.inputs);
            self.scheduler.handle(Instant::now(), inputs);
        }
        Ok(())
    }
}
