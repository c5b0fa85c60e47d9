//! Creates a tree from a specification in `bench-data/`: an example for [`multi_sync::harness::bench::Tree`]. `scripts/compare.sh` creates its trees with it.
//!
//! ```text
//! cargo run --release --example maketree -- SPEC.json DIR [SEED [SCALE]]
//! ```
//!
//! DIR must be empty or not exist. The same SPEC, SEED (default 1) and SCALE (default 1) give the same tree on any machine. One line with the totals is
//! printed. `bench-data/README.md` describes the specifications.

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
