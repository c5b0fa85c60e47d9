//! The pipes of a child: waiting for output, reading it, splitting it into lines, and writing the child's input.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ChildStdin;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{LONGEST_LINE, Stream};

/// How many bytes a pipe holds.
pub(super) fn pipe_size(pipe: &dyn AsFd) -> usize {
    rustix::pipe::fcntl_getpipe_size(pipe.as_fd()).unwrap_or(1 << 20)
}

pub(super) fn wait_for_output(
    stdout: Option<&impl AsFd>,
    stderr: Option<&impl AsFd>,
    unfed: Option<&impl AsFd>,
    patience: Duration,
) -> io::Result<(bool, bool)> {
    let mut watched = Vec::with_capacity(3);
    watched.extend(stdout.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    watched.extend(stderr.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    watched.extend(unfed.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.as_nanos() as _ };
    match poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready = |n: usize| watched.get(n).is_some_and(|fd| !fd.revents().is_empty());
    Ok(match (stdout.is_some(), stderr.is_some()) {
        (true, true) => (ready(0), ready(1)),
        (true, false) => (ready(0), false),
        (false, _) => (false, ready(0)),
    })
}

pub(super) fn has_output(pipe: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&now)), Ok(1))
}

/// Reads, and returns the number of bytes; 0 at the end of the stream.
pub(super) fn read_some<P: Read>(pipe: &mut Option<P>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(pipe) = pipe else { return Ok(None) };
    match pipe.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(cause) => Err(cause),
    }
}

pub(super) fn hear_some<P>(
    pipe: &mut Option<P>,
    stream: Stream,
    buffer: &[u8],
    read: Option<usize>,
    each: &mut dyn FnMut(Stream, Option<&[u8]>),
) {
    match read {
        Some(0) => {
            pipe.take();
            each(stream, None);
        }
        Some(length) => each(stream, Some(&buffer[..length])),
        None => {}
    }
}

/// The input of a child, in a pipe that stays open until the child has ended.
pub(super) struct Feed<'a> {
    pub pipe: ChildStdin,
    pub left: &'a [u8],
}

impl Feed<'_> {
    /// Writes as much as the pipe takes now.
    pub fn write(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            match rustix::io::write(&self.pipe, self.left) {
                Ok(count) => self.left = &self.left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The child does not read any more. The way it ended will say why.
                Err(Errno::PIPE) => self.left = &[],
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl Feed<'_> {
    /// Writes a line after all other input. False if the pipe does not take it now, or nobody reads any more.
    pub fn say(&mut self, line: &str) -> bool {
        rustix::io::write(&self.pipe, format!("{line}\n").as_bytes()).is_ok()
    }
}

/// Splits a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Lines { stream, begun: Vec::new() }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Stream, &[u8])) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.begun.is_empty() {
                each(self.stream, &bytes[..end]);
            } else {
                self.begun.extend_from_slice(&bytes[..end]);
                each(self.stream, &self.begun);
                self.begun.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() >= LONGEST_LINE {
            each(self.stream, &self.begun);
            self.begun.clear();
        }
    }

    /// Passes on the last line, which has no newline.
    pub(crate) fn finish(&mut self, each: &mut dyn FnMut(Stream, &[u8])) {
        if !self.begun.is_empty() {
            each(self.stream, &self.begun);
            self.begun.clear();
        }
    }
}
