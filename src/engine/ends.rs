//! What follows from the end of a launch: done, once more, repaired alone, or the end of the run. By the table of exit codes.

use std::ffi::OsString;
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::error::{EXIT_FILE_IO, Result};
use crate::journal::Record;
use crate::report::{Event, Failed, Note};
use crate::rsync::command::Removal;
use crate::rsync::exit::{self, Class, RunCode};
use crate::rsync::messages::{self, About};
use crate::rsync::options::Delete;
use crate::rsync::output::{Counts, Figures, Transcript};
use crate::scan::Weight;
use crate::shell;
use crate::supervise::Ended;

use super::books::Task;
use super::failures::{self, Failure};
use super::launch::End;
use super::resume;
use super::{Job, Run, Running};

/// How often an rsync that was killed or ran out of memory is tried again, at most.
const BROKEN_RETRIES: u32 = 1;
/// Wait before a failed connection is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A remote shell could not connect.
const CONNECTION: u8 = 255;
/// Key of the spine's launches among those of buckets.
const SPINE_TRIES: u64 = u64::MAX;

/// What the end of a launch says of the host it ran on.
enum Host {
    /// It works, or there is none; the launch ended so.
    Works(Ended),
    /// The launch was lost with it.
    Lost(u8, Whose),
}

/// Who ended a launch that was lost.
#[derive(PartialEq)]
enum Whose {
    /// The way to the host.
    Connection,
    /// The rsync there.
    Rsync,
}

/// What the tries of a launch are counted by: its buckets, or the spine.
fn keys(job: &Job) -> Vec<u64> {
    match job {
        Job::Buckets(buckets) | Job::Clean(buckets) | Job::Remove(buckets) => {
            buckets.iter().map(|bucket| bucket.id).collect()
        }
        Job::Repair(bucket) => vec![bucket.id],
        Job::Create(_) | Job::Delete(_) | Job::Attributes(_) | Job::Plain => vec![SPINE_TRIES],
    }
}

