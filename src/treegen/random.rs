//! Random numbers from a seed, the same on every machine and forever.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). It is implemented here because a crate may
//! change its sequence with a new version. The mathematical functions of the system are avoided, because they round differently on different systems. Nothing
//! here is suitable for secrets.

use super::Sizes;

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// An independent sequence for part `index` of a tree with this seed.
    pub(super) fn part(seed: u64, index: u64) -> Self {
        Random::new(Random::new(seed).next() ^ Random::new(!index).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into a list of this length.
    pub(super) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A random element. The list must not be empty.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }

    /// True with this probability in per cent.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(super) fn size(&mut self, sizes: Sizes) -> u64 {
        match sizes {
            Sizes::Empty => 0,
            Sizes::Uniform { min, max } => min + self.below((max - min).saturating_add(1)),
            Sizes::LogNormal { median, sigma, max } => {
                let size = median as f64 * exp(sigma * self.normal());
                (size as u64).min(max)
            }
        }
    }

    /// Nearly normally distributed, between -6 and 6: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| (self.next() >> 11) as f64 / (1_u64 << 53) as f64).sum();
        sum - 6.0
    }
}

/// e to the power of x, computed only with additions and multiplications, because their results are identical everywhere.
fn exp(x: f64) -> f64 {
    let x = x.clamp(-60.0, 60.0);
    let small = x / 1024.0;
    let series = (1..=8).rev().fold(1.0, |sum, n| 1.0 + sum * small / f64::from(n));
    (0..10).fold(series, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn sizes_keep_their_limits_and_median() {
        let mut random = Random::new(1);
        let mut sizes: Vec<u64> =
            (0..9999).map(|_| random.size(Sizes::LogNormal { median: 4000, sigma: 2.0, max: 1 << 20 })).collect();
        sizes.sort_unstable();
        assert!((3600..4400).contains(&sizes[5000]), "{}", sizes[5000]);
        assert_eq!(sizes[9998], 1 << 20);
        for _ in 0..1000 {
            assert!((5..=7).contains(&random.size(Sizes::Uniform { min: 5, max: 7 })));
        }
    }

    #[test]
    fn exp_is_close() {
        for x in [-20.0, -1.0, 0.0, 0.5, 1.0, 13.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-9, "{x}");
        }
    }
}
