//! Makes lines from events: each typed event of a run becomes no record, one or several, and the last record sums them up.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::recheck;
use crate::report::{self, Event, Phase};
use crate::rsync::exit;
use crate::rsync::filter::unescape;
use crate::rsync::messages;
use crate::supervise::{Lines, Stream};

use super::record::*;
use super::text::Text;

/// How many of the slowest launches the summary names.
const SLOWEST: usize = 10;

/// Makes records from events.
pub(super) struct Recorder {
    /// Progress is recorded at most once in this time.
    interval: Duration,
    /// When it was recorded last.
    stood: Option<Instant>,
    part: String,
    steps: Vec<StepTime>,
    /// When the last of them began.
    since: Option<Instant>,
    deletes: bool,
    hosts: BTreeMap<Option<String>, Host>,
    slowest: Vec<Slow>,
    failed: u64,
    /// Splits output of a single rsync, which is passed on as it comes, into lines.
    lines: Lines,
}

impl Recorder {
    /// Records progress every `interval`.
    pub fn new(interval: Duration) -> Recorder {
        Recorder {
            interval,
            stood: None,
            part: report::Part::default().name().to_owned(),
            steps: Vec::new(),
            since: None,
            deletes: false,
            hosts: BTreeMap::new(),
            slowest: Vec::new(),
            failed: 0,
            lines: Lines::new(Stream::Stderr),
        }
    }

    /// Passes the records of an event to `write`.
    pub fn hear(&mut self, event: &Event<'_>, now: Instant, write: &mut dyn FnMut(Record)) {
        match event {
            Event::Started(started) => write(Record::Start(Box::new(start(started)))),
            Event::Planned(planned) => self.plan(planned, now, write),
            Event::OneRsync(why) => write(self.single(why)),
            Event::ScanEnded { found, took } => write(Record::Scan(Scan {
                part: self.part.clone(),
                entries: found.entries,
                bytes: found.bytes,
                seconds: took.map(seconds),
            })),
            Event::Entered(step) => self.enter(*step, now, write),
            Event::LaunchStarted(launch) => write(Record::LaunchStart(self.launch(launch))),
            Event::LaunchEnded(end) => write(self.launch_end(end)),
            Event::HostBack(host) => write(Record::HostUp(HostUp { host: (*host).to_owned() })),
            Event::Note(told) => write(self.note(told)),
            Event::Steered(steered) => {
                write(Record::Note(Note { kind: "steered".to_owned(), text: steered.to_string() }));
            }
            Event::Failed(told) => self.fail(failed(told), write),
            Event::Complained(line) => self.complaint(line, write),
            Event::Output(Stream::Stderr, bytes) => {
                let mut lines = std::mem::replace(&mut self.lines, Lines::new(Stream::Stderr));
                lines.feed(bytes, &mut |_, line| self.complaint(line, write));
                self.lines = lines;
            }
            Event::Difference(line) => difference(line).into_iter().for_each(write),
            Event::Standing(progress) => self.stand(progress, now, write),
            Event::Adjusted(adjusted) => write(Record::Adjusted(Adjusted {
                processes: adjusted.processes,
                bandwidth: adjusted.bandwidth.map(|kib| kib.get() * 1024),
                paused: adjusted.paused,
                winds_down: adjusted.winds_down,
            })),
            Event::Ended(end) => {
                let mut lines = std::mem::replace(&mut self.lines, Lines::new(Stream::Stderr));
                lines.finish(&mut |_, line| self.complaint(line, write));
                self.close_step(now);
                write(Record::Summary(Box::new(self.summary(end))));
            }
            _ => {}
        }
    }

    fn plan(&mut self, planned: &report::Planned, now: Instant, write: &mut dyn FnMut(Record)) {
        self.part = planned.part.name().to_owned();
        self.deletes = false;
        self.stood = None;
        write(match &planned.one_rsync {
            Some(why) => self.single(why),
            None => Record::Plan(Plan {
                part: self.part.clone(),
                processes: planned.processes,
                slots: planned.slots.clone(),
            }),
        });
        self.enter(report::Step::Copy, now, write);
    }