impl Run<'_, '_> {
    pub(super) fn ended(&mut self, launch: u64, end: End) -> Result<()> {
        let Some(Running { job, slot, weight, begins, crowded, meter, .. }) = self.running.remove(&launch) else {
            return Ok(());
        };
        self.moved += meter.moved().max(end.transcript.figures.transferred_bytes);
        self.summary.rsync_time += end.ran;
        self.summary.figures += match job {
            Job::Plain => end.transcript.figures,
            // Made by none, they would be counted by each that comes upon them.
            Job::Create(_) if self.plan.recipe.dry_run => {
                Figures { created: Counts::default(), ..end.transcript.figures.of_changes() }
            }
            _ => end.transcript.figures.of_changes(),
        };
        self.summary.has_figures |= end.transcript.has_figures();
        let sent = Some(end.transcript.figures.sent).filter(|sent| *sent > 0);
        self.bandwidth.iter_mut().for_each(|bandwidth| bandwidth.ends(launch, sent, Instant::now()));
        let in_order = end.ended.as_ref().is_ok_and(|ended| ended.code() == exit::OK);
        let nothing = !end.begun || in_order && end.transcript.had_no_files();
        if self.has_done_nothing(&job, &begins, nothing) {
            return Ok(());
        }
        self.touched |= !in_order || end.transcript.has_changes();
        if let Job::Create(_) = job {
            self.spine.creating = false;
        }
        if self.fell_back && !matches!(job, Job::Plain) {
            self.places.pool.iter_mut().for_each(|pool| pool.left(slot));
            return Ok(());
        }
        if end.transcript.found_no_place() && !self.stopping() {
            if crowded {
                self.make_place(job);
                return Ok(());
            }
            if self.takes_turns(&job) {
                self.summary.retried += 1;
                self.put_back(job);
                return Ok(());
            }
        }
        if end.out_of_reach && !self.stopping() {
            if self.plan.recipe.handles.give_up() {
                (self.tell)(Event::Note(Note::SourcesByPath));
            }
            self.put_back(job);
            return Ok(());
        }
        let ended = end.ended?;
        if ended == Ended::NotStarted {
            self.places.pool.iter_mut().for_each(|pool| pool.left(slot));
            return Ok(());
        }
        let ended = match self.on_a_host(slot, ended, &job, weight, end.ran) {
            Host::Lost(code, whose) => {
                self.elsewhere(slot, job, code, whose);
                return Ok(());
            }
            Host::Works(ended) => ended,
        };
        let refused = end.transcript.is_refused();
        if self.falls_back(&job, ended.code(), refused, end.held.first().map(|(line, _)| &line[..])) {
            return Ok(());
        }
        let repairs = matches!(job, Job::Buckets(_)) && end.transcript.receiver_denied();
        let denied_only = repairs && !self.plan.as_root && !self.stopping();
        // A repair says it again if it still holds.
        let repaired = ended.code() == exit::PARTIAL && !self.stopping();
        // Times that were right before something was written into a directory of another user. One rsync sets them once more at its
        // end as well, and does not mind if it may not (rsync 3.5.0, `touch_up_dirs`). Where they were not, nobody has tried before.
        let in_vain = end.transcript.only_times() && !self.names_other_times(&end.named, end.more_named);
        let sets_times = matches!(job, Job::Attributes(_) | Job::Delete(_));
        let came_to_nothing = if sets_times { in_vain } else { repaired };
        if !came_to_nothing {
            let new = end.held.iter().filter(|(line, nth)| self.said.is_first(line, *nth));
            new.for_each(|(line, _)| (self.tell)(Event::Complained(line)));
        }
        let mut code = ended.code();
        let soft = [exit::PARTIAL, exit::VANISHED].contains(&code);
        if soft && self.comes_again(&job, code, &end.transcript) {
            return Ok(());
        }
        let messages = || end.named.iter().filter_map(|line| messages::read(line));
        let blocked = messages().filter(|message| message.about == About::Blocked);
        let blocked: Vec<Vec<u8>> = blocked.flat_map(|message| message.names()).map(|name| name.bytes).collect();
        if let Job::Create(known) = job {
            // What stands in the place of a directory keeps rsync from what is in it as well.
            let unmade = messages().filter_map(|message| self.naming.unmade(&message));
            let unmade: Vec<Vec<u8>> = unmade.chain(blocked.iter().cloned()).collect();
            self.spine.note_unmade(self.spine.created as usize..known as usize, &unmade);
        }
        self.spine.blocked.extend(blocked);
        // Directories were asked for, and something else was found.
        if let (exit::OK, Job::Create(_), true) = (code, &job, end.transcript.skipped()) {
            code = exit::PARTIAL;
        }
        if code == exit::PARTIAL && end.transcript.only_missing().is_some_and(|count| self.are_gone(&job, count)) {
            code = exit::VANISHED;
        }
        // What is in the place of a directory would have made way for it.
        let looks_below = matches!(job, Job::Delete(_) | Job::Clean(_)) && end.transcript.only_below_files();
        let pretends = self.plan.recipe.dry_run && !matches!(job, Job::Plain);
        if code == exit::PARTIAL && pretends && (looks_below || end.transcript.only_below_loops()) {
            code = exit::OK;
        }
        if code == exit::PARTIAL && sets_times && in_vain {
            code = exit::OK;
        }
        // A repair names it again.
        if code == exit::PARTIAL && !denied_only {
            self.note_failures(&job, code, &end.named, end.more_named)?;
        }
        // With --delete-after rsync knows of files that could not be read before it deletes; otherwise it has deleted by then.
        let after = self.plan.deletes == Some(Delete::After);
        let failed = end.transcript.list_failed() || after && end.transcript.file_failed();
        self.sender_failed |= code == exit::PARTIAL && failed;
        // Launches that start or end after that time fail because of it.
        let over = self.plan.stops_itself && self.summary.launches > 1 && code == exit::USAGE;
        if over || code == exit::TIMEOUT && self.plan.stops_itself {
            self.fail(exit::TIMEOUT);
            return Ok(());
        }
        if end.transcript.lost_list() && !matches!(job, Job::Plain) {
            self.whole_lists = true;
            self.again(job, code, BROKEN_RETRIES);
            return Ok(());
        }
        match exit::class(code) {
            Class::Fatal if code == exit::PROTOCOL && end.transcript.lost_parent() => {
                self.again(job, code, u32::MAX);
            }
            Class::Done | Class::Vanished | Class::MaxDelete | Class::Partial => {
                if let Job::Buckets(_) = job {
                    self.fit.learn(weight, end.ran.as_secs_f64());
                    self.queue.learned(self.fit.model());
                } else {
                    self.fit.bound(end.ran.as_secs_f64());
                    self.queue.goes_by(self.fit.model());
                }
                self.at_once = self.at_once.saturating_add(1).min(self.most_at_once);
                self.turned_away = 0;
                self.answered = true;
                self.check_after(&job)?;
                self.accomplished(launch, job, weight, code, &end.transcript)?;
            }
            Class::Connection => {
                // What refused so many may take fewer.
                self.at_once = NonZero::new(self.running.len().div_ceil(2)).unwrap_or(NonZero::<usize>::MIN);
                self.again(job, code, u32::MAX);
            }
            Class::Broken => self.again(job, code, BROKEN_RETRIES),
            Class::Fatal if code == EXIT_FILE_IO && self.makes_room(&job) => {}
            Class::Fatal => self.fail(code),
        }
        Ok(())
    }

