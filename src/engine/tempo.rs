//! The current speed of a run. It is computed only from what rsyncs have reported or written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window of the current speed.
const NOW: Duration = Duration::from_secs(10);
/// The longer window, for those who look rarely.
const MINUTE: Duration = Duration::from_secs(60);
/// A shorter time is not enough for a speed.
const SHORTEST: Duration = Duration::from_secs(1);
/// If the last look was longer ago than this, multi-sync was stopped, or blocked by its own output: that time is no part of any speed.
const ABSENT: Duration = Duration::from_secs(3);

/// The bytes that a run has moved in the last minute.
#[derive(Debug, Default)]
pub(super) struct Tempo {
    samples: VecDeque<(Instant, u64)>,
    moved: u64,
}

impl Tempo {
    pub fn look(&mut self, at: Instant, moved: u64) {
        // The total never decreases, so that bytes are not counted twice when a launch that broke off is repeated.
        self.moved = self.moved.max(moved);
        if self.samples.back().is_some_and(|last| at.duration_since(last.0) > ABSENT) {
            self.samples.clear();
        }
        self.samples.push_back((at, self.moved));
        while self.samples.get(1).is_some_and(|second| at.duration_since(second.0) >= MINUTE) {
            self.samples.pop_front();
        }
    }

    /// The bytes per second that rsyncs transfer now; `None` if that is not known yet.
    pub fn rate(&self) -> Option<u64> {
        self.over(NOW)
    }

    /// The bytes per second over the last minute.
    pub fn rate_of_minute(&self) -> Option<u64> {
        self.over(MINUTE)
    }

    fn over(&self, window: Duration) -> Option<u64> {
        let last = self.samples.back()?;
        // The latest sample that is at least as old as the window, or else the first one.
        let is_older = |sample: &&(Instant, u64)| last.0.duration_since(sample.0) >= window;
        let first = self.samples.iter().rev().find(is_older).or(self.samples.front())?;
        let took = last.0.duration_since(first.0);
        (took >= SHORTEST).then(|| ((last.1 - first.1) as f64 / took.as_secs_f64()) as u64)
    }
}

/// The speed of one launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    at: Instant,
    moved: u64,
    rate: Option<u64>,
}

impl Pace {
    pub fn new(at: Instant) -> Pace {
        Pace { at, moved: 0, rate: None }
    }

    /// The bytes per second: the mean of the speed in the last second and of the previous result.
    pub fn look(&mut self, at: Instant, moved: u64) -> Option<u64> {
        let took = at.duration_since(self.at);
        if took >= SHORTEST {
            let now = (moved.saturating_sub(self.moved) as f64 / took.as_secs_f64()) as u64;
            self.rate = Some(self.rate.map_or(now, |before| before / 2 + now / 2));
            (self.at, self.moved) = (at, moved);
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_or_of_the_last_minute() {
        let (mut tempo, began) = (Tempo::default(), Instant::now());
        let second = |n: u64| began + Duration::from_secs(n);
        tempo.look(second(0), 0);
        assert_eq!(tempo.rate(), None);
        (1..=20).for_each(|n| tempo.look(second(n), 1000 * n));
        assert_eq!((tempo.rate(), tempo.rate_of_minute()), (Some(1000), Some(1000)));
        // From now on, the link is dead.
        (21..=40).for_each(|n| tempo.look(second(n), 20_000));
        assert_eq!((tempo.rate(), tempo.rate_of_minute()), (Some(0), Some(500)));
        (41..=200).for_each(|n| tempo.look(second(n), 20_000));
        assert_eq!(tempo.rate_of_minute(), Some(0));
        assert!(tempo.samples.len() <= 62);
    }

    #[test]
    fn nothing_goes_back_and_time_in_which_nobody_looked_does_not_count() {
        let (mut tempo, began) = (Tempo::default(), Instant::now());
        let second = |n: u64| began + Duration::from_secs(n);
        tempo.look(second(0), 500);
        tempo.look(second(1), 100);
        assert_eq!(tempo.rate(), Some(0));
        tempo.look(second(60), 600);
        assert_eq!(tempo.rate(), None);
        tempo.look(second(62), 800);
        assert_eq!(tempo.rate(), Some(100));
    }

    #[test]
    fn a_launch_has_a_rate_of_its_own() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        assert_eq!(pace.look(began, 0), None);
        assert_eq!(pace.look(began + Duration::from_secs(2), 2000), Some(1000));
        assert_eq!(pace.look(began + Duration::from_millis(2500), 9000), Some(1000), "too soon");
        assert_eq!(pace.look(began + Duration::from_secs(4), 2000), Some(500));
    }
}
