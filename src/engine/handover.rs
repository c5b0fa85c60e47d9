//! How work is handed to an rsync: its units are read and are still what was scanned, a place is found, and a thread starts it there.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::bucket::{self, Bucket};
use crate::entry::Printable;
use crate::error::{EXIT_FILE_IO, Result};
use crate::handle;
use crate::journal::Record;
use crate::report::{Event, Failed};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::rsync::options::Shows;
use crate::scan::Weight;
use crate::thread;

use super::ahead::Begins;
use super::launch::{self, Awaited, End, Holds, Tells, Voice};
use super::meter::Meter;
use super::spine::{self, Change, Changed, Part};
use super::userlog::UserLog;
use super::{Job, Ledger, Message, Run, Running};

impl Run<'_, '_> {
    /// Those of the arguments whose spine directories are still what was scanned. If another process put something else into the
    /// place of one, rsync would follow it out of the source: what is below is not copied, and is named. Of a directory that is gone rsync says
    /// so itself, and what the source does not have is deleted; a source that is gone is another matter.
    pub(super) fn as_scanned(&mut self, mut arguments: Vec<OsString>) -> Result<Vec<OsString>> {
        let recipe = &self.plan.recipe;
        let lost: Vec<Vec<u8>> = recipe.handles.lost().map(<[u8]>::to_vec).collect();
        for base in lost {
            arguments.retain(|argument| handle::base_of(&recipe.base, argument.as_bytes()) != base);
            self.sender_failed = true;
            self.tell_changed(&base, "is no longer what it was when multi-sync began: copy it again")?;
        }
        for Changed { path, how } in self.spine.changed(&self.plan.recipe, &arguments) {
            let is_below = |argument: &OsString| spine::is_in(argument.as_bytes(), &path);
            match how {
                Change::Gone if !self.is_source(&path) => {}
                Change::Gone | Change::Replaced => {
                    arguments.retain(|argument| !is_below(argument));
                    self.sender_failed = true;
                    self.tell_changed(&path, "was replaced while multi-sync ran: copy it again")?;
                }
                Change::NameOnly => {
                    arguments.retain(|argument| argument.as_bytes() != path);
                    let text = "has another name now: what it held is copied, its own attributes are not set";
                    self.tell_changed(&path, text)?;
                }
            }
        }
        Ok(arguments)
    }

    /// Whether DEST is still what it was, if it is on this machine. One rsync stays in the directory that it has entered; several would go on
    /// in another one, and each of the two would have a part.
    pub(super) fn keeps_dest(&mut self) -> bool {
        let is_here = self.config.destination.is_local() && self.config.hosts.is_empty();
        if !is_here || self.config.dry_run || self.plan.recipe.dry_run || self.stopping() {
            return true;
        }
        let path = Path::new(&self.plan.recipe.destination);
        let found = handle::identity(path);
        let Some(before) = self.spine.dest else {
            self.spine.dest = found;
            return true;
        };
        let keeps = found.is_some_and(|found| found == before || handle::renumbers(path));
        if !keeps {
            let destination = self.config.destination.original().to_owned();
            (self.tell)(Event::Failed(Failed::DestinationMoved { destination }));
            self.fail(EXIT_FILE_IO);
        }
        keeps
    }

    fn is_source(&self, argument: &[u8]) -> bool {
        self.plan.trees.iter().any(|tree| {
            let name = tree.root.name.as_ref().map_or(&b""[..], |name| name.as_bytes());
            argument.strip_suffix(name).is_some_and(|prefix| prefix == tree.prefix)
        })
    }

    fn tell_changed(&mut self, path: &[u8], what: &str) -> Result<()> {
        self.soft.add(exit::PARTIAL);
        if self.spine.is_news(path) {
            let text = format!("{} {what}", Printable::bytes(path));
            (self.tell)(Event::Failed(Failed::Name { name: path.to_vec(), what: what.to_owned() }));
            self.record(&Record::Unread { text, vanished: false, in_unit: false })?;
        }
        Ok(())
    }

