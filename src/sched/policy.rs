//! Facts about a run, known before it begins, that decide the order of its launches. They contain no paths and no command lines.

use std::num::NonZero;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::cost::CostModel;
use crate::rsync::harm::Harm;
use crate::rsync::options::Delete;
use crate::scan::Weight;

/// The facts about a run.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The most rsyncs that run at once.
    pub processes: NonZero<usize>,
    /// The best number of rsyncs is found by measuring.
    pub adapts: bool,
    /// Each bucket is copied by an rsync of its own.
    pub one_bucket_a_launch: bool,
    /// The bytes that the arguments of a launch may take.
    pub room: usize,
    /// The expected cost of launches before one has ended.
    pub guess: CostModel,
    /// The seconds that it takes to open a slot before its first launch.
    pub opening: f64,
    /// While the scan is running, nothing is started for this long.
    pub short_scan: Duration,
    /// Why one rsync does everything, if that is known before the scan.
    pub one_rsync: Option<String>,
    /// Buckets are filled, but nothing is launched.
    pub survey: bool,
    /// rsync only reports what it would do.
    pub pretends: bool,
    /// DEST is on this machine.
    pub dest_is_local: bool,
    /// Launches run on source hosts.
    pub on_hosts: bool,
    /// Lost work is done elsewhere: on another host, or through another address.
    pub elsewhere: bool,
    /// How often a launch is retried.
    pub retries: u32,
    /// Notes tell the user how the run is done.
    pub tells_how: bool,
    /// The run ends after this time, even if it is not done.
    pub stop_after: Option<Duration>,
    /// Nothing runs after this time, and no launch is started that is not expected to end by then.
    pub ends_after: Option<Duration>,
    /// Each rsync ends by itself at a certain time (`--stop-at`).
    pub stops_itself: bool,
    /// Whether, and when, entries are deleted that the source does not have.
    pub deletes: Option<Delete>,
    /// Deletion continues after an error.
    pub ignore_errors: bool,
    /// Repeating a launch changes only what had failed.
    pub repeatable: bool,
    /// The harm that a repeated launch would do if one breaks off.
    pub harm: Option<Harm>,
    /// The scan leaves out ignored files, which a single rsync would copy.
    pub gitignore: bool,
    /// The rsyncs that write are known to run as root.
    pub as_root: bool,
    /// rsync prints a line for each entry, and each line must appear once.
    pub prints: bool,
    /// It matters whether different names in the source are one name at the destination.
    pub watches_names: bool,
    /// Single names are removed from the source at the end.
    pub removes_singles: bool,
    /// If names are removed from the source, they are removed after everything was copied.
    pub removes: bool,
    /// The times of directories are copied.
    pub dir_times: bool,
    /// Access times are copied, and reading a file changes them.
    pub access_times: bool,
    /// Hard links are copied.
    pub hard_links: bool,
    /// Directories are created with `u+rwx`, and get their own modes at the end.
    pub unlocks: bool,
    /// The directories above a source are part of the transfer.
    pub implied_dirs: bool,
    /// multi-sync can see at DEST whether a directory was written into.
    pub watches_dest: bool,
    /// If copying into a directory at DEST has only changed its time, that is set back without rsync.
    pub sets_times_back: bool,
    /// rsync reports whether it changed something.
    pub marks_changes: bool,
    /// Launches may be started ahead.
    pub goes_ahead: bool,
    /// Names below directories that someone else could replace are passed as a list.
    pub lists_exposed: bool,
    /// The limit of all rsyncs together, in KiB a second.
    pub bwlimit: Option<NonZero<u64>>,
    /// The first pass creates so much that several launches are worth while even if the work fits into one.
    pub makes_much: bool,
    /// Some sources do not exist.
    pub missing_sources: bool,
}

impl Policy {
    /// Whether everything is copied before anything is deleted (`--delete-after`, `--delete-delay`). An error that ends the run before that also prevents
    /// deletion.
    pub fn deletes_late(&self) -> bool {
        matches!(self.deletes, Some(Delete::After | Delete::Delay))
    }

    /// Whether an rsync that is repeated would delete at the destination what the one before it has moved, and so removed from the source.
    pub fn loses_what_it_moved(&self) -> bool {
        self.removes && self.deletes.is_some() && !self.pretends
    }

    /// Whether an rsync that moves changes what another one would copy after it: removing a file changes the time of its directory, and leaves the file's
    /// other names without it.
    pub fn spoils_what_it_leaves(&self) -> bool {
        self.removes && (self.dir_times || self.hard_links) && !self.pretends
    }

    /// Whether an rsync changes the access times that another one would copy after it.
    pub fn spoils_what_it_reads(&self) -> bool {
        self.access_times && !self.pretends
    }

    /// Whether something unreadable in the source ends deletion.
    pub fn keeps_if_failed(&self) -> bool {
        self.deletes.is_some() && !self.ignore_errors
    }

    /// Whether launches wait until the scan has ended. If rsync prints a line for each entry, all split directories must be known, because a second look at a
    /// directory would print it again. With `--delete-before`, rsync reads everything before it deletes anything. And if something unreadable ends deletion,
    /// all of the source has to be read before anything is deleted.
    pub fn waits_for_scan(&self) -> bool {
        let names = self.watches_names && !self.deletes_late();
        names || self.prints || self.deletes == Some(Delete::Before) || self.keeps_if_failed() && !self.deletes_late()
    }
}

/// What an earlier part of the run has left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// The launches that were started.
    pub launches: u64,
    /// The weight, and the exit codes, of what is done.
    pub done: Weight,
    pub codes: Vec<u8>,
    /// The buckets that are copied, if something else is still to be done with them.
    pub buckets: Vec<Bucket>,
    pub sender_failed: bool,
    /// An rsync has begun to copy what is to be copied again, or may have.
    pub again: bool,
    /// As `again`, and directories may be among it.
    pub dirs_again: bool,
    /// Single names have been removed from the source, which changes the times of split directories. Each part of a run copies these times.
    pub removed: bool,
    /// Names of the source are known to be one name at the destination.
    pub names_meet: bool,
}
