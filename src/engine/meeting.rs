//! Finds names in one split directory that the destination may take for one name. One rsync copies such names one after the other. But with several rsyncs and
//! deletion, each might delete what another one has copied, so that both names would be gone. Therefore, if such names are found, it is tested whether the
//! destination distinguishes them.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use crate::entry::Printable;
use crate::names::fold;

/// All names in split directories, in folded form.
#[derive(Default)]
pub(super) struct Meeting {
    state: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Meeting {
    /// Takes names of one directory of the transfer, and returns the first that differs from an earlier one only in case or form.
    pub fn take<'n>(&self, dir: &[u8], names: impl Iterator<Item = &'n [u8]>) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let met = names.filter(|name| !seen.insert(self.state.hash_one((dir, fold(name)))));
        // All names have to be entered, even after the first that meets another.
        met.map(|name| Printable::bytes(&[dir, b"/", name].concat()).to_string()).reduce(|first, _| first)
    }
}

/// The end of the message about names that are one name at the destination. A resumed run recognizes the message by it.
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
