//! What is retried, when and how often; and how many launches may run at once after some were refused.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::report::{Failed, Note, Withheld};
use crate::rsync::exit;
use crate::rsync::harm::Harm;

use super::input::Report;
use super::outcome::Whose;
use super::phase::Phase;
use super::{Command, Scheduler, Work};

/// The pause before a failed connection is retried; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long launches that were dismissed, or the other side, are given to free a connection.
const PLACE_IS_MADE: Duration = Duration::from_millis(500);
/// The key for launches of split directories. The other keys are bucket numbers.
const OF_DIRECTORIES: u64 = u64::MAX;

/// The failures so far.
pub(super) struct Retry {
    /// The failed launches of each bucket, or of split directories ([`OF_DIRECTORIES`]).
    pub tries: HashMap<u64, u32>,
    /// Work that failed for its own reasons on a host that works: the host, and how many launches had succeeded by then.
    faults: HashMap<u64, (usize, u64)>,
    pub pause_until: Option<Instant>,
    /// How many launches in a row were turned away although no other one was running.
    pub turned_away: u32,
    /// How many launches may run now, whatever the user asked for: fewer after a connection failed, and one more after each success.
    pub at_once: NonZero<usize>,
    /// The upper bound of `at_once`: lower if a daemon did not accept more connections.
    most_at_once: NonZero<usize>,
    /// How many launches were set aside.
    aside: u32,
    /// Buckets that an rsync may have begun to copy, and that another one copies again.
    pub repeated: HashSet<u64>,
    /// From now on nothing is deleted, see [`Scheduler::repeats`].
    pub spares: bool,
    /// Something was moved, or was read, before it was copied again, and the user was told, see [`Scheduler::copies_again`].
    pub moved_before: bool,
    pub read_before: bool,
}

impl Retry {
    pub fn new() -> Retry {
        Retry {
            tries: HashMap::new(),
            faults: HashMap::new(),
            pause_until: None,
            turned_away: 0,
            at_once: NonZero::<usize>::MAX,
            most_at_once: NonZero::<usize>::MAX,
            aside: 0,
            repeated: HashSet::new(),
            spares: false,
            moved_before: false,
            read_before: false,
        }
    }

    /// A launch has come to its end.
    pub fn succeeded(&mut self) {
        self.at_once = self.at_once.saturating_add(1).min(self.most_at_once);
        self.turned_away = 0;
    }

    /// Counts a failed launch for each of these keys, and returns the highest count.
    fn count(&mut self, keys: &[u64]) -> u32 {
        let tried = keys.iter().map(|key| {
            let tries = self.tries.entry(*key).or_insert(0);
            *tries += 1;
            *tries
        });
        tried.max().unwrap_or(u32::MAX)
    }
}

/// The keys by which the failures of a launch are counted.
fn keys(work: &Work) -> Vec<u64> {
    match work {
        Work::Create(_) | Work::Delete(_) | Work::Attributes(_) | Work::Everything => vec![OF_DIRECTORIES],
        _ => work.buckets().iter().map(|bucket| bucket.id).collect(),
    }
}

impl Scheduler {
    pub(super) fn pausing(&self) -> bool {
        self.retry.pause_until.is_some_and(|until| self.now < until)
    }

    /// Puts the work of a launch back, so that it waits again.
    pub(super) fn put_back(&mut self, work: Work) {
        match work {
            Work::Copy(buckets) | Work::Clean(buckets) => {
                buckets.into_iter().for_each(|bucket| self.queue.push(bucket));
            }
            Work::Repair(bucket) => self.repair.push(bucket),
            Work::Remove(buckets) => self.removals.extend(buckets),
            Work::Delete(part) | Work::Attributes(part) => match &mut self.phase {
                Phase::Delete(parts) | Phase::Attributes { parts, .. } => parts.push(part),
                _ => {}
            },
            // The launches that wait for these directories might wait too long.
            Work::Create(_) => self.dismiss_all(),
            Work::Everything => self.one_waits = true,
        }
    }

    /// A launch is repeated whose rsync may have moved something (`--remove-source-files`). That is missing in the source now, so that another rsync would
    /// delete it at the destination, and it would be lost: from now on nothing is deleted. And what the rsync has changed in the source is not copied any more
    /// as it was.
    pub(super) fn repeats(&mut self, work: &Work, report: &Report) {
        if !work.copies() || report.has_done_nothing() {
            return;
        }
        self.retry.repeated.extend(work.buckets().iter().map(|bucket| bucket.id));
        if self.policy.loses_what_it_moved() && !std::mem::replace(&mut self.retry.spares, true) {
            self.soft.add(exit::MAX_DELETE);
            self.tell_failure(Failed::NotDeleted { count: 0, why: Withheld::Moved, first: Vec::new() });
        }
        // Single names are removed when everything was copied.
        self.copies_again(true, work.is_everything() || work.buckets().iter().any(|bucket| !bucket.singles));
    }

    /// Files, directories or both are copied that an earlier rsync has begun to copy.
    pub(super) fn copies_again(&mut self, has_files: bool, has_dirs: bool) {
        let (policy, retry) = (&self.policy, &mut self.retry);
        let moved = has_dirs && policy.spoils_what_it_leaves() && !std::mem::replace(&mut retry.moved_before, true);
        let read = has_files && policy.spoils_what_it_reads() && !std::mem::replace(&mut retry.read_before, true);
        if moved {
            let (dir_times, hard_links) = (policy.dir_times, policy.hard_links);
            self.tell_failure(Failed::MovedBefore { dir_times, hard_links });
        }
        if read {
            self.tell_failure(Failed::ReadBefore);
        }
    }

