//! How a launch is prepared: its units are read, it is checked whether their directories are still those that were scanned, and the command line is built. This
//! accesses the source and a local DEST, so it may hang with either.

use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::first_pass::{Group, Made};
use crate::plan::SourceTree;
use crate::report::Failed;
use crate::rsync::command::{Copying, Invocation};
use crate::run_dir::failed::Failure;
use crate::sched::{MOST_LISTED, NotLaunched, Release, Start, Work};

use super::context::{Context, Found};
use super::created;
use super::said::{Said, Tells};
use super::spine::{Part, path_in_transfer};

/// A launch that can be started, or the reason why not.
pub(super) enum Prepared {
    /// The groups are the units that the first pass may create.
    Launch(Box<Invocation>, Tells, Names, Vec<Group>),
    /// The split directories were created without rsync.
    Made(Made),
    Not(NotLaunched),
}

/// What a launch copies, for users who want to see where it is: paths in the transfer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    /// The number of units.
    pub count: usize,
    pub first: Option<Vec<u8>>,
    /// The directory that contains all units, directly or further below.
    pub below: Vec<u8>,
}

impl Names {
    fn of(arguments: &[OsString]) -> Names {
        let mut paths = arguments.iter().map(|argument| path_in_transfer(argument.as_bytes()));
        let first = paths.next();
        let mut below = first.map_or(&b""[..], parent);
        for path in paths {
            while !(below.is_empty() || path.starts_with(below) && path.get(below.len()) == Some(&b'/')) {
                below = parent(below);
            }
        }
        Names { count: arguments.len(), first: first.map(<[u8]>::to_vec), below: below.to_vec() }
    }
}

impl Context {
    /// Prepares a launch. If lines are printed, `said` remembers the directories that it creates.
    ///
    /// # Errors
    /// Its units cannot be read, or cannot be passed to rsync, so that the run cannot continue.
    pub fn prepare(&self, start: &Start, said: &Said, found: &mut Found) -> Result<Prepared> {
        if !self.keeps_dest(found) {
            return Ok(Prepared::Not(NotLaunched::Stopped));
        }
        let recipe = &self.plan.recipe;
        let nothing_left = |told| Ok(Prepared::Not(NotLaunched::NothingLeft { told }));
        let launch = |invocation, tells, names| Ok(Prepared::Launch(Box::new(invocation), tells, names, Vec::new()));
        match &start.work {
            Work::Create(part) => Ok(self.creation(part.clone(), said)),
            Work::Copy(buckets) => {
                let how = start.how.unwrap_or_default();
                let units = match start.ahead {
                    true => Some(self.units(buckets)?),
                    false => self.launchable(&start.work, found)?,
                };
                let Some(units) = units else { return nothing_left(is_told(found)) };
                if self.goes_alone(&units, how) {
                    return Ok(Prepared::Not(NotLaunched::Alone));
                }
                let names = Names::of(&units);
                let to_make = if start.ahead { Vec::new() } else { self.to_make(&units) };
                let invocation = recipe.buckets(units, how, self.room);
                if start.ahead && invocation.input.is_empty() {
                    return Ok(Prepared::Not(NotLaunched::NoList));
                }
                Ok(Prepared::Launch(Box::new(invocation), self.tells_copying(how), names, to_make))
            }
            Work::Repair(_) => {
                let how = start.how.unwrap_or_default();
                let Some(units) = self.launchable(&start.work, found)? else { return nothing_left(is_told(found)) };
                let names = Names::of(&units);
                launch(recipe.buckets(units, how, self.room), Tells::NoDirs, names)
            }
            Work::Clean(buckets) => {
                let Some(units) = self.launchable(&start.work, found)? else { return nothing_left(is_told(found)) };
                let blocked = self.spine().blocked.clone();
                let names = Names::of(&units);
                launch(recipe.clean(units, &blocked, exposed(buckets), self.room), Tells::Deletions, names)
            }
            Work::Remove(buckets) => {
                let Some(units) = self.launchable(&start.work, found)? else { return nothing_left(is_told(found)) };
                let names = Names::of(&units);
                launch(recipe.remove(units, exposed(buckets), self.room), Tells::All, names)
            }
            Work::Delete(part) => {
                let part = self.spine().part(part.clone(), false);
                // Whatever is left out was reported, or is a mount point.
                let Some(part) = self.part_as_scanned(part, found) else { return nothing_left(true) };
                // Names that other sources copy to DEST must not be deleted.
                let mut others = if part.dest { self.plan.named.clone() } else { Vec::new() };
                others.retain(|name| !part.arguments.contains(name));
                let blocked = self.spine().blocked.clone();
                let names = Names::of(&part.arguments);
                let deletion = recipe.delete(part.dest, part.arguments, others, &blocked, part.exposed, self.room);
                launch(deletion, Tells::Deletions, names)
            }
            Work::Attributes(part) => {
                if start.looks_first && self.are_as_created(part.clone()) {
                    return Ok(Prepared::Not(NotLaunched::AsCreated));
                }
                let part = self.spine().part(part.clone(), true);
                let part = if start.ahead { Some(part) } else { self.part_as_scanned(part, found) };
                // The reason was already reported.
                let Some(part) = part else { return nothing_left(true) };
                let invocation = self.attributes(&part, start.ahead);
                let listed = !invocation.input.is_empty() && invocation.input.len() <= MOST_LISTED;
                if start.ahead && !listed {
                    return Ok(Prepared::Not(NotLaunched::NoList));
                }
                launch(invocation, Tells::New, Names::of(&part.arguments))
            }
            Work::Everything => {
                let invocation = self.asked(start).unwrap_or(&self.plan.plain);
                // If other launches have begun, their work is finished in the same source directory.
                let far = recipe.far.as_ref().filter(|_| self.spine().dest_made);
                let invocation = far.map_or_else(|| invocation.clone(), |far| far.held(invocation));
                launch(invocation, Tells::All, Names::default())
            }
        }
    }

