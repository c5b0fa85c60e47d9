//! Makes a tree from a specification of `bench-data/`: an example of the public API [`multi_sync::harness::bench::Tree`], and what
//! `scripts/compare.sh` makes its trees with.
//!
//! ```text
//! cargo run --release --example maketree -- SPEC.json DIR [SEED [SCALE]]
//! ```
//!
//! DIR must be empty or not exist. The same SPEC, SEED (default 1) and SCALE (default 1) make the same tree on any machine. What
//! was made is printed on one line. `bench-data/README.md` describes the specifications.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use multi_sync::harness::bench::{Scale, Tree};
use multi_sync::harness::treegen::Totals;
use multi_sync::harness::trial::Stopper;

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
    let tree = Tree::specified(file, Scale::By(scale), &Stopper::default())?;
    Ok(tree.make(dir, seed)?)
}
