//! The protocol between this program here and on another machine: lines of JSON, with paths in base64. Both ends have the same version ([`HELLO`]), so that
//! no line is ever unknown.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error;
use crate::far;
use crate::rsync::prune::Prune;
use crate::scan::{
    Counts, Follow, Handed, KeptWhole, Limits, LinkedDir, LinkedDirs, LinkedPart, Met, Opened, Order, Part, Root, Scan,
    ScanError, Step, Unread, Weight,
};

/// How the greeting begins in every version.
pub const NAME: &str = "multi-sync-scan ";
/// The greeting, which is the first line from the other machine. The last number is the version of this protocol: it is increased with each change.
pub const HELLO: &str = concat!("multi-sync-scan ", env!("CARGO_PKG_VERSION"), " 2");

/// The operations that errors of a scan name. They are sent as an index into this list.
const ATTEMPTED: [&str; 5] = ["open directory", "read directory", "look up", "follow link", "read"];

/// The bytes of a name, of a path, or of names that each end with a NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(&*text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// Root, spine directory, its path, the name in it, and the weight.
type LinkedUnit = (u32, u32, Bytes, Bytes, (u64, u64));

/// The path components of a directory, and for each whether it is a symbolic link that is followed.
type Names = Vec<(Bytes, bool)>;

/// A message from this machine.
#[derive(Debug, Serialize, Deserialize)]
pub enum Asked {
    /// Scan this.
    Scan(Box<Request>),
    /// The limits for the tree, after it was reported as small.
    Limits(u64, u64),
    /// Read nothing more below this spine directory.
    Prune(u32),
    /// Read directories of this scan as they are requested; with this number of threads, if given.
    Help(Box<Request>, Option<NonZero<usize>>),
    /// Read these directories: number, root, path components.
    Read(Vec<(u64, u32, Names)>),
    /// Give this number of directories back.
    Give(usize),
    /// Read nothing more below this directory.
    Drop(u64),
}

/// A message from the other machine.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    Spine {
        index: u32,
        root: u32,
        path: Bytes,
        mode: u32,
        identity: (u64, u64),
        mount_point: bool,
        exposed: bool,
    },
    Units {
        root: u32,
        spine: Option<u32>,
        dir: Bytes,
        names: Bytes,
        weights: Vec<(u64, u64)>,
    },
    Linked {
        root: u32,
        spine: u32,
        dir: Bytes,
        name: Bytes,
        weight: (u64, u64),
        inode: (u64, u64),
        names: u32,
    },
    LinkedDirs {
        units: Vec<LinkedUnit>,
        inodes: Vec<(u64, u64)>,
    },
    KeptWhole {
        root: u32,
        path: Bytes,
        why: KeptWhole,
    },
    Error {
        root: u32,
        path: Bytes,
        attempted: usize,
        errno: i32,
        in_unit: bool,
    },
    /// The counts so far.
    Found(Counts),
    /// The tree is small and has this weight: the other machine waits for its limits.
    Small(u64, u64),
    /// The end: everything was reported, or the reason why it was not.
    End(Option<String>),
    /// It is ready to read directories, with this number of threads.
    Ready(usize),
    Part(Box<SaidPart>),
    /// Directories that are given back.
    Given(Vec<u64>),
    /// How often the file system was accessed.
    Looks(u64),
}

/// Mode, owner, inode, and why the directory must not be split.
type Attributes = (u32, u32, u64, Option<KeptWhole>);

/// How opening a directory ended.
#[derive(Debug, Serialize, Deserialize)]
enum SaidMet {
    Opened(Attributes),
    Leaf(Attributes, (u64, u64)),
    Unopened(i32),
    Elsewhere,
    Dropped,
}

/// A [`Part`]. Empty fields are omitted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SaidPart {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<SaidMet>,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    names: Bytes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weights: Vec<(u64, u64)>,
    /// Name, weight, inode, number of names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    linked: Vec<(Bytes, (u64, u64), u64, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    directories: Vec<(Bytes, bool)>,
    children: u64,
    /// Name, operation, error number, whether it is in a unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<(Bytes, usize, i32, bool)>,
    is_last: bool,
}

