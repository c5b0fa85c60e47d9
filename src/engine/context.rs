//! What launches, the scan and questions share. They run in threads that may outlive the run, because whatever they wait for may never answer.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::bucket::{self, Bucket, BucketDir};
use crate::config::Config;
use crate::error::Result;
use crate::file_system;
use crate::handle;
use crate::names::swapped;
use crate::plan::Plan;
use crate::plan::folding::{self, Folding};
use crate::preflight;
use crate::report::Failed;
use crate::rsync::exit;
use crate::run_dir::failed::Failure;
use crate::sched::Findings;
use crate::shell;

use super::Control;
use super::naming::Naming;
use super::spine::{Change, Changed, Part, SpineList, change_of, is_in};

/// Everything that does not change during a run, and what is known of the split directories.
pub(super) struct Context {
    pub config: Config,
    pub plan: Plan,
    /// Where the bucket files are. The owner of the directory removes it.
    pub buckets: BucketDir,
    pub control: Control,
    /// Translates the names in rsync's messages.
    pub naming: Naming,
    pub room: usize,
    spine: Mutex<SpineList>,
    /// Device and inode of a local DEST.
    dest: Mutex<Option<(u64, u64)>>,
    /// Whether names that differ only in case or form are different names at DEST.
    pub tells_names: OnceLock<bool>,
}

/// Findings that are reported to the user, and that influence the rest of the run.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub findings: Findings,
    /// Entries that are reported, and recorded as unreadable.
    pub unread: Vec<Failed>,
    /// Failures that are only reported.
    pub failed: Vec<Failed>,
    /// Units that were left out because their directory could not be created.
    pub failures: Vec<Failure>,
    /// Such units were found, and are reported now or were reported before.
    pub is_unmade: bool,
}

impl Context {
    pub fn new(config: &Config, plan: Plan, buckets: &BucketDir, control: &Control) -> Context {
        Context {
            config: config.clone(),
            buckets: buckets.shared(),
            control: control.clone(),
            naming: Naming::new(config, &plan),
            room: plan.recipe.argument_room(),
            spine: Mutex::default(),
            dest: Mutex::default(),
            tells_names: OnceLock::new(),
            plan,
        }
    }

    /// What is known of the split directories. No thread accesses a file system while it holds this lock.
    pub fn spine(&self) -> MutexGuard<'_, SpineList> {
        self.spine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of DEST, if it is on this machine.
    pub fn local_dest(&self) -> Option<&Path> {
        let local = self.config.destination.is_local() && self.config.hosts.is_empty();
        local.then(|| Path::new(&self.plan.recipe.destination))
    }

    /// The units of these buckets, as arguments of rsync.
    pub fn units(&self, buckets: &[Bucket]) -> Result<Vec<OsString>> {
        let mut units = Vec::with_capacity(buckets.iter().map(|bucket| bucket.units as usize).sum());
        for bucket in buckets {
            let file = self.buckets.read(bucket)?;
            units.extend(bucket::arguments(&file).map(|unit| OsStr::from_bytes(unit).to_owned()));
        }
        Ok(units)
    }

    /// Returns the arguments whose split directories are still those that were scanned. If another process has replaced such a directory, rsync might follow
    /// the new one out of the source, so that the arguments below it are left out and the user is told. If a split directory has vanished, rsync itself reports
    /// that, and deletes accordingly; only a vanished source is treated like a replaced one.
    pub fn as_scanned(&self, mut arguments: Vec<OsString>, found: &mut Found) -> Vec<OsString> {
        let recipe = &self.plan.recipe;
        if recipe.far.is_some() {
            // On another machine this is not checked: the rsync there protects its lists as far as its version can (`docs/security.md`).
            return arguments;
        }
        let lost: Vec<Vec<u8>> = recipe.handles.lost().map(<[u8]>::to_vec).collect();
        for base in lost {
            arguments.retain(|argument| handle::base_of(&recipe.base, argument.as_bytes()) != base);
            found.findings.sender_failed = true;
            self.tell_changed(&base, "is no longer what it was when multi-sync began: copy it again", found);
        }
        let above = self.spine().above(&arguments);
        let changed = above
            .into_iter()
            .filter_map(|(path, identity)| change_of(recipe, &path, identity).map(|how| Changed { path, how }));
        for Changed { path, how } in changed {
            let is_below = |argument: &OsString| is_in(argument.as_bytes(), &path);
            match how {
                Change::Gone if !self.is_source(&path) => {}
                Change::Gone | Change::Replaced => {
                    arguments.retain(|argument| !is_below(argument));
                    found.findings.sender_failed = true;
                    self.tell_changed(&path, "was replaced while multi-sync ran: copy it again", found);
                }
                Change::NameOnly => {
                    arguments.retain(|argument| argument.as_bytes() != path);
                    let text = "has another name now: its content was copied, but its own attributes were not set";
                    self.tell_changed(&path, text, found);
                }
            }
        }
        arguments
    }

