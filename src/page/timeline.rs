//! The charts over time: a bar for each launch, or for several, in the lane of its slot, and the progress.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::events::{LaunchEnd, Progress, Text};

/// The most bars that are drawn.
const MOST_BARS: u64 = 4000;
/// The most lanes. Launches in further slots are only counted.
pub const MOST_LANES: usize = 128;
/// The most points of a curve.
const POINTS: f64 = 400.0;

/// A slot, in the order in which they are drawn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lane {
    /// The host; `None` if it is this machine.
    pub host: Option<String>,
    /// The slot.
    pub slot: usize,
}

/// Launches in a lane: one, or several that are too short to be drawn alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// The index of the lane.
    pub lane: usize,
    /// The start, in seconds since the beginning of the run.
    pub from: f64,
    /// The end, in seconds since the beginning of the run.
    pub to: f64,
    /// How it ended; of several launches, the worst result.
    pub result: String,
    /// The number of launches.
    pub launches: u64,
    /// The number of entries that they had to process.
    pub entries: u64,
    /// The number of bytes that they had to process.
    pub bytes: u64,
    /// The task, if it is a single launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its number, if it is a single launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<u64>,
    /// Its exit code, if it is a single launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Its first argument, if it is a single launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Text>,
}

/// The progress at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Seconds since the beginning.
    pub at: f64,
    /// Bytes per second since the point before; `None` where the run began or was continued.
    pub bytes: Option<f64>,
    /// Entries per second.
    pub entries: Option<f64>,
    /// The number of running rsyncs.
    pub running: usize,
}

/// How bad a result is.
fn badness(result: &str) -> u8 {
    ["done", "unused", "again", "partial", "stopped", "unfinished", "failed"]
        .iter()
        .position(|known| *known == result)
        .unwrap_or(0) as u8
}

/// The bars.
pub struct Bars {
    /// The length of a bar that stands for several launches; `None` if each launch has its own bar.
    width: Option<f64>,
    alone: Vec<Bar>,
    together: BTreeMap<(usize, u64), Bar>,
}

impl Bars {
    /// For this number of launches in this number of lanes and this time.
    pub fn new(launches: u64, lanes: usize, seconds: f64) -> Bars {
        let of_lane = (MOST_BARS / lanes.max(1) as u64).max(1);
        let width = (launches > MOST_BARS).then_some((seconds / of_lane as f64).max(0.001));
        Bars { width, alone: Vec::new(), together: BTreeMap::new() }
    }

    /// Adds a bar.
    pub fn add(&mut self, bar: Bar) {
        let Some(width) = self.width else { return self.alone.push(bar) };
        let key = (bar.lane, (bar.from / width) as u64);
        let Some(sum) = self.together.get_mut(&key) else {
            self.together.insert(key, Bar { kind: None, launch: None, code: None, first: None, ..bar });
            return;
        };
        sum.from = sum.from.min(bar.from);
        sum.to = sum.to.max(bar.to);
        sum.launches += bar.launches;
        sum.entries += bar.entries;
        sum.bytes += bar.bytes;
        if badness(&bar.result) > badness(&sum.result) {
            sum.result = bar.result;
        }
    }

    /// All bars.
    pub fn finish(self) -> Vec<Bar> {
        self.alone.into_iter().chain(self.together.into_values()).collect()
    }

    /// Whether a bar may stand for several launches.
    pub fn sums_up(&self) -> bool {
        self.width.is_some()
    }
}

/// The bar of a launch that has ended.
pub fn bar(lane: usize, from: f64, to: f64, end: &LaunchEnd) -> Bar {
    let launch = &end.launch;
    Bar {
        lane,
        from,
        to,
        result: end.result.clone(),
        launches: 1,
        entries: launch.entries,
        bytes: launch.bytes,
        kind: Some(launch.kind.clone()),
        launch: Some(launch.launch),
        code: end.code,
        first: launch.first.clone(),
    }
}

/// The curves of the progress.
pub struct Points {
    width: f64,
    points: Vec<Point>,
    /// The time of the last point, and the entries and bytes done by then.
    last: Option<(f64, f64, f64)>,
}

impl Points {
    /// For this number of seconds.
    pub fn new(seconds: f64) -> Points {
        Points { width: seconds / POINTS, points: Vec::new(), last: None }
    }

    /// The run begins, or is continued: the progress up to here is not known.
    pub fn begin(&mut self, at: f64) {
        self.last = Some((at, 0.0, 0.0));
    }

    /// Adds the progress at a moment.
    pub fn add(&mut self, at: f64, progress: &Progress) {
        let (entries, bytes) = (progress.done_entries as f64, progress.done_bytes as f64);
        let Some((before, had_entries, had_bytes)) = self.last else {
            self.last = Some((at, entries, bytes));
            return;
        };
        let passed = at - before;
        if passed < self.width.max(0.001) {
            return;
        }
        self.last = Some((at, entries, bytes));
        let a_second = |now: f64, had: f64| Some(((now - had) / passed).max(0.0));
        self.points.push(Point {
            at,
            bytes: a_second(bytes, had_bytes),
            entries: a_second(entries, had_entries),
            running: progress.running,
        });
    }

    /// Ends the curves: nothing is known from here to the next point.
    pub fn cut(&mut self, at: f64) {
        self.last = None;
        self.points.push(Point { at, bytes: None, entries: None, running: 0 });
    }

    /// All points.
    pub fn finish(self) -> Vec<Point> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(lane: usize, from: f64, result: &str) -> Bar {
        Bar {
            lane,
            from,
            to: from + 0.5,
            result: result.into(),
            launches: 1,
            entries: 2,
            bytes: 3,
            kind: Some("copy".into()),
            launch: Some(0),
            code: Some(0),
            first: None,
        }
    }

    #[test]
    fn many_launches_are_summed_up_and_none_is_lost() {
        let mut bars = Bars::new(100_000, 10, 10_000.0);
        for number in 0..100_000 {
            let result = if number == 77_777 { "failed" } else { "done" };
            bars.add(one(number % 10, (number / 10) as f64, result));
        }
        assert!(bars.sums_up());
        let bars = bars.finish();
        assert!(bars.len() <= MOST_BARS as usize + 10, "{}", bars.len());
        assert_eq!(bars.iter().map(|bar| bar.launches).sum::<u64>(), 100_000);
        assert_eq!(bars.iter().filter(|bar| bar.result == "failed").count(), 1);
    }
}
