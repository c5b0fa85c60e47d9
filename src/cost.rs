//! The expected time of a launch, and how it is learned from finished launches.
//!
//! Seconds = launch + entries * a + bytes * b. It is not known beforehand whether files will be copied or only checked, nor how fast the storage and the
//! network are: the first launches use a guess, and each finished launch corrects it. This module has no clock.

use crate::scan::Weight;

/// The expected seconds of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostModel {
    /// Seconds of a launch without work.
    pub launch: f64,
    /// Seconds per entry.
    pub entry: f64,
    /// Seconds per byte.
    pub byte: f64,
}

impl Default for CostModel {
    /// Between a fresh copy and a run with nothing to do, measured with rsync 3.5 on tmpfs.
    fn default() -> Self {
        CostModel { launch: 0.06, entry: 20e-6, byte: 1.5e-9 }
    }
}

impl CostModel {
    /// The seconds of work, without the launch itself.
    pub fn work(&self, weight: Weight) -> f64 {
        weight.entries as f64 * self.entry + weight.bytes as f64 * self.byte
    }

    /// The same model, but with at least this number of seconds per entry.
    #[must_use]
    pub fn with_entries_of(self, seconds: f64) -> CostModel {
        CostModel { entry: self.entry.max(seconds), ..self }
    }
}

/// The number of terms of a model; they are computed as factors of the guess.
const TERMS: usize = 3;
/// The weight of a finished launch decreases by this factor with each later one, because recent launches are more significant.
const FADES: f64 = 0.95;
/// The weight of the guess, as a number of launches.
const GUESS_COUNTS: f64 = 0.5;
/// The bounds of each term, as factors of the guess.
const FACTORS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// A model that learns: weighted least squares over the finished launches. The error of each is divided by the square root of its time. A
/// ridge keeps terms near the guess if the launches say little about them (Hoerl and Kennard 1970).
#[derive(Debug, Clone)]
pub struct Fit {
    /// The guess before anything was known.
    first: CostModel,
    guess: CostModel,
    /// The normal equations: the left part is symmetric, the last column is the right side.
    sums: [[f64; TERMS + 1]; TERMS],
    /// The seconds of the shortest launch, which is an upper bound for the cost of a launch itself.
    shortest: f64,
    model: CostModel,
}

impl Fit {
    /// Starts with a guess.
    pub fn new(guess: CostModel) -> Fit {
        Fit { first: guess, guess, sums: [[0.0; TERMS + 1]; TERMS], shortest: f64::INFINITY, model: guess }
    }

    /// The model as it is now.
    pub fn model(&self) -> CostModel {
        self.model
    }

    /// Sets the least expected seconds per entry, as long as no launch has finished. A later call replaces an earlier one.
    pub fn expect(&mut self, entry: f64) {
        let has_learned = self.sums[0][0] > 0.0;
        if !has_learned && entry.is_finite() {
            self.guess = self.first.with_entries_of(entry);
            self.model = CostModel { launch: self.guess.launch.min(self.shortest), ..self.guess };
        }
    }

    /// Uses a launch of another kind, which only shows how little time a launch may take.
    pub fn bound(&mut self, seconds: f64) {
        if seconds > 0.0 {
            self.shortest = self.shortest.min(seconds);
            self.model.launch = self.model.launch.min(self.shortest);
        }
    }

