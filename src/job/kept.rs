//! Runs that can be resumed: what is kept of a run, what is opened to resume one, and the advice for the user.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bucket::BucketDir;
use crate::config::{Config, Depth};
use crate::engine::Ledger;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::plan::{Plan, Strategy};
use crate::report::Summary;
use crate::rsync::command::Quoted;
use crate::rsync::exit;
use crate::rsync::harm::Harm;
use crate::run_dir::failed::UNLISTED;
use crate::run_dir::journal;
use crate::run_dir::layout::{FAILED_NAMES, FAILED_TEXT};
use crate::run_dir::{self, Around, Asked, Keep, Lock};
use crate::state;

use super::NextStep;

/// How many failed names are printed at the end.
const NAMED: usize = 10;

/// A run that is resumed.
pub struct Resumed {
    /// Its run directory.
    pub dir: PathBuf,
    /// Only what failed is copied again.
    pub failed_only: bool,
    /// Its command line.
    pub asked: Asked,
}

/// The run directory of a run that is about to begin or to be resumed.
pub struct Opened {
    /// The records of the run.
    pub ledger: Option<Ledger>,
    /// What is done with the directory afterwards.
    pub kept: Kept,
}

/// What a run needs to be resumable.
struct Recorded {
    ledger: Ledger,
    lock: Lock,
    run: String,
}

impl Opened {
    /// Creates a new run directory, or opens that of a run that is resumed.
    pub fn open(
        config: &Config,
        plan: &Plan,
        words: &[OsString],
        around: Around,
        resumed: Option<&Resumed>,
    ) -> Result<Opened> {
        match resumed {
            Some(run) => Opened::again(config, plan, around, run),
            None => Opened::anew(config, plan, words, around),
        }
    }

    fn again(config: &Config, plan: &Plan, around: Around, run: &Resumed) -> Result<Opened> {
        if let Some(harm) = plan.harm {
            return Err(
                Error::usage(format!("with these rsync options the next rsync {}", harm.text())).remedy(harm.remedy())
            );
        }
        let lock = Lock::take(&run.dir)?;
        let buckets = plan.open_buckets(&run.dir)?;
        // The earlier answers of a verification do not count any more. After a reboot, nothing that was copied to this machine counts as done.
        let trusted = !(config.verify_only || config.destination.is_local() && run.asked.machine_restarted());
        let open = || {
            let mut ledger = Ledger::open(&run.dir, run.asked.run(), trusted)?;
            if plan.hard_links && plan.strategy == Strategy::Parallel {
                ledger.find_links_again(run.failed_only)?;
            }
            if run.failed_only {
                ledger.fail_again()?;
            }
            Ok(ledger)
        };
        let ledger = (!config.dry_run).then(open).transpose()?;
        // From now on it counts; a file that was missing may have been supplied.
        if run.asked.around().is_none_or(|then| config.hosts.is_empty() && *then != around) {
            run.asked.clone().surrounded_by(around).write(&run.dir, true)?;
        }
        let run = run.asked.run().to_owned();
        let kept = Kept { buckets, lock: Some(lock), resumed: true, harm: None, run, why_not: None };
        Ok(Opened { ledger, kept })
    }

