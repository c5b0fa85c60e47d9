//! What is started next: which launch the stage of a run asks for, and whether it may start yet.

use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::journal::Record;
use crate::plan::SourceTree;
use crate::report::{Event, Failed, Note};
use crate::rsync::command::{Copying, Invocation};
use crate::rsync::exit;
use crate::rsync::options::Delete;
use crate::scan::Weight;

use super::books::Task;
use super::failures::Failure;
use super::launch::Tells;
use super::spine::{Part, path_in_transfer};
use super::{Job, LONGEST_WAIT, Run, Stage};

impl Run<'_, '_> {
    pub(super) fn start_one(&mut self) -> Result<bool> {
        if !self.keeps_dest() || self.summary.plain.is_none() && !self.has_bandwidth() {
            return Ok(false);
        }
        match self.stage {
            Stage::Transfer if !self.config.dry_run => self.start_transfer(),
            // Alone: it may change the modes of directories.
            Stage::Repair if self.is_idle() => match self.repair.pop() {
                Some(bucket) => {
                    let how = Copying { repair: true, ..self.copying(bucket) };
                    if let Some(units) = self.launchable(&[bucket])? {
                        let invocation = self.plan.recipe.buckets(units, how, self.room);
                        self.start(Job::Repair(bucket), invocation, Tells::NoDirs)?;
                    }
                    Ok(true)
                }
                None => Ok(false),
            },
            Stage::Remove => match self.next_removals() {
                Some(buckets) => {
                    if let Some(units) = self.launchable(&buckets)? {
                        let invocation = self.plan.recipe.remove(units, buckets[0].exposed, self.room);
                        self.start(Job::Remove(buckets), invocation, Tells::All)?;
                    }
                    Ok(true)
                }
                None => Ok(false),
            },
            Stage::Clean => self.start_clean(),
            Stage::Delete => match self.parts.pop() {
                Some(range) => self.start_delete(range).map(|()| true),
                None => Ok(false),
            },
            Stage::Attributes => match self.parts.pop() {
                Some(range) => {
                    let part = self.part_as_scanned(range.clone(), true)?;
                    if part.is_none() {
                        // That was told.
                        self.books.skip([Task::Part(range.start)], true);
                    }
                    if let Some(part) = part
                        && !self.begin_end(&range, &part)?
                    {
                        let invocation = self.attributes(&part, false);
                        self.start(Job::Attributes(range), invocation, Tells::New)?;
                    }
                    Ok(true)
                }
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    fn start_transfer(&mut self) -> Result<bool> {
        let slots = self.config.processes;
        if self.summary.plain.is_some() {
            let is_free = !self.spine.creating && self.is_idle() && (!self.fell_back || self.running.is_empty());
            if is_free && std::mem::take(&mut self.plain_waits) {
                self.start_plain()?;
            }
            return Ok(false);
        }
        // Directories that were made early are made by one rsync in the same way.
        let only_created = self.summary.launches == self.spine.creations;
        if !self.scanned {
            // As long as nothing was split, it may become one rsync.
            if self.spine.len() == 0 || self.started.elapsed() < self.ways.short_scan() {
                return Ok(false);
            }
            // Several launches will come: DEST can be made meanwhile, unless lines are printed of it, or something is deleted before.
            let early = slots.get() > 1 && self.queue.is_worth_two();
            let silent = !self.plan.prints && self.plan.deletes != Some(Delete::Before);
            if early && silent && !self.spine.dest_made && !self.spine.creating {
                self.make_spine()?;
                return Ok(true);
            }
            if self.waits_for_scan() {
                return Ok(false);
            }
            let waited = self.last_start.elapsed() >= LONGEST_WAIT && !self.queue.is_empty();
            if !waited && !self.queue.worth_starting(slots) {
                return Ok(false);
            }
        } else if only_created && !self.resumes() && self.met.is_some() && !self.spine.dest_made && self.spine.len() > 0
        {
            // What was made there shows how names are read.
            return if self.spine.creating { Ok(false) } else { self.make_spine().map(|()| true) };
        } else if only_created
            && !self.resumes()
            && let Some(why) = self.why_one()?
        {
            self.summary.plain = Some(why.into());
            self.queue.clear();
            self.plain_waits = true;
            return Ok(!self.spine.creating);
        }
        if self.queue.is_empty() && !self.lacks_spine() {
            return Ok(false);
        }
        let needed = self.queue.spine_needed() > self.spine.created;
        let wanted = !self.spine.dest_made || needed || self.lacks_spine();
        if wanted && !self.spine.creating {
            self.make_spine()?;
            return Ok(true);
        }
        if !self.spine.dest_made {
            return self.start_copy_ahead();
        }
        let taken = self.queue.take(slots, self.room, self.spine.created, !self.scanned);
        if taken.is_empty() {
            return self.start_copy_ahead();
        }
        if !self.has_bandwidth_for(&taken) {
            self.put_back(Job::Buckets(taken));
            return Ok(false);
        }
        let how = self.copying(taken[0]);
        if let Some(units) = self.launchable(&taken)? {
            if self.goes_alone(&units, how) {
                self.copy_alone(taken);
                return Ok(true);
            }
            let invocation = self.plan.recipe.buckets(units, how, self.room);
            self.start(Job::Buckets(taken), invocation, self.tells_copying(how))?;
        }
        Ok(true)
    }

    /// A launch may come upon the directories above its units: in a dry run, or where it brings them along.
    pub(super) fn tells_copying(&self, how: Copying) -> Tells {
        match self.plan.recipe.dry_run {
            true => Tells::New,
            false if self.plan.recipe.may_bring_dirs(how) => Tells::NotSpine,
            false => Tells::All,
        }
    }

    pub(super) fn copying(&self, bucket: Bucket) -> Copying {
        Copying {
            repair: false,
            keep: self.keeps() || self.names_meet || self.deletes_late(),
            exposed: bucket.exposed,
            singles: bucket.singles,
            whole_list: self.whole_lists,
            listed: false,
            unmarked: self.touched,
        }
    }

    /// Whether other launches could be denied what this one does: it brings a directory without `u+w` along, or has to make one writable,
    /// and locks it again at its end.
    pub(super) fn goes_alone(&self, units: &[OsString], how: Copying) -> bool {
        let recipe = &self.plan.recipe;
        let may_lock = !self.plan.as_root && (recipe.may_bring_dirs(how) || !recipe.unlock);
        may_lock && !recipe.dry_run && self.spine.is_below_locked(units)
    }

    /// Puts buckets among those that are copied one after the other, when all others are done.
    pub(super) fn copy_alone(&mut self, buckets: Vec<Bucket>) {
        self.alone.extend(buckets.iter().map(|bucket| bucket.id));
        self.repair.extend(buckets);
    }

    pub(super) fn attributes(&self, part: &Part, listed: bool) -> Invocation {
        let dest = part.dest.then_some(&b"./"[..]);
        self.plan.recipe.attributes(dest, part.arguments.clone(), part.exposed, listed)
    }

    /// As many buckets as fit the arguments of a launch.
    fn next_removals(&mut self) -> Option<Vec<Bucket>> {
        let mut taken = vec![self.removals.pop()?];
        let mut room = self.room.saturating_sub(taken[0].argument_bytes);
        while let Some(next) = self.removals.last()
            && next.argument_bytes <= room
            && next.exposed == taken[0].exposed
        {
            room -= next.argument_bytes;
            taken.extend(self.removals.pop());
        }
        Some(taken)
    }

    /// The units of a launch, unless the source has changed in a way that they must not be copied.
    pub(super) fn launchable(&mut self, buckets: &[Bucket]) -> Result<Option<Vec<OsString>>> {
        let units = self.arguments(buckets)?;
        if !self.plan.recipe.can_hand_over(&units, self.room) {
            let count = units.len();
            return Err(Error::usage(format!(
                "{count} names that must reach one rsync are more than a process can take, and one of them has a line break"
            ))
            .remedy("give filter rules on the command line instead of in files"));
        }
        let all = units.len();
        let mut units = self.as_scanned(units)?;
        let told = units.len() < all;
        let unmade: Vec<OsString> = units.extract_if(.., |unit| self.spine.is_unmade(unit.as_bytes())).collect();
        if units.len() < all {
            self.note_cut(buckets, &units, &unmade)?;
        }
        if units.is_empty() {
            let told = told || !unmade.is_empty();
            // Of what was not copied nothing is deleted or removed either.
            let tasks = buckets.iter().map(|bucket| match self.stage {
                Stage::Clean => Task::Clean(bucket.id),
                Stage::Remove => Task::Remove(bucket.id),
                _ => Task::Copy(bucket.id),
            });
            self.books.skip(tasks.collect::<Vec<_>>(), told);
        }
        Ok((!units.is_empty()).then_some(units))
    }

    /// Names units that are not launched because a directory above them could not be made, and remembers the buckets that lack some.
    fn note_cut(&mut self, buckets: &[Bucket], left: &[OsString], unmade: &[OsString]) -> Result<()> {
        let left: HashSet<&OsString> = left.iter().collect();
        for bucket in buckets {
            if self.arguments(&[*bucket])?.iter().any(|unit| !left.contains(unit)) {
                self.books.cut(bucket.id);
            }
        }
        if unmade.is_empty() || !matches!(self.stage, Stage::Transfer | Stage::Repair) {
            return Ok(());
        }
        self.soft.add(exit::PARTIAL);
        (self.tell)(Event::Failed(Failed::NoDirectory { names: unmade.len(), first: unmade[0].clone() }));
        let failure = |unit: &OsString| Failure {
            name: self.naming.of_argument(unit.as_bytes()),
            said: b"the directory that holds it could not be made".to_vec(),
        };
        let failures: Vec<Failure> = unmade.iter().map(failure).collect();
        let buckets = buckets.iter().map(|bucket| bucket.id).collect();
        self.with_ledger(|ledger| ledger.failed("copy", exit::PARTIAL, buckets, &failures))
    }

    /// What an earlier part of the run has done is not to be done again by one rsync for everything.
    pub(super) fn resumes(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.before().launches > 0)
    }

    /// After an earlier part nobody knows how far the spine was made, also where no bucket is left that needs it.
    pub(super) fn lacks_spine(&self) -> bool {
        self.resumes() && self.scanned && (self.spine.created as usize) < self.spine.len()
    }

    fn start_clean(&mut self) -> Result<bool> {
        let taken = self.queue.take(self.slots(), self.room, u32::MAX, false);
        let Some(first) = taken.first().copied() else { return Ok(false) };
        if let Some(units) = self.launchable(&taken)? {
            let invocation = self.plan.recipe.clean(units, &self.spine.blocked, first.exposed, self.room);
            self.start(Job::Clean(taken), invocation, Tells::Deletions)?;
        }
        Ok(true)
    }

    /// `--delete-after` and `--delete-delay` delete after everything was copied: what ends the run before that ends deletion too.
    pub(super) fn deletes_late(&self) -> bool {
        matches!(self.plan.deletes, Some(Delete::After | Delete::Delay))
    }

    /// Launches that print a line per entry are started when the spine is complete, because a second look at a directory would
    /// print it again. `--delete-before` makes rsync read everything before it deletes anything. And something that cannot be read ends
    /// deletion: nothing is deleted before all of the source was looked at.
    fn waits_for_scan(&self) -> bool {
        let names = self.plan.watches_names && !self.deletes_late();
        names
            || self.plan.prints
            || self.plan.deletes == Some(Delete::Before)
            || self.keeps_if_failed() && !self.deletes_late()
    }

    /// Deletion stops once the source is known to have something that cannot be read, as inside one rsync.
    pub(super) fn keeps(&self) -> bool {
        self.sender_failed && self.keeps_if_failed()
    }

    pub(super) fn keeps_if_failed(&self) -> bool {
        self.plan.deletes.is_some() && !self.plan.ignore_errors
    }

    fn why_one(&mut self) -> Result<Option<&'static str>> {
        if let Some(why) = self.meets_there()? {
            return Ok(Some(why));
        }
        // One rsync would delete.
        Ok(if self.names_meet { None } else { self.one_launch() })
    }

    /// Why one rsync does all that the scan found, before anything else was started.
    fn one_launch(&mut self) -> Option<&'static str> {
        // One rsync would copy what is ignored. Where something is, its directory was split.
        if self.plan.gitignore && self.spine.len() > 0 {
            return None;
        }
        if self.keeps() {
            return Some("something cannot be read, and one rsync knows what it may still delete");
        }
        if self.plan.prints && self.plan.recipe.unlock && self.spine.locked {
            return Some("directories without u+rwx would be printed with other modes");
        }
        if self.bandwidth.is_some() && self.queue.is_nearly_one() {
            return Some("one part is nearly all of it, and the bandwidth limit is for all together");
        }
        let all = self.queue.take(self.config.processes, self.room, u32::MAX, false);
        let one = self.queue.is_empty();
        all.into_iter().for_each(|bucket| self.queue.push(bucket));
        one.then_some("it is not worth more than one launch")
    }

