//! The sums of a survey. Their size is bounded, whatever the tree: histograms, the few largest, a limited number of owners.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

/// How many of the largest files and most crowded directories are named.
const TOP: usize = 10;
/// How many examples of odd names are kept.
const EXAMPLES: usize = 5;
/// How many owners are counted separately. All others are counted together.
const OWNERS: usize = 1000;
/// Directories deeper than this are counted together.
pub const DEEPEST: usize = 128;
/// How many file systems are counted separately.
const DEVICES: usize = 100;
const DAY: i64 = 24 * 60 * 60;
/// Upper bounds of age in seconds, and their names. Older files are in one more class.
pub const AGES: [(i64, &str); 8] = [
    (0, "in the future"),
    (DAY, "1 day"),
    (7 * DAY, "1 week"),
    (30 * DAY, "1 month"),
    (182 * DAY, "6 months"),
    (365 * DAY, "1 year"),
    (2 * 365 * DAY, "2 years"),
    (5 * 365 * DAY, "5 years"),
];
/// One class for each power of two, and one for zero.
pub const POWERS: usize = 65;

/// A number of entries, and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// The number.
    pub entries: u64,
    /// The bytes of their content.
    pub bytes: u64,
}

impl Sum {
    /// Adds one entry.
    pub fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn merge(&mut self, other: Sum) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The class of a number: 0 for 0, `n` for at least 2 to the `n - 1` and less than 2 to the `n`.
pub fn power(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

/// The few largest of many.
#[derive(Debug, Clone, Default)]
pub struct Top(BinaryHeap<Reverse<(u64, Vec<u8>)>>);

impl Top {
    /// Whether something of this size is among the largest so far.
    pub fn wants(&self, size: u64) -> bool {
        self.0.len() < TOP || self.0.peek().is_some_and(|Reverse((least, _))| size > *least)
    }

    /// Adds it, and drops the smallest if there are too many.
    pub fn add(&mut self, size: u64, path: Vec<u8>) {
        self.0.push(Reverse((size, path)));
        if self.0.len() > TOP {
            self.0.pop();
        }
    }

    /// Sorted, the largest first.
    pub fn sorted(&self) -> Vec<(u64, &[u8])> {
        let mut all: Vec<(u64, &[u8])> = self.0.iter().map(|Reverse((size, path))| (*size, &path[..])).collect();
        all.sort_by(|one, other| (Reverse(one.0), one.1).cmp(&(Reverse(other.0), other.1)));
        all
    }

    fn merge(&mut self, other: Top) {
        other.0.into_iter().for_each(|Reverse((size, path))| self.add(size, path));
    }
}

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.sorted().into_iter().map(|(size, path)| Sized { size, path: Name(path) }))
    }
}

#[derive(Serialize)]
struct Sized<'a> {
    size: u64,
    path: Name<'a>,
}

/// A name in JSON: `{"text": "..."}`, or `{"bytes": "..."}` in base64 if it is not UTF-8.
pub struct Name<'a>(pub &'a [u8]);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.collect_map([("text", text)]),
            Err(_) => serializer.collect_map([("bytes", BASE64_STANDARD.encode(self.0))]),
        }
    }
}

/// How often something was seen, and its first occurrences.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Examples {
    /// How often.
    pub count: u64,
    /// The first ones.
    #[serde(serialize_with = "names")]
    pub first: Vec<Vec<u8>>,
}

fn names<S: Serializer>(names: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| Name(name)))
}

impl Examples {
    /// Adds one.
    pub fn add(&mut self, path: impl FnOnce() -> Vec<u8>) {
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(path());
        }
    }

    fn merge(&mut self, other: Examples) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(EXAMPLES);
    }
}

/// How much each owner has.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    known: Vec<(u32, Sum)>,
    places: HashMap<u32, usize>,
    last: usize,
    /// The sum of all owners that are not counted separately.
    pub others: Sum,
}

impl Owners {
    /// Adds one entry.
    pub fn add(&mut self, id: u32, bytes: u64) {
        // Most entries have the same owner as the one before.
        if let Some((_, sum)) = self.known.get_mut(self.last).filter(|(known, _)| *known == id) {
            return sum.add(bytes);
        }
        match self.place(id) {
            Some(place) => {
                self.last = place;
                self.known[place].1.add(bytes);
            }
            None => self.others.add(bytes),
        }
    }

    fn place(&mut self, id: u32) -> Option<usize> {
        if let Some(place) = self.places.get(&id) {
            return Some(*place);
        }
        (self.known.len() < OWNERS).then(|| {
            self.known.push((id, Sum::default()));
            self.places.insert(id, self.known.len() - 1);
            self.known.len() - 1
        })
    }

    /// Sorted, owners with the most entries first.
    pub fn sorted(&self) -> Vec<(u32, Sum)> {
        let mut all = self.known.clone();
        all.sort_by_key(|(id, sum)| (Reverse(sum.entries), *id));
        all
    }