    fn single(&self, why: &str) -> Record {
        Record::Single(Single { part: self.part.clone(), reason: why.to_owned() })
    }

    fn enter(&mut self, step: report::Step, now: Instant, write: &mut dyn FnMut(Record)) {
        self.close_step(now);
        let (part, name) = (self.part.clone(), step.name().to_owned());
        if step != report::Step::Done {
            self.since = Some(now);
            self.steps.push(StepTime { part: part.clone(), step: name.clone(), seconds: 0.0 });
        }
        write(Record::Step(Step { part: part.clone(), step: name }));
        let deletes = matches!(step, report::Step::Clean | report::Step::Delete);
        if deletes && !std::mem::replace(&mut self.deletes, true) {
            write(Record::DeletePhase(DeletePhase { part }));
        }
    }

    fn close_step(&mut self, now: Instant) {
        if let (Some(since), Some(last)) = (self.since.take(), self.steps.last_mut()) {
            last.seconds = seconds(now.duration_since(since));
        }
    }

    fn launch(&self, launch: &report::Launch) -> Launch {
        Launch {
            part: self.part.clone(),
            launch: launch.id,
            slot: launch.slot,
            host: launch.host.clone(),
            kind: launch.kind.name().to_owned(),
            buckets: launch.buckets,
            units: launch.units,
            first: launch.first.as_deref().map(Text::from),
            below: Text::from(&launch.below[..]),
            entries: launch.weight.entries,
            bytes: launch.weight.bytes,
            waits: launch.waits,
        }
    }

    fn launch_end(&mut self, end: &report::LaunchEnd) -> Record {
        let launch = self.launch(&end.launch);
        let (result, seconds) = (end.result.name().to_owned(), seconds(end.ran));
        let host = self.host(launch.host.clone());
        host.launches += 1;
        host.seconds += seconds;
        *host.results.entry(result.clone()).or_default() += 1;
        if matches!(end.result, report::LaunchResult::Done | report::LaunchResult::Partial) {
            host.entries += launch.entries;
            host.bytes += launch.bytes;
        }
        self.compare(&launch, seconds);
        let figures = end.figures.as_ref().map(figures);
        let (made, code, moved) = (end.made.as_ref().map(made), end.code, end.moved);
        Record::LaunchEnd(Box::new(LaunchEnd { launch, result, code, seconds, moved, made, figures }))
    }

    fn host(&mut self, name: Option<String>) -> &mut Host {
        self.hosts.entry(name.clone()).or_insert_with(|| Host { host: name, ..Host::default() })
    }

    /// Keeps the launch if it is among the slowest.
    fn compare(&mut self, launch: &Launch, seconds: f64) {
        let is_slower = |slow: &Slow| seconds > slow.seconds;
        if self.slowest.len() >= SLOWEST && !self.slowest.last().is_some_and(is_slower) {
            return;
        }
        let Launch { part, launch: number, host, first, below, entries, bytes, .. } = launch.clone();
        self.slowest.push(Slow { part, launch: number, host, first, below, entries, bytes, seconds });
        self.slowest.sort_by_key(|slow| Reverse(Duration::from_secs_f64(slow.seconds)));
        self.slowest.truncate(SLOWEST);
    }