    /// While launches copy, what split directories hold too much is still at the destination: if there is no room, one rsync, which deletes as
    /// it copies, does what is left. Where a second look at what was copied does something else, the run ends.
    pub(super) fn makes_room(&mut self, job: &Job) -> bool {
        let copies = matches!(job, Job::Buckets(_) | Job::Create(_));
        // Others ran out of room as well.
        if self.plain_waits && copies {
            return true;
        }
        let deletes = matches!(self.plan.deletes, Some(Delete::Auto | Delete::During));
        let may = deletes && copies && self.scanned && self.stage == Stage::Transfer && self.summary.plain.is_none();
        let again = self.plan.repeatable && !self.plan.leaves_halves && !self.plan.gitignore;
        let here = self.config.hosts.is_empty() && !self.resumes() && !self.stopping();
        if !may || !again || !here {
            return false;
        }
        const WHY: &str = "there is no room for all before what is too much is deleted";
        self.summary.plain = Some(WHY.into());
        (self.tell)(Event::Note(Note::OneRsyncForTheRest { why: WHY.into() }));
        self.dismiss_all();
        self.plain_waits = true;
        true
    }

    fn start_plain(&mut self) -> Result<()> {
        self.queue.clear();
        self.repair.clear();
        // What is still being written there is not needed any more.
        self.ending.store(true, Ordering::SeqCst);
        if !self.config.keep && self.plan.one_rsync_meets(self.config, self.buckets) {
            self.buckets.vacate();
            // It lay there.
            self.ledger = None;
        }
        let why = self.summary.plain.clone().unwrap_or_default();
        self.with_ledger(|ledger| ledger.take(Record::OneRsync { why }))?;
        // Also that it is asked for figures may be refused.
        let asked = self.plan.asked.clone().filter(|_| !self.fell_back || self.config.verify_only);
        self.verbatim = asked.is_none();
        let mut invocation = asked.unwrap_or_else(|| self.plan.plain.clone());
        invocation.asks = self.config.asks && !self.config.destination.is_local() && self.config.hosts.is_empty();
        self.asks = invocation.asks;
        self.start(Job::Plain, invocation, Tells::All)
    }

