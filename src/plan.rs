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
mod make;
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

use std::ffi::OsString;
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::connection::{Connections, Route};
use crate::error::Result;
use crate::first_pass::Makes;
use crate::handle;
use crate::rsync::command::{Invocation, Recipe};
use crate::rsync::harm::Harm;
use crate::rsync::options::{Delete, Shows};
use crate::rsync::prune::Prune;
use crate::scan::{Follow, Root, Scan, Weight};
use crate::supervise::Supervisor;

pub use addresses::{check as check_addresses, leads_there_again};
pub use effects::Keeps;
pub use pull::{FarRoot, FarScan, Still};
pub use rooted::Rooted;

pub use crate::rsync::version::{OLDEST_RSYNC, TELLS_CHANGES, TRUSTS_LISTS, Version};

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
    /// The harm that a later launch would do if one breaks off. Then nothing is retried.
    pub harm: Option<Harm>,
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
    /// No entry gets a mode, an owner or a group from the directory in which it is created.
    pub inherits_nothing: bool,
    /// Copying into a directory changes its modification time, and no other attribute that rsync sets.
    pub sets_times_back: bool,
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
        make::make(config, supervisor)
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
