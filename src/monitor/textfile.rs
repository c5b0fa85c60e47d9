//! `--metrics FILE.prom`: a file for the textfile collector of Prometheus' node exporter. It is replaced atomically, so that readers see either the old or
//! the new contents.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use multi_sync::command::entry::Printable;
use multi_sync::{Error, Result};

/// The collector only reads files with this extension.
const ENDING: &str = "prom";

/// The file.
pub(super) struct Textfile {
    path: PathBuf,
    failed: AtomicBool,
}

impl Textfile {
    /// # Errors
    /// The collector would not read a file of this name, or something that is not a file has this name.
    pub fn new(path: PathBuf) -> Result<Textfile> {
        let shown = Printable::path(&path).to_string();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            return Err(Error::usage(format!("--metrics: the name does not end in .{ENDING}: {shown}"))
                .remedy(format!("write FILE.{ENDING}: the collector reads no other names")));
        }
        match path.symlink_metadata() {
            Ok(found) if !found.is_file() => {
                return Err(Error::usage(format!("--metrics: {shown} exists, and is not a file"))
                    .remedy("give another name: the file is replaced each time"));
            }
            _ => {}
        }
        Ok(Textfile { path, failed: AtomicBool::new(false) })
    }

    /// The contents that an earlier run has written.
    pub fn read(&self) -> Option<String> {
        fs::read_to_string(&self.path).ok()
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written. The old contents remain.
    pub fn write(&self, text: &str) -> Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(std::path::Path::new("."));
        let written = tempfile::Builder::new()
            .prefix(".multi-sync-")
            // The collector runs as another user.
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file))
            .and_then(|file| file.persist(&self.path).map_err(|error| error.error));
        written.map(drop).map_err(|cause| {
            // Without the name of the temporary file.
            let cause = std::io::Error::from(cause.kind());
            Error::io("write", &self.path, cause)
                .remedy("give --metrics a file in a folder that exists and in which you may write")
                .exit(multi_sync::command::exit::USAGE)
        })
    }

    /// Whether this is the first failure.
    pub fn is_news(&self) -> bool {
        !self.failed.swap(true, Ordering::SeqCst)
    }
}
