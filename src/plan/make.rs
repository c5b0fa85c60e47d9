//! Makes a plan in steps: what is asked for, which sources there are, whether one rsync has to copy, how launches name the sources, and what follows for the
//! run. Each step gets what the steps before it found out, and does not change it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::connection::{Connections, Route};
use crate::error::{Error, Result};
use crate::far;
use crate::handle::{self, Handles};
use crate::rsync::command::{Invocation, Recipe};
use crate::rsync::filter::{Filters, Unclear};
use crate::rsync::harm::Harm;
use crate::rsync::options::{Aliases, Meaning, Opt, Options, Shows, Stop};
use crate::scan;
use crate::spool;
use crate::supervise::Supervisor;

use super::facts::{self, Facts, Whole};
use super::fallback::{self, Rule};
use super::receiver::{Locked, Receiver};
use super::relative::Relative;
use super::sources::{self, Found};
use super::{
    FarScan, Keeps, Plan, Rooted, SingleSource, SourceTree, Strategy, TELLS_CHANGES, TRUSTS_LISTS, Version, alone,
    asked, aux_dirs, bandwidth, destination, effects, first, folding, gitignore, launches, probe, pull, routes,
};

/// The first line that rsync prints: with a complete or an incremental file list, when it sends and when it receives.
const LISTED: &str = "building file list ... done";
const SENDS_LISTS: &str = "sending incremental file list";
const RECEIVED: &str = "receiving file list ... done";
const RECEIVES_LISTS: &str = "receiving incremental file list";

/// See [`Plan::make`].
pub(super) fn make(config: &Config, supervisor: &Supervisor) -> Result<Plan> {
    let request = Request::read(config)?;
    let found = request.find_sources()?;
    let relative = if request.meaning.relative { found.relative(config) } else { None };
    let decision = Decision::make(&request, &found, relative.as_deref(), supervisor)?;
    request.check_gitignore(&decision)?;
    let checked = Checked::check(&request, &found, decision.rule.is_some(), supervisor)?;
    let sources = Sources::place(&request, &found, relative, decision.far.as_ref());
    let recipe = recipe(&request, found.base(config), &sources, decision.far.as_ref(), &checked)?;
    let decision = decision.after_names(&request, &recipe, &sources.named);
    Ok(assemble(&request, decision, checked, sources, recipe))
}

/// What is asked for: the options that each launch gets, and what follows from them before any source is looked at.
struct Request<'a> {
    config: &'a Config,
    options: Options,
    meaning: Meaning,
    /// The filter rules; empty if it is unclear which apply.
    filters: Filters,
    unclear_rules: Option<Unclear>,
    /// The rsyncs of the run have the rights of root.
    as_root: bool,
    receiver: Receiver,
    locked: Locked,
    unsafe_links_whole: bool,
}

impl Request<'_> {
    /// Reads the options, or refuses them.
    fn read(config: &Config) -> Result<Request<'_>> {
        config.options.refuse_unsupported_with(environment)?;
        spool::refuse_streams(config)?;
        Aliases::installed().check(&config.options)?;
        let options = launches::hand_over(config)?;
        let meaning = options.meaning_with(environment);
        if meaning.files_from.is_some() && config.sources.len() > 1 {
            return Err(Error::usage("--files-from takes one source, below which its names are looked for")
                .remedy("give the directory that all names have in common"));
        }
        let filters = Filters::of(&options.absolute_files(&config.cwd), &config.cwd);
        // The name of the partial directory is a filter rule as well.
        let has_rules = meaning.has_filter_rules || meaning.partial_dir.is_some();
        let as_root = runs_as_root(config);
        let receiver = Receiver::of(config, as_root);
        Ok(Request {
            config,
            unclear_rules: filters.as_ref().err().copied(),
            filters: filters.unwrap_or_default(),
            as_root,
            receiver,
            locked: receiver.locked(config, &meaning),
            unsafe_links_whole: meaning.copy_unsafe_links && has_rules,
            options,
            meaning,
        })
    }

    fn find_sources(&self) -> Result<Found> {
        let found = sources::look(self.config, &self.meaning)?;
        if !self.meaning.dirs && self.meaning.files_from.is_none() {
            sources::refuse_directories(self.config, &found)?;
        }
        Ok(found)
    }

    /// The rules about which rsync is asked what they leave.
    fn rules_to_ask(&self) -> &[OsString] {
        if self.meaning.has_filter_rules { &self.filters.options } else { &[] }
    }

    fn check_gitignore(&self, decision: &Decision) -> Result<()> {
        if !self.config.gitignore {
            return Ok(());
        }
        let reason = decision.reason();
        gitignore::check(&self.meaning, reason.as_deref(), self.locked.keep_whole, self.unsafe_links_whole)
    }

    /// Whether rsync prints lines that must appear once. Lines in a log file count as well.
    fn prints(&self) -> bool {
        let Request { config, options, meaning, .. } = self;
        facts::prints(options, meaning) || meaning.log_file.is_some() || config.counts_deletions
    }

    fn shows(&self) -> Shows {
        if self.config.options.meaning().quiet { Shows::default() } else { self.config.options.shows() }
    }
}

