//! The tree of a benchmark: msrsync's tree, a tree from a specification, or a real folder.
//!
//! `bench-data/README.md` describes the format of specifications.

use std::fmt;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::DEFAULT_ENTRIES;
use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::scan::Weight;
use crate::supervise::Stream;
use crate::treegen::{Fill, Sizes, Spec, Totals, from_manifest, generate};
use crate::trial::{self, Stopper};

/// Directories that contain parts, but are not part of one, get this time (2001-09-09), so that the whole tree is reproducible.
const MTIME: Duration = Duration::from_secs(1_000_000_000);
/// The space of a file is a multiple of this.
const BLOCK: u64 = 4096;
/// The program that unpacks listings.
const UNPACK: &str = "zstd";

/// Which tree is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// The tree of msrsync's benchmark: 95 % files, at most 128 names in a directory, five levels, all files empty.
    Msrsync,
    /// The tree of the specification in this file, or this folder, which is only read.
    At(PathBuf),
}

/// The size of a specified tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// This number of times as large as specified.
    By(f64),
    /// With about this number of names.
    To(NonZero<u64>),
}

/// A tree that can be created. Prints as its name.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A regular tree.
    Regular(Spec),
    /// Regular trees in several places.
    Parts(String, Vec<Part>),
    /// A tree from a listing, as [`from_manifest`] reads it.
    Listed(String, Vec<u8>),
    /// A folder that exists.
    Folder(PathBuf),
}

