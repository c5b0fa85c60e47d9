//! How many threads read a tree: one per core, and more if the threads mostly wait for another machine or another process.

use std::num::NonZero;

use crate::file_system::is_elsewhere;

use super::Root;

/// The number of threads for file systems whose data come from elsewhere. With 1 ms for each lookup (`scripts/compare.sh --slow --scan-threads N`), 5,000
/// files in one directory took 3.4 s with 2 threads, 1.1 s with 8, 0.7 s with 16, 0.4 s with 32, 64 and 128. More would not help, and a server has other
/// clients too.
const WAITING: NonZero<usize> = NonZero::new(32).unwrap();

/// The default number of threads for a scan of these roots.
pub fn usual_threads<'r>(roots: impl IntoIterator<Item = &'r Root>) -> NonZero<usize> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let waits = |root: &Root| is_elsewhere(&root.path());
    if roots.into_iter().any(waits) { cores.max(WAITING) } else { cores }
}
