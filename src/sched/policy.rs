//! What is known of a run before it begins and decides about the order of its launches: facts, without a path or a command line.

use std::num::NonZero;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::cost::CostModel;
use crate::rsync::options::Delete;
use crate::scan::Weight;

/// What a run is like.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// rsyncs at once, at most.
    pub processes: NonZero<usize>,
    /// Their number is found by measuring.
    pub adapts: bool,
    /// One bucket is one launch.
    pub one_bucket_a_launch: bool,
    /// Bytes that the arguments of a launch may take.
    pub room: usize,
    /// What launches are expected to take before one has ended.
    pub guess: CostModel,
    /// Seconds that a slot takes before its first launch.
    pub opening: f64,
    /// For so long nothing is started before the scan has ended.
    pub short_scan: Duration,
    /// Why one rsync does it all, if that is known before the scan.
    pub one_rsync: Option<String>,
    /// Buckets are filled, and nothing is launched.
    pub survey: bool,
    /// rsync only says what it would do.
    pub pretends: bool,
    /// DEST is on this machine.
    pub dest_is_local: bool,
    /// Launches run on hosts.
    pub on_hosts: bool,
    /// What is lost is done elsewhere: on another host, or through another address.
    pub elsewhere: bool,
    /// How often a launch is tried again.
    pub retries: u32,
    /// Notes tell how the run is done.
    pub tells_how: bool,
    /// The run ends after this time, done or not.
    pub stop_after: Option<Duration>,
    /// After this time nothing may run any more, and no launch is started that would not end by then.
    pub ends_after: Option<Duration>,
    /// Each rsync ends at a time of its own accord.
    pub stops_itself: bool,
    /// What the source does not have is deleted, and when.
    pub deletes: Option<Delete>,
    /// Deletion goes on after an error.
    pub ignore_errors: bool,
    /// A launch that comes once more changes nothing but what had failed.
    pub repeatable: bool,
    /// What a launch leaves half written when it breaks off would be passed over by the next one.
    pub leaves_halves: bool,
    /// One rsync in place of several would copy what the scan leaves out.
    pub gitignore: bool,
    /// The rsyncs that write run as root for certain.
    pub as_root: bool,
    /// rsync prints a line per entry, and each must come once.
    pub prints: bool,
    /// Names that may be one at the destination matter.
    pub watches_names: bool,
    /// Single names are removed from the source at the end.
    pub removes_singles: bool,
    /// Names that are removed from the source at all are removed after everything was copied.
    pub removes: bool,
    /// Directories are made with `u+rwx`, which is taken back at the end.
    pub unlocks: bool,
    /// Directories above a source are part of the transfer.
    pub implied_dirs: bool,
    /// It can be seen at DEST whether a directory was written into.
    pub watches_dest: bool,
    /// rsync says whether it has changed something.
    pub marks_changes: bool,
    /// Launches may be started ahead.
    pub goes_ahead: bool,
    /// Names below directories that somebody else could swap are handed over as a list.
    pub lists_exposed: bool,
    /// Limit of all rsyncs together, in KiB a second.
    pub bwlimit: Option<NonZero<u64>>,
    /// What a launch makes itself before its rsync looks is worth several launches where one rsync would do.
    pub makes_much: bool,
    /// There are sources that do not exist.
    pub missing_sources: bool,
}

impl Policy {
    /// `--delete-after` and `--delete-delay` delete after everything was copied: what ends the run before that ends deletion too.
    pub fn deletes_late(&self) -> bool {
        matches!(self.deletes, Some(Delete::After | Delete::Delay))
    }

    /// Something of the source that cannot be read ends deletion.
    pub fn keeps_if_failed(&self) -> bool {
        self.deletes.is_some() && !self.ignore_errors
    }

    /// Launches that print a line per entry are started when all split directories are known, because a second look at a directory would print
    /// it again. `--delete-before` makes rsync read everything before it deletes anything. And something that cannot be read ends
    /// deletion: nothing is deleted before all of the source was looked at.
    pub fn waits_for_scan(&self) -> bool {
        let names = self.watches_names && !self.deletes_late();
        names || self.prints || self.deletes == Some(Delete::Before) || self.keeps_if_failed() && !self.deletes_late()
    }
}

/// What an earlier part of the run has left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// Launches that were started.
    pub launches: u64,
    /// Weight and codes of what is done.
    pub done: Weight,
    pub codes: Vec<u8>,
    /// Buckets that are done, as far as something else is still to be done with them.
    pub buckets: Vec<Bucket>,
    pub sender_failed: bool,
    /// Names that are one at the destination were found.
    pub names_meet: bool,
}
