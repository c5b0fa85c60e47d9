//! Runs that can be taken up again: what the command keeps of a run, opens of one that did not come to its end, and prints about it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use multi_sync::bucket::BucketDir;
use multi_sync::config::{Config, Depth};
use multi_sync::engine::{FAILED_NAMES, FAILED_TEXT, Ledger};
use multi_sync::entry::Printable;
use multi_sync::journal;
use multi_sync::plan::{Plan, Strategy};
use multi_sync::report::Summary;
use multi_sync::rsync::command::Quoted;
use multi_sync::rsync::exit;
use multi_sync::rundir::{self, Asked, Lock};
use multi_sync::size;
use multi_sync::{Error, Result};

/// How many failed names are printed at the end.
const NAMED: usize = 10;

/// A run that goes on.
pub struct Resumed {
    /// Its directory.
    pub dir: PathBuf,
    /// What failed is launched once more.
    pub failed_only: bool,
    asked: Asked,
}

impl Resumed {
    /// Reads what was asked for.
    pub fn read(dir: &Path, failed_only: bool) -> Result<Resumed> {
        Ok(Resumed { dir: dir.to_owned(), failed_only, asked: Asked::read(dir)? })
    }

    /// The command line it was begun with, and the directory that was typed in.
    pub fn command_line(&self) -> (Vec<OsString>, PathBuf) {
        (self.asked.words(), self.asked.cwd())
    }
}

/// The run directory of a run that is about to start or to go on.
pub struct Opened {
    /// Where its buckets are.
    pub buckets: BucketDir,
    /// What is written down.
    pub ledger: Option<Ledger>,
    lock: Option<Lock>,
    resumed: bool,
    /// What an rsync left half written may be passed over by the next one.
    leaves_halves: bool,
    run: String,
}

impl Opened {
    /// Opens a new run directory, or that of a run that goes on.
    pub fn open(config: &Config, plan: &Plan, words: &[OsString], resumed: Option<&Resumed>) -> Result<Opened> {
        let parallel = plan.strategy == Strategy::Parallel;
        match resumed {
            Some(run) => {
                if plan.leaves_halves {
                    return Err(Error::usage(
                        "with these rsync options a file that was half written would be passed over",
                    )
                    .remedy("copy once without --update, --ignore-existing and --size-only"));
                }
                let lock = Lock::take(&run.dir)?;
                let buckets = plan.open_buckets(&run.dir)?;
                // An answer of before says nothing of now.
                let trusted = !(config.verify_only || config.destination.is_local() && run.asked.machine_restarted());
                let open = || {
                    let mut ledger = Ledger::open(&run.dir, run.asked.run(), trusted)?;
                    if run.failed_only {
                        ledger.fail_again()?;
                    }
                    Ok(ledger)
                };
                let ledger = (!config.dry_run).then(open).transpose()?;
                Ok(Opened {
                    buckets,
                    ledger,
                    lock: Some(lock),
                    resumed: true,
                    leaves_halves: false,
                    run: run.asked.run().to_owned(),
                })
            }
            None => {
                let buckets = plan.make_buckets(config)?;
                // What one rsync does at once is taken up again only where that was wanted.
                let wanted =
                    parallel || config.keep || config.buckets.is_some() && !plan.one_rsync_meets(config, &buckets);
                if config.dry_run || !wanted {
                    return Ok(Opened {
                        buckets,
                        ledger: None,
                        lock: None,
                        resumed: false,
                        leaves_halves: plan.leaves_halves,
                        run: String::new(),
                    });
                }
                let lock = Lock::take(buckets.path())?;
                let asked = Asked::new(words, &config.cwd, plan.version.to_string());
                asked.write(buckets.path())?;
                let ledger = Ledger::open(buckets.path(), asked.run(), true)?;
                let run = asked.run().to_owned();
                Ok(Opened {
                    buckets,
                    ledger: Some(ledger),
                    lock: Some(lock),
                    resumed: false,
                    leaves_halves: plan.leaves_halves,
                    run,
                })
            }
        }
    }
}

/// Keeps what is needed to go on, and removes everything else. Says what to do next.
pub struct Kept {
    buckets: BucketDir,
    lock: Option<Lock>,
    resumed: bool,
    /// What an rsync left half written may be passed over by the next one.
    leaves_halves: bool,
    run: String,
}

impl Opened {
    /// Takes out what the run itself needs.
    pub fn split(self) -> (Option<Ledger>, Kept) {
        (
            self.ledger,
            Kept {
                buckets: self.buckets,
                lock: self.lock,
                resumed: self.resumed,
                leaves_halves: self.leaves_halves,
                run: self.run,
            },
        )
    }
}

impl Kept {
    /// Whether there is a journal.
    pub fn recorded(&self) -> bool {
        self.lock.is_some() && self.buckets.stands()
    }

    /// The name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Where the buckets are.
    pub fn buckets(&self) -> &BucketDir {
        &self.buckets
    }

