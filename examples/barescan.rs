//! The lowest possible cost of a scan, for `scripts/compare.sh`: lists and looks up everything below a directory with one thread, keeps nothing, and prints
//! the number of entries.
//!
//! ```text
//! cargo run --release --example barescan -- DIR
//! ```

#[path = "../benches/common/bare.rs"]
mod bare;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let dir: PathBuf = std::env::args_os().nth(1).ok_or("usage: barescan DIR")?.into();
    println!("{}", bare::walk(&dir)?);
    Ok(())
}
