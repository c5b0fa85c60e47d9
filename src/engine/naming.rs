//! Translates the names in rsync's messages to names of the source: which entry of the transfer a message is about.
//!
//! The sender prints paths of the source. The receiving side prints paths at the destination, of which some are temporary files, or paths in the transfer. Ends
//! of paths are compared only if it is not known how the other side prints DEST; then the result is marked as uncertain.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::spine::path_in_transfer;
use crate::config::Config;
use crate::endpoint::Target;
use crate::plan::Plan;
use crate::rsync::messages::{About, Form, Message, Name, Side};

/// Where the entries of a run come from, and where they go.
pub(super) struct Naming {
    origins: Vec<Origin>,
    /// Names begin at `/`, because the sources have no common directory from which all can be named.
    from_root: bool,
    /// The sources are on another machine, so that it cannot be checked whether they have a name.
    is_far: bool,
    dest: Dest,
}

/// A source.
struct Origin {
    /// The directory at which its paths begin, as typed and without symbolic links.
    bases: Vec<PathBuf>,
    /// Only this name in the directory belongs to the source.
    only: Option<OsString>,
    /// What precedes these paths in the transfer, with a slash at its end.
    above: Vec<u8>,
}

impl Origin {
    /// The directory at which names in the transfer begin.
    fn start(&self) -> &[u8] {
        let base = self.bases[0].as_os_str().as_bytes();
        match self.above.strip_suffix(b"/") {
            Some(above) => base.strip_suffix(above).unwrap_or(base),
            None => base,
        }
    }
}

/// DEST, as the receiving side prints it.
enum Dest {
    /// It is one of these paths.
    Known(Vec<Vec<u8>>),
    /// It is a path with this end.
    EndsWith(Vec<u8>),
}

/// An entry of the source that a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name, as `rsync --files-from` takes it.
    pub name: Vec<u8>,
    /// Whether the source has it.
    exists: bool,
}

impl Naming {
    pub fn new(config: &Config, plan: &Plan) -> Naming {
        let bases = |base: &Path| {
            match config.far_end() {
                _ if !config.pulls() => {}
                // In messages, paths of a module begin at its root.
                Target::Daemon { .. } => return vec![Path::new("/").join(base)],
                _ => return vec![base.to_owned()],
            }
            let mut bases = vec![base.components().collect::<PathBuf>()];
            bases.extend(fs::canonicalize(base).ok());
            bases.dedup();
            bases
        };
        let trees = plan.trees.iter().map(|tree| Origin {
            bases: bases(&tree.root.base),
            only: tree.root.name.clone(),
            above: tree.above.clone(),
        });
        let singles = plan.singles.iter().map(|single| Origin {
            bases: bases(&single.base),
            only: Some(single.name.clone()),
            above: Vec::new(),
        });
        let mut origins: Vec<Origin> = trees.chain(singles).collect();
        if origins.is_empty() && config.pulls() {
            origins.extend(config.sources.iter().map(|source| {
                let (base, name) = source.there();
                Origin { bases: bases(base), only: name.map(OsStr::to_owned), above: Vec::new() }
            }));
        }
        if origins.is_empty() {
            // This source is a list of names, which a single rsync reads.
            origins.push(Origin { bases: bases(&plan.recipe.base), only: None, above: Vec::new() });
        }
        let from_root = !origins.iter().all(|origin| origin.start() == origins[0].start());
        let dest = match config.destination.target() {
            Target::Local => {
                let typed = config.destination.as_typed(&config.cwd);
                let mut known = written(Path::new(&typed));
                known.extend(fs::canonicalize(&typed).ok().map(|path| path.into_os_string().into_vec()));
                Dest::Known(known)
            }
            Target::Ssh { path, .. } if path.as_bytes().starts_with(b"/") => Dest::Known(written(Path::new(path))),
            Target::Ssh { path, .. } => {
                let path = path.as_bytes();
                let path = path.strip_prefix(b"~/").unwrap_or(path);
                Dest::EndsWith(trimmed(&cleaned(Path::new(OsStr::from_bytes(path)), false)).to_vec())
            }
            Target::Daemon { path, .. } => Dest::Known(vec![trimmed(&cleaned(Path::new(path), true)).to_vec()]),
        };
        Naming { origins, from_root, is_far: config.pulls(), dest }
    }

