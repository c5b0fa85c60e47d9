//! The file of `--log-file`: what each launch writes goes through a pipe, so that the file has what one rsync would have written. It begins once and
//! ends once, and statistics are there if the user wants them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bstr::ByteSlice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, OFlags, mknodat};

use crate::entry::Printable;
use crate::report::Event;
use crate::report::closing::Closing;
use crate::rsync::output::Transcript;
use crate::supervise::{Lines, Stream};
use crate::thread;

use super::said::{Said, Tells, is_about_deletion};

/// How often it is looked whether a launch has ended that writes nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How rsync begins a log.
const BEGINS: &[u8] = b"building file list";

/// What follows where the list was announced to the user and is complete.
const LISTED: &[u8] = b"done";

/// The user's log file.
pub(super) struct UserLog {
    /// Where the pipes are.
    dir: PathBuf,
    pipes: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    file: Option<File>,
    begun: bool,
    /// What rsync said of its exit code.
    last: Option<Vec<u8>>,
    /// [`LISTED`] follows the beginning.
    lists: bool,
    /// Lines about directories that were made: launches below them may say them again.
    made: HashSet<Vec<u8>>,
    failed: bool,
}

impl UserLog {
    /// Opens the file, as rsync does at its start; without it the run goes on, and says so in rsync's words.
    pub fn open(
        path: &Path,
        typed: &OsStr,
        dir: &Path,
        lists: bool,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Option<UserLog> {
        // Readable by all, as far as the user's umask allows.
        let opened = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
        match opened {
            Ok(file) => {
                let open = Mutex::new(Open { file: Some(file), lists, ..Open::default() });
                Some(UserLog { dir: dir.to_owned(), pipes: AtomicU64::new(0), open })
            }
            Err(cause) => {
                let text = cause.to_string();
                let why = text.split(" (os error").next().unwrap_or_default();
                let code = cause.raw_os_error().unwrap_or_default();
                let shown = Printable::os(typed);
                let line = format!("rsync: [client] failed to open log-file {shown}: {why} ({code})");
                tell(Event::Complained(line.as_bytes()));
                tell(Event::Said(b"Ignoring \"log file\" setting."));
                None
            }
        }
    }

    /// A pipe for one launch.
    pub fn pipe(&self) -> io::Result<Pipe> {
        let path = self.dir.join(format!("log.{}", self.pipes.fetch_add(1, Ordering::Relaxed)));
        // Of an earlier part of the run.
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0)?;
        let flags = OFlags::NONBLOCK.bits() as i32;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        opened.map(|file| Pipe { path, file })
    }

    /// Does `work`, and writes down what comes through the pipe meanwhile.
    pub fn while_followed<T>(&self, pipe: &Pipe, tells: Tells, said: &Said, work: impl FnOnce() -> T) -> T {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let following = thread::start(scope, || self.follow(pipe, tells, said, &ended));
            let done = work();
            ended.store(true, Ordering::SeqCst);
            if following.is_err() {
                // As far as the pipe could hold it.
                self.follow(pipe, tells, said, &ended);
            }
            done
        })
    }

    /// Writes down what comes through the pipe until `ended`, and nothing is left in it.
    fn follow(&self, pipe: &Pipe, tells: Tells, said: &Said, ended: &AtomicBool) {
        let mut lines = Lines::new(Stream::Stdout);
        let mut begins = false;
        let mut take = |_, line: &[u8]| begins = self.take(line, tells, said, begins);
        let mut buffer = [0; 16 * 1024];
        loop {
            // Asked before it is read: what was written by then is seen.
            let is_last = ended.load(Ordering::SeqCst);
            match (&pipe.file).read(&mut buffer) {
                Ok(count) if count > 0 => {
                    lines.feed(&buffer[..count], &mut take);
                }
                _ if is_last => break,
                _ => {
                    let patience = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.as_nanos() as _ };
                    let _ = poll(&mut [PollFd::new(&pipe.file, PollFlags::IN)], Some(&patience));
                }
            }
        }
        lines.finish(&mut take);
    }

    /// Takes a line of a launch, which has just begun to write or not; says whether this is how it begins.
    fn take(&self, line: &[u8], tells: Tells, said: &Said, begins: bool) -> bool {
        let text = line.find(b"] ").map_or(line, |end| &line[end + 2..]);
        let ends = [&b"rsync error: "[..], b"rsync warning: "].iter().any(|begin| text.starts_with(begin));
        let mut open = self.lock();
        if ends && text.contains_str(b"(code ") {
            open.last = Some(text.to_vec());
            return false;
        }
        let is_sum = text.starts_with(b"sent ") && text.contains_str(b" total size ");
        if text == BEGINS || begins && text == LISTED {
            return text == BEGINS;
        }
        if is_sum || Transcript::is_known(text) {
            return false;
        }
        let is_news = match tells {
            Tells::All => true,
            Tells::AllAndRemember => {
                open.made.insert(text.to_vec());
                true
            }
            Tells::New => !open.made.contains(text),
            Tells::NoDirs => !text.starts_with(b".d"),
            Tells::NotSpine => !said.is_about_spine(text),
            Tells::Deletions => is_about_deletion(text),
        };
        if is_news {
            open.begin();
            open.write(&[line, b"\n"].concat());
        }
        false
    }

    /// The last lines.
    pub fn close(&self, closing: &Closing, over: bool, failed: bool) {
        let mut open = self.lock();
        open.begin();
        let figures = &closing.figures;
        let mut lines = Vec::new();
        if over {
            lines.extend(closing.block());
            lines.extend(closing.sums());
        }
        // Otherwise the sums have said it.
        if failed || closing.shows.stats == 0 {
            let (sent, received, size) = (figures.sent, figures.received, figures.total_size);
            lines.push(format!("sent {sent} bytes  received {received} bytes  total size {size}"));
        }
        lines.iter().for_each(|line| open.say(line.as_bytes()));
        if let Some(last) = open.last.take().filter(|_| failed) {
            open.say(&last);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.say(BEGINS);
            if self.lists {
                self.say(LISTED);
            }
        }
    }

    /// A line of our own.
    fn say(&mut self, text: &[u8]) {
        let now = jiff::ZonedDateTime::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        let begin = format!("{now} [{}] ", std::process::id());
        self.write(&[begin.as_bytes(), text, b"\n"].concat());
    }

    /// A file that can no longer be written is left alone, as by rsync.
    fn write(&mut self, line: &[u8]) {
        if let Some(file) = self.file.as_mut().filter(|_| !self.failed) {
            self.failed = file.write_all(line).is_err();
        }
    }
}

/// What one launch takes for its log file.
pub(super) struct Pipe {
    path: PathBuf,
    file: File,
}

impl Pipe {
    /// Its name.
    pub fn path(&self) -> OsString {
        self.path.clone().into()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It goes with the directory otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}
