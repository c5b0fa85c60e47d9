//! The state of runs, for users.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::{Run, SILENT};
use crate::entry::Printable;
use crate::error::Result;
use crate::report::progress;
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::run_dir::{self, Batch};
use crate::size;

impl Run {
    fn stands(&self) -> String {
        match (self.running, self.finished, self.damaged()) {
            (true, ..) if self.is_verifying() => "running: everything was copied, and is being verified".to_owned(),
            (true, ..) => match self.live() {
                Some((noted, _)) if self.is_stopped() => {
                    format!("stopped (^Z, or SIGSTOP); continue it with fg, or kill -CONT {}", noted.pid)
                }
                Some((_, age)) if age >= SILENT => format!("running, no sign of life for {} s", age.as_secs()),
                Some((noted, _)) if noted.live.progress.paused => "running, and paused".to_owned(),
                Some((noted, _)) if noted.live.winds_down => {
                    "running, ends when the running rsyncs have finished".to_owned()
                }
                _ => "running".to_owned(),
            },
            (false, _, Some(line)) => {
                format!("not running, its journal is damaged in line {line}; can be resumed, from the beginning")
            }
            (false, Some(code), _) => format!("ended with code {code} ({})", exit::meaning(code)),
            (false, None, _) if self.was_interrupted() => "interrupted, can be resumed".to_owned(),
            (false, None, _) if self.is_queued() => "submitted, and not yet begun".to_owned(),
            (false, None, _) => match self.ended_early() {
                Some(code) => {
                    format!("ended early with code {code} ({}), can be resumed", exit::meaning(code))
                }
                None => "not running, can be resumed".to_owned(),
            },
        }
    }

    /// The state in one line of a table.
    fn short(&self) -> String {
        let stands = match (self.running, self.finished, self.damaged()) {
            (true, ..) => "running".to_owned(),
            (false, _, Some(line)) => {
                format!("journal damaged in line {line}, can be resumed from the beginning")
            }
            (false, Some(exit::OK), _) => "ended with code 0".to_owned(),
            (false, Some(code), _) => format!("failed, ended with code {code}"),
            (false, None, _) => "interrupted, can be resumed".to_owned(),
        };
        let counts = self.counts();
        let percent = self.live().and_then(|(noted, _)| noted.live.progress.percent());
        let percent = percent.map_or_else(String::new, |percent| format!(", {percent}%"));
        match counts.one_rsync {
            Some(_) => format!("{stands}{percent}, one rsync does it all"),
            None => {
                let known = if counts.scanned { "" } else { " known" };
                format!("{stands}{percent}, {} of {}{known} buckets done", counts.buckets_done, counts.buckets)
            }
        }
    }
}

/// A time in the time zone of the user.
fn local(time: Timestamp, format: &str) -> String {
    ZonedDateTime::new(time, TimeZone::system()).strftime(format).to_string()
}

const SECONDS: &str = "%Y-%m-%d %H:%M:%S %Z";