/// Whether one rsync has to copy, and what was opened and begun in order to find that out.
struct Decision {
    facts: Facts,
    rule: Option<&'static Rule>,
    routes: Vec<Route>,
    early: Option<Arc<Connections>>,
    far: Option<FarScan>,
}

impl Decision {
    /// Gathers facts until a rule applies: about the command line, then about what lies on this machine, then about what only an rsync can tell.
    fn make(
        request: &Request<'_>,
        found: &Found,
        relative: Option<&[Relative]>,
        supervisor: &Supervisor,
    ) -> Result<Decision> {
        let Request { config, options, meaning, filters, receiver, .. } = request;
        let mut facts = Facts::of(config, options, environment, *receiver, filters, request.unclear_rules);
        if fallback::find(&facts).is_none() {
            let merge_files = &filters.merge_files;
            let unsafe_links = request.unsafe_links_whole;
            facts.look(
                config,
                found,
                relative,
                &Whole { locked: request.locked.keep_whole, unsafe_links, merge_files },
            );
        }
        let routes = routes::find(config, options, meaning, supervisor);
        let (mut early, mut far) = (None, None);
        if fallback::find(&facts).is_none() && !config.pulls() {
            facts.rules_leave_a_name = alone::may_be(config, found, request.rules_to_ask(), supervisor)?;
        } else if fallback::find(&facts).is_none() && config.looks_far && !facts::asks_for_one_process(config) {
            early = open_early(config, &routes);
            let way = pull::Way { config, early: early.as_ref(), supervisor };
            far = pull::look(&way, &mut facts, request.rules_to_ask(), &filters.prune);
        }
        let rule = fallback::find(&facts);
        Ok(Decision { far: far.filter(|_| rule.is_none()), facts, rule, routes, early })
    }

    /// The decision when it is also known which names the launches have to be given.
    fn after_names(mut self, request: &Request<'_>, recipe: &Recipe, named: &[OsString]) -> Decision {
        if self.rule.is_none() {
            // The launch that deletes in DEST gets all these names, together with a part of the split directories.
            let room = recipe.argument_room() / 2;
            self.facts.too_many_names = request.meaning.delete.is_some() && !recipe.can_hand_over(named, room);
            self.facts.one_process = facts::asks_for_one_process(request.config);
            self.rule = fallback::find(&self.facts);
        }
        self
    }

    /// Why one rsync has to copy.
    fn reason(&self) -> Option<String> {
        self.rule.map(|rule| rule.reason(&self.facts))
    }
}

/// Begins to open the connection through which the machine of the sources is asked.
fn open_early(config: &Config, routes: &[Route]) -> Option<Arc<Connections>> {
    let routes = Some(routes).filter(|routes| !routes.is_empty())?;
    let connections = Connections::new(routes.to_vec(), config.processes.get())?;
    connections.open(0, 0);
    Some(Arc::new(connections))
}

/// What was found when the installed rsync and a local DEST were checked.
struct Checked {
    /// The version of the rsyncs that run.
    version: Version,
    /// See [`Plan::watched_dest`].
    watched_dest: Option<PathBuf>,
}

impl Checked {
    fn check(request: &Request<'_>, found: &Found, is_plain: bool, supervisor: &Supervisor) -> Result<Checked> {
        let version = ask_version(request, supervisor)?;
        check_destination(request, found, is_plain, supervisor)?;
        let Request { config, meaning, .. } = request;
        let watched_dest = destination::watched_dest(config);
        let watched_dest = watched_dest.filter(|_| !meaning.dry_run && config.hosts.is_empty());
        Ok(Checked { version, watched_dest })
    }
}

/// The version of the rsyncs that run. It also checks whether the installed rsync knows the options.
fn ask_version(request: &Request<'_>, supervisor: &Supervisor) -> Result<Version> {
    let Request { config, options, .. } = request;
    let here = probe::probe(config, options, supervisor)?;
    if options.delete_times() > 1 {
        // Otherwise the launches that do not delete would begin before the invalid combination is found.
        probe::check_combination(config, options, supervisor)?;
    }
    Ok(config.workers.map_or(here, |workers| workers.version))
}

