//! What the engine records while it runs, and what it takes over from a run that did not complete.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::bucket::{self, Bucket, BucketDir};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::report::Live;
use crate::rsync::exit;
use crate::run_dir::durable::{self, BucketsKept};
use crate::run_dir::failed::{self, Failure};
use crate::run_dir::journal::{self, Failures, Journal, Name, Read, Record, SpineRecord, State};
use crate::run_dir::layout::DAMAGED_JOURNAL;
use crate::run_dir::{Ended, Noter};
use crate::scan::Weight;

use super::feed::SpineDir;

/// The journal of a run, and what it contained before.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    journal: Journal,
    before: State,
    /// The names that were not copied so far.
    failures: Failures,
    /// Notes for the user about what was found in the run directory.
    notes: Vec<String>,
    noter: Noter,
}

impl Ledger {
    /// Opens the journal of a run directory, for a new run or to continue one. `run` is the name of the run. `trusted` is false if work that the journal calls
    /// done may have been lost since.
    ///
    /// # Errors
    /// The journal cannot be written, is of a newer version, or of another run.
    pub fn open(dir: &Path, run: &str, trusted: bool) -> Result<Ledger> {
        let (journal, read) = Journal::open(dir, run)?;
        let begun = Record::Begun { version: journal::VERSION, run: run.to_owned() };
        let mut notes = Vec::new();
        let (mut before, lost) = match read {
            Read::Whole { state, .. } => (state, Failures::default()),
            Read::Damaged { state, line } => {
                notes.push(format!(
                    "the journal of the run is damaged in line {line} (it is kept as {}): everything is scanned and checked again",
                    Printable::path(&dir.join(DAMAGED_JOURNAL))
                ));
                (State::default(), state.failures)
            }
        };
        before.take(begun, 0);
        let failures = before.failures.clone();
        let noter = Noter::new(dir, before.begun);
        let mut ledger = Ledger { dir: dir.to_owned(), journal, before, failures, notes, noter };
        let damaged = dir.join(DAMAGED_JOURNAL);
        for batch in lost.read(&damaged) {
            let batch = batch.map_err(|cause| Error::io("read", &damaged, cause))?;
            ledger.told_before(batch.names, Vec::new())?;
        }
        ledger.import()?;
        if !trusted && !ledger.before.done.is_empty() {
            ledger.take(Record::NothingDone)?;
        }
        if ledger.before.begun > 1 || !ledger.failures.is_empty() {
            failed::replace(&ledger.dir, &ledger.failures)?;
        }
        Ok(ledger)
    }

