//! The parallel scan alone: how much is below a directory, and which of its parts are the largest ones that need no splitting.
//!
//! ```text
//! cargo run --release --example scan -- DIR
//! ```

use std::error::Error;
use std::ffi::OsString;
use std::num::NonZero;
use std::sync::Mutex;

use multi_sync::Result;
use multi_sync::scan::{Event, Limits, Root, Scan, Watch, usual_threads};

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: scan DIR")?;
    print!("{}", report(dir)?);
    Ok(())
}

/// The contents of a directory, as text.
pub fn report(dir: OsString) -> Result<String> {
    let roots = vec![Root { base: dir.into(), name: None }];
    let threads = usual_threads(&roots);
    // A part has at most a thousand entries and a gigabyte, unless it is a single file.
    let limits = Limits { entries: NonZero::new(1000).unwrap(), bytes: NonZero::new(1 << 30).unwrap() };
    let (watch, parts, unread) = (Watch::default(), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    // Events come from several threads while the scan is running.
    Scan::new(roots, limits, threads).run(&watch, &|event| match event {
        Event::Units(units) => {
            let name = |name: &[u8]| String::from_utf8_lossy(&[units.dir, b"/", name].concat()).into_owned();
            parts.lock().unwrap().extend(units.iter().map(|unit| (unit.weight.bytes, name(unit.name))));
        }
        Event::Error(error) => unread.lock().unwrap().push(error.to_string()),
        _ => {}
    })?;
    let found = watch.found();
    let mut text = format!("{} entries, {} directories, {} bytes\n", found.entries, watch.directories(), found.bytes);
    let mut parts = parts.into_inner().unwrap();
    parts.sort_unstable_by(|one, other| other.cmp(one));
    parts.iter().take(10).for_each(|(bytes, name)| text += &format!("{bytes:>15} {}\n", name.trim_start_matches('/')));
    unread.into_inner().unwrap().iter().for_each(|error| text += &format!("{error}\n"));
    Ok(text)
}
