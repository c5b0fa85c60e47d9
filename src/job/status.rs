//! The state of runs, as read from their directories, for users and for programs.
//!
//! The progress that a run records is one small file, and whether it has ended is in the last line of its journal. The whole journal is read only if it is
//! short, or if there is no recorded progress: with 10^6 buckets that takes seconds.

mod follow;
mod json;
mod text;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::run_dir::journal::{self, State};
use crate::run_dir::layout::JOURNAL;
use crate::run_dir::{self, Asked, Batch, Noted};
use crate::scan::Weight;
use crate::supervise;
use jiff::Timestamp;

use super::kept::what_to_type;
pub use follow::{Followed, FollowedEnd, News, finished, follow};

/// SRC and DEST of a command line that was typed in a directory, if it can be parsed.
pub type Ways<'a> = &'a dyn Fn(Vec<OsString>, PathBuf) -> Option<String>;

/// A journal up to this length is read quickly.
const SHORT: u64 = 256 << 10;
/// A running run records its progress each second. If nothing was recorded for this long, it is not taken for running.
const SILENT: Duration = Duration::from_secs(10);

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for users.
    Text,
    /// One JSON document.
    Json,
}

/// What is known of a run.
struct Run {
    dir: PathBuf,
    asked: Asked,
    running: bool,
    /// The source and destination with an arrow between them, if the command line can be parsed.
    ways: Option<String>,
    noted: Option<Noted>,
    journal: Journal,
    /// The exit code, if the run has ended.
    finished: Option<u8>,
}

/// What the journal says.
enum Journal {
    /// The contents. If the journal is damaged, the number of the damaged line.
    Read { state: Box<State>, damaged: Option<u64> },
    /// The journal is long. The recorded progress says the same, except for what a killed run did in its last second.
    Unread,
}

/// What a run has done so far.
#[derive(Default)]
struct Counts {
    begun: u64,
    scanned: bool,
    /// What the scan has found so far.
    found: Weight,
    done: Weight,
    buckets: u64,
    buckets_done: u64,
    buckets_failed: u64,
    /// The buckets whose launch has started and not ended; `None` if only a long journal contains that.
    started: Option<u64>,
    split: u64,
    not_copied: u64,
    unread: u64,
    one_rsync: Option<String>,
}

impl Run {
    fn look(dir: &Path, ways: Ways<'_>) -> Result<Run> {
        let asked = Asked::read(dir)?;
        let noted = Noted::read(dir);
        let running = is_running(dir, noted.as_ref())?;
        let (journal, finished) = Journal::look(dir, running, noted.is_some())?;
        Ok(Run {
            dir: dir.to_owned(),
            ways: ways(asked.words(), asked.cwd()),
            asked,
            running,
            noted,
            journal,
            finished,
        })
    }

    fn begun(&self) -> Option<Timestamp> {
        self.asked.begun.parse().ok()
    }

    /// When something was last recorded.
    fn last_written(&self) -> Option<Timestamp> {
        let written = fs::metadata(self.dir.join(JOURNAL)).and_then(|found| found.modified()).ok()?;
        let noted = self.noted.as_ref().map(Noted::written);
        Timestamp::try_from(written).ok().max(noted)
    }

    /// The recorded progress of a running part of the run, and how old it is; not that of an earlier part.
    fn live(&self) -> Option<(&Noted, Duration)> {
        let noted = self.noted.as_ref().filter(|noted| self.running && noted.ended.is_none())?;
        Some((noted, noted.age()))
    }

    /// Whether the process is stopped, as far as visible from this machine.
    fn is_stopped(&self) -> bool {
        self.live().is_some_and(|(noted, _)| noted.is_from_here() && supervise::is_stopped(noted.pid))
    }

    /// Whether everything is copied, and the verification is running.
    fn is_verifying(&self) -> bool {
        self.running && self.noted.as_ref().is_some_and(|noted| noted.ended.is_some()) && self.finished.is_some()
    }

    /// Whether the run waits for its batch job to begin.
    fn is_queued(&self) -> bool {
        Batch::of(&self.dir).is_submitted() && self.noted.is_none() && self.counts().begun == 0
    }

    fn was_interrupted(&self) -> bool {
        let ended = self.noted.as_ref().and_then(|noted| noted.ended);
        !self.running && self.finished.is_none() && ended.is_some_and(|ended| ended.interrupted)
    }

