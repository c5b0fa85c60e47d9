//! The comment of a Slurm job, in which `squeue -o %k` shows the progress of the run.
//!
//! A thread of its own writes it, at most once a minute, and nothing waits for it, except for a moment at the end. If Slurm refuses it, or the user has given
//! the job a comment, the comment is left alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, ZonedDateTime};
use multi_sync::command::entry::Printable;
use multi_sync::command::exit;
use multi_sync::command::shell::Invocation;
use multi_sync::command::size::human;
use multi_sync::command::supervise::{Stop, Supervisor};
use multi_sync::job::Progress;

use super::lock;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);
/// How long the end of a run waits for the comment.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);
/// How our comments begin.
const OURS: &str = "multi-sync: ";
/// What squeue prints for a job without a comment.
const NONE: [&str; 2] = ["", "(null)"];

/// The comment of one job.
pub(super) struct Comment {
    last: Mutex<Option<Instant>>,
    shared: Arc<Shared>,
}

struct Shared {
    job: String,
    /// Whether it is being written.
    busy: AtomicBool,
    /// Whether it may be written; `None` until this was checked.
    may: Mutex<Option<bool>>,
    supervisor: Supervisor,
}

impl Comment {
    pub fn of(job: &str) -> Comment {
        let (busy, may, supervisor) = (AtomicBool::new(false), Mutex::default(), Supervisor::default());
        Comment { last: Mutex::default(), shared: Arc::new(Shared { job: job.to_owned(), busy, may, supervisor }) }
    }

    /// Writes the progress, if it is time to do so.
    pub fn stands(&self, progress: &Progress) {
        let mut last = lock(&self.last);
        if last.is_none_or(|last| last.elapsed() >= EVERY) && self.write(|| text(progress, &ZonedDateTime::now())) {
            *last = Some(Instant::now());
        }
    }

    /// Writes how the run ended.
    pub fn ended(&self, code: u8) {
        let until = Instant::now() + PATIENCE;
        let wait = || {
            while self.shared.busy.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::sleep(STEP);
            }
        };
        wait();
        self.write(|| format!("{OURS}ended with code {code} ({})", exit::meaning(code)));
        wait();
        self.shared.supervisor.stop(Stop::Kill);
    }

    /// Starts to write the comment, unless it may not be written, or is still being written.
    fn write(&self, text: impl FnOnce() -> String) -> bool {
        if *lock(&self.shared.may) == Some(false) || self.shared.busy.swap(true, Ordering::SeqCst) {
            return false;
        }
        let (text, shared) = (text(), self.shared.clone());
        let write = move || {
            shared.write(&text);
            shared.busy.store(false, Ordering::SeqCst);
        };
        if std::thread::Builder::new().spawn(write).is_err() {
            self.shared.busy.store(false, Ordering::SeqCst);
        }
        true
    }
}

impl Shared {
    fn write(&self, text: &str) {
        let may = lock(&self.may).unwrap_or_else(|| self.is_free());
        let update = format!("JobId={}", self.job);
        let comment = format!("Comment={text}");
        let written = may && self.ask("scontrol", &["update", &update, &comment]).is_some();
        *lock(&self.may) = Some(written);
    }

    /// Whether the user has given the job no comment.
    fn is_free(&self) -> bool {
        let said = self.ask("squeue", &["--noheader", "--format=%k", "--jobs", &self.job]);
        said.is_some_and(|said| NONE.contains(&said.trim()) || said.starts_with(OURS))
    }

    /// The output of a command, if it succeeds.
    fn ask(&self, program: &str, words: &[&str]) -> Option<String> {
        let asks = Invocation::new(program, words.iter().map(Into::into).collect(), "/");
        let mut said = String::new();
        let ended = self.supervisor.run(&asks, &mut |_, line| said.push_str(&Printable::bytes(line).to_string()));
        ended.ok().filter(|ended| ended.code() == exit::OK).map(|_| said)
    }
}

fn text(progress: &Progress, now: &ZonedDateTime) -> String {
    let percent = progress.percent().map_or_else(String::new, |percent| format!("{percent}%, "));
    let found = if progress.scanned { "" } else { " found so far" };
    let amount = format!("{} of {}{found}", human(progress.done.bytes), human(progress.found.bytes));
    let ends = || {
        let left = SignedDuration::try_from(progress.left?).ok()?;
        Some(now.checked_add(left).ok()?.strftime(", ends about %Y-%m-%d %H:%M").to_string())
    };
    let paused = if progress.paused { ", paused" } else { "" };
    format!("{OURS}{percent}{amount}{}{paused}", ends().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_how_much_is_done_and_when_all_will_be() {
        let now: ZonedDateTime = "2026-11-29T20:00[UTC]".parse().unwrap();
        let mut progress = Progress::default();
        progress.done.bytes = 1 << 30;
        progress.found.bytes = 4 << 30;
        assert_eq!(text(&progress, &now), "multi-sync: 1.0 GiB of 4.0 GiB found so far");
        progress.scanned = true;
        progress.fraction = Some(0.25);
        progress.left = Some(Duration::from_secs(3 * 3600));
        assert_eq!(text(&progress, &now), "multi-sync: 25%, 1.0 GiB of 4.0 GiB, ends about 2026-11-29 23:00");
    }

    #[test]
    fn where_there_is_no_slurm_it_is_tried_once() {
        let comment = Comment::of("x\0y");
        comment.stands(&Progress::default());
        comment.ended(0);
        assert_eq!(*lock(&comment.shared.may), Some(false));
        assert!(!comment.write(String::new));
    }
}
