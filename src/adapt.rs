//! How many rsync processes run at once: this is found by trying more and fewer, and measuring the throughput (`-p auto`).
//!
//! Hill climbing on the measured rate. More processes are kept if they bring at least a part of the largest possible gain, fewer are kept if hardly anything
//! is lost. This module has no clock: the caller measures the rate.

/// This part of the possible gain must be reached for more processes to be kept.
const WORTH: f64 = 0.25;
/// Fewer processes are kept if no more than this part of the rate is lost.
const LOSS: f64 = 0.04;
/// How many observations to wait after an attempt that did not help.
const RESTS: u32 = 6;

/// The search for a good number of processes, from 1 to a bound.
#[derive(Debug, Clone)]
pub struct Adapt {
    bound: usize,
    now: usize,
    /// The number that is known to be good, and its rate.
    good: Option<(usize, f64)>,
    rests: u32,
    /// Whether the next attempt is with more processes.
    up: bool,
}

impl Adapt {
    /// Starts with two processes, or one if the bound is one.
    pub fn new(bound: usize) -> Adapt {
        let bound = bound.max(1);
        Adapt { bound, now: bound.min(2), good: None, rests: 0, up: true }
    }

    /// Sets another bound. Results below it are kept.
    pub fn bound(&mut self, bound: usize) {
        self.bound = bound.max(1);
        self.now = self.now.min(self.bound);
        self.good = self.good.filter(|(good, _)| *good <= self.bound);
        // With the new bound, an attempt may help at once.
        self.rests = 0;
    }

    /// How many processes should run now.
    pub fn processes(&self) -> usize {
        self.now
    }

    /// Takes the rate that was measured while [`Adapt::processes`] were running, in any unit that stays the same.
    pub fn observe(&mut self, rate: f64) {
        let Some((good, before)) = self.good else {
            self.good = Some((self.now, rate));
            self.now = self.more();
            return;
        };
        if self.now == good {
            // Storage and files change, so an old rate loses its significance.
            self.good = Some((good, (before + rate) / 2.0));
            self.rests = self.rests.saturating_sub(1);
            if self.rests == 0 {
                self.now = if self.up { self.more() } else { self.less() };
                self.up = !self.up;
            }
            return;
        }
        let possible = self.now as f64 / good as f64;
        let helped = if self.now > good {
            rate >= before * (1.0 + WORTH * (possible - 1.0))
        } else {
            rate >= before * (1.0 - LOSS)
        };
        if helped {
            let grew = self.now > good;
            self.good = Some((self.now, rate));
            self.now = if grew { self.more() } else { self.less() };
        } else {
            self.now = good;
            self.rests = RESTS;
        }
    }

    fn more(&self) -> usize {
        (self.now + self.now.div_ceil(2)).min(self.bound)
    }

    fn less(&self) -> usize {
        (self.now - self.now.div_ceil(4)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that is used most of the time in the second half of many observations, with some noise in the rates.
    fn settles(bound: usize, rate: impl Fn(usize) -> f64) -> usize {
        let mut adapt = Adapt::new(bound);
        let mut used = vec![0; bound + 1];
        for step in 0..400u32 {
            let noise = 1.0 + 0.01 * f64::from(step.wrapping_mul(2_654_435_761) >> 16 & 3) - 0.015;
            if step >= 200 {
                used[adapt.processes()] += 1;
            }
            adapt.observe(rate(adapt.processes()) * noise);
            assert!((1..=bound).contains(&adapt.processes()));
        }
        (0..=bound).max_by_key(|number| used[*number]).unwrap()
    }

    #[test]
    fn it_grows_as_long_as_that_helps() {
        assert_eq!(settles(16, |n| n as f64), 16);
        assert!((6..=12).contains(&settles(64, |n| n.min(8) as f64)), "{}", settles(64, |n| n.min(8) as f64));
    }

    #[test]
    fn it_shrinks_where_more_hurt() {
        // A disk that has to seek: four processes are best, and each further one is a loss.
        let seeks = |n: usize| if n <= 4 { n as f64 } else { 16.0 / n as f64 };
        assert!((3..=5).contains(&settles(32, seeks)), "{}", settles(32, seeks));
        assert!(settles(32, |n| 1.0 / n as f64) == 1);
        assert!(settles(32, |_| 1.0) <= 2);
    }

    #[test]
    fn another_bound_holds_at_once_and_is_grown_into() {
        let mut adapt = Adapt::new(16);
        let settle = |adapt: &mut Adapt| {
            (0..200).for_each(|_| adapt.observe(adapt.processes() as f64));
            adapt.processes()
        };
        assert!(settle(&mut adapt) >= 12);
        adapt.bound(3);
        assert_eq!(adapt.processes(), 3);
        assert!(settle(&mut adapt) <= 3);
        adapt.bound(16);
        assert!(adapt.processes() <= 3 && settle(&mut adapt) >= 12);
    }

    #[test]
    fn a_bound_of_one_stays() {
        assert_eq!(settles(1, |n| n as f64), 1);
    }
}