    /// The entry that a message is about. Several entries if it cannot be decided which one; none if the message is not about the source, or its subject is
    /// unknown.
    pub fn entries(&self, message: &Message<'_>) -> Vec<Entry> {
        // A failed deletion concerns a name that is not in the source.
        if message.about == About::Deletion {
            return Vec::new();
        }
        let readings: Vec<Vec<Entry>> =
            message.names().iter().map(|name| self.read(message, name)).filter(|found| !found.is_empty()).collect();
        let exists = readings.iter().position(|found| found.iter().any(|entry| entry.exists));
        let mut chosen = readings.into_iter().nth(exists.unwrap_or(0)).unwrap_or_default();
        if chosen.iter().any(|entry| entry.exists) {
            chosen.retain(|entry| entry.exists);
        }
        chosen
    }

    /// The name of a unit, from its argument.
    pub fn of_argument(&self, argument: &[u8]) -> Option<Vec<u8>> {
        self.of_transfer(path_in_transfer(argument)).map(|entry| entry.name)
    }

    /// The path in the transfer of a directory that could not be created, if that is certain.
    pub fn unmade(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        if message.about == About::Directory { self.path_at_dest(message) } else { None }
    }

    /// The path in the transfer of the only entry at the destination that a message names, if that is certain.
    pub fn path_at_dest(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let names = message.names();
        let [name] = &names[..] else { return None };
        match self.paths(name) {
            paths if paths.len() == 1 && self.knows_dest() => paths.into_iter().next(),
            _ => None,
        }
    }

    fn knows_dest(&self) -> bool {
        matches!(self.dest, Dest::Known(_))
    }

    fn read(&self, message: &Message<'_>, name: &Name) -> Vec<Entry> {
        let from_source = || self.origins.iter().find_map(|origin| self.of_source(origin, &name.bytes));
        match (name.form, message.side) {
            (Form::InTransfer, Side::Sender) => self.of_transfer(&name.bytes).into_iter().collect(),
            (Form::Path, Side::Sender) => from_source().into_iter().collect(),
            (Form::Path, Side::Unknown | Side::Starting) if from_source().is_some() => {
                from_source().into_iter().collect()
            }
            (Form::InTransfer, _) => self.final_names(&name.bytes),
            (Form::InModule, _) if self.is_far => {
                let path = name.bytes.strip_prefix(b"/").unwrap_or(&name.bytes);
                let path = [b"/", path].concat();
                self.origins.iter().find_map(|origin| self.of_source(origin, &path)).into_iter().collect()
            }
            (Form::Path | Form::InModule, _) => {
                let paths = self.paths(name);
                let mut found: Vec<Entry> = paths.iter().flat_map(|path| self.final_names(path)).collect();
                if !self.knows_dest() && found.iter().any(|entry| entry.exists) {
                    found.retain(|entry| entry.exists);
                    // The longest path that exists in the source is the right one, unless the source itself contains the path of DEST again.
                    found.truncate(1);
                }
                found
            }
        }
    }

    /// The paths in the transfer that a path at the destination may stand for, the longest first.
    fn paths(&self, name: &Name) -> Vec<Vec<u8>> {
        let path = match name.form {
            Form::InModule => name.bytes.iter().position(|byte| *byte != b'/').map_or(&[][..], |at| &name.bytes[at..]),
            _ => &name.bytes[..],
        };
        let below = |dest: &[u8]| match (dest, path.strip_prefix(dest)) {
            (b"", Some(rest)) => Some(rest),
            (_, Some(b"")) => Some(&b"."[..]),
            (b"/", Some(rest)) => Some(rest),
            (_, Some([b'/', rest @ ..])) => Some(rest),
            _ => None,
        };
        match &self.dest {
            Dest::Known(known) => known.iter().find_map(|dest| below(dest)).map(<[u8]>::to_vec).into_iter().collect(),
            Dest::EndsWith(end) => {
                let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
                let is_dest = |head: &[u8]| {
                    end.is_empty() || head.strip_suffix(&end[..]).is_some_and(|rest| rest.ends_with(b"/"))
                };
                let splits = slashes.filter(|(at, _)| *at > 0 && is_dest(&path[..*at]));
                splits.map(|(at, _)| path[at + 1..].to_vec()).collect()
            }
        }
    }

