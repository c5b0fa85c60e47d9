//! Scans sources on another machine: the tree is read there, by the best available means, and reported here as [`Scan::run`] reports a scan of this machine.
//!
//! A means is a way to list a tree: this program, if the same version is installed there, `find`, or rsync's own listing, which also works with a daemon and
//! a restricted login. [`look`] asks which of them are available, [`Found::choose`] selects the best one that supports everything the scan needs, and
//! [`scan`] runs it.
//!
//! A listing counts as complete only if the lister says so at its end. Everything else is an error that ends the scan: what was reported until then is true,
//! but incomplete.
//!
//! Nothing is left running there when this process is gone: each lister ends when its standard input ends, or with rsync's connection.

mod agent;
mod begun;
mod child;
pub mod crew;
mod find;
pub mod hold;
mod listing;
mod means;

use std::ffi::OsString;
use std::num::NonZero;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{EXIT_PARTIAL, Error, Result};
use crate::scan::{Event, Scan, Small, Watch};
use crate::supervise::{Invocation, Supervisor};

pub use agent::serve;
pub use listing::{Listing, begin as begin_listing};
pub use means::{Found, Means, Wanted, look, look_at};

/// The pauses before a server is asked again that had no place for another client, or did not answer.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// How the other machine is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Starts a POSIX shell there that reads its script from standard input, such as `ssh HOST sh -s`; `None` if only an rsync answers there.
    pub shell: Option<Invocation>,
    /// rsync with the options that are needed to reach it, and no others.
    pub rsync: Invocation,
    /// Each root of the scan as an rsync source argument, in which rsync must expand nothing. It ends with a slash for the contents of a base.
    pub words: Vec<OsString>,
    /// A process that shows no activity for this time is ended.
    pub stall: Option<Duration>,
}

/// The inputs of a scan of another machine.
#[derive(Clone, Copy)]
pub struct Far<'a> {
    /// The scan. Its roots are on the other machine; a relative base begins at the user's home directory there.
    pub scan: &'a Scan,
    /// How the machine is reached.
    pub reach: &'a Reach,
    /// The means that lists.
    pub means: Means,
    /// The ID of the user who lists there, if it is known ([`Found::user`]).
    pub user: Option<u32>,
    /// The device and inode that the only root must have, if they are known ([`hold::Hold`]).
    pub identity: Option<(u64, u64)>,
    /// rsync's listing of the root, if it has already begun ([`begin_listing`]).
    pub begun: Option<&'a Listing>,
    /// The scan ends when this supervisor is stopped.
    pub supervisor: &'a Supervisor,
}

impl std::fmt::Debug for Far<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Far").field("reach", self.reach).field("means", &self.means).finish_non_exhaustive()
    }
}

/// Checks that a root is the directory that was looked at before, if it was.
///
/// # Errors
/// It is another directory.
fn check_root(expected: Option<(u64, u64)>, found: (u64, u64)) -> Result<()> {
    if expected.is_none_or(|expected| expected == found) {
        return Ok(());
    }
    let error = Error::file_io("the source was replaced by another directory while multi-sync began");
    Err(error.remedy("run it again").exit(EXIT_PARTIAL))
}

/// Scans all roots, as [`Scan::run_sized`] does on this machine: with the same events, guarantees and counts. Directories have a device and inode only if the
/// means reports them, otherwise `(0, 0)`. A directory whose owner is not reported counts as exposed.
///
/// # Errors
/// The listing is incomplete or cannot be understood, or the means does not support what the scan needs ([`Found::choose`]).
pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    far.means.refuse(far.scan)?;
    match far.means {
        Means::Agent => agent::scan(far, small, watch, sink),
        Means::Find => find::scan(far, small, watch, sink),
        Means::Rsync => listing::scan(far, small, watch, sink),
    }
}

/// The number of threads that [`Scan::new`] needs. More threads do not make a listing faster.
pub const THREADS: NonZero<usize> = NonZero::<usize>::MIN;

/// An error number as reported by the other machine, where it may be anything.
fn errno(number: i64) -> Errno {
    /// The largest error number of Linux (rustix refuses larger ones).
    const MOST: i32 = 4095;
    i32::try_from(number).ok().filter(|number| (1..=MOST).contains(number)).map_or(Errno::IO, Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_an_error() {
        for (number, is) in
            [(2, Errno::NOENT), (0, Errno::IO), (-1, Errno::IO), (5000, Errno::IO), (i64::MAX, Errno::IO)]
        {
            assert_eq!(errno(number), is, "{number}");
        }
    }
}
