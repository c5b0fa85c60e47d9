//! The metrics of a run, as Prometheus reads them (text format 0.0.4). Names end with their unit, and are never changed once they are released, because
//! alerts depend on them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use multi_sync::command::entry::Printable;
use multi_sync::command::{exit, report};
use multi_sync::job::{Event, LaunchEnd, Note, Phase, Progress, Stream};

use super::{Ended, Subject};

/// The present state.
pub(super) struct Figures {
    /// The labels of every sample, which distinguish jobs. They are the same for each run of the same job.
    labels: String,
    started: SystemTime,
    progress: Option<Progress>,
    failures: u64,
    retries: u64,
    launches: Launches,
    /// Whether each source host is in use.
    hosts: BTreeMap<String, bool>,
    ended: Option<(SystemTime, u8)>,
    last_success: Option<f64>,
}

/// Launches that have ended.
#[derive(Default)]
struct Launches {
    by_result: BTreeMap<&'static str, u64>,
    /// How many launches ran for no longer than each of [`SECONDS`], without those that are in an earlier class.
    ran: [u64; SECONDS.len()],
    count: u64,
    seconds: f64,
    bytes: u64,
}

/// The bounds of a histogram. The usual duration of a launch is only roughly known.
const SECONDS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

impl Launches {
    fn add(&mut self, end: &LaunchEnd) {
        *self.by_result.entry(end.result.name()).or_default() += 1;
        let ran = end.ran.as_secs_f64();
        if let Some(at) = SECONDS.iter().position(|bound| ran <= *bound) {
            self.ran[at] += 1;
        }
        self.count += 1;
        self.seconds += ran;
        self.bytes += end.moved;
    }
}

const LAST_SUCCESS: &str = "multi_sync_last_success_time_seconds";

impl Figures {
    pub fn new(subject: &Subject) -> Figures {
        let sources = subject.sources(|source| Printable::os(source).to_string());
        let destination = Printable::os(&subject.destination).to_string();
        let labels = format!("source=\"{}\",destination=\"{}\"", escaped(&sources), escaped(&destination));
        Figures {
            labels,
            started: SystemTime::now(),
            progress: None,
            failures: 0,
            retries: 0,
            launches: Launches::default(),
            hosts: BTreeMap::new(),
            ended: None,
            last_success: None,
        }
    }

    /// Keeps the time of the last success, which is in the file of an earlier run, so that a failing run does not erase it.
    pub fn keep_last_success(&mut self, earlier: Option<&str>) {
        let sample = format!("{LAST_SUCCESS}{{{}}} ", self.labels);
        let found = earlier.and_then(|text| text.lines().find_map(|line| line.strip_prefix(&sample)));
        self.last_success = found.and_then(|value| value.trim().parse().ok());
    }