    /// Whether [`Context::as_scanned`] would find nothing: all directories above these arguments are the same, and have the same names.
    pub fn is_as_scanned(&self, arguments: &[OsString]) -> bool {
        let recipe = &self.plan.recipe;
        let above = self.spine().above(arguments);
        recipe.handles.lost().next().is_none()
            && above.iter().all(|(path, identity)| change_of(recipe, path, *identity).is_none())
    }

    fn tell_changed(&self, path: &[u8], what: &str, found: &mut Found) {
        found.findings.partial = true;
        if self.spine().is_news(path) {
            found.unread.push(Failed::Name { name: path.to_vec(), what: what.to_owned() });
        }
    }

    fn is_source(&self, argument: &[u8]) -> bool {
        self.plan.trees.iter().any(|tree| {
            let name = tree.root.name.as_ref().map_or(&b""[..], |name| name.as_bytes());
            argument.strip_suffix(name).is_some_and(|prefix| prefix == tree.prefix)
        })
    }

    /// A part of the split directories, without those that were replaced or could not be created: otherwise something else in their place might get their
    /// attributes. `None` if nothing is left of the part.
    pub fn part_as_scanned(&self, mut part: Part, found: &mut Found) -> Option<Part> {
        const BASE: &str = ".";
        if part.dest {
            part.arguments.insert(0, BASE.into());
        }
        part.arguments = self.as_scanned(part.arguments, found);
        let spine = self.spine();
        part.arguments.retain(|argument| !spine.is_unmade(argument.as_bytes()));
        drop(spine);
        part.dest &= part.arguments.first().is_some_and(|first| first == BASE);
        if part.dest {
            part.arguments.remove(0);
        }
        (part.dest || !part.arguments.is_empty()).then_some(part)
    }

    /// Whether a local DEST is still the same directory. One rsync stays in the directory that it has entered, but later rsyncs would continue in another one,
    /// and each directory would have a part.
    pub fn keeps_dest(&self, found: &mut Found) -> bool {
        let Some(path) = self.local_dest().filter(|_| !self.config.dry_run && !self.plan.recipe.dry_run) else {
            return true;
        };
        let now = handle::identity(path);
        let before = {
            let mut dest = self.dest.lock().unwrap_or_else(PoisonError::into_inner);
            match *dest {
                Some(before) => before,
                None => {
                    *dest = now;
                    return true;
                }
            }
        };
        let keeps = now.is_some_and(|now| now == before || file_system::renumbers(path));
        if !keeps && !std::mem::replace(&mut self.spine().dest_lost, true) {
            let destination = self.config.destination.original().to_owned();
            found.failed.push(Failed::DestinationMoved { destination });
        }
        found.findings.dest_lost |= !keeps;
        keeps
    }

    /// Records that a source on another machine is another directory now. Nothing more is copied from it.
    pub fn source_is_lost(&self, found: &mut Found) {
        found.findings.source_lost = true;
        if !std::mem::replace(&mut self.spine().source_lost, true) {
            let source = self.config.sources[0].original().to_owned();
            found.failed.push(Failed::SourceMoved { source });
        }
    }

    /// Device and inode of a local DEST, as soon as something was done there.
    pub fn dest_identity(&self) -> Option<(u64, u64)> {
        *self.dest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the destination distinguishes names that differ only in case or form. Found by looking at directories that were created there.
    pub fn folding(&self) -> Folding {
        let made: Vec<Vec<u8>> = self.spine().made().map(<[u8]>::to_vec).collect();
        if let Some(dest) = self.local_dest() {
            let shown = made.iter().find_map(|path| folding::of_name(&dest.join(OsStr::from_bytes(path))));
            // If the test shows nothing, the names are assumed not to be distinguished.
            return shown.unwrap_or_else(|| match folding::of(dest) {
                Folding::Tells => Folding::Tells,
                Folding::Folds | Folding::Unknown => Folding::Folds,
            });
        }
        // A directory that was created at the destination is asked for with the case of its name swapped, provided that the source has no such name.
        let plain = |path: &[u8]| path.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(byte));
        let mut asked = made.iter().filter(|path| plain(path)).filter_map(|path| {
            let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            let other = [&path[..at], &swapped(&path[at..])?].concat();
            let taken = self.plan.recipe.base.join(OsStr::from_bytes(&other)).symlink_metadata().is_ok();
            (!taken).then_some(other)
        });
        let Some(other) = asked.next() else { return Folding::Unknown };
        let question = preflight::listing(&self.config, OsStr::from_bytes(&other));
        let mut missing = false;
        let mut hear = |_, line: &[u8]| missing |= line.ends_with(b"failed: No such file or directory (2)");
        let supervisor = self.control.supervisor();
        let ended = match self.config.hosts.first() {
            Some(host) => self.config.agents.run(supervisor, host, &shell::body(&question), None, &mut hear),
            None => supervisor.run(&question, &mut hear),
        };
        match ended.map(|ended| ended.code()) {
            Ok(exit::OK) => Folding::Folds,
            Ok(exit::PARTIAL) if missing => Folding::Tells,
            _ => Folding::Unknown,
        }
    }
}
