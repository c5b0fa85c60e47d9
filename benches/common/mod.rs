//! Code that the benches share: the folder for their trees, and random numbers from a seed.
//!
//! Trees are created in memory (`/dev/shm`) if possible, otherwise in the temporary folder. Each is created once, when the first measurement that needs it
//! runs, and all are removed at the end, also after Ctrl-C.

#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod bare;

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use criterion::Criterion;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// Whether everything is only tried out: with `cargo bench -- --test`, or `cargo test --benches`, which does not pass `--bench`.
pub fn quick() -> bool {
    let mut words = std::env::args();
    words.any(|word| word == "--test") || !std::env::args().any(|word| word == "--bench")
}

/// `full` entries, or a hundredth of them if everything is only tried out.
pub fn entries(full: u64) -> u64 {
    if quick() { full / 100 } else { full }
}

/// Runs benches as `cargo bench` requests, in a folder that is removed afterwards.
pub fn run(benches: impl FnOnce(&mut Criterion, &Path)) {
    raise_descriptor_limit();
    let folder = folder();
    let path = folder.path().to_owned();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).expect("listen to signals");
    let handle = signals.handle();
    let watcher = std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // A generator may still be creating files.
            while path.exists() {
                let _ = std::fs::remove_dir_all(&path);
            }
            std::process::exit(128 + signal);
        }
    });
    let mut criterion = Criterion::default().without_plots().nresamples(10_000).configure_from_args();
    benches(&mut criterion, folder.path());
    criterion.final_summary();
    folder.close().expect("remove the trees");
    handle.close();
    watcher.join().expect("the watcher only waits");
}

/// A folder, in memory if possible.
fn folder() -> TempDir {
    let builder = |above: &Path| tempfile::Builder::new().prefix("multi-sync-bench-").tempdir_in(above);
    builder(Path::new("/dev/shm")).or_else(|_| builder(&std::env::temp_dir())).expect("make a folder for the trees")
}

/// As the command does, because the scan holds a file descriptor for each open directory.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A value that is created when it is first needed, which may be never if `cargo bench` has a filter.
pub type Lazy<'a, T> = LazyCell<T, Box<dyn FnOnce() -> T + 'a>>;

/// A tree `name` in the folder `above`, created by `make`.
pub fn tree<'a>(above: &Path, name: &str, make: impl FnOnce(&Path) + 'a) -> Lazy<'a, PathBuf> {
    let path = above.join(name);
    LazyCell::new(Box::new(move || {
        make(&path);
        path
    }))
}

/// SplitMix64, and the distributions of the synthetic loads.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniformly distributed number in (0, 1].
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A normally distributed number (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A log-normally distributed number: half of the values are above `median`; `sigma` is the standard deviation of the natural logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// A Pareto-distributed number, at least `least`; the smaller `alpha`, the heavier the tail (no mean at 1 and below).
    pub fn pareto(&mut self, least: f64, alpha: f64) -> f64 {
        least * self.uniform().powf(-1.0 / alpha)
    }
}
