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
mod record;
mod state;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::entry::Printable;
use crate::error::{Error, Result};

use super::layout::{DAMAGED_JOURNAL, JOURNAL};
pub use failures::{Batch, Failures};
pub use record::{Name, Place, Record, SpineRecord, VERSION};
pub use state::State;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// The checksum of the last line.
    last: u64,
    /// Bytes of all lines.
    length: u64,
}

impl Journal {
    /// Opens the journal of a run directory to append to it, and begins it or its next part; gives what it said before. A torn end is cut off. One that was damaged
    /// is put aside ([`DAMAGED_JOURNAL`]), and a new one begun. `run` is the name of the run.
    ///
    /// # Errors
    /// The file cannot be written, is of a newer version, or of another run.
    pub fn open(dir: &Path, run: &str) -> Result<(Journal, Read)> {
        let path = dir.join(JOURNAL);
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
                fs::rename(&path, dir.join(DAMAGED_JOURNAL)).map_err(fail)?;
                (0, 0)
            }
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.set_len(length).map_err(fail)?;
        let mut journal = Journal { path: path.clone(), file: BufWriter::new(file), last, length };
        journal.append(&Record::Begun { version: VERSION, run: run.to_owned() })?;
        journal.flush()?;
        Ok((journal, before))
    }

    /// Adds a record, which may stay in memory until [`Journal::flush`], and returns the offset at which its line begins.
    ///
    /// # Errors
    /// It could not be written: the run must stop, because nobody could take it up again.
    pub fn append(&mut self, record: &Record) -> Result<u64> {
        let line = line::write(record, &mut self.last);
        self.file.write_all(&line).map_err(|cause| self.failed(cause))?;
        let at = self.length;
        self.length += line.len() as u64;
        Ok(at)
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
    let path = dir.join(JOURNAL);
    let fail = |cause| Error::io("write journal", &path, cause).remedy("make room");
    let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
    file.set_len(length).map_err(fail)?;
    let mut journal = Journal { path: path.clone(), file: BufWriter::new(file), last, length };
    journal.append(&Record::Finished { code })?;
    journal.sync()
}

/// The exit code of a run whose journal says last that it came to its end. Reads the end of the file only, however long it is: that nothing before it
/// is damaged is not known.
///
/// # Errors
/// There is no journal, or it cannot be read.
pub fn finished(dir: &Path) -> Result<Option<u8>> {
    /// The last lines are mostly in it.
    const END: u64 = 1 << 16;
    let path = dir.join(JOURNAL);
    let fail = |cause| Error::io("read journal", &path, cause);
    let mut file = File::open(&path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut wanted = END;
    loop {
        let begin = length.saturating_sub(wanted);
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(begin))
            .and_then(|_| (&file).take(length - begin).read_to_end(&mut end))
            .map_err(fail)?;
        if let Some(record) = line::last(&end, begin == 0) {
            return Ok(if let Some(Record::Finished { code }) = record { Some(code) } else { None });
        }
        wanted = wanted.saturating_mul(16);
    }
}

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
        let path = dir.join(JOURNAL);
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
            state.take(record, length);
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
mod tests;
