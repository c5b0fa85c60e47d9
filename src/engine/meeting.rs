//! Names in one split directory that the destination may take for one. One rsync goes through them one after the other; of several, each
//! would delete what the other has copied, and in the end both would be gone. So where such names meet the destination is asked how it reads
//! them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use crate::entry::Printable;
use crate::error::Result;
use crate::journal::Record;
use crate::names::{fold, swapped};
use crate::plan::folding::{self, Folding};
use crate::preflight;
use crate::report::{Event, Note};
use crate::rsync::exit;
use crate::shell;

use super::Run;

/// All names in split directories, as they may be read.
#[derive(Default)]
pub(super) struct Meeting {
    state: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Meeting {
    /// Takes names of a directory of the transfer; gives the first that may be one with another, which is told apart by case or form only.
    pub fn take<'n>(&self, dir: &[u8], names: impl Iterator<Item = &'n [u8]>) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let met = names.filter(|name| !seen.insert(self.state.hash_one((dir, fold(name)))));
        // All of them are to be seen.
        met.map(|name| Printable::bytes(&[dir, b"/", name].concat()).to_string()).reduce(|first, _| first)
    }
}

/// What is said of names that are one at the destination, and read again when a run goes on.
pub(super) const MEETS: &str = "is one name with another at the destination: nothing is deleted there";

impl Run<'_, '_> {
    /// Looks whether names that met are one at the destination. Why one rsync has to do it, if that is so and nothing is deleted, or cannot be
    /// told. With deletion even one rsync may delete what it has copied under the other name (3.5.0 with `--delete-after` leaves
    /// nothing at all, and ends with 0): then nothing is deleted, and that is said.
    pub(super) fn meets_there(&mut self) -> Result<Option<&'static str>> {
        let Some(name) = self.met.take() else { return Ok(None) };
        match self.folding() {
            Folding::Tells => return Ok(None),
            Folding::Folds if self.plan.deletes.is_some() => {
                self.keeps_names(&name)?;
                return Ok(None);
            }
            Folding::Folds | Folding::Unknown => {}
        }
        if self.config.tells_how {
            (self.tell)(Event::Note(Note::NamesMeet { name: name.to_string() }));
        }
        Ok(Some(
            "names of the source differ in case only, or in the form of a letter, and may be one name at the destination",
        ))
    }

    /// The same when all was copied, and deletion is to come.
    pub(super) fn keeps_what_meets(&mut self) -> Result<bool> {
        if let Some(name) = self.met.take()
            && self.folding() != Folding::Tells
        {
            self.keeps_names(&name)?;
        }
        Ok(self.names_meet)
    }

    fn keeps_names(&mut self, name: &str) -> Result<()> {
        self.names_meet = true;
        let text = format!("{name} {MEETS}");
        self.record(&Record::Unread { text: text.clone(), vanished: false, in_unit: false })?;
        self.note_unread(text, false);
        Ok(())
    }

    fn folding(&self) -> Folding {
        if self.config.destination.is_local() && self.config.hosts.is_empty() {
            let dest = Path::new(&self.plan.recipe.destination);
            let made = self.spine.made().filter_map(|path| folding::of_name(&dest.join(OsStr::from_bytes(path))));
            // What does not show how it reads names is taken for one that folds them.
            return made.into_iter().next().unwrap_or_else(|| match folding::of(dest) {
                Folding::Tells => Folding::Tells,
                Folding::Folds | Folding::Unknown => Folding::Folds,
            });
        }
        // A directory that was made there, under a name that nobody has made.
        let plain = |path: &[u8]| path.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(byte));
        let mut asked = self.spine.made().filter(|path| plain(path)).filter_map(|path| {
            let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            let other = [&path[..at], &swapped(&path[at..])?].concat();
            let taken = self.plan.recipe.base.join(OsStr::from_bytes(&other)).symlink_metadata().is_ok();
            (!taken).then_some(other)
        });
        let Some(other) = asked.next() else { return Folding::Unknown };
        let question = preflight::listing(self.config, OsStr::from_bytes(&other));
        let question = match self.config.hosts.first() {
            Some(host) => self.config.ssh.run(host, None, shell::script(&question)),
            None => question,
        };
        let mut missing = false;
        let ended = self.control.supervisor.run(&question, &mut |_, line| {
            missing |= line.ends_with(b"failed: No such file or directory (2)");
        });
        match ended.map(|ended| ended.code()) {
            Ok(exit::OK) => Folding::Folds,
            Ok(exit::PARTIAL) if missing => Folding::Tells,
            _ => Folding::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_meet_in_one_directory_only() {
        let meeting = Meeting::default();
        let take = |dir: &str, names: &[&str]| meeting.take(dir.as_bytes(), names.iter().map(|name| name.as_bytes()));
        assert_eq!(take("d", &["Foo", "bar"]), None);
        assert_eq!(take("e", &["foo"]), None);
        assert_eq!(take("d", &["baz", "foo"]), Some("d/foo".to_owned()));
        assert_eq!(take("d", &["BAZ"]), Some("d/BAZ".to_owned()));
    }
}
