//! A listing that runs before it is decided what it is used for. Over a slow link each question takes as long as a listing. The first line of the listing
//! tells what the source is, and the scan uses the rest.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::child::{self, Finished};
use crate::error::{Error, Result};
use crate::scan::Watch;
use crate::supervise::{Invocation, Stop, Supervisor};
use crate::thread;

/// How often it is checked whether the listing is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many pieces of output may wait for the reader. When there are more, the command has to wait.
const WAITING: usize = 256;
/// A longer line cannot be part of a listing.
const LONGEST_LINE: usize = 64 * 1024;
/// How long to wait for the end of a listing that was given up.
const LONGEST_END: Duration = Duration::from_secs(5);

/// A piece of its output, or its end, in order.
pub enum Piece<T> {
    /// Output; `None` at the end of the stream.
    Out(Option<Vec<u8>>),
    /// The command has ended. `T` is what was understood of its standard error.
    Ended(Result<(Finished, T)>),
}

/// A command that lists, and the output that nobody has taken yet. Dropping this value ends the command.
pub struct Begun<T> {
    supervisor: Arc<Supervisor>,
    pieces: Mutex<Pieces<T>>,
}

struct Pieces<T> {
    receiver: Receiver<Piece<T>>,
    /// Pieces that were looked at, but not taken.
    held: VecDeque<Piece<T>>,
    over: bool,
}

impl<T> std::fmt::Debug for Begun<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl<T: Default + Send + 'static> Begun<T> {
    /// Starts the command. `hear` gets each line of its standard error, and returns whether it has understood it.
    ///
    /// # Errors
    /// The system allows no more threads.
    pub fn start(
        invocation: Invocation,
        stall: Option<Duration>,
        hear: impl Fn(&[u8], &mut T) -> bool + Send + 'static,
    ) -> Result<Begun<T>> {
        let supervisor = Arc::<Supervisor>::default();
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let own = Arc::clone(&supervisor);
        thread::detach(move || {
            let mut heard = T::default();
            // The receiver may be gone if the listing was given up.
            let mut out = |bytes: Option<&[u8]>| {
                let _ = sender.send(Piece::Out(bytes.map(<[u8]>::to_vec)));
                Ok(())
            };
            let err = &mut |line: &[u8]| hear(line, &mut heard);
            let ended = child::run(&invocation, None, stall, &own, &Watch::default(), &mut out, err);
            let _ = sender.send(Piece::Ended(ended.map(|finished| (finished, heard))));
        })?;
        let pieces = Pieces { receiver, held: VecDeque::new(), over: false };
        Ok(Begun { supervisor, pieces: Mutex::new(pieces) })
    }

    /// The first line of the output, which is not removed from it; `None` if the command has ended without one, or `given_up` returns true.
    pub fn first_line(&self, given_up: impl Fn() -> bool) -> Option<Vec<u8>> {
        let mut pieces = self.pieces();
        let mut line = Vec::new();
        let mut at = 0;
        loop {
            while let Some(piece) = pieces.held.get(at) {
                let Piece::Out(Some(bytes)) = piece else { return None };
                let end = bytes.iter().position(|byte| *byte == b'\n');
                line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                if end.is_some() {
                    return Some(line);
                }
                at += 1;
            }
            if given_up() || pieces.over || line.len() > LONGEST_LINE {
                return None;
            }
            if let Some(piece) = pieces.receive() {
                pieces.held.push_back(piece);
            }
        }
    }

    /// The next piece; `None` if nothing has come for a moment. Nothing follows [`Piece::Ended`].
    pub fn next(&self) -> Option<Piece<T>> {
        let mut pieces = self.pieces();
        let gone = || Piece::Ended(Err(Error::system("the thread of a listing has panicked")));
        let next = pieces.held.pop_front().or_else(|| pieces.receive());
        next.or_else(|| pieces.over.then(gone))
    }

    /// Asks the command to end.
    pub fn stop(&self) {
        self.supervisor.stop(Stop::Terminate);
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces<T>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Pieces<T> {
    fn receive(&mut self) -> Option<Piece<T>> {
        let piece = match self.receiver.recv_timeout(LOOK_EVERY) {
            Ok(piece) => Some(piece),
            Err(RecvTimeoutError::Timeout) => None,
            // Only if its thread has panicked.
            Err(RecvTimeoutError::Disconnected) => {
                self.over = true;
                None
            }
        };
        self.over |= matches!(piece, Some(Piece::Ended(_)));
        piece
    }
}

impl<T> Drop for Begun<T> {
    fn drop(&mut self) {
        self.supervisor.stop(Stop::Terminate);
        let pieces = self.pieces.get_mut().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        while !pieces.over && began.elapsed() < LONGEST_END {
            pieces.receive();
        }
    }
}
