//! The user's `--log-file`. Each launch writes its log to a pipe, so that the file receives what one rsync would have written: one beginning, one end, and the
//! statistics, if the user wants them.

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

/// How often to check whether a launch that writes nothing has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The first line of rsync's log.
const BEGINS: &[u8] = b"building file list";

/// The line that follows if rsync announced the list of files to the user, and the list is complete.
const LISTED: &[u8] = b"done";

/// The user's log file.
pub(super) struct UserLog {
    /// The directory of the pipes.
    dir: PathBuf,
    pipes: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    file: Option<File>,
    begun: bool,
    /// rsync's last message about its exit code.
    last: Option<Vec<u8>>,
    /// [`LISTED`] follows the first line.
    lists: bool,
    /// Lines about directories that were created. Launches below these directories may repeat the lines.
    made: HashSet<Vec<u8>>,
    failed: bool,
}

impl UserLog {
    /// Opens the file, as rsync does at its start. If this fails, the run continues without it, and reports it in rsync's words.
    pub fn open(
        path: &Path,
        typed: &OsStr,
        dir: &Path,
        lists: bool,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Option<UserLog> {
        // The file is readable by all, as far as the user's umask allows.
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

    /// Creates a pipe for one launch.
    pub fn pipe(&self) -> io::Result<Pipe> {
        let path = self.dir.join(format!("log.{}", self.pipes.fetch_add(1, Ordering::Relaxed)));
        // An earlier part of the run may have left one.
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0)?;
        let flags = OFlags::NONBLOCK.bits() as i32;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        opened.map(|file| Pipe { path, file })
    }

    /// Does `work`, and meanwhile writes to the log what comes through the pipe.
    pub fn while_followed<T>(&self, pipe: &Pipe, tells: Tells, said: &Said, work: impl FnOnce() -> T) -> T {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let following = thread::start(scope, || self.follow(pipe, tells, said, &ended));
            let done = work();
            ended.store(true, Ordering::SeqCst);
            if following.is_err() {
                // Without a thread, only what the pipe could hold is written.
                self.follow(pipe, tells, said, &ended);
            }
            done
        })
    }

    /// Writes to the log what comes through the pipe, until the launch has `ended` and nothing is left in the pipe.
    fn follow(&self, pipe: &Pipe, tells: Tells, said: &Said, ended: &AtomicBool) {
        let mut lines = Lines::new(Stream::Stdout);
        let mut begins = false;
        let mut take = |_, line: &[u8]| begins = self.take(line, tells, said, begins);
        let mut buffer = [0; 16 * 1024];
        loop {
            // Checked before reading, so that everything written before the end is read.
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

    /// Handles a line of a launch. `begins`: the previous line was the first one of rsync's log. Returns the same for this line.
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

    /// Writes the last lines.
    pub fn close(&self, closing: &Closing, over: bool, failed: bool) {
        let mut open = self.lock();
        open.begin();
        let figures = &closing.figures;
        let mut lines = Vec::new();
        if over {
            lines.extend(closing.block());
            lines.extend(closing.sums());
        }
        // Otherwise, the totals contain this line.
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

    /// Writes a line of multi-sync itself.
    fn say(&mut self, text: &[u8]) {
        let now = jiff::ZonedDateTime::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        let begin = format!("{now} [{}] ", std::process::id());
        self.write(&[begin.as_bytes(), text, b"\n"].concat());
    }

    /// Writes a line. After an error nothing more is written, as in rsync.
    fn write(&mut self, line: &[u8]) {
        if let Some(file) = self.file.as_mut().filter(|_| !self.failed) {
            self.failed = file.write_all(line).is_err();
        }
    }
}

/// The pipe that one launch takes for its log file.
pub(super) struct Pipe {
    path: PathBuf,
    file: File,
}

impl Pipe {
    /// The path of the pipe.
    pub fn path(&self) -> OsString {
        self.path.clone().into()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // If this fails, the pipe is removed with its directory.
        let _ = std::fs::remove_file(&self.path);
    }
}
