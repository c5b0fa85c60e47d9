//! The journal of a run: what was found, written, started and finished, one record a line, so that a run that was killed at any moment
//! can go on.
//!
//! A line is the CRC-32 of a JSON value in eight hexadecimal digits, a blank, and the value. Lines are only appended. What follows the
//! first line that is torn or does not fit its checksum is ignored: then less is known, and more is done again. A bucket is done only if
//! a record says so; that it was started says nothing.
//!
//! Records reach the file before what depends on them: a launch is recorded before it starts, and its end before anything is started
//! because of it. That is enough when the process is killed. The disk is told to keep them ([`Journal::sync`]) when the scan is complete
//! and when a stage of the run ends, since those are the records that save hours; what is lost of the others by a crash of the machine is
//! done again, and after such a crash nothing is taken for done that this machine itself may have lost ([`State::forget_done`]).

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::scan::Weight;

/// Version of the records below. A reader takes older ones too; newer ones are refused.
pub const VERSION: u32 = 1;
/// The journal's name in the run directory.
pub const FILE: &str = "journal.jsonl";

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// The first one, and the first of each resumption.
    Begun {
        /// See [`VERSION`].
        version: u32,
    },
    /// A spine directory, in order.
    Spine(SpineRecord),
    /// A bucket was written to its file.
    Bucket {
        /// Number, entries, bytes, units, argument bytes, spine directories before it, exposed, singles.
        b: (u64, u64, u64, u64, usize, u32, bool, bool),
    },
    /// Something that the scan could not read.
    Unread {
        /// It says so.
        text: String,
        /// The entry went away by itself.
        vanished: bool,
        /// It is part of a bucket all the same.
        in_unit: bool,
    },
    /// The scan is complete.
    Scanned {
        /// Entries found.
        entries: u64,
        /// Bytes found.
        bytes: u64,
    },
    /// A launch with these buckets is about to start.
    Started {
        /// Number of the launch.
        launch: u64,
        /// The buckets.
        buckets: Vec<u64>,
    },
    /// These buckets are done.
    Done {
        /// Number of the launch.
        launch: u64,
        /// rsync's code: 0, 23, 24 or 25.
        code: u8,
        /// Something of the source could not be read: nothing more is deleted.
        sender_failed: bool,
        /// The buckets.
        buckets: Vec<u64>,
    },
    /// Everything was done, and the run ended with this code.
    Finished {
        /// The exit code.
        code: u8,
    },
}

/// A spine directory as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpineRecord {
    /// Its rsync argument; `None` for DEST itself.
    pub argument: Option<Name>,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Without `u+rwx`.
    pub locked: bool,
    /// It is not entered.
    pub mount_point: bool,
    /// Somebody else could put something in its place.
    pub exposed: bool,
}

/// Bytes in JSON: text where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Bytes(Vec<u8>),
}

impl Name {
    /// Keeps bytes.
    pub fn new(bytes: Vec<u8>) -> Name {
        String::from_utf8(bytes).map_or_else(|error| Name::Bytes(error.into_bytes()), Name::Text)
    }

    /// Gives them back.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Name::Text(text) => text.into_bytes(),
            Name::Bytes(bytes) => bytes,
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    /// Opens the journal of a run directory to append to it, and begins it or its next part. A torn end is cut off.
    ///
    /// # Errors
    /// The file cannot be written, or is of a newer version.
    pub fn open(dir: &Path) -> Result<Journal> {
        let path = dir.join(FILE);
        let fail = |cause: io::Error| {
            Error::io("write journal", &path, cause).remedy("give a directory with room with --buckets DIR")
        };
        let whole = match read(dir) {
            Ok((_, whole)) => whole,
            Err(error) if path.exists() => return Err(error),
            Err(_) => 0,
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.set_len(whole).map_err(fail)?;
        let mut journal = Journal { path: path.clone(), file: BufWriter::new(file) };
        journal.append(&Record::Begun { version: VERSION })?;
        journal.flush()?;
        Ok(journal)
    }

    /// Adds a record, which may stay in memory until [`Journal::flush`].
    ///
    /// # Errors
    /// It could not be written: the run must stop, because nobody could take it up again.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let value = serde_json::to_vec(record).expect("records are plain data");
        let mut line = format!("{:08x} ", crc32fast::hash(&value)).into_bytes();
        line.extend(value);
        line.push(b'\n');
        self.file.write_all(&line).map_err(|cause| self.failed(cause))
    }

