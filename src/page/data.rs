//! The contents of a report, computed from the events in two passes: the first one finds out how much there is, the second one takes what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::entry::Printable;
use crate::events::{Adjusted, Host, Launch, LaunchEnd, Line, Record, Slow, Start, StepTime, Summary, Text, Totals};

use super::dirs::{Dir, Dirs};
use super::timeline::{Bar, Bars, Lane, MOST_LANES, Point, Points, bar};

/// The most rows of a table.
const ROWS: usize = 20;
/// The most failures, notes and differences that are listed.
const LISTED: usize = 1000;

/// The results of the first pass.
#[derive(Default)]
pub struct Survey {
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
    launches: u64,
    lanes: BTreeSet<Lane>,
    /// The shortest and the longest time of a launch.
    shortest: Option<f64>,
    longest: f64,
}

impl Survey {
    /// Processes a line in the first pass.
    pub fn see(&mut self, line: &Line) {
        self.began = Some(self.began.map_or(line.time, |began| began.min(line.time)));
        self.ended = Some(self.ended.map_or(line.time, |ended| ended.max(line.time)));
        match &line.record {
            Record::LaunchStart(launch) => {
                self.lanes.insert(lane(launch));
                // More lanes are not drawn.
                if self.lanes.len() > MOST_LANES {
                    self.lanes.pop_last();
                }
            }
            Record::LaunchEnd(end) => {
                self.launches += 1;
                self.shortest = Some(self.shortest.map_or(end.seconds, |shortest| shortest.min(end.seconds)));
                self.longest = self.longest.max(end.seconds);
            }
            _ => {}
        }
    }

    /// Whether there was no line.
    pub fn is_empty(&self) -> bool {
        self.began.is_none()
    }

    fn seconds(&self) -> f64 {
        self.began.zip(self.ended).map_or(0.0, |(began, ended)| between(began, ended))
    }
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn lane(launch: &Launch) -> Lane {
    Lane { host: launch.host.clone(), slot: launch.slot }
}

/// The contents of a report.
#[derive(Serialize)]
pub struct Report {
    /// The version of this format.
    pub v: u32,
    /// The beginning of the run.
    #[serde(serialize_with = "rfc3339")]
    pub began: Timestamp,
    /// The end of the run.
    #[serde(serialize_with = "rfc3339")]
    pub ended: Timestamp,
    /// The seconds between them.
    pub seconds: f64,
    /// What was requested; from the last part if the run was continued.
    pub start: Option<Start>,
    /// The number of parts: one, and one more each time the run was continued.
    pub parts: u64,
    /// How it ended; `None` if it was killed, or is still running.
    pub summary: Option<Summary>,
    /// Why a single rsync did a part: the part, and the reason.
    pub singles: Vec<(String, String)>,
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// The settings that were changed meanwhile, with the time in seconds.
    pub adjusted: Vec<(f64, Adjusted)>,
    /// What each host has done.
    pub hosts: Vec<Host>,
    /// The number of launches that have ended.
    pub launches: u64,
    /// The slots.
    pub lanes: Vec<Lane>,
    /// The number of launches in slots that are not drawn.
    pub undrawn: u64,
    /// Whether a bar may stand for several launches.
    pub sums_up: bool,
    /// The bars.
    pub bars: Vec<Bar>,
    /// The progress over time.
    pub points: Vec<Point>,
    /// The distribution of the launches' times: upper bounds in seconds, and the number of launches.
    pub lengths: Vec<(f64, u64)>,
    /// The launches that took the longest.
    pub slowest: Vec<Slow>,
    /// The directories that took the most time.
    pub directories: Vec<Dir>,
    /// Failures.
    pub failed: List,
    /// Information that changed no result.
    pub notes: List,
    /// What rsync would still change.
    pub differences: List,
    /// The number of lines that are missing because they were not read in time.
    pub dropped: u64,
    /// The number of lines that are not events: incomplete, or from another program.
    pub unread: u64,
    #[serde(skip)]
    work: Work,
}

/// The first items of a list, and their total number.
#[derive(Default, Serialize)]
pub struct List {
    /// The total number.
    pub count: u64,
    /// The first items.
    pub first: Vec<Item>,
}

/// An item of a list.
#[derive(Serialize)]
pub struct Item {
    /// Seconds since the beginning.
    pub at: f64,
    /// A word for its kind.
    pub kind: String,
    /// The name of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
}

impl List {
    fn add(&mut self, item: impl FnOnce() -> Item) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(item());
        }
    }
}

/// Intermediate results of the second pass.
struct Work {
    bars: Bars,
    points: Points,
    lanes: BTreeMap<Lane, usize>,
    dirs: Dirs,
    hosts: BTreeMap<Option<String>, Host>,
    /// Launches that have not ended: their start, and what they are.
    running: BTreeMap<(String, u64), (f64, Launch)>,
    /// The present step.
    step: Option<(f64, String, String)>,
    edges: Vec<f64>,
}