impl SaidPart {
    pub fn new(part: Part<'_>) -> SaidPart {
        let attributes = |opened: Opened| (opened.mode, opened.owner, opened.identity.1, opened.whole);
        let met = part.met.map(|met| match met {
            Met::Opened(opened) => SaidMet::Opened(attributes(opened)),
            Met::Leaf(opened, inside) => SaidMet::Leaf(attributes(opened), pair(inside)),
            Met::Unopened(errno) => SaidMet::Unopened(errno.raw_os_error()),
            Met::Elsewhere => SaidMet::Elsewhere,
            Met::Dropped => SaidMet::Dropped,
        });
        let linked = |linked: LinkedPart| (Bytes(linked.name), pair(linked.weight), linked.inode.1, linked.names);
        let unread = |unread: Unread| {
            (Bytes(unread.name), number_of(unread.attempted), unread.errno.raw_os_error(), unread.in_unit)
        };
        SaidPart {
            id: part.id,
            met,
            names: Bytes(part.names.to_vec()),
            weights: part.weights.iter().copied().map(pair).collect(),
            linked: part.linked.into_iter().map(linked).collect(),
            directories: part.directories.into_iter().map(|step| (Bytes(step.name), step.link)).collect(),
            children: part.children,
            unread: part.unread.into_iter().map(unread).collect(),
            is_last: part.is_last,
        }
    }

    /// Passes the part on to `hear`.
    ///
    /// # Errors
    /// It contains something that a directory cannot contain.
    pub fn read(self, hear: impl FnOnce(Part<'_>)) -> Result<(), &'static str> {
        const NO_NAME: &str = "it has no name that a directory can hold";
        let opened = |(mode, owner, inode, whole)| Opened { mode, owner, identity: (0, inode), whole };
        let met = self.met.map(|met| match met {
            SaidMet::Opened(attributes) => Met::Opened(opened(attributes)),
            SaidMet::Leaf(attributes, inside) => Met::Leaf(opened(attributes), weight(inside)),
            SaidMet::Unopened(errno) => Met::Unopened(far::errno(errno.into())),
            SaidMet::Elsewhere => Met::Elsewhere,
            SaidMet::Dropped => Met::Dropped,
        });
        let names = self.names.0.split_inclusive(|byte| *byte == 0);
        let are_names = names.clone().all(|name| name.strip_suffix(b"\0").is_some_and(is_name));
        let linked: Vec<LinkedPart> = self
            .linked
            .into_iter()
            .map(|(name, pair, inode, names)| LinkedPart {
                name: name.0,
                weight: weight(pair),
                inode: (0, inode),
                names,
            })
            .collect();
        let directories: Vec<Step> =
            self.directories.into_iter().map(|(name, link)| Step { name: name.0, link }).collect();
        let unread: Vec<Unread> = self
            .unread
            .into_iter()
            .map(|(name, attempted, errno, in_unit)| {
                let errno = far::errno(errno.into());
                Unread { name: name.0, attempted: attempted_by(attempted), errno, in_unit }
            })
            .collect();
        let others = linked.iter().map(|linked| &linked.name).chain(directories.iter().map(|step| &step.name));
        let failed = unread.iter().map(|unread| &unread.name).filter(|name| !name.is_empty());
        if !are_names || names.count() != self.weights.len() || !others.chain(failed).all(|name| is_name(name)) {
            return Err(NO_NAME);
        }
        let weights: Vec<Weight> = self.weights.into_iter().map(weight).collect();
        hear(Part {
            id: self.id,
            met,
            names: &self.names.0,
            weights: &weights,
            linked,
            directories,
            children: self.children,
            unread,
            is_last: self.is_last,
        });
        Ok(())
    }
}

/// The message for an order.
pub fn asked(order: Order) -> Asked {
    match order {
        Order::Read(handed) => {
            let steps = |steps: Vec<Step>| steps.into_iter().map(|step| (Bytes(step.name), step.link)).collect();
            Asked::Read(handed.into_iter().map(|dir| (dir.id, dir.root, steps(dir.steps))).collect())
        }
        Order::Give(count) => Asked::Give(count),
        Order::Drop(id) => Asked::Drop(id),
        Order::Limits(limits) => Asked::Limits(limits.entries.get(), limits.bytes.get()),
    }
}

/// The order in a message; `None` if it is not an order.
pub fn order(asked: Asked) -> Option<Order> {
    Some(match asked {
        Asked::Read(handed) => {
            let steps =
                |steps: Vec<(Bytes, bool)>| steps.into_iter().map(|(name, link)| Step { name: name.0, link }).collect();
            let dir = |(id, root, way)| Handed { id, root, steps: steps(way) };
            Order::Read(handed.into_iter().map(dir).collect())
        }
        Asked::Give(count) => Order::Give(count),
        Asked::Drop(id) => Order::Drop(id),
        Asked::Limits(entries, bytes) => Order::Limits(limits(entries, bytes)),
        Asked::Scan(_) | Asked::Help(..) | Asked::Prune(_) => return None,
    })
}

pub fn limits(entries: u64, bytes: u64) -> Limits {
    let limit = |number| NonZero::new(number).unwrap_or(NonZero::<u64>::MIN);
    Limits { entries: limit(entries), bytes: limit(bytes) }
}

fn number_of(attempted: &str) -> usize {
    ATTEMPTED.iter().position(|words| *words == attempted).unwrap_or(ATTEMPTED.len() - 1)
}

fn attempted_by(number: usize) -> &'static str {
    ATTEMPTED.get(number).unwrap_or(&ATTEMPTED[ATTEMPTED.len() - 1])
}

/// Whether this can be a name in a directory.
pub fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// A scan, as far as another machine can carry it out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    roots: Vec<(Bytes, Option<Bytes>)>,
    limits: (NonZero<u64>, NonZero<u64>),
    pub small: Option<u64>,
    split_roots: bool,
    one_file_system: u8,
    merge_files: Vec<Bytes>,
    follow: u8,
    unsafe_links_whole: bool,
    prune: Prune,
    hard_links: bool,
    found_again: bool,
    linked_parts: Option<NonZero<u64>>,
    keep_locked_whole: bool,
    longest_base: usize,
    gitignore: bool,
}

