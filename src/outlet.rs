//! Where the records of a run go that its user asked for: the events (`--events`) and the report (`--report`). What cannot be written there is refused
//! before the run begins.

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
use crate::error::{Error, Result};

/// How often progress is recorded if the user does not say.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(1);

/// What is recorded of a run, and where.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// The events.
    pub events: Option<Outlet>,
    /// How often progress is among them.
    pub interval: Duration,
    /// The report.
    pub report: Option<ReportFile>,
}

/// Where events go.
#[derive(Debug, Clone)]
pub enum Outlet {
    /// A file: a run that goes on writes behind what is there, a new one writes it anew.
    File(PathBuf),
    /// Standard output, which then has nothing else.
    Stdout,
    /// A descriptor that this process was started with.
    Descriptor(i32, Arc<OwnedFd>),
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page.
    Html,
    /// What is in the page.
    Json,
    /// A line for each launch.
    Csv,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// The file.
    pub path: PathBuf,
    /// As its name says.
    pub form: Form,
}

impl Default for Outlets {
    fn default() -> Outlets {
        Outlets { events: None, interval: USUAL_INTERVAL, report: None }
    }
}

impl Outlets {
    /// Nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.events.is_none() && self.report.is_none()
    }

    /// Each would write over the other.
    ///
    /// # Errors
    /// Events and report are one file.
    pub fn refuse_one_file(&self) -> Result<()> {
        match (&self.events, &self.report) {
            (Some(Outlet::File(path)), Some(report)) if *path == report.path => {
                Err(Error::usage("events and report are one file").remedy("give two"))
            }
            _ => Ok(()),
        }
    }

    /// Files in a directory where what the source does not have is deleted.
    ///
    /// # Errors
    /// One lies there.
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

    /// Words that ask for what goes to files; what goes to streams of one process is not asked for again.
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
    /// Reads `FILE`, `-` or `fd:N`. A descriptor is taken at once: later the number may be that of a file of ours.
    ///
    /// # Errors
    /// There is no such descriptor, or it cannot be written to.
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

    /// Opens it. A run that goes on writes behind what is `kept` there.
    ///
    /// # Errors
    /// It cannot be written to, or it is where messages go.
    pub fn open(&self, kept: bool) -> Result<File> {
        let refused = |cause: io::Error| Error::usage(format!("cannot write events to {}", self.name())).because(cause);
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
                "{} is where rsync's lines and messages go: events cannot be told from them",
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

/// A FIFO that nobody reads would hold up the run: `ENXIO` says so (fifo(7)). Nothing is changed yet.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).custom_flags(flags.bits() as i32);
    options.open(path).map_err(|cause| match Errno::from_io_error(&cause) {
        Some(Errno::NXIO) => io::Error::other("nobody reads this FIFO"),
        _ => cause,
    })
}

/// Empties it, or ends a line that a kill has cut off.
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

/// A descriptor of ours with this number, under another one that children do not get.
fn taken(number: i32) -> std::result::Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let direct =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|us| pidfd_getfd(us, number, PidfdGetfdFlags::empty()));
    match direct {
        // What a container may forbid, or an old kernel does not have. A socket cannot be opened so.
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

/// Both are the same file or pipe. A device such as `/dev/null` may be opened by many.
fn same(file: &File, other: impl AsFd) -> bool {
    let (Ok(one), Ok(two)) = (file.metadata(), rustix::fs::fstat(other)) else { return false };
    let is_device = one.file_type().is_char_device();
    !is_device && (one.dev(), one.ino()) == (two.st_dev, two.st_ino)
}

impl ReportFile {
    /// Reads the name of a report: its ending says what it is written as.
    ///
    /// # Errors
    /// Another ending.
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

    /// The directory that it is made in.
    fn folder(&self) -> PathBuf {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| ".".into(), Path::to_owned)
    }

    /// A file without a name where the report will be: what it is made of. Its size is not that of the memory.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn spool(&self) -> Result<File> {
        let refused =
            |cause| Error::usage(format!("cannot write a report to {}", Printable::path(&self.path))).because(cause);
        match self.path.symlink_metadata() {
            Ok(found) if !found.is_file() => {
                return Err(refused(io::Error::other("what is there is no regular file")).remedy("give another name"));
            }
            _ => {}
        }
        tempfile::tempfile_in(self.folder())
            .map_err(|cause| refused(cause).remedy("give a name in a directory that can be written to"))
    }

    /// Writes the report: it is there whole, or as it was before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let refused = |cause: io::Error| {
            Error::usage(format!("cannot write the report {}", Printable::path(&self.path))).because(cause)
        };
        let write = || -> io::Result<()> {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".multi-sync-report-");
            // As any file that is made, the umask permitting.
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