    /// Learns from a finished launch: its weight, and the seconds that it took.
    pub fn learn(&mut self, weight: Weight, seconds: f64) {
        if !(seconds.is_finite() && seconds > 0.0) {
            return;
        }
        let Weight { entries, bytes } = weight;
        let terms = [self.guess.launch, entries as f64 * self.guess.entry, bytes as f64 * self.guess.byte];
        for (row, sums) in self.sums.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                let other = terms.get(column).copied().unwrap_or(seconds);
                *sum = *sum * FADES + terms[row] * other / seconds;
            }
        }
        self.shortest = self.shortest.min(seconds);
        let factors = self.solve();
        self.model = CostModel {
            launch: self.guess.launch * factors[0],
            entry: self.guess.entry * factors[1],
            byte: self.guess.byte * factors[2],
        };
    }

    /// Cyclic coordinate descent with bounds for each factor. For three factors it converges after a few rounds.
    fn solve(&self) -> [f64; TERMS] {
        const ROUNDS: usize = 200;
        let trace: f64 = (0..TERMS).map(|term| self.sums[term][term]).sum();
        let ridge = GUESS_COUNTS * (1e-3 * trace).max(1e-9);
        let mut factors = [1.0; TERMS];
        for _ in 0..ROUNDS {
            for term in 0..TERMS {
                let row = &self.sums[term];
                let others: f64 =
                    (0..TERMS).filter(|other| *other != term).map(|other| row[other] * factors[other]).sum();
                let factor = (row[TERMS] - others + ridge) / (row[term] + ridge);
                let most = if term == 0 { self.shortest / self.guess.launch } else { f64::INFINITY };
                factors[term] = factor.min(most).clamp(*FACTORS.start(), *FACTORS.end());
            }
        }
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weight(entries: u64, bytes: u64) -> Weight {
        Weight { entries, bytes }
    }

    #[test]
    fn launches_correct_the_guess() {
        // A fast network with high latency: bytes cost a hundred times the guess, entries five times.
        let truth = CostModel { launch: 0.3, entry: 100e-6, byte: 150e-9 };
        let mut fit = Fit::new(CostModel::default());
        for (entries, bytes) in [(1000, 1 << 20), (10, 1 << 28), (20_000, 1 << 24), (1, 1000), (500, 1 << 26)].repeat(4)
        {
            let seen = weight(entries, bytes);
            fit.learn(seen, truth.launch + truth.work(seen));
        }
        for (entries, bytes) in [(5000, 1 << 22), (100, 1 << 30)] {
            let asked = weight(entries, bytes);
            let (expected, found) = (truth.work(asked), fit.model().work(asked));
            assert!((found / expected - 1.0).abs() < 0.15, "{found} {expected} {:?}", fit.model());
        }
    }

    #[test]
    fn one_kind_of_launch_says_little_about_another() {
        let mut fit = Fit::new(CostModel::default());
        // With nothing to do, only entries cost time, and less than guessed. The cost of bytes is still unknown.
        (0..20).for_each(|_| fit.learn(weight(10_000, 0), 0.05));
        let model = fit.model();
        assert!(model.entry < CostModel::default().entry / 3.0, "{model:?}");
        assert_eq!(model.byte, CostModel::default().byte);
    }

    #[test]
    fn a_launch_by_itself_costs_no_more_than_the_shortest() {
        let mut fit = Fit::new(CostModel::default());
        fit.bound(0.06);
        // Names that each take long, in launches of similar size, must not be taken for the cost of a launch.
        [9_000, 12_000, 20_000].into_iter().for_each(|entries| fit.learn(weight(entries, 0), 1.4));
        assert!(fit.model().launch <= 0.06, "{:?}", fit.model());
        assert!(fit.model().work(weight(50_000, 0)) > 1.0, "{:?}", fit.model());
    }

    #[test]
    fn what_is_expected_is_what_was_said_last() {
        let mut fit = Fit::new(CostModel::default());
        // A scan that hangs for a moment at its beginning.
        fit.expect(0.2);
        fit.expect(1e-3);
        assert_eq!(fit.model().entry, 1e-3);
        fit.expect(1e-9);
        assert_eq!(fit.model(), CostModel::default());
        // A launch that creates directories says nothing about the cost of entries.
        fit.bound(0.01);
        fit.expect(1e-3);
        assert_eq!((fit.model().launch, fit.model().entry), (0.01, 1e-3));
        fit.learn(weight(1000, 0), 0.1);
        let learned = fit.model();
        fit.expect(0.2);
        assert_eq!(fit.model(), learned);
    }

    #[test]
    fn what_comes_later_counts_more() {
        let mut fit = Fit::new(CostModel::default());
        (0..50).for_each(|_| fit.learn(weight(10_000, 0), 0.1));
        (0..50).for_each(|_| fit.learn(weight(10_000, 0), 1.0));
        assert!(fit.model().launch + fit.model().work(weight(10_000, 0)) > 0.4, "{:?}", fit.model());
    }

    proptest! {
        #[test]
        fn a_model_stays_usable(seen in prop::collection::vec((0u64.., 0u64.., 0.0f64..1e9), 0..40)) {
            let mut fit = Fit::new(CostModel::default());
            for (entries, bytes, seconds) in seen {
                fit.learn(weight(entries, bytes), seconds);
            }
            let CostModel { launch, entry, byte } = fit.model();
            prop_assert!([launch, entry, byte].iter().all(|term| term.is_finite() && *term > 0.0));
        }
    }
}