    /// The number of entries of all owners but this one.
    pub fn all_but(&self, id: u32) -> u64 {
        let known = self.known.iter().filter(|(known, _)| *known != id).map(|(_, sum)| sum.entries);
        known.sum::<u64>() + self.others.entries
    }

    fn merge(&mut self, other: Owners) {
        for (id, sum) in other.known {
            match self.place(id) {
                Some(place) => self.known[place].1.merge(sum),
                None => self.others.merge(sum),
            }
        }
        self.others.merge(other.others);
    }
}

impl Serialize for Owners {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Owner {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<u32>,
            #[serde(flatten)]
            sum: Sum,
        }
        let known = self.sorted().into_iter().map(|(id, sum)| Owner { id: Some(id), sum });
        let others = (self.others.entries > 0).then_some(Owner { id: None, sum: self.others });
        serializer.collect_seq(known.chain(others))
    }
}

/// The number of entries of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// FIFOs.
    pub fifos: u64,
    /// Sockets.
    pub sockets: u64,
    /// Character and block devices.
    pub devices: u64,
}

impl Kinds {
    /// The number of all entries.
    pub fn total(self) -> u64 {
        let Kinds { files, directories, links, fifos, sockets, devices } = self;
        files + directories + links + fifos + sockets + devices
    }

    fn merge(&mut self, other: Kinds) {
        self.files += other.files;
        self.directories += other.directories;
        self.links += other.links;
        self.fifos += other.fifos;
        self.sockets += other.sockets;
        self.devices += other.devices;
    }
}

/// Files with several names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HardLinks {
    /// The number of names of such files.
    pub names: u64,
    /// The number of such files, if all their names are in the source.
    pub files: f64,
    /// How many more bytes a copy needs that makes each name a file of its own.
    pub more_bytes: f64,
    /// The largest link count.
    pub most_names: u64,
}

/// Files with holes, or files that the file system compresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sparse {
    /// The number of such files.
    pub files: u64,
    /// The sum of their lengths.
    pub bytes: u64,
    /// The bytes that they occupy.
    pub allocated: u64,
}

/// The kinds of extended attributes, including ACLs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Attributes {
    /// Directories that were examined: all that could be read.
    pub directories: u64,
    /// Files that were examined: a sample.
    pub files: u64,
    /// For each kind, how many of these directories and files have it.
    pub kinds: BTreeMap<&'static str, (u64, u64)>,
}

/// Everything that a survey counts.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Entries by kind.
    pub kinds: Kinds,
    /// Bytes of content of all regular files; each name counts.
    pub bytes: u64,
    /// The bytes that they occupy in the file system.
    pub allocated: u64,
    /// Files by size: see [`power`].
    pub sizes: Vec<Sum>,
    /// Files by age: see [`AGES`].
    pub ages: Vec<Sum>,
    /// Directories by their depth in the source.
    pub depths: Vec<u64>,
    /// Directories by the number of their entries: see [`power`].
    pub crowds: Vec<u64>,
    /// The largest files.
    pub largest_files: Top,
    /// The directories with the most entries.
    pub most_crowded: Top,
    /// Owners.
    pub users: Owners,
    /// Groups.
    pub groups: Owners,
    /// Files with several names.
    pub hard_links: HardLinks,
    /// Files with holes.
    pub sparse: Sparse,
    /// Files with a set-user-ID or set-group-ID bit.
    pub set_id_files: u64,
    /// Names that are not UTF-8.
    pub not_utf8: Examples,
    /// Names that are too long for the destination.
    pub too_long: Examples,
    /// Names with a line break or another control character.
    pub control_characters: Examples,
    /// The longest path, in bytes below the source's base.
    pub longest_path: usize,
    /// Extended attributes.
    pub attributes: Attributes,
    /// The number of directories on each file system, by its device.
    pub file_systems: BTreeMap<u64, u64>,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            kinds: Kinds::default(),
            bytes: 0,
            allocated: 0,
            sizes: vec![Sum::default(); POWERS],
            ages: vec![Sum::default(); AGES.len() + 1],
            depths: vec![0; DEEPEST + 1],
            crowds: vec![0; POWERS],
            largest_files: Top::default(),
            most_crowded: Top::default(),
            users: Owners::default(),
            groups: Owners::default(),
            hard_links: HardLinks::default(),
            sparse: Sparse::default(),
            set_id_files: 0,
            not_utf8: Examples::default(),
            too_long: Examples::default(),
            control_characters: Examples::default(),
            longest_path: 0,
            attributes: Attributes::default(),
            file_systems: BTreeMap::new(),
        }
    }
}

impl Figures {
    /// Counts a directory of this file system.
    pub fn add_device(&mut self, device: u64, count: u64) {
        if self.file_systems.len() < DEVICES || self.file_systems.contains_key(&device) {
            *self.file_systems.entry(device).or_default() += count;
        }
    }

