//! What the scheduler is told, and what it asks for.

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

/// What the scheduler is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// The scan has split a directory; parents come first.
    Directory(Directory),
    /// Buckets that the scan has filled.
    Buckets(Vec<Bucket>),
    /// This name may be one with another at the destination.
    Meets(String),
    /// An entry of the source takes so many seconds at least.
    LookUp(f64),
    /// Something of the source could not be read, or was left out.
    Unread {
        vanished: bool,
    },
    /// All of the source is in buckets.
    ScanEnded,
    /// What running launches have dealt with so far.
    InFlight(Weight),
    /// What was found when a launch was prepared, just before its rsync is started or released.
    Prepared(LaunchId, Findings),
    /// Whether a launch that waited has got its names.
    Released(LaunchId, Release),
    /// It has done everything and only ends; others may have its place.
    Draining(LaunchId),
    Ended(LaunchId, Box<Report>),
    /// How the destination reads names that differ in case or form only.
    Folding(Folding),
    /// A host that was set aside is there, or is not.
    HostAnswered(usize, bool),
    /// So many launches may run at once, and have this bandwidth together, from now on; what is `None` stays. Of the bandwidth the inner `None` is
    /// no limit.
    Adjust {
        processes: Option<NonZero<usize>>,
        bandwidth: Option<Option<NonZero<u64>>>,
    },
    /// Nothing is started, and what runs is stopped, until [`Input::Continue`].
    Pause,
    Continue,
    /// What runs is to come to its end, and then the run ends.
    WindDown,
    /// The user ends the run.
    Interrupted,
    /// Time has passed.
    Tick,
}

/// A split directory, as far as it concerns the order of launches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory {
    /// Bytes of its argument.
    pub argument_bytes: usize,
    /// It lacks `u+rwx`.
    pub locked: bool,
}

/// What looking at the source and at DEST has brought, before a launch or after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Findings {
    /// Something was left out, and told.
    pub partial: bool,
    /// It was something of the source, so that nothing must be deleted.
    pub sender_failed: bool,
    /// Buckets of which some units were left out.
    pub cut: Vec<u64>,
    /// DEST is no longer the directory that it was, and that was told.
    pub dest_lost: bool,
    /// The source is no longer the directory that it was, and that was told.
    pub source_lost: bool,
}

/// What became of a launch that was to get its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Begun,
    /// It was started in another way than it would be now: it ends without names.
    Otherwise,
    /// Nothing is left of its work. `told` if the user knows why.
    NothingLeft {
        told: bool,
    },
}

/// Why no rsync was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotLaunched {
    /// Nothing is left of its work. `told` if the user knows why.
    NothingLeft { told: bool },
    /// It would lock directories that others need: it has to run alone.
    Alone,
    /// The directories are at DEST already; some may have other times.
    Stands { other_times: bool },
    /// The first pass has made the directories, and they are still to get their attributes.
    Made,
    /// The directories have the attributes they were created with.
    Untouched,
    /// Its names cannot be handed over later.
    NoList,
    /// The run ends, or DEST is lost.
    Stopped,
}

/// How a launch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    NotLaunched(NotLaunched),
    /// The system did not let it start, or its units could not be read: the executor has the error.
    Failed,
    Ended(Ended),
}

/// What is known of a launch that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub ending: Ending,
    pub ran: Duration,
    /// Bytes it has sent, if it said so.
    pub sent: Option<u64>,
    /// What was found when it had ended.
    pub after: Findings,
    /// It had got its names when it ended.
    pub begun: bool,
    /// It was stopped for a while, whatever for.
    pub was_held: bool,
    /// What follows from its messages.
    pub said: Symptoms,
}

/// What follows from the messages of a launch, and from looking at what they name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Symptoms {
    /// All went well, and with no file.
    pub no_files: bool,
    /// It has changed something, or may have.
    pub changes: bool,
    /// The other side let nobody else in.
    pub no_place: bool,
    /// The rsync that was started could not enter a source that is held open.
    pub out_of_reach: bool,
    /// Something it was asked for is refused.
    pub refused: bool,
    /// What it complained of first.
    pub complaint: Option<String>,
    /// The receiving side may not do something that it might if it were repeated in another way.
    pub denied: bool,
    /// It complained of something else as well.
    pub otherwise: bool,
    /// All that failed may have passed meanwhile.
    pub transient: bool,
    /// All that it missed is gone from the source.
    pub gone: bool,
    /// It could only not set times that were right before.
    pub times_in_vain: bool,
    /// Directories were asked for, and something else was found.
    pub skipped: bool,
    /// It only complained of names below a file, or a link, that would have made way for a directory.
    pub only_below_files: bool,
    pub only_below_loops: bool,
    /// Something of the source could not be listed, or read.
    pub list_failed: bool,
    pub file_failed: bool,
    /// Its list of names did not arrive.
    pub lost_list: bool,
    /// It ended with its parent's connection.
    pub lost_parent: bool,
}

/// What the scheduler asks for, to be carried out in this order.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Start(Box<Start>),
    /// Hands a launch that waits its names.
    Release {
        launch: LaunchId,
        how: Option<Copying>,
    },
    /// Lets a launch that waits end without names.
    Dismiss(LaunchId),
    /// Tells complaints that were held back.
    TellHeld(LaunchId),
    /// Takes over which directories a launch could not make, or found blocked.
    Accept(LaunchId),
    /// Writes down what a launch has failed to do.
    NoteFailures {
        launch: LaunchId,
        code: u8,
    },
    /// Adds the entries of a launch that copied to the statistics.
    Count(LaunchId),
    /// Writes down that buckets are done.
    Done {
        launch: LaunchId,
        code: u8,
        sender_failed: bool,
        buckets: Vec<u64>,
    },
    /// A launch is to be done once more.
    Retried,
    /// What was decided about a launch that has ended; one for each.
    Decided {
        launch: LaunchId,
        result: LaunchResult,
    },
    /// A source host that was set aside is used again.
    HostBack(usize),
    Note(Note),
    Failed(Failed),
    /// Tells of the sources that do not exist.
    TellMissing,
    /// Nothing is deleted because of this name: told, and written down.
    TellMeeting(String),
    /// How does the destination read names that differ in case or form only?
    AskFolding,
    /// Is this host there?
    Probe(usize),
    /// One rsync does it all, for this reason.
    OneRsync(String),
    /// Stops what runs, and holds up what is about to start.
    Pause,
    /// Lets it go on.
    Continue,
    /// The run cannot go on: the executor has the error of this launch.
    Abort(LaunchId),
    /// Nothing more is started, and what runs is to end.
    Stop,
    Finish(Verdict),
}

/// How the run ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Everything is done, or was left out and told.
    Complete(Closed),
    /// It was ended before its time.
    Stopped,
    /// An error of ours: something is neither done nor told to be left out.
    Unaccounted(String),
}