    /// After the run. `summary` is `None` if it failed as a whole. Lines to print, without a name in front.
    pub fn close(mut self, config: &Config, summary: Option<&Summary>) -> (Vec<String>, Result<()>) {
        let recorded = self.recorded();
        let stays = self.resumed || config.buckets.is_some();
        // What cannot be explained stays to be looked at.
        let stays = stays || summary.is_some_and(|run| run.unaccounted);
        let complete = summary.is_some_and(|run| {
            let ended = [exit::OK, exit::VANISHED, exit::MAX_DELETE].contains(&run.code.get());
            ended || run.plain.is_some() && !stays
        });
        let keeps = recorded && !complete && stays;
        let dir = self.buckets.path().to_owned();
        let mut lines = Vec::new();
        if keeps {
            let shown = Quoted(dir.as_os_str()).to_string();
            lines.extend(failures(&dir));
            let ended = summary.is_some_and(|run| run.code.get() == exit::PARTIAL && !run.interrupted);
            let differs = summary.and_then(|run| run.differences).is_some_and(|count| count > 0);
            lines.push(match ended {
                true if differs => {
                    let by_content = config.verify == Some(Depth::Checksum);
                    let needs = match (config.verify_only, by_content) {
                        (true, true) => " without --verify-only and with -c among the rsync options",
                        (true, false) => " without --verify-only",
                        (false, true) => " with -c among the rsync options",
                        (false, false) => "",
                    };
                    format!("what differs is listed in {shown}; the same command{needs} copies it")
                }
                // Such a run is not taken up again.
                true if self.leaves_halves => "to try again what failed: the same command".to_owned(),
                false if self.leaves_halves => {
                    "to go on: the same command, once without --update, --ignore-existing and --size-only".to_owned()
                }
                true => format!("to try again what failed: multi-sync --retry-failed {shown}"),
                false => format!("to go on: multi-sync --resume {shown}"),
            });
            self.buckets.keep();
        } else if recorded && !complete && summary.is_some_and(|run| run.done.entries > 0) {
            lines.push("hint: what was copied stays; a run with --buckets DIR can be resumed".into());
        } else if let Some(run) = summary
            && run.code.get() == exit::PARTIAL
            && run.plain.is_some()
            && stays
            && !run.interrupted
            && !config.dry_run
        {
            let text =
                "no list is kept: one rsync might come upon it where --buckets says; the same command tries again";
            lines.push(text.into());
        }
        let removed = match (keeps || config.keep, self.resumed) {
            (true, _) => Ok(()),
            (false, true) => self.buckets.discard(),
            (false, false) => self.buckets.remove(),
        };
        // What came after the copy is part of how the run ended.
        let amended = match summary {
            Some(run) if keeps && !run.interrupted => journal::amend(&dir, run.code.get()),
            _ => Ok(()),
        };
        let removed = removed.and(amended);
        // Who waits for it finds the directory as it is to stay.
        drop(self.lock.take());
        (lines, removed)
    }
}

fn failures(dir: &Path) -> Vec<String> {
    let Ok(names) = std::fs::read(dir.join(FAILED_NAMES)) else { return Vec::new() };
    let names: BTreeSet<&[u8]> = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    let list = Printable::path(&dir.join(FAILED_TEXT)).to_string();
    let mut lines = vec![format!("{} names were not copied; all of them: {list}", names.len())];
    lines.extend(names.iter().take(NAMED).map(|name| format!("not copied: {}", Printable::bytes(name))));
    lines
}

/// Where a run stands.
pub fn status(dir: &Path) -> Result<String> {
    let asked = Asked::read(dir)?;
    let read = journal::Read::from(dir)?;
    let state = read.state();
    let (known, done) = (state.buckets.len(), state.done.len());
    let weight = state.done_weight();
    let failed = state.done.values().filter(|code| **code == exit::PARTIAL).count();
    let stands = match (Lock::is_held(dir)?, state.finished, &read) {
        (true, ..) => "running".to_owned(),
        (false, _, journal::Read::Damaged { line, .. }) => {
            format!("not running, its journal is damaged in line {line}; can be resumed, from the beginning")
        }
        (false, Some(code), _) => format!("ended with code {code} ({})", exit::meaning(code)),
        (false, None, _) => "not running, can be resumed".to_owned(),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let words: Vec<String> = asked.words().iter().map(|word| Quoted(word).to_string()).collect();
    line("Status", &stands);
    line("Begun", &asked.begun);
    line("Working directory", &Printable::path(&asked.cwd()).to_string());
    line("Command line", &format!("multi-sync {}", words.join(" ")));
    line("Times begun", &state.begun.to_string());
    if let Some(why) = &state.one_rsync {
        line("One rsync does it all", why);
        return Ok(text);
    }
    line("Scan", if state.scanned.is_some() { "complete" } else { "not complete" });
    if let Some(found) = state.scanned {
        line("Found", &format!("{} entries, {}", found.entries, size::human(found.bytes)));
    }
    line("Buckets", &format!("{done} of {known}{} done", if state.scanned.is_some() { "" } else { " known so far" }));
    line("Done", &format!("{} entries, {}", weight.entries, size::human(weight.bytes)));
    line("Started and not ended", &state.started.len().to_string());
    line("Buckets with entries that were not copied", &failed.to_string());
    line("Not read by the scan", &state.unread.len().to_string());
    Ok(text)
}

/// A line for each run below a folder.
pub fn list(parent: &Path) -> Result<String> {
    let mut text = String::new();
    for dir in rundir::list(parent)? {
        let told = journal::Read::from(&dir).and_then(|read| {
            let state = read.state();
            let stands = match (Lock::is_held(&dir)?, state.finished, &read) {
                (true, ..) => "running".to_owned(),
                (false, _, journal::Read::Damaged { line, .. }) => {
                    format!("its journal is damaged in line {line}; can be resumed, from the beginning")
                }
                (false, Some(code), _) => format!("ended with code {code}"),
                (false, None, _) => "can be resumed".to_owned(),
            };
            Ok(match state.one_rsync {
                Some(_) => format!("{stands}, one rsync does it all"),
                None => format!("{stands}, {} of {} buckets done", state.done.len(), state.buckets.len()),
            })
        });
        let told = told.unwrap_or_else(|error: Error| error.to_string());
        let _ = writeln!(text, "{}: {told}", Printable::path(&dir));
    }
    Ok(text)
}
