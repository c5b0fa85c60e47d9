//! The journal of a run: what was found, written, started and finished, one record a line, so that a run that was killed at any moment
//! can go on.
//!
//! A line is a checksum in sixteen hexadecimal digits, a blank, and a JSON value. The checksum is XXH3 (64 bits) of the value with that of
//! the line before as seed (of the first line: none), so that a line that is missing, or stands elsewhere, is noticed like one that was changed. Lines of version 1 have
//! a CRC-32 in eight digits, of the value alone.
//!
//! Lines are only appended. A torn end is ignored: then less is known, and more is done again. Where whole lines follow one that is not, the journal was
//! damaged otherwise, and nothing in it counts ([`Read::Damaged`]). A bucket is done only if a record says so; that it was started says nothing.
//!
//! Records reach the file before what depends on them: a launch is recorded before it starts, names that failed before the end of their launch, and
//! that before anything is started because of it. That is enough when the process is killed. The disk is told to keep them ([`Journal::sync`]) when the scan is complete
//! and the files of its buckets are on the disk, and when the run ends, since those are the records that save hours; what is lost of the others by a crash of the machine is
//! done again, and after such a crash nothing is taken for done that this machine itself may have lost ([`Record::NothingDone`]).

mod failures;
mod line;
mod state;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::entry::Printable;
use crate::error::{Error, Result};
pub use failures::Failures;
pub use state::State;

