//! A listing that runs before it is known what becomes of it. Over a long link each question costs as much as a listing: what the source is stands in
//! the first line of it, and the scan takes the rest.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::child::{self, Finished};
use crate::error::{EXIT_IPC, Error, Result};
use crate::scan::Watch;
use crate::supervise::{Invocation, Stop, Supervisor};
use crate::thread;

/// How often it is looked whether nobody wants it any more.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Pieces of its output that wait for who reads them; then it waits itself.
const WAITING: usize = 256;
/// A line that is longer is none of a listing.
const LONGEST_LINE: usize = 64 * 1024;
/// So long its end is waited for when it is given up.
const LONGEST_END: Duration = Duration::from_secs(5);

/// What it has said, in its order.
pub enum Piece<T> {
    /// Output, or its end.
    Out(Option<Vec<u8>>),
    /// It has ended. `T` is what was heard of its standard error.
    Ended(Result<(Finished, T)>),
}

/// A command that lists, and what it has printed that nobody has taken yet. It is ended when this goes.
pub struct Begun<T> {
    supervisor: Arc<Supervisor>,
    pieces: Mutex<Pieces<T>>,
}

struct Pieces<T> {
    receiver: Receiver<Piece<T>>,
    /// Looked at, and not taken.
    held: VecDeque<Piece<T>>,
    over: bool,
}

impl<T> std::fmt::Debug for Begun<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl<T: Default + Send + 'static> Begun<T> {
    /// Starts the command. `hear` takes each line of its standard error, and says whether it has understood it.
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
            // Who has given up takes nothing more.
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

    /// The first line of it, which stays there; `None` if it has ended without one, or `given_up`.
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

    /// What comes next: `None` if nothing has come for a moment. Nothing comes after its end.
    pub fn next(&self) -> Option<Piece<T>> {
        let mut pieces = self.pieces();
        let gone = || Piece::Ended(Err(Error::usage("the thread of a listing has panicked").exit(EXIT_IPC)));
        let next = pieces.held.pop_front().or_else(|| pieces.receive());
        next.or_else(|| pieces.over.then(gone))
    }

    /// Has it end.
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
            // Its thread has panicked.
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
