//! Estimates how much of a tree is still to be found. For each depth, the number of known directories that have not been read yet is multiplied by the mean
//! size of those that have been read (Knuth 1975, "Estimating the efficiency of backtrack programs", for a tree that is read in part).

use std::sync::atomic::{AtomicU64, Ordering};

/// Deeper directories are counted at the last level.
const LEVELS: usize = 24;
/// The number of entries in a directory differs from the mean of its level by about this factor.
const VARIES: f64 = 1.0;
/// How many standard deviations a range extends to each side. With a normal distribution, the true value is in the range in eight of ten cases.
const RANGE: f64 = 1.3;

/// Counts of a scan by depth.
#[derive(Debug, Default)]
pub(super) struct Levels([Level; LEVELS]);

/// Directories of one depth. Each level has a cache line of its own, because the threads of a scan are mostly at different depths.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Level {
    /// Directories that were read completely.
    read: AtomicU64,
    /// Directories found in them.
    directories: AtomicU64,
    /// Other entries found in them.
    others: AtomicU64,
}

/// How much a scan has still to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unfound {
    /// The most likely number of entries.
    pub entries: f64,
    /// The number of entries is at least the first and at most the second value in eight of ten cases.
    pub range: (f64, f64),
}

impl Levels {
    pub fn count(&self, depth: usize, directories: u64, others: u64, is_read: bool) {
        let level = &self.0[depth.min(LEVELS - 1)];
        let add = |to: &AtomicU64, count: u64| {
            if count > 0 {
                to.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&level.directories, directories);
        add(&level.others, others);
        add(&level.read, u64::from(is_read));
    }

    /// The numbers of directories read, of directories found in them and of other entries found in them, for each depth down to the last one that has any.
    pub fn counts(&self) -> Vec<[u64; 3]> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let level = |level: &Level| [load(&level.read), load(&level.directories), load(&level.others)];
        let mut counts: Vec<[u64; 3]> = self.0.iter().map(level).collect();
        counts.truncate(counts.iter().rposition(|level| *level != [0; 3]).map_or(0, |last| last + 1));
        counts
    }

    /// Adds the increase of [`Levels::counts`] at one depth.
    pub fn add(&self, depth: usize, [read, directories, others]: [u64; 3]) {
        let level = &self.0[depth.min(LEVELS - 1)];
        level.read.fetch_add(read, Ordering::Relaxed);
        level.directories.fetch_add(directories, Ordering::Relaxed);
        level.others.fetch_add(others, Ordering::Relaxed);
    }

    /// How much is not found yet; `None` if too little is known for an estimate.
    pub fn unfound(&self, roots: u64) -> Option<Unfound> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let levels: Vec<[f64; 3]> =
            self.0.iter().map(|level| [load(&level.read), load(&level.directories), load(&level.others)]).collect();
        unfound(&levels, roots as f64)
    }
}

