//! Derives the options of each kind of launch from the user's options.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Config;
use crate::endpoint::Target;
use crate::error::Result;
use crate::handle::Handles;
use crate::rsync::command::{Recipe, Removal};
use crate::rsync::filter::Filters;
use crate::rsync::options::{Group, Meaning, Opt, Options, Setting};

/// The options that each rsync gets: those of the user, except for options that multi-sync follows for the whole run. `-P` stands for two options, of which
/// `--partial` is passed on.
pub(super) fn hand_over(config: &Config) -> Result<Options> {
    let options = &config.options;
    let quiet = options.meaning().quiet;
    let kept = options.without(|setting| match setting.spec.id {
        Opt::Quiet | Opt::Stats | Opt::Progress | Opt::P => true,
        Opt::Verbose | Opt::ItemizeChanges | Opt::OutFormat => quiet,
        _ => false,
    });
    // The progress of single files is not passed on, but their names are. The user's own options come later, and prevail.
    let names = options.shows().names > 0 && options.meaning().verbose == 0 && !quiet;
    let mut words: Vec<OsString> = names.then(|| "--info=name".into()).into_iter().collect();
    words.extend(kept.argv());
    words.extend(options.has(Opt::P).then(|| "--partial".into()));
    words.extend(config.counts_deletions.then(|| "--info=del".into()));
    Options::parse(&words)
}

/// How source files are removed. If single names were removed early, a later launch would delete them at the destination, and their directories would have
/// other times.
pub(super) fn removal(meaning: &Meaning) -> Removal {
    let looked_at_again = meaning.delete.is_some() || meaning.times && !meaning.omit_dir_times;
    match (meaning.remove_source_files, looked_at_again) {
        (false, _) => Removal::None,
        (true, false) => Removal::AtOnce,
        (true, true) => Removal::SinglesLast,
    }
}

/// The user's log file, if the launches run on this machine.
pub(super) fn user_log(meaning: &Meaning, config: &Config) -> Option<(PathBuf, OsString)> {
    let typed = meaning.log_file.clone().filter(|name| !name.is_empty() && config.hosts.is_empty())?;
    Some((config.cwd.join(&typed), typed))
}

/// The remote shell as an option, if the user has not given one: a launch in another directory would read `RSYNC_RSH`, or ssh its configuration, in another
/// way. A daemon is reached without a shell, but with this option rsync would use one.
fn remote_shell(options: &Options, meaning: &Meaning, config: &Config) -> Option<OsString> {
    let given = options.meaning().rsh.is_some();
    if given || !matches!(config.far_end(), Target::Ssh { .. }) {
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

/// The command lines of a run with several rsyncs, except for the parts that depend on the sources and the destination. File names in `options` are absolute.
pub(super) fn recipe(options: &Options, meaning: &Meaning, filters: &Filters, config: &Config) -> Result<Recipe> {
    // Options that multi-sync follows itself, or with a launch of its own.
    let own = |opt: Opt| match opt {
        Opt::LogFile => config.hosts.is_empty(),
        Opt::Bwlimit | Opt::RemoveSourceFiles | Opt::IgnoreMissingArgs | Opt::StopAfter => true,
        _ => false,
    };
    let mut launch = options.without(|setting| own(setting.spec.id)).argv();
    launch.extend(remote_shell(options, meaning, config));
    // The daemon's greeting was printed when it was asked about the sources.
    launch.extend((config.pulls() && matches!(config.far_end(), Target::Daemon { .. })).then(|| "--no-motd".into()));
    // `--force` and `--max-delete` do not ask for deletion, but only limit or extend it.
    let deletes = |setting: &Setting| {
        setting.spec.group == Group::Deletion && !matches!(setting.spec.id, Opt::Force | Opt::MaxDelete)
    };
    let mut keeping = Options::parse(&launch)?.without(deletes).argv();
    // A copy may still replace something else, as it does with deletion.
    keeping.extend(meaning.delete.is_some().then(|| "--force".into()));
    // Backups protect the directory that contains them from being replaced by a copy, as they do with deletion.
    let protects: Vec<OsString> =
        meaning.backup_rule().into_iter().flat_map(|rule| ["--filter".into(), rule]).collect();
    if meaning.delete.is_some() && !meaning.delete_excluded {
        keeping.extend_from_slice(&protects);
    }
    // The user's rules could match the name "." (`--exclude='*'`).
    let include: Vec<OsString> = meaning.has_filter_rules.then(|| "--include=/.".into()).into_iter().collect();
    let quiet = Options::parse(&keeping)?
        // Directories have no access times, and a file that was read before it is removed from the source has lost its own.
        .without(|setting| matches!(setting.spec.id, Opt::LogFile | Opt::LogFileFormat | Opt::Atimes))
        .argv();
    let mut rules = filters.options.clone();
    if rules.is_empty() && meaning.partial_dir.is_some() {
        // The partial directory comes from the environment, and is used only with `--partial`.
        rules.push("--partial".into());
    }
    Ok(Recipe {
        program: config.program.clone(),
        spine_options: [&include[..], &launch].concat(),
        attribute_options: [&include[..], &quiet].concat(),
        options: launch,
        options_keeping: keeping,
        // A repetition would delete the backups of what the first launch has replaced.
        repair_options: if meaning.delete.is_none() { protects } else { Vec::new() },
        rule_options: (!rules.is_empty()).then_some(rules),
        base: PathBuf::new(),
        handles: Handles::default(),
        far: None,
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
