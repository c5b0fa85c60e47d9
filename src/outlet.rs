//! Where the records of a run that the user has requested are written: the events (`--events`) and the report (`--report`). If they cannot be written, this
//! is refused before the run begins.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::entry::Printable;
use crate::error::{EXIT_USAGE, Error, Result};

/// How often progress is recorded by default.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(1);

/// What is recorded about a run, and where.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// The events.
    pub events: Option<Outlet>,
    /// How often they contain progress.
    pub interval: Duration,
    /// The report.
    pub report: Option<ReportFile>,
}

/// Where events are written.
#[derive(Debug, Clone)]
pub enum Outlet {
    /// A file: a run that is continued appends to it, a new run overwrites it.
    File(PathBuf),
    /// Standard output, which then gets nothing else.
    Stdout,
    /// A file descriptor with which this process was started.
    Descriptor(i32, Arc<OwnedFd>),
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page.
    Html,
    /// The data of the page.
    Json,
    /// A line for each launch.
    Csv,
}

/// Where a report is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// The file.
    pub path: PathBuf,
    /// The format, from the extension of the file.
    pub form: Form,
}

impl Default for Outlets {
    fn default() -> Outlets {
        Outlets { events: None, interval: USUAL_INTERVAL, report: None }
    }
}

impl Outlets {
    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.events.is_none() && self.report.is_none()
    }

    /// Refuses one file for both, because each would overwrite the other.
    ///
    /// # Errors
    /// Events and report are the same file.
    pub fn refuse_one_file(&self) -> Result<()> {
        match (&self.events, &self.report) {
            (Some(Outlet::File(path)), Some(report)) if *path == report.path => {
                Err(Error::usage("events and report are one file").remedy("give two"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses files in a directory in which extraneous entries are deleted.
    ///
    /// # Errors
    /// One of the files lies there.
    pub fn refuse_below(&self, deleted: &Path) -> Result<()> {
        let Ok(deleted) = deleted.canonicalize() else { return Ok(()) };
        let events = match &self.events {
            Some(Outlet::File(path)) => Some(("--events", path)),
            _ => None,
        };
        let report = self.report.as_ref().map(|report| ("--report", &report.path));
        let lies_there = |path: &Path| path.parent().and_then(|parent| parent.canonicalize().ok());
        let lies_there = |path: &Path| lies_there(path).is_some_and(|parent| parent.starts_with(&deleted));
        match events.into_iter().chain(report).find(|(_, path)| lies_there(path)) {
            Some((option, path)) => Err(Error::usage(format!(
                "{option} {}: it lies in the destination, where it would be deleted",
                Printable::path(path)
            ))
            .remedy("write it elsewhere")),
            None => Ok(()),
        }
    }

    /// Arguments that request the same files. Streams of this process are left out, because another process does not have them.
    pub fn words(&self) -> Vec<OsString> {
        let word = |name: &str, path: &Path| [OsStr::new(name), path.as_os_str()].into_iter().collect();
        let events = match &self.events {
            Some(Outlet::File(path)) => Some(word("--events=", path)),
            _ => None,
        };
        let report = self.report.as_ref().map(|report| word("--report=", &report.path));
        events.into_iter().chain(report).collect()
    }
}

impl Outlet {
    /// Reads `FILE`, `-` or `fd:N`. A file descriptor is taken at once, because its number may later be that of a file of multi-sync.
    ///
    /// # Errors
    /// There is no such file descriptor, or it cannot be written to.
    pub fn parse(word: &OsStr, cwd: &Path) -> Result<Outlet> {
        const WRITE: &str = "write --events FILE, --events - for standard output, or --events fd:N";
        let bytes = word.as_bytes();
        if bytes.is_empty() {
            return Err(Error::usage("--events: no file is named").remedy(WRITE));
        }
        if bytes == b"-" {
            return Ok(Outlet::Stdout);
        }
        let Some(number) = bytes.strip_prefix(b"fd:") else { return Ok(Outlet::File(cwd.join(word))) };
        let number = std::str::from_utf8(number).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: Option<i32> = number.and_then(|text| text.parse().ok());
        let refuse = |why: &str| Err(Error::usage(format!("--events {}: {why}", Printable::os(word))).remedy(WRITE));
        match number {
            None => refuse("not the number of a descriptor"),
            Some(0) => refuse("that is standard input"),
            Some(1) => Ok(Outlet::Stdout),
            Some(2) => refuse("that is standard error, where messages go"),
            Some(number) => match taken(number) {
                Ok(fd) if is_written(&fd) => Ok(Outlet::Descriptor(number, Arc::new(fd))),
                Ok(_) => refuse("it is not open for writing"),
                Err(Errno::BADF | Errno::NOENT) => refuse("no such descriptor is open"),
                Err(errno) => refuse(&io::Error::from(errno).to_string()),
            },
        }
    }

    /// As it was typed.
    pub fn name(&self) -> String {
        match self {
            Outlet::File(path) => Printable::path(path).to_string(),
            Outlet::Stdout => "standard output".to_owned(),
            Outlet::Descriptor(number, _) => format!("fd:{number}"),
        }
    }

    /// Opens it. If `kept`, the run is continued, and lines are appended.
    ///
    /// # Errors
    /// It cannot be written to, or it is where messages go.
    pub fn open(&self, kept: bool) -> Result<File> {
        let refused = |cause: io::Error| match self {
            Outlet::File(path) => Error::io("write events to", path, cause).exit(EXIT_USAGE),
            _ => Error::usage(format!("cannot write events to {}", self.name())).because(cause),
        };
        let file = match self {
            Outlet::Stdout => {
                let own = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3).map_err(|errno| refused(errno.into()))?;
                return Ok(File::from(own));
            }
            Outlet::Descriptor(_, fd) => File::from(fd.try_clone().map_err(refused)?),
            Outlet::File(path) => open_file(path).map_err(refused)?,
        };
        if same(&file, io::stdout()) || same(&file, io::stderr()) {
            return Err(Error::usage(format!(
                "rsync's lines and messages go to {}: events could not be told apart from them",
                self.name()
            ))
            .remedy("write --events - for standard output: then it has nothing else"));
        }
        if let Outlet::File(_) = self {
            make_ready(&file, kept).map_err(refused)?;
        }
        Ok(file)
    }
}

/// Opens a file without changing it. A FIFO without a reader would block the run: opened without blocking, it gives `ENXIO` (fifo(7)).
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).custom_flags(flags.bits() as i32);
    options.open(path).map_err(|cause| match Errno::from_io_error(&cause) {
        Some(Errno::NXIO) => io::Error::other("nobody reads this FIFO"),
        _ => cause,
    })
}

/// Empties the file, or completes a last line that was cut off when multi-sync was killed.
fn make_ready(mut file: &File, kept: bool) -> io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() {
        let flags = rustix::fs::fcntl_getfl(file)? - OFlags::NONBLOCK;
        return Ok(rustix::fs::fcntl_setfl(file, flags)?);
    }
    if !kept {
        return file.set_len(0);
    }
    let mut last = *b"\n";
    let reading = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if let Some(at) = found.len().checked_sub(1) {
        reading.read_exact_at(&mut last, at)?;
    }
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// A duplicate of the file descriptor with this number, which children do not inherit.
fn taken(number: i32) -> std::result::Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let direct =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|us| pidfd_getfd(us, number, PidfdGetfdFlags::empty()));
    match direct {
        // A container may forbid this, or the kernel may be too old. A socket cannot be opened in the other way.
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {
            let path = format!("/proc/self/fd/{number}");
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        }
        direct => direct,
    }
}