/// Version of the records below. A reader takes older ones too; newer ones are refused.
pub const VERSION: u32 = 2;
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
        /// Which run it is, as `plan.json` says. Runs of version 1 have no such name.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        run: String,
    },
    /// A spine directory, in order.
    Spine(SpineRecord),
    /// A bucket was written to its file.
    Bucket {
        /// Number, entries, bytes, units, argument bytes, spine directories before it, exposed, singles.
        b: (u64, u64, u64, u64, usize, u32, bool, bool),
        /// What is in the file: bytes, and their checksum. Not in version 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<(u64, u64)>,
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
    /// Names that a launch did not copy; comes before the end of the launch.
    Failed {
        /// The part of the run.
        phase: String,
        /// The exit code of the launch.
        code: u8,
        /// The buckets of the launch; none if it was about split directories.
        buckets: Vec<u64>,
        /// Each name, empty if nobody can tell it, and what rsync said.
        names: Vec<(Name, Name)>,
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
    /// Nothing of what is done counts any more: DEST is not what it was, or may have lost it.
    NothingDone,
    /// What DEST is, where it is seen from here, when the first buckets of a part are done.
    Dest {
        /// See [`Place`].
        place: Place,
    },
    /// What has failed is to be done again (`--retry-failed`).
    FailedAgain,
    /// The scan has to begin again.
    ScanAgain {
        /// Buckets whose files are damaged: they are not done, whatever was said of them.
        damaged: Vec<u64>,
    },
    /// One rsync does everything, and what was written down before counts for nothing: a run that is taken up again begins anew.
    OneRsync {
        /// The reason.
        why: String,
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

/// What a directory is known by, also after its file system was mounted again: inode, and time of birth in seconds and nanoseconds.
pub type Place = (u64, i64, u32);

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
    /// The checksum of the last line.
    last: u64,
}

impl Journal {
    /// Opens the journal of a run directory to append to it, and begins it or its next part; gives what it said before. A torn end is cut off. One that was damaged
    /// is put aside ([`ASIDE`]), and a new one begun. `run` is the name of the run.
    ///
    /// # Errors
    /// The file cannot be written, is of a newer version, or of another run.
    pub fn open(dir: &Path, run: &str) -> Result<(Journal, Read)> {
        let path = dir.join(FILE);
        let fail = |cause: io::Error| {
            Error::io("write journal", &path, cause).remedy("give a directory with room with --buckets DIR")
        };
        let before = match path.try_exists().map_err(fail)? {
            true => Read::from(dir)?,
            false => Read::Whole { state: State::default(), length: 0, last: 0 },
        };
        let state = before.state();
        if state.begun > 0 && state.run != run {
            return Err(Error::usage(format!("{} is the journal of another run", Printable::path(&path)))
                .remedy("copy again: files from several run directories were mixed up in this one"));
        }
        let (length, last) = match &before {
            Read::Whole { length, last, .. } => (*length, *last),
            Read::Damaged { .. } => {
                fs::rename(&path, dir.join(ASIDE)).map_err(fail)?;
                (0, 0)
            }
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.set_len(length).map_err(fail)?;
        let mut journal = Journal { path: path.clone(), file: BufWriter::new(file), last };
        journal.append(&Record::Begun { version: VERSION, run: run.to_owned() })?;
        journal.flush()?;
        Ok((journal, before))
    }

    /// Adds a record, which may stay in memory until [`Journal::flush`].
    ///
    /// # Errors
    /// It could not be written: the run must stop, because nobody could take it up again.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let line = line::write(record, &mut self.last);
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

/// Says that a run that came to its end has another code than its journal says: what came after it belongs to it.
///
/// # Errors
/// The journal cannot be read or written.
pub fn amend(dir: &Path, code: u8) -> Result<()> {
    let Read::Whole { state, length, last } = Read::from(dir)? else { return Ok(()) };
    if state.finished.is_none_or(|finished| finished == code) {
        return Ok(());
    }
    let path = dir.join(FILE);
    let fail = |cause| Error::io("write journal", &path, cause).remedy("make room");
    let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
    file.set_len(length).map_err(fail)?;
    let mut journal = Journal { path: path.clone(), file: BufWriter::new(file), last };
    journal.append(&Record::Finished { code })?;
    journal.sync()
}

/// Where a damaged journal is put.
pub const ASIDE: &str = "journal.damaged";

/// What was read of a journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// All of it, or all but a torn end.
    Whole {
        /// What it says.
        state: State,
        /// Bytes of whole records.
        length: u64,
        /// The checksum of the last of them.
        last: u64,
    },
    /// Something is wrong before its end. The records before that say what once was so, but not that nothing came after it.
    Damaged {
        /// What they say.
        state: State,
        /// Number of the line that is wrong, from 1.
        line: u64,
    },
}

impl Read {
    /// Reads the journal of a run directory.
    ///
    /// # Errors
    /// There is none, or it is of a newer version.
    pub fn from(dir: &Path) -> Result<Read> {
        let path = dir.join(FILE);
        let fail = |cause| Error::io("read journal", &path, cause);
        let file = File::open(&path)
            .map_err(|cause| fail(cause).remedy("name the directory of a run, as --show prints it"))?;
        let mut lines = BufReader::new(file);
        let (mut state, mut length, mut last, mut count) = (State::default(), 0, 0, 0);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = lines.read_until(b'\n', &mut bytes).map_err(fail)?;
            count += 1;
            let Some((record, sum)) = line::read(&bytes, last) else {
                let damaged = read > 0 && line::any_whole(&bytes, lines).map_err(fail)?;
                return Ok(if damaged {
                    Read::Damaged { state, line: count }
                } else {
                    Read::Whole { state, length, last }
                });
            };
            if let Record::Begun { version, .. } = record
                && version > VERSION
            {
                return Err(Error::usage(format!(
                    "the run in {} was begun by a newer multi-sync",
                    Printable::path(dir)
                ))
                .remedy("resume it with that one"));
            }
            state.take(record);
            (length, last) = (length + read as u64, sum);
        }
    }

    /// What the records say that are whole, up to the first that is not.
    pub fn state(&self) -> &State {
        match self {
            Read::Whole { state, .. } | Read::Damaged { state, .. } => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Weight;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const RUN: &str = "a run";

    fn bucket(id: u64) -> Record {
        Record::Bucket { b: (id, 10 + id, 100, 3, 40, 1, false, false), content: Some((16, 77 + id)) }
    }

    fn some_records() -> Vec<Record> {
        let name = |text: &str| Name::Text(text.into());
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
            Record::Failed {
                phase: "copy".into(),
                code: 23,
                buckets: vec![1, 2],
                names: vec![(name("f"), name("no \"f\""))],
            },
            Record::Done { launch: 1, code: 23, sender_failed: true, buckets: vec![1, 2] },
            Record::Finished { code: 23 },
        ]
    }

    /// The journal of a run of which the first `count` of the records were written.
    fn written(dir: &Path, count: usize) -> Journal {
        let (mut journal, _) = Journal::open(dir, RUN).unwrap();
        some_records().iter().take(count).for_each(|record| journal.append(record).unwrap());
        journal.sync().unwrap();
        journal
    }

    fn all(dir: &Path) -> Journal {
        written(dir, usize::MAX)
    }

    /// What those records say.
    fn expected(count: usize) -> State {
        let mut state = State::default();
        state.take(Record::Begun { version: VERSION, run: RUN.into() });
        some_records().into_iter().take(count).for_each(|record| state.take(record));
        state
    }

    fn state(dir: &Path) -> State {
        match Read::from(dir).unwrap() {
            Read::Whole { state, .. } => state,
            damaged => panic!("{damaged:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        drop(all(dir.path()));
        let read = state(dir.path());
        assert_eq!(read, expected(usize::MAX));
        assert_eq!(read.done, BTreeMap::from([(0, 0), (1, 23), (2, 23)]));
        assert_eq!(read.spine[0].argument.clone().unwrap().into_bytes(), b"./\xff\n");
        assert_eq!((read.scanned, read.launches, read.begun), (Some(Weight { entries: 33, bytes: 300 }), 2, 1));
        assert!(read.sender_failed && read.started.is_empty() && read.finished == Some(23));
        assert_eq!(read.done_weight(), Weight { entries: 33, bytes: 300 });
        assert_eq!(read.failures.iter().count(), 1);
        // The next part of the same run, and no other run.
        drop(Journal::open(dir.path(), RUN).unwrap());
        let again = state(dir.path());
        assert_eq!((again.begun, again.finished, again.done.len(), again.spine.len()), (2, None, 3, 1));
        let other = Journal::open(dir.path(), "another run").unwrap_err().to_string();
        assert!(other.contains("another run"), "{other}");
    }

    #[test]
    fn cut_anywhere_it_never_says_more_than_was_written() {
        let dir = tempfile::tempdir().unwrap();
        drop(all(dir.path()));
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for cut in 0..=whole.len() {
            let other = tempfile::tempdir().unwrap();
            std::fs::write(other.path().join(FILE), &whole[..cut]).unwrap();
            // The records whose lines are complete, and no other.
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let known = if lines == 0 { State::default() } else { expected(lines - 1) };
            assert_eq!(state(other.path()), known, "cut at {cut}");
            // And it can be written on.
            let (mut journal, before) = Journal::open(other.path(), RUN).unwrap();
            assert_eq!(*before.state(), known);
            journal.append(&bucket(77)).unwrap();
            journal.flush().unwrap();
            assert!(state(other.path()).buckets.contains_key(&77), "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_journal_is_refused_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Read::from(dir.path()).unwrap_err().to_string().contains("journal.jsonl"));
        let mut journal = written(dir.path(), 0);
        journal.append(&Record::Begun { version: VERSION + 1, run: RUN.into() }).unwrap();
        journal.flush().unwrap();
        assert!(Read::from(dir.path()).unwrap_err().to_string().contains("newer"));
        assert!(Journal::open(dir.path(), RUN).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), by in 1u8..) {
            let dir = tempfile::tempdir().unwrap();
            drop(all(dir.path()));
            let path = dir.path().join(FILE);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            // Everything before that line, nothing of it or after it.
            let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            bytes[at] ^= by;
            std::fs::write(&path, &bytes).unwrap();
            let read = Read::from(dir.path()).unwrap();
            let known = if before == 0 { State::default() } else { expected(before - 1) };
            prop_assert_eq!(read.state(), &known);
            // Only at the end may it be taken for a torn end. A lost line break makes one line of two.
            let is_damaged = matches!(read, Read::Damaged { line, .. } if line as usize == before + 1);
            prop_assert!(is_damaged || before + 4 > lines, "line {before} of {lines}: {read:?}");
        }
    }

    #[test]
    fn lines_that_are_missing_or_elsewhere_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        drop(all(dir.path()));
        let path = dir.path().join(FILE);
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() - 3 {
            let mut without = lines.clone();
            without.remove(at);
            let mut exchanged = lines.clone();
            exchanged.swap(at, at + 1);
            let mut twice = lines.clone();
            twice.insert(at, lines[at]);
            for (how, damaged) in [("without", without), ("exchanged", exchanged), ("twice", twice)] {
                std::fs::write(&path, damaged.concat()).unwrap();
                let read = Read::from(dir.path()).unwrap();
                assert!(matches!(read, Read::Damaged { .. }), "{how} {at}: {read:?}");
            }
        }
        // What was damaged is put aside, and nothing of it counts.
        let (_, before) = Journal::open(dir.path(), RUN).unwrap();
        assert!(matches!(before, Read::Damaged { .. }) && dir.path().join(ASIDE).exists());
        assert_eq!(state(dir.path()), expected(0));
    }

    #[test]
    fn bytes_come_back() {
        for bytes in [&b"text"[..], b"\xff\x00", "\u{e4}".as_bytes(), b""] {
            let json = serde_json::to_string(&Name::new(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&json).unwrap().into_bytes(), bytes);
        }
    }
}
