//! Makes a tree from a specification of `bench-data/`: an example of the public API [`multi_sync::treegen`], and what
//! `scripts/compare.sh` makes its trees with.
//!
//! ```text
//! cargo run --release --example maketree -- SPEC.json DIR [SEED [SCALE]]
//! ```
//!
//! DIR must be empty or not exist. The same SPEC, SEED (default 1) and SCALE (default 1) make the same tree on any machine. What
//! was made is printed on one line. `bench-data/README.md` describes the specifications.

use std::error::Error;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use multi_sync::treegen::{Fill, Sizes, Spec, Totals, from_manifest, generate};
use serde::Deserialize;

/// Directories that hold parts are no part themselves; they get this time (2001-09-09), so that the whole tree is reproducible.
const MTIME: Duration = Duration::from_secs(1_000_000_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specification {
    /// What is imitated, where the figures are from, and what differs: for readers only.
    #[serde(rename = "about")]
    _about: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "approximated")]
    _approximated: String,
    /// A listing, compressed with zstd, beside the specification; then there are no parts, and it has no scale.
    manifest: Option<PathBuf>,
    #[serde(default)]
    parts: Vec<Part>,
}

/// Regular trees of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Where: a path below DIR, to which the number of the copy is added if there are several; the empty path is DIR itself.
    #[serde(default)]
    at: String,
    /// How many. A scale multiplies this if it is given, else `entries`.
    copies: Option<u64>,
    entries: u64,
    files_percent: u8,
    /// Not limited if missing.
    max_per_dir: Option<u64>,
    depth: u32,
    sizes: PartSizes,
    #[serde(default)]
    fill: PartFill,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum PartSizes {
    Empty,
    Uniform { min: u64, max: u64 },
    LogNormal { median: u64, sigma: f64, max: u64 },
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum PartFill {
    #[default]
    Random,
    Hole,
    Islands,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let made = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [spec, dir] => make(Path::new(spec), Path::new(dir), "1", "1"),
        [spec, dir, seed] => make(Path::new(spec), Path::new(dir), seed, "1"),
        [spec, dir, seed, scale] => make(Path::new(spec), Path::new(dir), seed, scale),
        _ => Err("usage: maketree SPEC.json DIR [SEED [SCALE]]".into()),
    };
    match made {
        Ok(Totals { files, dirs, symlinks, bytes, .. }) => {
            println!("{files} files, {dirs} directories, {symlinks} links, {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("maketree: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(file: &Path, dir: &Path, seed: &str, scale: &str) -> Result<Totals, Box<dyn Error>> {
    let seed: u64 = seed.parse().map_err(|_| format!("{seed} is not a seed"))?;
    let scale = scale.parse().ok().filter(|scale: &f64| *scale > 0.0 && scale.is_finite());
    let scale = scale.ok_or("a scale is a number above 0")?;
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let specification: Specification = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    if let Some(manifest) = &specification.manifest {
        if scale != 1.0 || !specification.parts.is_empty() {
            return Err(format!("{}: a manifest has neither parts nor a scale", file.display()).into());
        }
        return from_listing(&file.with_file_name(manifest), dir, seed);
    }
    let mut totals = Totals::default();
    let mut above = Vec::new();
    for (number, part) in (0..).zip(&specification.parts) {
        let scaled = |count: u64| ((count as f64 * scale).round() as u64).max(1);
        let entries = if part.copies.is_none() { scaled(part.entries) } else { part.entries };
        let spec = Spec {
            entries,
            files_percent: part.files_percent,
            max_per_dir: part.max_per_dir.unwrap_or(entries),
            depth: part.depth,
            sizes: match part.sizes {
                PartSizes::Empty => Sizes::Empty,
                PartSizes::Uniform { min, max } => Sizes::Uniform { min, max },
                PartSizes::LogNormal { median, sigma, max } => Sizes::LogNormal { median, sigma, max },
            },
            fill: match part.fill {
                PartFill::Random => Fill::Random,
                PartFill::Hole => Fill::Hole,
                PartFill::Islands => Fill::Islands,
            },
        };
        let copies = part.copies.map(scaled);
        for copy in 0..copies.unwrap_or(1) {
            let at = if copies.is_some() { format!("{}{copy}", part.at) } else { part.at.clone() };
            let path = if at.is_empty() { dir.to_owned() } else { dir.join(&at) };
            if let Some(parent) = path.parent().filter(|parent| parent.starts_with(dir)) {
                fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
                above.extend(parent.ancestors().take_while(|dir_above| dir_above.starts_with(dir)).map(Path::to_owned));
            }
            // Parts and copies must not resemble each other.
            totals += generate(&path, &spec, seed.wrapping_add(number << 32).wrapping_add(copy << 40))?;
            totals.dirs += u64::from(!at.is_empty());
        }
    }
    above.sort();
    above.dedup();
    for path in above.iter().rev() {
        File::open(path).and_then(|dir| dir.set_modified(SystemTime::UNIX_EPOCH + MTIME))?;
        totals.dirs += u64::from(path != dir);
    }
    Ok(totals)
}

#[expect(clippy::disallowed_methods, reason = "an example may start zstd")]
fn from_listing(manifest: &Path, dir: &Path, seed: u64) -> Result<Totals, Box<dyn Error>> {
    let started = Command::new("zstd").arg("-dc").arg(manifest).stdout(Stdio::piped()).spawn();
    let mut zstd = started.map_err(|error| format!("cannot run zstd: {error}"))?;
    let listing = zstd.stdout.take().ok_or("zstd has no output")?;
    let made = from_manifest(dir, BufReader::new(listing), Fill::Random, seed);
    let ended = zstd.wait()?;
    let totals = made?;
    if !ended.success() {
        return Err(format!("cannot read {}: zstd: {ended}", manifest.display()).into());
    }
    Ok(totals)
}
