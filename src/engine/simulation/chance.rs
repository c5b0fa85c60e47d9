//! Pseudo-random numbers that are the same in each run.

use crate::treegen::Random;

/// A source of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Chance(Random);

impl Chance {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Chance {
        Chance(Random::new(seed))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from 0 to 1.
    pub fn part(&mut self) -> f64 {
        (self.0.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A lognormal number with this median and this standard deviation of the logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let (a, b) = (self.part().max(f64::MIN_POSITIVE), self.part());
        median * (sigma * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()).exp()
    }
}
