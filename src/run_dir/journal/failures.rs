//! The names that were not copied, as the journal knows them: which launch said so, and until when that counts.

use std::collections::BTreeSet;

use super::{Name, Record};

/// Names that were not copied, in the order they were told.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Failures {
    told: Vec<Told>,
    part: u64,
}

/// What one launch told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    phase: String,
    code: u8,
    names: Vec<(Name, Name)>,
    part: u64,
    of: Of,
}

#[derive(Debug, Clone, PartialEq)]
enum Of {
    /// Counts until each of these buckets is done again.
    Buckets(BTreeSet<u64>),
    /// Of split directories, or of buckets that are no more: what each part of a run looks at again. Counts until one comes to its end.
    Part,
}

impl Failures {
    /// Takes one record in.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Begun { .. } => self.part += 1,
            Record::Failed { phase, code, buckets, names } => {
                let of = if buckets.is_empty() { Of::Part } else { Of::Buckets(buckets.iter().copied().collect()) };
                self.told.push(Told { phase: phase.clone(), code: *code, names: names.clone(), part: self.part, of });
            }
            Record::Done { buckets, .. } => {
                let part = self.part;
                self.told.retain_mut(|told| match &mut told.of {
                    // A bucket is done once in a part, and what it told of stands before that.
                    Of::Buckets(left) if told.part < part => {
                        left.retain(|id| !buckets.contains(id));
                        !left.is_empty()
                    }
                    _ => true,
                });
            }
            Record::OneRsync { .. } => {
                let part = self.part;
                // It meets itself what others have met before it.
                self.told.retain(|told| told.part < part);
                self.told.iter_mut().for_each(|told| told.of = Of::Part);
            }
            Record::Finished { .. } => {
                let part = self.part;
                self.told.retain(|told| told.part == part || matches!(told.of, Of::Buckets(_)));
            }
            _ => {}
        }
    }

    /// These buckets are no more: what they told of is in others.
    pub(super) fn without_buckets(&mut self, is_left: impl Fn(u64) -> bool) {
        for told in &mut self.told {
            if let Of::Buckets(ids) = &told.of
                && !ids.iter().all(|id| is_left(*id))
            {
                told.of = Of::Part;
            }
        }
    }

    /// Each name, with the phase of the run, the exit code and what rsync said.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &str, u8, &Name)> {
        self.told.iter().flat_map(|told| told.names.iter().map(|(name, said)| (name, &told.phase[..], told.code, said)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.told.iter().map(|told| told.names.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(records: &[Record]) -> Vec<String> {
        let mut failures = Failures::default();
        records.iter().for_each(|record| failures.take(record));
        failures.iter().map(|(name, ..)| String::from_utf8(name.clone().into_bytes()).unwrap()).collect()
    }

    fn begun() -> Record {
        Record::Begun { version: super::super::VERSION, run: String::new() }
    }

    fn failed(name: &str, buckets: &[u64]) -> Record {
        let name = Name::Text(name.into());
        Record::Failed { phase: "copy".into(), code: 23, buckets: buckets.to_vec(), names: vec![(name.clone(), name)] }
    }

    fn done(buckets: &[u64]) -> Record {
        Record::Done { launch: 0, code: 23, sender_failed: false, buckets: buckets.to_vec() }
    }

    #[test]
    fn a_name_counts_until_its_bucket_is_done_again() {
        let first = [begun(), failed("a", &[1, 2]), done(&[1, 2]), failed("dir", &[]), Record::Finished { code: 23 }];
        assert_eq!(after(&first), ["a", "dir"]);
        // Killed at any moment of the next part, nothing is forgotten that was not looked at again.
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
        // Also what several have told of is its own then.
        let several = [begun(), failed("a", &[1]), done(&[1]), Record::Finished { code: 23 }];
        assert_eq!(after(&[&several[..], &next[..3]].concat()), ["a"]);
        assert_eq!(after(&[&several[..], &next[..]].concat()), [""; 0]);
    }
}
