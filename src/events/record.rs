//! The content of the lines: one type for each kind. Nothing else is written. `docs/events.schema.json` describes the same for other programs. Fields may be
//! added, but are never removed, renamed, or given another meaning. A reader ignores fields that it does not know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::Text;

/// The version of the format. It only changes if something is removed or gets another meaning.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<R = Record> {
    /// See [`VERSION`].
    pub v: u32,
    /// The time of the event.
    #[serde(with = "time")]
    pub time: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub record: R,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// What was asked for. Only notes may come before it.
    Start(Box<Start>),
    /// Several rsyncs do a part of the run.
    Plan(Plan),
    /// One rsync does a part of the run.
    Single(Single),
    /// The scan has ended.
    Scan(Scan),
    /// The run enters another step.
    Step(Step),
    /// From now on something is deleted, after everything was copied.
    DeletePhase(DeletePhase),
    /// An rsync is started.
    LaunchStart(Launch),
    /// An rsync has ended.
    LaunchEnd(Box<LaunchEnd>),
    /// Work is retried after a pause.
    Retry(Retry),
    /// A source host is set aside.
    HostDown(HostDown),
    /// A source host is used again.
    HostUp(HostUp),
    /// Information that changes no result.
    Note(Note),
    /// Something could not be done.
    Failed(Failed),
    /// Something that rsync would still change.
    Difference(Difference),
    /// How far the run is.
    Progress(Box<Progress>),
    /// A setting of the run was changed while it runs.
    Adjusted(Adjusted),
    /// Lines are missing here, because they were not read in time.
    Dropped(Dropped),
    /// How the run ended. This is the last line.
    Summary(Box<Summary>),
    /// A kind of a newer version.
    #[serde(other)]
    Unknown,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The version of multi-sync.
    pub multi_sync: String,
    /// The version of rsync here, or the oldest one of the hosts.
    pub rsync: String,
    /// The arguments of multi-sync.
    pub arguments: Vec<Text>,
    /// The directory to which relative names are relative.
    pub current_dir: Text,
    /// The sources, as they were typed.
    pub sources: Vec<Text>,
    /// The destination, as it was typed.
    pub destination: Text,
    /// The options of rsync.
    pub options: Vec<Text>,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The source hosts.
    pub hosts: Vec<String>,
    /// The run directory.
    pub run_directory: Text,
    /// Whether the run continues an earlier one.
    pub resumes: bool,
    /// Whether nothing is copied.
    pub dry_run: bool,
}

/// Several rsyncs do a part of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `copy` or `verify`.
    pub part: String,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The host of each slot; empty if all are on this machine.
    pub slots: Vec<String>,
}

/// One rsync does the part of the run, or what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Single {
    /// `copy` or `verify`.
    pub part: String,
    /// The reason.
    pub reason: String,
}

/// The scan has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// `copy` or `verify`.
    pub part: String,
    /// The number of entries found.
    pub entries: u64,
    /// The number of bytes found.
    pub bytes: u64,
    /// How long it took; `None` if the run uses the result of an earlier scan.
    pub seconds: Option<f64>,
}

/// The run enters another step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `copy` or `verify`.
    pub part: String,
    /// A word for the step.
    pub step: String,
}

/// Something is deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletePhase {
    /// `copy` or `verify`.
    pub part: String,
}

/// An rsync that is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// `copy` or `verify`.
    pub part: String,
    /// Its number in this part.
    pub launch: u64,
    /// The slot in which it runs.
    pub slot: usize,
    /// Its host; `None` if it is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What it does.
    pub kind: String,
    /// The number of buckets.
    pub buckets: usize,
    /// The number of arguments.
    pub units: usize,
    /// The first argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Text>,
    /// The directory that contains all arguments, directly or not.
    pub below: Text,
    /// The number of entries that it has to process.
    pub entries: u64,
    /// The number of bytes that it has to process.
    pub bytes: u64,
    /// Whether it waits for its names.
    pub waits: bool,
}

/// An rsync that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchEnd {
    /// The launch, as when it was started.
    #[serde(flatten)]
    pub launch: Launch,
    /// How it ended.
    pub result: String,
    /// The exit code.
    pub code: Option<u8>,
    /// How long it ran.
    pub seconds: f64,
    /// The bytes that it has transferred, as far as known.
    pub moved: u64,
    /// What the first pass created before rsync looked; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// rsync's own statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// What a first pass has created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// The length of these files.
    pub bytes: u64,
    /// How long it took; the sum of several.
    pub seconds: f64,
}

/// The statistics of `--stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of files; only for a single launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Number of created files.
    pub created: u64,
    /// Number of deleted files.
    pub deleted: u64,
    /// Number of regular files transferred.
    pub transferred: u64,
    /// Total file size; only for a single launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<u64>,
    /// Total transferred file size.
    pub transferred_bytes: u64,
    /// Literal data.
    pub literal: u64,
    /// Matched data.
    pub matched: u64,
    /// Total bytes sent.
    pub sent: u64,
    /// Total bytes received.
    pub received: u64,
}

/// Work is retried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The exit code of the launch that broke off; `None` if only failed entries are retried.
    pub code: Option<u8>,
    /// For how long nothing is started, in seconds.
    pub pause: f64,
    /// The same as text for users.
    pub text: String,
}

