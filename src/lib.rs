//! multi-sync turns one rsync into many: it scans trees in parallel, packs them into balanced buckets, and keeps several rsync processes
//! busy with them. The result is that of one `rsync OPTS SRC... DEST`.
//!
//! - [`job`] is a whole copy: a [`job::JobBuilder`] describes it, and a [`job::Job`] runs, resumes, verifies, counts or explains it, and reports
//!   [`job::Event`]s. The command `multi-sync` uses this module, and adds parsing and printing.
//! - [`scan`] is the parallel scan alone: [`scan::Scan`] reads trees with several threads, and streams the entries as units of limited size.
//! - [`bucket`] is the packing alone: [`bucket::Packer`] packs the names that a scan, or another program, finds into lists of limited weight.
//!
//! Failures are [`Error`]s: an error prints what was attempted and why it failed, and has a [kind](Error::kind), an [advice](Error::advice) and the exit
//! code that rsync would give. A failure that concerns one entry is not an error but an event, and changes the exit code of the [`job::Outcome`].
//!
//! The library works on Linux only: the scan needs `statx` and `getdents64`, and `prctl` ends a child when its parent dies. `examples/` has a program
//! for each of the three modules, and `docs/architecture.md` describes the internal structure.

mod adapt;
mod bench;
pub mod bucket;
#[doc(hidden)]
pub mod command;
mod config;
mod connection;
mod cost;
mod endpoint;
mod engine;
mod entry;
mod error;
mod events;
mod far;
mod file_system;
mod first_pass;
mod guard;
mod handle;
#[doc(hidden)]
pub mod harness;
mod hosts;
pub mod job;
mod limit;
mod names;
mod outlet;
mod page;
mod plan;
mod preflight;
mod queue;
mod recheck;
mod report;
mod rsync;
mod run_dir;
pub mod scan;
mod sched;
mod selftest;
mod shared;
mod shell;
mod size;
mod spool;
mod state;
mod steer;
mod supervise;
mod survey;
mod temporary;
mod thread;
mod treegen;
mod trial;
mod verify;

pub use error::{Error, ErrorKind, Result};
