//! The plan: how a run is done, decided before anything is written.
//!
//! This module looks at the machine (sources, a local destination, the installed rsync), refuses early, and decides whether several rsyncs can
//! give exactly the result of one. If that is not certain, a single rsync copies ([`Strategy::Plain`]): this may be slower, but is never different.

mod addresses;
mod alone;
mod asked;
mod aux_dirs;
mod bandwidth;
mod destination;
mod effects;
mod facts;
pub mod fallback;
mod first;
pub(crate) mod folding;
mod gitignore;
mod launches;
mod mounts;
mod probe;
mod pull;
mod receiver;
mod relative;
mod rooted;
mod routes;
mod run_place;
mod scan_by;
mod sources;
mod up_to_date;

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::connection::{Connections, Route};
use crate::error::{Error, Result};
use crate::far;
use crate::first_pass::Makes;
use crate::handle::{self, Handles};
use crate::rsync::command::{Invocation, Recipe};
use crate::rsync::filter::Filters;
use crate::rsync::options::{Aliases, Delete, Opt, Shows, Stop};
use crate::rsync::prune::Prune;
use crate::scan::{self, Follow, Root, Scan, Weight};
use crate::spool;
use crate::supervise::Supervisor;

pub use addresses::{check as check_addresses, leads_there_again};
pub use effects::Keeps;
pub use pull::{FarRoot, FarScan, Still};
pub use rooted::Rooted;

use facts::{Facts, Whole};
use receiver::{Locked, Receiver};

pub use crate::rsync::version::{OLDEST_RSYNC, TELLS_CHANGES, TRUSTS_LISTS, Version};

/// The first line that rsync prints: with a complete or an incremental file list, when it sends and when it receives.
const LISTED: &str = "building file list ... done";
const SENDS_LISTS: &str = "sending incremental file list";
const RECEIVED: &str = "receiving file list ... done";
const RECEIVES_LISTS: &str = "receiving incremental file list";

/// Whether several rsyncs copy, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Several rsyncs.
    Parallel,
    /// One rsync, and why.
    Plain(String),
}

/// A source that is scanned, and how its entries are written as arguments of rsync: `prefix`, then the path below the root's base.
#[derive(Debug, Clone)]
pub struct SourceTree {
    /// The root of the scan.
    pub root: Root,
    /// `./`, `././` or `/base/./` (rsync(1), `--relative`).
    pub prefix: Vec<u8>,
    /// The path that precedes these paths in the transfer, with its slash; not empty only with the user's own `--relative`.
    pub above: Vec<u8>,
}

/// A source that is not a directory: a unit without a scan.
#[derive(Debug, Clone)]
pub struct SingleSource {
    /// As in [`SourceTree`].
    pub prefix: Vec<u8>,
    /// The directory that contains it.
    pub base: PathBuf,
    /// Its name.
    pub name: OsString,
    /// Its weight.
    pub weight: Weight,
}

