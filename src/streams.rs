//! Standard output and standard error of the command. A reader that does not read blocks a run, as with any program, but not its end: after a signal, a
//! stream that accepts nothing for a second is given up.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// How long a stream that is not read is waited for after a signal.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is checked whether there was a signal.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A pipe that is ready accepts this many bytes at once (pipe(7), `PIPE_BUF`).
const PIECE: usize = 4096;

static STOPPED: AtomicBool = AtomicBool::new(false);
static DIVERTED: AtomicBool = AtomicBool::new(false);
static OUT: Stream = Stream::new(1);
static ERR: Stream = Stream::new(2);

/// Writes to standard output.
pub fn out(text: impl AsRef<[u8]>) {
    let stream = if DIVERTED.load(Ordering::SeqCst) { &ERR } else { &OUT };
    let _ = stream.write(text.as_ref());
}

/// Writes a requested answer, and nothing else, to standard output.
///
/// # Errors
/// A part of it is lost, although the reader has not closed the stream.
pub fn answer(text: impl AsRef<[u8]>) -> std::io::Result<()> {
    match OUT.write(text.as_ref()) {
        Err(Errno::PIPE) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// From now on text for standard output goes to standard error.
pub fn divert_out() {
    DIVERTED.store(true, Ordering::SeqCst);
}

/// Writes to standard error.
pub fn err(text: impl AsRef<[u8]>) {
    let _ = ERR.write(text.as_ref());
}

/// Whether standard error would accept something now.
pub fn err_is_ready() -> bool {
    !ERR.given_up.load(Ordering::SeqCst) && is_ready(ERR.way().as_fd(), Duration::ZERO)
}

/// From now on a stream that accepts nothing is given up.
pub fn stop() {
    STOPPED.store(true, Ordering::SeqCst);
}

struct Stream {
    number: u8,
    way: OnceLock<Way>,
    given_up: AtomicBool,
}

/// How a stream is written to without blocking.
enum Way {
    /// For a pipe or a terminal: a file description of our own, because O_NONBLOCK on the shared one would make writes of other processes fail.
    Own(OwnedFd),
    Socket(OwnedFd),
    /// Regular files, which are always ready.
    Shared(OwnedFd),
    Closed,
}

impl Way {
    fn find(number: u8) -> Way {
        let path = format!("/proc/self/fd/{number}");
        let shared = match number {
            1 => rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3),
            _ => rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3),
        };
        let Ok(shared) = shared else { return Way::Closed };
        let kind = rustix::fs::fstat(&shared).map(|found| FileType::from_raw_mode(found.st_mode));
        let waits = kind == Ok(FileType::Fifo) || rustix::termios::isatty(&shared);
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            _ if kind == Ok(FileType::Socket) => Way::Socket(shared),
            Ok(own) if waits => Way::Own(own),
            _ => Way::Shared(shared),
        }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Way::Own(fd) | Way::Socket(fd) | Way::Shared(fd) => Some(fd.as_fd()),
            Way::Closed => None,
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Way::Socket(fd) => rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Own(fd) | Way::Shared(fd) => rustix::io::write(fd, bytes),
            Way::Closed => Err(Errno::BADF),
        }
    }
}

impl Stream {
    const fn new(number: u8) -> Stream {
        Stream { number, way: OnceLock::new(), given_up: AtomicBool::new(false) }
    }

    fn way(&self) -> &Way {
        self.way.get_or_init(|| Way::find(self.number))
    }

    /// Writes all bytes, unless the stream is closed or full, which must not end the run, or was given up.
    fn write(&self, mut bytes: &[u8]) -> rustix::io::Result<()> {
        let way = self.way();
        let mut waited: Option<Instant> = None;
        while !bytes.is_empty() && !self.given_up.load(Ordering::SeqCst) {
            let wrote = if is_ready(way.as_fd(), LOOK_EVERY) {
                way.write(&bytes[..bytes.len().min(PIECE)])
            } else {
                Err(Errno::AGAIN)
            };
            match wrote {
                Ok(count) => {
                    bytes = &bytes[count..];
                    waited = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if STOPPED.load(Ordering::SeqCst) => {
                    let since = *waited.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        self.given_up.store(true, Ordering::SeqCst);
                    }
                }
                // A terminal may be ready but accept less than a piece.
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn is_ready(fd: Option<BorrowedFd<'_>>, patience: Duration) -> bool {
    let Some(fd) = fd else { return true };
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos() as _ };
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&timeout)) {
        Ok(ready) => ready > 0,
        Err(errno) => errno != Errno::INTR,
    }
}
