//! What a launch is for, and what is handed to the executor when one is to start.

use std::ops::Range;

use crate::bucket::Bucket;
use crate::report::LaunchKind;
use crate::rsync::command::Copying;
use crate::scan::Weight;

use super::books::Task;

/// The number of a launch, unique in a run and in what it resumes.
pub(crate) type LaunchId = u64;

/// What a launch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Creates these split directories.
    Create(Range<usize>),
    /// Copies these buckets.
    Copy(Vec<Bucket>),
    /// Copies a bucket while nothing else runs: once more, or because it locks directories that others need.
    Repair(Bucket),
    /// Deletes inside the subtrees of these buckets.
    Clean(Vec<Bucket>),
    /// Removes the single names of these buckets from the source.
    Remove(Vec<Bucket>),
    /// Deletes in these split directories, and sets their attributes.
    Delete(Range<usize>),
    /// Sets the attributes of these split directories.
    Attributes(Range<usize>),
    /// One rsync for everything.
    Everything,
}

impl Work {
    /// What it settles. A launch that copies everything settles all, and is not asked.
    pub fn tasks(&self) -> Vec<Task> {
        match self {
            Work::Copy(buckets) => buckets.iter().map(|bucket| Task::Copy(bucket.id)).collect(),
            Work::Repair(bucket) => vec![Task::Copy(bucket.id)],
            Work::Clean(buckets) => buckets.iter().map(|bucket| Task::Clean(bucket.id)).collect(),
            Work::Remove(buckets) => buckets.iter().map(|bucket| Task::Remove(bucket.id)).collect(),
            Work::Delete(part) | Work::Attributes(part) => vec![Task::Part(part.start)],
            Work::Create(_) | Work::Everything => Vec::new(),
        }
    }

    /// The buckets it is about.
    pub fn buckets(&self) -> &[Bucket] {
        match self {
            Work::Copy(buckets) | Work::Clean(buckets) | Work::Remove(buckets) => buckets,
            Work::Repair(bucket) => std::slice::from_ref(bucket),
            Work::Create(_) | Work::Delete(_) | Work::Attributes(_) | Work::Everything => &[],
        }
    }

    /// The part of the run it belongs to, as people call it.
    pub fn phase(&self) -> &'static str {
        match self {
            Work::Create(_) => "create",
            Work::Copy(_) | Work::Everything => "copy",
            Work::Repair(_) => "repair",
            Work::Remove(_) => "remove",
            Work::Clean(_) | Work::Delete(_) => "delete",
            Work::Attributes(_) => "attributes",
        }
    }

    /// What is told of it.
    pub fn kind(&self) -> LaunchKind {
        match self {
            Work::Create(_) => LaunchKind::Create,
            Work::Copy(_) => LaunchKind::Copy,
            Work::Repair(_) => LaunchKind::Repair,
            Work::Clean(_) => LaunchKind::Clean,
            Work::Remove(_) => LaunchKind::Remove,
            Work::Delete(_) => LaunchKind::Delete,
            Work::Attributes(_) => LaunchKind::Attributes,
            Work::Everything => LaunchKind::Everything,
        }
    }

    pub fn copies(&self) -> bool {
        matches!(self, Work::Copy(_) | Work::Repair(_) | Work::Everything)
    }

    pub fn is_everything(&self) -> bool {
        matches!(self, Work::Everything)
    }
}

/// A launch that is to start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    pub launch: LaunchId,
    pub slot: usize,
    pub work: Work,
    /// How buckets are copied; of [`Work::Copy`] and [`Work::Repair`].
    pub how: Option<Copying>,
    /// It connects at once, and waits for its names until it is released.
    pub ahead: bool,
    /// It looks first whether there is anything to do: directories that stand already, or were not written into since they were created.
    pub looks_first: bool,
    /// The first one that reaches the destination: a server that refuses it may allow one ordinary rsync.
    pub first: bool,
    /// A server has refused what several rsyncs need: it is started as the user has typed it.
    pub ordinary: bool,
    /// Share of the bandwidth, in KiB a second; 0 is no limit, whatever the words of the user say.
    pub limit: Option<u64>,
    /// What of the scan's findings is dealt with when it has ended.
    pub weight: Weight,
}
