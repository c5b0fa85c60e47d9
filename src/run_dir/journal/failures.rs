//! The names that were not copied: which launch reported them, and how long they count.
//!
//! There may be as many as the source has files, so the names themselves stay in the journal, and are read from there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use super::{Name, Record, line};

/// Where the journal has the names that were not copied, in the order in which they were written.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Failures {
    told: Vec<Told>,
    part: u64,
    /// The number of entries at the beginning of `told` that belong to earlier parts of the run.
    earlier: usize,
}

/// The names that one launch reported.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// The offset of its record in the journal.
    at: u64,
    count: usize,
    part: u64,
    of: Of,
}

#[derive(Debug, Clone, PartialEq)]
enum Of {
    /// They count until each of these buckets is done again.
    Buckets(BTreeSet<u64>),
    /// The names concern split directories, or buckets that no longer exist. Each part of a run handles these again, so that the names count until a later part
    /// is complete.
    Part,
}

/// The names of one launch that were not copied.
pub struct Batch {
    /// The phase of the run.
    pub phase: String,
    /// The exit code of the launch.
    pub code: u8,
    /// Each name, with what rsync said. The name is empty if there is none.
    pub names: Vec<(Name, Name)>,
}

impl Failures {
    /// Takes the record into account that begins at this offset in the journal.
    pub fn take(&mut self, record: &Record, at: u64) {
        match record {
            Record::Begun { .. } => {
                self.part += 1;
                self.earlier = self.told.len();
            }
            Record::Failed { buckets, names, .. } => {
                let of = if buckets.is_empty() { Of::Part } else { Of::Buckets(buckets.iter().copied().collect()) };
                self.told.push(Told { at, count: names.len(), part: self.part, of });
            }
            Record::Done { buckets, .. } if self.earlier > 0 => {
                let part = self.part;
                self.keep(|told| match &mut told.of {
                    // A bucket is done once in each part of a run, and its failed names are recorded before that. So only names from earlier parts are dropped.
                    Of::Buckets(left) if told.part < part => {
                        left.retain(|id| !buckets.contains(id));
                        !left.is_empty()
                    }
                    _ => true,
                });
            }
            Record::OneRsync { .. } => {
                let part = self.part;
                // One rsync for everything reports all failures itself, so that those of other launches in this part are dropped.
                self.keep(|told| told.part < part);
                self.told.iter_mut().for_each(|told| told.of = Of::Part);
            }
            Record::Finished { .. } => {
                let part = self.part;
                self.keep(|told| told.part == part || matches!(told.of, Of::Buckets(_)));
            }
            _ => {}
        }
    }

    fn keep(&mut self, counts: impl FnMut(&mut Told) -> bool) {
        self.told.retain_mut(counts);
        self.earlier = self.told.iter().take_while(|told| told.part < self.part).count();
    }

    /// Some buckets no longer exist, because their entries will be in other buckets.
    pub fn without_buckets(&mut self, is_left: impl Fn(u64) -> bool) {
        for told in &mut self.told {
            if let Of::Buckets(ids) = &told.of
                && !ids.iter().all(|id| is_left(*id))
            {
                told.of = Of::Part;
            }
        }
    }

    /// Reads the names from the journal, those of one launch at a time.
    pub fn read(&self, journal: &Path) -> impl Iterator<Item = io::Result<Batch>> {
        let mut file = None;
        self.told.iter().map(move |told| {
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(BufReader::new(File::open(journal)?)),
            };
            file.seek(SeekFrom::Start(told.at))?;
            let mut bytes = Vec::new();
            file.read_until(b'\n', &mut bytes)?;
            match line::record(&bytes) {
                Some(Record::Failed { phase, code, names, .. }) => Ok(Batch { phase, code, names }),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "somebody else has changed it")),
            }
        })
    }

    /// The number of names.
    pub fn count(&self) -> usize {
        self.told.iter().map(|told| told.count).sum()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: &[Record]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut failures, mut text, mut last) = (Failures::default(), Vec::new(), 0);
        for record in records {
            failures.take(record, text.len() as u64);
            text.extend(line::write(record, &mut last));
        }
        std::fs::write(&path, text).unwrap();
        let names = failures.read(&path).flat_map(|batch| batch.unwrap().names);
        let names: Vec<String> = names.map(|(name, _)| String::from_utf8(name.into_bytes()).unwrap()).collect();
        assert_eq!(failures.count(), names.len());
        names
    }

    fn begun() -> Record {
        Record::Begun { version: super::super::VERSION, run: String::new() }
    }

    fn failed(name: &str, buckets: &[u64]) -> Record {
        let name = Name::Text(name.into());
        Record::Failed { phase: "copy".into(), code: 23, buckets: buckets.to_vec(), names: vec![(name.clone(), name)] }
    }

    fn done(buckets: &[u64]) -> Record {
        Record::Done { launch: 0, code: 23, sender_failed: false, again: false, buckets: buckets.to_vec() }
    }

    #[test]
    fn a_name_counts_until_its_bucket_is_done_again() {
        let first = [begun(), failed("a", &[1, 2]), done(&[1, 2]), failed("dir", &[]), Record::Finished { code: 23 }];
        assert_eq!(after(&first), ["a", "dir"]);
        // Wherever the next part is killed, no name is forgotten that was not handled again.
        let next = [begun(), Record::FailedAgain, done(&[1]), done(&[2]), Record::Finished { code: 0 }];
        let expected: [&[&str]; 6] = [&["a", "dir"], &["a", "dir"], &["a", "dir"], &["a", "dir"], &["dir"], &[]];
        for (count, expected) in expected.iter().enumerate() {
            assert_eq!(after(&[&first[..], &next[..count]].concat()), *expected, "after {count} records");
        }
    }

    #[test]
    fn one_rsync_for_everything_tells_all_that_failed() {
        let one = || Record::OneRsync { why: "small".into() };
        let first = [begun(), failed("a", &[1]), done(&[1]), one(), failed("b", &[]), Record::Finished { code: 23 }];
        assert_eq!(after(&first[..4]), [""; 0]);
        assert_eq!(after(&first), ["b"]);
        let next = [begun(), Record::FailedAgain, one(), Record::Finished { code: 0 }];
        assert_eq!(after(&[&first[..], &next[..3]].concat()), ["b"]);
        assert_eq!(after(&[&first[..], &next[..]].concat()), [""; 0]);
        // One rsync for everything also replaces what several rsyncs have reported.
        let several = [begun(), failed("a", &[1]), done(&[1]), Record::Finished { code: 23 }];
        assert_eq!(after(&[&several[..], &next[..3]].concat()), ["a"]);
        assert_eq!(after(&[&several[..], &next[..]].concat()), [""; 0]);
    }
}
