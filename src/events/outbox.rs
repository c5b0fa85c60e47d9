//! The lines for one output: a buffer of bounded size, and a thread that writes its contents. An output that accepts nothing delays the run by at most
//! [`PATIENCE`], once.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::error::Result;
use crate::thread;

use super::record::{Dropped, Record};

/// The most bytes that may wait to be written.
const MOST: usize = 4 << 20;
/// How long to wait for room in the buffer. After that lines are dropped until the buffer is at most half full.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long to wait at the end for an output that accepts nothing; the second value is used after a ^C.
const LAST_PATIENCE: [Duration; 2] = [Duration::from_secs(3), Duration::from_millis(500)];
/// How long to wait at the end for an output that is slow; the second value is used after a ^C.
const LONGEST_END: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(2)];
/// How many bytes are written at once.
const PIECE: usize = 64 << 10;

pub(super) struct Outbox {
    /// The name of the output, for users.
    name: String,
    sender: Sender<Arc<[u8]>>,
    done: Receiver<io::Result<()>>,
    waiting: Arc<Waiting>,
    /// Whether the output accepts nothing.
    stalled: bool,
    /// How many lines were dropped since the last line that reported this.
    untold: u64,
    /// How many lines were dropped in all.
    dropped: u64,
}

/// How much waits to be written.
#[derive(Default)]
struct Waiting {
    amounts: Mutex<Amounts>,
    less: Condvar,
}

#[derive(Default, Clone, Copy)]
struct Amounts {
    waiting: usize,
    written: u64,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Amounts> {
        self.amounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, bytes: usize) {
        let mut amounts = self.lock();
        amounts.waiting = amounts.waiting.saturating_sub(bytes);
        amounts.written += bytes as u64;
        drop(amounts);
        self.less.notify_all();
    }
}