    pub(super) fn once_more(&mut self, work: Work, report: &Report) {
        self.repeats(&work, report);
        self.retry.count(&keys(&work));
        self.commands.push(Command::Retried);
        self.note(Note::RetryFailed);
        self.put_back(work);
    }

    /// Puts work back after a failure that may pass, or gives up.
    pub(super) fn again(&mut self, work: Work, report: &Report, code: u8, most: u32) {
        let most = most.min(self.policy.retries);
        if work.is_everything() || self.does_harm(&work, code) {
            return self.fail(code);
        }
        let tried = self.retry.count(&keys(&work));
        // If the connection fails before anything has succeeded, a retry is not expected to help.
        let answer = !self.spine.dest_made && code != exit::PROTOCOL;
        if tried > most && !self.stopping() && !answer && self.sets_aside(&work, code) {
            return;
        }
        if self.stopping() || tried > most || answer {
            return self.fail(code);
        }
        self.repeats(&work, report);
        let pause = FIRST_PAUSE * (1 << (tried - 1).min(6));
        self.note(Note::Retry { code, pause });
        self.retry.pause_until = Some(self.now + pause);
        self.commands.push(Command::Retried);
        self.put_back(work);
    }

    /// Sets work aside whose launches break off although the connection holds, perhaps because of one entry: everything else is copied first, and then the
    /// run fails with this code ([`Scheduler::after_copying`]). Not if this happens again and again.
    fn sets_aside(&mut self, work: &Work, code: u8) -> bool {
        const MOST: u32 = 3;
        let may = matches!(work, Work::Copy(_)) && (exit::class(code) == exit::Class::Broken || code == exit::PROTOCOL);
        if !may || self.retry.aside >= MOST {
            return false;
        }
        self.retry.aside += 1;
        self.aside.get_or_insert(code);
        true
    }

    /// Puts work back whose launch was ended by a pause. It is not counted as a retry: there cannot be more of them than pauses.
    pub(super) fn after_pause(&mut self, work: Work, report: &Report, code: u8) {
        if self.does_harm(&work, code) {
            return self.fail(code);
        }
        self.repeats(&work, report);
        self.note(Note::EndedByPause { code });
        self.commands.push(Command::Retried);
        self.put_back(work);
    }

    /// Halves the number of launches, relative to those that still run: a server that refused this many may accept fewer.
    pub(super) fn fewer_at_once(&mut self) {
        self.retry.at_once = NonZero::new(self.slots.len().div_ceil(2)).unwrap_or(NonZero::<usize>::MIN);
    }

    /// Whether the next launch would do harm after this one that broke off. If so, the user is told.
    fn does_harm(&mut self, work: &Work, code: u8) -> bool {
        let Some(harm) = self.policy.harm.filter(|_| work.copies()) else { return false };
        // A run that ends for another reason ends its rsyncs itself.
        if !self.stopping() {
            self.tell_failure(match harm {
                Harm::SkipsHalves => Failed::HalfWritten { code },
                Harm::OverwritesBackups => Failed::BackupsAtRisk { code },
            });
        }
        true
    }

    /// A launch was refused. The waiting launches make room for it, and no more launches are started ahead.
    pub(super) fn make_place(&mut self, work: Work) {
        self.goes_ahead = false;
        self.retry.pause_until = Some(self.now + PLACE_IS_MADE);
        self.dismiss_all();
        self.put_back(work);
    }

    /// A launch was refused while other launches of this run had connections: from now on no more than these run at once.
    pub(super) fn take_turns(&mut self, work: Work) {
        match NonZero::new(self.slots.len()) {
            Some(others) => {
                let first = self.retry.most_at_once >= self.steering.most && others < self.steering.most;
                if first && self.policy.tells_how {
                    self.note(Note::FewerAtOnce);
                }
                self.retry.most_at_once = self.retry.most_at_once.min(others);
                self.retry.at_once = self.retry.at_once.min(others);
            }
            None => self.retry.turned_away += 1,
        }
        self.retry.pause_until = Some(self.now + PLACE_IS_MADE);
        self.commands.push(Command::Retried);
        self.put_back(work);
    }

    /// Sets a host aside that lost a launch, and puts the work back for another host. If the work fails on two hosts while others succeed, the work is at fault
    /// and the run fails.
    pub(super) fn elsewhere(&mut self, slot: usize, work: Work, report: &Report, (code, whose): (u8, Whose)) {
        let Some(hosts) = &mut self.slots.hosts else { return };
        let (host, at) = (hosts.host(slot).to_string(), hosts.of_slot(slot));
        let (proven, wins, alone) = (hosts.is_proven(slot), hosts.wins(), hosts.hosts() == 1);
        if let Some(pause) = hosts.lost(slot, code, self.now) {
            self.note(Note::HostLost { host, code, pause });
        }
        // One rsync that is started again would delete what it has moved.
        let loses = work.is_everything() && self.policy.loses_what_it_moved();
        if loses || self.does_harm(&work, code) {
            return self.fail(code);
        }
        if proven && whose == Whose::Rsync {
            for key in keys(&work) {
                let tried = self.retry.count(&[key]);
                let too_often = alone && tried > self.policy.retries;
                match self.retry.faults.get(&key) {
                    Some((other, before)) if *other != at && wins > *before || too_often => {
                        self.tell_failure(Failed::GivenUp { code, one_host: alone });
                        return self.fail(code);
                    }
                    Some(_) => {}
                    None => {
                        self.retry.faults.insert(key, (at, wins));
                    }
                }
            }
        }
        self.repeats(&work, report);
        self.commands.push(Command::Retried);
        self.put_back(work);
    }
}