fn is_written(fd: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| {
        let mode = flags & OFlags::RWMODE;
        mode == OFlags::WRONLY || mode == OFlags::RDWR
    })
}

/// Whether both are the same file or pipe. A device such as `/dev/null` may be used for both.
fn same(file: &File, other: impl AsFd) -> bool {
    let (Ok(one), Ok(two)) = (file.metadata(), rustix::fs::fstat(other)) else { return false };
    let is_device = one.file_type().is_char_device();
    !is_device && (one.dev(), one.ino()) == (two.st_dev, two.st_ino)
}

impl ReportFile {
    /// Reads the name of a report, whose extension selects the format.
    ///
    /// # Errors
    /// The extension is another one.
    pub fn parse(word: &OsStr, cwd: &Path) -> Result<ReportFile> {
        let path = cwd.join(word);
        let ending = path.extension().map(OsStr::to_ascii_lowercase);
        let form = match ending.as_deref().and_then(OsStr::to_str) {
            Some("html" | "htm") => Form::Html,
            Some("json") => Form::Json,
            Some("csv") => Form::Csv,
            _ => {
                return Err(Error::usage(format!("--report {}: not a kind of report", Printable::os(word)))
                    .remedy("write a name that ends in .html, .json or .csv"));
            }
        };
        Ok(ReportFile { path, form })
    }

