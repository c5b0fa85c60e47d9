//! Which names of a source are hard links of one file, as reported by rsync: for each name of a file except the first, rsync prints an earlier one.

use std::collections::HashMap;

use crate::error::Result;
use crate::far::{Far, child};
use crate::rsync::listing;
use crate::scan::Watch;
use crate::supervise::{Ended, Invocation, Lines, Stream};

use super::INCOMPLETE;

/// The device of all files of a listing. No machine has this number.
const DEVICE: u64 = u64::MAX;

/// The names of files that have several names.
#[derive(Default)]
pub struct Links {
    /// The number of the file for each name.
    files: HashMap<Vec<u8>, u64>,
    /// How many names each file has in the source.
    names: Vec<u32>,
}

impl Links {
    /// Asks rsync, with this command.
    ///
    /// # Errors
    /// It did not finish.
    pub fn ask(far: Far<'_>, rsync: &Invocation, watch: &Watch) -> Result<Links> {
        let mut links = Links::default();
        let mut lines = Lines::new(Stream::Stdout);
        let out = &mut |bytes: Option<&[u8]>| {
            let each = &mut |_, line: &[u8]| {
                if let Some((name, other)) = listing::read_link(line) {
                    links.add(name, other);
                }
            };
            match bytes {
                Some(bytes) => lines.feed(bytes, each),
                None => lines.finish(each),
            }
            Ok(())
        };
        let finished = child::run(rsync, None, far.reach.stall, far.supervisor, watch, out, &mut |_| false)?;
        match finished.ended {
            _ if watch.stopped() || far.supervisor.stopped() => Ok(links),
            // Entries that it cannot read are reported together with the list.
            Ended::Code(code) if code == 0 || INCOMPLETE.contains(&code) => Ok(links),
            _ => Err(finished.error("cannot ask rsync for the hard links of the source")),
        }
    }

    fn add(&mut self, name: Vec<u8>, other: Vec<u8>) {
        let file = *self.files.entry(other).or_insert_with(|| {
            self.names.push(1);
            self.names.len() as u64 - 1
        });
        self.files.insert(name, file);
        self.names[file as usize] += 1;
    }

    /// An identity for the file of this name and its number of names, if it has several.
    pub fn of(&self, path: &[u8]) -> Option<((u64, u64), u32)> {
        let file = *self.files.get(path)?;
        Some(((DEVICE, file), self.names[file as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_counted_whoever_they_are_named_after() {
        let mut links = Links::default();
        for (name, other) in [("b", "a"), ("c", "a"), ("y", "x"), ("d", "b")] {
            links.add(name.into(), other.into());
        }
        let of = |name: &str| links.of(name.as_bytes());
        assert_eq!([of("a"), of("b"), of("c"), of("d")], [Some(((DEVICE, 0), 4)); 4]);
        assert_eq!((of("x"), of("y"), of("z")), (Some(((DEVICE, 1), 2)), of("x"), None));
    }
}
