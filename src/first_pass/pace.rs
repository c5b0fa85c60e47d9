//! A limit in bytes per second: a token bucket that all threads of a first pass share.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The bytes of this time may exceed the limit: this much is read and written at once.
const BURST: Duration = Duration::from_millis(100);
/// How often a thread that sleeps checks whether to continue.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The limit, and the time at which everything taken so far is paid.
pub struct Pace {
    rate: NonZero<u64>,
    paid: Mutex<Instant>,
}

impl Pace {
    pub fn new(rate: NonZero<u64>) -> Pace {
        Pace { rate, paid: Mutex::new(Instant::now()) }
    }

    /// How many bytes may be taken at once.
    pub fn most(&self) -> usize {
        let most = self.rate.get() as f64 * BURST.as_secs_f64();
        (most as usize).clamp(1, 1 << 20)
    }

    /// Takes this many bytes, and returns how long to wait for them.
    pub fn take(&self, bytes: u64, now: Instant) -> Duration {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        paid.saturating_duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_take_no_more_than_the_limit() {
        let pace = Pace::new(NonZero::new(1000).unwrap());
        assert_eq!(pace.most(), 100);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(pace.take(100, now), Duration::ZERO);
        assert_eq!(pace.take(100, now), Duration::from_millis(100));
        assert_eq!(pace.take(800, now), Duration::from_millis(900));
        // An unused limit is not saved for later.
        assert_eq!(pace.take(100, now + Duration::from_secs(100)), Duration::ZERO);
    }
}