    /// Whether one of these complaints, or of `more` that are not listed, may be about a directory whose time was not right before.
    fn names_other_times(&self, named: &[Vec<u8>], more: u64) -> bool {
        let others = &self.spine.other_times;
        let may_be_other = |line: &Vec<u8>| {
            let path = messages::read(line).and_then(|message| self.naming.path_at_dest(&message));
            path.is_none_or(|path| others.contains(&path))
        };
        let all_are_known = more == 0 && !named.is_empty();
        !others.is_empty() && (!all_are_known || named.iter().any(may_be_other))
    }

    /// Writes down what a launch has failed to copy.
    fn note_failures(&mut self, job: &Job, code: u8, named: &[Vec<u8>], more: u64) -> Result<()> {
        if self.ledger.is_none() {
            return Ok(());
        }
        let mut failures = Vec::new();
        for line in named {
            let Some(message) = messages::read(line) else { continue };
            let entries = self.naming.entries(&message);
            if entries.is_empty() {
                failures.push(Failure { name: None, said: line.clone() });
            }
            failures.extend(entries.into_iter().map(|entry| Failure { name: Some(entry.name), said: line.clone() }));
        }
        if more > 0 {
            let said = format!("{more} more names of this launch are not listed");
            (self.tell)(Event::Note(Note::Unlisted { list: failures::FAILED_TEXT.into(), names: more }));
            failures.push(Failure { name: None, said: said.into_bytes() });
        }
        // What is deleted, or set at the end, is tried again by each part of a run.
        let buckets = if let Job::Buckets(_) | Job::Repair(_) = job { keys(job) } else { Vec::new() };
        self.with_ledger(|ledger| ledger.failed(job.phase(), code, buckets, &failures))
    }

    /// A directory that was replaced during a launch, or DEST, may have led it elsewhere: that is said, and changes the exit code.
    fn check_after(&mut self, job: &Job) -> Result<()> {
        if !matches!(job, Job::Plain) {
            self.keeps_dest();
        }
        let arguments = match job {
            Job::Buckets(buckets) | Job::Clean(buckets) | Job::Remove(buckets) => self.arguments(buckets)?,
            Job::Repair(bucket) => self.arguments(&[*bucket])?,
            Job::Create(known) => self.spine.part(self.spine.created as usize..*known as usize, true).arguments,
            Job::Delete(range) | Job::Attributes(range) => self.spine.part(range.clone(), true).arguments,
            Job::Plain => return Ok(()),
        };
        self.as_scanned(arguments)?;
        Ok(())
    }

    fn accomplished(&mut self, launch: u64, job: Job, weight: Weight, code: u8, transcript: &Transcript) -> Result<()> {
        let denied = transcript.receiver_denied();
        let repairable = code == exit::PARTIAL && denied && !self.plan.as_root;
        if !matches!(job, Job::Buckets(_) | Job::Repair(_)) {
            self.books.done(job.tasks());
        }
        match job {
            Job::Create(known) => {
                let entries = u64::from(known - self.spine.created);
                self.done += Weight { entries, bytes: 0 };
                self.spine.created = known;
                self.spine.dest_made = true;
                if let (exit::OK, Some(dest)) = (code, &self.plan.watched_dest) {
                    self.spine.note_changes(dest);
                }
            }
            Job::Buckets(buckets) if repairable => {
                self.done += weight;
                self.copied = true;
                self.repair.extend(buckets);
                // A repair does not meet again what went wrong for another reason.
                if transcript.complained_otherwise() {
                    self.soft.add(code);
                }
                return Ok(());
            }
            Job::Buckets(buckets) => {
                self.done += weight;
                self.count_entries(&buckets, transcript)?;
                self.note_done(launch, code, &buckets)?;
            }
            Job::Plain => {
                self.books.settle_all();
                self.done = self.control.watch.found();
                // It met itself what the scan could not read, as far as that is part of the transfer.
                self.soft = RunCode::default();
            }
            Job::Repair(bucket) => {
                self.done += weight;
                self.alone.remove(&bucket.id);
                self.count_entries(&[bucket], transcript)?;
                self.note_done(launch, code, &[bucket])?;
            }
            // Whoever removed a name first: it is gone.
            Job::Remove(_) if code == exit::VANISHED => return Ok(()),
            Job::Clean(_) | Job::Remove(_) | Job::Delete(_) | Job::Attributes(_) => {}
        }
        self.soft.add(code);
        Ok(())
    }

