//! `--verify` and `--verify-only`: what rsync is asked after a copy, and what follows from the answer.

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

/// The run that asks which differences a copy has left; `None` if no verification is wanted, or if this run is the verification.
pub fn question(config: &Config) -> Result<Option<Config>> {
    let Some(depth) = config.verify.filter(|_| !config.verify_only) else { return Ok(None) };
    let options = recheck::options(&config.options, depth)?;
    Ok(Some(Config { options, keep: false, state: None, verify_only: true, ..config.clone() }))
}

/// Collects differences; in the run directory, if there is a journal.
pub fn differences(buckets: &BucketDir, recorded: bool) -> Result<Differences> {
    if recorded { Differences::listed(buckets.path()) } else { Ok(Differences::counted()) }
}

/// The summary of the verification, with the number of differences.
pub fn conclude(asked: Result<Summary>, differences: &Differences) -> Result<Summary> {
    let mut summary = asked?;
    let count = differences.count()?;
    summary.differences = Some(count);
    if count > 0 {
        summary.code.add(exit::PARTIAL);
    }
    Ok(summary)
}

/// Verifies a copy that has ended. Returns the summary of the copy, with that of the verification added.
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
        // A verification by an earlier part of the run does not count, because the copy has continued since.
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
        // Without a journal there is no run directory that could hold that of the verification.
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
