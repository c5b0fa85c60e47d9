//! Trees from a manifest: the listing of a real tree becomes a tree of the same names, types, modes and sizes.
//!
//! Refuses lines that it does not understand and names that lead out of the tree.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use rayon::prelude::*;

use super::folder::{Attributes, Folder, Mtime, split};
use super::random::Random;
use super::{Fill, Totals};
use crate::error::{Error, Result};

/// Creates the tree that `manifest` lists in `root`, which must be empty or not exist yet. Runs in the current rayon pool; the whole manifest is kept in
/// memory.
///
/// A manifest has one line per entry, fields separated by one tab, so that a name can contain neither tab nor newline:
///
/// ```text
/// d <mode> 0 <path>              a directory; the path of the root is `.`
/// f <mode> <size> <path>         a regular file
/// l <mode> 0 <path> <target>     a symbolic link, whose mode is ignored
/// ```
///
/// The mode is octal, the size in bytes, the path relative to the root, the target unchanged. A directory comes before its contents. Content, as `fill` says,
/// and modification times follow from `seed` and the number of the line.
///
/// ```
/// use multi_sync::harness::treegen::{Fill, from_manifest};
///
/// let dir = tempfile::tempdir()?;
/// let manifest = "d\t755\t0\t.\nd\t755\t0\tsrc\nf\t644\t120\tsrc/main.rs\nl\t777\t0\tlink\tsrc/main.rs\n";
/// let totals = from_manifest(&dir.path().join("tree"), manifest.as_bytes(), Fill::Random, 42)?;
/// assert_eq!((totals.files, totals.dirs, totals.symlinks, totals.bytes), (1, 1, 1, 120));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_manifest(root: &Path, manifest: impl BufRead, fill: Fill, seed: u64) -> Result<Totals> {
    let mut dirs: Vec<(Vec<u8>, Attributes)> = Vec::new();
    let mut others: BTreeMap<Vec<u8>, Vec<Other>> = BTreeMap::new();
    let mut totals = Totals::default();
    for (number, line) in (1..).zip(manifest.split(b'\n')) {
        let line = line.map_err(|error| Error::file_io("cannot read the manifest").because(error))?;
        let line = Line::parse(&line).ok_or_else(|| {
            let shown = crate::entry::Printable::bytes(&line).to_string();
            Error::usage(format!("line {number} of the manifest is not an entry: {shown}"))
        })?;
        let mut random = Random::part(seed, number);
        let attributes = Attributes { mode: line.mode, mtime: Mtime::random(&mut random) };
        let content = match line.kind {
            LineKind::Dir => {
                totals.dirs += u64::from(line.path != b".");
                dirs.push((line.path.to_vec(), attributes));
                continue;
            }
            LineKind::File(size) => {
                totals.files += 1;
                totals.bytes = totals.bytes.saturating_add(size);
                OtherKind::File { size, content: random.next() }
            }
            LineKind::Symlink(target) => {
                totals.symlinks += 1;
                OtherKind::Symlink { target: target.to_vec() }
            }
        };
        let (above, name) = split(line.path);
        let other = Other { name: name.to_vec(), attributes, kind: content };
        match others.get_mut(above) {
            Some(list) => list.push(other),
            None => drop(others.insert(above.to_vec(), vec![other])),
        }
    }

    let root = Folder::new_root(root)?;
    for (path, _) in dirs.iter().filter(|(path, _)| path != b".") {
        let (above, name) = split(path);
        root.reach(above)?.make_dir(name)?;
    }
    others.par_iter().try_for_each(|(above, others)| {
        let folder = root.reach(above)?;
        others.iter().try_for_each(|other| other.make(&folder, fill))
    })?;
    // The deepest first, because a mode may forbid access to what is below.
    dirs.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    for (path, attributes) in dirs.iter().filter(|(path, _)| path != b".") {
        root.reach(path)?.settle(*attributes)?;
    }
    let own = dirs.iter().find(|(path, _)| path == b".").map(|(_, attributes)| *attributes);
    root.settle(own.unwrap_or(Attributes { mode: 0o755, mtime: Mtime::random(&mut Random::part(seed, 0)) }))?;
    Ok(totals)
}

/// An entry that is not a directory.
struct Other {
    name: Vec<u8>,
    attributes: Attributes,
    kind: OtherKind,
}

enum OtherKind {
    File { size: u64, content: u64 },
    Symlink { target: Vec<u8> },
}

impl Other {
    fn make(&self, folder: &Folder, fill: Fill) -> Result<()> {
        match &self.kind {
            OtherKind::File { size, content } => folder.make_file(&self.name, *size, fill, *content, self.attributes),
            OtherKind::Symlink { target } => folder.make_symlink(&self.name, target, self.attributes.mtime),
        }
    }
}

struct Line<'a> {
    kind: LineKind<'a>,
    mode: u32,
    path: &'a [u8],
}

enum LineKind<'a> {
    Dir,
    File(u64),
    Symlink(&'a [u8]),
}

impl Line<'_> {
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
        let text = |field| std::str::from_utf8(field).ok();
        let (&[kind, mode, size, path], target) = (fields.get(..4)?.first_chunk::<4>()?, &fields[4..]);
        let mode = u32::from_str_radix(text(mode)?, 8).ok().filter(|mode| *mode <= 0o7777)?;
        let size: u64 = text(size)?.parse().ok()?;
        let kind = match (kind, target) {
            (b"d", []) => LineKind::Dir,
            (b"f", []) => LineKind::File(size),
            (b"l", [target]) if !target.is_empty() => LineKind::Symlink(target),
            _ => return None,
        };
        let is_root = path == b"." && matches!(kind, LineKind::Dir);
        let stays = path.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."));
        (is_root || stays).then_some(Line { kind, mode, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_lead_out_or_mean_nothing_are_refused() {
        for bad in [
            "f\t644\t1\t../x",
            "f\t644\t1\t/x",
            "f\t644\t1\ta//b",
            "f\t644\t1\t.",
            "f\t644\t1\ta/./b",
            "f\t644\t1\t",
            "f\t648\t1\tx",
            "f\t10000\t1\tx",
            "f\t644\t-1\tx",
            "f\t644\t1\tx\ty",
            "l\t777\t0\tx",
            "l\t777\t0\tx\t",
            "p\t644\t0\tx",
            "f\t644\t1",
            "",
        ] {
            assert!(Line::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Line::parse(b"f\t644\t1\ta/\xff").is_some());
        assert!(Line::parse(b"d\t755\t0\t.").is_some());
    }
}
