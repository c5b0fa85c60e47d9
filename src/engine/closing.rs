//! What one rsync would have said of the whole transfer: the line before everything, the sums after it, and the log file.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::bucket::Bucket;
use crate::error::Result;
use crate::report::Event;
use crate::report::closing::Closing;
use crate::rsync::exit;
use crate::rsync::output::{Counts, Figures, Transcript};

use super::Run;
use super::spine::path_in_transfer;

/// The directories above these units, by their paths in the transfer: rsync counts those among the entries of each launch.
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

impl Run<'_, '_> {
    /// Adds what a launch has found below its units. Directories above them are counted by each launch, and in a dry run made by each.
    pub(super) fn count_entries(&mut self, buckets: &[Bucket], transcript: &Transcript) -> Result<()> {
        let Figures { files, total_size, .. } = transcript.figures;
        self.summary.figures.total_size += total_size;
        if !self.plan.counts {
            return Ok(());
        }
        let above = above(&self.arguments(buckets)?);
        let below = files.dir.saturating_sub(above.len() as u64);
        self.summary.figures.files += Counts { dir: below, ..files };
        if self.plan.recipe.dry_run {
            let missing = self.missing(&above);
            let created = &mut self.summary.figures.created.dir;
            *created = created.saturating_sub(missing);
        }
        self.above.extend(above);
        Ok(())
    }

    /// How many of these directories a dry run would make.
    fn missing(&self, dirs: &BTreeSet<Vec<u8>>) -> u64 {
        let dest = Path::new(&self.plan.recipe.destination);
        let is_there = |path: &[u8]| dest.join(OsStr::from_bytes(path)).symlink_metadata().is_ok_and(|it| it.is_dir());
        dirs.iter().filter(|path| !is_there(path)).count() as u64
    }

    /// The last lines, unless one rsync has done it all and said them itself, or the run was ended before its time.
    pub(super) fn close_output(&mut self) {
        if self.summary.plain.is_some() || self.summary.launches == 0 {
            return;
        }
        let mut above = std::mem::take(&mut self.above);
        above.extend(self.spine.paths().map(<[u8]>::to_vec));
        self.summary.figures.files.dir += above.len() as u64;
        if self.plan.recipe.dry_run {
            self.summary.figures.created.dir += self.missing(&above);
        }
        let closing = Closing {
            figures: self.summary.figures,
            shows: self.plan.shows,
            dry_run: self.plan.recipe.dry_run,
            took: self.started.elapsed(),
        };
        let over = !self.stopping();
        if over {
            self.said.begin(self.tell);
            closing.lines().iter().for_each(|line| (self.tell)(Event::Said(line.as_bytes())));
        }
        if let Some(log) = &self.user_log {
            let failed = self.failed.is_some() || self.soft.get() != exit::OK || self.control.interrupted();
            // It is not for who wants it quiet.
            log.close(&Closing { shows: self.config.options.shows(), ..closing }, over, failed);
        }
    }
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