    /// Adds the counts of another thread.
    pub fn merge(&mut self, other: Figures) {
        self.kinds.merge(other.kinds);
        self.bytes += other.bytes;
        self.allocated += other.allocated;
        self.sizes.iter_mut().zip(other.sizes).for_each(|(sum, other)| sum.merge(other));
        self.ages.iter_mut().zip(other.ages).for_each(|(sum, other)| sum.merge(other));
        self.depths.iter_mut().zip(other.depths).for_each(|(sum, other)| *sum += other);
        self.crowds.iter_mut().zip(other.crowds).for_each(|(sum, other)| *sum += other);
        self.largest_files.merge(other.largest_files);
        self.most_crowded.merge(other.most_crowded);
        self.users.merge(other.users);
        self.groups.merge(other.groups);
        self.hard_links.names += other.hard_links.names;
        self.hard_links.files += other.hard_links.files;
        self.hard_links.more_bytes += other.hard_links.more_bytes;
        self.hard_links.most_names = self.hard_links.most_names.max(other.hard_links.most_names);
        self.sparse.files += other.sparse.files;
        self.sparse.bytes += other.sparse.bytes;
        self.sparse.allocated += other.sparse.allocated;
        self.set_id_files += other.set_id_files;
        self.not_utf8.merge(other.not_utf8);
        self.too_long.merge(other.too_long);
        self.control_characters.merge(other.control_characters);
        self.longest_path = self.longest_path.max(other.longest_path);
        self.attributes.directories += other.attributes.directories;
        self.attributes.files += other.attributes.files;
        for (kind, (directories, files)) in other.attributes.kinds {
            let sum = self.attributes.kinds.entry(kind).or_default();
            *sum = (sum.0 + directories, sum.1 + files);
        }
        other.file_systems.into_iter().for_each(|(device, count)| self.add_device(device, count));
    }

    /// The number of entries that have extended attributes of this kind; for files it is an estimate.
    pub fn with_attribute(&self, kind: &str) -> u64 {
        let (directories, files) = self.attributes.kinds.get(kind).copied().unwrap_or_default();
        let share = files as f64 / self.attributes.files.max(1) as f64;
        directories + (share * self.kinds.files as f64).round() as u64
    }

    /// The smallest power of two below which this share of the files is; `None` if there are no files.
    pub fn size_below(&self, share: f64) -> Option<u64> {
        let wanted = (self.kinds.files as f64 * share).ceil() as u64;
        let mut seen = 0;
        let place = self.sizes.iter().position(|sum| {
            seen += sum.entries;
            seen >= wanted
        });
        place.filter(|_| self.kinds.files > 0).map(|power| 1_u64.checked_shl(power as u32).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_holds_what_is_below_it() {
        for (number, wanted) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (u64::MAX, 64)] {
            assert_eq!(power(number), wanted, "{number}");
        }
    }

    #[test]
    fn only_the_largest_are_kept_whoever_has_seen_them() {
        let (mut one, mut other) = (Top::default(), Top::default());
        for size in 0..1000_u64 {
            let top = if size % 2 == 0 { &mut one } else { &mut other };
            if top.wants(size) {
                top.add(size, size.to_string().into_bytes());
            }
        }
        assert!(!one.wants(3));
        one.merge(other);
        let kept: Vec<u64> = one.sorted().iter().map(|(size, _)| *size).collect();
        assert_eq!(kept, (990..1000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn owners_are_limited() {
        let (mut one, mut other) = (Owners::default(), Owners::default());
        (0..OWNERS as u32 + 7).for_each(|id| one.add(id, 1));
        (0..3).for_each(|_| other.add(5, 10));
        other.add(u32::MAX, 1);
        one.merge(other);
        assert_eq!(one.sorted()[0], (5, Sum { entries: 4, bytes: 31 }));
        assert_eq!(one.others.entries, 8);
        assert_eq!(one.all_but(5), OWNERS as u64 + 7);
    }

    #[test]
    fn names_that_are_no_text_are_bytes() {
        let shown = |name: &[u8]| serde_json::to_string(&Name(name)).unwrap();
        assert_eq!(shown("a\"ü".as_bytes()), r#"{"text":"a\"ü"}"#);
        assert_eq!(shown(b"\xff"), r#"{"bytes":"/w=="}"#);
    }

    #[test]
    fn the_size_below_which_most_are() {
        let mut figures = Figures::default();
        assert_eq!(figures.size_below(0.5), None);
        for (size, count) in [(0, 5), (100, 4), (1 << 20, 1)] {
            (0..count).for_each(|_| figures.sizes[power(size)].add(size));
            figures.kinds.files += count;
        }
        assert_eq!((figures.size_below(0.5), figures.size_below(0.9)), (Some(1), Some(128)));
    }
}
