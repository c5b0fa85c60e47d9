//! What the records of a journal mean together.

use std::collections::{BTreeMap, HashSet};

use crate::bucket::{Bucket, Content};
use crate::rsync::exit;
use crate::scan::Weight;

use super::{Failures, Place, Record, SpineRecord};

/// The contents of a journal.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct State {
    /// The name of the run; empty in a run of version 1.
    pub run: String,
    /// The split directories, in the order of discovery.
    pub spine: Vec<SpineRecord>,
    /// The buckets of the scan that counts.
    pub buckets: BTreeMap<u64, Bucket>,
    /// The lowest number that no bucket has had yet.
    pub next_bucket: u64,
    /// The buckets that are done, each with the exit code of its last launch.
    pub done: BTreeMap<u64, u8>,
    /// The buckets whose launch has started and not ended.
    pub started: HashSet<u64>,
    /// The buckets whose launch has ever started, and those of them with directories.
    begun_to_copy: HashSet<u64>,
    begun_with_dirs: HashSet<u64>,
    /// Something was copied again, or is copied again by the part of the run that begins.
    again: bool,
    /// Single names have been removed from the source, or a launch has begun to.
    pub removed: bool,
    /// What the scan could not read: the message, whether the entry vanished, and whether it is nevertheless in a bucket.
    pub unread: Vec<(String, bool, bool)>,
    /// Something in the source could not be read since the scan that the first of these buckets come from: names of hard-linked files may have been missed.
    pub missed: bool,
    /// The names that were not copied.
    pub failures: Failures,
    /// What the scan found, if it is complete.
    pub scanned: Option<Weight>,
    /// The identity of DEST, if known.
    pub dest: Option<Place>,
    /// Something in the source could not be read.
    pub sender_failed: bool,
    /// The number of launches so far.
    pub launches: u64,
    /// How often the run was begun or resumed.
    pub begun: u64,
    /// Why one rsync does everything, if it does.
    pub one_rsync: Option<String>,
    /// The exit code, if the run has ended.
    pub finished: Option<u8>,
}

impl State {
    /// Takes the record into account that begins at this offset in the journal.
    pub fn take(&mut self, record: Record, at: u64) {
        self.failures.take(&record, at);
        match record {
            Record::Begun { run, .. } => {
                self.run = run;
                self.begun += 1;
                self.finished = None;
                self.again |= self.one_rsync.take().is_some();
                self.started.clear();
                // An incomplete scan is repeated, and packs everything that is not done into other buckets.
                if self.scanned.is_none() {
                    self.scan_again();
                }
            }
            Record::Spine(spine) => self.spine.push(spine),
            Record::Bucket { b, content } => {
                let (id, entries, bytes, units, argument_bytes, spine_before, exposed, singles) = b;
                let weight = Weight { entries, bytes };
                self.next_bucket = self.next_bucket.max(id.saturating_add(1));
                let content = content.map_or_else(
                    || Content { length: length(units, argument_bytes), sum: None },
                    |(length, sum)| Content { length, sum: Some(sum) },
                );
                let bucket = Bucket { id, weight, units, argument_bytes, spine_before, exposed, singles, content };
                self.buckets.insert(id, bucket);
            }
            Record::Unread { text, vanished, in_unit } => {
                self.missed |= !vanished;
                self.unread.push((text, vanished, in_unit));
            }
            Record::Scanned { entries, bytes } => self.scanned = Some(Weight { entries, bytes }),
            Record::Started { launch, buckets } => {
                self.launches = self.launches.max(launch.saturating_add(1));
                self.removed |= buckets.is_empty();
                let has_dirs = |id: &&u64| self.buckets.get(id).is_none_or(|bucket| !bucket.singles);
                self.begun_with_dirs.extend(buckets.iter().filter(has_dirs));
                self.begun_to_copy.extend(&buckets);
                self.started.extend(buckets);
            }
            Record::Failed { .. } => {}
            Record::Done { code, sender_failed, again, buckets, .. } => {
                self.sender_failed |= sender_failed;
                self.again |= again;
                self.missed |= sender_failed;
                for id in buckets {
                    self.started.remove(&id);
                    self.done.insert(id, code);
                }
            }
            Record::NothingDone => {
                self.done.clear();
                self.finished = None;
            }
            Record::Dest { place } => self.dest = Some(place),
            Record::FailedAgain => {
                self.done.retain(|_, code| *code == 0);
                self.sender_failed = false;
                self.finished = None;
                // Unreadable entries that are in no bucket have to be found again.
                if self.unread.iter().any(|(_, _, in_unit)| !in_unit) {
                    self.scan_again();
                }
                self.unread.clear();
            }
            Record::ScanAgain { damaged } => {
                self.done.retain(|id, _| !damaged.contains(id));
                self.finished = None;
                self.scan_again();
                if self.buckets.is_empty() {
                    (self.missed, self.sender_failed) = (false, false);
                }
            }
            Record::OneRsync { why } => {
                self.one_rsync = Some(why);
                self.done.clear();
                self.started.clear();
                self.dest = None;
                (self.missed, self.sender_failed) = (false, false);
                self.launches = 0;
                self.finished = None;
                self.scan_again();
            }
            Record::Finished { code } => self.finished = Some(code),
        }
    }

    /// Whether buckets that are done, or that are still to be copied, may lack names of hard-linked files, so that these would become separate files at DEST,
    /// although the run would end with 0. `failed_again` says that what failed is to be done again.
    pub fn may_miss_links(&self, failed_again: bool) -> bool {
        // Otherwise the run ends with 23 in any case, and what failed is to be done again after that.
        let ends_well = || {
            let is_told =
                self.scanned.is_some() && self.unread.iter().any(|(_, vanished, in_unit)| !vanished && !in_unit);
            !is_told && self.done.values().all(|code| *code != exit::PARTIAL)
        };
        self.missed && (failed_again || ends_well())
    }

    fn scan_again(&mut self) {
        self.scanned = None;
        self.spine.clear();
        self.unread.clear();
        self.buckets.retain(|id, _| self.done.contains_key(id));
        // These count directories of the earlier scan. The next one may find fewer.
        self.buckets.values_mut().for_each(|bucket| bucket.spine_before = u32::MAX);
        self.failures.without_buckets(|id| self.done.contains_key(&id));
    }

    /// Whether the part of the run that begins copies again what an rsync has begun to copy, or an earlier part did.
    pub fn copies_again(&self) -> bool {
        self.again || self.begun_to_copy.iter().any(|id| !self.done.contains_key(id))
    }

    /// As [`State::copies_again`], for directories.
    pub fn copies_dirs_again(&self) -> bool {
        self.again || self.begun_with_dirs.iter().any(|id| !self.done.contains_key(id))
    }

    /// The weight of what is done.
    pub fn done_weight(&self) -> Weight {
        self.done.keys().filter_map(|id| self.buckets.get(id)).map(|bucket| bucket.weight).sum()
    }
}

/// The length of a bucket file of version 1, which counts a pointer for each argument besides its bytes and its NUL.
fn length(units: u64, argument_bytes: usize) -> u64 {
    (argument_bytes as u64).saturating_sub(units.saturating_mul(size_of::<u64>() as u64))
}
