//! The records of a journal, one per line.

use serde::{Deserialize, Serialize};

/// The version of these records. Older versions can be read; newer ones are refused.
pub const VERSION: u32 = 2;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// The first record of the run, and of each part that resumes it.
    Begun {
        /// See [`VERSION`].
        version: u32,
        /// The name of the run, as in `plan.json`. Runs of version 1 have no name.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        run: String,
    },
    /// A split directory; in the order of discovery.
    Spine(SpineRecord),
    /// A bucket was written to its file.
    Bucket {
        /// Number, entries, bytes, units, argument bytes, split directories that must exist before, exposed, singles.
        b: (u64, u64, u64, u64, usize, u32, bool, bool),
        /// The length of the bucket file, and its checksum; missing in version 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<(u64, u64)>,
    },
    /// Something that the scan could not read.
    Unread {
        /// The message.
        text: String,
        /// The entry vanished during the scan.
        vanished: bool,
        /// The entry is nevertheless part of a bucket.
        in_unit: bool,
    },
    /// The scan is complete.
    Scanned {
        /// The number of entries found.
        entries: u64,
        /// The number of bytes found.
        bytes: u64,
    },
    /// A launch with these buckets is about to start, or to get its names if it was started ahead.
    Started {
        /// The number of the launch.
        launch: u64,
        /// The buckets that it copies; empty if it removes names from the source that were copied.
        buckets: Vec<u64>,
    },
    /// Names that a launch did not copy; precedes the end of the launch.
    Failed {
        /// The phase of the run.
        phase: String,
        /// The exit code of the launch.
        code: u8,
        /// The buckets of the launch; empty if it was about split directories.
        buckets: Vec<u64>,
        /// Each name, with rsync's message. The name is empty if it is not known.
        names: Vec<(Name, Name)>,
    },
    /// These buckets are done.
    Done {
        /// The number of the launch.
        launch: u64,
        /// rsync's code: 0, 23, 24 or 25.
        code: u8,
        /// Something in the source could not be read, so that nothing more is deleted.
        sender_failed: bool,
        /// Something was copied again in this run, and is not as it was.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
        /// The buckets.
        buckets: Vec<u64>,
    },
    /// Nothing that is done counts any more, because DEST is another directory or may have lost something.
    NothingDone,
    /// The identity of a local DEST, when the first buckets of a part are done.
    Dest {
        /// See [`Place`].
        place: Place,
    },
    /// Whatever has failed is to be done again (`--retry-failed`).
    FailedAgain,
    /// The source has to be scanned again.
    ScanAgain {
        /// Buckets that count as not done, whatever was recorded: their files are damaged, or they may lack names of hard-linked files.
        damaged: Vec<u64>,
    },
    /// One rsync does everything. Earlier records do not count any more: if the run is resumed, it begins again.
    OneRsync {
        /// The reason.
        why: String,
    },
    /// Everything was done, and the run ended with this exit code.
    Finished {
        /// The exit code.
        code: u8,
    },
}

/// A split directory, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpineRecord {
    /// Its argument for rsync; `None` for DEST itself.
    pub argument: Option<Name>,
    /// Its device and inode.
    pub identity: (u64, u64),
    /// It lacks `u+rwx`.
    pub locked: bool,
    /// rsync does not enter it.
    pub mount_point: bool,
    /// Another user could replace it.
    pub exposed: bool,
}

/// Identifies a directory, even after its file system was mounted again: inode, and time of birth in seconds and nanoseconds.
pub type Place = (u64, i64, u32);

/// Bytes in JSON, as text if they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// The bytes are UTF-8.
    Text(String),
    /// The bytes are not UTF-8.
    Bytes(Vec<u8>),
}

impl Name {
    /// Takes bytes.
    pub fn new(bytes: Vec<u8>) -> Name {
        String::from_utf8(bytes).map_or_else(|error| Name::Bytes(error.into_bytes()), Name::Text)
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Name::Text(text) => text.into_bytes(),
            Name::Bytes(bytes) => bytes,
        }
    }
}