    /// Hands all records to the system: they survive this process.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|cause| self.failed(cause))
    }

    /// Has the disk keep all records: they survive the machine.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::io("write journal", &self.path, cause).remedy("make room, then resume the run")
    }
}

/// What the journal of a run directory says.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct State {
    /// Spine directories in order.
    pub spine: Vec<SpineRecord>,
    /// Buckets that were written, by the scan that counts.
    pub buckets: BTreeMap<u64, Bucket>,
    /// The least number that no bucket has had yet.
    pub next_bucket: u64,
    /// Those that are done, with the code of their last launch.
    pub done: BTreeMap<u64, u8>,
    /// Buckets whose launch began and did not end.
    pub started: HashSet<u64>,
    /// What the scan could not read: the text, whether it vanished, whether it is in a bucket all the same.
    pub unread: Vec<(String, bool, bool)>,
    /// What the scan found, if it is complete.
    pub scanned: Option<Weight>,
    /// Something of the source could not be read.
    pub sender_failed: bool,
    /// Launches so far.
    pub launches: u64,
    /// How often the run was begun.
    pub begun: u64,
    /// The exit code, if the run came to its end.
    pub finished: Option<u8>,
}

impl State {
    /// Reads a run directory.
    ///
    /// # Errors
    /// There is no journal, or it is of a newer version.
    pub fn read(dir: &Path) -> Result<State> {
        Ok(read(dir)?.0)
    }

    /// Takes one record in.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Begun { .. } => {
                self.begun += 1;
                self.finished = None;
                self.started.clear();
                // A scan that was not complete begins again, and packs what is not done into other buckets.
                if self.scanned.is_none() {
                    self.spine.clear();
                    self.unread.clear();
                    self.buckets.retain(|id, _| self.done.contains_key(id));
                }
            }
            Record::Spine(spine) => self.spine.push(spine),
            Record::Bucket { b: (id, entries, bytes, units, argument_bytes, spine_before, exposed, singles) } => {
                let weight = Weight { entries, bytes };
                self.next_bucket = self.next_bucket.max(id + 1);
                let bucket = Bucket { id, weight, units, argument_bytes, spine_before, exposed, singles };
                self.buckets.insert(id, bucket);
            }
            Record::Unread { text, vanished, in_unit } => self.unread.push((text, vanished, in_unit)),
            Record::Scanned { entries, bytes } => self.scanned = Some(Weight { entries, bytes }),
            Record::Started { launch, buckets } => {
                self.launches = self.launches.max(launch + 1);
                self.started.extend(buckets);
            }
            Record::Done { code, sender_failed, buckets, .. } => {
                self.sender_failed |= sender_failed;
                for id in buckets {
                    self.started.remove(&id);
                    self.done.insert(id, code);
                }
            }
            Record::Finished { code } => self.finished = Some(code),
        }
    }

    /// Takes nothing for done: the machine stopped, and what it had written may be lost.
    pub fn forget_done(&mut self) {
        self.done.clear();
        self.finished = None;
    }

    /// Weight of what is done.
    pub fn done_weight(&self) -> Weight {
        self.done.keys().filter_map(|id| self.buckets.get(id)).map(|bucket| bucket.weight).sum()
    }
}

/// The state, and how many bytes of the file are whole records.
fn read(dir: &Path) -> Result<(State, u64)> {
    let path = dir.join(FILE);
    let file = File::open(&path).map_err(|cause| {
        Error::io("read journal", &path, cause).remedy("name the directory of a run, as --show prints it")
    })?;
    let (mut state, mut whole, mut line) = (State::default(), 0, Vec::new());
    let mut reader = BufReader::new(file);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(|cause| Error::io("read journal", &path, cause))?;
        let Some(record) = parse(&line) else { return Ok((state, whole)) };
        if let Record::Begun { version } = record
            && version > VERSION
        {
            return Err(Error::usage(format!("the run in {} was begun by a newer multi-sync", dir.display()))
                .remedy("resume it with that one"));
        }
        state.take(record);
        whole += length as u64;
    }
}

