//! Files in rsync's options that can be read only once: standard input, a FIFO, a pipe of the shell (`<(command)`), a terminal.
//!
//! Neither several rsyncs, nor this program and one rsync, can read the same stream. Therefore each stream is read once, in rsync's order, into a file that
//! every rsync gets. A run that can be resumed keeps these files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tempfile::TempDir;

use crate::config::Config;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::options::{InputFile, Opt, Options, merged_files};
use crate::run_dir::layout::INPUTS;
use crate::temporary;

/// How often it is checked whether to continue waiting for a stream.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After this number of checks a note says what is waited for.
const PATIENCE: u32 = 20;

/// The copies of streams, and options that name the copies.
#[derive(Debug)]
pub struct Spool {
    options: Options,
    /// The index of the option, and the path of the copy.
    copies: Vec<(usize, PathBuf)>,
    _folder: Option<TempDir>,
}

impl Spool {
    /// Reads the streams that the options of a run name. Waits for a FIFO until `stopped`; `note` gets the name of a stream that has to be waited for.
    ///
    /// # Errors
    /// A stream cannot be read, or its copy cannot be written; or there are hosts, which could not read the copies.
    pub fn read(config: &Config, stopped: impl Fn() -> bool, note: impl Fn(String)) -> Result<Spool> {
        let streams = streams(&config.options, &config.cwd);
        let Some(first) = streams.first() else {
            return Ok(Spool { options: config.options.clone(), copies: Vec::new(), _folder: None });
        };
        if !config.hosts.is_empty() {
            return Err(Error::usage(format!("{} is a stream, which the hosts cannot read", shown(first)))
                .remedy("save it to a file that all hosts see, and name that file"));
        }
        if let Some((one, other)) = read_twice(&streams) {
            let [one, other] = [one, other].map(|file| file.opt.spec().shown());
            return Err(Error::usage(format!("standard input is read twice ({one} and {other})"))
                .remedy("save one of the two to a file and name that file"));
        }
        let folder = folder(config)?;
        let mut spool = Spool { options: config.options.clone(), copies: Vec::new(), _folder: None };
        for (number, stream) in streams.iter().enumerate() {
            let copy = folder.path().join(number.to_string());
            copy_stream(stream, &config.cwd, &copy, &stopped, &note)?;
            spool.options = spool.options.with_input(stream.at, &copy);
            spool.copies.push((stream.at, copy));
        }
        spool._folder = Some(folder);
        Ok(spool)
    }

    /// The copies that a run has kept, for continuing it.
    ///
    /// # Errors
    /// The options name a stream without a copy.
    pub fn of_run(config: &Config, dir: &Path) -> Result<Spool> {
        let mut options = config.options.clone();
        let dir = std::path::absolute(dir).map_err(|cause| Error::io("find", dir, cause))?;
        for file in config.options.input_files() {
            let kept = dir.join(INPUTS).join(file.at.to_string());
            if kept.is_file() {
                options = options.with_input(file.at, &kept);
            } else if is_stream(&file, &config.cwd) {
                return Err(Error::usage(format!("what was read from {} is not in the run directory", shown(&file)))
                    .remedy("start a new run"));
            }
        }
        Ok(Spool { options, copies: Vec::new(), _folder: None })
    }

    /// The options, with files in place of streams.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether a stream was read, which cannot be read again.
    pub fn has_read(&self) -> bool {
        !self.copies.is_empty()
    }

    /// Writes the copies into a run directory.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep_in(&self, dir: &Path) -> Result<()> {
        if self.copies.is_empty() {
            return Ok(());
        }
        let folder = dir.join(INPUTS);
        fs::create_dir_all(&folder).map_err(|cause| Error::io("create", &folder, cause))?;
        for (at, copy) in &self.copies {
            let kept = folder.join(at.to_string());
            let write = || {
                let mut to = create(&kept)?;
                io::copy(&mut File::open(copy)?, &mut to)?;
                to.sync_all()
            };
            write().map_err(|cause| Error::io("write", &kept, cause))?;
        }
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|cause| Error::io("write", &folder, cause))
    }
}

/// Two options that cannot both use standard input: rsync reads names from it as they come, and closes it after it has read rules, so that a path that leads
/// to it then fails (exit code 11).
fn read_twice(streams: &[InputFile]) -> Option<(&InputFile, &InputFile)> {
    const PATHS: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    let (at, one) = streams.iter().enumerate().find(|(_, stream)| stream.is_stdin)?;
    // rsync fails if both its list and something else come from standard input; the second of two rule files is empty.
    let of_names = streams.iter().any(|stream| stream.is_stdin && stream.opt == Opt::FilesFrom);
    let last = streams.iter().rfind(|stream| stream.is_stdin && stream.at != one.at).filter(|_| of_names);
    let by_path = || streams[at + 1..].iter().find(|stream| PATHS.iter().any(|path| stream.name == **path));
    last.or_else(by_path).map(|other| (one, other))
}

