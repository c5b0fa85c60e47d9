//! What the scan does not enter because of the rules is what rsync itself leaves out; the names rsync prints are read back as they are.
//!
//! The input is words, each ended by a NUL: a letter for what the word is ([`Case::read`]), then its text. Directories get the names
//! that stand in the rules, and others that are alike.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use multi_sync::harness::rsync::filter::{Filters, unescape};
use multi_sync::harness::rsync::options::Options;

use crate::rsync;

/// Each is in a directory of each name, [`DEPTH`] times: enough for rules to meet names that they are about, few enough for many trees
/// a second.
const NAMES: usize = 6;
const DEPTH: u32 = 3;
/// So that a longer one made of it is still a name.
const LONGEST_NAME: usize = 200;
/// Stands for the NUL in files with rules.
const NUL: u8 = 1;

/// Reads the input as rules and names, makes the tree, and has it copied by rsync.
pub fn check(data: &[u8]) {
    if rsync::version().is_none() {
        return;
    }
    let Some(case) = Case::read(data) else { return };
    let Ok(options) = Options::parse(&case.options) else { return };
    let work = rsync::folder();
    for (at, text) in case.files.iter().enumerate() {
        fs::write(work.path().join(Case::file(at)), text).unwrap();
    }
    let Ok(filters) = Filters::of(&options, work.path()) else { return };
    let excludes = |path: &[u8]| filters.prune.excludes(name(path), || path.to_vec());
    let directories = case.directories();
    if !case.is_plain && !case.options.is_empty() && !directories.iter().any(|path| excludes(path)) {
        return;
    }
    let (source, copy) = (work.path().join("source"), work.path().join("copy"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&copy).unwrap();
    for path in &directories {
        fs::create_dir(source.join(OsStr::from_bytes(path))).unwrap();
    }

    let mut command = rsync::rsync(work.path());
    command.args(options.argv()).args(["-r", "--out-format=%n", "--", "source/", "copy/"]);
    let output = rsync::run(&mut command).unwrap();
    let mut there = BTreeSet::new();
    list(&copy, b"", &mut there);
    let rules = || {
        let files = case.files.iter().map(|text| text.escape_ascii().to_string()).collect::<Vec<_>>();
        format!("{:?} {files:?}: {}", case.options, String::from_utf8_lossy(&output.stderr))
    };
    let told = |path: &[u8]| format!("{} by {}", path.escape_ascii(), rules());
    for path in directories.iter().filter(|path| there.contains(*path)) {
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
    assert_eq!(printed, there, "{}", rules());
    for path in directories.iter().filter(|path| case.is_plain && !there.contains(*path)) {
        let ends = (1..path.len()).filter(|&end| path[end] == b'/').chain([path.len()]);
        assert!(ends.map(|end| &path[..end]).any(excludes), "not known to be left out: {}", told(path));
    }
}

/// Options and files with rules, and the names of directories.
#[derive(Default)]
struct Case {
    options: Vec<OsString>,
    files: Vec<Vec<u8>>,
    /// For each word those that it is about, the likeliest first.
    names: Vec<Vec<Vec<u8>>>,
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
                b'f' if reads_a_file(text) => return None,
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
                case.files.push(text.iter().map(|&byte| if byte == NUL { 0 } else { byte }).collect());
            }
            let certain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.' || !byte.is_ascii();
            let name = text.strip_suffix(b"/").unwrap_or(text);
            let plain_rule = matches!(kind, b'e' | b'i') && !name.is_empty() && name.iter().all(certain);
            case.is_plain &= plain_rule || matches!(kind, b'd' | b'D');
            case.options.extend(option);
            case.names.extend(text.split(|byte| matches!(byte, b'/' | b'\n' | &NUL)).map(names));
        }
        Some(case)
    }

    /// The name of a file with rules.
    fn file(at: usize) -> String {
        format!("rules.{at}")
    }

    /// Their paths, those above before those below.
    fn directories(&self) -> Vec<Vec<u8>> {
        let most = self.names.iter().map(Vec::len).max().unwrap_or_default();
        let mut names = Vec::new();
        for name in (0..most).flat_map(|rank| self.names.iter().filter_map(move |names| names.get(rank))) {
            if names.len() < NAMES && !names.contains(&name) {
                names.push(name);
            }
        }
        let mut paths = Vec::new();
        let mut level = vec![Vec::new()];
        for _ in 0..DEPTH {
            let below = |above: &Vec<u8>| names.iter().map(|name| [above, &name[..]].concat()).collect::<Vec<_>>();
            level = level.iter().flat_map(below).collect();
            paths.extend(level.iter().cloned());
            level.iter_mut().for_each(|path| path.push(b'/'));
        }
        paths
    }
}

/// Rules about one more file, or about one that is named by a path.
fn reads_a_file(rule: &[u8]) -> bool {
    let is = |word: &str| rule.starts_with(word.as_bytes());
    is(".") || is("merge") || (is(":") || is("dir-merge")) && rule.contains(&b'/')
}

/// Names that a part of a rule may be about.
fn names(part: &[u8]) -> Vec<Vec<u8>> {
    let pattern = part.rsplit(|byte| matches!(byte, b' ' | b'_')).next().unwrap_or(part);
    let like = |many: &[u8]| -> Vec<u8> {
        let byte = |byte: &u8| match byte {
            b'*' => many.to_vec(),
            b'?' => b"q".to_vec(),
            other => vec![*other],
        };
        pattern.iter().flat_map(byte).collect()
    };
    let shorter = pattern.split_last().map_or(pattern, |(_, rest)| rest);
    let all = [like(b"xy"), part.to_vec(), like(b""), shorter.to_vec(), [pattern, b"x"].concat(), pattern.to_vec()];
    let is_name = |name: &Vec<u8>| !matches!(&name[..], b"" | b"." | b"..") && name.len() < LONGEST_NAME;
    all.into_iter().filter(is_name).collect()
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

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}