pub(super) fn of(run: &Run) -> String {
    let counts = run.counts();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let words: Vec<String> = run.asked.words().iter().map(|word| Quoted(word).to_string()).collect();
    line("Status", &run.stands());
    run.advice().iter().for_each(|advice| line("To go on", advice));
    if let Some(noted) = run.noted.as_ref().filter(|_| run.running) {
        line("Process", &format!("{} on {}", noted.pid, noted.host));
    }
    if let Some(job) = Batch::of(&run.dir).job() {
        line("Job of Slurm", &job);
    }
    line("Run directory", &Printable::path(&run.dir).to_string());
    run.ways.iter().for_each(|ways| line("Copy", ways));
    let begun = run.begun();
    line("Begun", &begun.map_or_else(|| run.asked.begun.clone(), |time| local(time, SECONDS)));
    let last = if run.running { Some(Timestamp::now()) } else { run.last_written() };
    if let Some((begun, last)) = begun.zip(last) {
        let elapsed = last.as_second().saturating_sub(begun.as_second()).try_into().unwrap_or(0);
        let elapsed = progress::clock(Duration::from_secs(elapsed));
        match run.running {
            true => line("Elapsed", &elapsed),
            false => line("Last recorded", &format!("{}, {elapsed} after it was begun", local(last, SECONDS))),
        }
    }
    line("Working directory", &Printable::path(&run.asked.cwd()).to_string());
    line("Command line", &format!("multi-sync {}", words.join(" ")));
    line("Times begun", &counts.begun.to_string());
    // In the journal, buckets count as done only when their launch has ended.
    if let Some((noted, age)) = run.live() {
        let live = &noted.live;
        line("Progress", &format!("{}  ({} s ago)", progress::line(&live.progress), age.as_secs()));
        if let Some((low, high)) = live.progress.range {
            let end = |left: Duration| noted.written().checked_add(left).ok().map(|time| local(time, "%Y-%m-%d %H:%M"));
            if let (Some(low), Some(high)) = (end(low), end(high)) {
                line("Expected to have copied everything", &if low == high { low } else { format!("{low} to {high}") });
            }
        }
        if let Some(rate) = live.minute {
            line("Transferred in the last minute", &size::human_rate(rate, Duration::from_secs(1)));
        }
        live.launches.iter().for_each(|launch| line("Running", launch.line(usize::MAX).trim_start()));
    }
    if let Some(why) = &counts.one_rsync {
        line("One rsync does it all", why);
        if counts.not_copied > 0 {
            line("Names that were not copied", &counts.not_copied.to_string());
        }
        return text;
    }
    line("Scan", if counts.scanned { "complete" } else { "not complete" });
    if counts.scanned {
        line(
            "Found",
            &format!(
                "{}, {}",
                size::counted(counts.found.entries, "entry", "entries"),
                size::human(counts.found.bytes)
            ),
        );
    }
    let known = if counts.scanned { "" } else { " known so far" };
    line("Buckets", &format!("{} of {}{known} done", counts.buckets_done, counts.buckets));
    line(
        "Done",
        &format!("{}, {}", size::counted(counts.done.entries, "entry", "entries"), size::human(counts.done.bytes)),
    );
    if run.finished.is_none() && counts.split > 0 {
        line("Split directories", &format!("{}, which are in no bucket and count as done at the end", counts.split));
    }
    counts
        .started
        .iter()
        .for_each(|started| line("Started and not finished", &size::counted(*started, "bucket", "buckets")));
    line("Buckets with entries that were not copied", &counts.buckets_failed.to_string());
    line("Names that were not copied", &counts.not_copied.to_string());
    line("Not read by the scan", &counts.unread.to_string());
    text
}

/// A line for each run. In the usual `places`, runs are shown by their names; in a place that was `named`, by their paths.
pub(super) fn list(runs: &[(PathBuf, Result<Run>)], named: bool, places: &[PathBuf]) -> String {
    if runs.is_empty() {
        let places: Vec<String> = places.iter().map(|place| Printable::path(place).to_string()).collect();
        return format!("no runs in {}\n", places.join(", "));
    }
    let rows: Vec<[String; 5]> = runs.iter().map(|(dir, run)| row(dir, run, named)).collect();
    /// Longer cells extend beyond their column.
    const WIDEST: usize = 60;
    let lengths = |column: usize| rows.iter().map(move |row| row[column].chars().count());
    let width = |column: usize| lengths(column).filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn row(dir: &Path, run: &Result<Run>, named: bool) -> [String; 5] {
    let name = if named { Printable::path(dir).to_string() } else { Printable::os(run_dir::id(dir)).to_string() };
    match run {
        Ok(run) => {
            let begun = run.begun().map_or_else(String::new, |time| local(time, "%Y-%m-%d %H:%M"));
            let ways = run.ways.clone().unwrap_or_default();
            [name, begun, run.short(), ways, run.advice().unwrap_or_default()]
        }
        Err(error) => [name, String::new(), error.to_string(), String::new(), String::new()],
    }
}