impl Report {
    /// An empty report with the results of the first pass.
    pub fn new(survey: &Survey, unread: u64) -> Report {
        let (began, ended) = (survey.began.unwrap_or_default(), survey.ended.unwrap_or_default());
        let lanes: Vec<Lane> = survey.lanes.iter().cloned().collect();
        let edges = edges(survey.shortest.unwrap_or(0.0), survey.longest);
        let bars = Bars::new(survey.launches, lanes.len(), survey.seconds());
        Report {
            v: 1,
            began,
            ended,
            seconds: survey.seconds(),
            start: None,
            parts: 0,
            summary: None,
            singles: Vec::new(),
            steps: Vec::new(),
            adjusted: Vec::new(),
            hosts: Vec::new(),
            launches: 0,
            undrawn: 0,
            sums_up: bars.sums_up(),
            bars: Vec::new(),
            points: Vec::new(),
            lengths: edges.iter().map(|edge| (*edge, 0)).collect(),
            slowest: Vec::new(),
            directories: Vec::new(),
            failed: List::default(),
            notes: List::default(),
            differences: List::default(),
            dropped: 0,
            unread,
            work: Work {
                bars,
                points: Points::new(survey.seconds()),
                lanes: lanes.iter().cloned().enumerate().map(|(place, lane)| (lane, place)).collect(),
                dirs: Dirs::new(),
                hosts: BTreeMap::new(),
                running: BTreeMap::new(),
                step: None,
                edges,
            },
            lanes,
        }
    }

    /// Processes a line in the second pass.
    pub fn take(&mut self, line: &Line) {
        let at = between(self.began, line.time);
        match &line.record {
            Record::Start(start) => {
                self.leave_running(at);
                self.parts += 1;
                match start.resumes || self.parts > 1 {
                    true => self.work.points.cut(at),
                    false => self.work.points.begin(at),
                }
                self.start = Some((**start).clone());
                self.summary = None;
            }
            Record::Plan(plan) if plan.part != "copy" => self.begin_part(at),
            Record::Single(single) => {
                if single.part != "copy" {
                    self.begin_part(at);
                }
                self.singles.push((single.part.clone(), single.reason.clone()));
            }
            Record::Step(step) => {
                self.end_step(at);
                self.work.step = (step.step != "done").then(|| (at, step.part.clone(), step.step.clone()));
            }
            Record::LaunchStart(launch) => {
                self.work.running.insert((launch.part.clone(), launch.launch), (at, launch.clone()));
            }
            Record::LaunchEnd(end) => self.take_end(at, end),
            Record::HostDown(down) => {
                self.host(Some(down.host.clone())).down += 1;
                self.note(at, "host_down", &down.text);
            }
            Record::HostUp(up) => self.note(at, "host_up", &format!("{} is there again", up.host)),
            Record::Retry(retry) => self.note(at, "retry", &retry.text),
            Record::Note(note) => self.note(at, &note.kind, &note.text),
            Record::Failed(failed) => self.failed.add(|| Item {
                at,
                kind: failed.kind.clone(),
                name: failed.name.clone(),
                text: Some(failed.text.clone()),
            }),
            Record::Difference(difference) => self.differences.add(|| Item {
                at,
                kind: difference.change.clone(),
                name: Some(difference.name.clone()),
                text: None,
            }),
            Record::Progress(progress) => self.work.points.add(at, progress),
            Record::Adjusted(adjusted) if self.adjusted.len() < LISTED => self.adjusted.push((at, adjusted.clone())),
            Record::Dropped(dropped) => self.dropped += dropped.count,
            Record::Summary(summary) => {
                self.end_step(at);
                self.summary = Some((**summary).clone());
            }
            _ => {}
        }
    }

    /// Completes the report after the last line.
    pub fn finish(&mut self) {
        let end = self.seconds;
        self.end_step(end);
        self.leave_running(end);
        let nothing = Work {
            bars: Bars::new(0, 0, 0.0),
            points: Points::new(0.0),
            lanes: BTreeMap::new(),
            dirs: Dirs::new(),
            hosts: BTreeMap::new(),
            running: BTreeMap::new(),
            step: None,
            edges: Vec::new(),
        };
        let work = std::mem::replace(&mut self.work, nothing);
        self.bars = work.bars.finish();
        self.points = work.points.finish();
        self.directories = work.dirs.slowest(ROWS);
        self.hosts = work.hosts.into_values().collect();
    }

    fn begin_part(&mut self, at: f64) {
        self.work.points.cut(at);
        self.work.points.begin(at);
    }

    fn end_step(&mut self, at: f64) {
        if let Some((since, part, step)) = self.work.step.take() {
            self.steps.push(StepTime { part, step, seconds: at - since });
        }
    }

    fn host(&mut self, name: Option<String>) -> &mut Host {
        self.work.hosts.entry(name.clone()).or_insert_with(|| Host { host: name, ..Host::default() })
    }

    fn note(&mut self, at: f64, kind: &str, text: &str) {
        self.notes.add(|| Item { at, kind: kind.to_owned(), name: None, text: Some(Text::from(text)) });
    }

