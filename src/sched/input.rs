//! The inputs and the commands of the scheduler.

use std::num::NonZero;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::plan::folding::Folding;
use crate::report::{Failed, LaunchResult, Note};
use crate::rsync::command::Copying;
use crate::scan::Weight;
use crate::supervise::Ended;

use super::books::Closed;
use super::work::{LaunchId, Start};

/// An event that the scheduler has to know of.
#[derive(Debug)]
pub(crate) enum Input {
    /// The scan has split a directory. Parents come before their children.
    Directory(Directory),
    /// The scan has filled these buckets.
    Buckets(Vec<Bucket>),
    /// This name of the source and another one may be a single name at the destination.
    Meets(String),
    /// Looking at an entry of the source takes at least this many seconds.
    LookUp(f64),
    /// Something in the source could not be read, or was left out.
    Unread {
        vanished: bool,
    },
    /// The scan has ended, and everything is in buckets.
    ScanEnded,
    /// What the running launches have completed so far.
    InFlight(Weight),
    /// What the preparation of a launch found, just before its rsync is started or released.
    Prepared(LaunchId, Findings),
    /// Whether a launch that was started ahead received its names.
    Released(LaunchId, Release),
    /// The launch has done all its work and is only exiting. Other launches may take its place, and what it was to create exists.
    Draining(LaunchId),
    Ended(LaunchId, Box<Report>),
    /// Whether the destination distinguishes names that differ only in case or form.
    Folding(Folding),
    /// Whether a host that was set aside is reachable.
    HostAnswered(usize, bool),
    /// From now on, this many launches may run at once, and this is their bandwidth together. `None` leaves a value unchanged; an inner `None` means no limit.
    Adjust {
        processes: Option<NonZero<usize>>,
        bandwidth: Option<Option<NonZero<u64>>>,
    },
    /// Nothing is started until [`Input::Continue`], and running launches are stopped.
    Pause,
    Continue,
    /// Running launches may end, and then the run ends.
    WindDown,
    /// The user interrupts the run.
    Interrupted,
    /// Time has passed.
    Tick,
}

/// A split directory, as far as the order of launches depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory {
    /// The length of its argument in bytes.
    pub argument_bytes: usize,
    /// The directory lacks `u+rwx`.
    pub locked: bool,
}

/// What a look at the source and at DEST found, before or after a launch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Findings {
    /// Something was left out, and the user was told.
    pub partial: bool,
    /// Something in the source was left out or could not be read, so that nothing must be deleted.
    pub sender_failed: bool,
    /// Buckets of which some units were left out.
    pub cut: Vec<u64>,
    /// DEST is no longer the same directory, and the user was told.
    pub dest_lost: bool,
    /// The source is no longer the same directory, and the user was told.
    pub source_lost: bool,
}

/// What became of a launch that was to receive its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Begun,
    /// It was started with other options than it would be started with now, and ends without names.
    Otherwise,
    /// Nothing of its work is left. `told` means that the user knows why.
    NothingLeft {
        told: bool,
    },
}

/// Why no rsync was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotLaunched {
    /// Nothing of its work is left. `told` means that the user knows why.
    NothingLeft { told: bool },
    /// The launch would lock directories that others need, and has to run alone.
    Alone,
    /// The directories exist at DEST already. `other_times`: some have other times than in the source.
    Stands { other_times: bool },
    /// The first pass has created the directories. They still need their attributes.
    Made,
    /// The directories have the attributes with which they were created.
    AsCreated,
    /// The names cannot be handed over later.
    NoList,
    /// The run is ending, or DEST is lost.
    Stopped,
}

/// How a launch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    NotLaunched(NotLaunched),
    /// The system could not start it, or its units could not be read. The engine has the error.
    Failed,
    Ended(Ended),
}

/// What is known of a launch that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub ending: Ending,
    pub ran: Duration,
    /// The bytes that it sent, if rsync reported them.
    pub sent: Option<u64>,
    /// What was found when it had ended.
    pub after: Findings,
    /// It had received its names.
    pub begun: bool,
    /// It was stopped for a while, for whatever reason.
    pub was_held: bool,
    /// What its messages mean.
    pub said: Symptoms,
}