/// A line that is whole and fits its checksum.
fn parse(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, rest) = line.split_at_checked(8)?;
    let value = rest.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (crc32fast::hash(value) == sum).then(|| serde_json::from_slice(value).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(id: u64) -> Record {
        Record::Bucket { b: (id, 10 + id, 100, 3, 40, 1, false, false) }
    }

    fn some_records() -> Vec<Record> {
        vec![
            Record::Spine(SpineRecord {
                argument: Some(Name::new(b"./\xff\n".to_vec())),
                identity: (1, 2),
                locked: false,
                mount_point: false,
                exposed: true,
            }),
            bucket(0),
            bucket(1),
            Record::Started { launch: 0, buckets: vec![0] },
            bucket(2),
            Record::Done { launch: 0, code: 0, sender_failed: false, buckets: vec![0] },
            Record::Started { launch: 1, buckets: vec![1, 2] },
            Record::Scanned { entries: 33, bytes: 300 },
            Record::Done { launch: 1, code: 23, sender_failed: true, buckets: vec![1, 2] },
            Record::Finished { code: 23 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        some_records().iter().for_each(|record| journal.append(record).unwrap());
        journal.sync().unwrap();
        let state = State::read(dir.path()).unwrap();
        assert_eq!(state.done, BTreeMap::from([(0, 0), (1, 23), (2, 23)]));
        assert_eq!(state.spine[0].argument.clone().unwrap().into_bytes(), b"./\xff\n");
        assert_eq!((state.scanned, state.launches, state.begun), (Some(Weight { entries: 33, bytes: 300 }), 2, 1));
        assert!(state.sender_failed && state.started.is_empty() && state.finished == Some(23));
        assert_eq!(state.done_weight(), Weight { entries: 33, bytes: 300 });
        // The next part of the same run.
        drop(Journal::open(dir.path()).unwrap());
        let again = State::read(dir.path()).unwrap();
        assert_eq!((again.begun, again.finished, again.done.len(), again.spine.len()), (2, None, 3, 1));
    }

    #[test]
    fn cut_anywhere_it_never_says_more_than_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        some_records().iter().for_each(|record| journal.append(record).unwrap());
        journal.flush().unwrap();
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        let mut known = 0;
        for cut in 0..=whole.len() {
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(FILE), &whole[..cut]).unwrap();
            let state = State::read(other.path()).unwrap();
            // The records whose lines are complete, and no other.
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let mut expected = State::default();
            expected.take(Record::Begun { version: VERSION });
            some_records().into_iter().take(lines.saturating_sub(1)).for_each(|record| expected.take(record));
            if lines > 0 {
                assert_eq!(state, expected, "cut at {cut}");
            }
            assert!(state.done.len() >= known);
            known = state.done.len();
            // And it can be written on.
            let mut journal = Journal::open(other.path()).unwrap();
            journal.append(&bucket(77)).unwrap();
            journal.flush().unwrap();
            assert!(State::read(other.path()).unwrap().buckets.contains_key(&77), "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_journal_is_refused_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(State::read(dir.path()).unwrap_err().to_string().contains("journal.jsonl"));
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(&Record::Begun { version: VERSION + 1 }).unwrap();
        journal.flush().unwrap();
        assert!(State::read(dir.path()).unwrap_err().to_string().contains("newer"));
        assert!(Journal::open(dir.path()).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), by in 1u8..) {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(dir.path()).unwrap();
            some_records().iter().for_each(|record| journal.append(record).unwrap());
            journal.flush().unwrap();
            let path = dir.path().join(FILE);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            std::fs::write(&path, &bytes).unwrap();
            // Everything before that line, nothing of it or after it.
            let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            if let Ok(state) = State::read(dir.path()) {
                let known = some_records().into_iter().take(before.saturating_sub(1));
                let done = known.filter(|record| matches!(record, Record::Done { .. })).count();
                prop_assert!(state.done.is_empty() || done > 0);
            }
        }
    }

    #[test]
    fn bytes_come_back() {
        for bytes in [&b"text"[..], b"\xff\x00", "\u{e4}".as_bytes(), b""] {
            let json = serde_json::to_string(&Name::new(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&json).unwrap().into_bytes(), bytes);
        }
    }
}
