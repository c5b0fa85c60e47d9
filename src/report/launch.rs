//! What is told of a launch: one rsync, from its start to its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::first_pass::Made;
use crate::rsync::output::Figures;
use crate::scan::Weight;

/// What a launch does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaunchKind {
    /// Creates split directories.
    Create,
    /// Copies buckets.
    #[default]
    Copy,
    /// Copies a bucket while nothing else runs: once more, or because it locks directories that others need.
    Repair,
    /// Deletes in subtrees that were copied.
    Clean,
    /// Deletes in split directories, and sets their attributes.
    Delete,
    /// Sets the attributes of split directories.
    Attributes,
    /// Removes from the source what was copied.
    Remove,
    /// Does it all, alone.
    Everything,
}

/// One rsync that was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Launch {
    /// Its number, unique in a [`Part`](super::Part) of a run, and in what that goes on with.
    pub id: u64,
    /// The slot it runs in, from 0; those of all hosts are counted together. A slot may have two launches for a moment: one that only ends, and the
    /// next.
    pub slot: usize,
    /// The source host it runs on; this machine if there is none.
    pub host: Option<String>,
    /// What it does.
    pub kind: LaunchKind,
    /// The buckets it is about.
    pub buckets: usize,
    /// Subtrees and single names that it was given, or split directories.
    pub units: usize,
    /// The first of them, by its path in the transfer: what it is called below the destination.
    pub first: Option<Vec<u8>>,
    /// The directory that all of them are in or below, by its path in the transfer; empty for the top.
    pub below: Vec<u8>,
    /// What of the scan's findings is dealt with when it has ended.
    pub weight: Weight,
    /// It connects, and waits for its names until others have ended.
    pub waits: bool,
}

/// How a launch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LaunchResult {
    /// It has done everything.
    Done,
    /// It came to its end, and not everything could be done: rsync's codes 23, 24 and 25.
    Partial,
    /// Its work is done once more, by another launch.
    Again,
    /// It waited for names, and got none: its work is done otherwise.
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
    /// Bytes that it has transferred, as far as known.
    pub moved: u64,
    /// What was made before its rsync looked at it, if anything was to be. Its time is part of how long the launch ran.
    pub made: Option<Made>,
    /// rsync's own figures, if it gave any.
    pub figures: Option<Figures>,
}

impl LaunchKind {
    /// A word for it.
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
    /// A word for it.
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
