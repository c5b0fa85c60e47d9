//! The course of a job, from its description to its outcome. Everything that may be refused is refused before anything is copied.

use std::time::Instant;

use crate::config::Config;
use crate::engine::{self, Control};
use crate::error::Result;
use crate::guard;
use crate::guard::memory::Memory;
use crate::hosts::Agents;
use crate::plan::{Plan, Strategy};
use crate::report::{Event, Failed, Note, Summary};
use crate::rsync::exit;
use crate::run_dir::{Around, Keep};
use crate::spool::Spool;

use super::deletions::{self, Decision};
use super::kept::{Closed, Kept, Opened, Resumed};
use super::{Controls, GivesWay, Job, Outcome, raise_descriptor_limit, started, verification, ways};

type Tell<'a> = &'a (dyn Fn(Event<'_>) + Sync);

impl Job {
    pub(super) fn carry_out(self, resumed: Option<&Resumed>, tell: Tell<'_>) -> Result<Outcome> {
        let Job { mut config, words, keep_runs, gives_way, cancel } = self;
        let Controls { count, copy: control, verification } = &*cancel.0;
        let began = Instant::now();
        raise_descriptor_limit();
        config.check_steering()?;
        // Streams are read before anything else opens a file that an option names.
        let spool = read_streams(&config, resumed, control, tell)?;
        let around = Around::look(&config, spool.options());
        if let Some(then) = resumed.and_then(|run| run.asked.around()) {
            then.refuse_other(&around, !config.hosts.is_empty())?;
        }
        config.options = spool.options().clone();
        let _shells = reach_machines(&mut config, resumed, control, tell)?;
        let planned = Plan::make(&config, control.supervisor());
        if let (Some(addresses), Ok(Plan { strategy: Strategy::Plain(_), .. })) = (&config.addresses, &planned) {
            tell(Event::Note(Note::OneAddress { address: addresses.name(0) }));
        }
        // If a stream was read, another rsync could not read it again.
        let gives_way = gives_way.filter(|_| !spool.has_read() && !control.interrupted());
        if let Some(why) = gives_way.and_then(|gives_way| gives_way.because_of(&planned)) {
            return Ok(Outcome::gave_way_because(why));
        }
        let planned = planned?;
        let question = verification::question(&config)?;
        let Deletions { withheld, memory } = decide_deletions(&config, resumed, count, tell)?;
        let plan = if withheld.is_some() {
            config.options = guard::keeping(&config.options)?;
            Plan::make(&config, control.supervisor())?
        } else {
            planned
        };
        let (ledger, kept) = Opened::open(&config, &plan, &words, around, resumed)?.split();
        if kept.recorded() {
            prepare_resuming(&kept, &spool, withheld.is_some(), control)?;
        }
        tell(Event::RunDirectory(kept.buckets().path()));
        tell(Event::Started(&started(&config, &plan, words, &kept, resumed.is_some())));
        withheld.iter().for_each(|why: &Failed| tell(Event::Failed(why.clone())));
        let given_up = || control.interrupted() || resumed.is_some();
        let up_to_date = plan.far.as_ref().and_then(|far| far.up_to_date.as_ref()?.wait(given_up));
        let mut ended = if let Some(figures) = up_to_date {
            Ok(engine::nothing_to_do(&config, figures, began, tell))
        } else if config.verify_only {
            let differences = verification::differences(kept.buckets(), ledger.is_some())?;
            let told = differences.noted(&tell);
            let ended = engine::run_recorded(&config, &plan, kept.buckets(), ledger, control, &told);
            verification::conclude(ended, &differences)
        } else {
            engine::run_recorded(&config, &plan, kept.buckets(), ledger, control, tell)
        };
        if let (Ok(copied), Some(_)) = (&mut ended, &withheld) {
            copied.code.add(exit::MAX_DELETE);
        }
        let ended = match (ended, question) {
            (Ok(copied), Some(question)) => verification::after(copied, &question, &kept, verification, tell),
            (ended, _) => ended,
        };
        let closed = close(kept, &config, keep_runs, &ended, Deletions { withheld, memory }, tell);
        Ok(Outcome::new(ended, closed, config, control.interrupted()))
    }
}

impl GivesWay {
    /// Why another rsync does the job, after this attempt to plan it.
    fn because_of(self, planned: &Result<Plan>) -> Option<String> {
        match planned {
            Err(error) => Some(error.to_string()),
            Ok(Plan { strategy: Strategy::Plain(why), .. }) if self.to_one => Some(why.clone()),
            Ok(_) => None,
        }
    }
}

fn read_streams(config: &Config, resumed: Option<&Resumed>, control: &Control, tell: Tell<'_>) -> Result<Spool> {
    let waits = |stream| tell(Event::Note(Note::WaitsFor { stream }));
    match resumed {
        Some(run) => Spool::of_run(config, &run.dir),
        None => Spool::read(config, || control.interrupted(), waits),
    }
}

/// Ends the shells on hosts when the job ends in any way.
struct Shells(Agents);

impl Drop for Shells {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Finds out which source hosts, or which addresses of the other machine, can do their part.
fn reach_machines(config: &mut Config, resumed: Option<&Resumed>, control: &Control, tell: Tell<'_>) -> Result<Shells> {
    let uses_hosts = !config.hosts.is_empty() && !config.dry_run;
    if uses_hosts {
        let way = config.way.clone();
        config.reach_by(way.of_this_machine(control.supervisor()));
        let end = || config.way.end_of_job(control.supervisor());
        config.ends_at = config.ends_at.or_else(end);
    }
    let shells = Shells(config.agents.clone());
    if uses_hosts {
        let shared = resumed.map(|run| run.dir.clone()).or_else(|| config.buckets.clone());
        ways::use_hosts(config, shared.as_deref(), control, tell)?;
    }
    if config.addresses.is_some() && !config.dry_run {
        ways::use_addresses(config, control, tell)?;
    }
    Ok(shells)
}

/// What was decided about deletions.
struct Deletions {
    /// Why nothing is deleted.
    withheld: Option<Failed>,
    /// The sources of this run, to be recorded when it has ended.
    memory: Option<Memory>,
}

fn decide_deletions(config: &Config, resumed: Option<&Resumed>, count: &Control, tell: Tell<'_>) -> Result<Deletions> {
    // An earlier part of the run may have moved what this one would delete.
    if resumed.is_some() && !config.verify_only && guard::deletes_what_it_moves(&config.options) {
        return Ok(Deletions { withheld: Some(deletions::spared()), memory: None });
    }
    let Some(limit) = config.delete_limit.filter(|_| !config.verify_only && !config.dry_run) else {
        return Ok(Deletions { withheld: None, memory: None });
    };
    Ok(match deletions::decide(config, limit, resumed.map(|run| &*run.dir), count, tell)? {
        Decision::Delete(memory) => Deletions { withheld: None, memory },
        Decision::Keep(why) => Deletions { withheld: Some(why), memory: None },
    })
}

/// Puts into the run directory what a resumed run needs, and lets other processes reach this one there.
fn prepare_resuming(kept: &Kept, spool: &Spool, is_withheld: bool, control: &Control) -> Result<()> {
    let dir = kept.buckets().path();
    let written = spool.keep_in(dir);
    if !kept.buckets().is_optional() {
        written?;
    }
    control.listen(dir);
    if is_withheld {
        deletions::mark(dir)?;
    }
    Ok(())
}

/// Keeps or removes the run directory, and records or says what the next run has to know.
fn close(
    kept: Kept,
    config: &Config,
    keep_runs: Keep,
    ended: &Result<Summary>,
    deletions: Deletions,
    tell: Tell<'_>,
) -> Closed {
    let mut closed = kept.close(config, keep_runs, ended.as_ref().ok());
    let Deletions { withheld, memory } = deletions;
    let settled = ended.as_ref().is_ok_and(|run| !run.interrupted && exit::is_settled(run.code.get()));
    if let Some(why) = withheld.filter(|_| settled) {
        closed.lines.extend(deletions::advice(&why));
    }
    if let Some(Err(cause)) = memory.filter(|_| settled).map(|memory| memory.write()) {
        tell(Event::Note(Note::SourcesNotRemembered { why: cause.to_string() }));
    }
    if let (Some(place), false) = (&config.state, config.dry_run) {
        keep_runs.tidy(place);
    }
    closed
}
