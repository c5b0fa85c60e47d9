//! Which directories took the time: launches are added up by the directory that contains all their units. The number of directories is bounded: if there are
//! too many, deep ones are added to the directories above them, and finally the least ones to the rest.

use std::collections::HashMap;

use serde::Serialize;

use crate::events::{LaunchEnd, Text};

/// How many directories are counted separately.
const MOST: usize = 5000;
/// How many levels are distinguished at first, and at least.
const LEVELS: [usize; 2] = [12, 2];

/// Sums of the launches in a directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Dir {
    /// Its path; empty for launches all over the tree.
    pub below: Text,
    /// The number of launches.
    pub launches: u64,
    /// The sum of the times that they ran.
    pub seconds: f64,
    /// The number of entries that they had to process.
    pub entries: u64,
    /// The number of bytes that they had to process.
    pub bytes: u64,
}

/// Adds up launches by directories.
pub struct Dirs {
    levels: usize,
    of: HashMap<Vec<u8>, Dir>,
}

impl Dirs {
    /// Without any launches.
    pub fn new() -> Dirs {
        Dirs { levels: LEVELS[0], of: HashMap::new() }
    }

    /// Adds a launch.
    pub fn add(&mut self, end: &LaunchEnd) {
        let launch = &end.launch;
        let one = Dir {
            below: Text::default(),
            launches: 1,
            seconds: end.seconds,
            entries: launch.entries,
            bytes: launch.bytes,
        };
        self.merge(&launch.below.0, one);
        if self.of.len() > MOST {
            self.make_room();
        }
    }

    fn merge(&mut self, path: &[u8], dir: Dir) {
        let end = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(self.levels - 1);
        let path = end.map_or(path, |(at, _)| &path[..at]);
        let sum = self.of.entry(path.to_vec()).or_default();
        sum.launches += dir.launches;
        sum.seconds += dir.seconds;
        sum.entries += dir.entries;
        sum.bytes += dir.bytes;
    }

    fn make_room(&mut self) {
        let mut all: Vec<(Vec<u8>, Dir)> = self.of.drain().collect();
        if self.levels > LEVELS[1] {
            self.levels -= 1;
        } else {
            all.sort_by(|one, two| two.1.seconds.total_cmp(&one.1.seconds));
            all.iter_mut().skip(MOST / 2).for_each(|(path, _)| path.clear());
        }
        all.into_iter().for_each(|(path, dir)| self.merge(&path, dir));
    }

    /// The directories whose launches ran the longest.
    pub fn slowest(self, most: usize) -> Vec<Dir> {
        let mut all: Vec<Dir> = self.of.into_iter().map(|(path, dir)| Dir { below: Text(path), ..dir }).collect();
        all.sort_by(|one, two| two.seconds.total_cmp(&one.seconds).then_with(|| one.below.cmp(&two.below)));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Launch;

    fn end(below: String, seconds: f64) -> LaunchEnd {
        let launch = Launch {
            part: "copy".into(),
            launch: 0,
            slot: 0,
            host: None,
            kind: "copy".into(),
            buckets: 1,
            units: 1,
            first: None,
            below: Text(below.into_bytes()),
            entries: 1,
            bytes: 1,
            waits: false,
        };
        LaunchEnd { launch, result: "done".into(), code: Some(0), seconds, moved: 0, made: None, figures: None }
    }

    #[test]
    fn however_many_there_are_the_sum_stays_and_the_slowest_is_named() {
        let mut dirs = Dirs::new();
        for number in 0..20_000 {
            dirs.add(&end(format!("a/b/c/{number}"), 1.0));
            dirs.add(&end(format!("{number}"), 1.0));
        }
        dirs.add(&end("slow/one".into(), 1e6));
        assert!(dirs.of.len() <= MOST + 1, "{}", dirs.of.len());
        assert_eq!(dirs.of.values().map(|dir| dir.launches).sum::<u64>(), 40_001);
        assert_eq!(dirs.slowest(1)[0].below, Text::from("slow/one"));
    }
}
