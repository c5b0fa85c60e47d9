//! The purpose of a launch, and what the engine gets when one is to start.

use std::ops::Range;

use crate::bucket::Bucket;
use crate::report::LaunchKind;
use crate::rsync::command::Copying;
use crate::scan::Weight;

use super::books::Task;

/// The number of a launch, unique in a run including the parts that it resumes.
pub(crate) type LaunchId = u64;

/// The purpose of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Creates these split directories.
    Create(Range<usize>),
    /// Copies these buckets.
    Copy(Vec<Bucket>),
    /// Copies one bucket while nothing else is running: either once more, or because it locks directories that others need.
    Repair(Bucket),
    /// Deletes extraneous entries inside the subtrees of these buckets.
    Clean(Vec<Bucket>),
    /// Removes the single names of these buckets from the source.
    Remove(Vec<Bucket>),
    /// Deletes extraneous entries directly inside these split directories, and sets their attributes.
    Delete(Range<usize>),
    /// Sets the attributes of these split directories.
    Attributes(Range<usize>),
    /// One rsync does everything.
    Everything,
}

impl Work {
    /// The tasks that this launch settles. One rsync for everything settles all tasks, and is not asked.
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

    /// The buckets of this launch.
    pub fn buckets(&self) -> &[Bucket] {
        match self {
            Work::Copy(buckets) | Work::Clean(buckets) | Work::Remove(buckets) => buckets,
            Work::Repair(bucket) => std::slice::from_ref(bucket),
            Work::Create(_) | Work::Delete(_) | Work::Attributes(_) | Work::Everything => &[],
        }
    }

    /// The phase to which the launch belongs, in words for users.
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

    /// The kind of launch in reports.
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
    /// How the buckets are copied; only for [`Work::Copy`] and [`Work::Repair`].
    pub how: Option<Copying>,
    /// The launch connects at once, and waits for its names until it is released.
    pub ahead: bool,
    /// The launch first checks whether there is anything to do: directories may exist already, or may not have been written into since they were created.
    pub looks_first: bool,
    /// The first launch that reaches the destination: a server that refuses it may accept one ordinary rsync.
    pub first: bool,
    /// A server has refused what several rsyncs need, so that rsync is started as the user has typed it.
    pub ordinary: bool,
    /// The share of the bandwidth, in KiB a second. 0 means no limit, whatever the user's options say.
    pub limit: Option<u64>,
    /// How much of what the scan found is done when this launch has ended.
    pub weight: Weight,
}
