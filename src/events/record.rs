//! What the lines say: one type for each kind, and nothing else that is written. `docs/events.schema.json` says the same for others. A field is added, never
//! removed, renamed, or given another meaning; a reader passes over what it does not know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::Text;

/// The version of the lines. It changes only if something is removed or gets another meaning.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<R = Record> {
    /// See [`VERSION`].
    pub v: u32,
    /// When it was told.
    #[serde(with = "time")]
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub record: R,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// What was asked for. Only notes come before it.
    Start(Box<Start>),
    /// Several rsyncs do a part of the run.
    Plan(Plan),
    /// One rsync does it.
    Single(Single),
    /// The scan has ended.
    Scan(Scan),
    /// The run does something else from now on.
    Step(Step),
    /// From now on something is deleted after everything was copied.
    DeletePhase(DeletePhase),
    /// An rsync is started.
    LaunchStart(Launch),
    /// It has ended.
    LaunchEnd(Box<LaunchEnd>),
    /// Work is tried again after a pause.
    Retry(Retry),
    /// A source host is set aside.
    HostDown(HostDown),
    /// It is there again.
    HostUp(HostUp),
    /// Something changes no result.
    Note(Note),
    /// Something could not be done.
    Failed(Failed),
    /// What rsync would still do.
    Difference(Difference),
    /// Where the run stands.
    Progress(Box<Progress>),
    /// How the run is done was changed.
    Adjusted(Adjusted),
    /// Lines are missing here, because they were not taken in time.
    Dropped(Dropped),
    /// How the run ended. The last line.
    Summary(Box<Summary>),
    /// Of a newer version.
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
    /// What relative names are relative to.
    pub current_dir: Text,
    /// As they were typed.
    pub sources: Vec<Text>,
    /// As it was typed.
    pub destination: Text,
    /// Those of rsync.
    pub options: Vec<Text>,
    /// The most rsyncs at once.
    pub processes: usize,
    /// Source hosts.
    pub hosts: Vec<String>,
    /// The run directory.
    pub run_directory: Text,
    /// The run goes on.
    pub resumes: bool,
    /// Nothing is copied.
    pub dry_run: bool,
}

/// Several rsyncs do a part of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `copy` or `verify`.
    pub part: String,
    /// The most rsyncs at once.
    pub processes: usize,
    /// The host of each slot; none if all are here.
    pub slots: Vec<String>,
}

/// One rsync does it, or what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Single {
    /// `copy` or `verify`.
    pub part: String,
    /// Why.
    pub reason: String,
}

/// The scan has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// `copy` or `verify`.
    pub part: String,
    /// Found.
    pub entries: u64,
    /// Found.
    pub bytes: u64,
    /// How long it took; none if the run goes on with what was found before.
    pub seconds: Option<f64>,
}

/// The run does something else from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `copy` or `verify`.
    pub part: String,
    /// A word for it.
    pub step: String,
}

/// Something is deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletePhase {
    /// `copy` or `verify`.
    pub part: String,
}

/// An rsync, as it is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// `copy` or `verify`.
    pub part: String,
    /// Its number in this part.
    pub launch: u64,
    /// Where it runs.
    pub slot: usize,
    /// Its host; none if it is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What it does.
    pub kind: String,
    /// How many buckets.
    pub buckets: usize,
    /// How many arguments.
    pub units: usize,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Text>,
    /// The directory that all are in or below.
    pub below: Text,
    /// What it is to deal with.
    pub entries: u64,
    /// What it is to deal with.
    pub bytes: u64,
    /// It waits for its names.
    pub waits: bool,
}

/// An rsync that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchEnd {
    /// As it was started.
    #[serde(flatten)]
    pub launch: Launch,
    /// How it ended.
    pub result: String,
    /// The exit code.
    pub code: Option<u8>,
    /// How long it ran.
    pub seconds: f64,
    /// Bytes that it has transferred, as far as known.
    pub moved: u64,
    /// What was made before it looked; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// rsync's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// What a first pass has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// The length of these files.
    pub bytes: u64,
    /// How long it took; the sum where there are several.
    pub seconds: f64,
}

/// What rsync's `--stats` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of files; of a launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Number of created files.
    pub created: u64,
    /// Number of deleted files.
    pub deleted: u64,
    /// Number of regular files transferred.
    pub transferred: u64,
    /// Total file size; of a launch.
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

/// Work is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The exit code of the launch that broke off; none if only what failed is tried again.
    pub code: Option<u8>,
    /// How long nothing is started.
    pub pause: f64,
    /// The same for a person.
    pub text: String,
}