    /// Has spine directories made, unless they are there already as rsync would make them: a run that finds little to do.
    fn make_spine(&mut self) -> Result<()> {
        let range = self.spine.created as usize..self.spine.len();
        let dest = self.plan.watched_dest.as_deref();
        let known = dest.zip(self.plan.keeps).filter(|_| !range.is_empty());
        let recipe = &self.plan.recipe;
        let stands = known.and_then(|(dest, keeps)| self.spine.stands(range.clone(), recipe, dest, keeps));
        // Most runs that find the directories find most of the files as well.
        self.queue.expect_little(stands.is_some());
        let Some(other_times) = stands else { return self.start_create() };
        if !self.spine.dest_made {
            self.name_missing_sources();
        }
        self.done += Weight { entries: range.len() as u64, bytes: 0 };
        self.spine.other_times.extend(other_times);
        self.spine.created = range.end as u32;
        self.spine.dest_made = true;
        if let Some(dest) = &self.plan.watched_dest {
            self.spine.note_changes(dest);
        }
        Ok(())
    }

    fn start_create(&mut self) -> Result<()> {
        if !self.spine.dest_made {
            self.name_missing_sources();
        }
        let range = self.spine.fitting(self.spine.created as usize, self.room);
        let known = range.end as u32;
        let mut part = self.spine.part(range, true);
        part.arguments.retain(|argument| !self.spine.is_unmade(argument.as_bytes()));
        let first = || {
            let of_tree = self.plan.trees.first().map(|tree| &tree.prefix[..]);
            of_tree.or(self.plan.singles.first().map(|single| &single.prefix[..]))
        };
        // Made by what belongs to another source it would have other modes, and the scan may come upon that first.
        let fills_dest = |tree: &SourceTree| tree.root.name.is_none() && tree.prefix == b"./" && tree.above.is_empty();
        let of_dest = part.dest || !self.spine.dest_made && self.plan.trees.iter().any(fills_dest);
        let dest = if of_dest {
            Some(&b"./"[..])
        } else if part.arguments.is_empty() {
            first()
        } else {
            None
        };
        if self.plan.prints {
            let above = of_dest.then(|| b".".to_vec());
            let made = part.arguments.iter().map(|argument| path_in_transfer(argument.as_bytes()).to_vec());
            self.said.note_spine(above.into_iter().chain(made));
        }
        let invocation = self.plan.recipe.create(dest, part.arguments, part.exposed);
        self.spine.creating = true;
        self.spine.creations += 1;
        self.start(Job::Create(known), invocation, Tells::AllAndRemember)
    }

    fn start_delete(&mut self, range: Range<usize>) -> Result<()> {
        let Some(part) = self.part_as_scanned(range.clone(), false)? else {
            // What is left out was told, or is a mount point.
            self.books.skip([Task::Part(range.start)], true);
            return Ok(());
        };
        // What other sources bring to DEST is not to be deleted there.
        let mut others = if part.dest { self.plan.named.clone() } else { Vec::new() };
        others.retain(|name| !part.arguments.contains(name));
        let (recipe, blocked) = (&self.plan.recipe, &self.spine.blocked);
        let invocation = recipe.delete(part.dest, part.arguments, others, blocked, part.exposed, self.room);
        self.start(Job::Delete(range), invocation, Tells::Deletions)
    }

    pub(super) fn name_missing_sources(&mut self) {
        for (source, why) in &self.plan.missing {
            self.soft.add(exit::PARTIAL);
            self.sender_failed = true;
            (self.tell)(Event::Failed(Failed::Source { source: source.clone(), why: *why }));
        }
    }
}
