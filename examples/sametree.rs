//! Says whether two trees are the same: an example of the public API [`multi_sync::harness::verify`], and what `scripts/compare.sh` checks
//! results with.
//!
//! ```text
//! cargo run --release --example sametree -- [--hard-links] LEFT RIGHT
//! ```
//!
//! Compared is what `rsync -a` preserves, and with `--hard-links` which names are one file. One line per difference; the exit code is 1
//! if there is one.

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