/// A source host is set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostDown {
    /// Which.
    pub host: String,
    /// The exit code of the launch that it lost.
    pub code: u8,
    /// How long it is not used, at least.
    pub pause: f64,
    /// The same for a person.
    pub text: String,
}

/// A source host is there again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostUp {
    /// Which.
    pub host: String,
}

/// Something changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// A word for what it is about.
    pub kind: String,
    /// What it says to a person.
    pub text: String,
}

/// Something could not be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// `rsync`, which has the word, or a word for what multi-sync itself knows.
    pub kind: String,
    /// What it is about, if that is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// What it says to a person.
    pub text: Text,
}

/// What rsync would still do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What: the first word of a line of `rsync -i`.
    pub change: String,
    /// To which name.
    pub name: Text,
}

/// Where the run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `copy` or `verify`.
    pub part: String,
    /// `connecting`, `copying`, `finishing` or `ended`.
    pub phase: String,
    /// The scan has ended.
    pub scanned: bool,
    /// Found so far.
    pub found_entries: u64,
    /// Found so far.
    pub found_bytes: u64,
    /// Dealt with.
    pub done_entries: u64,
    /// Dealt with.
    pub done_bytes: u64,
    /// How much that is.
    pub percent: Option<u8>,
    /// rsyncs that run.
    pub running: usize,
    /// Buckets that wait.
    pub waiting: usize,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Since the start of this part.
    pub elapsed: f64,
    /// Until everything is copied.
    pub left: Option<f64>,
    /// It is between this,
    pub left_least: Option<f64>,
    /// and this, eight of ten times.
    pub left_most: Option<f64>,
}

/// How the run is done was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjusted {
    /// The most rsyncs at once.
    pub processes: usize,
    /// Bytes a second for all rsyncs together that start from now on; none is no limit.
    pub bandwidth: Option<u64>,
    /// Nothing is started, and what runs is stopped.
    pub paused: bool,
    /// The run ends when what runs has come to its end.
    pub winds_down: bool,
}

/// Lines that are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many.
    pub count: u64,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The exit code.
    pub code: u8,
    /// What it means, or what ended the run.
    pub reason: String,
    /// The run was ended before its time.
    pub interrupted: bool,
    /// What ended it as a whole, or kept it from beginning.
    pub failure: Option<String>,
    /// The sums.
    pub totals: Totals,
    /// How many differences were found, if rsync was asked.
    pub differences: Option<u64>,
    /// How many lines `failed` there are.
    pub failed: u64,
    /// What each host has done; this machine has no name.
    pub hosts: Vec<Host>,
    /// How long each step took, in their order.
    pub steps: Vec<StepTime>,
    /// The launches that took the longest, the slowest first.
    pub slowest: Vec<Slow>,
    /// How many lines were dropped.
    pub dropped: u64,
    /// The run directory, if it is left.
    pub run_directory: Option<Text>,
    /// Lines for a person; the last one says what to type to go on.
    pub advice: Vec<String>,
}

/// Sums of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Found by the scan.
    pub found_entries: u64,
    /// Found by the scan.
    pub found_bytes: u64,
    /// Dealt with.
    pub done_entries: u64,
    /// Dealt with.
    pub done_bytes: u64,
    /// Entries that the scan could not read.
    pub unread: u64,
    /// Buckets that were packed.
    pub buckets: u64,
    /// Those that were still to be copied.
    pub buckets_left: u64,
    /// Directories that were split.
    pub split_directories: u64,
    /// rsyncs that were started.
    pub launches: u64,
    /// Those whose work had to be done once more.
    pub retried: u64,
    /// What was made before rsyncs looked; none if nothing was. It is not among what they transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// rsync's figures added up, if there are some.
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
    /// Which; none if it is this machine.
    pub host: Option<String>,
    /// rsyncs that were started there.
    pub launches: u64,
    /// By how they ended.
    pub results: BTreeMap<String, u64>,
    /// What launches that came to their end have dealt with.
    pub entries: u64,
    /// What launches that came to their end have dealt with.
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
    /// How long.
    pub seconds: f64,
}

/// A launch that took long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// `copy` or `verify`.
    pub part: String,
    /// Which.
    pub launch: u64,
    /// Its host; none if it is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The first of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Text>,
    /// The directory that all are in or below.
    pub below: Text,
    /// What it was to deal with.
    pub entries: u64,
    /// What it was to deal with.
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
