//! A token bucket that all workers take from without a lock: it knows only when it was last empty, and fills evenly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// `envoy.type.v3.TokenBucket`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenRate {
    pub max_tokens: u32,
    pub tokens_per_fill: u32,
    pub fill_interval: Duration,
}

#[derive(Debug)]
pub struct TokenBucket {
    pub rate: TokenRate,
    made: Instant,
    /// Seconds after it was made at which it was empty, as the bits of a float; before it was made if it began full.
    empty_at: AtomicU64,
}

/// As far as another of the same rate is concerned it is the same bucket, however full.
impl PartialEq for TokenBucket {
    fn eq(&self, other: &Self) -> bool {
        self.rate == other.rate
    }
}

impl TokenRate {
    fn seconds_per_token(self) -> f64 {
        self.fill_interval.as_secs_f64() / f64::from(self.tokens_per_fill.max(1))
    }
}

impl TokenBucket {
    /// Begins full.
    pub fn new(rate: TokenRate) -> Self {
        let full = -(f64::from(rate.max_tokens) * rate.seconds_per_token());
        Self { rate, made: Instant::now(), empty_at: AtomicU64::new(full.to_bits()) }
    }

    /// Takes one token; false if there is none.
    pub fn take(&self) -> bool {
        self.take_at(self.made.elapsed())
    }

    fn take_at(&self, now: Duration) -> bool {
        let (now, each) = (now.as_secs_f64(), self.rate.seconds_per_token());
        let fullest = now - f64::from(self.rate.max_tokens) * each;
        let take = |bits: u64| {
            let empty_at = f64::from_bits(bits).max(fullest);
            // A token that is all but there counts: floats do not add up to the last bit.
            (now - empty_at >= each * (1.0 - 1e-9)).then(|| (empty_at + each).to_bits())
        };
        self.empty_at.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Whole tokens that are left, and how long until there is one.
    pub fn left(&self) -> (u32, Duration) {
        self.left_at(self.made.elapsed())
    }

    fn left_at(&self, now: Duration) -> (u32, Duration) {
        let each = self.rate.seconds_per_token();
        let tokens = (now.as_secs_f64() - f64::from_bits(self.empty_at.load(Relaxed))) / each + 1e-9;
        let whole = tokens.clamp(0.0, f64::from(self.rate.max_tokens)) as u32;
        let wait = if whole > 0 { 0.0 } else { ((1.0 - tokens) * each).max(0.0) };
        (whole, Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn tokens_run_out_and_come_back_evenly_up_to_the_most() {
        let bucket = TokenBucket::new(TokenRate { max_tokens: 2, tokens_per_fill: 1, fill_interval: 10 * SECOND });
        assert!(bucket.take_at(SECOND) && bucket.take_at(SECOND));
        assert!(!bucket.take_at(SECOND));
        let (left, wait) = bucket.left_at(SECOND);
        assert_eq!((left, wait.as_secs_f64().ceil()), (0, 10.0));
        assert!(!bucket.take_at(10 * SECOND));
        assert!(bucket.take_at(11 * SECOND));
        assert!(!bucket.take_at(20 * SECOND));
        assert_eq!(bucket.left_at(500 * SECOND), (2, Duration::ZERO));
        assert!(bucket.take_at(500 * SECOND) && bucket.take_at(500 * SECOND) && !bucket.take_at(500 * SECOND));
    }

    #[test]
    fn a_bucket_without_tokens_gives_none() {
        let bucket = TokenBucket::new(TokenRate { max_tokens: 0, tokens_per_fill: 1, fill_interval: SECOND });
        assert!(!bucket.take_at(100 * SECOND));
    }
}
