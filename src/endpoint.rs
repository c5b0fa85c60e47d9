//! Sources and destinations as rsync reads them on its command line, checked once, then spelled for the rsync that is started.
//!
//! This module owns the grammar of rsync(1) (GENERAL, USAGE, ADVANCED USAGE): which words name another machine, what a trailing slash means, and how a
//! destination becomes one argument for a process with another working directory. It never accesses the file system and never resolves `..`, whose meaning a
//! symbolic link can change. It refuses: empty words; sources on several machines, or on another machine if DEST is on another machine as well; users, hosts,
//! modules and remote paths that rsync, ssh or a remote shell would take for an option or for several words; URLs that rsync would not read as URLs. A local
//! path may begin with `-`: it is passed on as an absolute path or, for a source, as a name below its base, where the caller writes `./` before it.

mod addresses;
mod destination;
mod reading;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub use addresses::{Addresses, Ends, Seen};
pub use destination::Destination;
pub use source::{Form, Source};
pub use target::{DaemonForm, Target};

use crate::entry::Printable;
use crate::error::{Error, Result};

fn check_local(role: &str, word: &OsStr) -> Result<()> {
    if word.is_empty() {
        return Err(Error::usage(format!("a {role} is empty")).remedy("write '.' for the current directory"));
    }
    if word.as_bytes().contains(&0) {
        return Err(Error::usage(format!("{role} '{}' holds a NUL byte", Printable::os(word)))
            .remedy("no path can hold one: check how the argument was made"));
    }
    Ok(())
}