fn check_destination(request: &Request<'_>, found: &Found, is_plain: bool, supervisor: &Supervisor) -> Result<()> {
    let Request { config, options, meaning, .. } = request;
    if !config.hosts.is_empty() || config.dry_run || is_plain && !found.fill_a_directory(meaning) {
        return Ok(());
    }
    // A single rsync has its own message for a missing parent directory.
    let needs_parent = !is_plain && !meaning.mkpath && !meaning.dry_run;
    destination::check_local_destination(config, meaning, needs_parent).or_else(|error| {
        probe::check_combination(config, options, supervisor)?;
        Err(error)
    })
}

/// The sources as the plan has them.
struct Sources {
    trees: Vec<SourceTree>,
    singles: Vec<SingleSource>,
    missing: Vec<(OsString, io::ErrorKind)>,
    named: Vec<OsString>,
}

impl Sources {
    fn place(request: &Request<'_>, found: &Found, relative: Option<Vec<Relative>>, far: Option<&FarScan>) -> Sources {
        let (mut trees, singles, missing) = match far {
            Some(FarScan { placed, .. }) => (placed.trees.clone(), placed.singles.clone(), placed.missing.clone()),
            // What a list of names contains is known only when rsync has read it.
            None if request.meaning.files_from.is_some() => (Vec::new(), Vec::new(), found.missing.clone()),
            None => {
                let (trees, singles) = found.split(request.config, relative);
                (trees, singles, found.missing.clone())
            }
        };
        if !request.meaning.recursive {
            // Without recursion, rsync enters no directories, so that there is nothing to scan.
            trees.clear();
        }
        let argument = |prefix: &[u8], name: &OsStr| OsString::from_vec([prefix, name.as_bytes()].concat());
        let of_trees = trees.iter().filter_map(|tree| Some(argument(&tree.prefix, tree.root.name.as_deref()?)));
        let of_singles = singles.iter().map(|single| argument(&single.prefix, &single.name));
        let named = of_trees.chain(of_singles).collect();
        Sources { trees, singles, missing, named }
    }
}

/// The command lines of launches.
fn recipe(
    request: &Request<'_>,
    base: PathBuf,
    sources: &Sources,
    far: Option<&FarScan>,
    checked: &Checked,
) -> Result<Recipe> {
    let Request { config, options, meaning, filters, .. } = request;
    let of_options = launches::recipe(&options.absolute_files(&config.cwd), meaning, filters, config)?;
    let is_unmarked = meaning.dry_run || request.prints() || aux_dirs::are_silent(options, meaning);
    Ok(Recipe {
        marks_changes: checked.watched_dest.is_none() && !is_unmarked,
        tells_end: !config.pulls() && !request.prints() && effects::tells_end(config, options, meaning),
        old_receiver: !config.destination.is_local() || !config.hosts.is_empty(),
        lists: checked.version >= TRUSTS_LISTS,
        unlock: request.locked.unlock,
        handles: match far {
            None => hold_sources(request, &base, sources),
            Some(far) => shown_as_typed(far),
        },
        base,
        far: far.map(|far| far.placed.source.clone()),
        destination: config.destination.as_argument(&config.cwd),
        ..of_options
    })
}

/// Holds open the directories that arguments are relative to, if that is allowed. Not for launches on hosts, where these directories are others.
fn hold_sources(request: &Request<'_>, base: &Path, sources: &Sources) -> Handles {
    let Request { config, meaning, filters, .. } = request;
    // For a per-directory rule file, rsync also looks in the directories above the source, following the path with which it is started (rsync(1),
    // "PER-DIRECTORY RULES").
    let may_hold = !meaning.per_dir_merge && filters.merge_files.is_empty();
    let trees = sources.trees.iter().map(|tree| &tree.prefix);
    let prefixes = trees.chain(sources.singles.iter().map(|single| &single.prefix));
    let bases = prefixes.map(|prefix| handle::base_of(base, prefix));
    Handles::of(bases, may_hold && config.hosts.is_empty() && !config.dry_run)
}

/// Holds nothing on this machine. If rsync prints a directory that is held on the other machine under another name, the user sees it as typed.
fn shown_as_typed(far: &FarScan) -> Handles {
    match far.hold.as_ref().filter(|hold| !hold.is_named_as_typed()) {
        Some(hold) => Handles::default().showing(hold.printed.clone()),
        None => Handles::default(),
    }
}

