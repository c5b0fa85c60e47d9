//! Threads. The system may refuse to start one: this is an error like any other, and never a panic in the middle of a run.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Starts a thread in a scope.
///
/// # Errors
/// The system allows no more threads.
pub fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(|cause| refused().because(cause))
}

type Work<'scope, T> = Box<dyn FnOnce() -> T + Send + 'scope>;

/// Work that is done in a thread of its own, or when its result is wanted if the system allows no more threads.
pub enum Beside<'scope, T> {
    /// It has begun.
    Thread(ScopedJoinHandle<'scope, Option<T>>),
    /// There is no thread for it.
    Later(Work<'scope, T>),
}

/// Begins work in a thread of its own, if there can be one.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Beside<'scope, T> {
    // A thread that is refused would take the work with it.
    let slot = Arc::new(Mutex::new(Some(Box::new(work) as Work<'scope, T>)));
    let take = |slot: &Mutex<Option<Work<'scope, T>>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let of_thread = Arc::clone(&slot);
    match start(scope, move || take(&of_thread).map(|work| work())) {
        Ok(thread) => Beside::Thread(thread),
        Err(_) => Beside::Later(take(&slot).expect("a thread that was not started has taken nothing")),
    }
}

impl<T> Beside<'_, T> {
    /// The result; `None` if the work panicked.
    pub fn join(self) -> Option<T> {
        match self {
            Beside::Thread(thread) => thread.join().ok().flatten(),
            Beside::Later(work) => Some(work()),
        }
    }
}

/// Starts a thread that is never waited for, because it may hang forever, for example if the server of a mounted source does not answer.
///
/// # Errors
/// The system allows no more threads.
pub fn detach(work: impl FnOnce() + Send + 'static) -> Result<()> {
    Builder::new().spawn(work).map(drop).map_err(|cause| refused().because(cause))
}

/// Does work that may hang in a thread of its own, and waits for it until `given_up`, and half a second longer. `None` if it was not finished by then.
///
/// # Errors
/// The system allows no more threads, or the work panicked.
pub fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    given_up: impl Fn() -> bool,
) -> Result<Option<T>> {
    /// How often `given_up` is checked.
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    /// Work that does not hang is finished by then.
    const GRACE: Duration = Duration::from_millis(500);
    let (sender, receiver) = mpsc::sync_channel(1);
    // The receiver may have given up.
    detach(move || drop(sender.send(work())))?;
    let mut since: Option<Instant> = None;
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(done) => return Ok(Some(done)),
            Err(RecvTimeoutError::Timeout) => {
                if given_up() && since.get_or_insert_with(Instant::now).elapsed() >= GRACE {
                    return Ok(None);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::system("a thread of multi-sync panicked"));
            }
        }
    }
}

/// The error if the system allows no more threads.
pub fn refused() -> Error {
    Error::system("cannot start a thread").remedy("allow more processes (`ulimit -u`), or start fewer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind_and_what_panics_is_an_error() {
        assert_eq!(apart(|| 7, || true).unwrap(), Some(7));
        let (holds, held) = mpsc::channel::<()>();
        assert_eq!(apart(move || held.recv().is_ok(), || true).unwrap(), None);
        drop(holds);
        assert!(apart(|| panic!("a thread that ends so"), || false).is_err());
    }
}
