//! multi-sync makes one rsync many: it scans trees in parallel, packs them into balanced buckets, and keeps several rsync processes
//! busy with them, so that the destination ends as one `rsync OPTS SRC... DEST` would have left it.
//!
//! This page is the architecture; each module's page says what it owns and what it refuses.
//!
//! # Words
//! An *entry* is one name found by the scan. A *unit* is what is handed to rsync whole: a subtree, or a single name. The *spine* are
//! the directories that had to be split, from the top down. A *bucket* is units packed up to the limits; it is what is counted and
//! tried again. A *slot* is a place where one rsync runs, a *launch* one rsync process with one or more buckets, a *run* one
//! invocation with its bucket directory.
//!
//! # Flow
//! Data flows one way:
//!
//! ```text
//! config -> plan -> scan -> units and spine -> buckets -> queue -> launches -> spine's attributes -> summary, exit code
//! ```
//!
//! 1. [`plan`] looks at the machine, refuses early, and decides between several rsyncs and one.
//! 2. [`scan`] reads the sources in parallel and streams units and spine directories; [`bucket`] packs the units into files.
//! 3. [`engine`] creates spine directories before the first bucket below them, launches what [`queue`] gives it while the scan goes on, and
//!    sets the attributes of the spine last, when nothing can change them any more. Units go to rsync as arguments after `-R`, with whole
//!    subtrees for it to recurse into: its own options act in them as in any run of rsync.
//! 4. With source [`hosts`] the launches run there: [`preflight`] asks whether they can, and [`shell`] writes what they
//!    run, which they read in the bucket directory if they see it ([`shared`]).
//! 5. [`recheck`] is the question what an rsync would still do, put by a run of its own.
//! 6. [`report`] holds what a run tells; the command prints it.
//!
//! [`selftest`] and [`mod@bench`] do the same with trees of their own: they show whether it works, and how fast, on a machine.
//!
//! # Rules
//! - Imports go down these levels only; modules of one level do not know each other:
//!   [`error`], [`thread`], [`entry`], [`names`], [`handle`], [`endpoint`], [`size`], [`state`], [`temporary`], [`treegen`], [`verify`]; then [`rsync`]; then [`hosts`], [`shell`]; then
//!   [`config`]; then [`scan`], [`bucket`], [`cost`], [`queue`], [`adapt`], [`report`]; then [`recheck`], [`journal`], [`shared`], [`spool`]; then [`rundir`]; then
//!   [`supervise`]; then [`connection`]; then [`plan`], [`preflight`]; then [`engine`]; then [`trial`]; then [`selftest`], [`mod@bench`]; then the command.
//! - Only [`supervise`] starts processes, and a thread owns each. Only the command and the printers of [`report`] print.
//! - Names are bytes. A failure about one entry is a result that changes the exit code, not an error that ends the run.
//! - Linux only: the scan needs `statx` and `getdents64`, a child is tied to its parent's life by `prctl`.
//! - The library starts no process but those of a run. The command has a [`supervise::Guardian`] as well, which sees to the end of launches
//!   when it is killed itself, and stops them with it; another program may start one.
//!
//! # Use
//! [`engine::run`] has the whole job as an example, [`scan::Scan`] the scan alone, [`bucket::Packer`] the packing, [`queue::Queue`] the
//! scheduling, [`verify`] the comparison of two trees.

pub mod adapt;
pub mod bench;
pub mod bucket;
pub mod config;
pub mod connection;
pub mod cost;
pub mod endpoint;
pub mod engine;
pub mod entry;
pub mod error;
pub mod handle;
pub mod hosts;
pub mod job;
pub mod journal;
pub mod names;
pub mod plan;
pub mod preflight;
pub mod queue;
pub mod recheck;
pub mod report;
pub mod rsync;
pub mod rundir;
pub mod scan;
pub mod selftest;
pub mod shared;
pub mod shell;
pub mod size;
pub mod spool;
pub mod state;
pub mod supervise;
pub mod temporary;
pub mod thread;
pub mod treegen;
pub mod trial;
pub mod verify;

pub use error::{Error, ErrorKind, Result};