/// Estimates from the numbers of directories read, of directories found in them and of other entries found in them, for each depth.
fn unfound(levels: &[[f64; 3]], roots: f64) -> Option<Unfound> {
    /// With fewer directories read than this, there is no estimate.
    const LEAST: f64 = 8.0;
    let sum = |of: usize| levels.iter().map(|level| level[of]).sum::<f64>();
    let all_read = sum(0);
    let known = |depth: usize| {
        let above = |depth: usize| levels.get(depth).map_or(0.0, |level| level[1]);
        match depth {
            0 => roots,
            _ if depth + 1 == levels.len() => above(depth - 1) + above(depth),
            _ => above(depth - 1),
        }
    };
    let waiting = |depth: usize| (known(depth) - levels[depth][0]).max(0.0);
    if (0..levels.len()).map(waiting).sum::<f64>() == 0.0 {
        return Some(Unfound { entries: 0.0, range: (0.0, 0.0) });
    }
    if all_read < LEAST {
        return None;
    }
    // The number of entries below a directory of the level, and its relative variance, computed from the deepest level up.
    let (mut below, mut variance) = (0.0, 0.0);
    let (mut entries, mut deviation) = (0.0, 0.0);
    for depth in (0..levels.len()).rev() {
        let [read, directories, others] = levels[depth];
        let is_last = depth + 1 == levels.len();
        let (own, deeper) = match read > 0.0 {
            true if is_last => ((others + directories) / read, 0.0),
            true => (others / read, directories / read * (1.0 + below)),
            // No directory of this level has been read: the mean over all levels is used.
            false => (sum(2) / all_read, 0.0),
        };
        let whole = own + deeper;
        let share = if whole > 0.0 { deeper / whole } else { 0.0 };
        variance = VARIES * VARIES / read.max(1.0) + share * share * variance;
        below = whole;
        let waiting = waiting(depth);
        if waiting > 0.0 {
            entries += waiting * below;
            deviation += waiting * below * (variance + VARIES * VARIES / waiting).sqrt();
        }
    }
    let factor = (RANGE * deviation / entries.max(1.0)).min(10f64.ln()).exp();
    Some(Unfound { entries, range: (entries / factor, entries * factor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers that are the same in each run (Marsaglia 2003, xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end.max(1)
        }
    }

    struct Dir {
        depth: usize,
        directories: Vec<Dir>,
        others: u64,
    }

    /// A tree whose directories contain between zero and twice the given number of directories.
    fn tree(depth: usize, fan_out: &[u64], others: u64, numbers: &mut Numbers) -> Dir {
        let count = fan_out.first().map_or(0, |mean| if depth == 0 { *mean } else { numbers.below(2 * mean + 1) });
        let below = |_| tree(depth + 1, fan_out.get(1..).unwrap_or_default(), others, numbers);
        let directories: Vec<Dir> = (0..count).map(below).collect();
        Dir { depth, directories, others: 0 }.filled(others, numbers)
    }

    impl Dir {
        fn filled(self, mean: u64, numbers: &mut Numbers) -> Dir {
            Dir { others: numbers.below(2 * mean + 1), ..self }
        }

        fn entries(&self) -> u64 {
            self.others + self.directories.iter().map(|dir| 1 + dir.entries()).sum::<u64>()
        }
    }

    /// Reads a tree in the order in which threads of the scan do, going down before going on. Returns, after each directory, how much was found and how much
    /// was estimated to be left.
    fn looks(root: &Dir, threads: usize) -> Vec<(f64, Option<Unfound>)> {
        let (levels, mut seen, mut found) = (Levels::default(), Vec::new(), 0);
        let mut stack = vec![root];
        let mut turn = 0;
        while !stack.is_empty() {
            turn += 1;
            // One thread takes the last directory, the others steal from the front.
            let dir = if turn % threads == 0 { stack.pop().unwrap() } else { stack.remove(0) };
            let directories = dir.directories.len() as u64;
            levels.count(dir.depth, directories, dir.others, true);
            found += directories + dir.others;
            stack.extend(&dir.directories);
            seen.push((found as f64, levels.unfound(1)));
        }
        seen
    }

    #[test]
    fn half_way_the_rest_is_known_within_two_fifths_and_mostly_in_the_range() {
        let (mut within, mut errors) = (Vec::new(), Vec::new());
        for (seed, fan_out) in [
            (1, &[30, 12][..]),
            (2, &[6, 5, 4, 3]),
            (3, &[400]),
            (4, &[3, 60, 2]),
            (5, &[200, 8]),
            (6, &[2, 2, 2, 2, 2, 2, 2, 2]),
        ] {
            for threads in [1, 2] {
                let root = tree(0, fan_out, 40, &mut Numbers(seed * 0x9e37_79b9));
                let all = root.entries() as f64;
                let looks = looks(&root, threads);
                for (found, unfound) in &looks {
                    let Some(Unfound { entries, range: (low, high) }) = unfound else { continue };
                    assert!(low <= entries && entries <= high);
                    if *found < 0.95 * all {
                        within.push((found + low..=found + high).contains(&all));
                    }
                    if (0.4..0.6).contains(&(found / all)) {
                        errors.push(((found + entries) / all - 1.0).abs());
                    }
                }
                let (found, last) = looks.last().unwrap();
                assert_eq!((*found, last.unwrap().entries), (all, 0.0));
            }
        }
        errors.sort_by(f64::total_cmp);
        let inside = within.iter().filter(|inside| **inside).count() as f64 / within.len() as f64;
        let median = errors[errors.len() / 2];
        assert!(median < 0.15, "median error {median}");
        assert!(errors[errors.len() * 9 / 10] < 0.4, "{errors:?}");
        assert!(inside > 0.8, "{inside} of {} looks", within.len());
    }

    #[test]
    fn where_nothing_was_read_nothing_is_said() {
        let levels = Levels::default();
        assert_eq!(levels.unfound(1), None);
        levels.count(0, 0, 100_000, false);
        assert_eq!(levels.unfound(1), None, "one large directory that is being read");
        levels.count(0, 0, 0, true);
        assert_eq!(levels.unfound(1).map(|unfound| unfound.entries), Some(0.0));
    }

    #[test]
    fn deep_trees_count_on_the_last_level() {
        let levels = Levels::default();
        (0..1000).for_each(|depth| levels.count(depth, 1, 3, true));
        let unfound = levels.unfound(1).unwrap();
        assert!(unfound.entries <= 8.0, "{unfound:?}");
    }
}