/// Regular trees of one kind.
#[derive(Debug, Clone)]
pub struct Part {
    at: String,
    /// The number of trees; `None` means one, at `at` itself.
    copies: Option<u64>,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specification {
    /// The tree that is imitated, the origin of the figures, and the differences: only for readers.
    #[serde(rename = "about")]
    _about: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "approximated")]
    _approximated: String,
    /// A listing, compressed with zstd, next to the specification. Then there are no parts, and the tree cannot be scaled.
    manifest: Option<PathBuf>,
    #[serde(default)]
    parts: Vec<SpecifiedPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecifiedPart {
    /// The place: a path below the root, to which the number of the copy is added if there are several; an empty path means the root.
    #[serde(default)]
    at: String,
    /// The number of copies. If it is given, a scale multiplies it, otherwise `entries`.
    copies: Option<u64>,
    entries: u64,
    files_percent: u8,
    /// No limit if missing.
    max_per_dir: Option<u64>,
    depth: u32,
    sizes: SpecifiedSizes,
    #[serde(default)]
    fill: SpecifiedFill,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum SpecifiedSizes {
    Empty,
    Uniform { min: u64, max: u64 },
    LogNormal { median: u64, sigma: f64, max: u64 },
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum SpecifiedFill {
    #[default]
    Random,
    Hole,
    Islands,
}

impl Tree {
    /// Reads the files that are needed, and creates nothing yet. Relative names are relative to `cwd`.
    ///
    /// # Errors
    /// The file or folder does not exist, it is not a specification, or the tree cannot have another number of entries.
    pub fn of(shape: &Shape, entries: Option<NonZero<u64>>, cwd: &Path, stopper: &Stopper) -> Result<Tree> {
        let path = match shape {
            Shape::Msrsync => {
                let entries = entries.map_or(DEFAULT_ENTRIES, NonZero::get);
                return Ok(Tree::Regular(Spec::bench(entries, Sizes::Empty)));
            }
            Shape::At(path) => cwd.join(path),
        };
        if !path.is_dir() {
            return Tree::specified(&path, entries.map_or(Scale::By(1.0), Scale::To), stopper);
        }
        if entries.is_some() {
            return Err(Error::usage(format!("{} has as many entries as it has", Printable::path(&path)))
                .remedy("leave out the number of entries"));
        }
        Ok(Tree::Folder(path))
    }

    /// The tree that the specification in `file` describes.
    ///
    /// # Errors
    /// As [`Tree::of`].
    pub fn specified(file: &Path, scale: Scale, stopper: &Stopper) -> Result<Tree> {
        let name = file.file_stem().map(|stem| Printable::os(stem).to_string()).unwrap_or_default();
        let text = fs::read(file).map_err(|cause| Error::io("read", file, cause))?;
        let specification: Specification = serde_json::from_slice(&text).map_err(|cause| {
            Error::usage(format!("{} is not a specification of a tree", Printable::path(file))).because(cause)
        })?;
        let Specification { manifest, parts, .. } = specification;
        let Some(manifest) = manifest else {
            let factor = match scale {
                Scale::By(factor) => factor,
                Scale::To(entries) => entries.get() as f64 / weight_of(&scaled(&parts, 1.0)).entries.max(1) as f64,
            };
            return Ok(Tree::Parts(name, scaled(&parts, factor)));
        };
        if scale != Scale::By(1.0) || !parts.is_empty() {
            return Err(Error::usage(format!("{}: a manifest has neither parts nor a scale", Printable::path(file))));
        }
        Ok(Tree::Listed(name, unpack(&file.with_file_name(manifest), stopper)?))
    }

    /// The expected number of names and bytes. Zero for a folder, which would have to be read.
    pub fn weight(&self) -> Weight {
        match self {
            Tree::Regular(spec) => weight(spec),
            Tree::Parts(_, parts) => weight_of(parts),
            Tree::Listed(_, listing) => {
                let mut weight = Weight::default();
                for line in listing.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let size = line.split(|byte| *byte == b'\t').nth(2).and_then(|size| std::str::from_utf8(size).ok());
                    let bytes = size.and_then(|size| size.parse().ok()).unwrap_or(0_u64).next_multiple_of(BLOCK);
                    weight += Weight { entries: 1, bytes };
                }
                weight
            }
            Tree::Folder(_) => Weight::default(),
        }
    }

    /// Creates the tree in `root`, which must be empty or not exist. A folder already exists.
    ///
    /// # Errors
    /// As [`generate`] and [`from_manifest`].
    pub fn make(&self, root: &Path, seed: u64) -> Result<Totals> {
        match self {
            Tree::Regular(spec) => generate(root, spec, seed),
            Tree::Parts(_, parts) => make_parts(root, parts, seed),
            Tree::Listed(_, listing) => from_manifest(root, &listing[..], Fill::Random, seed),
            Tree::Folder(_) => Ok(Totals::default()),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Regular(_) => f.write_str("msrsync's tree"),
            Tree::Parts(name, _) | Tree::Listed(name, _) => f.write_str(name),
            Tree::Folder(path) => write!(f, "{}", Printable::path(path)),
        }
    }
}

fn scaled(parts: &[SpecifiedPart], factor: f64) -> Vec<Part> {
    let times = |count: u64| ((count as f64 * factor).round() as u64).max(1);
    let part = |part: &SpecifiedPart| {
        let entries = if part.copies.is_none() { times(part.entries) } else { part.entries };
        let spec = Spec {
            entries,
            files_percent: part.files_percent,
            max_per_dir: part.max_per_dir.unwrap_or(entries),
            depth: part.depth,
            sizes: match part.sizes {
                SpecifiedSizes::Empty => Sizes::Empty,
                SpecifiedSizes::Uniform { min, max } => Sizes::Uniform { min, max },
                SpecifiedSizes::LogNormal { median, sigma, max } => Sizes::LogNormal { median, sigma, max },
            },
            fill: match part.fill {
                SpecifiedFill::Random => Fill::Random,
                SpecifiedFill::Hole => Fill::Hole,
                SpecifiedFill::Islands => Fill::Islands,
            },
        };
        Part { at: part.at.clone(), copies: part.copies.map(times), spec }
    };
    parts.iter().map(part).collect()
}

fn weight_of(parts: &[Part]) -> Weight {
    let mut sum = Weight::default();
    for part in parts {
        let (each, copies) = (weight(&part.spec), part.copies.unwrap_or(1));
        let roots = if part.at.is_empty() { 0 } else { copies };
        let entries = each.entries.saturating_mul(copies).saturating_add(roots);
        sum += Weight { entries, bytes: each.bytes.saturating_mul(copies) };
    }
    sum
}

/// The expected weight, because sizes are random.
fn weight(spec: &Spec) -> Weight {
    let mean = match spec.sizes {
        Sizes::Empty => 0.0,
        Sizes::Uniform { min, max } => (min as f64 + max as f64) / 2.0,
        Sizes::LogNormal { median, sigma, max } => (median as f64 * (sigma * sigma / 2.0).exp()).min(max as f64),
    };
    let occupied = match (spec.sizes, spec.fill) {
        (Sizes::Empty, _) | (_, Fill::Hole) => 0.0,
        _ => mean + BLOCK as f64 / 2.0,
    };
    let files = spec.entries as f64 * f64::from(spec.files_percent) / 100.0;
    Weight { entries: spec.entries, bytes: (files * occupied) as u64 }
}

fn make_parts(root: &Path, parts: &[Part], seed: u64) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut above = Vec::new();
    for (number, part) in (0..).zip(parts) {
        for copy in 0..part.copies.unwrap_or(1) {
            let at = if part.copies.is_some() { format!("{}{copy}", part.at) } else { part.at.clone() };
            let path = if at.is_empty() { root.to_owned() } else { root.join(&at) };
            if let Some(parent) = path.parent().filter(|parent| parent.starts_with(root)) {
                fs::create_dir_all(parent).map_err(|cause| Error::io("make", parent, cause))?;
                above.extend(parent.ancestors().take_while(|dir| dir.starts_with(root)).map(Path::to_owned));
            }
            // Different seeds, so that parts and copies are not alike.
            totals += generate(&path, &part.spec, seed.wrapping_add(number << 32).wrapping_add(copy << 40))?;
            totals.dirs += u64::from(!at.is_empty());
        }
    }
    above.sort();
    above.dedup();
    for path in above.iter().rev() {
        File::open(path)
            .and_then(|dir| dir.set_modified(SystemTime::UNIX_EPOCH + MTIME))
            .map_err(|cause| Error::io("set the time of", path, cause))?;
        totals.dirs += u64::from(path != root);
    }
    Ok(totals)
}

