//! What the records of a journal mean together.

use std::collections::{BTreeMap, HashSet};

use crate::bucket::{Bucket, Content};
use crate::scan::Weight;

use super::{Failures, Place, Record, SpineRecord};

/// What the journal of a run directory says.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct State {
    /// Which run it is; empty in a run of version 1.
    pub run: String,
    /// Spine directories in order.
    pub spine: Vec<SpineRecord>,
    /// Buckets that were written, by the scan that counts.
    pub buckets: BTreeMap<u64, Bucket>,
    /// The least number that no bucket has had yet.
    pub next_bucket: u64,
    /// Those that are done, with the code of their last launch.
    pub done: BTreeMap<u64, u8>,
    /// Buckets whose launch began and did not end.
    pub started: HashSet<u64>,
    /// What the scan could not read: the text, whether it vanished, whether it is in a bucket all the same.
    pub unread: Vec<(String, bool, bool)>,
    /// Names that were not copied.
    pub failures: Failures,
    /// What the scan found, if it is complete.
    pub scanned: Option<Weight>,
    /// What DEST was, if that is known.
    pub dest: Option<Place>,
    /// Something of the source could not be read.
    pub sender_failed: bool,
    /// Launches so far.
    pub launches: u64,
    /// How often the run was begun.
    pub begun: u64,
    /// Why one rsync does everything, if it does.
    pub one_rsync: Option<String>,
    /// The exit code, if the run came to its end.
    pub finished: Option<u8>,
}

impl State {
    /// Takes in the record that begins at this offset in the journal.
    pub fn take(&mut self, record: Record, at: u64) {
        self.failures.take(&record, at);
        match record {
            Record::Begun { run, .. } => {
                self.run = run;
                self.begun += 1;
                self.finished = None;
                self.one_rsync = None;
                self.started.clear();
                // A scan that was not complete begins again, and packs what is not done into other buckets.
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
            Record::Unread { text, vanished, in_unit } => self.unread.push((text, vanished, in_unit)),
            Record::Scanned { entries, bytes } => self.scanned = Some(Weight { entries, bytes }),
            Record::Started { launch, buckets } => {
                self.launches = self.launches.max(launch.saturating_add(1));
                self.started.extend(buckets);
            }
            Record::Failed { .. } => {}
            Record::Done { code, sender_failed, buckets, .. } => {
                self.sender_failed |= sender_failed;
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
                // What was in no bucket has to be found again.
                if self.unread.iter().any(|(_, _, in_unit)| !in_unit) {
                    self.scan_again();
                }
                self.unread.clear();
            }
            Record::ScanAgain { damaged } => {
                self.done.retain(|id, _| !damaged.contains(id));
                self.finished = None;
                self.scan_again();
            }
            Record::OneRsync { why } => {
                self.one_rsync = Some(why);
                self.done.clear();
                self.started.clear();
                self.dest = None;
                self.sender_failed = false;
                self.launches = 0;
                self.finished = None;
                self.scan_again();
            }
            Record::Finished { code } => self.finished = Some(code),
        }
    }

    fn scan_again(&mut self) {
        self.scanned = None;
        self.spine.clear();
        self.unread.clear();
        self.buckets.retain(|id, _| self.done.contains_key(id));
        self.failures.without_buckets(|id| self.done.contains_key(&id));
    }

    /// Weight of what is done.
    pub fn done_weight(&self) -> Weight {
        self.done.keys().filter_map(|id| self.buckets.get(id)).map(|bucket| bucket.weight).sum()
    }
}

/// Bytes of a bucket file, as version 1 says it: each argument counts a pointer beside its bytes and its NUL.
fn length(units: u64, argument_bytes: usize) -> u64 {
    (argument_bytes as u64).saturating_sub(units.saturating_mul(size_of::<u64>() as u64))
}