    /// The exit code of a part that ended early, as it was asked to.
    fn ended_early(&self) -> Option<u8> {
        let ended = self.noted.as_ref().and_then(|noted| noted.ended);
        ended.filter(|ended| !self.running && self.finished.is_none() && !ended.interrupted).map(|ended| ended.code)
    }

    /// How the run can be continued, if it can.
    fn advice(&self) -> Option<String> {
        match self.finished {
            _ if self.running => None,
            _ if self.is_queued() && Batch::of(&self.dir).job().is_some() => {
                let run = Quoted(&run_dir::word(&self.dir)).to_string();
                Some(format!(
                    "multi-sync status --follow {run}, or if its job is gone: multi-sync resume --submit {run}"
                ))
            }
            Some(exit::OK | exit::VANISHED | exit::MAX_DELETE) => None,
            finished => Some(what_to_type(&self.dir, finished == Some(exit::PARTIAL))),
        }
    }

    fn damaged(&self) -> Option<u64> {
        match &self.journal {
            Journal::Read { damaged, .. } => *damaged,
            Journal::Unread => None,
        }
    }

    fn counts(&self) -> Counts {
        match (&self.journal, &self.noted) {
            (Journal::Read { state, .. }, _) => Counts::of_journal(state),
            (Journal::Unread, noted) => noted.as_ref().map(Counts::of_noted).unwrap_or_default(),
        }
    }
}

/// Whether a process works on the run. If locks of another machine are not visible here, its recorded progress shows whether it is running.
fn is_running(dir: &Path, noted: Option<&Noted>) -> Result<bool> {
    let lives = |noted: &Noted| noted.ended.is_none() && !noted.is_from_here() && noted.age() < SILENT;
    Ok(run_dir::holder(dir)?.is_some() || noted.is_some_and(lives))
}

impl Counts {
    fn of_journal(state: &State) -> Counts {
        let mut done = state.done_weight();
        if state.finished.is_some() {
            done.entries += state.spine.len() as u64;
        }
        Counts {
            begun: state.begun,
            scanned: state.scanned.is_some(),
            found: state.scanned.unwrap_or_default(),
            done,
            buckets: state.buckets.len() as u64,
            buckets_done: state.done.len() as u64,
            buckets_failed: state.done.values().filter(|code| **code == exit::PARTIAL).count() as u64,
            started: Some(state.started.len() as u64),
            split: state.spine.len() as u64,
            not_copied: state.failures.count() as u64,
            unread: state.unread.len() as u64,
            one_rsync: state.one_rsync.clone(),
        }
    }

    fn of_noted(noted: &Noted) -> Counts {
        let Noted { begun, live, .. } = noted;
        Counts {
            begun: *begun,
            scanned: live.progress.scanned,
            found: live.progress.found,
            done: live.progress.done,
            buckets: live.buckets,
            buckets_done: live.buckets_done,
            buckets_failed: live.buckets_failed,
            started: None,
            split: live.split,
            not_copied: live.not_copied,
            unread: live.unread,
            one_rsync: live.one_rsync.clone(),
        }
    }
}

impl Journal {
    fn look(dir: &Path, running: bool, noted: bool) -> Result<(Journal, Option<u8>)> {
        // The batch job of the run is waiting in the queue.
        if Batch::of(dir).is_submitted() && !dir.join(JOURNAL).exists() {
            return Ok((Journal::Read { state: Box::default(), damaged: None }, None));
        }
        let is_long = fs::metadata(dir.join(JOURNAL)).is_ok_and(|found| found.len() > SHORT);
        if is_long && noted {
            return Ok((Journal::Unread, journal::finished(dir)?));
        }
        let (state, damaged) = match journal::Read::from(dir) {
            Ok(journal::Read::Whole { state, .. }) => (state, None),
            Ok(journal::Read::Damaged { state, line }) => (state, Some(line)),
            // A run that has just begun may not have written anything yet.
            Err(_) if running => (State::default(), None),
            Err(error) => return Err(error),
        };
        let finished = state.finished;
        Ok((Journal::Read { state: Box::new(state), damaged }, finished))
    }
}

/// The state of a run.
///
/// # Errors
/// There is no such run, or its files cannot be read.
pub fn of(typed: &Path, form: Form, ways: Ways<'_>) -> Result<String> {
    let run = Run::look(&run_dir::find(typed)?, ways)?;
    Ok(match form {
        Form::Text => text::of(&run),
        Form::Json => json::of(&run),
    })
}

