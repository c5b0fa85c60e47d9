//! The first pass of a launch: which of its units multi-sync may create itself, before rsync looks at all of them.
//!
//! Whether a unit is new is known from its split directory: that did not exist before this run, or had hardly any names. So nothing is asked about single
//! existing entries, and nothing at all about directories that hold many names.

use std::ffi::OsString;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::first_pass::{self, Group, Known, Made, Order, Watch};
use crate::handle;
use crate::plan::folding::Folding;
use crate::rsync::command::Recipe;

use super::context::Context;
use super::meter::Meter;
use super::spine::path_in_transfer;

/// How many names are one piece of work if there are several threads.
const TOGETHER: usize = 512;

impl Context {
    /// Checks whether split directories that are about to be created exist, and what they contain.
    pub(super) fn note_new(&self, range: Range<usize>) {
        let (Ok(_), Some(dest)) = (&self.plan.first_pass, self.local_dest()) else { return };
        let dirs = self.spine().dirs(range);
        for dir in dirs {
            let argument = dir.argument.unwrap_or_else(|| b".".to_vec());
            // Everything in a new directory is new.
            let is_new = split(&argument).is_some_and(|(above, name)| self.spine().is_new(above, name));
            let known = if is_new { Some(Known::default()) } else { Known::of(dest, path_in_transfer(&argument)) };
            if let Some(known) = known {
                self.spine().note_new(argument, known);
            }
        }
    }

    /// Creates split directories, if all of them are new. They get owner and mode now, and their other attributes at the end, which is necessary anyway after
    /// something was created in them. So no rsync has to be waited for before there is work. `of_dest`: DEST is one of them. `None` if rsync has to create
    /// them.
    pub(super) fn make_split(&self, range: Range<usize>, of_dest: bool) -> Option<Made> {
        self.plan.first_pass.as_ref().ok().filter(|makes| makes.split)?;
        let spine = self.spine();
        let mut groups = Vec::new();
        for dir in &spine.dirs(range) {
            if dir.mount_point || !spine.is_known(dir.argument.as_deref().unwrap_or(b".")) {
                return None;
            }
            let Some(argument) = &dir.argument else { continue };
            let (above, name) = split(argument)?;
            groups.push(group(&self.plan.recipe, above, vec![name.to_vec()]));
        }
        drop(spine);
        let of_dest = of_dest.then(|| group(&self.plan.recipe, b".", Vec::new()));
        first_pass::make_dirs(&self.order(groups, None)?, of_dest.as_ref())
    }

    /// The units of a launch that may be created, grouped by their directories.
    pub(super) fn to_make(&self, units: &[OsString]) -> Vec<Group> {
        if self.plan.first_pass.is_err() || !self.tells_names() {
            return Vec::new();
        }
        let spine = self.spine();
        let mut found: Vec<(&[u8], Vec<Vec<u8>>)> = Vec::new();
        for unit in units {
            let Some((above, name)) = split(unit.as_bytes()) else { continue };
            if !spine.is_new(above, name) {
                continue;
            }
            match found.last_mut() {
                Some((last, names)) if *last == above && (self.threads().get() == 1 || names.len() < TOGETHER) => {
                    names.push(name.to_vec());
                }
                _ => found.push((above, vec![name.to_vec()])),
            }
        }
        drop(spine);
        found.into_iter().map(|(above, names)| group(&self.plan.recipe, above, names)).collect()
    }

    /// Creates these units, but no more than `most` entries. `limit` is the share of the bandwidth in KiB a second.
    pub(super) fn make_first(&self, groups: Vec<Group>, most: u64, limit: Option<u64>, meter: Arc<Meter>) -> Made {
        let Some(order) = self.order(groups, limit) else { return Made::default() };
        let order = Order { most, ..order };
        first_pass::make(&order, &Looked { context: self, meter })
    }

    fn order(&self, groups: Vec<Group>, limit: Option<u64>) -> Option<Order> {
        let (Ok(makes), Some(dest)) = (&self.plan.first_pass, self.local_dest()) else { return None };
        Some(Order {
            makes: *makes,
            dest: dest.to_owned(),
            identity: self.dest_identity(),
            groups,
            most: u64::MAX,
            limit: limit.and_then(|kib| NonZero::new(kib.saturating_mul(1024))),
            threads: self.threads(),
        })
    }

    /// The number of threads of one launch. The threads are divided among as many launches as may run at once.
    fn threads(&self) -> NonZero<usize> {
        let all = self.config.first_pass_threads.unwrap_or(self.config.processes).get();
        NonZero::new(all / self.config.processes).unwrap_or(NonZero::<usize>::MIN)
    }

    /// Whether names that differ only in case or form are different names at DEST. If not, it would matter which of them is created first. Known as soon as
    /// something was created.
    fn tells_names(&self) -> bool {
        *self.tells_names.get_or_init(|| self.folding() == Folding::Tells)
    }
}

/// Connects the first pass with the run: ends and pauses with it, and informs the meter.
struct Looked<'a> {
    context: &'a Context,
    meter: Arc<Meter>,
}

impl Watch for Looked<'_> {
    fn goes_on(&self) -> bool {
        self.context.control.supervisor().goes_on()
    }

    fn made(&self, entries: u64, bytes: u64) {
        self.meter.made(entries, bytes);
    }
}

/// Splits an argument into the argument of its directory, and its name there.
fn split(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = argument.iter().rposition(|byte| *byte == b'/')?;
    let name = &argument[slash + 1..];
    (slash > 0 && !name.is_empty() && name != b"." && name != b"..").then_some((&argument[..slash], name))
}

/// Names in this split directory, with the place of the directory on both sides.
fn group(recipe: &Recipe, above: &[u8], names: Vec<Vec<u8>>) -> Group {
    let path = if above == b"." { &b""[..] } else { path_in_transfer(above) };
    let prefix = &above[..above.len() - path.len()];
    let first = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let held = [prefix, &path[..first]].concat();
    if !path.is_empty() && recipe.handles.is_held_source(&recipe.base, &held) {
        // A source that is held open is reached through a link that multi-sync has created.
        let base = recipe.local(&[&held, &b"/."[..]].concat());
        let source = path.get(first + 1..).unwrap_or_default().to_vec();
        return Group { base, source, dest: path.to_vec(), names };
    }
    let base = Path::new(std::ffi::OsStr::from_bytes(handle::base_of(&recipe.base, above)));
    Group { base: recipe.handles.dir(base), source: path.to_vec(), dest: path.to_vec(), names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_name_in_a_directory() {
        for (argument, expected) in [
            ("./a", Some((".", "a"))),
            ("./a/b", Some(("./a", "b"))),
            ("././s/a", Some(("././s", "a"))),
            ("/x/./s/a", Some(("/x/./s", "a"))),
            ("./", None),
            (".", None),
            ("/x", None),
        ] {
            let found = split(argument.as_bytes());
            assert_eq!(
                found,
                expected.map(|(above, name): (&str, &str)| (above.as_bytes(), name.as_bytes())),
                "{argument}"
            );
        }
    }
}