    /// The directory in which the report is written.
    fn folder(&self) -> PathBuf {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| ".".into(), Path::to_owned)
    }

    /// An unnamed temporary file in the directory of the report, for the events from which it is made. They are not kept in memory, because their size is
    /// unlimited.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn spool(&self) -> Result<File> {
        let refused = |cause: io::Error| Error::io("write a report to", &self.path, cause).exit(EXIT_USAGE);
        match self.path.symlink_metadata() {
            Ok(found) if !found.is_file() => {
                return Err(
                    refused(io::Error::other("it exists, and is not a regular file")).remedy("give another name")
                );
            }
            _ => {}
        }
        tempfile::tempfile_in(self.folder())
            .map_err(|cause| refused(cause).remedy("give a name in a directory in which you may write"))
    }

    /// Writes the report atomically: afterwards the file is either complete, or as it was before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let refused = |cause: io::Error| Error::io("write the report", &self.path, cause).exit(EXIT_USAGE);
        let write = || -> io::Result<()> {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".multi-sync-report-");
            // The usual mode of a new file; the umask applies.
            let mut file =
                builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)).tempfile_in(self.folder())?;
            let mut buffered = io::BufWriter::new(&mut file);
            content(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_for_events_is_refused() {
        let parse = |word: &str| Outlet::parse(word.as_ref(), Path::new("/cwd"));
        assert!(matches!(parse("-"), Ok(Outlet::Stdout)));
        assert!(matches!(parse("fd:1"), Ok(Outlet::Stdout)));
        assert!(matches!(parse("f"), Ok(Outlet::File(path)) if path == Path::new("/cwd/f")));
        assert!(matches!(parse("./fd:3"), Ok(Outlet::File(_))));
        for word in ["", "fd:", "fd:0", "fd:2", "fd:-1", "fd:+4", "fd:x", "fd:99999", "fd:99999999999"] {
            assert!(parse(word).is_err(), "{word}");
        }
        let read_only = File::open("/dev/null").unwrap();
        let number = read_only.as_raw_fd();
        let error = parse(&format!("fd:{number}")).unwrap_err().to_string();
        assert!(error.contains("not open for writing"), "{error}");
    }

    #[test]
    fn a_run_that_goes_on_writes_behind_what_is_there_and_ends_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let write = |kept: bool, text: &str| {
            Outlet::File(path.clone()).open(kept).unwrap().write_all(text.as_bytes()).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(write(false, "a\n"), "a\n");
        assert_eq!(write(true, "b"), "a\nb");
        assert_eq!(write(true, "c\n"), "a\nb\nc\n");
        assert_eq!(write(false, "d\n"), "d\n");
    }

    #[test]
    fn a_report_is_what_its_name_says() {
        let form = |name: &str| ReportFile::parse(name.as_ref(), Path::new("/")).map(|report| report.form);
        assert_eq!(form("a.html").unwrap(), Form::Html);
        assert_eq!(form("a.b.JSON").unwrap(), Form::Json);
        assert_eq!(form("x/a.csv").unwrap(), Form::Csv);
        for name in ["a", "html", ".html", "a.pdf", ""] {
            assert!(form(name).is_err(), "{name}");
        }
    }
}
