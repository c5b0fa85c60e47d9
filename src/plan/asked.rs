//! What one rsync for everything is asked for beside what the user has typed: its figures for `--stats`, and how far it is for `--progress` of our own.
//! Only where nobody sees that: otherwise its output is handed on as it comes, and multi-sync does without.

use std::ffi::OsString;

use crate::config::Config;

/// The options to be added; `None` if it is started just as typed. Its lines then have to be looked through for what is not the user's.
pub(super) fn of(config: &Config) -> Option<Vec<OsString>> {
    // Its lines are looked at one by one.
    if config.verify_only {
        return Some(Vec::new());
    }
    if config.counts_deletions {
        return Some(vec!["--stats".into(), "--no-h".into()]);
    }
    let (meaning, shows) = (config.options.meaning(), config.options.shows());
    if meaning.list_only || shows.progress > 0 && !meaning.quiet {
        return None;
    }
    let shows_numbers = shows.stats > 0 && !meaning.quiet;
    // They would be in the log file too, and rounded as the user wants them they say little.
    let figures = config.figures && meaning.log_file.is_none() && !(shows_numbers && shows.human > 1);
    let mut more: Vec<OsString> = Vec::new();
    if figures {
        more.push("--stats".into());
        more.extend((!shows_numbers).then(|| "--no-h".into()));
    }
    more.extend(config.progress.then(|| "--info=progress2".into()));
    (!more.is_empty()).then_some(more)
}
