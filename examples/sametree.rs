//! Says whether two trees are the same: an example for [`multi_sync::harness::verify`]. `scripts/compare.sh` checks results with it.
//!
//! ```text
//! cargo run --release --example sametree -- [--hard-links] LEFT RIGHT
//! ```
//!
//! It compares what `rsync -a` preserves, and with `--hard-links` also which names are one file. One line is printed per difference; the exit code is 1 if
//! there is one.

use std::path::Path;
use std::process::ExitCode;

use multi_sync::harness::verify::{Options, compare};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (hard_links, left, right) = match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--hard-links", left, right] => (true, *left, *right),
        [left, right] => (false, *left, *right),
        _ => {
            eprintln!("usage: sametree [--hard-links] LEFT RIGHT");
            return ExitCode::from(2);
        }
    };
    let options = Options { hard_links, ..Options::archive() };
    match compare(Path::new(left), Path::new(right), &options) {
        Ok(report) => {
            print!("{report}");
            if report.is_same() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("sametree: {error}");
            ExitCode::from(2)
        }
    }
}
