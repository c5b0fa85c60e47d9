//! The data about a launch: one rsync, from its start to its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::first_pass::Made;
use crate::rsync::output::Figures;
use crate::scan::Weight;

/// The task of a launch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaunchKind {
    /// Creates split directories.
    Create,
    /// Copies buckets.
    #[default]
    Copy,
    /// Copies a bucket while nothing else runs: again, or because it locks directories that others need.
    Repair,
    /// Deletes inside subtrees that were copied.
    Clean,
    /// Deletes in split directories, and sets their attributes.
    Delete,
    /// Sets the attributes of split directories.
    Attributes,
    /// Removes files that were copied from the source.
    Remove,
    /// Does everything, alone.
    Everything,
}

/// One rsync that was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Launch {
    /// Its number, which is unique in a [`Part`](super::Part) of a run, and in a run that continues it.
    pub id: u64,
    /// Its slot, from 0; slots of all hosts are numbered together. A slot may have two launches for a moment: one that is ending, and the next.
    pub slot: usize,
    /// The source host on which it runs; `None` for this machine.
    pub host: Option<String>,
    /// Its task.
    pub kind: LaunchKind,
    /// The number of buckets.
    pub buckets: usize,
    /// The number of subtrees and single names that it was given, or of split directories.
    pub units: usize,
    /// The first of them, as its path in the transfer: its path below the destination.
    pub first: Option<Vec<u8>>,
    /// The directory that contains all of them, directly or not, as its path in the transfer; empty for the top.
    pub below: Vec<u8>,
    /// The part of the scan's findings that is processed when it has ended.
    pub weight: Weight,
    /// Whether it has connected, and waits for its names until other launches have ended.
    pub waits: bool,
}

/// How a launch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LaunchResult {
    /// It has done everything.
    Done,
    /// It has finished, but not everything could be done: rsync's codes 23, 24 and 25.
    Partial,
    /// Its work is repeated by another launch.
    Again,
    /// It waited for names, and got none: its work is done in another way.
    Unused,
    /// It was ended because the run ends.
    Stopped,
    /// It broke off, and the run with it; or one rsync does its work and everything else.
    Failed,
}

/// A launch that has ended, and what was decided about it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LaunchEnd {
    /// The launch.
    pub launch: Launch,
    /// How it ended.
    pub result: LaunchResult,
    /// The exit code of its rsync; `None` if it could not be started, or was left behind.
    pub code: Option<u8>,
    /// How long it ran.
    pub ran: Duration,
    /// The bytes that it has transferred, as far as known.
    pub moved: u64,
    /// What the first pass created before its rsync looked, if there was one. Its time is included in the time of the launch.
    pub made: Option<Made>,
    /// rsync's own statistics, if it printed any.
    pub figures: Option<Figures>,
}

impl LaunchKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            LaunchKind::Create => "create",
            LaunchKind::Copy => "copy",
            LaunchKind::Repair => "repair",
            LaunchKind::Clean => "clean",
            LaunchKind::Delete => "delete",
            LaunchKind::Attributes => "attributes",
            LaunchKind::Remove => "remove",
            LaunchKind::Everything => "everything",
        }
    }
}

impl LaunchResult {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            LaunchResult::Done => "done",
            LaunchResult::Partial => "partial",
            LaunchResult::Again => "again",
            LaunchResult::Unused => "unused",
            LaunchResult::Stopped => "stopped",
            LaunchResult::Failed => "failed",
        }
    }
}
