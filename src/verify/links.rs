//! Hard links as two partitions of the same names, one per side, and where they differ.
//!
//! Only names that both sides have are considered. A link that leaves the tree is not seen and makes no difference.

use std::collections::HashMap;

use super::Both;

/// What identifies a file on one machine: device and inode number.
pub(super) type FileId = (u64, u64);

/// The names with more than one link on at least one side.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: Vec<(Vec<u8>, Both<FileId>)>,
}

/// A name whose group begins with another name on the other side.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relinked {
    pub(super) path: Vec<u8>,
    pub(super) left: Vec<u8>,
    pub(super) right: Vec<u8>,
}

impl Links {
    pub(super) fn add(&mut self, path: Vec<u8>, ids: Both<FileId>) {
        self.names.push((path, ids));
    }

    /// The names whose groups differ. The partitions are equal if and only if there is none: a group is identified by its first name.
    pub(super) fn relinked(mut self) -> Vec<Relinked> {
        self.names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut firsts: Both<HashMap<FileId, usize>> = Both::default();
        let mut relinked = Vec::new();
        for (index, (path, ids)) in self.names.iter().enumerate() {
            let first = Both {
                left: *firsts.left.entry(ids.left).or_insert(index),
                right: *firsts.right.entry(ids.right).or_insert(index),
            };
            if first.differ() {
                let first = first.map(|index| self.names[index].0.clone());
                relinked.push(Relinked { path: path.clone(), left: first.left, right: first.right });
            }
        }
        relinked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relinked(names: &[(&str, u64, u64)]) -> Vec<String> {
        let mut links = Links::default();
        for &(name, left, right) in names {
            links.add(name.into(), Both { left: (1, left), right: (2, right) });
        }
        links.relinked().into_iter().map(|r| String::from_utf8(r.path).unwrap()).collect()
    }

    #[test]
    fn equal_partitions_have_no_difference_whatever_the_inode_numbers_and_the_order() {
        assert!(relinked(&[("c", 7, 3), ("a", 7, 3), ("b", 9, 8), ("d", 9, 8)]).is_empty());
    }

    #[test]
    fn split_merge_and_swap_name_who_moved() {
        assert_eq!(relinked(&[("a", 1, 1), ("b", 1, 2)]), ["b"]);
        assert_eq!(relinked(&[("a", 1, 1), ("b", 1, 1), ("c", 2, 1)]), ["c"]);
        assert_eq!(relinked(&[("a", 1, 1), ("b", 1, 2), ("c", 2, 1), ("d", 2, 2)]), ["b", "c", "d"]);
    }
}
