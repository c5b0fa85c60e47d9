//! What a run tells while it goes on. Each kind has its data for a program, and prints as the line that a person reads.
//!
//! One file, because what a kind has and how it prints are read together.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::launch::{Launch, LaunchEnd};
use super::run::{Adjusted, Planned, RunEnd, Started, Step};
use super::{Live, Progress, Running};
use crate::entry::Printable;
use crate::limit::DeleteLimit;
use crate::rsync::exit;
use crate::scan::Weight;
use crate::steer::Steered;
use crate::supervise::Stream;

/// Something a run tells; from any of its threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A line that an rsync said to its user on standard output.
    Said(&'a [u8]),
    /// A line that an rsync said on standard error.
    Complained(&'a [u8]),
    /// What the one rsync that does it all printed, as it came.
    Output(Stream, &'a [u8]),
    /// An entry or source that could not be read or was not copied, by multi-sync's own knowledge, or work that was given up.
    Failed(Failed),
    /// Something the user should know that changes no result.
    Note(Note),
    /// Where the run stands; several times a second if progress is wanted.
    Progress(Progress),
    /// Where the run stands, because [`CancelHandle::ask_progress`](crate::job::CancelHandle::ask_progress) was called.
    Asked(&'a Live),
    /// The run is told to change something, and why; [`Event::Adjusted`] says what is in force then.
    Steered(&'a Steered),
    /// What runs, by slot; before [`Event::Progress`], if that is wanted.
    Launches(&'a [Running]),
    /// The run directory was made, or opened again; nothing was copied yet.
    RunDirectory(&'a Path),
    /// What was asked for; nothing was copied yet.
    Started(&'a Started),
    /// A part of the run begins, and how it is done. What follows belongs to it.
    Planned(&'a Planned),
    /// The scan has found everything there is.
    ScanEnded {
        /// How much.
        found: Weight,
        /// How long it took; `None` if the run goes on with what an earlier part of it had found.
        took: Option<Duration>,
    },
    /// An rsync is started.
    LaunchStarted(&'a Launch),
    /// A launch has ended, and it was decided what comes of it. Each one that has started ends, unless the run fails as a whole.
    LaunchEnded(&'a LaunchEnd),
    /// The run does something else from now on.
    Entered(Step),
    /// Something about how the run is done was changed.
    Adjusted(&'a Adjusted),
    /// One rsync does it all from now on, or what is left, for this reason.
    OneRsync(&'a str),
    /// A source host that was set aside ([`Note::HostLost`]) is there again.
    HostBack(&'a str),
    /// A line in which rsync says what it would still do ([`Part::Verify`](super::Part::Verify)). It is told as [`Event::Said`] too.
    Difference(&'a [u8]),
    /// Where the run stands, at least once a second, for who records or watches it; [`Event::Progress`] is for the terminal.
    Standing(Progress),
    /// The run is over, or could not begin.
    Ended(&'a RunEnd),
}

/// What could not be done. It prints as a line, or as one and a line for each name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Failed {
    /// A source that is not there or cannot be entered.
    Source {
        /// As it was typed.
        source: OsString,
        /// Why.
        why: io::ErrorKind,
    },
    /// An entry that the scan could not read.
    Unread {
        /// Which, and why.
        text: String,
        /// It went away after it was found.
        vanished: bool,
    },
    /// An entry that was not copied.
    Name {
        /// Relative to the sources.
        name: Vec<u8>,
        /// What became of it.
        what: String,
    },
    /// Names that were not copied because the directory that holds them could not be made.
    NoDirectory {
        /// How many.
        names: usize,
        /// The first of them.
        first: OsString,
    },
    /// The destination was renamed, replaced or unmounted. Nothing more is written.
    DestinationMoved {
        /// As it was typed.
        destination: OsString,
    },
    /// The source on another machine was renamed, replaced or unmounted. Nothing of what is there now is copied, and nothing is deleted because of it.
    SourceMoved {
        /// As it was typed.
        source: OsString,
    },
    /// A launch broke off. It is not tried again, because what it left half written would be passed over.
    HalfWritten {
        /// Its exit code.
        code: u8,
    },
    /// A launch failed so often, on whichever host, that it is given up.
    GivenUp {
        /// Its last exit code.
        code: u8,
        /// There is one host only.
        one_host: bool,
    },
    /// No host could be used for so long that the run ends.
    NoHost {
        /// How long.
        waited: Duration,
    },
    /// The time of `--stop-after` is over.
    TimeIsOver,
    /// The time that there was for the run is over, or nothing of what is left would end in it.
    TimeEnds,
    /// The run was asked to end when what ran had come to its end (`--stop`).
    Stopped,
    /// Nothing is deleted, because not everything could be read.
    NothingDeleted {
        /// That is so only in directories that were split.
        in_split_only: bool,
    },
    /// Something of the source failed while something was deleted. What was not deleted by then stays.
    NothingMoreDeleted,
    /// Nothing was deleted of what would have been, because of [`DeleteLimit`](crate::job::DeleteLimit). What is to be copied is copied.
    NotDeleted {
        /// How many entries would have been deleted, as far as that was counted.
        count: u64,
        /// Why they stay.
        why: Withheld,
        /// The first of them in the order of their bytes, relative to the destination.
        first: Vec<Vec<u8>>,
    },
    /// The file of `--log-file` lacks what one launch does.
    LogLacks {
        /// Why there is no pipe for it.
        cause: String,
    },
    /// Something else, as text.
    Other(String),
}

/// Why nothing is deleted. It prints as the end of a sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Withheld {
    /// There are more deletions than are allowed.
    Limit {
        /// So many are.
        limit: DeleteLimit,
        /// So many entries of the transfer would stay at the destination.
        stay: u64,
    },
    /// A source has nothing in it, and was not known to be so.
    Empty {
        /// As it was typed.
        source: OsString,
    },
    /// A source is on another file system than in the last run from it to this destination.
    OtherFileSystem {
        /// As it was typed.
        source: OsString,
        /// Where it was, printable.
        was: String,
        /// Where it is, printable.
        is: String,
    },
    /// Not everything could be looked at, so that deletions may be missing in the count.
    NotCounted {
        /// The exit code of the count.
        code: u8,
    },
    /// An earlier part of the run has copied without deleting.
    Earlier,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Withheld::Limit { limit: limit @ DeleteLimit::Percent(_), stay } => {
                write!(f, "that is more than {limit} of what is there ({stay} stay)")
            }
            Withheld::Limit { limit, .. } => write!(f, "{limit} are allowed"),
            Withheld::Empty { source } => write!(f, "source {} is empty", Printable::os(source)),
            Withheld::OtherFileSystem { source, was, is } => {
                write!(f, "source {} is on {is}, and was on {was} in the last run", Printable::os(source))
            }
            Withheld::NotCounted { code } => {
                write!(f, "the count is not complete: it ended with code {code} ({})", exit::meaning(*code))
            }
            Withheld::Earlier => f.write_str("an earlier part of this run has copied without deleting"),
        }
    }
}

/// What changes no result. It prints as a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A launch broke off. Its work is tried again after a pause.
    Retry {
        /// Its exit code.
        code: u8,
        /// How long nothing is started.
        pause: Duration,
    },
    /// What failed may have passed. It is tried again at once.
    RetryFailed,
    /// A launch that was stopped in a pause has ended because of it. Its work is done again.
    EndedByPause {
        /// Its exit code.
        code: u8,
    },
    /// The nodes of a job of Slurm copy.
    Allocation {
        /// Its number.
        job: String,
        /// How many nodes.
        nodes: usize,
        /// rsyncs at once, on all of them.
        rsyncs: usize,
        /// When the job ends, if that is known.
        ends_at: Option<SystemTime>,
    },
    /// A source host was asked whether it can do its part.
    HostChecked {
        /// It can.
        usable: bool,
        /// Which host, and what it answered.
        text: String,
    },
    /// An address of the other machine, which has several, was asked whether it leads to the same directory as the others.
    AddressChecked {
        /// It does.
        usable: bool,
        /// Which address, and what it answered.
        text: String,
    },
    /// One rsync does it all, through one of several addresses.
    OneAddress {
        /// Which.
        address: String,
    },
    /// A source host has lost a launch, or an address of the other machine. Others do its work, and it is not used for some time.
    HostLost {
        /// Which host.
        host: String,
        /// The exit code of the launch.
        code: u8,
        /// How long it is not used.
        pause: Duration,
    },
    /// A source host scans too.
    HostScans {
        /// Which host.
        host: String,
        /// What reads the directories there: `multi-sync`, or `find`.
        by: String,
    },
    /// A source host does not scan, or not any more. What it has not read is read by others, or by this machine.
    HostScansNot {
        /// Which host.
        host: String,
        /// Why.
        why: String,
    },
    /// No launch is started any more: it would not end in the time that is left.
    NoTimeLeft,
    /// The number of rsyncs is found by trying.
    Adapts {
        /// The most.
        most: usize,
    },
    /// The other side does not let in so many rsyncs at once. Fewer run from now on.
    FewerAtOnce,
    /// One rsync does it all.
    OneRsync {
        /// Why.
        why: String,
    },
    /// One rsync does what is left.
    OneRsyncForTheRest {
        /// Why.
        why: String,
    },
    /// The server refuses what several rsyncs need. One rsync does it all.
    ServerRefuses {
        /// What it said, or what its exit code means.
        why: String,
    },
    /// Two names of the source may be one at the destination. One rsync does it all.
    NamesMeet {
        /// One of them, printable.
        name: String,
    },
    /// The run cannot be resumed if it does not come to its end.
    Unrecorded {
        /// What could not be written down.
        why: String,
    },
    /// What was written down of an earlier part of the run is not to be trusted. What it called done is copied again.
    CopiedAgain {
        /// What was found, and how much is copied again.
        text: String,
    },
    /// The list of failed names does not have all of a launch.
    Unlisted {
        /// The file of the list.
        list: String,
        /// How many it lacks.
        names: u64,
    },
    /// rsync may not look into `/proc` of this process. Sources are found by their paths.
    SourcesByPath,
    /// The directory of a source on another machine has changed: it may be another one, where nothing tells which it is.
    SourceChanged {
        /// As it was typed.
        source: OsString,
    },
    /// This system does not tell whether an rsync reads or writes. Stalled ones are not ended.
    StallsUnseen,
    /// The run waits for what a stream gives that an option names.
    WaitsFor {
        /// The stream.
        stream: String,
    },
    /// The copy did not come to its end, so it was not verified.
    NotVerified,
    /// One rsync does it all, and keeps the bandwidth that it is started with, whatever the timetable says later.
    BandwidthStays,
    /// What would be deleted is counted before anything is copied.
    CountsDeletions,
    /// It is not known on which file system a source was in the last run, nor will it be.
    SourcesNotRemembered {
        /// Why.
        why: String,
    },
    /// Events or a report could not be written, or not all of them.
    Unwritten {
        /// Which, and why.
        text: String,
    },
    /// Something else, as text.
    Other(String),
}

/// As the system says it, where a kind has one error.
fn in_words(why: io::ErrorKind) -> io::Error {
    let errno = match why {
        io::ErrorKind::NotFound => Errno::NOENT,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        io::ErrorKind::NotADirectory => Errno::NOTDIR,
        _ => return why.into(),
    };
    errno.into()
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Source { source, why } => {
                write!(f, "cannot find source {}: {}", Printable::os(source), in_words(*why))
            }
            Failed::Unread { text, .. } | Failed::Other(text) => f.write_str(text),
            Failed::Name { name, what } => write!(f, "{} {what}", Printable::bytes(name)),
            Failed::NoDirectory { names, first } => write!(
                f,
                "{names} names were not copied, because the directory that holds them could not be made: the first is {}",
                Printable::os(first)
            ),
            Failed::DestinationMoved { destination } => write!(
                f,
                "destination {} was renamed, replaced or unmounted while multi-sync ran: nothing more is written; \
                 copy again when it is there",
                Printable::os(destination)
            ),
            Failed::SourceMoved { source } => write!(
                f,
                "source {} was renamed, replaced or unmounted while multi-sync ran: nothing of what is there now is copied, \
                 and nothing is deleted because of it; copy again",
                Printable::os(source)
            ),
            Failed::HalfWritten { code } => write!(
                f,
                "an rsync ended with code {code}, and is not retried: with these rsync options the next one would skip what is \
                 half written"
            ),
            Failed::GivenUp { code, one_host } => {
                let where_ = if *one_host { "too often" } else { "on two hosts, where others succeed," };
                write!(f, "an rsync failed {where_} with code {code} ({})", exit::meaning(*code))
            }
            Failed::NoHost { waited } => write!(f, "no host could be used for {} s", waited.as_secs()),
            Failed::Stopped => f.write_str("stopped as was asked for: not everything was copied"),
            Failed::TimeEnds => f.write_str("the time for this run ends: not everything was copied"),
            Failed::TimeIsOver => f.write_str("the time of --stop-after is over: not everything was copied"),
            Failed::NothingDeleted { in_split_only } => f.write_str(match in_split_only {
                false => "IO error encountered -- nothing is deleted",
                true => "IO error encountered -- nothing is deleted in the directories that were split",
            }),
            Failed::NothingMoreDeleted => f.write_str("IO error encountered -- nothing more is deleted"),
            Failed::NotDeleted { count: 0, why, .. } => write!(f, "nothing is deleted: {why}"),
            Failed::NotDeleted { count, why, first } => {
                let entries = if *count == 1 { "1 entry" } else { &format!("{count} entries") };
                write!(f, "nothing is deleted: {entries} would be, and {why}")?;
                first.iter().try_for_each(|name| write!(f, "\nnot deleted: {}", Printable::bytes(name)))?;
                match count.saturating_sub(first.len() as u64) {
                    0 => Ok(()),
                    more => write!(f, "\nnot deleted: {more} more"),
                }
            }
            Failed::LogLacks { cause } => {
                write!(f, "cannot make a pipe for --log-file: {cause}: the log lacks what one launch does")
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Retry { code, pause } => {
                let (what, seconds) = (exit::meaning(*code), pause.as_secs());
                write!(f, "rsync ended with code {code} ({what}); trying again in {seconds} s")
            }
            Note::EndedByPause { code } => {
                let what = exit::meaning(*code);
                write!(
                    f,
                    "an rsync that was stopped in a pause has ended with code {code} ({what}): its work is done again"
                )
            }
            Note::RetryFailed => f.write_str("what failed may work now: trying once more"),
            Note::Allocation { job, nodes, rsyncs, ends_at } => {
                let count = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
                let copy = if *nodes == 1 { "copies" } else { "copy" };
                let (nodes, rsyncs) = (count(*nodes, "node", "nodes"), count(*rsyncs, "rsync", "rsyncs"));
                write!(f, "job {job} of Slurm: {nodes} of it {copy}, with {rsyncs} at once")?;
                let shown = ends_at.and_then(|end| jiff::Timestamp::try_from(end).ok());
                let shown = shown.map(|end| jiff::ZonedDateTime::new(end, jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string());
                shown.map_or(Ok(()), |end| write!(f, ", until {end}"))
            }
            Note::NoTimeLeft => f.write_str("what is left would not end in time: no more rsyncs are started"),
            Note::HostChecked { text, .. } => write!(f, "host {text}"),
            Note::AddressChecked { text, .. } => write!(f, "address {text}"),
            Note::OneAddress { address } => write!(f, "one rsync goes through one address: {address}"),
            Note::HostLost { host, code, pause } => {
                let (what, seconds) = (exit::meaning(*code), pause.as_secs());
                write!(f, "{host} is set aside for {seconds} s: an rsync there ended with code {code} ({what})")
            }
            Note::HostScans { host, by } => write!(f, "{host} scans the source, with {by}"),
            Note::HostScansNot { host, why } => write!(f, "{host} does not scan the source: {why}"),
            Note::Adapts { most } => write!(f, "finding the best number of rsyncs, at most {most}"),
            Note::FewerAtOnce => {
                f.write_str("the other side does not accept so many rsyncs at once: fewer run from now on")
            }
            Note::OneRsync { why } => write!(f, "one rsync does it all ({why})"),
            Note::OneRsyncForTheRest { why } => write!(f, "one rsync does what is left ({why})"),
            Note::ServerRefuses { why } => {
                write!(f, "the server refuses what several rsyncs need ({why}): one rsync does it all")
            }
            Note::NamesMeet { name } => {
                write!(f, "{name} may be one name with another at the destination: one rsync does it all")
            }
            Note::Unrecorded { why } => {
                write!(f, "the run cannot be resumed if it does not come to its end: {why}")
            }
            Note::CopiedAgain { text } | Note::Unwritten { text } | Note::Other(text) => f.write_str(text),
            Note::Unlisted { list, names } => write!(f, "{list}: {names} more names of this rsync are not listed"),
            Note::SourcesByPath => f.write_str(
                "the rsync that is started must not look into /proc of this process: sources are found by their paths",
            ),
            Note::SourceChanged { source } => write!(
                f,
                "the directory of source {} has changed while multi-sync ran: if another one was put in its place, what is here is of both, \
                 and has to be copied again",
                Printable::os(source)
            ),
            Note::StallsUnseen => {
                f.write_str("this system does not tell whether an rsync reads or writes: --stall ends none of those")
            }
            Note::WaitsFor { stream } => write!(f, "waits for what comes from {stream}"),
            Note::BandwidthStays => f.write_str(
                "one rsync does it all: it keeps the bandwidth that it is started with, whatever the timetable says later",
            ),
            Note::NotVerified => f.write_str("not verified: the copy did not come to its end"),
            Note::CountsDeletions => f.write_str("counting what would be deleted"),
            Note::SourcesNotRemembered { why } => {
                write!(f, "whether a source is on another file system than in the last run is not known: {why}")
            }
        }
    }
}
