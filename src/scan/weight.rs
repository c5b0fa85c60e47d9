//! What entries weigh, and how much a unit may.

use std::num::NonZero;

/// How large a unit (and a bucket) may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries (files, links, directories, ...), counted with all that is below a directory.
    pub entries: NonZero<u64>,
    /// Bytes of regular files, by their length.
    pub bytes: NonZero<u64>,
}

impl Limits {
    /// Whether a sum is within the limits.
    pub fn hold(&self, weight: Weight) -> bool {
        weight.entries <= self.entries.get() && weight.bytes <= self.bytes.get()
    }
}

/// What a unit, a bucket or a tree weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weight {
    /// Entries, directories included.
    pub entries: u64,
    /// Bytes of regular files, by their length.
    pub bytes: u64,
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::ops::Add for Weight {
    type Output = Weight;
    fn add(mut self, other: Weight) -> Weight {
        self += other;
        self
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Weight>>(weights: I) -> Weight {
        weights.fold(Weight::default(), |a, b| a + b)
    }
}
