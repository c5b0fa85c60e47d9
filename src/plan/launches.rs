//! The options of each kind of launch, made of the user's.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Config;
use crate::endpoint::Target;
use crate::error::Result;
use crate::handle::Handles;
use crate::rsync::command::{Recipe, Removal};
use crate::rsync::filter::Filters;
use crate::rsync::options::{Meaning, Options};

/// The options that each rsync gets: without those whose effect multi-sync has for the whole run. `-P` stands for two, of which
/// `--partial` stays.
pub(super) fn hand_over(options: &Options) -> Result<Options> {
    const HANDLED: [&str; 3] = ["quiet", "stats", "progress"];
    const SILENCED: [&str; 3] = ["verbose", "itemize-changes", "out-format"];
    const PARTIAL_PROGRESS: Option<u8> = Some(b'P');
    let partial = options.settings().iter().any(|setting| setting.spec.short == PARTIAL_PROGRESS);
    let quiet = options.meaning().quiet;
    let handled = |name: &str| HANDLED.contains(&name) || quiet && SILENCED.contains(&name);
    let kept = options.without(|setting| handled(setting.spec.name()) || setting.spec.short == PARTIAL_PROGRESS);
    // What --progress says of single files is left out, but not their names. Words of the user's outweigh this one.
    let names = options.shows().names > 0 && options.meaning().verbose == 0 && !quiet;
    let mut words: Vec<OsString> = names.then(|| "--info=name".into()).into_iter().collect();
    words.extend(kept.argv());
    words.extend(partial.then(|| "--partial".into()));
    Options::parse(&words)
}

/// What becomes of source files. Single names that are gone would be deleted in the destination, and their directories have other times.
pub(super) fn removal(meaning: &Meaning) -> Removal {
    let looked_at_again = meaning.delete.is_some() || meaning.times && !meaning.omit_dir_times;
    match (meaning.remove_source_files, looked_at_again) {
        (false, _) => Removal::None,
        (true, false) => Removal::AtOnce,
        (true, true) => Removal::SinglesLast,
    }
}

/// The user's log file, where launches on this machine are to write into one.
pub(super) fn user_log(meaning: &Meaning, config: &Config) -> Option<(PathBuf, OsString)> {
    let typed = meaning.log_file.clone().filter(|name| !name.is_empty() && config.hosts.is_empty())?;
    Some((config.cwd.join(&typed), typed))
}

/// The remote shell as an option, if the user has not given one: launches in another directory would read `RSYNC_RSH`, or ssh its
/// configuration, in another way. A daemon is reached without it, and with the option through a shell.
fn remote_shell(options: &Options, meaning: &Meaning, config: &Config) -> Option<OsString> {
    let given = options.meaning().rsh.is_some();
    if given || !matches!(config.destination.target(), Target::Ssh { .. }) {
        return None;
    }
    let command = meaning.rsh.clone().unwrap_or_else(|| "ssh".into());
    let there = options.remote_shell(&command, &config.cwd);
    (there != command).then(|| {
        let mut option = OsString::from("--rsh=");
        option.push(there);
        option
    })
}

/// The command lines of a run of several rsyncs, but for what depends on sources and destination. `options` name files absolutely.
pub(super) fn recipe(options: &Options, meaning: &Meaning, filters: &Filters, config: &Config) -> Result<Recipe> {
    // What multi-sync does itself, or with a launch of its own.
    let own = |name: &str| match name {
        "log-file" => config.hosts.is_empty(),
        "bwlimit" | "remove-source-files" | "ignore-missing-args" | "stop-after" => true,
        _ => false,
    };
    let mut launch = options.without(|setting| own(setting.spec.name())).argv();
    launch.extend(remote_shell(options, meaning, config));
    let deletion = |name: &str| name.starts_with("delete") || name == "ignore-errors";
    let mut keeping = Options::parse(&launch)?.without(|setting| deletion(setting.spec.name())).argv();
    // What is copied still takes the place of something else, as it does with deletion.
    keeping.extend(meaning.delete.is_some().then(|| "--force".into()));
    // "." is a name that the user's rules would match (`--exclude='*'`).
    let include: Vec<OsString> = meaning.has_filter_rules.then(|| "--include=/.".into()).into_iter().collect();
    let quiet = Options::parse(&keeping)?.without(|setting| setting.spec.name().starts_with("log-file")).argv();
    let mut rules = filters.options.clone();
    if rules.is_empty() && meaning.partial_dir.is_some() {
        // It comes from the environment, and counts with --partial only.
        rules.push("--partial".into());
    }
    Ok(Recipe {
        program: config.program.clone(),
        spine_options: [&include[..], &launch].concat(),
        attribute_options: [&include[..], &quiet].concat(),
        options: launch,
        options_keeping: keeping,
        rule_options: (!rules.is_empty()).then_some(rules),
        base: PathBuf::new(),
        handles: Handles::default(),
        cwd: config.cwd.clone(),
        destination: OsString::new(),
        progress: config.progress || config.adapts,
        marks_changes: false,
        tells_end: false,
        lists: false,
        line_lists: filters.in_files && !meaning.from0,
        old_receiver: false,
        removal: removal(meaning),
        dry_run: meaning.dry_run,
        implied_dirs: !meaning.relative || meaning.implied_dirs,
        unlock: false,
    })
}