    /// The entries that a path of the receiving side may stand for: the entry itself, or the final name of a temporary file.
    fn final_names(&self, path: &[u8]) -> Vec<Entry> {
        let own = self.of_transfer(path);
        if own.as_ref().is_some_and(|entry| entry.exists) {
            return own.into_iter().collect();
        }
        let (dir, last) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => path.split_at(at + 1),
            None => (&[][..], path),
        };
        let Some(name) = temporary(last) else { return own.into_iter().collect() };
        // If a name begins with a dot, rsync does not add another one (receiver.c, `get_tmpname`).
        let mut names = vec![name.to_vec(), [b".", name].concat()];
        if last.len() + LONGEST_CHARACTER > LONGEST_NAME {
            names.extend(self.that_begin(dir, name));
        }
        let found = names.iter().filter_map(|name| self.of_transfer(&[dir, name].concat()));
        let found: Vec<Entry> = found.collect();
        match found.iter().any(|entry| entry.exists) {
            true => found.into_iter().filter(|entry| entry.exists).collect(),
            false => found.into_iter().take(1).collect(),
        }
    }

    /// Names in a directory that begin with the name of a temporary file, because rsync has cut that name.
    fn that_begin(&self, dir: &[u8], begin: &[u8]) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for origin in &self.origins {
            let Some(rest) = dir.strip_prefix(&origin.above[..]) else { continue };
            if self.is_far {
                continue;
            }
            let Ok(listed) = fs::read_dir(origin.bases[0].join(OsStr::from_bytes(rest))) else { continue };
            names.extend(listed.flatten().map(|entry| entry.file_name().into_vec()).filter(|name| {
                name.len() > LONGEST_NAME - TEMPORARY_END - 1
                    && (name.starts_with(begin) || name.starts_with(&[b".", begin].concat()))
            }));
        }
        names
    }

    fn of_transfer(&self, path: &[u8]) -> Option<Entry> {
        let path = path.strip_prefix(b"./").unwrap_or(path);
        let fitting = self.origins.iter().filter_map(|origin| {
            let rest = path.strip_prefix(&origin.above[..])?;
            let first = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            origin.only.as_ref().is_none_or(|only| only.as_bytes() == first).then(|| self.entry(origin, rest))
        });
        let mut first = None;
        for entry in fitting {
            if entry.exists {
                return Some(entry);
            }
            first.get_or_insert(entry);
        }
        first
    }

    fn of_source(&self, origin: &Origin, path: &[u8]) -> Option<Entry> {
        let below = |base: &PathBuf| {
            let base = base.as_os_str().as_bytes();
            let rest = path.strip_prefix(base.strip_suffix(b"/").unwrap_or(base))?;
            if rest.is_empty() { Some(&b"."[..]) } else { rest.strip_prefix(b"/") }
        };
        let rest = origin.bases.iter().find_map(below)?;
        let first = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
        let only = origin.only.as_ref().is_none_or(|only| only.as_bytes() == first);
        only.then(|| self.entry(origin, rest))
    }

    fn entry(&self, origin: &Origin, rest: &[u8]) -> Entry {
        let path = [&origin.above[..], rest].concat();
        let name = if self.from_root { [trimmed(origin.start()), b"/./", &path].concat() } else { path };
        let at = origin.bases[0].join(OsStr::from_bytes(rest));
        Entry { name, exists: !self.is_far && fs::symlink_metadata(at).is_ok() }
    }
}

/// NAME_MAX.
const LONGEST_NAME: usize = 255;
/// The length of `.XXXXXX`.
const TEMPORARY_END: usize = 7;
/// rsync does not cut a name inside a character, so that it may drop up to this many bytes.
const LONGEST_CHARACTER: usize = 5;

/// The name in `.NAME.XXXXXX`, or in `.NAME.12345` for entries that are not regular files (receiver.c, `get_tmpname`).
fn temporary(last: &[u8]) -> Option<&[u8]> {
    let rest = last.strip_prefix(b".")?;
    let at = rest.iter().rposition(|byte| *byte == b'.')?;
    let (name, end) = (&rest[..at], &rest[at + 1..]);
    let random = end.len() == TEMPORARY_END - 1 && end.iter().all(u8::is_ascii_alphanumeric);
    let number = (1..=10).contains(&end.len()) && end.iter().all(u8::is_ascii_digit);
    ((random || number) && !name.is_empty()).then_some(name)
}

/// The ways in which rsync may print a directory: with `..` removed from the path, or not.
fn written(path: &Path) -> Vec<Vec<u8>> {
    let mut all = vec![cleaned(path, true), cleaned(path, false)];
    all.dedup();
    all
}

fn cleaned(path: &Path, collapse: bool) -> Vec<u8> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if collapse && clean.file_name().is_some() => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean.into_os_string().into_vec()
}

fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}
