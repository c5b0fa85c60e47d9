//! Where runs stand, as text.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::entry::Printable;
use crate::error::Result;
use crate::report::progress;
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::run_dir::journal::{self, State};
use crate::run_dir::layout::JOURNAL;
use crate::run_dir::{self, Asked, Lock};
use crate::size;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::kept::what_to_type;

/// SRC and DEST of a command line that was typed in a directory, if it is understood.
pub type Ways<'a> = &'a dyn Fn(Vec<OsString>, PathBuf) -> Option<String>;

/// What is known of a run.
struct Run {
    dir: PathBuf,
    asked: Asked,
    read: journal::Read,
    running: bool,
    /// Two paths with an arrow, if the command line is understood.
    ways: Option<String>,
}

impl Run {
    fn look(dir: &Path, ways: Ways<'_>) -> Result<Run> {
        let asked = Asked::read(dir)?;
        let running = Lock::is_held(dir)?;
        // A run that has just been begun may not have written anything yet.
        let nothing = || journal::Read::Whole { state: State::default(), length: 0, last: 0 };
        let read = journal::Read::from(dir).or_else(|error| if running { Ok(nothing()) } else { Err(error) })?;
        Ok(Run { dir: dir.to_owned(), ways: ways(asked.words(), asked.cwd()), asked, read, running })
    }

    fn state(&self) -> &State {
        self.read.state()
    }

    fn begun(&self) -> Option<Timestamp> {
        self.asked.begun.parse().ok()
    }

    /// When something was last written down.
    fn ended(&self) -> Option<Timestamp> {
        let written = fs::metadata(self.dir.join(JOURNAL)).and_then(|found| found.modified()).ok()?;
        Timestamp::try_from(written).ok()
    }

    /// How it is gone on with, if it is.
    fn advice(&self) -> Option<String> {
        match self.state().finished {
            _ if self.running => None,
            Some(exit::OK | exit::VANISHED | exit::MAX_DELETE) => None,
            finished => Some(what_to_type(&self.dir, finished == Some(exit::PARTIAL))),
        }
    }

    fn stands(&self) -> String {
        match (self.running, self.state().finished, &self.read) {
            (true, ..) => "running".to_owned(),
            (false, _, journal::Read::Damaged { line, .. }) => {
                format!("not running, its journal is damaged in line {line}; can be resumed, from the beginning")
            }
            (false, Some(code), _) => format!("ended with code {code} ({})", exit::meaning(code)),
            (false, None, _) => "not running, can be resumed".to_owned(),
        }
    }

    /// The same in a table.
    fn short(&self) -> String {
        let state = self.state();
        let stands = match (self.running, state.finished, &self.read) {
            (true, ..) => "running".to_owned(),
            (false, _, journal::Read::Damaged { line, .. }) => {
                format!("journal damaged in line {line}, can be resumed from the beginning")
            }
            (false, Some(exit::OK), _) => "ended with code 0".to_owned(),
            (false, Some(code), _) => format!("failed, ended with code {code}"),
            (false, None, _) => "interrupted, can be resumed".to_owned(),
        };
        match state.one_rsync {
            Some(_) => format!("{stands}, one rsync does it all"),
            None => {
                let known = if state.scanned.is_some() { "" } else { " known" };
                format!("{stands}, {} of {}{known} buckets done", state.done.len(), state.buckets.len())
            }
        }
    }
}

/// In the time of the user.
fn local(time: Timestamp, format: &str) -> String {
    ZonedDateTime::new(time, TimeZone::system()).strftime(format).to_string()
}

