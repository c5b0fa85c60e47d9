//! `--delete-limit`: counts the deletions of a run before it begins, and decides what follows.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use crate::config::Config;
use crate::engine::{self, Control};
use crate::error::{Error, Result};
use crate::guard::memory::Memory;
use crate::guard::{self, Deletions, Found};
use crate::limit::DeleteLimit;
use crate::plan::Plan;
use crate::report::{Event, Failed, Note, Summary, Withheld};
use crate::rsync::exit;
use crate::rsync::options::Meaning;
use crate::rsync::output::Figures;
use crate::run_dir::layout::WITHHELD;

/// How many complaints of the count are printed if it fails.
const COMPLAINTS: usize = 20;

/// What a run may delete.
pub enum Decision {
    /// The run deletes. When it has ended, it may record which sources it had.
    Delete(Option<Memory>),
    /// The run deletes nothing, for this reason.
    Keep(Failed),
}

/// Decides whether a run deletes. `earlier` is the directory of the run that is resumed.
///
/// # Errors
/// The deletions could not be counted, or the count was interrupted.
pub fn decide(
    config: &Config,
    limit: DeleteLimit,
    earlier: Option<&Path>,
    control: &Control,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Decision> {
    if earlier.is_some_and(|dir| dir.join(WITHHELD).exists()) {
        return Ok(keep(Found::default(), Withheld::Earlier));
    }
    let memory = Memory::of(config);
    if limit == DeleteLimit::Unlimited {
        return Ok(Decision::Delete(Some(memory)));
    }
    let Counted { found, stay, code } = count(config, control, tell)?;
    let complete = [exit::OK, exit::VANISHED].contains(&code) || config.options.meaning().ignore_errors;
    let warning = memory.warns(config);
    let why = if !complete {
        Some(Withheld::NotCounted { code })
    } else if found.count == 0 {
        None
    } else if limit.forbids(found.count, stay) {
        Some(Withheld::Limit { limit, stay })
    } else {
        warning.clone()
    };
    if let Some(why) = why {
        return Ok(keep(found, why));
    }
    if let (Some(why), true) = (memory.is_lost(), found.count > 0) {
        tell(Event::Note(Note::SourcesNotRemembered { why: why.to_owned() }));
    }
    // Unusual sources that the user has not confirmed are not recorded as the usual ones.
    Ok(Decision::Delete(Some(memory).filter(|_| warning.is_none())))
}

fn keep(found: Found, why: Withheld) -> Decision {
    Decision::Keep(Failed::NotDeleted { count: found.count, why, first: found.first.into_iter().collect() })
}

/// Records in the run directory that the run deletes nothing.
///
/// # Errors
/// The record cannot be written.
pub fn mark(dir: &Path) -> Result<()> {
    let path = dir.join(WITHHELD);
    // Synced to the disk before any record of what was copied.
    let written = File::create(&path).and_then(|file| file.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|cause| Error::io("write", &path, cause).remedy("make room"))
}

/// Why a run that is resumed deletes nothing, if it moves.
pub fn spared() -> Failed {
    Failed::NotDeleted { count: 0, why: Withheld::Moved, first: Vec::new() }
}

/// What to type in order to have the rest deleted, if anything helps.
pub fn advice(why: &Failed) -> Option<String> {
    let text = match why {
        Failed::NotDeleted { why: Withheld::Limit { .. }, .. } => {
            "to delete as well: the same command with a larger --delete-limit, or with --delete-limit none"
        }
        Failed::NotDeleted { why: Withheld::Earlier, .. } => "to delete as well: the same command once more",
        Failed::NotDeleted { why: Withheld::Moved, .. } => return None,
        _ => "to delete anyway: the same command with --delete-limit none",
    };
    Some(text.to_owned())
}

struct Counted {
    found: Found,
    /// How many entries of the transfer exist at the destination and stay there.
    stay: u64,
    code: u8,
}

/// How many entries of the transfer exist at the destination. Kinds of entries that the options leave out are skipped, because rsync counts them among the
/// files but never creates them.
fn stay(meaning: &Meaning, figures: &Figures) -> u64 {
    let (files, created) = (&figures.files, &figures.created);
    let kinds = [
        (files.reg, created.reg, true),
        (files.dir, created.dir, true),
        (files.link, created.link, meaning.links),
        (files.dev, created.dev, meaning.devices),
        (files.special, created.special, meaning.specials),
    ];
    kinds.iter().filter(|(.., copied)| *copied).map(|(files, created, _)| files.saturating_sub(*created)).sum()
}

/// Asks rsync what the run would delete.
fn count(config: &Config, control: &Control, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Counted> {
    let nothing = Counted { found: Found::default(), stay: 0, code: exit::OK };
    let is_here = config.destination.is_local() && config.hosts.is_empty();
    let is_new = || matches!(Path::new(&config.destination.as_typed(&config.cwd)).try_exists(), Ok(false));
    if is_here && is_new() {
        return Ok(nothing);
    }
    tell(Event::Note(Note::CountsDeletions));
    let question = Config {
        options: guard::counting(&config.options)?,
        // The run directory is for the copy. The count does not use one at a local destination, because it might be counted itself.
        buckets: config.buckets.clone().filter(|_| !is_here),
        state: None,
        keep: false,
        verify: None,
        figures: true,
        tells_how: false,
        delete_limit: None,
        counts_deletions: true,
        ..config.clone()
    };
    let plan = Plan::make(&question, control.supervisor())?;
    let deletions = Deletions::default();
    let complaints = Mutex::new(Vec::new());
    let told = |event: Event<'_>| {
        deletions.note(&event);
        match event {
            // The copy will print the complaint again.
            Event::Complained(line) => {
                let mut complaints = complaints.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if complaints.len() < COMPLAINTS {
                    complaints.push(line.to_vec());
                }
            }
            Event::Note(Note::Retry { .. } | Note::HostLost { .. } | Note::FewerAtOnce) | Event::Asked(_) => {
                tell(event)
            }
            _ => {}
        }
    };
    let asked = engine::run(&question, &plan, &plan.make_buckets(&question)?, control, &told)?;
    let Summary { code, figures, interrupted, .. } = asked;
    let code = code.get();
    if interrupted || !exit::is_settled(code) {
        let complaints = complaints.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        complaints.iter().for_each(|line| tell(Event::Complained(line)));
        let code = if interrupted { exit::INTERRUPTED } else { code };
        let meaning = exit::meaning(code);
        let text = format!("cannot count what would be deleted: rsync ended with code {code} ({meaning})");
        return Err(Error::of_rsync(text, code).remedy("correct this and start again: nothing was copied"));
    }
    let stay = stay(&config.options.meaning(), &figures);
    Ok(Counted { found: deletions.take(), stay, code })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsync::options::Options;
    use crate::rsync::output::Counts;

    #[test]
    fn what_the_options_leave_out_does_not_stay() {
        let files = Counts { reg: 10, dir: 2, link: 100, dev: 20, special: 30 };
        let created = Counts { reg: 4, ..Counts::default() };
        let figures = Figures { files, created, ..Figures::default() };
        let of = |text: &str| stay(&Options::parse_str(text.as_ref()).unwrap().meaning(), &figures);
        assert_eq!([of("-rt"), of("-rlt"), of("-a"), of("-a --no-D")], [8, 108, 158, 108]);
    }
}