    /// A part of the spine without what was replaced, and what could not be made: something else may be in its place, and get its attributes.
    /// `None` if nothing is left of it.
    pub(super) fn part_as_scanned(&mut self, range: Range<usize>, with_mount_points: bool) -> Result<Option<Part>> {
        const BASE: &str = ".";
        let mut part = self.spine.part(range, with_mount_points);
        if part.dest {
            part.arguments.insert(0, BASE.into());
        }
        part.arguments = self.as_scanned(part.arguments)?;
        part.arguments.retain(|argument| !self.spine.is_unmade(argument.as_bytes()));
        part.dest &= part.arguments.first().is_some_and(|first| first == BASE);
        if part.dest {
            part.arguments.remove(0);
        }
        Ok((part.dest || !part.arguments.is_empty()).then_some(part))
    }

    pub(super) fn arguments(&self, buckets: &[Bucket]) -> Result<Vec<OsString>> {
        let mut all = Vec::with_capacity(buckets.iter().map(|bucket| bucket.units as usize).sum());
        for bucket in buckets {
            let file = self.buckets.read(bucket)?;
            all.extend(bucket::arguments(&file).map(os));
        }
        Ok(all)
    }

    pub(super) fn start(&mut self, job: Job, invocation: Invocation, tells: Tells) -> Result<()> {
        self.start_as(job, invocation, tells, Begins::AtOnce, None)
    }

    /// The user's log file, opened when the first launch needs it.
    fn opened_log(&mut self) -> Option<Arc<UserLog>> {
        if !std::mem::replace(&mut self.log_opened, true)
            && let Some((path, typed)) = &self.plan.user_log
        {
            self.user_log =
                UserLog::open(path, typed, self.buckets.path(), self.plan.lists_first, self.tell).map(Arc::new);
        }
        self.user_log.clone()
    }

    /// The same, for a launch that may have to wait for its names.
    pub(super) fn start_as(
        &mut self,
        job: Job,
        invocation: Invocation,
        tells: Tells,
        begins: Begins,
        awaited: Option<Awaited>,
    ) -> Result<()> {
        // Numbers go on where an earlier part of the run has ended.
        let launch = self.summary.launches + self.ledger.as_ref().map_or(0, |ledger| ledger.before().launches);
        self.summary.launches += 1;
        self.last_start = Instant::now();
        let weight = match &job {
            Job::Buckets(buckets) => buckets.iter().map(|bucket| bucket.weight).sum(),
            Job::Repair(bucket) if self.alone.contains(&bucket.id) => bucket.weight,
            Job::Plain
            | Job::Create(_)
            | Job::Repair(_)
            | Job::Clean(_)
            | Job::Remove(_)
            | Job::Delete(_)
            | Job::Attributes(_) => Weight::default(),
        };
        let invocation = self.limited(launch, &job, weight, invocation);
        let (supervisor, tell) = (&self.control.supervisor, self.tell);
        let (said, sender) = (Arc::clone(&self.said), self.sender.clone());
        let dest = (&*self.plan.recipe.destination, self.config.destination.original());
        let (handles, rooted) = (&self.plan.recipe.handles, &self.plan.rooted);
        let verbatim = self.verbatim && matches!(job, Job::Plain);
        let meter = Arc::new(Meter::new(self.plan.recipe.progress && !verbatim));
        let shows = if let Job::Plain = job { self.plan.shows } else { Shows::default() };
        let (quiet, pretends, stall) = (self.plan.quiet, self.plan.recipe.dry_run, self.config.stall);
        let holds = match job {
            Job::Buckets(_) if !self.plan.as_root => Holds::Denials,
            // A launch that deletes there sets attributes as well.
            Job::Attributes(_) | Job::Delete(_) => Holds::Times,
            // A server may refuse it, and then one rsync has the word.
            Job::Create(_) if !self.config.destination.is_local() && !self.spine.dest_made => Holds::All,
            _ => Holds::Nothing,
        };
        // What the others change was written down, or is not for the user.
        let job_logs = !matches!(job, Job::Plain | Job::Attributes(_) | Job::Remove(_));
        let tells_end = self.plan.recipe.tells_end && matches!(job, Job::Buckets(_) | Job::Repair(_));
        let crowded = self.goes_ahead && !matches!(job, Job::Plain);
        let may_be_crowded = self.config.hosts.is_empty() && !matches!(job, Job::Plain);
        let slot = self.slot_for(&job, &begins);
        let (ways, place) = (self.ways, self.places.place(slot));
        let shares = !matches!(job, Job::Plain);
        if shares {
            ways.open(self.scope, &place);
        }
        self.places.pool.iter_mut().for_each(|pool| pool.started(slot));
        if let Job::Buckets(buckets) = &job {
            let buckets = buckets.iter().map(|bucket| bucket.id).collect();
            self.record(&Record::Started { launch, buckets })?;
            self.with_ledger(Ledger::flush)?;
        }
        self.books.starts(job.tasks());
        self.running.insert(
            launch,
            Running { job, slot, weight, meter: Arc::clone(&meter), begins, crowded, only_ends: false },
        );
        let user_log = match job_logs {
            true => self.opened_log(),
            false => None,
        };
        let started = thread::start(self.scope, move || {
            // Read by the host until it ends.
            let pipe = user_log.as_ref().and_then(|log| {
                // The copy goes on, as with a log file that cannot be written.
                let refused =
                    |cause: std::io::Error| tell(Event::Failed(Failed::LogLacks { cause: cause.to_string() }));
                log.pipe().map_err(refused).ok()
            });
            let invocation = match &pipe {
                Some(pipe) => invocation.logging(&pipe.path()),
                None => invocation,
            };
            let (invocation, _script) = ways.prepare(invocation, &place, shares, supervisor);
            let log = ways.log(&place, launch);
            let only_ends = || drop(sender.send(Message::OnlyEnds(launch)));
            let only_ends = tells_end.then_some(&only_ends as &dyn Fn());
            let said = &said;
            let crowded = may_be_crowded;
            let voice = Voice {
                tells,
                verbatim,
                shows,
                quiet,
                pretends,
                holds,
                crowded,
                shares,
                said,
                dest,
                handles,
                rooted,
                tell,
                log,
                only_ends,
            };
            let run = || launch::run(&invocation, awaited, supervisor, stall, &meter, &voice);
            let end = match (&user_log, &pipe) {
                (Some(log), Some(pipe)) => log.while_followed(pipe, tells, said, run),
                _ => run(),
            };
            // The coordinator is gone only after it has failed.
            let _ = sender.send(Message::Ended(launch, Box::new(end)));
        });
        if let Err(error) = started {
            let _ = self.sender.send(Message::Ended(launch, Box::new(End::without_a_start(error))));
        }
        Ok(())
    }
}