impl Request {
    pub fn new(scan: &Scan, small: Option<u64>) -> Request {
        let root = |root: &Root| {
            // An empty base means the user's home directory there.
            let base = if root.base.as_os_str().is_empty() { ".".as_ref() } else { root.base.as_os_str() };
            (Bytes(base.as_bytes().to_vec()), root.name.as_ref().map(|name| Bytes(name.as_bytes().to_vec())))
        };
        Request {
            roots: scan.roots.iter().map(root).collect(),
            limits: (scan.limits.entries, scan.limits.bytes),
            small,
            split_roots: scan.split_roots,
            one_file_system: scan.one_file_system,
            merge_files: scan.merge_files.iter().map(|name| Bytes(name.as_bytes().to_vec())).collect(),
            follow: match scan.follow {
                Follow::Nothing => 0,
                Follow::Directories => 1,
                Follow::All => 2,
            },
            unsafe_links_whole: scan.unsafe_links_whole,
            prune: scan.prune.clone(),
            hard_links: scan.hard_links,
            found_again: scan.found_again,
            linked_parts: scan.linked_parts,
            keep_locked_whole: scan.keep_locked_whole,
            longest_base: scan.longest_base,
            gitignore: scan.gitignore,
        }
    }

    /// The scan, with as many threads as suit its roots.
    pub fn scan(self) -> Scan {
        let root = |(base, name): (Bytes, Option<Bytes>)| Root {
            base: OsString::from_vec(base.0).into(),
            name: name.map(|name| OsString::from_vec(name.0)),
        };
        let roots: Vec<Root> = self.roots.into_iter().map(root).collect();
        let threads = crate::scan::usual_threads(&roots);
        let (entries, bytes) = self.limits;
        let mut scan = Scan::new(roots, Limits { entries, bytes }, threads).pruned_by(self.prune);
        scan.split_roots = self.split_roots;
        scan.one_file_system = self.one_file_system;
        scan.merge_files = self.merge_files.into_iter().map(|name| OsString::from_vec(name.0)).collect();
        scan.follow = match self.follow {
            0 => Follow::Nothing,
            1 => Follow::Directories,
            _ => Follow::All,
        };
        scan.unsafe_links_whole = self.unsafe_links_whole;
        scan.hard_links = self.hard_links;
        scan.found_again = self.found_again;
        scan.linked_parts = self.linked_parts;
        scan.keep_locked_whole = self.keep_locked_whole;
        scan.longest_base = self.longest_base;
        scan.gitignore = self.gitignore;
        scan
    }
}

