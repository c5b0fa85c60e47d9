//! The scan of sources on another machine: it is read there, by the best means that is to be had, and told here as [`Scan::run`] tells a scan
//! of this machine.
//!
//! A means is a way to have a tree listed: this program itself where the same version is installed there, `find`, or rsync's own listing,
//! which a daemon and a restricted login give as well. [`look`] asks which of them there are, [`Found::choose`] takes the best one that knows all that a scan
//! asks for, and [`scan`] has it list.
//!
//! A listing counts as complete only if what made it says so at its end. Everything else is an error that ends the scan: what was told until
//! then is true, and is not all.
//!
//! Nothing is left there when this process goes: whatever runs there ends with its standard input, or with rsync's connection.

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

/// So long it is waited before a server is asked again that had no place for one more client, or did not answer.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// How what is on the other machine is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Starts a POSIX shell there that reads its script from standard input, such as `ssh HOST sh -s`; `None` if only an rsync answers there.
    pub shell: Option<Invocation>,
    /// rsync with the options that lead there, and nothing else.
    pub rsync: Invocation,
    /// Each root of the scan as a source of rsync, which nothing in its name may change: with a slash at its end for the contents of
    /// a base.
    pub words: Vec<OsString>,
    /// What does not move for so long is ended.
    pub stall: Option<Duration>,
}

/// What a scan of another machine works with.
#[derive(Clone, Copy)]
pub struct Far<'a> {
    /// The roots there, and what is asked of them. Their bases are paths of that machine; a relative one begins at the home of the user there.
    pub scan: &'a Scan,
    /// The way there.
    pub reach: &'a Reach,
    /// What lists.
    pub means: Means,
    /// Number of the user who lists there, if that is known ([`Found::user`]).
    pub user: Option<u32>,
    /// Device and inode that the one root must have, if that is known ([`hold::Hold`]).
    pub identity: Option<(u64, u64)>,
    /// rsync's listing of it, where that has begun already ([`begin_listing`]).
    pub begun: Option<&'a Listing>,
    /// Whose children go on while the scan does: it ends with them.
    pub supervisor: &'a Supervisor,
}

impl std::fmt::Debug for Far<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Far").field("reach", self.reach).field("means", &self.means).finish_non_exhaustive()
    }
}

/// Whether a root is the one that was looked at before, if that was looked at.
///
/// # Errors
/// It is another directory.
fn check_root(expected: Option<(u64, u64)>, found: (u64, u64)) -> Result<()> {
    if expected.is_none_or(|expected| expected == found) {
        return Ok(());
    }
    let error = Error::usage("the source was replaced by another directory while multi-sync began");
    Err(error.remedy("run it again").exit(EXIT_PARTIAL))
}

/// Scans all roots, as [`Scan::run_sized`] does on this machine: with its events, its guarantees and its counts. The directories of other machines are known
/// by device and inode only where the means tells them, else all are `(0, 0)`, and a directory whose owner is not told is exposed.
///
/// # Errors
/// The listing did not come to its end, or cannot be understood; or the means does not know what is asked for ([`Found::choose`]).
pub fn scan(far: Far<'_>, small: Option<Small<'_>>, watch: &Watch, sink: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
    far.means.refuse(far.scan)?;
    match far.means {
        Means::Agent => agent::scan(far, small, watch, sink),
        Means::Find => find::scan(far, small, watch, sink),
        Means::Rsync => listing::scan(far, small, watch, sink),
    }
}

/// One thread does not make a listing faster; it is what [`Scan::new`] asks for.
pub const THREADS: NonZero<usize> = NonZero::<usize>::MIN;

/// An error of the other machine by its number, which may be anything.
fn errno(number: i64) -> Errno {
    /// The largest that Linux has (rustix refuses others).
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
