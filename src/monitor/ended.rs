//! How a run ended, in the forms for hooks: variables for shell commands, JSON for programs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use multi_sync::Error;
use multi_sync::command::entry::as_json;
use multi_sync::command::exit;
use multi_sync::command::shell::Quoted;
use multi_sync::job::{Outcome, Totals};
use serde_json::{Value, json};

use super::Subject;

/// How a run ended. The result is final.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code.
    pub code: u8,
    interrupted: bool,
    /// The error that ended it as a whole, or kept it from beginning.
    failure: Option<String>,
    one_rsync: Option<String>,
    totals: Totals,
    differences: Option<u64>,
    directory: Option<PathBuf>,
    /// What the user can do next.
    advice: Vec<String>,
}

impl Ended {
    /// For a run that was begun.
    pub fn of(outcome: &Outcome) -> Ended {
        Ended {
            code: outcome.exit_code(),
            interrupted: outcome.interrupted(),
            failure: outcome.failure().map(ToString::to_string),
            one_rsync: outcome.one_rsync().map(str::to_owned),
            totals: outcome.totals(),
            differences: outcome.differences(),
            directory: outcome.run_directory().map(ToOwned::to_owned),
            advice: outcome.remedy().into_iter().chain(outcome.advice().iter().cloned()).collect(),
        }
    }

    /// For a run that was refused, or could not begin.
    pub fn refused(error: &Error) -> Ended {
        Ended {
            code: error.exit_code(),
            interrupted: false,
            failure: Some(error.to_string()),
            one_rsync: None,
            totals: Totals::default(),
            differences: None,
            directory: None,
            advice: error.advice().map(str::to_owned).into_iter().collect(),
        }
    }

    /// The sums, if the run has any.
    pub fn totals(&self) -> Option<&Totals> {
        Some(&self.totals).filter(|_| self.failure.is_none())
    }

    fn result(&self) -> &'static str {
        match self {
            Ended { interrupted: true, .. } => "interrupted",
            Ended { code: exit::OK, .. } => "success",
            _ => "failed",
        }
    }

    fn reason(&self) -> String {
        self.failure.clone().unwrap_or_else(|| exit::meaning(self.code).to_owned())
    }

    /// The environment variables for a hook. No value contains a NUL, because names and messages contain none.
    pub fn variables(&self, subject: &Subject) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(&str, OsString)> = vec![
            ("EXIT_CODE", self.code.to_string().into()),
            ("RESULT", self.result().into()),
            ("REASON", self.reason().into()),
            ("SOURCES", subject.sources(|source| Quoted(source).to_string()).into()),
            ("DESTINATION", subject.destination.clone()),
            ("ENTRIES", self.totals.done.entries.to_string().into()),
            ("BYTES", self.totals.done.bytes.to_string().into()),
            ("SECONDS", self.totals.elapsed.as_secs().to_string().into()),
            ("ADVICE", self.advice.join("\n").into()),
            ("VERSION", env!("CARGO_PKG_VERSION").into()),
        ];
        variables.extend(self.differences.map(|count| ("DIFFERENCES", count.to_string().into())));
        variables.extend(self.directory.clone().map(|dir| ("RUN", dir.into_os_string())));
        let named = |(name, value): (&str, OsString)| (format!("MULTI_SYNC_{name}").into(), value);
        variables.into_iter().map(named).collect()
    }

    /// One line of JSON. Fields that the last event of a run (`summary`) also has are named as there.
    pub fn json(&self, subject: &Subject) -> Vec<u8> {
        let totals = &self.totals;
        let value = json!({
            "v": 1,
            "multi_sync": env!("CARGO_PKG_VERSION"),
            "code": self.code,
            "result": self.result(),
            "reason": self.reason(),
            "interrupted": self.interrupted,
            "failure": self.failure,
            "sources": subject.sources.iter().map(name).collect::<Vec<_>>(),
            "destination": name(&subject.destination),
            "one_rsync": self.one_rsync,
            "totals": {
                "found_entries": totals.found.entries,
                "found_bytes": totals.found.bytes,
                "done_entries": totals.done.entries,
                "done_bytes": totals.done.bytes,
                "unread": totals.unread,
                "buckets": totals.buckets,
                "buckets_left": totals.buckets_left,
                "split_directories": totals.split_directories,
                "launches": totals.launches,
                "retried": totals.retried,
                "transferred_files": totals.transferred_files,
                "transferred_bytes": totals.transferred_bytes,
                "scan_seconds": totals.scan.as_secs_f64(),
                "rsync_seconds": totals.rsyncs.as_secs_f64(),
                "seconds": totals.elapsed.as_secs_f64(),
            },
            "differences": self.differences,
            "run_directory": self.directory.as_ref().map(|dir| name(&dir.clone().into_os_string())),
            "advice": self.advice,
        });
        format!("{value}\n").into_bytes()
    }
}

fn name(name: &OsString) -> Value {
    as_json(name.as_bytes())
}