impl Outbox {
    /// Starts to write to `file`.
    ///
    /// # Errors
    /// The system allows no more threads.
    pub fn new(name: String, file: File) -> Result<Outbox> {
        let (sender, lines) = mpsc::channel();
        let (ends, done) = mpsc::sync_channel(1);
        let waiting = Arc::<Waiting>::default();
        let its_waiting = Arc::clone(&waiting);
        // Nothing waits for this thread, because a reader may never read.
        thread::detach(move || drop(ends.send(write_all(file, &lines, &its_waiting))))?;
        Ok(Outbox { name, sender, done, waiting, stalled: false, untold: 0, dropped: 0 })
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Passes a line on, or drops it. If lines were dropped, a line made by `line` reports this before the next one.
    pub fn put(&mut self, text: &Arc<[u8]>, line: &dyn Fn(&Record) -> Arc<[u8]>) {
        let patience = if self.stalled { Duration::ZERO } else { PATIENCE };
        let most = if self.stalled { MOST / 2 } else { MOST };
        self.put_within(text, line, most, patience);
    }

    /// Passes on the last line, which is never dropped.
    pub fn put_last(&mut self, text: Arc<[u8]>, line: &dyn Fn(&Record) -> Arc<[u8]>) {
        self.put_within(&text, line, usize::MAX, Duration::ZERO);
    }

    fn put_within(&mut self, text: &Arc<[u8]>, line: &dyn Fn(&Record) -> Arc<[u8]>, most: usize, patience: Duration) {
        let told = (self.untold > 0).then(|| line(&Record::Dropped(Dropped { count: self.untold })));
        let length = text.len() + told.as_ref().map_or(0, |told| told.len());
        let full = |amounts: &mut Amounts| amounts.waiting > 0 && amounts.waiting.saturating_add(length) > most;
        let mut amounts = self.waiting.lock();
        if full(&mut amounts) && !patience.is_zero() {
            let waited = self.waiting.less.wait_timeout_while(amounts, patience, full);
            amounts = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.stalled = full(&mut amounts);
        if self.stalled {
            self.untold += 1;
            self.dropped += 1;
            return;
        }
        amounts.waiting += length;
        drop(amounts);
        self.untold = 0;
        // An error in sending means that the writer has ended after an error, which is reported at the end.
        told.into_iter().chain([Arc::clone(text)]).for_each(|text| drop(self.sender.send(text)));
    }

    /// Waits until everything is written, as long as there is progress. Returns what is missing.
    pub fn close(self, interrupted: bool) -> Option<String> {
        let Outbox { name, sender, done, waiting, dropped, .. } = self;
        drop(sender);
        let (patience, longest) = (LAST_PATIENCE[usize::from(interrupted)], LONGEST_END[usize::from(interrupted)]);
        let began = Instant::now();
        loop {
            let before = waiting.lock().written;
            match done.recv_timeout(patience) {
                Ok(Ok(())) if dropped == 0 => return None,
                Ok(Ok(())) => return Some(format!("{name} lack {dropped} lines that were not read in time")),
                Ok(Err(cause)) => return Some(format!("{name} could not be written completely: {cause}")),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(format!("{name} could not be written completely"));
                }
            }
            if waiting.lock().written == before || began.elapsed() >= longest {
                return Some(format!("{name} could not be written completely: nobody reads them"));
            }
        }
    }
}

/// Writes lines as they come; lines that wait are written together.
fn write_all(mut file: File, lines: &Receiver<Arc<[u8]>>, waiting: &Waiting) -> io::Result<()> {
    let mut piece = Vec::new();
    while let Ok(line) = lines.recv() {
        piece.extend_from_slice(&line);
        while piece.len() < PIECE
            && let Ok(line) = lines.try_recv()
        {
            piece.extend_from_slice(&line);
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    waiting.wrote(count);
                    rest = &rest[count..];
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the file description has made it non-blocking.
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], None);
                }
                Err(cause) => {
                    // Wakes a thread that waits for room, because it would wait in vain.
                    waiting.wrote(usize::MAX / 2);
                    return Err(cause);
                }
            }
        }
        piece.clear();
        piece.shrink_to(PIECE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn line(record: &Record) -> Arc<[u8]> {
        Arc::from(format!("{record:?}\n").into_bytes())
    }

    fn text(count: usize) -> Arc<[u8]> {
        Arc::from(vec![b'x'; count])
    }

    #[test]
    fn who_does_not_read_holds_up_nobody_and_is_told_what_is_missing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut outbox = Outbox::new("the lines".into(), File::from(OwnedFd::from(writer))).unwrap();
        let began = Instant::now();
        for _ in 0..1000 {
            outbox.put(&text(10_000), &line);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let dropped = outbox.dropped();
        assert!((500..700).contains(&dropped), "{dropped}");
        outbox.put_last(text(1), &line);
        let reading = std::thread::spawn(move || {
            let mut read = String::new();
            reader.read_to_string(&mut read).map(|_| read)
        });
        let lack = outbox.close(false).unwrap();
        assert!(lack.contains(&format!("lack {dropped} lines")), "{lack}");
        let read = reading.join().unwrap().unwrap();
        assert!(read.ends_with(&format!("Dropped(Dropped {{ count: {dropped} }})\nx")));
    }

    #[test]
    fn who_has_gone_or_never_reads_does_not_hold_up_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        let mut outbox = Outbox::new("the lines".into(), File::from(OwnedFd::from(writer))).unwrap();
        drop(reader);
        outbox.put_last(text(1), &line);
        assert!(outbox.close(false).unwrap().contains("Broken pipe"));
        let (_reader, writer) = io::pipe().unwrap();
        let mut outbox = Outbox::new("the lines".into(), File::from(OwnedFd::from(writer))).unwrap();
        outbox.put(&text(1 << 20), &line);
        let began = Instant::now();
        assert!(outbox.close(true).unwrap().contains("nobody reads them"));
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}
