//! The records of a journal: what one line says.

use serde::{Deserialize, Serialize};

/// Version of the records below. A reader takes older ones too; newer ones are refused.
pub const VERSION: u32 = 2;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// The first one, and the first of each resumption.
    Begun {
        /// See [`VERSION`].
        version: u32,
        /// Which run it is, as `plan.json` says. Runs of version 1 have no such name.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        run: String,
    },
    /// A spine directory, in order.
    Spine(SpineRecord),
    /// A bucket was written to its file.
    Bucket {
        /// Number, entries, bytes, units, argument bytes, spine directories before it, exposed, singles.
        b: (u64, u64, u64, u64, usize, u32, bool, bool),
        /// What is in the file: bytes, and their checksum. Not in version 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<(u64, u64)>,
    },
    /// Something that the scan could not read.
    Unread {
        /// It says so.
        text: String,
        /// The entry went away by itself.
        vanished: bool,
        /// It is part of a bucket all the same.
        in_unit: bool,
    },
    /// The scan is complete.
    Scanned {
        /// Entries found.
        entries: u64,
        /// Bytes found.
        bytes: u64,
    },
    /// A launch with these buckets is about to start.
    Started {
        /// Number of the launch.
        launch: u64,
        /// The buckets.
        buckets: Vec<u64>,
    },
    /// Names that a launch did not copy; comes before the end of the launch.
    Failed {
        /// The part of the run.
        phase: String,
        /// The exit code of the launch.
        code: u8,
        /// The buckets of the launch; none if it was about split directories.
        buckets: Vec<u64>,
        /// Each name, empty if nobody can tell it, and what rsync said.
        names: Vec<(Name, Name)>,
    },
    /// These buckets are done.
    Done {
        /// Number of the launch.
        launch: u64,
        /// rsync's code: 0, 23, 24 or 25.
        code: u8,
        /// Something of the source could not be read: nothing more is deleted.
        sender_failed: bool,
        /// The buckets.
        buckets: Vec<u64>,
    },
    /// Nothing of what is done counts any more: DEST is not what it was, or may have lost it.
    NothingDone,
    /// What DEST is, where it is seen from here, when the first buckets of a part are done.
    Dest {
        /// See [`Place`].
        place: Place,
    },
    /// What has failed is to be done again (`--retry-failed`).
    FailedAgain,
    /// The scan has to begin again.
    ScanAgain {
        /// Buckets whose files are damaged: they are not done, whatever was said of them.
        damaged: Vec<u64>,
    },
    /// One rsync does everything, and what was written down before counts for nothing: a run that is taken up again begins anew.
    OneRsync {
        /// The reason.
        why: String,
    },
    /// Everything was done, and the run ended with this code.
    Finished {
        /// The exit code.
        code: u8,
    },
}

/// A spine directory as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpineRecord {
    /// Its rsync argument; `None` for DEST itself.
    pub argument: Option<Name>,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Without `u+rwx`.
    pub locked: bool,
    /// It is not entered.
    pub mount_point: bool,
    /// Somebody else could put something in its place.
    pub exposed: bool,
}

/// What a directory is known by, also after its file system was mounted again: inode, and time of birth in seconds and nanoseconds.
pub type Place = (u64, i64, u32);

/// Bytes in JSON: text where they are text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Bytes(Vec<u8>),
}

impl Name {
    /// Keeps bytes.
    pub fn new(bytes: Vec<u8>) -> Name {
        String::from_utf8(bytes).map_or_else(|error| Name::Bytes(error.into_bytes()), Name::Text)
    }

    /// Gives them back.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Name::Text(text) => text.into_bytes(),
            Name::Bytes(bytes) => bytes,
        }
    }
}