    fn anew(config: &Config, plan: &Plan, words: &[OsString], around: Around) -> Result<Opened> {
        let asked = Asked::new(words, &config.cwd, plan.version.to_string()).surrounded_by(around);
        let kept = |buckets, why_not| Kept {
            buckets,
            lock: None,
            resumed: false,
            harm: plan.harm,
            run: String::new(),
            why_not,
        };
        // A single rsync that the user has chosen, and that need not be resumable, has no run directory.
        let wanted = !config.dry_run && (config.keep || config.buckets.is_some() || !Plan::is_one_by_choice(config));
        let in_state = || {
            let made = plan.make_in_state(config).map_err(|cause| cause.to_string())?;
            let Some(buckets) = made else { return Ok(None) };
            let recorded = record(&buckets, &asked).map_err(|error| error.to_string())?;
            Ok(Some((buckets, recorded)))
        };
        let why_not: Option<String> = match wanted.then(in_state).transpose() {
            Ok(None | Some(None)) => {
                state::place().err().filter(|_| config.state.is_none() && config.buckets.is_none())
            }
            Ok(Some(Some((buckets, recorded)))) => return Ok(kept(buckets, None).with(recorded)),
            Err(why) => Some(why),
        };
        let buckets = plan.make_buckets(config)?;
        let parallel = plan.strategy == Strategy::Parallel;
        if !wanted || !parallel && !config.keep && plan.one_rsync_meets(config, &buckets) {
            return Ok(Opened { ledger: None, kept: kept(buckets, why_not) });
        }
        match record(&buckets, &asked) {
            Ok(recorded) => Ok(kept(buckets, why_not).with(recorded)),
            Err(_) if buckets.is_optional() => Ok(Opened { ledger: None, kept: kept(buckets, why_not) }),
            Err(error) => Err(error),
        }
    }

    /// Takes the ledger, which the run itself needs.
    pub fn split(self) -> (Option<Ledger>, Kept) {
        (self.ledger, self.kept)
    }
}

/// Records the command line, and begins a journal.
fn record(buckets: &BucketDir, asked: &Asked) -> Result<Recorded> {
    // A run in such a directory would be refused when it is resumed.
    run_dir::refuse_others(buckets.path())?;
    let lock = Lock::take(buckets.path())?;
    asked.write(buckets.path(), !buckets.is_optional())?;
    let ledger = Ledger::open(buckets.path(), asked.run(), true)?;
    Ok(Recorded { ledger, lock, run: asked.run().to_owned() })
}

/// Keeps what is needed to resume a run, removes everything else, and advises the user.
pub struct Kept {
    buckets: BucketDir,
    lock: Option<Lock>,
    resumed: bool,
    /// The harm that the next rsync would do.
    harm: Option<Harm>,
    run: String,
    /// Why the directory is not in the place for run directories.
    why_not: Option<String>,
}

/// What is left of a run.
#[derive(Debug)]
pub struct Closed {
    /// Lines to print, without the program's name in front. The last one says what to type.
    pub lines: Vec<String>,
    /// An error if something could not be removed or written.
    pub removed: Result<()>,
    /// The run directory, if it is kept.
    pub left: Option<PathBuf>,
    /// How the run can be continued.
    pub next: NextStep,
}

impl Kept {
    fn with(self, recorded: Recorded) -> Opened {
        let Recorded { ledger, lock, run } = recorded;
        Opened { ledger: Some(ledger), kept: Kept { lock: Some(lock), run, ..self } }
    }

    /// Whether there is a journal.
    pub fn recorded(&self) -> bool {
        self.lock.is_some() && self.buckets.stands()
    }

    /// The name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The bucket directory.
    pub fn buckets(&self) -> &BucketDir {
        &self.buckets
    }