/// A source host is set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostDown {
    /// The host.
    pub host: String,
    /// The exit code of the launch that was lost.
    pub code: u8,
    /// For how long the host is not used, at least, in seconds.
    pub pause: f64,
    /// The same as text for users.
    pub text: String,
}

/// A source host is used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostUp {
    /// The host.
    pub host: String,
}

/// Information that changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// A word for the subject.
    pub kind: String,
    /// The text for users.
    pub text: String,
}

/// Something could not be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// `rsync` if rsync reported it, otherwise a word for what multi-sync itself has found.
    pub kind: String,
    /// The name of the entry, if it is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// The text for users.
    pub text: Text,
}

/// Something that rsync would still change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The change: the first word of a line of `rsync -i`.
    pub change: String,
    /// The name of the entry.
    pub name: Text,
}

/// How far the run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `copy` or `verify`.
    pub part: String,
    /// `connecting`, `copying`, `finishing` or `ended`.
    pub phase: String,
    /// Whether the scan has ended.
    pub scanned: bool,
    /// Entries found so far.
    pub found_entries: u64,
    /// Bytes found so far.
    pub found_bytes: u64,
    /// Entries that were processed.
    pub done_entries: u64,
    /// Bytes that were processed.
    pub done_bytes: u64,
    /// The part of the work that is done.
    pub percent: Option<u8>,
    /// The number of running rsyncs.
    pub running: usize,
    /// The number of waiting buckets.
    pub waiting: usize,
    /// The transfer rate in bytes per second.
    pub rate: Option<u64>,
    /// Seconds since the start of this part.
    pub elapsed: f64,
    /// Estimated seconds until everything is copied.
    pub left: Option<f64>,
    /// The lower end of the range that contains the true value in eight of ten cases.
    pub left_least: Option<f64>,
    /// The upper end of this range.
    pub left_most: Option<f64>,
}

/// A setting of the run was changed while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjusted {
    /// The most rsyncs at once.
    pub processes: usize,
    /// The limit in bytes per second for all rsyncs together that start from now on; `None` means no limit.
    pub bandwidth: Option<u64>,
    /// Whether nothing is started, and running rsyncs are stopped.
    pub paused: bool,
    /// Whether the run ends when the running rsyncs have finished.
    pub winds_down: bool,
}

/// Lines that are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many lines.
    pub count: u64,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The exit code.
    pub code: u8,
    /// What the exit code means, or what ended the run.
    pub reason: String,
    /// Whether the run was ended early.
    pub interrupted: bool,
    /// The error that ended the run as a whole, or kept it from beginning.
    pub failure: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// How many differences were found, if `--verify` was used.
    pub differences: Option<u64>,
    /// The number of `failed` lines.
    pub failed: u64,
    /// What each host has done; this machine has no name.
    pub hosts: Vec<Host>,
    /// How long each step took, in order.
    pub steps: Vec<StepTime>,
    /// The launches that took the longest, the slowest first.
    pub slowest: Vec<Slow>,
    /// The number of lines that were dropped.
    pub dropped: u64,
    /// The run directory, if it remains.
    pub run_directory: Option<Text>,
    /// Lines for users; the last one says what to type to continue.
    pub advice: Vec<String>,
}

/// Sums of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Entries found by the scan.
    pub found_entries: u64,
    /// Bytes found by the scan.
    pub found_bytes: u64,
    /// Entries that were processed.
    pub done_entries: u64,
    /// Bytes that were processed.
    pub done_bytes: u64,
    /// Entries that the scan could not read.
    pub unread: u64,
    /// Buckets that were packed.
    pub buckets: u64,
    /// Buckets that were not copied.
    pub buckets_left: u64,
    /// Directories that were split.
    pub split_directories: u64,
    /// rsyncs that were started.
    pub launches: u64,
    /// rsyncs whose work had to be repeated.
    pub retried: u64,
    /// What first passes created before rsyncs looked; `None` if nothing. It is not contained in what rsyncs transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// The sum of rsync's statistics, if there are any.
    pub figures: Option<Figures>,
    /// The time of the scan.
    pub scan_seconds: f64,
    /// The sum of the times that rsyncs ran.
    pub rsync_seconds: f64,
    /// The time of the run.
    pub seconds: f64,
}

/// What a host has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The host; `None` if it is this machine.
    pub host: Option<String>,
    /// rsyncs that were started there.
    pub launches: u64,
    /// The number of launches for each result.
    pub results: BTreeMap<String, u64>,
    /// Entries that were processed by launches that finished.
    pub entries: u64,
    /// Bytes that were processed by launches that finished.
    pub bytes: u64,
    /// The sum of the times that rsyncs ran.
    pub seconds: f64,
    /// How often it was set aside.
    pub down: u64,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// `copy` or `verify`.
    pub part: String,
    /// The step.
    pub step: String,
    /// How long it took.
    pub seconds: f64,
}

/// A launch that took long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// `copy` or `verify`.
    pub part: String,
    /// The number of the launch.
    pub launch: u64,
    /// Its host; `None` if it is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The first argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Text>,
    /// The directory that contains all arguments, directly or not.
    pub below: Text,
    /// The number of entries that it had to process.
    pub entries: u64,
    /// The number of bytes that it had to process.
    pub bytes: u64,
    /// How long it ran.
    pub seconds: f64,
}

/// RFC 3339 in UTC, to the millisecond.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