    /// Marks the buckets with failed entries to be copied again. The names of these entries are dropped when that is done.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn fail_again(&mut self) -> Result<()> {
        self.take(Record::FailedAgain)
    }

    /// Discards all buckets if names of hard-linked files may be missing in them: they were below a directory that could not be read, and can be read by now.
    /// All names of such a file have to reach one rsync.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn find_links_again(&mut self, failed_again: bool) -> Result<()> {
        if !self.before.may_miss_links(failed_again) {
            return Ok(());
        }
        self.note(
            "what could not be read may contain other names of hard-linked files: everything is scanned and checked again"
                .into(),
        );
        let damaged = self.before.buckets.keys().copied().collect();
        self.take(Record::ScanAgain { damaged })
    }

    /// Checks the bucket files. If one is damaged, the source is scanned again. Buckets that are done are needed only if the scan is not complete, so that it
    /// can leave out their units, or if `again` says that something else still has to be done with them.
    pub(super) fn check(&mut self, buckets: &BucketDir, again: bool) -> Result<()> {
        let State { buckets: all, done, scanned, .. } = &self.before;
        let is_damaged = |bucket: &&Bucket| buckets.read(bucket).is_err();
        let needed = |bucket: &&Bucket| again || scanned.is_none() || !done.contains_key(&bucket.id);
        // If one of them is damaged, all damaged files count, because a new scan has to know all units that are done.
        let damaged: Vec<u64> = match all.values().filter(needed).any(|bucket| is_damaged(&bucket)) {
            true => all.values().filter(is_damaged).map(|bucket| bucket.id).collect(),
            false => Vec::new(),
        };
        if damaged.is_empty() {
            return Ok(());
        }
        self.notes.push(format!(
            "{} of {} bucket files in {} are missing or damaged: the source is scanned again",
            damaged.len(),
            all.len(),
            Printable::path(&self.dir)
        ));
        self.take(Record::ScanAgain { damaged })
    }

    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Takes the notes for the user.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Records what was not copied: each name with the phase, the exit code, and rsync's message. The names count until `buckets` are done again.
    pub(super) fn failed(&mut self, phase: &str, code: u8, buckets: Vec<u64>, failures: &[Failure]) -> Result<()> {
        if failures.is_empty() {
            return Ok(());
        }
        failed::append(&self.dir, phase, code, failures)?;
        let names = failures
            .iter()
            .map(|Failure { name, said }| (Name::new(name.clone().unwrap_or_default()), Name::new(said.clone())));
        self.write(&Record::Failed { phase: phase.to_owned(), code, buckets, names: names.collect() })
    }

    /// Takes over names that were recorded elsewhere.
    fn told_before(&mut self, names: Vec<(Name, Name)>, buckets: Vec<u64>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        self.take(Record::Failed { phase: "before".into(), code: exit::PARTIAL, buckets, names })
    }

    /// Reads the names from the lists of failures, because a journal of version 1 does not contain them.
    fn import(&mut self) -> Result<()> {
        let partial = self.before.done.iter().filter(|(_, code)| **code == exit::PARTIAL);
        let buckets: Vec<u64> = partial.map(|(id, _)| *id).collect();
        if buckets.is_empty() || !self.failures.is_empty() {
            return Ok(());
        }
        let names = failed::read(&self.dir);
        self.told_before(names, buckets)
    }

    /// Whether nothing was found before.
    pub(super) fn is_new(&self) -> bool {
        self.before.buckets.is_empty()
    }

    pub(super) fn before(&self) -> &State {
        &self.before
    }

    pub(super) fn write(&mut self, record: &Record) -> Result<()> {
        self.append(record).map(drop)
    }

    /// Writes a record, and returns its offset in the journal.
    fn append(&mut self, record: &Record) -> Result<u64> {
        let at = self.journal.append(record)?;
        self.failures.take(record, at);
        Ok(at)
    }

    /// Writes a record that changes what is known from before.
    pub(super) fn take(&mut self, record: Record) -> Result<()> {
        let at = self.append(&record)?;
        self.before.take(record, at);
        if self.before.scanned.is_none() {
            let done = &self.before.done;
            self.failures.without_buckets(|id| done.contains_key(&id));
        }
        self.journal.flush()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.journal.flush()
    }

    /// Syncs the journal record that the scan is complete. The argument proves that the bucket files are on the disk.
    pub(super) fn sync_scanned(&mut self, buckets: BucketsKept) -> Result<()> {
        durable::sync_scanned(&mut self.journal, buckets)
    }

    /// Records the current progress for other processes that ask.
    pub(super) fn note_standing(&mut self, live: &Live, ended: Option<Ended>) {
        self.noter.note(live, ended);
    }

    /// Records what the run copies, and where to.
    pub(super) fn is_about(&mut self, pair: String) {
        self.noter.is_about(pair);
    }

    /// See [`Noter::find_last_run`].
    pub(super) fn find_last_run(&self) -> Arc<OnceLock<Weight>> {
        self.noter.find_last_run()
    }

    /// Stops recording the progress, before the run directory is left.
    pub(super) fn stop_noting(&mut self) {
        self.noter.close();
    }

    /// Ends this part of the run: writes the lists of failures from the journal. Nothing has to be synced if the run directory is `removed` now.
    pub(super) fn close(&mut self, removed: bool) -> Result<()> {
        durable::sync_end(&mut self.journal, removed)?;
        failed::replace(&self.dir, &self.failures)
    }
}

/// What a new scan has to leave out, and what a complete scan has found.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The hashes of the arguments of units that are done.
    done: HashSet<u128>,
    /// The lowest number for a new bucket.
    pub next_bucket: u64,
    /// Everything that the scan found, if it was complete.
    pub complete: Option<Complete>,
}

#[derive(Debug)]
pub(super) struct Complete {
    pub spine: Vec<SpineDir>,
    pub buckets: Vec<Bucket>,
    pub found: Weight,
}

impl Known {
    pub fn of(state: &State, dir: &BucketDir) -> Result<Known> {
        let mut known = Known { next_bucket: state.next_bucket, ..Known::default() };
        let Some(found) = state.scanned else {
            for bucket in state.done.keys().filter_map(|id| state.buckets.get(id)) {
                known.done.extend(bucket::arguments(&dir.read(bucket)?).map(hash));
            }
            return Ok(known);
        };
        let spine = state.spine.iter().cloned().map(|record| SpineDir {
            argument: record.argument.map(Name::into_bytes),
            identity: record.identity,
            locked: record.locked,
            mount_point: record.mount_point,
            exposed: record.exposed,
        });
        let spine: Vec<SpineDir> = spine.collect();
        let left = state.buckets.values().filter(|bucket| !state.done.contains_key(&bucket.id)).copied();
        known.complete = Some(Complete { spine, buckets: left.collect(), found });
        Ok(known)
    }

    /// Whether a unit was already copied.
    pub fn is_done(&self, argument: &[&[u8]]) -> bool {
        !self.done.is_empty() && self.done.contains(&hash(&argument.concat()))
    }
}

/// A hash of 128 bits, so that no unit is mistaken for another one that is done, however many there are.
fn hash(argument: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, argument).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

pub(super) fn bucket_record(bucket: &Bucket) -> Record {
    let Bucket { id, weight, units, argument_bytes, spine_before, exposed, singles, content } = *bucket;
    Record::Bucket {
        b: (id, weight.entries, weight.bytes, units, argument_bytes, spine_before, exposed, singles),
        content: content.sum.map(|sum| (content.length, sum)),
    }
}

pub(super) fn spine_record(dir: &SpineDir) -> Record {
    Record::Spine(SpineRecord {
        argument: dir.argument.clone().map(Name::new),
        identity: dir.identity,
        locked: dir.locked,
        mount_point: dir.mount_point,
        exposed: dir.exposed,
    })
}