fn clock(seconds: i64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Where a run stands.
pub fn of(typed: &Path, ways: Ways<'_>) -> Result<String> {
    const SECONDS: &str = "%Y-%m-%d %H:%M:%S %Z";
    let run = Run::look(&run_dir::find(typed)?, ways)?;
    let state = run.state();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let words: Vec<String> = run.asked.words().iter().map(|word| Quoted(word).to_string()).collect();
    line("Status", &run.stands());
    run.advice().iter().for_each(|advice| line("To go on", advice));
    line("Run directory", &Printable::path(&run.dir).to_string());
    run.ways.iter().for_each(|ways| line("Copy", ways));
    let begun = run.begun();
    line("Begun", &begun.map_or_else(|| run.asked.begun.clone(), |time| local(time, SECONDS)));
    let last = if run.running { Some(Timestamp::now()) } else { run.ended() };
    if let Some((begun, last)) = begun.zip(last) {
        let elapsed = clock((last.as_second() - begun.as_second()).max(0));
        match run.running {
            true => line("Elapsed", &elapsed),
            false => line("Last written down", &format!("{}, {elapsed} after it was begun", local(last, SECONDS))),
        }
    }
    line("Working directory", &Printable::path(&run.asked.cwd()).to_string());
    line("Command line", &format!("multi-sync {}", words.join(" ")));
    line("Times begun", &state.begun.to_string());
    // Buckets count as done only when their launch has ended.
    if let Some((progress, written)) = run_dir::noted_progress(&run.dir).filter(|_| run.running) {
        let age = SystemTime::now().duration_since(written).unwrap_or_default().as_secs();
        line("Progress", &format!("{}  ({age} s ago)", progress::line(&progress)));
    }
    let not_copied = state.failures.iter().count();
    if let Some(why) = &state.one_rsync {
        line("One rsync does it all", why);
        if not_copied > 0 {
            line("Names that were not copied", &not_copied.to_string());
        }
        return Ok(text);
    }
    line("Scan", if state.scanned.is_some() { "complete" } else { "not complete" });
    if let Some(found) = state.scanned {
        line("Found", &format!("{} entries, {}", found.entries, size::human(found.bytes)));
    }
    let (known, done) = (state.buckets.len(), state.done.len());
    line("Buckets", &format!("{done} of {known}{} done", if state.scanned.is_some() { "" } else { " known so far" }));
    let mut weight = state.done_weight();
    let split = state.spine.len() as u64;
    if state.finished.is_some() {
        weight.entries += split;
    }
    line("Done", &format!("{} entries, {}", weight.entries, size::human(weight.bytes)));
    if state.finished.is_none() && split > 0 {
        line("Split directories", &format!("{split}, which are in no bucket and count as done at the end"));
    }
    line("Started and not ended", &format!("{} buckets", state.started.len()));
    let failed = state.done.values().filter(|code| **code == exit::PARTIAL).count();
    line("Buckets with entries that were not copied", &failed.to_string());
    line("Names that were not copied", &not_copied.to_string());
    line("Not read by the scan", &state.unread.len().to_string());
    Ok(text)
}

/// A line for each run below a folder, or in the usual places; the oldest first.
pub fn list(parent: Option<&Path>, ways: Ways<'_>) -> Result<String> {
    let dirs = match parent {
        Some(parent) => run_dir::list(parent)?,
        None => run_dir::usual(),
    };
    let mut rows: Vec<(Option<Timestamp>, [String; 5])> = Vec::new();
    for dir in dirs {
        let name = match parent {
            Some(_) => Printable::path(&dir).to_string(),
            None => Printable::os(run_dir::id(&dir)).to_string(),
        };
        rows.push(match Run::look(&dir, ways) {
            Ok(run) => {
                let begun = run.begun().map_or_else(String::new, |time| local(time, "%Y-%m-%d %H:%M"));
                let ways = run.ways.clone().unwrap_or_default();
                (run.begun(), [name, begun, run.short(), ways, run.advice().unwrap_or_default()])
            }
            // It has just been removed, with the run's end.
            Err(_) if !dir.exists() => continue,
            Err(error) => (None, [name, String::new(), error.to_string(), String::new(), String::new()]),
        });
    }
    if rows.is_empty() {
        let places = match parent {
            Some(parent) => vec![parent.to_owned()],
            None => run_dir::usual_places(),
        };
        let places: Vec<String> = places.iter().map(|place| Printable::path(place).to_string()).collect();
        return Ok(format!("no runs in {}\n", places.join(", ")));
    }
    rows.sort_by(|one, other| (one.0, &one.1[0]).cmp(&(other.0, &other.1[0])));
    /// Longer cells stand out of their column.
    const WIDEST: usize = 60;
    let lengths = |column: usize| rows.iter().map(move |(_, row)| row[column].chars().count());
    let width = |column: usize| lengths(column).filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for (_, row) in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(text)
}
