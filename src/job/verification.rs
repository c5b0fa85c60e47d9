//! `--verify` and `--verify-only`: the question put to rsync after a copy, and what follows from the answer.

use crate::bucket::BucketDir;
use crate::config::Config;
use crate::engine::{self, Control, Ledger};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::recheck::{self, Differences};
use crate::report::{Event, Note, Summary};
use crate::rsync::exit;
use crate::run_dir::layout::VERIFICATION;

use super::kept::Kept;

/// The run that asks what a copy has left different; `None` if nobody wants to know, or if this run is it.
pub fn question(config: &Config) -> Result<Option<Config>> {
    let Some(depth) = config.verify.filter(|_| !config.verify_only) else { return Ok(None) };
    let options = recheck::options(&config.options, depth)?;
    Ok(Some(Config { options, keep: false, state: None, verify_only: true, ..config.clone() }))
}

/// Takes note of differences in the run directory, if there is one.
pub fn differences(buckets: &BucketDir, recorded: bool) -> Result<Differences> {
    if recorded { Differences::listed(buckets.path()) } else { Ok(Differences::counted()) }
}

/// The summary of the run that asked, with the answer.
pub fn conclude(asked: Result<Summary>, differences: &Differences) -> Result<Summary> {
    let mut summary = asked?;
    let count = differences.count()?;
    summary.differences = Some(count);
    if count > 0 {
        summary.code.add(exit::PARTIAL);
    }
    Ok(summary)
}

/// Asks after a copy that came to its end; gives the summary of the copy, with the answer.
pub fn after(
    copied: Summary,
    question: &Config,
    kept: &Kept,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Summary> {
    let ended = [exit::OK, exit::PARTIAL, exit::VANISHED, exit::MAX_DELETE].contains(&copied.code.get());
    if !ended || copied.interrupted {
        tell(Event::Note(Note::NotVerified));
        return Ok(copied);
    }
    let plan = Plan::make(question, control.supervisor())?;
    let asked = if kept.recorded() {
        // What an earlier part of the run has asked, it asked before the copy went on.
        let folder = kept.buckets().path().join(VERIFICATION);
        match std::fs::remove_dir_all(&folder) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &folder, cause).remedy("remove it by hand, then resume the run"));
            }
            _ => {}
        }
        let buckets = kept.buckets().below(VERIFICATION)?;
        let differences = Differences::listed(kept.buckets().path())?;
        let told = differences.noted(tell);
        let ledger = Ledger::open(buckets.path(), &format!("{} {VERIFICATION}", kept.run()), true)?;
        let asked = engine::run_recorded(question, &plan, &buckets, Some(ledger), control, &told);
        conclude(asked, &differences)?
    } else {
        // One rsync made the copy, and has no run directory.
        let differences = Differences::counted();
        let told = differences.noted(tell);
        let asked = engine::run(question, &plan, &plan.make_buckets(question)?, control, &told);
        conclude(asked, &differences)?
    };
    let mut whole = copied;
    whole.code.add(asked.code.get());
    whole.interrupted |= asked.interrupted;
    whole.differences = asked.differences;
    whole.launches += asked.launches;
    whole.rsync_time += asked.rsync_time;
    whole.total_time += asked.total_time;
    Ok(whole)
}
