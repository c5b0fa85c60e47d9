//! The events of a run. Each kind has its data for programs, and prints as the line that users read.
//!
//! One file, because the data of a kind and its text are read together.

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
use crate::rsync::harm::Harm;
use crate::scan::Weight;
use crate::size;
use crate::steer::Steered;
use crate::supervise::Stream;

/// An event of a run. It may come from any thread.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A line of an rsync for the user on standard output.
    Said(&'a [u8]),
    /// A line of an rsync on standard error.
    Complained(&'a [u8]),
    /// Output of the single rsync that does everything, unchanged.
    Output(Stream, &'a [u8]),
    /// An entry or source that could not be read or was not copied, as found by multi-sync itself, or work that was given up.
    Failed(Failed),
    /// Information for the user that changes no result.
    Note(Note),
    /// How far the run is; several times a second if progress was requested.
    Progress(Progress),
    /// How far the run is, because [`CancelHandle::ask_progress`](crate::job::CancelHandle::ask_progress) was called.
    Asked(&'a Live),
    /// A request to change a setting of the run, and its reason; [`Event::Adjusted`] reports the resulting settings.
    Steered(&'a Steered),
    /// The running launches, by slot; before [`Event::Progress`], if that was requested.
    Launches(&'a [Running]),
    /// The run directory was created, or opened again; nothing was copied yet.
    RunDirectory(&'a Path),
    /// What was asked for; nothing was copied yet.
    Started(&'a Started),
    /// A part of the run begins, and this is how it is done. The events that follow belong to it.
    Planned(&'a Planned),
    /// The scan has ended.
    ScanEnded {
        /// What was found.
        found: Weight,
        /// How long it took; `None` if the run uses the result of an earlier part.
        took: Option<Duration>,
    },
    /// An rsync is started.
    LaunchStarted(&'a Launch),
    /// A launch has ended, and its result was decided. Each launch that has started gets this event, unless the run fails as a whole.
    LaunchEnded(&'a LaunchEnd),
    /// The run enters another step.
    Entered(Step),
    /// A setting of the run was changed while it runs.
    Adjusted(&'a Adjusted),
    /// From now on one rsync does everything, or what is left, for this reason.
    OneRsync(&'a str),
    /// A source host that was set aside ([`Note::HostLost`]) is used again.
    HostBack(&'a str),
    /// A line in which rsync reports something that it would still change ([`Part::Verify`](super::Part::Verify)). It is also reported as [`Event::Said`].
    Difference(&'a [u8]),
    /// How far the run is, at least once a second, for recording and watching; [`Event::Progress`] is for the terminal.
    Standing(Progress),
    /// The run is over, or could not begin.
    Ended(&'a RunEnd),
}

/// Something that could not be done. It prints as one line, or as one line and a line for each name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Failed {
    /// A source that does not exist or cannot be entered.
    Source {
        /// As it was typed.
        source: OsString,
        /// The reason.
        why: io::ErrorKind,
    },
    /// An entry that the scan could not read.
    Unread {
        /// The entry and the reason.
        text: String,
        /// Whether it vanished after it was found.
        vanished: bool,
    },
    /// An entry that was not copied.
    Name {
        /// Its path, relative to the sources.
        name: Vec<u8>,
        /// What happened to it.
        what: String,
    },
    /// Names that were not copied because the directory for them could not be created.
    NoDirectory {
        /// The number of names.
        names: usize,
        /// The first name.
        first: OsString,
    },
    /// The destination was renamed, replaced or unmounted. Nothing more is written.
    DestinationMoved {
        /// As it was typed.
        destination: OsString,
    },
    /// The source on another machine was renamed, replaced or unmounted. Nothing is copied from what is there now, and nothing is deleted because of it.
    SourceMoved {
        /// As it was typed.
        source: OsString,
    },
    /// A launch broke off. It is not retried, because rsync would skip a half-written file.
    HalfWritten {
        /// Its exit code.
        code: u8,
    },
    /// A launch broke off. It is not retried, because rsync would overwrite backups with what was copied already.
    BackupsAtRisk {
        /// Its exit code.
        code: u8,
    },
    /// A launch has failed so often, on any host, that it is given up.
    GivenUp {
        /// Its last exit code.
        code: u8,
        /// Whether there is only one host.
        one_host: bool,
    },
    /// The run ends because no host could be used for too long.
    NoHost {
        /// How long it waited.
        waited: Duration,
    },
    /// The time given by `--stop-after` is over.
    TimeIsOver,
    /// The time for the run is over, or no remaining work would finish in it.
    TimeEnds,
    /// The run was asked to end when the running rsyncs had finished (`--stop`).
    Stopped,
    /// Nothing is deleted, because not everything could be read.
    NothingDeleted {
        /// Whether this applies only to split directories.
        in_split_only: bool,
    },
    /// Something in the source failed during deletion. Entries that were not deleted by then stay.
    NothingMoreDeleted,
    /// Because of [`DeleteLimit`](crate::job::DeleteLimit), nothing was deleted. Everything else is copied.
    NotDeleted {
        /// How many entries would have been deleted, as far as they were counted.
        count: u64,
        /// Why they were not deleted.
        why: Withheld,
        /// The first of them in byte order, relative to the destination.
        first: Vec<Vec<u8>>,
    },
    /// Something was copied of which an earlier rsync had moved a part (`--remove-source-files`), and removed it from the source. All files are at the
    /// destination, but what their removal has changed in the source could not be copied as it was.
    MovedBefore {
        /// Directories from which files were moved get the time of the move.
        dir_times: bool,
        /// Hard links to moved files may become separate files.
        hard_links: bool,
    },
    /// Something was copied that an earlier rsync had begun to copy. Files that it had read get the access time of that (`--atimes`).
    ReadBefore,
    /// The file of `--log-file` lacks the actions of one launch.
    LogLacks {
        /// Why a pipe for it could not be created.
        cause: String,
    },
    /// Another failure, as text.
    Other(String),
}

/// Why nothing is deleted. It prints as the end of a sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Withheld {
    /// More entries would be deleted than allowed.
    Limit {
        /// The limit.
        limit: DeleteLimit,
        /// How many entries of the transfer would stay at the destination.
        stay: u64,
    },
    /// A source is empty, and was not known to be empty.
    Empty {
        /// As it was typed.
        source: OsString,
    },
    /// A source is on another file system than in the last run from it to this destination.
    OtherFileSystem {
        /// As it was typed.
        source: OsString,
        /// The earlier file system, printable.
        was: String,
        /// The present file system, printable.
        is: String,
    },
    /// Not everything could be read, so that the count of deletions may be too small.
    NotCounted {
        /// The exit code of the count.
        code: u8,
    },
    /// An earlier part of the run has copied without deleting.
    Earlier,
    /// What an rsync has moved before (`--remove-source-files`) is missing in the source, so that another rsync would delete it at the destination.
    Moved,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Withheld::Limit { limit: limit @ DeleteLimit::Percent(_), stay } => {
                write!(f, "that is more than {limit} of the entries there ({stay} would stay)")
            }
            Withheld::Limit { limit, .. } => write!(f, "{limit} are allowed"),
            Withheld::Empty { source } => write!(f, "source {} is empty", Printable::os(source)),
            Withheld::OtherFileSystem { source, was, is } => {
                write!(f, "source {} is on {is}, and was on {was} in the last run", Printable::os(source))
            }
            Withheld::NotCounted { code } => {
                write!(f, "the count is incomplete: it ended with code {code} ({})", exit::meaning(*code))
            }
            Withheld::Earlier => f.write_str("an earlier part of this run has copied without deleting"),
            Withheld::Moved => f.write_str(
                "what was moved before is missing in the source, and another rsync would delete it at the destination",
            ),
        }
    }
}

/// Information that changes no result. It prints as a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A launch broke off. Its work is retried after a pause.
    Retry {
        /// Its exit code.
        code: u8,
        /// For how long nothing is started.
        pause: Duration,
    },
    /// The errors may have been transient. The failed entries are retried at once.
    RetryFailed,
    /// A launch that was stopped by a pause has ended because of that. Its work is repeated.
    EndedByPause {
        /// Its exit code.
        code: u8,
    },
    /// The nodes of a Slurm job copy.
    Allocation {
        /// The number of the job.
        job: String,
        /// The number of nodes.
        nodes: usize,
        /// How many rsyncs run at once, on all of them together.
        rsyncs: usize,
        /// When the job ends, if that is known.
        ends_at: Option<SystemTime>,
    },
    /// A source host was asked whether it can do its part.
    HostChecked {
        /// Whether it can.
        usable: bool,
        /// The host and its answer.
        text: String,
    },
    /// An address of the other machine, which has several, was asked whether it leads to the same directory as the others.
    AddressChecked {
        /// Whether it does.
        usable: bool,
        /// The address and its answer.
        text: String,
    },
    /// One rsync does everything, through one of several addresses.
    OneAddress {
        /// The address.
        address: String,
    },
    /// A launch on a source host, or through an address of the other machine, was lost. Others take over its work, and it is not used for some time.
    HostLost {
        /// The host, or the address.
        host: String,
        /// The exit code of the launch.
        code: u8,
        /// For how long it is not used.
        pause: Duration,
    },
    /// A source host takes part in the scan.
    HostScans {
        /// The host.
        host: String,
        /// The program that reads the directories there: `multi-sync`, or `find`.
        by: String,
    },
    /// A source host does not take part in the scan, or has stopped. Directories that it has not read are read by other hosts, or by this machine.
    HostScansNot {
        /// The host.
        host: String,
        /// The reason.
        why: String,
    },
    /// No more launches are started, because they would not finish in the time that is left.
    NoTimeLeft,
    /// The number of rsyncs is found by measuring.
    Adapts {
        /// The largest number.
        most: usize,
    },
    /// The other side does not admit so many rsyncs at once. From now on fewer run.
    FewerAtOnce,
    /// One rsync does everything.
    OneRsync {
        /// The reason.
        why: String,
    },
    /// One rsync does what is left.
    OneRsyncForTheRest {
        /// The reason.
        why: String,
    },
    /// The server refuses something that several rsyncs need. One rsync does everything.
    ServerRefuses {
        /// What the server said, or the meaning of its exit code.
        why: String,
    },
    /// Two names of the source may be one name at the destination. One rsync does everything.
    NamesMeet {
        /// One of the names, printable.
        name: String,
    },
    /// The run cannot be resumed if it does not finish.
    Unrecorded {
        /// What could not be recorded.
        why: String,
    },
    /// The records of an earlier part of the run cannot be trusted. Work that they call done is repeated.
    CopiedAgain {
        /// What was found, and how much is copied again.
        text: String,
    },
    /// The list of failed names does not contain all names of a launch.
    Unlisted {
        /// The file with the list.
        list: String,
        /// How many names are missing.
        names: u64,
    },
    /// rsync may not access `/proc` of this process. Sources are accessed by their paths.
    SourcesByPath,
    /// The directory of a source on another machine may have been replaced, and nothing shows whether it was.
    SourceChanged {
        /// As it was typed.
        source: OsString,
    },
    /// This system does not tell whether an rsync reads or writes. Stalled rsyncs are not ended.
    StallsUnseen,
    /// The run waits for data from a stream that an option names.
    WaitsFor {
        /// The stream.
        stream: String,
    },
    /// The copy did not finish, so it was not verified.
    NotVerified,
    /// One rsync does everything, and keeps the bandwidth with which it was started, whatever the timetable says later.
    BandwidthStays,
    /// Deletions are counted before anything is copied.
    CountsDeletions,
    /// The file system of a source in the last run is not known, and the present one cannot be recorded.
    SourcesNotRemembered {
        /// The reason.
        why: String,
    },
    /// Events or a report could not be written, or not completely.
    Unwritten {
        /// Which one, and why.
        text: String,
    },
    /// Other information, as text.
    Other(String),
}

/// The system's words for an error kind that has only one error number.
fn in_words(why: io::ErrorKind) -> io::Error {
    let errno = match why {
        io::ErrorKind::NotFound => Errno::NOENT,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        io::ErrorKind::NotADirectory => Errno::NOTDIR,
        _ => return why.into(),
    };
    errno.into()
}

fn not_retried(f: &mut fmt::Formatter<'_>, code: u8, harm: Harm) -> fmt::Result {
    write!(
        f,
        "an rsync ended with code {code}, and is not retried: with these rsync options the next one {}",
        harm.text()
    )
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
                "{} not copied, because the directory that holds them could not be created: the first is {}",
                size::counted(*names as u64, "name was", "names were"),
                Printable::os(first)
            ),
            Failed::DestinationMoved { destination } => write!(
                f,
                "destination {} was renamed, replaced or unmounted while multi-sync ran: nothing more is written; copy again when it is back",
                Printable::os(destination)
            ),
            Failed::SourceMoved { source } => write!(
                f,
                "source {} was renamed, replaced or unmounted while multi-sync ran: what is there now is not copied, and nothing is deleted because of it; copy again",
                Printable::os(source)
            ),
            Failed::HalfWritten { code } => not_retried(f, *code, Harm::SkipsHalves),
            Failed::BackupsAtRisk { code } => not_retried(f, *code, Harm::OverwritesBackups),
            Failed::GivenUp { code, one_host } => {
                let where_ = if *one_host { "too often" } else { "on two hosts, where others succeed," };
                write!(f, "an rsync failed {where_} with code {code} ({})", exit::meaning(*code))
            }
            Failed::NoHost { waited } => write!(f, "no host could be used for {} s", waited.as_secs()),
            Failed::Stopped => f.write_str("stopped as requested: not everything was copied"),
            Failed::TimeEnds => f.write_str("the time for this run has ended: not everything was copied"),
            Failed::TimeIsOver => f.write_str("the time of --stop-after is over: not everything was copied"),
            Failed::NothingDeleted { in_split_only } => f.write_str(match in_split_only {
                false => "IO error encountered -- nothing is deleted",
                true => "IO error encountered -- nothing is deleted in the directories that were split",
            }),
            Failed::NothingMoreDeleted => f.write_str("IO error encountered -- nothing more is deleted"),
            Failed::NotDeleted { why: why @ Withheld::Moved, .. } => write!(f, "nothing more is deleted: {why}"),
            Failed::NotDeleted { count: 0, why, .. } => write!(f, "nothing is deleted: {why}"),
            Failed::NotDeleted { count, why, first } => {
                let entries = size::counted(*count, "entry", "entries");
                write!(f, "nothing is deleted: {entries} would be, and {why}")?;
                first.iter().try_for_each(|name| write!(f, "\nnot deleted: {}", Printable::bytes(name)))?;
                match count.saturating_sub(first.len() as u64) {
                    0 => Ok(()),
                    more => write!(f, "\nnot deleted: {more} more"),
                }
            }
            Failed::MovedBefore { dir_times, hard_links } => {
                let times = "directories from which files were moved get the time of the move, and not their own";
                let links = "hard links to moved files may become separate files";
                let what: Vec<&str> =
                    dir_times.then_some(times).into_iter().chain(hard_links.then_some(links)).collect();
                write!(
                    f,
                    "rsync copies again what was partly moved before: at the destination, {}",
                    what.join(", and ")
                )
            }
            Failed::ReadBefore => f.write_str(
                "rsync copies again what was partly read before: at the destination, files that were read get the access time of that, and not their own",
            ),
            Failed::LogLacks { cause } => {
                write!(f, "cannot make a pipe for --log-file: {cause}: the log lacks what one rsync does")
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
            Note::RetryFailed => f.write_str("some of the errors may be temporary: trying once more"),
            Note::Allocation { job, nodes, rsyncs, ends_at } => {
                let count = |count: usize, one: &str, more: &str| size::counted(count as u64, one, more);
                let copy = if *nodes == 1 { "copies" } else { "copy" };
                let (nodes, rsyncs) = (count(*nodes, "node", "nodes"), count(*rsyncs, "rsync", "rsyncs"));
                write!(f, "Slurm job {job}: {nodes} {copy}, with {rsyncs} at once")?;
                let shown = ends_at.and_then(|end| jiff::Timestamp::try_from(end).ok());
                let shown = shown.map(|end| jiff::ZonedDateTime::new(end, jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string());
                shown.map_or(Ok(()), |end| write!(f, ", until {end}"))
            }
            Note::NoTimeLeft => f.write_str("the rest would not finish in time: no more rsyncs are started"),
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
                write!(f, "{name} may be the same name as another at the destination: one rsync does it all")
            }
            Note::Unrecorded { why } => {
                write!(f, "if this run does not finish, it cannot be resumed: {why}")
            }
            Note::CopiedAgain { text } | Note::Unwritten { text } | Note::Other(text) => f.write_str(text),
            Note::Unlisted { list, names } => {
                let names = size::counted(*names, "more name of this rsync is", "more names of this rsync are");
                write!(f, "{list}: {names} not listed")
            }
            Note::SourcesByPath => f.write_str(
                "the rsync that is started is not permitted to look into /proc of this process: it opens the sources by their paths",
            ),
            Note::SourceChanged { source } => write!(
                f,
                "the directory of source {} changed while multi-sync ran: if another directory took its place, the destination now has a mixture of both: copy it again",
                Printable::os(source)
            ),
            Note::StallsUnseen => {
                f.write_str("this system does not show whether an rsync reads or writes: --stall does not end such an rsync")
            }
            Note::WaitsFor { stream } => write!(f, "waiting for input from {stream}"),
            Note::BandwidthStays => f.write_str(
                "one rsync does it all, and keeps the bandwidth with which it was started, whatever the timetable says later",
            ),
            Note::NotVerified => f.write_str("not verified: the copy did not finish"),
            Note::CountsDeletions => f.write_str("counting what would be deleted"),
            Note::SourcesNotRemembered { why } => {
                write!(f, "it is unknown whether a source is on another file system than in the last run: {why}")
            }
        }
    }
}
