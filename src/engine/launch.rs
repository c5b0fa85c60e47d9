//! One launch: a thread that prepares it, owns its rsync, follows the output, checks the result, and always reports the end.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::first_pass::{Group, Made};
use crate::report::{self, Event, Failed};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Shows;
use crate::rsync::output::Figures;
use crate::run_dir::journal::Place as DestPlace;
use crate::sched::{Ending, NotLaunched, Report, Start, Symptoms, Work};
use crate::supervise::Ended;
use crate::thread;

use super::after::{After, Heard};
use super::context::{Context, Found};
use super::driver::Message;
use super::failures::Failures;
use super::follow::{Followed, follow};
use super::gate::Awaited;
use super::meter::Meter;
use super::places::{Place, Ways};
use super::prepare::{Names, Prepared};
use super::said::{Holds, Said, Tells, Voice};
use super::userlog::UserLog;

/// A launch that has ended: the report for the scheduler, and what is printed and recorded when that has decided.
pub(super) struct End {
    pub report: Report,
    pub error: Option<Error>,
    pub found: Found,
    /// Complaints that were held back. The number says how often the line had come by then.
    pub held: Vec<(Vec<u8>, u32)>,
    pub failures: Failures,
    /// Split directories that could not be created, and directories that are blocked by something in their place.
    pub unmade: Vec<Vec<u8>>,
    pub blocked: Vec<Vec<u8>>,
    /// The directories above the units, and how many of them a dry run would create.
    pub above: BTreeSet<Vec<u8>>,
    pub missing: u64,
    /// The identity of DEST.
    pub dest: Option<DestPlace>,
    pub figures: Figures,
    pub has_figures: bool,
    /// What was reported about the launch, if its rsync was started.
    pub told: Option<report::Launch>,
    /// The bytes that it transferred, as far as known.
    pub moved: u64,
    /// Whether an rsync was started, and the exit code with which it ended.
    pub launched: bool,
    pub code: Option<u8>,
    /// What its first pass created.
    pub made: Made,
    /// Dry run: nothing was created.
    pub pretends: bool,
    /// Entries are counted.
    pub counts: bool,
    /// The phase to which the launch belonged.
    pub phase: &'static str,
    /// The buckets that have to be copied again if the launch failed to copy something.
    pub buckets: Vec<u64>,
}

impl End {
    fn new(ending: Ending) -> End {
        End {
            report: Report {
                ending,
                ran: Duration::ZERO,
                sent: None,
                after: Default::default(),
                begun: true,
                was_held: false,
                said: Default::default(),
            },
            error: None,
            found: Found::default(),
            held: Vec::new(),
            failures: Failures::default(),
            unmade: Vec::new(),
            blocked: Vec::new(),
            above: BTreeSet::new(),
            missing: 0,
            dest: None,
            figures: Figures::default(),
            has_figures: false,
            told: None,
            moved: 0,
            launched: false,
            code: None,
            made: Made::default(),
            pretends: false,
            counts: false,
            phase: "",
            buckets: Vec::new(),
        }
    }

    pub fn failed(error: Error) -> End {
        End { error: Some(error), ..End::new(Ending::Failed) }
    }

    fn not_launched(why: NotLaunched, found: Found) -> End {
        let mut end = End::new(Ending::NotLaunched(why));
        end.report.after = found.findings.clone();
        End { found, ..end }
    }
}

/// Everything that the thread of a launch needs.
pub(super) struct Launch<'env> {
    pub context: Arc<Context>,
    pub start: Start,
    pub place: Place,
    pub ways: &'env Ways,
    pub said: Arc<Said>,
    pub meter: Arc<Meter>,
    /// What is reported about the launch when its rsync is started.
    pub told: Arc<OnceLock<report::Launch>>,
    pub awaited: Option<Awaited>,
    pub user_log: Option<Arc<UserLog>>,
    pub sender: Sender<Message>,
    pub tell: &'env (dyn Fn(Event<'_>) + Sync),
}