/// All decisions about a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether several rsyncs copy, or one.
    pub strategy: Strategy,
    /// The sources that are directories.
    pub trees: Vec<SourceTree>,
    /// All other sources.
    pub singles: Vec<SingleSource>,
    /// The arguments for the sources that arrive at DEST under their own names.
    pub named: Vec<OsString>,
    /// The sources that do not exist, each with the reason.
    pub missing: Vec<(OsString, io::ErrorKind)>,
    /// The command lines of a run with several rsyncs.
    pub recipe: Recipe,
    /// The rsync command that the user would run without multi-sync.
    pub plain: Invocation,
    /// The same command with options for figures that multi-sync needs and does not show to the user; `None` if no figures are asked for.
    pub asked: Option<Invocation>,
    /// Whether it is certain that the rsyncs that write run as root.
    pub as_root: bool,
    /// The version of the installed rsync, or the oldest version on the hosts.
    pub version: Version,
    /// How DEST's machine is reached, if launches can share a connection to it.
    pub route: Option<Route>,
    /// The connections by this route. The questions about the source went through one of them, which is open already.
    pub early: Option<Arc<Connections>>,
    /// The routes to all addresses except the first, if there are several.
    pub other_routes: Vec<Route>,
    /// How sources on another machine are scanned for several rsyncs.
    pub far: Option<FarScan>,
    /// The number of threads of the scan.
    pub scan_threads: NonZero<usize>,
    /// See [`Scan::keep_locked_whole`].
    pub keep_locked_whole: bool,
    /// See [`Scan::merge_files`].
    pub merge_files: Vec<OsString>,
    /// See [`Scan::follow`].
    pub follow: Follow,
    /// See [`Scan::unsafe_links_whole`].
    pub unsafe_links_whole: bool,
    /// See `Scan::prune`.
    pub prune: Prune,
    /// See [`Scan::one_file_system`].
    pub one_file_system: u8,
    /// See [`Scan::hard_links`].
    pub hard_links: bool,
    /// See [`Scan::found_again`].
    pub found_again: bool,
    /// What a first pass creates at DEST before rsyncs look at it, or why there is no first pass.
    pub first_pass: std::result::Result<Makes, String>,
    /// DEST is on this machine, and nearly everything has to be created there.
    pub is_dest_new: bool,
    /// See [`crate::bucket::Packer`]: single names of one directory reach one bucket.
    pub names_together: bool,
    /// See [`Scan::gitignore`]: a single rsync in place of several would copy what the scan leaves out.
    pub gitignore: bool,
    /// Names that must be printed in another form than the launches print them.
    pub rooted: Rooted,
    /// Whether extraneous entries at DEST are deleted, and when.
    pub deletes: Option<Delete>,
    /// Deletion continues after an error.
    pub ignore_errors: bool,
    /// The run ends after this time, whether it is done or not.
    pub stop_after: Option<Duration>,
    /// Each rsync ends itself at a given time (`--stop-at`).
    pub stops_itself: bool,
    /// rsync prints a line per entry, and each line must appear once.
    pub prints: bool,
    /// Which attributes of an existing directory at the destination must be equal so that rsync would change nothing in it; `None` if only rsync
    /// itself can tell.
    pub keeps: Option<Keeps>,
    /// If a launch breaks off, a later one would skip the file that is half-written. Therefore nothing is retried.
    pub leaves_halves: bool,
    /// A launch that is repeated changes only what had failed.
    pub repeatable: bool,
    /// The user asked rsync to be quiet.
    pub quiet: bool,
    /// All entries are counted as rsync counts them, and not only those that are processed.
    pub counts: bool,
    /// The user's log file and the word that was typed for it, if multi-sync writes the file.
    pub user_log: Option<(PathBuf, OsString)>,
    /// The first line that a single rsync would print, if the user wants to see it.
    pub header: Option<&'static str>,
    /// A single rsync would announce its file list, and say when the list is complete.
    pub lists_first: bool,
    /// Which output about the transfer as a whole the user wants from rsync.
    pub shows: Shows,
    /// DEST, if it is on this machine and its file system records every change of a directory in the directory's ctime.
    pub watched_dest: Option<PathBuf>,
    /// The destination may treat names that differ only in case, or in the form of a letter, as the same name, and that matters.
    pub watches_names: bool,
    /// Launches may be prestarted, that is, shake hands before they may begin: rsync then waits for its names without a time limit.
    pub goes_ahead: bool,
    /// `--bwlimit` of the run, in KiB per second.
    pub bwlimit: Option<NonZero<u64>>,
    /// A source may be held by a symbolic link of its name. This is not so with extended attributes, because rsync reads those of an argument without
    /// following it, and not if sources are removed, because rsync removes nothing that it finds through a link.
    holds_names: bool,
}

