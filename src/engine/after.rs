//! The look after a launch has ended: which entries its messages are about, whether what it missed has vanished, and whether the source and DEST are still the
//! same. It accesses both, so it may hang with either.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

use crate::entry::Printable;
use crate::rsync::exit;
use crate::rsync::messages::{self, About};
use crate::rsync::output::Transcript;
use crate::run_dir::failed::Failure;
use crate::run_dir::journal::Place;
use crate::sched::{Symptoms, Work};

use super::context::{Context, Found};
use super::failures::Failures;
use super::resume;
use super::spine::path_in_transfer;

/// What a launch has printed.
pub(super) struct Heard {
    /// The exit code, if rsync was started.
    pub code: Option<u8>,
    pub transcript: Transcript,
    /// The first complaint that was held back.
    pub complaint: Option<Vec<u8>>,
    /// Complaints that name an entry.
    pub named: Failures,
    pub out_of_reach: bool,
    pub source_lost: bool,
}

/// What the look found.
#[derive(Default)]
pub(super) struct After {
    pub found: Found,
    pub said: Symptoms,
    /// What the launch failed to do.
    pub failures: Failures,
    /// Split directories that could not be created, by their paths in the transfer.
    pub unmade: Vec<Vec<u8>>,
    /// Directories that are blocked by something in their place that could not be deleted.
    pub blocked: Vec<Vec<u8>>,
    /// The directories above the units, if entries are counted.
    pub above: BTreeSet<Vec<u8>>,
    /// How many of them a dry run would create.
    pub missing: u64,
    /// The identity of DEST.
    pub dest: Option<Place>,
}

impl Context {
    /// Looks at the source and at DEST after a launch.
    pub fn look_after(&self, work: &Work, heard: Heard) -> After {
        let mut after = After { said: self.said(work, &heard), ..After::default() };
        if heard.source_lost {
            self.source_is_lost(&mut after.found);
        }
        let Some(code) = heard.code else { return after };
        let messages = || heard.named.first().iter().filter_map(|failure| messages::read(&failure.said));
        let blocked = messages().filter(|message| message.about == About::Blocked);
        after.blocked = blocked.flat_map(|message| message.names()).map(|name| name.bytes).collect();
        if let Work::Create(part) = work {
            // Whatever blocks a directory also prevents its contents from being copied.
            let unmade = messages().filter_map(|message| self.naming.unmade(&message));
            after.unmade = unmade.chain(after.blocked.iter().cloned()).collect();
            if exit::is_settled(code) {
                self.made(part.clone(), code == exit::OK);
            }
        }
        let settled = exit::is_settled(code);
        if settled && !work.is_everything() {
            self.keeps_dest(&mut after.found);
        }
        // After a launch that only created directories, the source is not checked here: each launch that uses the directories checks it first, and a directory
        // that hangs must not hold up all others.
        if settled && !work.is_everything() && !matches!(work, Work::Create(_)) {
            let arguments = self.arguments(work);
            self.as_scanned(arguments, &mut after.found);
        }
        if settled && matches!(work, Work::Copy(_) | Work::Repair(_)) {
            after.dest = self.local_dest().and_then(resume::place);
            if self.plan.counts {
                after.above = above(&self.arguments(work));
                after.missing = if self.plan.recipe.dry_run { self.missing(&after.above) } else { 0 };
            }
        }
        if code == exit::PARTIAL || after.said.skipped {
            after.failures = self.failures(heard.named);
        }
        after
    }

    fn said(&self, work: &Work, heard: &Heard) -> Symptoms {
        let transcript = &heard.transcript;
        // Times that were wrong before do not count as tried in vain, because they still have to be set.
        let times_in_vain = transcript.only_times() && !self.names_other_times(&heard.named);
        let gone = heard.code == Some(exit::PARTIAL)
            && transcript.only_missing().is_some_and(|count| self.are_gone(work, count));
        Symptoms {
            no_files: transcript.had_no_files(),
            changes: transcript.has_changes(),
            no_place: transcript.found_no_place(),
            out_of_reach: heard.out_of_reach,
            refused: transcript.is_refused(),
            complaint: heard.complaint.as_ref().map(|line| Printable::bytes(line).to_string()),
            denied: transcript.receiver_denied(),
            otherwise: transcript.complained_otherwise(),
            transient: transcript.may_pass(),
            gone,
            times_in_vain,
            skipped: transcript.skipped(),
            only_below_files: transcript.only_below_files(),
            only_below_loops: transcript.only_below_loops(),
            list_failed: transcript.list_failed(),
            file_failed: transcript.file_failed(),
            lost_list: transcript.lost_list(),
            lost_parent: transcript.lost_parent(),
            lost_count: transcript.lost_count(),
            unanswered: transcript.is_unanswered(),
        }
    }