    fn note(&mut self, note: &report::Note) -> Record {
        use report::Note as Told;
        let text = note.to_string();
        let kind = match note {
            Told::Retry { code, pause } => {
                return Record::Retry(Retry { code: Some(*code), pause: seconds(*pause), text });
            }
            Told::RetryFailed => return Record::Retry(Retry { code: None, pause: 0.0, text }),
            Told::HostLost { host, code, pause } => {
                self.host(Some(host.clone())).down += 1;
                let (host, code, pause) = (host.clone(), *code, seconds(*pause));
                return Record::HostDown(HostDown { host, code, pause, text });
            }
            Told::Allocation { .. } => "allocation",
            Told::NoTimeLeft => "no_time_left",
            Told::HostChecked { usable: true, .. } => "host_usable",
            Told::HostChecked { usable: false, .. } => "host_refused",
            Told::AddressChecked { usable: true, .. } => "address_usable",
            Told::AddressChecked { usable: false, .. } => "address_refused",
            Told::OneAddress { .. } => "one_address",
            Told::HostScans { .. } => "host_scans",
            Told::HostScansNot { .. } => "host_scans_not",
            Told::Adapts { .. } => "adapts",
            Told::FewerAtOnce => "fewer_at_once",
            Told::OneRsync { .. } => "one_rsync",
            Told::OneRsyncForTheRest { .. } => "one_rsync_for_the_rest",
            Told::ServerRefuses { .. } => "server_refuses",
            Told::NamesMeet { .. } => "names_meet",
            Told::Unrecorded { .. } => "unrecorded",
            Told::CopiedAgain { .. } => "copied_again",
            Told::Unlisted { .. } => "unlisted",
            Told::SourcesByPath => "sources_by_path",
            Told::SourceChanged { .. } => "source_changed",
            Told::StallsUnseen => "stalls_unseen",
            Told::WaitsFor { .. } => "waits_for",
            Told::NotVerified => "not_verified",
            Told::EndedByPause { .. } => "ended_by_pause",
            Told::BandwidthStays => "bandwidth_stays",
            Told::CountsDeletions => "counts_deletions",
            Told::SourcesNotRemembered { .. } => "sources_not_remembered",
            Told::Unwritten { .. } => "unwritten",
            Told::Other(_) => "other",
        };
        Record::Note(Note { kind: kind.to_owned(), text })
    }

    fn complaint(&mut self, line: &[u8], write: &mut dyn FnMut(Record)) {
        let message = messages::read(line);
        let names = message.as_ref().map(messages::Message::names).unwrap_or_default();
        // There are several names if it is ambiguous where the name ends.
        let name = match &names[..] {
            [name] => Some(Text::from(&name.bytes[..])),
            _ => None,
        };
        self.fail(Failed { kind: "rsync".to_owned(), name, text: Text::from(line) }, write);
    }

    fn fail(&mut self, failed: Failed, write: &mut dyn FnMut(Record)) {
        self.failed += 1;
        write(Record::Failed(failed));
    }

    fn stand(&mut self, progress: &report::Progress, now: Instant, write: &mut dyn FnMut(Record)) {
        let last = progress.phase == Phase::Ended;
        let soon = self.stood.is_some_and(|stood| now.duration_since(stood) < self.interval);
        if soon && !last {
            return;
        }
        self.stood = Some(now);
        let phase = match progress.phase {
            Phase::Connecting => "connecting",
            Phase::Copying => "copying",
            Phase::Finishing => "finishing",
            Phase::Ended => "ended",
        };
        write(Record::Progress(Box::new(Progress {
            part: self.part.clone(),
            phase: phase.to_owned(),
            scanned: progress.scanned,
            found_entries: progress.found.entries,
            found_bytes: progress.found.bytes,
            done_entries: progress.done.entries,
            done_bytes: progress.done.bytes,
            percent: progress.percent(),
            running: progress.running,
            waiting: progress.waiting,
            rate: progress.rate,
            elapsed: seconds(progress.elapsed),
            left: progress.left.map(seconds),
            left_least: progress.range.map(|(least, _)| seconds(least)),
            left_most: progress.range.map(|(_, most)| seconds(most)),
        })));
    }