impl Plan {
    /// Makes the plan, or refuses. It starts rsyncs only to ask them questions, such as `rsync --version`, and copies nothing.
    ///
    /// # Errors
    /// An option is refused; rsync is missing, too old, or does not know an option; no source
    /// exists (exit code 23, as rsync); or a local destination cannot be a directory (3) or has no parent directory (11).
    pub fn make(config: &Config, supervisor: &Supervisor) -> Result<Plan> {
        let environment = |name: &str| std::env::var_os(name);
        config.options.refuse_unsupported_with(environment)?;
        spool::refuse_streams(config)?;
        Aliases::installed().check(&config.options)?;
        let options = launches::hand_over(config)?;
        let meaning = options.meaning_with(environment);

        if meaning.files_from.is_some() && config.sources.len() > 1 {
            return Err(Error::usage("--files-from takes one source, below which its names are looked for")
                .remedy("give the directory that all names have in common"));
        }
        let found = sources::look(config, &meaning)?;
        if !meaning.dirs && meaning.files_from.is_none() {
            sources::refuse_directories(config, &found)?;
        }
        let relative = if meaning.relative { found.relative(config) } else { None };
        let root_user = runs_as_root(config);
        let receiver = Receiver::of(config, root_user);
        let Locked { unlock, keep_whole: keep_locked_whole } = receiver.locked(config, &meaning);
        let filters = Filters::of(&options.absolute_files(&config.cwd), &config.cwd);
        let mut facts = Facts::of(config, &options, environment, receiver, &filters);
        let mut rule = fallback::find(&facts);
        let filters = filters.unwrap_or_default();
        let rules_to_ask = if meaning.has_filter_rules { filters.options.clone() } else { Vec::new() };
        // The name of the partial directory is a filter rule as well.
        let has_rules = meaning.has_filter_rules || meaning.partial_dir.is_some();
        let unsafe_links_whole = meaning.copy_unsafe_links && has_rules;
        if rule.is_none() {
            let merge_files = &filters.merge_files;
            let whole = Whole { locked: keep_locked_whole, unsafe_links: unsafe_links_whole, merge_files };
            facts.look(config, &found, relative.as_deref(), &whole);
            rule = fallback::find(&facts);
        }
        let mut routes = routes::find(config, &options, &meaning, supervisor);
        let (mut far, mut early) = (None, None);
        let asks_there = config.looks_far && !facts::asks_for_one_process(config);
        if rule.is_none() && config.pulls() && asks_there {
            early = Some(&routes).filter(|routes| !routes.is_empty()).and_then(|routes| {
                let connections = Connections::new(routes.clone(), config.processes.get())?;
                connections.open(0, 0);
                Some(Arc::new(connections))
            });
            let way = pull::Way { config, early: early.as_ref(), supervisor };
            far = pull::look(&way, &mut facts, &rules_to_ask, &filters.prune);
            rule = fallback::find(&facts);
            far = far.filter(|_| rule.is_none());
        } else if rule.is_none() && !config.pulls() {
            facts.rules_leave_a_name = alone::may_be(config, &found, &rules_to_ask, supervisor)?;
            rule = fallback::find(&facts);
        }
        if config.gitignore {
            let reason = rule.map(|rule| rule.reason(&facts));
            gitignore::check(&meaning, reason.as_deref(), keep_locked_whole, unsafe_links_whole)?;
        }
        let here = probe::probe(config, &options, supervisor)?;
        if options.delete_times() > 1 {
            // Otherwise the launches that do not delete would begin before the invalid combination is found.
            probe::check_combination(config, &options, supervisor)?;
        }
        let version = config.workers.map_or(here, |workers| workers.version);
        if version < TELLS_CHANGES {
            far.iter_mut().for_each(|far| far.up_to_date = None);
        }
        if config.hosts.is_empty() && !config.dry_run && (rule.is_none() || found.fill_a_directory(&meaning)) {
            // A single rsync has its own message for a missing parent directory.
            let needs_parent = rule.is_none() && !meaning.mkpath && !meaning.dry_run;
            destination::check_local_destination(config, &meaning, needs_parent).or_else(|error| {
                probe::check_combination(config, &options, supervisor)?;
                Err(error)
            })?;
        }

        let shows = if config.options.meaning().quiet { Shows::default() } else { config.options.shows() };
        let lists_first = effects::lists_first(&options, &meaning);
        // Lines in a log file count as well.
        let prints = facts::prints(&options, &meaning) || meaning.log_file.is_some() || config.counts_deletions;
        let watched_dest = destination::watched_dest(config).filter(|_| !meaning.dry_run && config.hosts.is_empty());
        let recipe = Recipe {
            marks_changes: watched_dest.is_none()
                && !meaning.dry_run
                && !prints
                && !aux_dirs::are_silent(&options, &meaning),
            tells_end: !config.pulls() && !prints && effects::tells_end(config, &options, &meaning),
            old_receiver: !config.destination.is_local() || !config.hosts.is_empty(),
            lists: version >= TRUSTS_LISTS,
            unlock,
            base: found.base(config),
            destination: config.destination.as_argument(&config.cwd),
            ..launches::recipe(&options.absolute_files(&config.cwd), &meaning, &filters, config)?
        };
        let typed: Vec<OsString> = config.sources.iter().map(|source| source.original().to_owned()).collect();
        let to = config.destination.original().to_owned();
        // If DEST is inside a source, an rsync that reads directories while it copies would copy some of its own copies.
        let nested = rule.is_some_and(|rule| rule.id == fallback::NESTED).then(|| "--no-inc-recursive".into());
        let steady = bandwidth::steady(&meaning);
        let one = |options: Vec<OsString>, more: Vec<OsString>| {
            let ours = nested.iter().chain(&steady).cloned().collect();
            let words = [options, more, ours].concat();
            recipe.plain(config.cwd.clone(), &words, &typed, to.clone())
        };
        let plain = one(config.options.argv(), Vec::new());
        let asked = asked::of(config).map(|more| one(options.argv(), more));
        // What a list of names contains is known only when rsync has read it.
        let scanned = if meaning.files_from.is_some() { Default::default() } else { found.split(config, relative) };
        let (mut trees, mut singles) = scanned;
        let mut missing = found.missing;
        let far_source = far.as_ref().map(|FarScan { placed, .. }| {
            (trees, singles, missing) = (placed.trees.clone(), placed.singles.clone(), placed.missing.clone());
            placed.source.clone()
        });
        if !meaning.recursive {
            // Without recursion, rsync enters no directories, so that there is nothing to scan.
            trees.clear();
        }
        let argument = |prefix: &[u8], name: &OsStr| OsString::from_vec([prefix, name.as_bytes()].concat());
        let named = trees.iter().filter_map(|tree| Some(argument(&tree.prefix, tree.root.name.as_deref()?)));
        // For a per-directory rule file, rsync also looks in the directories above the source, following the path with which it is started (rsync(1),
        // "PER-DIRECTORY RULES").
        let may_hold = !meaning.per_dir_merge && filters.merge_files.is_empty() && far_source.is_none();
        let handles = match far_source {
            None => hold(config, may_hold, &recipe.base, &trees, &singles),
            Some(_) => Handles::default(),
        };
        let odd = far.as_ref().and_then(|far| far.hold.as_ref()).filter(|hold| !hold.is_named_as_typed());
        let handles = match odd {
            Some(hold) => handles.showing(hold.printed.clone()),
            None => handles,
        };
        let recipe = Recipe { handles, far: far_source, ..recipe };
        let named: Vec<OsString> =
            named.chain(singles.iter().map(|single| argument(&single.prefix, &single.name))).collect();
        // The launch that deletes in DEST gets all these names, together with a part of the split directories.
        let room = recipe.argument_room() / 2;
        if rule.is_none() {
            facts.too_many_names = meaning.delete.is_some() && !recipe.can_hand_over(&named, room);
            facts.one_process = facts::asks_for_one_process(config);
            rule = fallback::find(&facts);
        }
        let first_pass = first::find(config, &meaning, rule.is_some(), root_user);
        let roots = trees.iter().map(|tree| &tree.root);
        let scan_threads = match config.pulls() {
            true => far::THREADS,
            false => config.scan_threads.unwrap_or_else(|| scan::usual_threads(roots)),
        };
        Ok(Plan {
            strategy: rule.map_or(Strategy::Parallel, |rule| Strategy::Plain(rule.reason(&facts))),
            trees,
            singles,
            named,
            missing,
            recipe,
            plain,
            asked,
            as_root: receiver.is_root(),
            version,
            route: (!routes.is_empty()).then(|| routes.remove(0)),
            other_routes: routes,
            early,
            far,
            scan_threads,
            keep_locked_whole,
            merge_files: filters.merge_files,
            follow: effects::follow(&meaning),
            unsafe_links_whole,
            prune: filters.prune,
            one_file_system: meaning.one_file_system,
            hard_links: meaning.hard_links,
            found_again: facts.sources.found_again,
            rooted: Rooted::new(config, &meaning),
            // With `--fuzzy`, rsync looks at all names of a directory at DEST, including files that another rsync is writing.
            names_together: meaning.delay_updates || options.has(Opt::Fuzzy),
            is_dest_new: first::is_dest_new(config),
            first_pass,
            gitignore: config.gitignore,
            holds_names: !config.pulls() && !meaning.xattrs && !meaning.remove_source_files,
            deletes: meaning.delete,
            stop_after: effects::stop_after(&meaning),
            stops_itself: matches!(meaning.stop, Some(Stop::At(_))),
            ignore_errors: meaning.ignore_errors,
            prints,
            keeps: Keeps::of(config, &options, &meaning).filter(|_| root_user && !config.pulls()),
            leaves_halves: effects::leaves_halves(&options, &meaning),
            repeatable: effects::is_repeatable(&options, &meaning),
            quiet: config.options.meaning().quiet,
            counts: shows.stats > 1 || meaning.dry_run,
            user_log: launches::user_log(&meaning, config),
            header: (shows.list > 0).then_some(match (lists_first, config.pulls()) {
                (true, false) => LISTED,
                (false, false) => SENDS_LISTS,
                (true, true) => RECEIVED,
                (false, true) => RECEIVES_LISTS,
            }),
            lists_first: lists_first && config.options.shows().list > 0,
            shows,
            watched_dest,
            watches_names: folding::watches_names(config, &meaning),
            goes_ahead: effects::goes_ahead(config, &options, &meaning),
            bwlimit: bandwidth::limit(&meaning).ok().flatten(),
        })
    }