    /// Prepares a launch again after its first pass, which may have taken long. `None` if the first preparation is still right.
    ///
    /// # Errors
    /// As [`Context::prepare`].
    pub fn prepare_again(&self, start: &Start, said: &Said, found: &mut Found) -> Result<Option<Prepared>> {
        if !self.keeps_dest(found) {
            return Ok(Some(Prepared::Not(NotLaunched::Stopped)));
        }
        let units = self.units(start.work.buckets())?;
        match self.is_as_scanned(&units) {
            true => Ok(None),
            false => self.prepare(start, said, found).map(Some),
        }
    }

    /// The one rsync for everything, with options for the figures that multi-sync needs; `None` if it runs as typed.
    pub fn asked(&self, start: &Start) -> Option<&Invocation> {
        // A server that refuses something may refuse these options, too.
        self.plan.asked.as_ref().filter(|_| !start.ordinary || self.config.verify_only)
    }

    /// The names for a launch that waits for them. They are refused if the launch would have other options now.
    ///
    /// # Errors
    /// As [`Context::prepare`].
    pub fn names(
        &self,
        work: &Work,
        how: Option<Copying>,
        arguments: &[OsString],
        found: &mut Found,
    ) -> Result<std::result::Result<Vec<u8>, Release>> {
        if !self.keeps_dest(found) {
            return Ok(Err(Release::Otherwise));
        }
        let invocation = match work {
            Work::Attributes(part) => {
                let part = self.spine().part(part.clone(), true);
                let Some(part) = self.part_as_scanned(part, found) else {
                    return Ok(Err(Release::NothingLeft { told: true }));
                };
                self.attributes(&part, true)
            }
            _ => {
                let Some(units) = self.launchable(work, found)? else {
                    return Ok(Err(Release::NothingLeft { told: is_told(found) }));
                };
                self.plan.recipe.buckets(units, how.unwrap_or_default(), self.room)
            }
        };
        let same = invocation.arguments == arguments && !invocation.input.is_empty();
        Ok(if same { Ok(invocation.input.to_vec()) } else { Err(Release::Otherwise) })
    }

