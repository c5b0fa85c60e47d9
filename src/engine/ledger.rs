//! What the engine writes down as it goes, and what it takes over from a run that did not come to its end.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::bucket::{self, Bucket, BucketDir};
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::journal::{Journal, Name, Record, SpineRecord, State};
use crate::rsync::filter::unescape;
use crate::rsync::output;
use crate::scan::Weight;

use super::feed::SpineDir;

/// The journal of a run and what it said before.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    journal: Journal,
    before: State,
}

/// Names that were not copied, each ended by a NUL.
pub const FAILED_NAMES: &str = "failed.nul";
/// The same for people: name, part of the run, and what rsync said.
pub const FAILED_TEXT: &str = "failed.txt";

impl Ledger {
    /// Opens the journal in a run directory, to begin a run or to go on with one. `trusted` is false after the machine was started anew.
    ///
    /// # Errors
    /// The journal cannot be written, or is of a newer version.
    pub fn open(dir: &Path, trusted: bool) -> Result<Ledger> {
        let journal = Journal::open(dir)?;
        let mut before = State::read(dir)?;
        if !trusted {
            before.forget_done();
        }
        Ok(Ledger { dir: dir.to_owned(), journal, before })
    }

    /// The same, with the buckets that had failed entries to be launched once more.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_for_failed(dir: &Path, trusted: bool) -> Result<Ledger> {
        let mut ledger = Ledger::open(dir, trusted)?;
        ledger.before.done.retain(|_, code| *code == crate::rsync::exit::OK);
        ledger.before.sender_failed = false;
        // What was in no bucket has to be found again.
        if ledger.before.unread.iter().any(|(_, _, in_unit)| !in_unit) {
            ledger.before.scanned = None;
        }
        ledger.before.unread.clear();
        for name in [FAILED_NAMES, FAILED_TEXT] {
            // What fails again is named again.
            let _ = fs::remove_file(dir.join(name));
        }
        Ok(ledger)
    }

    /// Writes down names that were not copied, each with the part of the run and what rsync said.
    pub(super) fn failed(&mut self, phase: &str, complaints: &[Vec<u8>]) -> Result<()> {
        let (mut names, mut text) = (Vec::new(), Vec::new());
        for line in complaints {
            let Some(name) = output::named(line).map(unescape) else { continue };
            let _ = writeln!(text, "{}\t{phase}\t{}", Printable::bytes(&name), Printable::bytes(line));
            names.extend(name);
            names.push(0);
        }
        append(&self.dir.join(FAILED_NAMES), &names)?;
        append(&self.dir.join(FAILED_TEXT), &text)
    }

    /// Nothing was found before.
    pub(super) fn is_new(&self) -> bool {
        self.before.buckets.is_empty()
    }

    pub(super) fn before(&self) -> &State {
        &self.before
    }

    pub(super) fn write(&mut self, record: &Record) -> Result<()> {
        self.journal.append(record)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.journal.flush()
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.journal.sync()
    }
}

fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|cause| Error::io("write", path, cause).remedy("make room, then resume the run"))
}

/// What a scan that begins again has to leave out, and what one that is complete has found.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Hashes of the arguments of units that are done.
    done: HashSet<u128>,
    /// The least number of a new bucket.
    pub next_bucket: u64,
    /// All that the scan found, if it was complete.
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
            for id in state.done.keys() {
                known.done.extend(bucket::arguments(&dir.read(*id)?).map(hash));
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
        let left = state.buckets.values().filter(|bucket| !state.done.contains_key(&bucket.id)).copied();
        known.complete = Some(Complete { spine: spine.collect(), buckets: left.collect(), found });
        Ok(known)
    }

    /// Whether a unit was copied already.
    pub fn is_done(&self, argument: &[&[u8]]) -> bool {
        !self.done.is_empty() && self.done.contains(&hash(&argument.concat()))
    }
}

/// 128 bits, so that among any number of units none is taken for another that is done.
fn hash(argument: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, argument).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

pub(super) fn bucket_record(bucket: &Bucket) -> Record {
    let Bucket { id, weight, units, argument_bytes, spine_before, exposed, singles } = *bucket;
    Record::Bucket { b: (id, weight.entries, weight.bytes, units, argument_bytes, spine_before, exposed, singles) }
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