impl Report {
    /// Whether it certainly ended before anything was transferred.
    pub fn has_done_nothing(&self) -> bool {
        let Symptoms { unanswered, no_place, out_of_reach, refused, .. } = self.said;
        !self.begun || unanswered || no_place || out_of_reach || refused
    }
}

/// What the messages of a launch mean, after a look at the files that they name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Symptoms {
    /// It succeeded, and transferred no file.
    pub no_files: bool,
    /// It changed something, or may have.
    pub changes: bool,
    /// The other side accepted no further connection.
    pub no_place: bool,
    /// The rsync that was started could not enter a source directory that multi-sync holds open.
    pub out_of_reach: bool,
    /// The other side refuses something that this launch needs.
    pub refused: bool,
    /// Its first complaint.
    pub complaint: Option<String>,
    /// The receiving side was denied access, and a repetition in another way may succeed.
    pub denied: bool,
    /// It complained of something else as well.
    pub otherwise: bool,
    /// All its failures may have passed meanwhile.
    pub transient: bool,
    /// Everything that it could not find has really vanished from the source.
    pub gone: bool,
    /// It failed only to set times, which had been right before.
    pub times_in_vain: bool,
    /// It was asked to create directories and found something else in their place.
    pub skipped: bool,
    /// It complained only of names below a file or a link, which a directory would have replaced in a real run.
    pub only_below_files: bool,
    pub only_below_loops: bool,
    /// Something in the source could not be listed, or read.
    pub list_failed: bool,
    pub file_failed: bool,
    /// The list of names did not reach it completely.
    pub lost_list: bool,
    /// It ended because the connection of the parent was lost.
    pub lost_parent: bool,
    /// Its two sides disagreed at the end about what was still to come: rsync (3.5.0) loses count of files with several names if one cannot be read, or has
    /// to be copied again.
    pub lost_count: bool,
    /// Its connection ended before the other side had said anything, so that nothing was transferred.
    pub unanswered: bool,
}

/// What the engine has to do. Commands are carried out in this order.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Start(Box<Start>),
    /// Gives a waiting launch its names.
    Release {
        launch: LaunchId,
        how: Option<Copying>,
    },
    /// Ends a waiting launch without names.
    Dismiss(LaunchId),
    /// Prints the complaints of a launch that were held back.
    TellHeld(LaunchId),
    /// Takes over which directories the launch could not create, or found blocked.
    Accept(LaunchId),
    /// Records what a launch failed to do.
    NoteFailures {
        launch: LaunchId,
        code: u8,
    },
    /// Adds the entries that a launch copied to the statistics.
    Count(LaunchId),
    /// Records that buckets are done.
    Done {
        launch: LaunchId,
        code: u8,
        sender_failed: bool,
        /// Something was copied again, and is not as it was, see [`Scheduler::copies_again`](super::Scheduler::copies_again).
        again: bool,
        buckets: Vec<u64>,
    },
    /// The work of a launch will be done again.
    Retried,
    /// What was decided about a launch that has ended. Each launch has exactly one.
    Decided {
        launch: LaunchId,
        result: LaunchResult,
    },
    /// A source host that was set aside is used again.
    HostBack(usize),
    Note(Note),
    Failed(Failed),
    /// Reports the sources that do not exist.
    TellMissing,
    /// Reports and records that nothing is deleted because of this name.
    TellMeeting(String),
    /// Finds out whether the destination distinguishes names that differ only in case or form.
    AskFolding,
    /// Asks whether this host is reachable.
    Probe(usize),
    /// One rsync does everything, for this reason.
    OneRsync(String),
    /// Stops the running launches, and holds those that are about to start.
    Pause,
    /// Continues them.
    Continue,
    /// The run cannot continue; the engine has the error of this launch.
    Abort(LaunchId),
    /// Ends the running launches. No more are started.
    Stop,
    Finish(Verdict),
}

/// How the run ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Everything is done, or was left out and reported.
    Complete(Closed),
    /// The run ended before everything was done.
    Stopped,
    /// A bug in multi-sync: something is neither done nor reported as left out.
    Unaccounted(String),
}
