//! The journal of a run: what was found, written, started and finished, with one record per line. With it, a run that was killed at any moment can continue.
//!
//! A line consists of a checksum in sixteen hexadecimal digits, a space, and a JSON value. The checksum is XXH3 (64 bits) of the value, with the checksum of
//! the previous line as seed (no seed in the first line). So a line that is missing or moved is noticed like one that was changed. Lines of version 1 have a
//! CRC-32 in eight digits, of the value alone.
//!
//! Lines are only appended. An incomplete last line is ignored: then less is known, and more is done again. But if intact lines follow a damaged one, the
//! journal was damaged in another way, and nothing in it counts ([`Read::Damaged`]). A bucket is done only if a record says so; a record that it was started
//! does not matter.
//!
//! A record is written to the file before anything that depends on it: a launch is recorded before it starts, failed names before the end of their launch, and
//! this end before anything is started because of it. This is sufficient if the process is killed. The journal is synced to the disk ([`Journal::sync`]) when
//! the scan is complete and its bucket files are on the disk, and when the run ends, because these records save hours. If the machine crashes, the work of lost
//! records is done again, and nothing counts as done that this machine itself may have lost ([`Record::NothingDone`]).

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
    /// The length of all lines in bytes.
    length: u64,
}

impl Journal {
    /// Opens the journal of a run directory for writing, begins the run or its next part, and returns the earlier contents. An incomplete last line is cut off.
    /// A damaged journal is renamed ([`DAMAGED_JOURNAL`]), and a new one is begun. `run` is the name of the run.
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
    /// The record could not be written: the run must stop, because it could not be resumed.
    pub fn append(&mut self, record: &Record) -> Result<u64> {
        let line = line::write(record, &mut self.last);
        self.file.write_all(&line).map_err(|cause| self.failed(cause))?;
        let at = self.length;
        self.length += line.len() as u64;
        Ok(at)
    }

    /// Writes all records to the file: they survive this process.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|cause| self.failed(cause))
    }

    /// Syncs all records to the disk: they survive a crash of the machine.
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

/// Changes the exit code of a run that has ended, because something that followed belongs to it.
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

/// The exit code of a run, if the last record says that it has ended. Only the end of the file is read, so that damage before it is not noticed.
///
/// # Errors
/// There is no journal, or it cannot be read.
pub fn finished(dir: &Path) -> Result<Option<u8>> {
    /// The number of bytes at the end of the file that usually contain the last two lines.
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

/// The contents of a journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// The journal is intact, except for an incomplete last line.
    Whole {
        /// What the records say.
        state: State,
        /// The length of the intact records in bytes.
        length: u64,
        /// The checksum of the last intact record.
        last: u64,
    },
    /// A line before the end is damaged. The records before it were true once, but later ones may be missing.
    Damaged {
        /// What these records say.
        state: State,
        /// The number of the damaged line, from 1.
        line: u64,
    },
}

impl Read {
    /// Reads the journal of a run directory.
    ///
    /// # Errors
    /// There is no journal, or it is that of a newer version.
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
                    "the run in {} was started by a newer multi-sync",
                    Printable::path(dir)
                ))
                .remedy("resume it with that one"));
            }
            state.take(record, length);
            (length, last) = (length + read as u64, sum);
        }
    }

    /// What the intact records say, up to the first damaged one.
    pub fn state(&self) -> &State {
        match self {
            Read::Whole { state, .. } | Read::Damaged { state, .. } => state,
        }
    }
}

#[cfg(test)]
mod tests;
