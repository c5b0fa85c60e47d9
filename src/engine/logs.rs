//! The output of the rsyncs of each source host, in files of the run directory: `logs/HOST.log`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Mutex;
use std::time::Duration;

use crate::bucket::BucketDir;
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::rsync::exit;
use crate::run_dir::layout::LOGS;
use crate::supervise::Ended;

/// The run directory may be accessible to others, so that the logs are protected.
const FOLDER_MODE: u32 = 0o700;

/// The log files of all hosts.
pub(super) struct Logs(Vec<Mutex<BufWriter<File>>>);

impl Logs {
    /// Opens the files. Lines of an earlier part of the run are kept.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn open(hosts: &[Host], buckets: &BucketDir) -> Result<Logs> {
        let folder = buckets.path().join(LOGS);
        let fail =
            |cause| Error::io("make logs in", &folder, cause).remedy("give another directory with --buckets DIR");
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).map_err(fail)?;
        let open = |host: &Host| {
            let path = folder.join(format!("{}.log", host.address.replace('/', "_")));
            OpenOptions::new().append(true).create(true).open(path)
        };
        let files = hosts.iter().map(open).collect::<io::Result<Vec<_>>>().map_err(fail)?;
        Ok(Logs(files.into_iter().map(|file| Mutex::new(BufWriter::new(file))).collect()))
    }

    /// The log of one launch on the host with this number.
    pub fn of_launch(&self, host: usize, launch: u64) -> Log<'_> {
        Log { file: &self.0[host], launch }
    }
}

/// The log of one launch. A line that cannot be written is dropped, because the same lines are also printed, and only the journal counts.
pub(super) struct Log<'a> {
    file: &'a Mutex<BufWriter<File>>,
    launch: u64,
}

impl Log<'_> {
    pub fn line(&self, line: &[u8]) {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = write!(file, "{} {}: ", jiff::Timestamp::now().strftime("%FT%TZ"), self.launch);
        let _ = file.write_all(&[line, b"\n"].concat());
    }

    pub fn ends(&self, ended: &Result<Ended>, ran: Duration) {
        let how = ended.as_ref().map_or_else(Error::to_string, |ended| match ended {
            Ended::Code(code) => format!("code {code} ({})", exit::meaning(*code)),
            other => format!("{other:?}").to_lowercase(),
        });
        self.line(format!("ends after {:.1} s: {how}", ran.as_secs_f64()).as_bytes());
        let _ = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).flush();
    }
}
