//! What the scan does not enter because of its name is what rsync itself leaves out; the names rsync prints are read back as they are.
//!
//! The input is words, each ended by a NUL: a letter for what the word is ([`Case::read`]), then its text. Directories get the names
//! that stand in the rules, and others that are alike.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use multi_sync::rsync::filter::{Filters, unescape};
use multi_sync::rsync::options::Options;

use crate::rsync;

/// Enough for every rule to meet names that it is about, few enough for many trees a second.
const NAMES: usize = 24;
/// So that a longer one made of it is still a name.
const LONGEST_NAME: usize = 200;
/// A directory whose inside is like the top.
const INNER: &str = "inner";

/// Reads the input as rules and names, makes the tree, and has it copied by rsync.
pub fn check(data: &[u8]) {
    if rsync::version().is_none() {
        return;
    }
    let Some(case) = Case::read(data) else { return };
    let Ok(options) = Options::parse(&case.options) else { return };
    let work = tempfile::tempdir().unwrap();
    for (at, text) in case.files.iter().enumerate() {
        fs::write(work.path().join(Case::file(at)), text).unwrap();
    }
    let Ok(filters) = Filters::of(&options, work.path()) else { return };
    let excludes = |path: &[u8]| filters.prune.excludes(name(path), || path.to_vec());
    let (source, copy) = (work.path().join("source"), work.path().join("copy"));
    fs::create_dir(&copy).unwrap();
    case.plant(&source);

    let mut command = rsync::rsync(work.path());
    command.args(options.argv()).args(["-r", "--out-format=%n", "--", "source/", "copy/"]);
    let output = rsync::run(&mut command).unwrap();
    let mut there = BTreeSet::new();
    list(&copy, b"", &mut there);
    let told = |path: &[u8]| format!("{:?} by {:?}: {output:?}", OsStr::from_bytes(path), case.options);
    for path in there.iter().filter(|path| is_dir(&copy, path)) {
        assert!(!excludes(path), "copied {}", told(path));
    }
    if !output.status.success() {
        return;
    }
    let printed: BTreeSet<Vec<u8>> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && *line != b"./")
        .map(unescape)
        .collect();
    assert_eq!(printed, there, "{:?}: {output:?}", case.options);
    if case.is_plain {
        let mut all = BTreeSet::new();
        list(&source, b"", &mut all);
        for path in all.iter().filter(|path| is_dir(&source, path)) {
            let ends = (1..path.len()).filter(|&end| path[end] == b'/').chain([path.len()]);
            let pruned = ends.map(|end| &path[..end]).any(excludes);
            assert!(pruned || there.contains(path), "not known to be left out: {}", told(path));
        }
    }
}

/// Options and files with rules, and the names of directories.
#[derive(Default)]
struct Case {
    options: Vec<OsString>,
    files: Vec<Vec<u8>>,
    names: BTreeSet<Vec<u8>>,
    /// There are only rules of which everything is certain.
    is_plain: bool,
}

impl Case {
    /// `None` if rsync would read files that are not part of the case.
    fn read(data: &[u8]) -> Option<Case> {
        let mut case = Case { is_plain: true, ..Case::default() };
        for word in data.split(|&byte| byte == 0) {
            let Some((&kind, text)) = word.split_first() else { continue };
            let from_file = Case::file(case.files.len());
            let option = match kind {
                b'd' => None,
                b'e' => Some(joined("--exclude=", text)),
                b'i' => Some(joined("--include=", text)),
                b'f' if text.starts_with(b".") || text.starts_with(b"merge") || text.contains(&b'/') => return None,
                b'f' => Some(joined("--filter=", text)),
                b'm' => Some(format!("--filter=. {from_file}").into()),
                b'x' => Some(format!("--exclude-from={from_file}").into()),
                b'n' => Some(format!("--include-from={from_file}").into()),
                b'p' if text.starts_with(b"/") => return None,
                b'p' => Some(joined("--partial-dir=", text)),
                b'F' => Some("-F".into()),
                b'C' => Some("-C".into()),
                b'0' => Some("--from0".into()),
                b'D' => Some("--delete-excluded".into()),
                _ => continue,
            };
            if matches!(kind, b'm' | b'x' | b'n') {
                case.files.push(text.to_vec());
            }
            let certain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.' || !byte.is_ascii();
            let name = text.strip_suffix(b"/").unwrap_or(text);
            let plain_rule = matches!(kind, b'e' | b'i') && !name.is_empty() && name.iter().all(certain);
            case.is_plain &= plain_rule || matches!(kind, b'd' | b'D');
            case.options.extend(option);
            case.take_names(text);
        }
        Some(case)
    }

    /// The name of a file with rules.
    fn file(at: usize) -> String {
        format!("rules.{at}")
    }

    fn take_names(&mut self, text: &[u8]) {
        for part in text.split(|byte| matches!(byte, b'/' | b'\n')).filter(|part| part.len() < LONGEST_NAME) {
            let last = part.rsplit(|&byte| byte == b' ').next().unwrap_or(part);
            let shorter = part.split_last().map_or(part, |(_, rest)| rest);
            let alike =
                [part.to_vec(), last.to_vec(), shorter.to_vec(), [part, b"x"].concat(), part.to_ascii_uppercase()];
            let room = NAMES.saturating_sub(self.names.len());
            self.names.extend(alike.into_iter().filter(|name| !matches!(&name[..], b"" | b"." | b"..")).take(room));
        }
    }

    /// The names at two levels, with something in each directory and around it.
    fn plant(&self, source: &Path) {
        for above in [source.to_owned(), source.join(INNER)] {
            fs::create_dir_all(&above).unwrap();
            for name in self.names.iter().map(|name| OsStr::from_bytes(name)) {
                fs::create_dir_all(above.join(name).join("below")).unwrap();
                fs::write(above.join(name).join("file"), "").unwrap();
            }
        }
    }
}

fn joined(option: &str, text: &[u8]) -> OsString {
    OsString::from_vec([option.as_bytes(), text].concat())
}

/// Everything below a directory, relative to the first one.
fn list(dir: &Path, above: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = [above, entry.file_name().as_bytes()].concat();
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &[&path[..], b"/"].concat(), found);
        }
        found.insert(path);
    }
}

fn is_dir(tree: &Path, path: &[u8]) -> bool {
    tree.join(OsStr::from_bytes(path)).is_dir()
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}