    /// Closes the run directory after the run. `summary` is `None` if the run failed as a whole.
    pub fn close(mut self, config: &Config, keep: Keep, summary: Option<&Summary>) -> Closed {
        let lost = self.buckets.has_moved() || summary.is_some_and(|run| run.unrecorded);
        let recorded = self.recorded() && !lost;
        let dir = self.buckets.path().to_owned();
        let asked_for = self.resumed || config.buckets.is_some();
        // After a bug, everything is kept for an investigation.
        let stays = asked_for
            || summary.is_some_and(|run| run.unaccounted)
            || recorded && keep.days > 0 && !self.buckets.is_in_destination() && self.is_worth_it(config, summary);
        let complete = summary.is_some_and(has_done_all);
        let keeps = recorded && !complete && stays;
        let next = match summary {
            Some(_) if complete => NextStep::Nothing,
            Some(run) if keeps && has_failed(run) && !differs(run) && self.harm.is_none() => NextStep::RetryFailed,
            Some(run) if !keeps || has_failed(run) || self.harm.is_some() => NextStep::Again,
            None if !keeps || self.harm.is_some() => NextStep::Again,
            _ => NextStep::Resume,
        };
        let mut lines = Vec::new();
        if keeps {
            lines = self.advice(config, &dir, summary);
            self.buckets.keep();
        } else if let Some(run) = summary
            && run.code.get() == exit::PARTIAL
            && run.plain.is_some()
            && asked_for
            && !run.interrupted
            && !config.dry_run
        {
            let text = "no list is kept, because one rsync might come across it in the directory of --buckets; the same command tries again";
            lines.push(text.into());
        }
        let removed = match (keeps || config.keep, self.resumed) {
            (true, _) => Ok(()),
            (false, true) => run_dir::discard(self.buckets),
            (false, false) => run_dir::close(self.buckets),
        };
        // The verification is part of how the run ended.
        let amended = match summary {
            Some(run) if keeps && !run.interrupted => journal::amend(&dir, run.code.get()),
            _ => Ok(()),
        };
        let removed = removed.and(amended);
        // A process that waits for the lock must find the directory in its final state.
        drop(self.lock.take());
        let left = (keeps || config.keep).then_some(dir);
        Closed { lines, removed, left, next }
    }

    /// Whether an incomplete run is worth resuming, although the user has not named a run directory.
    fn is_worth_it(&self, config: &Config, summary: Option<&Summary>) -> bool {
        /// One rsync that has run for less than this is repeated as quickly.
        const SHORT: Duration = Duration::from_secs(10);
        /// A scan that took this long should not be repeated.
        const LONG_SCAN: Duration = Duration::from_secs(10);
        // Such a run cannot be resumed, or has no effect.
        if self.harm.is_some() || config.verify_only || config.options.meaning().dry_run {
            return false;
        }
        let dir = self.buckets.path();
        let some_failed = || std::fs::metadata(dir.join(FAILED_TEXT)).is_ok_and(|found| found.len() > 0);
        let Some(run) = summary else {
            return journal::Read::from(dir).is_ok_and(|read| read.state().launches > 0);
        };
        if run.stopped {
            return true;
        }
        let ended = run.code.get() == exit::PARTIAL && !run.interrupted;
        match (ended, run.plain.is_some()) {
            // If there are only differences, the same command copies them.
            (true, is_plain) => some_failed() || !is_plain && run.differences.is_none_or(|count| count == 0),
            (false, true) => run.total_time >= SHORT,
            (false, false) => run.begun || run.scan_time >= LONG_SCAN,
        }
    }

    fn advice(&self, config: &Config, dir: &Path, summary: Option<&Summary>) -> Vec<String> {
        // If the user has not asked for a run directory, the names that rsync has just printed are not repeated.
        let mut lines = failures(dir, if self.buckets.is_optional() { 0 } else { NAMED });
        let ended = summary.is_some_and(has_failed);
        let differs = summary.is_some_and(differs);
        if let Some(why) = &self.why_not {
            lines.push(format!(
                "the directory of the run is {}, where a restart of the machine may remove it: {why}",
                Printable::path(dir)
            ));
        }
        lines.push(match ended {
            true if differs => {
                let by_content = config.verify == Some(Depth::Checksum);
                let needs = match (config.verify_only, by_content) {
                    (true, true) => " without --verify-only and with -c among the rsync options",
                    (true, false) => " without --verify-only",
                    (false, true) => " with -c among the rsync options",
                    (false, false) => "",
                };
                let shown = Quoted(dir.as_os_str());
                format!("the differences are listed in {shown}; the same command{needs} copies them")
            }
            true => match self.harm {
                None => format!("to try again what failed: {}", what_to_type(dir, true)),
                // Such a run cannot be resumed.
                Some(Harm::SkipsHalves) => "to try again what failed: the same command".to_owned(),
                Some(harm @ Harm::OverwritesBackups) => format!("to try again what failed: {}", harm.remedy()),
            },
            false => match self.harm {
                None => format!("to go on: {}", what_to_type(dir, false)),
                Some(harm) => format!("to go on: {}", harm.remedy()),
            },
        });
        lines
    }
}

