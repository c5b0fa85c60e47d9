//! The first pass: threads of ours make what does not exist at a destination on this machine, and then an ordinary rsync has the last word.
//!
//! rsync looks at every entry after it: it makes what is missing, replaces what differs, sets every attribute, deletes, and reports. So what is made here
//! has to be right in two ways only: the content of a file, and that no name appears which rsync would not have made. Hence [`table`] allows it only where
//! options cannot mean anything else, [`fresh`] only in directories that are new or as good as empty, and [`file_system`] not where another process answers.
//! [`split`] and [`maker`] make directories and regular files below handles that no link can lead elsewhere ([`pair`], [`way`]), [`content`] copies bytes,
//! [`attributes`] sets owner, mode and time, and [`temporary`] gives a file its name when all of it is right and [`open_files`] has not heard that its bytes
//! are lost. Whatever fails, or is in doubt, is left to rsync, which meets it and says so in its own words: nothing here is an error.

mod attributes;
mod content;
mod file_system;
mod fresh;
mod maker;
mod open_files;
mod pace;
mod pair;
mod split;
mod table;
mod temporary;
mod way;

use std::num::NonZero;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

pub use file_system::is_of_a_process_below;
pub use fresh::Known;
pub use maker::make;
pub use open_files::can_be_apart;
pub use split::make_dirs;
pub use table::{Makes, Role, find, listed};

/// Whether there is a first pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// Where it is exact, and several rsyncs copy.
    #[default]
    Auto,
    /// Where it is exact, also for one process.
    On,
    /// Nowhere.
    Off,
}

impl Wish {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Wish::Auto => "auto",
            Wish::On => "on",
            Wish::Off => "off",
        }
    }
}

/// What is to be made, for one launch.
#[derive(Debug, Clone)]
pub struct Order {
    /// What of an entry is made.
    pub makes: Makes,
    /// DEST.
    pub dest: PathBuf,
    /// Device and inode that it must have.
    pub identity: Option<(u64, u64)>,
    /// Directories of the source, and names below them.
    pub groups: Vec<Group>,
    /// So many entries were scanned there. What has come since is rsync's.
    pub most: u64,
    /// Bytes a second; no limit if there is none.
    pub limit: Option<NonZero<u64>>,
    /// How many threads make.
    pub threads: NonZero<usize>,
}

/// Names that are below the same directory of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// This directory; a link at its end is followed.
    pub base: PathBuf,
    /// What is between it and the names, at the source and at DEST. May be empty.
    pub source: Vec<u8>,
    /// The same at DEST.
    pub dest: Vec<u8>,
    /// The names themselves.
    pub names: Vec<Vec<u8>>,
}

/// Who is asked and told while things are made. All of it is called from several threads.
pub trait Watch: Sync {
    /// Whether to go on. Waits while there is a pause.
    fn goes_on(&self) -> bool;
    /// So much was made. Bytes come before their file, and some of them in vain.
    fn made(&self, entries: u64, bytes: u64);
}

/// What a first pass has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Made {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// The length of these files.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

impl Made {
    /// Whether there is something.
    pub fn is_any(&self) -> bool {
        self.files + self.dirs > 0
    }
}

impl AddAssign for Made {
    fn add_assign(&mut self, other: Made) {
        let Made { files, dirs, bytes, took } = other;
        self.files += files;
        self.dirs += dirs;
        self.bytes += bytes;
        self.took += took;
    }
}