    /// Whether the run is a single rsync because the user has asked for no more.
    pub fn is_one_by_choice(config: &Config) -> bool {
        facts::asks_for_one_process(config)
    }

    /// The same plan, but holding the sources that are sent by their names. The links that this needs are created in `dir`.
    pub fn holding_sources(&self, dir: &Path) -> Plan {
        // One rsync needs no directory of multi-sync, and this directory is removed before it starts.
        if !self.holds_names || matches!(self.strategy, Strategy::Plain(_)) {
            return self.clone();
        }
        let trees = self.trees.iter().filter(|tree| tree.above.is_empty());
        let named = trees.filter_map(|tree| {
            let name = tree.root.name.as_deref()?;
            Some((handle::base_of(&self.recipe.base, &tree.prefix), name.as_bytes()))
        });
        let handles = self.recipe.handles.with_sources(&named.collect::<Vec<_>>(), dir);
        Plan { recipe: Recipe { handles, ..self.recipe.clone() }, ..self.clone() }
    }

    /// The scan of this plan, which leaves out the directory `left_out` (device and inode).
    pub fn scan(&self, config: &Config, left_out: (u64, u64)) -> Scan {
        // Each slot has several groups of linked directories, so that large groups do not leave slots without work.
        const GROUPS_PER_SLOT: u64 = 4;
        let held = |tree: &SourceTree| {
            let above = self.recipe.local(&tree.prefix).into_os_string().into_vec();
            Root { base: followed(above), ..tree.root.clone() }
        };
        let roots = match self.far {
            Some(_) => self.trees.iter().map(|tree| tree.root.clone()).collect(),
            None => self.trees.iter().map(held).collect(),
        };
        let linked_parts = NonZero::<u64>::try_from(config.processes).unwrap_or(NonZero::<u64>::MIN);
        let linked_parts = linked_parts.saturating_mul(NonZero::new(GROUPS_PER_SLOT).expect("not zero"));
        Scan {
            split_roots: self.trees.len() + self.singles.len() > 1,
            one_file_system: self.one_file_system,
            merge_files: self.merge_files.clone(),
            follow: self.follow,
            unsafe_links_whole: self.unsafe_links_whole,
            prune: self.prune.clone(),
            // On another machine, a directory with the same numbers is a different one.
            left_out: self.far.is_none().then_some(left_out),
            hard_links: self.hard_links,
            found_again: self.found_again,
            linked_parts: if config.limits_given { None } else { Some(linked_parts) },
            keep_locked_whole: self.keep_locked_whole,
            gitignore: self.gitignore,
            ..Scan::new(roots, config.limits, self.scan_threads)
        }
    }
}

/// A path to a directory, with a slash at its end. Without the slash, a final symbolic link would not be followed; and a path that ends with `.` could only be
/// used if the directory may be entered.
fn followed(mut path: Vec<u8>) -> PathBuf {
    while let Some(shorter) = path.strip_suffix(b"/").or(path.strip_suffix(b"/.")) {
        path = shorter.to_vec();
    }
    path.push(b'/');
    OsString::from_vec(path).into()
}

/// Holds open the directories that arguments are relative to, if that is allowed. Not for launches on hosts, where these directories are others.
fn hold(config: &Config, may_hold: bool, base: &Path, trees: &[SourceTree], singles: &[SingleSource]) -> Handles {
    let prefixes = trees.iter().map(|tree| &tree.prefix).chain(singles.iter().map(|single| &single.prefix));
    let bases = prefixes.map(|prefix| handle::base_of(base, prefix));
    Handles::of(bases, may_hold && config.hosts.is_empty() && !config.dry_run)
}

/// Whether the rsyncs of a run have the rights of root.
fn runs_as_root(config: &Config) -> bool {
    config.workers.map_or_else(|| rustix::process::geteuid().is_root(), |workers| workers.are_root)
}