    fn note_done(&mut self, launch: u64, code: u8, buckets: &[Bucket]) -> Result<()> {
        self.copied = true;
        self.remove_later(buckets);
        self.clean_later(buckets);
        if !std::mem::replace(&mut self.dest_noted, true)
            && let Some(place) = resume::local_dest(self.config, self.plan).and_then(|dest| resume::place(&dest))
        {
            self.record(&Record::Dest { place })?;
        }
        self.books.done(buckets.iter().map(|bucket| Task::Copy(bucket.id)));
        let ids = buckets.iter().map(|bucket| bucket.id);
        let (cut, whole): (Vec<u64>, Vec<u64>) = ids.partition(|id| self.books.is_cut(*id));
        let sender_failed = self.sender_failed;
        for (buckets, code) in [(whole, code), (cut, exit::PARTIAL)] {
            if !buckets.is_empty() {
                self.record(&Record::Done { launch, code, sender_failed, buckets })?;
            }
        }
        Ok(())
    }

    /// What is to be deleted after everything was copied is deleted in a step of its own: a launch does not know of the others.
    pub(super) fn clean_later(&mut self, buckets: &[Bucket]) {
        if self.deletes_late() {
            self.to_clean.extend_from_slice(buckets);
        }
    }

    /// rsync itself looks again whether a name was copied before it removes it.
    pub(super) fn remove_later(&mut self, buckets: &[Bucket]) {
        let recipe = &self.plan.recipe;
        if recipe.removal == Removal::SinglesLast && !recipe.dry_run {
            let singles: Vec<Bucket> = buckets.iter().filter(|bucket| bucket.singles).copied().collect();
            self.books.open(singles.iter().map(|bucket| Task::Remove(bucket.id)));
            self.removals.extend(singles);
        }
    }

    /// Puts buckets back once whose failures may pass. Where rsync would do something twice, it does not.
    fn comes_again(&mut self, job: &Job, code: u8, transcript: &Transcript) -> bool {
        let Job::Buckets(buckets) = job else { return false };
        let may = code == exit::PARTIAL
            && self.plan.repeatable
            && !self.plan.leaves_halves
            && self.config.retries > 0
            && !self.stopping();
        if !may || !transcript.may_pass() || buckets.iter().any(|bucket| self.tries.contains_key(&bucket.id)) {
            return false;
        }
        for bucket in buckets {
            self.tries.insert(bucket.id, 1);
            self.queue.push(*bucket);
        }
        self.summary.retried += 1;
        (self.tell)(Event::Note(Note::RetryFailed));
        true
    }

    /// Puts work back after a failure that may pass, or gives up.
    fn again(&mut self, job: Job, code: u8, most: u32) {
        let most = most.min(self.config.retries);
        if let Job::Plain = job {
            return self.fail(code);
        }
        if self.leaves_halves(&job, code) {
            return self.fail(code);
        }
        let tried = keys(&job).into_iter().map(|key| {
            let tries = self.tries.entry(key).or_insert(0);
            *tries += 1;
            *tries
        });
        let tried = tried.max().unwrap_or(u32::MAX);
        // Before anything has worked, a failure of the connection is an answer.
        let answer = !self.spine.dest_made && code != exit::PROTOCOL;
        if self.stopping() || tried > most || answer {
            return self.fail(code);
        }
        let pause = FIRST_PAUSE * (1 << (tried - 1).min(6));
        (self.tell)(Event::Note(Note::Retry { code, pause }));
        self.pause_until = Some(Instant::now() + pause);
        self.summary.retried += 1;
        self.put_back(job);
    }

    /// Whether a launch that broke off may have left files that the next one would pass over; says so.
    fn leaves_halves(&self, job: &Job, code: u8) -> bool {
        let copies = matches!(job, Job::Buckets(_) | Job::Repair(_) | Job::Plain);
        if !copies || !self.plan.leaves_halves {
            return false;
        }
        (self.tell)(Event::Failed(Failed::HalfWritten { code }));
        true
    }

