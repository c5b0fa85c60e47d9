//! Seeded trees for tests and benchmarks: the same seed and specification give the same tree on any machine.
//!
//! This module creates and changes such trees. It writes only below the root that it is given, refuses a root that is not empty, and works with directory
//! handles, so that paths may be longer than `PATH_MAX` and no symbolic link leads out of the tree. Names, types, sizes, content, permission bits and
//! modification times follow from the seed; owners are those of the caller. The umask does not matter.
//!
//! The shapes: [`generate`] (regular trees for benchmarks), [`odd_tree`] (a bit of everything, for property tests), [`odd_names`] (every name that has ever
//! broken a tool), [`from_manifest`] (a real tree from its listing). [`mutate`] changes a tree.

mod folder;
mod manifest;
mod mutate;
mod names;
mod odd;
mod random;
mod shape;

use std::ops::AddAssign;
use std::path::Path;

pub use manifest::from_manifest;
pub use mutate::{Change, ChangeKind, mutate};
pub use names::{DEEP_PATH_BYTES, TopLevel, all_odd_names, deep_path, odd_names};
pub use odd::{Odd, odd_tree};
pub(crate) use random::Random;

use crate::error::Result;

/// A regular tree of files and directories.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The number of names below the root, files and directories together; the tree has exactly this number.
    pub entries: u64,
    /// The percentage of the entries that are files, rounded up; the rest are directories.
    pub files_percent: u8,
    /// The largest number of entries in a directory.
    pub max_per_dir: u64,
    /// The deepest nesting of directories below the root; 0 means that there is only the root.
    pub depth: u32,
    /// The sizes of the files.
    pub sizes: Sizes,
    /// What the files contain.
    pub fill: Fill,
}

/// How large files are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sizes {
    /// All are empty.
    Empty,
    /// Every size between these two, both included, is equally likely.
    Uniform {
        /// The least size.
        min: u64,
        /// The greatest size.
        max: u64,
    },
    /// Many small ones and few large ones, as on real disks: the logarithm is (nearly) normally distributed.
    LogNormal {
        /// Half of the files are larger than this.
        median: u64,
        /// Standard deviation of the natural logarithm of the size.
        sigma: f64,
        /// Larger sizes are reduced to this one.
        max: u64,
    },
}

/// What files contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Bytes that do not compress, another sequence in each file.
    Random,
    /// One hole: it reads as zeros, and occupies no space if the file system supports holes.
    Hole,
    /// Random blocks with holes between them; the file may end in a hole.
    Islands,
}

/// The sums of what was created, without the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of names of regular files; each hard link counts.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// FIFOs and sockets.
    pub specials: u64,
    /// The sum of the sizes of all names of regular files.
    pub bytes: u64,
}

impl Spec {
    /// The tree of msrsync's benchmark: 95 % files, at most 128 entries in a directory, at most five levels of directories. It can have up to about a million
    /// entries.
    pub fn bench(entries: u64, sizes: Sizes) -> Self {
        Spec { entries, files_percent: 95, max_per_dir: 128, depth: 5, sizes, fill: Fill::Random }
    }

    /// One directory full of files.
    pub fn flat(entries: u64, sizes: Sizes) -> Self {
        Spec { entries, files_percent: 100, max_per_dir: entries, depth: 0, sizes, fill: Fill::Random }
    }
}

/// Creates a regular tree in `root`, which must be empty or not exist yet. Runs in the current rayon pool.
///
/// Fails with a usage error if the tree cannot have this number of entries within its limits, and if something cannot be written. What was created until then
/// remains.
///
/// ```
/// use multi_sync::harness::treegen::{Sizes, Spec, generate};
///
/// let dir = tempfile::tempdir()?;
/// let spec = Spec::bench(1000, Sizes::Uniform { min: 0, max: 100 });
/// let totals = generate(&dir.path().join("tree"), &spec, 42)?;
/// assert_eq!((totals.files, totals.dirs), (950, 50));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate(root: &Path, spec: &Spec, seed: u64) -> Result<Totals> {
    shape::generate(root, spec, seed)
}

impl Totals {
    /// The number of names of all types.
    pub fn entries(&self) -> u64 {
        self.files + self.dirs + self.symlinks + self.specials
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        let Totals { files, dirs, symlinks, specials, bytes } = other;
        self.files += files;
        self.dirs += dirs;
        self.symlinks += symlinks;
        self.specials += specials;
        self.bytes += bytes;
    }
}