/// Fails if the options name a stream, because a run at a later time or in another place cannot read it.
///
/// # Errors
/// The options name a stream.
pub fn refuse_streams_of_later(config: &Config) -> Result<()> {
    streams(&config.options, &config.cwd).first().map_or(Ok(()), |stream| {
        Err(Error::usage(format!("{} is a stream: a batch job cannot read it", shown(stream)))
            .remedy("save it to a file that the nodes see, and name that file"))
    })
}

/// Fails if the options still name a stream, or a rule file that merges one.
///
/// # Errors
/// They do: the streams have to be read by [`Spool::read`] first.
pub fn refuse_streams(config: &Config) -> Result<()> {
    match streams(&config.options, &config.cwd).first() {
        Some(stream) if config.hosts.is_empty() => {
            Err(Error::usage(format!("{} is a stream: many processes cannot read it", shown(stream)))
                .remedy("save it to a file and name that file"))
        }
        _ if config.hosts.is_empty() => {
            config.options.input_files().iter().filter(|file| file.merges).try_for_each(|file| {
                let path = config.cwd.join(&file.name);
                refuse_merged(file, &fs::read(path).unwrap_or_default(), &config.cwd, 0)
            })
        }
        _ => Ok(()),
    }
}

/// Refuses rule files that merge a stream, because an rsync that only answers a question would consume it.
fn refuse_merged(file: &InputFile, text: &[u8], cwd: &Path, depth: u32) -> Result<()> {
    const DEEPEST: u32 = 16;
    merged_files(text).into_iter().filter(|_| depth < DEEPEST).try_for_each(|name| {
        let merged = InputFile { is_stdin: name == "-", name, ..file.clone() };
        if is_stream(&merged, cwd) {
            let (shown, file) = (shown(&merged), Printable::os(&file.name));
            return Err(Error::usage(format!("{shown} is a stream, and {file} has a rule that merges it"))
                .remedy("save it to a file and name that file"));
        }
        let text = fs::read(cwd.join(&merged.name)).unwrap_or_default();
        refuse_merged(&merged, &text, cwd, depth + 1)
    })
}

fn streams(options: &Options, cwd: &Path) -> Vec<InputFile> {
    options.input_files().into_iter().filter(|file| is_stream(file, cwd)).collect()
}

fn shown(file: &InputFile) -> String {
    let name = if file.is_stdin { "standard input".into() } else { Printable::os(&file.name).to_string() };
    format!("{name} ({})", file.opt.spec().shown())
}

/// Whether rsync could not read the file a second time. A file that cannot be looked up is left to rsync's error message, and a socket cannot be opened.
fn is_stream(file: &InputFile, cwd: &Path) -> bool {
    if file.is_stdin {
        return true;
    }
    let path = cwd.join(&file.name);
    let Ok(found) = fs::metadata(&path) else { return false };
    let kind = found.file_type();
    if kind.is_file() {
        return leads_through_proc(&path);
    }
    let null = kind.is_char_device() && (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())) == (1, 3);
    !(kind.is_dir() || kind.is_socket() || null)
}

/// Whether a name means an open file descriptor, such as `/dev/stdin`: in rsync it would be another one.
fn leads_through_proc(path: &Path) -> bool {
    const PROC: u64 = 0x9fa0;
    const MOST_LINKS: u32 = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(parent) = path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })
        else {
            return false;
        };
        if rustix::fs::statfs(parent).is_ok_and(|found| found.f_type as u64 == PROC) {
            return true;
        }
        let Ok(target) = fs::read_link(&path) else { return false };
        path = parent.join(target);
    }
    false
}

/// A folder for this run that no rsync copies or deletes.
fn folder(config: &Config) -> Result<TempDir> {
    let resolved = |path: PathBuf| path.canonicalize().unwrap_or(path);
    let listed = config.options.meaning().files_from.is_some();
    let source = |source: &crate::endpoint::Source| {
        let base = source.base(&config.cwd);
        resolved(source.name().map_or(base.clone(), |name| base.join(name)))
    };
    let mut copied: Vec<PathBuf> =
        if listed || config.pulls() { Vec::new() } else { config.sources.iter().map(source).collect() };
    if config.destination.is_local() {
        copied.push(resolved(config.destination.as_directory(&config.cwd).into()));
    }
    let outside = |parent: &PathBuf| {
        parent.is_dir() && parent.canonicalize().is_ok_and(|parent| !copied.iter().any(|tree| parent.starts_with(tree)))
    };
    let mut failed = None;
    for parent in temporary::places().into_iter().filter(outside) {
        match temporary::folder_in(&parent, "multi-sync-input-") {
            Ok(folder) => return Ok(folder),
            Err(cause) => drop(failed.get_or_insert_with(|| Error::io("create a folder in", &parent, cause))),
        }
    }
    let none = || Error::usage("no temporary folder lies outside of source and destination");
    Err(failed
        .unwrap_or_else(none)
        .remedy("name another folder in TMPDIR, or save what is read from a stream to a file"))
}