    /// Prepares to create split directories, unless they exist already as rsync would create them.
    fn creation(&self, range: Range<usize>, said: &Said) -> Prepared {
        self.note_new(range.clone());
        if let Some(stands) = self.stands(range.clone()) {
            return Prepared::Not(stands);
        }
        let spine = self.spine();
        let mut part = spine.part(range.clone(), true);
        part.arguments.retain(|argument| !spine.is_unmade(argument.as_bytes()));
        let dest_made = spine.dest_made;
        drop(spine);
        let first = || {
            let of_tree = self.plan.trees.first().map(|tree| &tree.prefix[..]);
            of_tree.or(self.plan.singles.first().map(|single| &single.prefix[..]))
        };
        // DEST belongs to the source that fills it. If an entry of another source, which the scan may find first, created DEST, it would have the wrong mode.
        let fills_dest = |tree: &SourceTree| tree.root.name.is_none() && tree.prefix == b"./" && tree.above.is_empty();
        let of_dest = part.dest || !dest_made && self.plan.trees.iter().any(fills_dest);
        if (part.dest || !of_dest)
            && let Some(made) = self.make_split(range.clone(), part.dest)
        {
            self.made(range, false);
            return Prepared::Made(made);
        }
        let dest = if of_dest {
            Some(&b"./"[..])
        } else if part.arguments.is_empty() {
            first()
        } else {
            None
        };
        if self.plan.prints {
            let above = of_dest.then(|| b".".to_vec());
            let made = part.arguments.iter().map(|argument| path_in_transfer(argument.as_bytes()).to_vec());
            said.note_spine(above.into_iter().chain(made));
        }
        let names = Names::of(&part.arguments);
        let invocation = self.plan.recipe.create(dest, part.arguments, part.exposed);
        Prepared::Launch(Box::new(invocation), Tells::AllAndRemember, names, Vec::new())
    }

    /// Checks whether split directories exist at DEST as rsync would create them, and remembers their times. In most runs that find little to do, they exist.
    fn stands(&self, range: Range<usize>) -> Option<NotLaunched> {
        let (dest, keeps) = self.plan.watched_dest.as_deref().zip(self.plan.keeps).filter(|_| !range.is_empty())?;
        let dirs = self.spine().dirs(range.clone());
        let other_times = super::spine::stand(&dirs, &self.plan.recipe, dest, keeps)?;
        let differ = !other_times.is_empty();
        self.spine().other_times.extend(other_times);
        self.made(range, true);
        Some(NotLaunched::Stands { other_times: differ })
    }

    /// Records that split directories exist at the destination, and, if all went `well`, what they are.
    pub fn made(&self, range: Range<usize>, well: bool) {
        let dirs = self.spine().dirs(range.clone());
        let dest = self.plan.watched_dest.as_deref().filter(|_| well);
        let noted = dest.map(|dest| created::look(&dirs, dest));
        self.spine().note_made(range, noted);
    }

    /// Whether these split directories have the attributes with which they were created, because nothing was written into them, or because only their times had
    /// changed and are set back now.
    fn are_as_created(&self, range: Range<usize>) -> bool {
        let Some(dest) = self.plan.watched_dest.as_deref() else { return false };
        let spine = self.spine();
        let (dirs, noted) = (spine.dirs(range.clone()), spine.noted(range));
        drop(spine);
        let sets_back = self.plan.sets_times_back;
        noted.is_some_and(|noted| {
            created::are_unchanged(&dirs, &noted, dest) || sets_back && created::set_back(&dirs, &noted, dest)
        })
    }

