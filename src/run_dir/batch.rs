//! What a batch job leaves in the run directory: its script, its number, its output, and how far the run was when the job was queued again.

use std::fs::{self, File};
use std::io::{Read as _, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

use super::layout::{JOB, JOB_OUTPUT, JOB_SCRIPT, REQUEUED};
use super::{Noted, read_plain};

const SCRIPT_MODE: u32 = 0o700;
/// Only this many bytes at the end of the job's output are read.
const LAST_BYTES: u64 = 16 << 10;

/// The batch job of a run.
#[derive(Debug, Clone)]
pub struct Batch {
    dir: PathBuf,
}

/// How far a run was when its job was queued again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Requeued {
    buckets_done: u64,
    scanned: bool,
    /// How many parts in a row, up to the last one, have done nothing.
    in_vain: u64,
}

impl Requeued {
    /// The same after one more part.
    fn then(self, buckets_done: u64, scanned: bool) -> Requeued {
        let has_done = buckets_done > self.buckets_done || scanned && !self.scanned;
        Requeued { buckets_done, scanned, in_vain: if has_done { 0 } else { self.in_vain.saturating_add(1) } }
    }
}

impl Batch {
    /// The batch job of the run in this directory, which may have none.
    pub fn of(dir: &Path) -> Batch {
        Batch { dir: dir.to_owned() }
    }

    /// The path of the script.
    pub fn script(&self) -> PathBuf {
        self.dir.join(JOB_SCRIPT)
    }

    /// The path of the output.
    pub fn output(&self) -> PathBuf {
        self.dir.join(JOB_OUTPUT)
    }

    /// The path of the file with the job's number.
    pub fn id(&self) -> PathBuf {
        self.dir.join(JOB)
    }

    /// Whether the run was submitted as a batch job.
    pub fn is_submitted(&self) -> bool {
        self.script().is_file()
    }

    /// Writes the script.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_script(&self, text: &[u8]) -> Result<()> {
        let path = self.script();
        let written =
            fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(SCRIPT_MODE)));
        written
            .map_err(|cause| Error::io("write", &path, cause).remedy("give a directory with room with --buckets DIR"))
    }

    /// The number of the job that works on the run, or of the last one that did.
    pub fn job(&self) -> Option<String> {
        let text = String::from_utf8(read_plain(&self.id()).ok()?).ok()?;
        let job = text.trim();
        (!job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit())).then(|| job.to_owned())
    }

    /// Writes the number of the job.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_job(&self, job: &str) -> Result<()> {
        let path = self.id();
        fs::write(&path, format!("{job}\n")).map_err(|cause| Error::io("write", &path, cause))
    }

    /// The last lines of the output.
    pub fn last_lines(&self, most: usize) -> Vec<Vec<u8>> {
        let read = || {
            let mut file =
                File::open(self.output()).ok().filter(|file| file.metadata().is_ok_and(|of| of.is_file()))?;
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES))).ok()?;
            let mut text = Vec::new();
            file.take(LAST_BYTES).read_to_end(&mut text).ok()?;
            Some(text)
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].iter().map(|line| line.to_vec()).collect()
    }

    /// Records that the time of the job was too short once more. Returns how often this has happened in a row without any progress.
    /// A finished bucket is progress, and so is a completed scan.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn time_was_too_short(&self) -> Result<u64> {
        let path = self.dir.join(REQUEUED);
        let before: Requeued =
            read_plain(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let live = Noted::read(&self.dir).map(|noted| noted.live).unwrap_or_default();
        let now = before.then(live.buckets_done, live.progress.scanned);
        let text = serde_json::to_vec(&now).expect("numbers are plain data");
        fs::write(&path, text).map_err(|cause| Error::io("write", &path, cause))?;
        Ok(now.in_vain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_counted_from_part_to_part() {
        let parts = [(0, false, 1), (0, true, 0), (0, true, 1), (3, true, 0), (3, true, 1), (3, true, 2), (4, true, 0)];
        let mut kept = Requeued::default();
        for (buckets_done, scanned, in_vain) in parts {
            kept = kept.then(buckets_done, scanned);
            assert_eq!(kept.in_vain, in_vain, "{kept:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_job_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let batch = Batch::of(dir.path());
        assert!(!batch.is_submitted() && batch.job().is_none() && batch.last_lines(3).is_empty());
        batch.write_script(b"#!/bin/sh\n").unwrap();
        batch.note_job("17").unwrap();
        fs::write(batch.output(), b"a\nb\n\xff\n\nc").unwrap();
        assert!(batch.is_submitted());
        assert_eq!(batch.job().as_deref(), Some("17"));
        assert_eq!(batch.last_lines(2), [&b"\xff"[..], b"c"]);
        fs::write(batch.id(), "17;x\n").unwrap();
        assert_eq!(batch.job(), None);
        assert_eq!((batch.time_was_too_short().unwrap(), batch.time_was_too_short().unwrap()), (1, 2));
    }
}
