//! What launches, the scan and questions share, in threads that may outlive the run: whatever they wait for may never come.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::bucket::{self, Bucket, BucketDir};
use crate::config::Config;
use crate::error::Result;
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

/// All that does not change in a run, and what is known of the split directories.
pub(super) struct Context {
    pub config: Config,
    pub plan: Plan,
    /// Where buckets are read and written; whoever owns the directory removes it.
    pub buckets: BucketDir,
    pub control: Control,
    /// What rsync's names stand for.
    pub naming: Naming,
    pub room: usize,
    spine: Mutex<SpineList>,
    /// Device and inode of a DEST on this machine.
    dest: Mutex<Option<(u64, u64)>>,
    /// Names that differ in case or form are different names at DEST.
    pub tells_names: OnceLock<bool>,
}

/// What was found that the user is told, and that decides about what comes.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub findings: Findings,
    /// Entries, and what became of them: told, and written down as something that could not be read.
    pub unread: Vec<Failed>,
    /// What is told.
    pub failed: Vec<Failed>,
    /// What was left out because its directory could not be made.
    pub failures: Vec<Failure>,
    /// There was such, and it is told now or was told before.
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

    /// What is known of the split directories. Nobody looks at a file system while it is locked.
    pub fn spine(&self) -> MutexGuard<'_, SpineList> {
        self.spine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// DEST, if it is on this machine.
    pub fn local_dest(&self) -> Option<&Path> {
        let local = self.config.destination.is_local() && self.config.hosts.is_empty();
        local.then(|| Path::new(&self.plan.recipe.destination))
    }

    /// The units of buckets, as rsync's arguments.
    pub fn units(&self, buckets: &[Bucket]) -> Result<Vec<OsString>> {
        let mut units = Vec::with_capacity(buckets.iter().map(|bucket| bucket.units as usize).sum());
        for bucket in buckets {
            let file = self.buckets.read(bucket)?;
            units.extend(bucket::arguments(&file).map(|unit| OsStr::from_bytes(unit).to_owned()));
        }
        Ok(units)
    }

    /// Those of the arguments whose split directories are still what was scanned. If another process put something else into the
    /// place of one, rsync would follow it out of the source: what is below is not copied, and is named. Of a directory that is gone rsync says
    /// so itself, and what the source does not have is deleted; a source that is gone is another matter.
    pub fn as_scanned(&self, mut arguments: Vec<OsString>, found: &mut Found) -> Vec<OsString> {
        let recipe = &self.plan.recipe;
        if recipe.far.is_some() {
            // On another machine nobody looks: the rsync there guards its lists as far as its version does (`docs/security.md`).
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
                    let text = "has another name now: what it held is copied, its own attributes are not set";
                    self.tell_changed(&path, text, found);
                }
            }
        }
        arguments
    }

    /// Whether nothing is there to be looked at by [`Context::as_scanned`]: all that is above these is what it was, by the same name.
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

    /// A part of the split directories without what was replaced, and what could not be made: something else may be in its place, and get its
    /// attributes. `None` if nothing is left of it.
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

    /// Whether DEST is still what it was, if it is on this machine. One rsync stays in the directory that it has entered; several would go on
    /// in another one, and each of the two would have a part.
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
        let keeps = now.is_some_and(|now| now == before || handle::renumbers(path));
        if !keeps && !std::mem::replace(&mut self.spine().dest_lost, true) {
            let destination = self.config.destination.original().to_owned();
            found.failed.push(Failed::DestinationMoved { destination });
        }
        found.findings.dest_lost |= !keeps;
        keeps
    }

    /// Takes note that a source on another machine is another directory now, which nothing is copied from.
    pub fn source_is_lost(&self, found: &mut Found) {
        found.findings.source_lost = true;
        if !std::mem::replace(&mut self.spine().source_lost, true) {
            let source = self.config.sources[0].original().to_owned();
            found.failed.push(Failed::SourceMoved { source });
        }
    }

    /// Device and inode of a DEST on this machine, once something was done there.
    pub fn dest_identity(&self) -> Option<(u64, u64)> {
        *self.dest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the destination reads names that differ in case or form only, as what was made there shows.
    pub fn folding(&self) -> Folding {
        let made: Vec<Vec<u8>> = self.spine().made().map(<[u8]>::to_vec).collect();
        if let Some(dest) = self.local_dest() {
            let shown = made.iter().find_map(|path| folding::of_name(&dest.join(OsStr::from_bytes(path))));
            // What does not show how it reads names is taken for one that folds them.
            return shown.unwrap_or_else(|| match folding::of(dest) {
                Folding::Tells => Folding::Tells,
                Folding::Folds | Folding::Unknown => Folding::Folds,
            });
        }
        // A directory that was made there, under a name that nobody has made.
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