    /// The units of a launch, except those that must not be copied because the source has changed, and those whose directory could not be created. `None` if
    /// none is left.
    fn launchable(&self, work: &Work, found: &mut Found) -> Result<Option<Vec<OsString>>> {
        let buckets = work.buckets();
        let units = self.units(buckets)?;
        if !self.plan.recipe.can_hand_over(&units, self.room) {
            let count = units.len();
            return Err(Error::usage(format!(
                "{count} names have to be given to one rsync, which are more than a process can take, and one of them contains a line break"
            ))
            .remedy("give filter rules on the command line instead of in files"));
        }
        let all = units.len();
        let mut units = self.as_scanned(units, found);
        let spine = self.spine();
        let unmade: Vec<OsString> = units.extract_if(.., |unit| spine.is_unmade(unit.as_bytes())).collect();
        drop(spine);
        if units.len() < all {
            self.note_cut(work, &units, &unmade, found)?;
        }
        Ok((!units.is_empty()).then_some(units))
    }

    /// Reports units that are not launched because a directory above them could not be created, and remembers the buckets that lack units.
    fn note_cut(&self, work: &Work, left: &[OsString], unmade: &[OsString], found: &mut Found) -> Result<()> {
        let left: HashSet<&OsString> = left.iter().collect();
        for bucket in work.buckets() {
            if self.units(&[*bucket])?.iter().any(|unit| !left.contains(unit)) {
                found.findings.cut.push(bucket.id);
            }
        }
        if unmade.is_empty() {
            return Ok(());
        }
        found.is_unmade = true;
        if !matches!(work, Work::Copy(_) | Work::Repair(_)) {
            return Ok(());
        }
        found.findings.partial = true;
        found.failed.push(Failed::NoDirectory { names: unmade.len(), first: unmade[0].clone() });
        found.failures.extend(unmade.iter().map(|unit| Failure {
            name: self.naming.of_argument(unit.as_bytes()),
            said: b"the directory that holds it could not be created".to_vec(),
        }));
        Ok(())
    }

    /// Whether this launch could lock out others: it copies a directory without `u+w`, or has to make one writable, and locks it again at its end.
    fn goes_alone(&self, units: &[OsString], how: Copying) -> bool {
        let recipe = &self.plan.recipe;
        let may_lock = !self.plan.as_root && (recipe.may_bring_dirs(how) || !recipe.unlock);
        may_lock && !recipe.dry_run && self.spine().is_below_locked(units)
    }

    /// What is printed of a launch. It may meet the directories above its units again: in a dry run, or if they are part of its transfer.
    fn tells_copying(&self, how: Copying) -> Tells {
        match self.plan.recipe.dry_run {
            true => Tells::New,
            false if self.plan.recipe.may_bring_dirs(how) => Tells::NotSpine,
            false => Tells::All,
        }
    }

    fn attributes(&self, part: &Part, listed: bool) -> Invocation {
        let dest = part.dest.then_some(&b"./"[..]);
        self.plan.recipe.attributes(dest, part.arguments.clone(), part.exposed, listed)
    }
}

fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

fn exposed(buckets: &[Bucket]) -> bool {
    buckets.first().is_some_and(|bucket| bucket.exposed)
}

/// Whether the user knows why nothing is left, because some units were left out for a reason that was reported.
fn is_told(found: &Found) -> bool {
    found.is_unmade || found.findings.partial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_in_the_directory_that_all_its_units_are_in() {
        let of = |arguments: &[&str]| {
            let Names { count, first, below } = Names::of(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
            (count, String::from_utf8(first.unwrap_or_default()).unwrap(), String::from_utf8(below).unwrap())
        };
        let told = |count, first: &str, below: &str| (count, first.to_owned(), below.to_owned());
        assert_eq!(of(&["./a/b/c", "./a/b/d", "./a/bc/d"]), told(3, "a/b/c", "a"));
        assert_eq!(of(&["./a/b", "./c"]), told(2, "a/b", ""));
        assert_eq!(of(&["/x/./a/b", "/x/./a/b/c"]), told(2, "a/b", "a"));
        assert_eq!(of(&["./a"]), told(1, "a", ""));
        assert_eq!(of(&[]), told(0, "", ""));
    }
}
