//! Threads, which a system may refuse: that is an error like any other, and never a panic in the middle of a run.

use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::error::{EXIT_IPC, Error, Result};

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

/// The system allows no more threads.
pub fn refused() -> Error {
    Error::usage("cannot start a thread").remedy("allow more processes (`ulimit -u`), or start fewer").exit(EXIT_IPC)
}
