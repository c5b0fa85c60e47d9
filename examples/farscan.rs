//! The cost of scanning another machine, by each means: scans one directory there, and prints seconds, entries and units.
//!
//! ```text
//! cargo run --release --example farscan -- agent|find|rsync|here 'ssh HOST' HOST DIR
//! ```
//!
//! The first word of the command that connects to the machine is the program, and the others are its arguments. `here` scans the directory on this machine.

use std::error::Error;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multi_sync::harness::far::{self, Far, Invocation, Reach, Supervisor, Wanted};
use multi_sync::scan::{Event, Limits, Root, Scan, Watch, usual_threads};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [means, ssh, host, dir] = &words[..] else { return Err("usage: farscan MEANS SSH HOST DIR".into()) };
    let root = Root { base: dir.into(), name: None };
    let limits = Limits { entries: NonZero::new(1000).unwrap_or(NonZero::<u64>::MIN), bytes: NonZero::<u64>::MAX };
    let threads = usual_threads([&root]);
    let scan = Scan::new(vec![root], limits, threads);
    let units = AtomicU64::new(0);
    let count = |event: Event<'_>| {
        if let Event::Units(told) = event {
            units.fetch_add(told.iter().count() as u64, Ordering::Relaxed);
        }
    };
    let watch = Watch::default();
    let began = Instant::now();
    match Wanted::parse(means).and_then(Wanted::means) {
        Some(means) => {
            let reach = reach(ssh, host, dir);
            let supervisor = Supervisor::default();
            let far = Far {
                scan: &scan,
                reach: &reach,
                means,
                user: None,
                identity: None,
                begun: None,
                supervisor: &supervisor,
            };
            far::scan(far, None, &watch, &count)?;
        }
        None => scan.run(&watch, &count)?,
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{seconds:.3} {} {}", watch.found().entries, units.load(Ordering::Relaxed));
    Ok(())
}

fn reach(ssh: &str, host: &str, dir: &str) -> Reach {
    let mut words: Vec<OsString> = ssh.split(' ').map(OsString::from).collect();
    let program = words.remove(0);
    words.extend(["-T", "--", host, "sh -s"].map(OsString::from));
    let rsync = vec![OsString::from("-e"), ssh.into()];
    Reach {
        shell: Some(Invocation::new(program, words, Path::new("/"))),
        rsync: Invocation::new("rsync", rsync, Path::new("/")),
        words: vec![format!("{host}:{dir}/").into()],
        stall: Some(Duration::from_secs(60)),
    }
}
