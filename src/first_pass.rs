//! The first pass: threads of multi-sync create what does not exist at a destination on this machine. Then an ordinary rsync has the last word.
//!
//! That rsync looks at every entry: it creates what is still missing, replaces what differs, sets every attribute, deletes, and reports. Therefore the first
//! pass must get only two things right: the content of a file, and that no name appears which rsync would not have created. For this reason [`table`] allows a
//! first pass only if rsync's options cannot give another result, [`fresh`] only in directories that are new or nearly empty, and [`file_system`] only if no
//! other process serves the file system. [`split`] and [`maker`] create directories and regular files below open handles, so that no symbolic link can lead
//! elsewhere ([`pair`], [`way`]). [`content`] copies bytes, [`attributes`] sets owner, mode and time. [`temporary`] gives a file its name when the file is
//! complete and [`open_files`] has seen no report that its bytes are lost. Whatever fails, or is in doubt, is left to rsync, which reports it in its own
//! words: nothing is an error here.

mod attributes;
mod content;
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

pub use attributes::umask;
pub use fresh::Known;
pub use maker::make;
pub use open_files::can_be_apart;
pub use split::make_dirs;
pub use table::{Makes, Role, find, listed};
pub use way::open as open_dest;

/// Whether there is a first pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// If it is exact, and several rsyncs copy.
    #[default]
    Auto,
    /// If it is exact, also for one process.
    On,
    /// Never.
    Off,
}

impl Wish {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Wish::Auto => "auto",
            Wish::On => "on",
            Wish::Off => "off",
        }
    }
}

/// What the first pass of one launch is to create.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which entries are created, and which attributes they get.
    pub makes: Makes,
    /// DEST.
    pub dest: PathBuf,
    /// The device and inode that DEST must have.
    pub identity: Option<(u64, u64)>,
    /// Directories of the source, and names below them.
    pub groups: Vec<Group>,
    /// The number of entries that were scanned there. No more are created: entries that were added since are left to rsync.
    pub most: u64,
    /// The most bytes per second; `None` means no limit.
    pub limit: Option<NonZero<u64>>,
    /// The number of threads.
    pub threads: NonZero<usize>,
}

/// Names below the same directory of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// This directory. If it is a symbolic link, it is followed.
    pub base: PathBuf,
    /// The path between `base` and the names. May be empty.
    pub source: Vec<u8>,
    /// The path between DEST and the names. May be empty.
    pub dest: Vec<u8>,
    /// The names themselves.
    pub names: Vec<Vec<u8>>,
}

/// Controls a first pass and receives its progress. All methods are called from several threads.
pub trait Watch: Sync {
    /// Whether to continue. Waits during a pause.
    fn goes_on(&self) -> bool;
    /// Reports what was created. Bytes are reported before their file; if a file is given up, its bytes were reported all the same.
    fn made(&self, entries: u64, bytes: u64);
}

/// What a first pass has created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Made {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// The total length of these files.
    pub bytes: u64,
    /// How long the first pass took.
    pub took: Duration,
}

impl Made {
    /// Whether anything was created.
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