    fn summary(&mut self, end: &report::RunEnd) -> Summary {
        let totals = &end.totals;
        let reason = match &end.failure {
            Some(failure) => failure.clone(),
            None if end.interrupted => exit::meaning(exit::INTERRUPTED).to_owned(),
            None => exit::meaning(end.code).to_owned(),
        };
        Summary {
            code: end.code,
            reason,
            interrupted: end.interrupted,
            failure: end.failure.clone(),
            totals: Totals {
                found_entries: totals.found.entries,
                found_bytes: totals.found.bytes,
                done_entries: totals.done.entries,
                done_bytes: totals.done.bytes,
                unread: totals.unread,
                buckets: totals.buckets,
                buckets_left: totals.buckets_left,
                split_directories: totals.split_directories,
                launches: totals.launches,
                retried: totals.retried,
                made: totals.made.is_any().then(|| made(&totals.made)),
                figures: totals.figures.map(|sums| Figures { files: None, total_size: None, ..figures(&sums) }),
                scan_seconds: seconds(totals.scan),
                rsync_seconds: seconds(totals.rsyncs),
                seconds: seconds(totals.elapsed),
            },
            differences: end.differences,
            failed: self.failed,
            hosts: std::mem::take(&mut self.hosts).into_values().collect(),
            steps: std::mem::take(&mut self.steps),
            slowest: std::mem::take(&mut self.slowest),
            // Filled in by each output.
            dropped: 0,
            run_directory: end.run_directory.as_deref().map(Text::from),
            advice: end.advice.clone(),
        }
    }
}

/// Rounded to microseconds.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

fn start(started: &report::Started) -> Start {
    let texts = |words: &[OsString]| words.iter().map(|word| Text::from(&word[..])).collect();
    Start {
        multi_sync: env!("CARGO_PKG_VERSION").to_owned(),
        rsync: started.rsync_version.clone(),
        arguments: texts(&started.arguments),
        current_dir: Text::from(&*started.current_dir),
        sources: texts(&started.sources),
        destination: Text::from(&started.destination[..]),
        options: texts(&started.rsync_options),
        processes: started.processes,
        hosts: started.hosts.clone(),
        run_directory: Text::from(&*started.run_directory),
        resumes: started.resumes,
        dry_run: started.dry_run,
    }
}

fn made(made: &crate::first_pass::Made) -> Made {
    Made { files: made.files, directories: made.dirs, bytes: made.bytes, seconds: seconds(made.took) }
}

fn figures(figures: &crate::rsync::output::Figures) -> Figures {
    Figures {
        files: Some(figures.files.total()),
        created: figures.created.total(),
        deleted: figures.deleted.total(),
        transferred: figures.transferred,
        total_size: Some(figures.total_size),
        transferred_bytes: figures.transferred_bytes,
        literal: figures.literal,
        matched: figures.matched,
        sent: figures.sent,
        received: figures.received,
    }
}

fn failed(failed: &report::Failed) -> Failed {
    use report::Failed as Told;
    let (kind, name) = match failed {
        Told::Source { source, .. } => ("source", Some(Text::from(&source[..]))),
        Told::Unread { vanished: true, .. } => ("vanished", None),
        Told::Unread { .. } => ("unread", None),
        Told::Name { name, .. } => ("name", Some(Text::from(&name[..]))),
        Told::NoDirectory { first, .. } => ("no_directory", Some(Text::from(&first[..]))),
        Told::DestinationMoved { destination } => ("destination_moved", Some(Text::from(&destination[..]))),
        Told::SourceMoved { source } => ("source_moved", Some(Text::from(&source[..]))),
        Told::HalfWritten { .. } => ("half_written", None),
        Told::BackupsAtRisk { .. } => ("backups_at_risk", None),
        Told::GivenUp { .. } => ("given_up", None),
        Told::NoHost { .. } => ("no_host", None),
        Told::TimeEnds => ("time_ends", None),
        Told::TimeIsOver => ("time_is_over", None),
        Told::Stopped => ("stopped", None),
        Told::NotDeleted { .. } => ("not_deleted", None),
        Told::NothingDeleted { .. } => ("nothing_deleted", None),
        Told::NothingMoreDeleted => ("nothing_more_deleted", None),
        Told::MovedBefore { .. } => ("moved_before", None),
        Told::ReadBefore => ("read_before", None),
        Told::LogLacks { .. } => ("log_lacks", None),
        Told::Other(_) => ("other", None),
    };
    Failed { kind: kind.to_owned(), name, text: Text(failed.to_string().into_bytes()) }
}

fn difference(line: &[u8]) -> Option<Record> {
    let (change, name) = recheck::difference(line)?;
    let change = String::from_utf8_lossy(change).into_owned();
    Some(Record::Difference(Difference { change, name: Text(unescape(name)) }))
}
