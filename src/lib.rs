//! multi-sync turns one rsync into many: it scans trees in parallel, packs them into balanced buckets, and keeps several rsync processes
//! busy with them, so that the destination ends as one `rsync OPTS SRC... DEST` would have left it.
//!
//! - [`job`] is the whole of it: a [`job::JobBuilder`] describes a copy, and a [`job::Job`] runs, resumes, verifies, counts or explains it, and tells
//!   [`job::Event`]s. The command `multi-sync` is a user of it that parses and prints.
//! - [`scan`] is the parallel scan alone: [`scan::Scan`] reads trees with several threads, and streams what is there as units of limited size.
//! - [`bucket`] is the packing alone: [`bucket::Packer`] makes lists of names of limited weight of what a scan, or another program, finds.
//!
//! What fails is an [`Error`]: it prints as what was attempted and why, and has a [kind](Error::kind), an [advice](Error::advice) and the exit code that
//! rsync would give. A failure about one entry is no error but an event, and changes the exit code of the [`job::Outcome`].
//!
//! Linux only: the scan needs `statx` and `getdents64`, a child is tied to its parent's life by `prctl`. `examples/` has a program for each of the
//! three, and `docs/architecture.md` says how the inside is made.

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
