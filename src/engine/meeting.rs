//! Names in one split directory that the destination may take for one. One rsync goes through them one after the other; of several, each
//! would delete what the other has copied, and in the end both would be gone. So where such names meet the destination is asked how it reads
//! them.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use crate::entry::Printable;
use crate::names::fold;

/// All names in split directories, as they may be read.
#[derive(Default)]
pub(super) struct Meeting {
    state: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Meeting {
    /// Takes names of a directory of the transfer; gives the first that may be one with another, which is told apart by case or form only.
    pub fn take<'n>(&self, dir: &[u8], names: impl Iterator<Item = &'n [u8]>) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let met = names.filter(|name| !seen.insert(self.state.hash_one((dir, fold(name)))));
        // All of them are to be seen.
        met.map(|name| Printable::bytes(&[dir, b"/", name].concat()).to_string()).reduce(|first, _| first)
    }
}

/// What is said of names that are one at the destination, and read again when a run goes on.
pub(super) const MEETS: &str = "is one name with another at the destination: nothing is deleted there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_meet_in_one_directory_only() {
        let meeting = Meeting::default();
        let take = |dir: &str, names: &[&str]| meeting.take(dir.as_bytes(), names.iter().map(|name| name.as_bytes()));
        assert_eq!(take("d", &["Foo", "bar"]), None);
        assert_eq!(take("e", &["foo"]), None);
        assert_eq!(take("d", &["baz", "foo"]), Some("d/foo".to_owned()));
        assert_eq!(take("d", &["BAZ"]), Some("d/BAZ".to_owned()));
    }
}