impl Run<'_, '_> {
    /// Whether there is bandwidth for a launch of these buckets, which were taken from the queue.
    pub(super) fn has_bandwidth_for(&mut self, taken: &[Bucket]) -> bool {
        let (waiting, settled) = (self.queue.weight(), self.is_settled());
        let weight = taken.iter().map(|bucket| bucket.weight).sum();
        let Some(bandwidth) = &mut self.bandwidth else { return true };
        bandwidth.share(weight, waiting, settled, Instant::now()).is_some()
    }

    /// Whether there is bandwidth for a launch at all.
    pub(super) fn has_bandwidth(&mut self) -> bool {
        let Some(bandwidth) = &mut self.bandwidth else { return true };
        bandwidth.has_room(Instant::now())
    }

    /// Nothing more comes to what waits.
    fn is_settled(&self) -> bool {
        self.scanned && !self.spine.creating
    }

    /// The launch with its share of the bandwidth. One rsync for everything has what the user has typed.
    fn limited(&mut self, launch: u64, job: &Job, weight: Weight, invocation: Invocation) -> Invocation {
        let (waiting, settled, alone) = (self.queue.weight(), self.is_settled(), self.running.is_empty());
        let Some(bandwidth) = self.bandwidth.as_mut().filter(|_| !matches!(job, Job::Plain)) else { return invocation };
        let now = Instant::now();
        let share = match job {
            Job::Buckets(_) => bandwidth.share(weight, waiting, settled, now),
            _ => bandwidth.even(alone, now),
        };
        let share = share.unwrap_or(NonZero::<u64>::MIN);
        bandwidth.starts(launch, share, weight, now);
        invocation.limited(share)
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}