pub fn pair(weight: Weight) -> (u64, u64) {
    (weight.entries, weight.bytes)
}

pub fn weight((entries, bytes): (u64, u64)) -> Weight {
    Weight { entries, bytes }
}

/// A message as a line, with its newline.
pub fn line(said: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).expect("numbers and text have a form in JSON");
    line.push(b'\n');
    line
}

pub fn error(error: &ScanError) -> Told {
    let attempted = number_of(error.attempted);
    let ScanError { root, path, in_unit, .. } = error;
    let errno = error.errno.raw_os_error();
    Told::Error { root: *root, path: Bytes(path.clone()), attempted, errno, in_unit: *in_unit }
}

pub fn scan_error(root: u32, path: Bytes, attempted: usize, errno: i32, in_unit: bool) -> ScanError {
    let attempted = attempted_by(attempted);
    ScanError { root, path: path.0, attempted, errno: far::errno(errno.into()), in_unit }
}

pub fn linked_dirs(dirs: LinkedDirs) -> Told {
    let unit = |LinkedDir { root, spine, dir, name, weight, .. }| (root, spine, Bytes(dir), Bytes(name), pair(weight));
    Told::LinkedDirs { units: dirs.units.into_iter().map(unit).collect(), inodes: dirs.inodes }
}

/// Splits data that come in pieces into lines.
#[derive(Default)]
pub struct Lines {
    /// The beginning of a line that has no newline yet.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes a piece, and passes on each line that ends in it, without its newline.
    ///
    /// # Errors
    /// An error of `each`. Nothing more is passed on after it.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> error::Result<()>) -> error::Result<()> {
        while let Some(length) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                each(&bytes[..length])?;
            } else {
                self.begun.extend_from_slice(&bytes[..length]);
                let line = each(&self.begun);
                self.begun.clear();
                line?;
            }
            bytes = &bytes[length + 1..];
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// The beginning of a line that has no newline yet.
    pub fn begun(&self) -> &[u8] {
        &self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Watch;

    #[test]
    fn what_a_scan_attempts_is_known_to_the_other_side() {
        let folder = tempfile::tempdir().unwrap();
        let roots = vec![Root { base: folder.path().into(), name: Some("gone".into()) }];
        let one = NonZero::<u64>::MIN;
        let scan = Scan::new(roots, Limits { entries: one, bytes: one }, NonZero::<usize>::MIN);
        let errors = std::sync::Mutex::new(Vec::new());
        let hear = |event: crate::scan::Event<'_>| {
            if let crate::scan::Event::Error(error) = event {
                errors.lock().unwrap().push(error);
            }
        };
        scan.run(&Watch::default(), &hear).unwrap();
        let errors = errors.into_inner().unwrap();
        let said: Told = serde_json::from_slice(&line(&error(&errors[0]))).unwrap();
        let Told::Error { root, path, attempted, errno, in_unit } = said else { panic!("{said:?}") };
        assert_eq!(scan_error(root, path, attempted, errno, in_unit), errors[0]);
    }

    #[test]
    fn a_scan_arrives_as_it_was_asked_for() {
        let one = NonZero::<u64>::MIN;
        let mut scan = Scan::new(
            vec![Root { base: "/a\u{fffd}".into(), name: Some(OsString::from_vec(b"\xff\n".to_vec())) }],
            Limits { entries: one, bytes: NonZero::<u64>::MAX },
            NonZero::<usize>::MIN,
        );
        (scan.split_roots, scan.unsafe_links_whole, scan.hard_links, scan.gitignore) = (true, true, true, true);
        (scan.found_again, scan.keep_locked_whole, scan.longest_base) = (true, true, 77);
        (scan.one_file_system, scan.follow, scan.linked_parts) = (2, Follow::All, NonZero::new(3));
        scan.merge_files = vec![".rules".into()];
        let said: Asked = serde_json::from_slice(&line(&Asked::Scan(Box::new(Request::new(&scan, Some(5)))))).unwrap();
        let Asked::Scan(request) = said else { panic!("{said:?}") };
        assert_eq!(request.small, Some(5));
        let arrived = Scan { threads: scan.threads, ..request.scan() };
        assert_eq!(format!("{arrived:?}"), format!("{scan:?}"));
    }
}