fn create(path: &Path) -> io::Result<File> {
    // It may contain a password.
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn copy_stream(
    stream: &InputFile,
    cwd: &Path,
    copy: &Path,
    stopped: &impl Fn() -> bool,
    note: &impl Fn(String),
) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let from = (!stream.is_stdin).then(|| cwd.join(&stream.name));
    let to = copy.to_owned();
    // A thread that waits for a stream can only be ended by ending the process, so it is not waited for.
    let reader = std::thread::Builder::new().name("stream".into()).spawn(move || {
        let read = || {
            let mut input = match &from {
                Some(path) => File::open(path)?,
                None => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            };
            io::copy(&mut input, &mut create(&to)?)
        };
        let _ = sender.send(read());
    });
    let failed = |cause: io::Error| Error::file_io(format!("cannot read {}", shown(stream))).because(cause);
    drop(reader.map_err(failed)?);
    let mut looks = 0;
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(read) => return read.map(drop).map_err(failed),
            Err(RecvTimeoutError::Disconnected) => return Err(failed(io::ErrorKind::BrokenPipe.into())),
            Err(RecvTimeoutError::Timeout) if stopped() => {
                return Err(Error::interrupted("interrupted"));
            }
            Err(RecvTimeoutError::Timeout) => looks += 1,
        }
        if looks == PATIENCE {
            note(shown(stream).to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Destination, Source};
    use crate::rsync::exit;
    use std::ffi::OsStr;
    use std::io::Write;

    fn config(work: &Path, options: &str) -> Config {
        let source = Source::parse(work.join("src/").as_os_str()).unwrap();
        let dest = Destination::parse(work.join("D").as_os_str()).unwrap();
        Config::new(vec![source], dest, Options::parse_str(OsStr::new(options)).unwrap(), work.to_owned())
    }

    fn fifo(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    #[test]
    fn streams_are_told_from_files() {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fifo(&at("fifo"));
        let open = File::open(at("file")).unwrap();
        let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        std::os::unix::fs::symlink(&descriptor, at("descriptor")).unwrap();
        std::os::unix::fs::symlink("fifo", at("link")).unwrap();
        std::os::unix::fs::symlink("file", at("plain")).unwrap();
        for (options, count) in [
            ("--exclude-from=file --include-from=plain -f '. file'", 0),
            ("--exclude-from=none --exclude-from=/dev/null --password-file=src", 0),
            ("--exclude-from=fifo", 1),
            ("--exclude-from=link -f 'merge,- ./fifo' -f '.n- descriptor'", 3),
            ("--exclude-from=- --files-from=-", 2),
            ("--files-from=fifo --files-from=file", 0),
            ("--files-from=h:fifo --early-input=-", 0),
            ("--password-file=-", 1),
        ] {
            let config = config(work.path(), options);
            assert_eq!(streams(&config.options, &config.cwd).len(), count, "{options}");
            assert_eq!(refuse_streams(&config).is_err(), count > 0, "{options}");
        }
    }

    #[test]
    fn a_stream_is_read_once_and_kept() {
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("src")).unwrap();
        fifo(&work.path().join("fifo"));
        let config = config(work.path(), "-a -f 'merge,- fifo'");
        let path = work.path().join("fifo");
        let writer = std::thread::spawn(move || File::create(path).unwrap().write_all(b"skip\n").unwrap());
        let spool = Spool::read(&config, || false, |_| ()).unwrap();
        writer.join().unwrap();
        let named = |options: &Options| options.input_files()[0].name.clone();
        assert_eq!(fs::read(named(spool.options())).unwrap(), b"skip\n");
        let kept = work.path().join("run");
        fs::create_dir(&kept).unwrap();
        assert!(Spool::of_run(&config, &kept).unwrap_err().to_string().contains("fifo"));
        spool.keep_in(&kept).unwrap();
        drop(spool);
        let resumed = Spool::of_run(&config, &kept).unwrap();
        assert_eq!(fs::read(named(resumed.options())).unwrap(), b"skip\n");
        assert_eq!(fs::metadata(named(resumed.options())).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_rule_that_merges_a_stream_is_refused() {
        let work = tempfile::tempdir().unwrap();
        fifo(&work.path().join("fifo"));
        fs::write(work.path().join("more"), "- x\nmerge,- fifo\n").unwrap();
        for (rules, refused) in [("- a\n. -\n", true), ("- a\n. more\n", true), ("- a\n. rules\n+ . -\n", false)] {
            fs::write(work.path().join("rules"), rules).unwrap();
            let config = config(work.path(), "-a -f '. rules'");
            assert_eq!(refuse_streams(&config).is_err(), refused, "{rules}");
        }
    }

    #[test]
    fn nobody_waits_for_ever_for_a_stream() {
        let work = tempfile::tempdir().unwrap();
        fifo(&work.path().join("fifo"));
        let config = config(work.path(), "-a --exclude-from=fifo");
        assert_eq!(Spool::read(&config, || true, |_| ()).unwrap_err().exit_code(), exit::INTERRUPTED);
    }
}