    fn take_end(&mut self, at: f64, end: &LaunchEnd) {
        let launch = &end.launch;
        let since = self.work.running.remove(&(launch.part.clone(), launch.launch)).map(|(since, _)| since);
        let from = since.unwrap_or((at - end.seconds).max(0.0));
        self.launches += 1;
        match self.work.lanes.get(&lane(launch)) {
            Some(lane) => self.work.bars.add(bar(*lane, from, at, end)),
            None => self.undrawn += 1,
        }
        let place = self.work.edges.iter().position(|edge| end.seconds <= *edge);
        if let Some((_, count)) = self.lengths.get_mut(place.unwrap_or(self.work.edges.len().saturating_sub(1))) {
            *count += 1;
        }
        if matches!(&*launch.kind, "copy" | "repair" | "everything") {
            self.work.dirs.add(end);
        }
        self.compare(end);
        let host = self.host(launch.host.clone());
        host.launches += 1;
        host.seconds += end.seconds;
        *host.results.entry(end.result.clone()).or_default() += 1;
        if matches!(&*end.result, "done" | "partial") {
            host.entries += launch.entries;
            host.bytes += launch.bytes;
        }
    }

    fn compare(&mut self, end: &LaunchEnd) {
        if self.slowest.len() >= ROWS && self.slowest.last().is_some_and(|last| last.seconds >= end.seconds) {
            return;
        }
        let Launch { part, launch, host, first, below, entries, bytes, .. } = end.launch.clone();
        self.slowest.push(Slow { part, launch, host, first, below, entries, bytes, seconds: end.seconds });
        self.slowest.sort_by(|one, two| two.seconds.total_cmp(&one.seconds));
        self.slowest.truncate(ROWS);
    }

    /// Adds bars for launches without an end: the run was killed, or is still running.
    fn leave_running(&mut self, at: f64) {
        for (_, (from, launch)) in std::mem::take(&mut self.work.running) {
            let Some(lane) = self.work.lanes.get(&lane(&launch)) else { continue };
            let end = LaunchEnd {
                launch,
                result: "unfinished".to_owned(),
                code: None,
                seconds: at - from,
                moved: 0,
                made: None,
                figures: None,
            };
            self.work.bars.add(bar(*lane, from, at, &end));
        }
    }

    /// The sums, if they are known.
    pub fn totals(&self) -> Option<&Totals> {
        self.summary.as_ref().map(|summary| &summary.totals)
    }
}

/// Upper bounds of classes in seconds, 2 to 3 for each power of ten.
fn edges(shortest: f64, longest: f64) -> Vec<f64> {
    const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
    let all = (-3..7).flat_map(|power| STEPS.map(|step| step * 10f64.powi(power)));
    let mut edges = Vec::new();
    for edge in all {
        if edge >= shortest {
            edges.push(edge);
        }
        if edge >= longest {
            break;
        }
    }
    edges
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// The names of the columns.
pub const CSV_HEADER: &str =
    "part,launch,slot,host,kind,result,code,ended,seconds,buckets,units,entries,bytes,moved,below,first";

/// Writes a line for a launch (RFC 4180). Names are printable, as on a terminal.
pub fn csv(out: &mut dyn Write, line: &Line, end: &LaunchEnd) -> io::Result<()> {
    let LaunchEnd { launch, result, code, seconds, moved, .. } = end;
    let code = code.map_or(String::new(), |code| code.to_string());
    let first = launch.first.as_ref().map_or_else(String::new, |first| quoted(&first.0));
    writeln!(
        out,
        "{},{},{},{},{},{result},{code},{:.3},{seconds:.3},{},{},{},{},{moved},{},{first}",
        launch.part,
        launch.launch,
        launch.slot,
        quoted(launch.host.as_deref().unwrap_or_default().as_bytes()),
        launch.kind,
        line.time,
        launch.buckets,
        launch.units,
        launch.entries,
        launch.bytes,
        quoted(&launch.below.0),
    )
}

fn quoted(name: &[u8]) -> String {
    let shown = Printable::bytes(name).to_string();
    // A quotation mark keeps a spreadsheet from taking the text for a formula.
    let shown = if shown.starts_with(['=', '+', '-', '@']) { format!("'{shown}") } else { shown };
    if shown.contains([',', '"', ' ', '\'']) { format!("\"{}\"", shown.replace('"', "\"\"")) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_every_length() {
        assert_eq!(edges(0.03, 0.4), [0.05, 0.1, 0.2, 0.5]);
        assert_eq!(edges(0.0, 0.0), [0.001]);
        assert_eq!(edges(1e9, 1e9), [] as [f64; 0]);
    }

    #[test]
    fn names_in_a_table_break_no_line_and_are_no_formula() {
        assert_eq!(quoted(b"a/b"), "a/b");
        assert_eq!(quoted(b"a,\"b\"\n"), "\"a,\"\"b\"\"\\x0a\"");
        assert_eq!(quoted(b"=1+1"), "\"'=1+1\"");
    }
}