/// Whether the run has ended, and not everything was copied.
fn has_failed(run: &Summary) -> bool {
    run.code.get() == exit::PARTIAL && !run.interrupted
}

/// Whether nothing is left to do.
fn has_done_all(run: &Summary) -> bool {
    let only_spoilt = run.only_spoilt && has_failed(run);
    only_spoilt || [exit::OK, exit::VANISHED, exit::MAX_DELETE].contains(&run.code.get())
}

fn differs(run: &Summary) -> bool {
    run.differences.is_some_and(|count| count > 0)
}

/// The command that resumes a run, or copies again what failed in it.
pub fn what_to_type(dir: &Path, failed: bool) -> String {
    let word = run_dir::word(dir);
    if !failed && run_dir::Batch::of(dir).is_submitted() {
        return format!("multi-sync resume --submit {}", Quoted(&word));
    }
    let how = match (failed, word == dir.as_os_str()) {
        (false, false) => "resume",
        (true, false) => "retry",
        (false, true) => "--resume",
        (true, true) => "--retry-failed",
    };
    format!("multi-sync {how} {}", Quoted(&word))
}

fn failures(dir: &Path, named: usize) -> Vec<String> {
    /// Only this many names are compared, so that a name is not counted twice: all of them may not fit into memory.
    const COMPARED: usize = 100_000;
    let Ok(list) = File::open(dir.join(FAILED_NAMES)) else { return Vec::new() };
    let (mut names, mut more) = (BTreeSet::new(), 0);
    for name in BufReader::new(list).split(0).map_while(io::Result::ok).filter(|name| !name.is_empty()) {
        if names.len() < COMPARED {
            names.insert(name);
        } else if !names.contains(&name) {
            more += 1;
        }
    }
    let text = dir.join(FAILED_TEXT);
    let list = Printable::path(&text).to_string();
    let all = match names.len() + more {
        count if !is_complete(&text) => format!("{count} names were not copied: {list}; more could not be listed"),
        1 => format!("1 name was not copied; it is in {list}"),
        count => format!("{count} names were not copied; all of them: {list}"),
    };
    let mut lines = vec![all];
    lines.extend(names.iter().take(named).map(|name| format!("not copied: {}", Printable::bytes(name))));
    lines
}

/// Whether no line of the list stands for names that could not be written.
fn is_complete(list: &Path) -> bool {
    let Ok(list) = File::open(list) else { return false };
    let lines = BufReader::new(list).split(b'\n');
    lines.map_while(io::Result::ok).all(|line| !line.starts_with(b"-\t") || !line.ends_with(UNLISTED.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::failed::{self, Failure};

    #[test]
    fn a_list_is_called_complete_only_if_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a", "b", "a", UNLISTED].map(|name| Some(name.as_bytes().to_vec()));
        let named = names.map(|name| Failure { name, said: UNLISTED.into() });
        failed::append(dir.path(), "copy", 23, &named).unwrap();
        assert!(failures(dir.path(), 1)[0].starts_with("3 names were not copied; all of them: "));
        let unlisted = Failure { name: None, said: format!("7 {UNLISTED}").into() };
        failed::append(dir.path(), "copy", 23, &[unlisted]).unwrap();
        let lines = failures(dir.path(), 1);
        assert!(lines[0].starts_with("3 names were not copied: ") && lines[0].ends_with("more could not be listed"));
        assert_eq!(lines[1], "not copied: a");
    }
}