/// The rsync command that the user would run without multi-sync, and the same with options for figures, if any are needed.
fn one_rsync(request: &Request<'_>, recipe: &Recipe, rule: Option<&Rule>) -> (Invocation, Option<Invocation>) {
    let Request { config, options, meaning, .. } = request;
    let typed: Vec<OsString> = config.sources.iter().map(|source| source.original().to_owned()).collect();
    // If DEST is inside a source, an rsync that reads directories while it copies would copy some of its own copies.
    let nested = rule.is_some_and(|rule| rule.id == fallback::NESTED).then(|| "--no-inc-recursive".into());
    let ours: Vec<OsString> = nested.into_iter().chain(bandwidth::steady(meaning)).collect();
    let command = |options: Vec<OsString>, more: Vec<OsString>| {
        let words = [options, more, ours.clone()].concat();
        recipe.plain(config.cwd.clone(), &words, &typed, config.destination.original().to_owned())
    };
    let asked = asked::of(config).map(|more| command(options.argv(), more));
    (command(config.options.argv(), Vec::new()), asked)
}

/// The first line that a single rsync would print.
fn header(config: &Config, lists_first: bool) -> &'static str {
    match (lists_first, config.pulls()) {
        (true, false) => LISTED,
        (false, false) => SENDS_LISTS,
        (true, true) => RECEIVED,
        (false, true) => RECEIVES_LISTS,
    }
}

fn scan_threads(config: &Config, trees: &[SourceTree]) -> NonZero<usize> {
    match config.pulls() {
        true => far::THREADS,
        false => config.scan_threads.unwrap_or_else(|| scan::usual_threads(trees.iter().map(|tree| &tree.root))),
    }
}

/// Whether the rsyncs of a run have the rights of root.
fn runs_as_root(config: &Config) -> bool {
    config.workers.map_or_else(|| rustix::process::geteuid().is_root(), |workers| workers.are_root)
}

fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Puts the plan together from what was decided.
fn assemble(request: &Request<'_>, decision: Decision, checked: Checked, sources: Sources, recipe: Recipe) -> Plan {
    let Request { config, options, meaning, filters, .. } = request;
    let (plain, asked) = one_rsync(request, &recipe, decision.rule);
    let reason = decision.reason();
    let Decision { facts, rule, mut routes, early, mut far } = decision;
    let Checked { version, watched_dest } = checked;
    if version < TELLS_CHANGES {
        far.iter_mut().for_each(|far| far.up_to_date = None);
    }
    let shows = request.shows();
    let lists_first = effects::lists_first(options, meaning);
    Plan {
        strategy: reason.map_or(Strategy::Parallel, Strategy::Plain),
        scan_threads: scan_threads(config, &sources.trees),
        trees: sources.trees,
        singles: sources.singles,
        named: sources.named,
        missing: sources.missing,
        recipe,
        plain,
        asked,
        as_root: request.receiver.is_root(),
        version,
        route: (!routes.is_empty()).then(|| routes.remove(0)),
        other_routes: routes,
        early,
        far,
        keep_locked_whole: request.locked.keep_whole,
        merge_files: filters.merge_files.clone(),
        follow: effects::follow(meaning),
        unsafe_links_whole: request.unsafe_links_whole,
        prune: filters.prune.clone(),
        one_file_system: meaning.one_file_system,
        hard_links: meaning.hard_links,
        found_again: facts.sources.found_again,
        rooted: Rooted::new(config, meaning),
        // With `--fuzzy`, rsync looks at all names of a directory at DEST, including files that another rsync is writing.
        names_together: meaning.delay_updates || options.has(Opt::Fuzzy),
        is_dest_new: first::is_dest_new(config),
        first_pass: first::find(config, meaning, rule.is_some(), request.as_root),
        gitignore: config.gitignore,
        holds_names: !config.pulls() && !meaning.xattrs && !meaning.remove_source_files,
        deletes: meaning.delete,
        stop_after: effects::stop_after(meaning),
        stops_itself: matches!(meaning.stop, Some(Stop::At(_))),
        ignore_errors: meaning.ignore_errors,
        prints: request.prints(),
        keeps: Keeps::of(config, options, meaning).filter(|_| request.as_root && !config.pulls()),
        harm: Harm::of(options, meaning),
        repeatable: effects::is_repeatable(options, meaning),
        quiet: config.options.meaning().quiet,
        counts: shows.stats > 1 || meaning.dry_run,
        user_log: launches::user_log(meaning, config),
        header: (shows.list > 0).then(|| header(config, lists_first)),
        lists_first: lists_first && config.options.shows().list > 0,
        shows,
        watched_dest,
        inherits_nothing: request.as_root && effects::sets_all(meaning),
        sets_times_back: effects::sets_times_back(options, meaning),
        watches_names: folding::watches_names(config, meaning),
        goes_ahead: effects::goes_ahead(config, options, meaning),
        bwlimit: bandwidth::limit(meaning).ok().flatten(),
    }
}
