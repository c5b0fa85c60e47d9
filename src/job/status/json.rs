//! The state of runs, for programs. Fields are only ever added; readers ignore fields that they do not know.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Run, SILENT};
use crate::entry::as_json as name;
use crate::error::{Error, Result};
use crate::report::{Launch, Phase, Progress, Running};
use crate::rsync::exit;
use crate::run_dir::{self, Batch};
use crate::scan::Weight;

/// The version of the documents.
const VERSION: u32 = 1;

pub(super) fn of(run: &Run) -> String {
    let mut value = about(run);
    value["v"] = VERSION.into();
    document(&value)
}

pub(super) fn list(runs: &[(PathBuf, Result<Run>)]) -> String {
    let runs: Vec<Value> = runs
        .iter()
        .map(|(dir, run)| match run {
            Ok(run) => about(run),
            Err(error) => unreadable(dir, error),
        })
        .collect();
    document(&json!({ "v": VERSION, "runs": runs }))
}

fn document(value: &Value) -> String {
    let text = serde_json::to_string(value).expect("a status is plain data");
    format!("{text}\n")
}

fn unreadable(dir: &Path, error: &Error) -> Value {
    json!({ "directory": path(dir), "run": name(run_dir::id(dir).as_bytes()), "state": "unreadable", "error": error.to_string() })
}

fn about(run: &Run) -> Value {
    let counts = run.counts();
    let state = match (run.running, run.finished, run.damaged()) {
        (true, ..) if run.is_verifying() => "verifying",
        (true, ..) if run.live().is_some_and(|(_, age)| age >= SILENT) => "silent",
        (true, ..) => "running",
        (false, _, Some(_)) => "damaged",
        (false, Some(_), _) => "ended",
        (false, None, _) if run.was_interrupted() => "interrupted",
        (false, None, _) if run.is_queued() => "queued",
        (false, None, _) => "stopped",
    };
    let mut value = json!({
        "directory": path(&run.dir),
        "run": name(run_dir::id(&run.dir).as_bytes()),
        "state": state,
        "code": run.finished,
        "meaning": run.finished.map(exit::meaning),
        "go_on": run.advice(),
        "job": Batch::of(&run.dir).job(),
        "begun": run.asked.begun,
        "times_begun": counts.begun,
        "command_line": run.asked.words().iter().map(|word| name(word.as_bytes())).collect::<Vec<_>>(),
        "working_directory": path(&run.asked.cwd()),
        "copy": run.ways,
        "scanned": counts.scanned,
        "found": weight(counts.found),
        "done": weight(counts.done),
        "buckets": { "found": counts.buckets, "done": counts.buckets_done, "failed": counts.buckets_failed },
        "split": counts.split,
        "not_copied": counts.not_copied,
        "unread": counts.unread,
        "one_rsync": counts.one_rsync,
        "live": null,
    });
    if let Some((noted, age)) = run.live() {
        let progress = &noted.live.progress;
        // The journal lacks what the scan has not finished yet.
        (value["found"], value["done"]) = (weight(progress.found), weight(progress.done));
        value["live"] = json!({
            "host": noted.host,
            "pid": noted.pid,
            "written": noted.written().to_string(),
            "age": seconds(age),
            "phase": phase(progress.phase),
            "paused": progress.paused,
            "stopped": run.is_stopped(),
            "winds_down": noted.live.winds_down,
            "elapsed": seconds(progress.elapsed),
            "percent": progress.percent(),
            "expected": progress.expected.map(weight),
            "eta": eta(progress),
            "rate": progress.rate,
            "rate_minute": noted.live.minute,
            "running": progress.running,
            "waiting": progress.waiting,
            "retried": noted.live.retried,
            "launches": noted.live.launches.iter().map(launch).collect::<Vec<_>>(),
        });
    }
    value
}

fn eta(progress: &Progress) -> Option<Value> {
    let (likely, (low, high)) = (progress.left?, progress.range?);
    Some(json!({ "likely": seconds(likely), "low": seconds(low), "high": seconds(high) }))
}

fn launch(running: &Running) -> Value {
    let Launch { id, slot, host, kind, buckets, units, first, .. } = &running.launch;
    json!({
        "launch": id,
        "slot": slot,
        "host": host,
        "kind": kind.name(),
        "buckets": buckets,
        "units": units,
        "first": first.as_deref().map(name),
        "weight": weight(running.weight),
        "done": weight(running.done),
        "age": seconds(running.age),
        "rate": running.rate,
    })
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::Copying => "copying",
        Phase::Finishing => "finishing",
        Phase::Ended => "ended",
    }
}

fn weight(weight: Weight) -> Value {
    json!({ "entries": weight.entries, "bytes": weight.bytes })
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn path(path: &Path) -> Value {
    name(path.as_os_str().as_bytes())
}