fn unpack(file: &Path, stopper: &Stopper) -> Result<Vec<u8>> {
    let file = &std::path::absolute(file).map_err(|cause| Error::io("find", file, cause))?;
    let arguments = vec!["-dc".into(), "--".into(), file.as_os_str().to_owned()];
    let cwd = file.parent().unwrap_or(Path::new("/")).to_owned();
    let invocation = Invocation::new(UNPACK, arguments, cwd);
    let (mut listing, mut error) = (Vec::new(), None);
    let (ended, _) = trial::lines_of(&invocation, stopper, &mut |stream, line| match stream {
        Stream::Stdout => {
            listing.extend_from_slice(line);
            listing.push(b'\n');
        }
        Stream::Stderr => error = Some(Printable::bytes(line).to_string()),
    })
    .map_err(|cause| {
        Error::usage(format!("cannot unpack {}", Printable::path(file))).because(cause).remedy("install zstd")
    })?;
    match ended.code() {
        exit::OK => Ok(listing),
        code => Err(Error::usage(format!(
            "cannot unpack {}: {UNPACK} ended with {code}: {}",
            Printable::path(file),
            error.unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-data").join(name)
    }

    #[test]
    fn every_specification_is_read_and_has_about_as_many_entries_as_asked() {
        for entry in fs::read_dir(data("")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let entries = NonZero::new(500).unwrap();
            match Tree::specified(&path, Scale::To(entries), &Stopper::default()) {
                // Only the number of whole copies can be scaled.
                Ok(tree) => assert!(tree.weight().entries > 0, "{tree}"),
                Err(error) => assert!(error.to_string().contains("neither parts nor a scale"), "{error}"),
            }
        }
    }

    #[test]
    fn what_is_expected_is_what_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let scale = Scale::To(NonZero::new(2000).unwrap());
        let tree = Tree::specified(&data("lognormal-20k.json"), scale, &Stopper::default()).unwrap();
        let totals = tree.make(&dir.path().join("tree"), 1).unwrap();
        let expected = tree.weight();
        assert_eq!(totals.entries(), expected.entries);
        assert!(expected.entries.abs_diff(2000) < 100, "{expected:?}");
        let ratio = expected.bytes as f64 / totals.bytes as f64;
        assert!((0.5..2.0).contains(&ratio), "{expected:?}, {totals:?}");
    }

    #[test]
    fn a_folder_has_its_own_number_of_entries() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape::At(dir.path().to_owned());
        let stopper = Stopper::default();
        assert!(matches!(Tree::of(&shape, None, Path::new("/"), &stopper), Ok(Tree::Folder(_))));
        assert!(Tree::of(&shape, NonZero::new(5), Path::new("/"), &stopper).is_err());
        let error = Tree::of(&Shape::At("no-such".into()), None, dir.path(), &stopper).unwrap_err();
        assert!(error.to_string().contains("no-such"), "{error}");
    }
}