/// The runs in a folder, or in the usual places; the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn list(parent: Option<&Path>, form: Form, ways: Ways<'_>) -> Result<String> {
    let (dirs, places) = match parent {
        Some(parent) => (run_dir::list(parent)?, vec![parent.to_owned()]),
        None => (run_dir::usual(), run_dir::usual_places()),
    };
    let mut rows: Vec<(Option<Timestamp>, PathBuf, Result<Run>)> = Vec::new();
    for dir in dirs {
        match Run::look(&dir, ways) {
            Ok(run) => rows.push((run.begun(), dir, Ok(run))),
            // The directory was just removed when the run ended.
            Err(_) if !dir.exists() => {}
            Err(error) => rows.push((None, dir, Err(error))),
        }
    }
    rows.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let runs: Vec<(PathBuf, Result<Run>)> = rows.into_iter().map(|(_, dir, run)| (dir, run)).collect();
    Ok(match form {
        Form::Text => text::list(&runs, parent.is_some(), &places),
        Form::Json => json::list(&runs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Live, Progress};
    use crate::run_dir::journal::{Journal as Written, Record};
    use crate::run_dir::{Ended, Lock, Noter};
    use std::io::{Seek, SeekFrom, Write};
    use std::time::Instant;

    /// The directory of a run with 10^6 buckets: its recorded progress, and only the end of its journal.
    fn large(ended: Option<Ended>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let words = ["-p", "8", "src/", "D"].map(OsString::from);
        Asked::new(&words, Path::new("/here"), "3.5.0".into()).write(dir.path(), false).unwrap();
        let done = Weight { entries: 1_000_000, bytes: 7 << 30 };
        let found = Weight { entries: 2_000_000, bytes: 14 << 30 };
        let progress = Progress { found, done, scanned: true, fraction: Some(0.5), ..Progress::default() };
        let mut live = Live { progress, buckets: 1_000_000, buckets_done: 500_000, ..Live::default() };
        live.buckets_failed = 3;
        let mut noter = Noter::new(dir.path(), 2);
        noter.note(&live, ended);
        noter.close();
        let lines = tempfile::tempdir().unwrap();
        let (mut journal, _) = Written::open(lines.path(), "").unwrap();
        let done = |id| Record::Done { launch: id, code: 0, sender_failed: false, again: false, buckets: vec![id] };
        for id in 0..100 {
            journal.append(&done(id)).unwrap();
        }
        if let Some(Ended { code, interrupted: false }) = ended {
            journal.append(&Record::Finished { code }).unwrap();
        }
        journal.sync().unwrap();
        let mut file = fs::File::create(dir.path().join(JOURNAL)).unwrap();
        file.seek(SeekFrom::Start(150 << 20)).unwrap();
        file.write_all(&fs::read(lines.path().join(JOURNAL)).unwrap()).unwrap();
        dir
    }

    #[test]
    fn a_run_with_a_million_buckets_is_told_of_without_reading_its_journal() {
        let ways: Ways<'_> = &|_, _| None;
        let interrupted = Ended { code: 20, interrupted: true };
        let partial = Ended { code: 23, interrupted: false };
        for (ended, stands, state) in [
            (None, "Status: not running, can be resumed\n", "stopped"),
            (Some(interrupted), "Status: interrupted, can be resumed\n", "interrupted"),
            (Some(partial), "Status: ended with code 23 (", "ended"),
        ] {
            let dir = large(ended);
            let began = Instant::now();
            let text = of(dir.path(), Form::Text, ways).unwrap();
            eprintln!("status of 10^6 buckets: {:?}", began.elapsed());
            assert!(text.starts_with(stands), "{text}");
            let go_on = format!("To go on: {}\n", what_to_type(dir.path(), state == "ended"));
            for part in [&go_on[..], "Times begun: 2\n", "Buckets: 500000 of 1000000 done\n"] {
                assert!(text.contains(part), "{part}: {text}");
            }
            let json: serde_json::Value = serde_json::from_str(&of(dir.path(), Form::Json, ways).unwrap()).unwrap();
            assert_eq!((&json["state"], &json["buckets"]["failed"]), (&state.into(), &3.into()), "{json}");
            assert_eq!((&json["v"], &json["live"]), (&1.into(), &serde_json::Value::Null));
            // While a process works on the run, its progress is shown.
            let lock = Lock::take(dir.path()).unwrap();
            let text = of(dir.path(), Form::Text, ways).unwrap();
            let verifies = state == "ended";
            assert!(text.starts_with("Status: running") && text.contains("verified") == verifies, "{text}");
            assert_eq!(text.contains("Progress: 1000000/2000000 entries"), ended.is_none(), "{text}");
            drop(lock);
        }
    }
}
