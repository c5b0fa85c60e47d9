//! The options that multi-sync adds for one rsync that does everything: for the figures of `--stats`, and for the progress that multi-sync displays. They are
//! added only if the user does not see their output. Otherwise rsync's output is passed on unchanged, and multi-sync has no figures.

use std::ffi::OsString;

use crate::config::Config;

/// The options to add; `None` if rsync is started as typed. With added options, lines that are not for the user have to be filtered out.
pub(super) fn of(config: &Config) -> Option<Vec<OsString>> {
    // A verification reads rsync's lines one by one.
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
    // The figures would also appear in the user's log file, and they are useless if they are rounded as the user wants.
    let figures = config.figures && meaning.log_file.is_none() && !(shows_numbers && shows.human > 1);
    let mut more: Vec<OsString> = Vec::new();
    if figures {
        more.push("--stats".into());
        more.extend((!shows_numbers).then(|| "--no-h".into()));
    }
    more.extend(config.progress.then(|| "--info=progress2".into()));
    (!more.is_empty()).then_some(more)
}