    pub fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Standing(progress) => self.progress = Some(*progress),
            Event::Planned(planned) => self.hosts.extend(planned.slots.iter().map(|host| (host.clone(), true))),
            Event::LaunchEnded(end) => self.launches.add(end),
            Event::HostBack(host) => drop(self.hosts.insert((*host).to_owned(), true)),
            Event::Failed(_) | Event::Complained(_) => self.failures += 1,
            // The output of a single rsync comes unchanged rather than line by line.
            Event::Output(Stream::Stderr, bytes) => {
                self.failures += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            Event::Note(Note::Retry { .. } | Note::RetryFailed) => self.retries += 1,
            Event::Note(Note::HostLost { host, .. }) => drop(self.hosts.insert(host.clone(), false)),
            _ => {}
        }
    }

    pub fn end(&mut self, ended: &Ended) {
        let now = SystemTime::now();
        self.ended = Some((now, ended.code));
        if ended.code == exit::OK {
            self.last_success = Some(seconds(now));
        }
        // A short run may end before its progress was reported.
        if let Some(totals) = ended.totals() {
            let progress = self.progress.get_or_insert_default();
            (progress.found, progress.done, progress.scanned) =
                (totals.found, totals.done, progress.scanned || ended.code == exit::OK);
        }
        if let Some(progress) = &mut self.progress {
            (progress.phase, progress.running, progress.waiting) = (Phase::Ended, 0, 0);
            (progress.rate, progress.left) = (None, None);
        }
    }

    /// The status as a line for users, if there is any.
    pub fn status(&self) -> Option<String> {
        self.progress.filter(|_| self.ended.is_none()).map(|progress| report::line(&progress))
    }

    fn families(&self) -> Vec<Family> {
        let plain =
            |samples: Vec<(String, f64)>| samples.into_iter().map(|(labels, value)| ("", labels, value)).collect();
        let gauge = |name, help, samples| Family { name, help, kind: "gauge", samples: plain(samples) };
        let counter = |name, help, samples| Family { name, help, kind: "counter", samples: plain(samples) };
        let mut at_most = 0;
        let mut ran: Vec<Sample> = Vec::new();
        for (bound, count) in SECONDS.iter().zip(self.launches.ran) {
            at_most += count;
            ran.push(("_bucket", format!("le=\"{bound}\""), at_most as f64));
        }
        let count = self.launches.count as f64;
        ran.extend([
            ("_bucket", "le=\"+Inf\"".to_owned(), count),
            ("_sum", String::new(), self.launches.seconds),
            ("_count", String::new(), count),
        ]);
        let results =
            self.launches.by_result.iter().map(|(result, count)| (format!("result=\"{result}\""), *count as f64));
        let one = |value: Option<f64>| value.map(|value| (String::new(), value)).into_iter().collect::<Vec<_>>();
        let progress = self.progress.as_ref();
        let of = |figure: &dyn Fn(&Progress) -> Option<f64>| one(progress.and_then(figure));
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        let phases = progress.into_iter().flat_map(|progress| {
            PHASES.map(|(phase, name)| (format!("phase=\"{name}\""), flag(progress.phase == phase)))
        });
        vec![
            gauge("multi_sync_info", "The version of multi-sync that runs the job.", vec![(version, 1.0)]),
            gauge("multi_sync_running", "Whether the run is active.", one(Some(flag(self.ended.is_none())))),
            gauge("multi_sync_start_time_seconds", "When the run began.", one(Some(seconds(self.started)))),
            gauge(
                "multi_sync_update_time_seconds",
                "When these figures were made. While a run is active they are a few seconds old.",
                one(Some(seconds(SystemTime::now()))),
            ),
            gauge("multi_sync_end_time_seconds", "When the run ended.", one(self.ended.map(|(at, _)| seconds(at)))),
            gauge(
                "multi_sync_exit_code",
                "The exit code of the run, which is rsync's: 0 if everything was copied.",
                one(self.ended.map(|(_, code)| f64::from(code))),
            ),
            gauge(
                LAST_SUCCESS,
                "When a run of this source and destination last ended with code 0.",
                one(self.last_success),
            ),
            gauge("multi_sync_phase", "1 for what the run is doing now.", phases.collect()),
            gauge(
                "multi_sync_scan_complete",
                "Whether everything that is to be copied was found.",
                of(&|progress| Some(flag(progress.scanned))),
            ),
            gauge(
                "multi_sync_found_entries",
                "Entries that the scan has found.",
                of(&|p| Some(p.found.entries as f64)),
            ),
            gauge("multi_sync_found_bytes", "Bytes that the scan has found.", of(&|p| Some(p.found.bytes as f64))),
            gauge(
                "multi_sync_done_entries",
                "Entries that rsyncs have dealt with.",
                of(&|p| Some(p.done.entries as f64)),
            ),
            gauge("multi_sync_done_bytes", "Bytes that rsyncs have dealt with.", of(&|p| Some(p.done.bytes as f64))),
            gauge(
                "multi_sync_rate_bytes_per_second",
                "Bytes that rsyncs transfer per second now.",
                of(&|p| p.rate.map(|rate| rate as f64)),
            ),
            gauge(
                "multi_sync_left_seconds",
                "Time after which everything will be copied at the current speed.",
                of(&|p| p.left.map(|left| left.as_secs_f64())),
            ),
            gauge("multi_sync_rsyncs", "Running rsyncs.", of(&|p| Some(p.running as f64))),
            gauge("multi_sync_waiting_buckets", "Buckets that wait for an rsync.", of(&|p| Some(p.waiting as f64))),
            counter("multi_sync_failures_total", "Failures that were reported.", one(Some(self.failures as f64))),
            counter("multi_sync_retries_total", "Launches whose work was retried.", one(Some(self.retries as f64))),
            counter("multi_sync_launches_total", "rsyncs that have ended, by outcome.", results.collect()),
            counter(
                "multi_sync_moved_bytes_total",
                "Bytes that rsyncs which have ended have transferred.",
                one(Some(self.launches.bytes as f64)),
            ),
            Family {
                name: "multi_sync_launch_duration_seconds",
                help: "How long rsyncs ran.",
                kind: "histogram",
                samples: if count > 0.0 { ran } else { Vec::new() },
            },
            gauge(
                "multi_sync_host_up",
                "Whether a source host is used; 0 after it has lost a launch.",
                self.hosts.iter().map(|(host, up)| (format!("host=\"{}\"", escaped(host)), flag(*up))).collect(),
            ),
        ]
    }
}

const PHASES: [(Phase, &str); 4] = [
    (Phase::Connecting, "connecting"),
    (Phase::Copying, "copying"),
    (Phase::Finishing, "finishing"),
    (Phase::Ended, "ended"),
];

/// The samples of one name.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<Sample>,
}

/// The suffix of the name, additional labels, and the value.
type Sample = (&'static str, String, f64);

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Family { name, help, kind, samples } in self.families() {
            if samples.is_empty() {
                continue;
            }
            write!(f, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
            for (part, more, value) in samples {
                let gap = if more.is_empty() { "" } else { "," };
                writeln!(f, "{name}{part}{{{}{gap}{more}}} {value}", self.labels)?;
            }
        }
        Ok(())
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // Rounded to milliseconds, which is precise enough.
    since.as_millis() as f64 / 1000.0
}

/// Escapes the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
