//! Names with their weights in one buffer.

use std::ffi::CStr;

use super::Weight;

/// Names with their weights, as [`Units`] lends them: one buffer, so that a flat directory of millions costs no allocation per name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub names: Vec<u8>,
    pub weights: Vec<Weight>,
}

impl Names {
    pub fn push(&mut self, name: &CStr, weight: Weight) {
        self.names.extend_from_slice(name.to_bytes_with_nul());
        self.weights.push(weight);
    }

    /// Like [`Names::push`], for a name that does not end with a NUL.
    pub fn push_bytes(&mut self, name: &[u8], weight: Weight) {
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.weights.push(weight);
    }

    pub fn append(&mut self, other: &Names) {
        self.names.extend_from_slice(&other.names);
        self.weights.extend_from_slice(&other.weights);
    }

    pub fn clear(&mut self) {
        self.names.clear();
        self.weights.clear();
    }

    pub fn weight(&self) -> Weight {
        self.weights.iter().copied().sum()
    }
}
