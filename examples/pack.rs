//! Scan and packing without a copy: balanced lists of names, each terminated by a NUL, for any program that reads them (`xargs -0`, `tar --null -T`, a batch
//! system).
//!
//! ```text
//! cargo run --release --example pack -- DIR LISTS
//! ```
//!
//! LISTS must exist, and must not be in DIR. Each printed line is a list: entries, bytes, file.

use std::error::Error;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;

use multi_sync::Result;
use multi_sync::bucket::{BucketDir, Packer, Place};
use multi_sync::scan::{Event, Limits, Root, Scan, Watch, usual_threads};

/// The limit for the arguments of a process that every Linux allows.
const ROOM: usize = 128 << 10;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, lists] = &words[..] else { return Err("usage: pack DIR LISTS".into()) };
    for (entries, bytes, file) in pack(dir.clone(), lists)? {
        println!("{entries} {bytes} {}", file.display());
    }
    Ok(())
}

/// Writes the lists, and returns the entries, bytes and file of each.
pub fn pack(dir: PathBuf, lists: &std::path::Path) -> Result<Vec<(u64, u64, PathBuf)>> {
    let limits = Limits { entries: NonZero::new(1000).unwrap(), bytes: NonZero::new(1 << 30).unwrap() };
    let mut written = BucketDir::create(Some(lists), &[], None)?;
    let packer = Packer::new(limits, ROOM, &written);
    let roots = vec![Root { base: dir, name: None }];
    let threads = usual_threads(&roots);
    let done = Mutex::new(Ok(Vec::new()));
    Scan::new(roots, limits, threads).run(&Watch::default(), &|event| match event {
        Event::Units(units) => {
            let mut prefix = [b"./", units.dir].concat();
            if !units.dir.is_empty() {
                prefix.push(b'/');
            }
            let mut done = done.lock().unwrap();
            if let Ok(buckets) = &mut *done {
                match packer.pack(&prefix, Place::default(), units.iter()) {
                    Ok(closed) => buckets.extend(closed),
                    Err(error) => *done = Err(error),
                }
            }
        }
        Event::Error(error) => eprintln!("{error}"),
        _ => {}
    })?;
    let mut buckets = done.into_inner().unwrap()?;
    buckets.extend(packer.finish()?);
    let lists = buckets.iter().map(|b| (b.weight.entries, b.weight.bytes, written.file(b.id))).collect();
    written.keep();
    Ok(lists)
}
