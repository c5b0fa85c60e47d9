//! A server that allows no more than what one ordinary rsync sends: a daemon that refuses options, a login whose command is fixed
//! (authorized_keys(5), `command=`). It refuses what nobody has typed, such as `--relative`. Then the one rsync does it that the user would have
//! started, which says itself if even that is refused.

use crate::entry::Printable;
use crate::plan::Strategy;
use crate::report::{Event, Note};
use crate::rsync::exit;

use super::{Job, Run, Stage};

impl Run<'_, '_> {
    /// Hands the run to one rsync if a launch was refused in a way that may be about what multi-sync has added; `said` is what it complained of.
    pub(super) fn falls_back(&mut self, job: &Job, code: u8, refused: bool, said: Option<&[u8]>) -> bool {
        const STREAM: u8 = 12;
        const UNSUPPORTED: u8 = 4;
        let first = matches!(job, Job::Create(_)) && !self.spine.dest_made;
        let answer = matches!(code, exit::USAGE | exit::PROTOCOL | UNSUPPORTED);
        let is_refusal = answer && (first || refused) || first && code == STREAM && self.summary.launches == 1;
        // What several have begun, one must be able to end.
        let may_end = !self.copied || self.plan.repeatable && !self.plan.leaves_halves;
        let parallel = self.plan.strategy == Strategy::Parallel && self.summary.plain.is_none();
        let may = parallel && may_end && !self.plan.gitignore && !self.resumes() && !self.plan.stops_itself;
        if !is_refusal || !may || self.config.destination.is_local() || self.stopping() || matches!(job, Job::Plain) {
            return false;
        }
        let why = said.map_or_else(|| exit::meaning(code).to_owned(), |line| Printable::bytes(line).to_string());
        if self.config.tells_how {
            (self.tell)(Event::Note(Note::ServerRefuses { why }));
        }
        self.fell_back = true;
        self.summary.plain = Some("the server refuses what several rsyncs need".to_owned());
        self.plain_waits = true;
        self.stage = Stage::Transfer;
        self.queue.clear();
        self.repair.clear();
        self.removals.clear();
        self.to_clean.clear();
        self.parts.clear();
        self.dismiss_all();
        self.queue.clear();
        true
    }
}