    /// The arguments of a launch.
    fn arguments(&self, work: &Work) -> Vec<OsString> {
        match work {
            Work::Create(part) | Work::Delete(part) | Work::Attributes(part) => {
                self.spine().part(part.clone(), true).arguments
            }
            // If a bucket file can no longer be read, the run ends when it is needed the next time.
            _ => self.units(work.buckets()).unwrap_or_default(),
        }
    }

    /// Whether at least `count` units of a launch have vanished from the source.
    fn are_gone(&self, work: &Work, count: u64) -> bool {
        if work.is_everything() {
            return false;
        }
        if self.plan.recipe.far.is_some() {
            // The scan has seen these units, and rsync no longer finds them.
            return true;
        }
        let gone = |unit: &&OsString| {
            let missing = [ErrorKind::NotFound, ErrorKind::NotADirectory];
            let looked = fs::symlink_metadata(self.plan.recipe.local(unit.as_bytes()));
            looked.is_err_and(|error| missing.contains(&error.kind()))
        };
        self.arguments(work).iter().filter(gone).count() as u64 >= count
    }

    /// Whether one of these complaints may be about a directory that had a wrong time before. True if not all of them are in memory.
    fn names_other_times(&self, named: &Failures) -> bool {
        let others = self.spine().other_times.clone();
        let may_be_other = |failure: &Failure| {
            let path = messages::read(&failure.said).and_then(|message| self.naming.path_at_dest(&message));
            path.is_none_or(|path| others.contains(&path))
        };
        let all_are_known = named.is_in_memory() && named.count() > 0;
        !others.is_empty() && (!all_are_known || named.first().iter().any(may_be_other))
    }

    /// The entries that these complaints are about.
    fn failures(&self, named: Failures) -> Failures {
        let mut failures = Failures::new(self.buckets.path());
        let lost = named.read(|complaints| {
            for Failure { said, .. } in complaints {
                let Some(message) = messages::read(&said) else { continue };
                let entries = self.naming.entries(&message);
                if entries.is_empty() {
                    failures.push(Failure { name: None, said: said.clone() });
                }
                entries
                    .into_iter()
                    .for_each(|entry| failures.push(Failure { name: Some(entry.name), said: said.clone() }));
            }
            Ok::<_, Infallible>(())
        });
        let Ok(lost) = lost;
        failures.lose(lost);
        failures
    }

    /// How many of these directories a dry run would create.
    pub fn missing(&self, dirs: &BTreeSet<Vec<u8>>) -> u64 {
        let dest = std::path::Path::new(&self.plan.recipe.destination);
        let is_there = |path: &[u8]| dest.join(OsStr::from_bytes(path)).symlink_metadata().is_ok_and(|it| it.is_dir());
        dirs.iter().filter(|path| !is_there(path)).count() as u64
    }
}

/// The directories above these units, by their paths in the transfer. rsync counts them among the entries of each launch.
fn above(units: &[OsString]) -> BTreeSet<Vec<u8>> {
    let mut above = BTreeSet::new();
    for unit in units {
        let argument = unit.as_bytes();
        if argument.starts_with(b"./") && !argument.starts_with(b"././") {
            above.insert(b".".to_vec());
        }
        let path = path_in_transfer(argument);
        let ends = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0).map(|(at, _)| at);
        above.extend(ends.map(|end| path[..end].to_vec()));
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_units_are_known_by_their_names_at_the_destination() {
        let above = |units: &[&str]| {
            let units: Vec<OsString> = units.iter().map(OsString::from).collect();
            above(&units).into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(above(&["./a/b/c", "./a/d"]), [".", "a", "a/b"]);
        assert_eq!(above(&["././s/a", "/x/y/./s/b/c"]), ["s", "s/b"]);
        assert_eq!(above(&["./f"]), ["."]);
    }
}
