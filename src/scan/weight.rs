//! The weight of entries, and the limits of units.

use std::num::NonZero;

/// The largest weight of a unit, and of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of entries (files, links, directories, ...), including everything below a directory.
    pub entries: NonZero<u64>,
    /// The number of bytes in regular files, by their length.
    pub bytes: NonZero<u64>,
}

impl Limits {
    /// Whether this weight is within the limits.
    pub fn hold(&self, weight: Weight) -> bool {
        weight.entries <= self.entries.get() && weight.bytes <= self.bytes.get()
    }
}

/// The weight of a unit, a bucket or a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weight {
    /// The number of entries, including directories.
    pub entries: u64,
    /// The number of bytes in regular files, by their length.
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