    /// The same work waits again.
    pub(super) fn put_back(&mut self, job: Job) {
        match job {
            Job::Buckets(buckets) | Job::Clean(buckets) => {
                buckets.into_iter().for_each(|bucket| self.queue.push(bucket));
            }
            Job::Repair(bucket) => self.repair.push(bucket),
            Job::Remove(buckets) => self.removals.extend(buckets),
            Job::Delete(range) | Job::Attributes(range) => self.parts.push(range),
            // Those that wait for it may wait for long.
            Job::Create(_) => self.dismiss_all(),
            Job::Plain => self.plain_waits = true,
        }
    }

    pub(super) fn fail(&mut self, code: u8) {
        if !self.control.interrupted() {
            self.failed.get_or_insert(code);
            self.control.abort();
        }
    }

    /// What the end of a launch says of the host it ran on.
    fn on_a_host(&mut self, slot: usize, ended: Ended, job: &Job, weight: Weight, ran: Duration) -> Host {
        let stopping = self.stopping();
        let Some(pool) = &mut self.places.pool else { return Host::Works(ended) };
        // 255 is ssh's word for the way to the host; an rsync that cannot reach DEST has it too.
        let (ended, whose) = match ended {
            Ended::Code(shell::FOR_255) => (Ended::Code(CONNECTION), Whose::Rsync),
            Ended::Code(CONNECTION) => (ended, Whose::Connection),
            _ => (ended, Whose::Rsync),
        };
        let code = ended.code();
        // The end of the time of --stop-at is no loss.
        let in_time = code != exit::TIMEOUT || !self.plan.stops_itself;
        let broke_off = matches!(exit::class(code), Class::Connection | Class::Broken);
        let of_host = broke_off && in_time || (shell::NO_SCRIPT..=127).contains(&code);
        if stopping {
            pool.left(slot);
        } else if of_host {
            return Host::Lost(code, whose);
        } else {
            let buckets = if let Job::Buckets(buckets) = job { buckets.len() as u64 } else { 0 };
            pool.won(slot, buckets, weight, ran);
        }
        Host::Works(ended)
    }

    /// Sets a host aside that has lost a launch, and puts the work back for another; it is the work's own fault if it fails on two hosts
    /// while others succeed.
    fn elsewhere(&mut self, slot: usize, job: Job, code: u8, whose: Whose) {
        let Some(pool) = &mut self.places.pool else { return };
        let (host, at) = (pool.host(slot).to_string(), pool.of_slot(slot));
        let (proven, wins, alone) = (pool.is_proven(slot), pool.wins(), pool.hosts() == 1);
        if let Some(pause) = pool.lost(slot, code, Instant::now()) {
            (self.tell)(Event::Note(Note::HostLost { host, code, pause }));
        }
        if self.leaves_halves(&job, code) {
            return self.fail(code);
        }
        if proven && whose == Whose::Rsync {
            for key in keys(&job) {
                let tries = self.tries.entry(key).or_insert(0);
                *tries += 1;
                let too_often = alone && *tries > self.config.retries;
                match self.faults.get(&key) {
                    Some((other, before)) if *other != at && wins > *before || too_often => {
                        (self.tell)(Event::Failed(Failed::GivenUp { code, one_host: alone }));
                        return self.fail(code);
                    }
                    Some(_) => {}
                    None => {
                        self.faults.insert(key, (at, wins));
                    }
                }
            }
        }
        self.summary.retried += 1;
        self.put_back(job);
    }

    /// Whether at least `count` units of a launch are no longer in the source.
    fn are_gone(&self, job: &Job, count: u64) -> bool {
        let units = match job {
            Job::Buckets(buckets) | Job::Clean(buckets) | Job::Remove(buckets) => self.arguments(buckets),
            Job::Repair(bucket) => self.arguments(&[*bucket]),
            Job::Create(known) => Ok(self.spine.part(self.spine.created as usize..*known as usize, true).arguments),
            Job::Delete(range) | Job::Attributes(range) => Ok(self.spine.part(range.clone(), true).arguments),
            Job::Plain => return false,
        };
        let gone = |unit: &&OsString| {
            let missing = [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory];
            let looked = fs::symlink_metadata(self.plan.recipe.local(unit.as_bytes()));
            looked.is_err_and(|error| missing.contains(&error.kind()))
        };
        units.is_ok_and(|units| units.iter().filter(gone).count() as u64 >= count)
    }
}