impl Launch<'_> {
    /// Carries out the launch, from reading its units to reporting its end.
    pub fn run(mut self) {
        let launch = self.start.launch;
        let sender = self.sender.clone();
        let awaited = self.awaited.take();
        let done = catch_unwind(AssertUnwindSafe(|| self.carry_out(awaited)));
        let panicked = || Error::internal("the thread that ran an rsync panicked");
        let end = done.unwrap_or_else(|_| Err(panicked())).unwrap_or_else(End::failed);
        // The driver only goes away before its time if it has failed.
        let _ = sender.send(Message::Ended(launch, Box::new(end)));
    }

    fn carry_out(self, awaited: Option<Awaited>) -> Result<End> {
        let (context, start, said) = (Arc::clone(&self.context), self.start.clone(), Arc::clone(&self.said));
        let prepared = self.apart(move || {
            let mut found = Found::default();
            context.prepare(&start, &said, &mut found).map(|prepared| (prepared, found))
        })?;
        let Some(prepared) = prepared else {
            return Ok(End::not_launched(NotLaunched::Stopped, Found::default()));
        };
        let (invocation, tells, names, to_make) = match prepared? {
            (Prepared::Not(why), found) => return Ok(End::not_launched(why, found)),
            (Prepared::Made(made), found) => return Ok(End { made, ..End::not_launched(NotLaunched::Made, found) }),
            (Prepared::Launch(invocation, tells, names, to_make), found) => {
                if let Some(awaited) = &awaited {
                    let _ = awaited.arguments.set(invocation.arguments.clone());
                }
                let _ = self.sender.send(Message::Prepared(self.start.launch, found));
                (*invocation, tells, names, to_make)
            }
        };
        self.tell_start(names);
        let is_first = !to_make.is_empty();
        let made = self.make_first(to_make)?;
        let (invocation, tells) = match if is_first { self.look_again()? } else { None } {
            None => (invocation, tells),
            Some((Prepared::Launch(invocation, tells, ..), found)) => {
                let _ = self.sender.send(Message::Prepared(self.start.launch, found));
                (*invocation, tells)
            }
            Some((Prepared::Not(why), found)) => return Ok(End { made, ..End::not_launched(why, found) }),
            Some((Prepared::Made(_), found)) => {
                return Ok(End { made, ..End::not_launched(NotLaunched::Stopped, found) });
            }
        };
        let invocation = match self.start.limit {
            Some(limit) => invocation.limited(limit),
            None => invocation,
        };
        let ran = self.start_rsync(invocation, tells, awaited);
        self.conclude(ran, made)
    }

    /// Prepares the launch again after its first pass, because DEST may have been unmounted or replaced meanwhile.
    fn look_again(&self) -> Result<Option<(Prepared, Found)>> {
        let (context, start, said) = (Arc::clone(&self.context), self.start.clone(), Arc::clone(&self.said));
        let looked = self.apart(move || {
            let mut found = Found::default();
            context.prepare_again(&start, &said, &mut found).map(|again| again.map(|again| (again, found)))
        })?;
        // The run is ending, so that the result was not waited for.
        looked.unwrap_or_else(|| Ok(Some((Prepared::Not(NotLaunched::Stopped), Found::default()))))
    }

    /// Runs the first pass. If it hangs when the run ends, it is left behind, and creates nothing after that.
    fn make_first(&self, groups: Vec<Group>) -> Result<Made> {
        if groups.is_empty() {
            return Ok(Made::default());
        }
        let (context, meter, limit) = (Arc::clone(&self.context), Arc::clone(&self.meter), self.start.limit);
        let most = self.start.weight.entries;
        Ok(self.apart(move || context.make_first(groups, most, limit, meter))?.unwrap_or_default())
    }

    fn tell_start(&self, names: Names) {
        let Start { launch, slot, work, ahead, weight, .. } = &self.start;
        let told = report::Launch {
            id: *launch,
            slot: *slot,
            host: self.place.host().map(ToString::to_string),
            kind: work.kind(),
            buckets: work.buckets().len(),
            units: names.count,
            first: names.first,
            below: names.below,
            weight: *weight,
            waits: *ahead,
        };
        (self.tell)(Event::LaunchStarted(self.told.get_or_init(|| told)));
    }

    /// Does work that may hang with the source; it is left behind when the run ends.
    fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>> {
        let supervisor = self.context.control.supervisor();
        thread::apart(work, || supervisor.stopped())
    }

    fn start_rsync(&self, invocation: Invocation, tells: Tells, awaited: Option<Awaited>) -> Followed {
        let Context { config, plan, control, .. } = &*self.context;
        let Start { launch, work, .. } = &self.start;
        let (supervisor, tell) = (control.supervisor(), self.tell);
        let everything = work.is_everything();
        let verbatim = everything && self.start_is_verbatim();
        let holds = match work {
            Work::Copy(_) if !plan.as_root => Holds::Denials,
            // A launch that deletes also sets attributes.
            Work::Attributes(_) | Work::Delete(_) | Work::Clean(_) => Holds::Times,
            // If a server refuses this launch, a single rsync runs instead, and its messages count.
            Work::Create(_) if self.start.first => Holds::All,
            _ => Holds::Nothing,
        };
        // The pipe of the user's log file is read until the launch ends.
        let pipe = self.user_log.as_ref().and_then(|log| {
            // Without the pipe, the copy continues, as rsync does if it cannot write its log file.
            let refused = |cause: std::io::Error| tell(Event::Failed(Failed::LogLacks { cause: cause.to_string() }));
            log.pipe().map_err(refused).ok()
        });
        let invocation = match &pipe {
            Some(pipe) => invocation.logging(&pipe.path()),
            None => invocation,
        };
        let asks = everything && config.asks && !config.stays_here() && config.hosts.is_empty();
        let invocation = Invocation { asks, ..invocation };
        let carrier = self.ways.prepare(invocation, &self.place, !everything, supervisor);
        let tells_end = plan.recipe.tells_end && matches!(work, Work::Copy(_) | Work::Repair(_));
        let drains = || drop(self.sender.send(Message::Draining(*launch)));
        let voice = Voice {
            tells,
            verbatim,
            shows: if everything { plan.shows } else { Shows::default() },
            quiet: plan.quiet,
            pretends: plan.recipe.dry_run,
            marks_changes: plan.recipe.marks_changes,
            dir: self.context.buckets.path(),
            holds,
            crowded: config.hosts.is_empty() && !everything,
            shares: !everything,
            said: &self.said,
            dest: (&plan.recipe.destination, config.destination.original()),
            handles: &plan.recipe.handles,
            rooted: &plan.rooted,
            tell,
            log: self.ways.log(&self.place, *launch),
            only_ends: tells_end.then_some(&drains as &dyn Fn()),
        };
        let (sender, launch) = (self.sender.clone(), *launch);
        let exist = move || drop(sender.send(Message::Draining(launch)));
        let _watch = self.context.expected(work).map(|expected| self.context.watch(expected, exist));
        let run = || follow(&carrier, awaited, supervisor, config.stall, &self.meter, &voice);
        match (&self.user_log, &pipe) {
            (Some(log), Some(pipe)) => log.while_followed(pipe, tells, &self.said, run),
            _ => run(),
        }
    }

    /// Whether the output of the launch is passed on unchanged.
    fn start_is_verbatim(&self) -> bool {
        self.context.asked(&self.start).is_none()
    }

    /// Turns an rsync that has ended into a report.
    fn conclude(self, followed: Followed, made: Made) -> Result<End> {
        let Followed { ended, transcript, ran, held, named, begun, out_of_reach, source_lost, was_held } = followed;
        let (figures, has_figures) = (transcript.figures, transcript.has_figures());
        // As the client of a daemon that was started through a shell (`--server --daemon`), rsync exits with 0 although a name of its list does not exist
        // (3.5.0, experiment).
        let is_short = self.context.config.pulls() && !self.start.work.is_everything() && transcript.tells_missing();
        let (ending, error) = match ended {
            Ok(Ended::Code(exit::OK)) if is_short => (Ending::Ended(Ended::Code(exit::PARTIAL)), None),
            Ok(ended) => (Ending::Ended(ended), None),
            Err(error) => (Ending::Failed, Some(error)),
        };
        let code = match ending {
            Ending::Ended(Ended::NotStarted) | Ending::Failed | Ending::NotLaunched(_) => None,
            Ending::Ended(ended) => Some(ended.code()),
        };
        let complaint = held.first().map(|(line, _)| line.clone());
        let heard = Heard { code, transcript, complaint, named, out_of_reach, source_lost };
        let (context, work) = (Arc::clone(&self.context), self.start.work.clone());
        let after = self.apart(move || context.look_after(&work, heard))?;
        // The run is ending and the result was not waited for: what is not known counts as not done.
        let gave_up = after.is_none();
        let After { found, said, failures, unmade, blocked, above, missing, dest } = after.unwrap_or_default();
        let ending = if gave_up && error.is_none() { Ending::Ended(Ended::NotStarted) } else { ending };
        // The direction that is subject to the bandwidth limit.
        let moved = if self.context.config.pulls() { figures.received } else { figures.sent };
        let sent = Some(moved + made.bytes).filter(|sent| *sent > 0);
        let said = Symptoms { changes: said.changes || made.is_any(), ..said };
        let report =
            Report { ending, ran: ran + made.took, sent, after: found.findings.clone(), begun, was_held, said };
        let Context { plan, .. } = &*self.context;
        // Deletions and attributes are repeated by each part of a run anyway.
        let copied = matches!(self.start.work, Work::Copy(_) | Work::Repair(_));
        let buckets = self.start.work.buckets().iter().filter(|_| copied).map(|bucket| bucket.id).collect();
        Ok(End {
            report,
            error,
            found,
            held,
            failures,
            unmade,
            blocked,
            above,
            missing,
            dest,
            figures,
            has_figures,
            told: None,
            moved: 0,
            launched: code.is_some(),
            code,
            made,
            pretends: plan.recipe.dry_run,
            counts: plan.counts,
            phase: self.start.work.phase(),
            buckets,
        })
    }
}
