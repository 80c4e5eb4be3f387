//! How often wrong secrets are answered to one address. Who has the right one is never held up.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong secrets in a row, and how often one more.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 1.0;
/// Addresses that are told apart.
const MOST: usize = 4096;

#[derive(Default)]
pub struct Failures(Mutex<HashMap<Option<IpAddr>, (f64, Instant)>>);

impl Failures {
    /// Counts one; the error is how long to wait.
    pub fn count(&self, from: Option<SocketAddr>) -> Result<(), Duration> {
        self.count_at(from.map(|from| from.ip()), Instant::now())
    }

    fn count_at(&self, from: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let left = |(left, at): (f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * PER_SECOND).min(BURST)
        };
        let mut places = self.0.lock();
        if places.len() >= MOST {
            places.retain(|_, place| left(*place) < BURST);
        }
        // Beyond the bound all share a place.
        let from = if places.len() < MOST || places.contains_key(&from) { from } else { None };
        let now_left = left(places.get(&from).copied().unwrap_or((BURST, now)));
        if now_left < 1.0 {
            places.insert(from, (now_left, now));
            return Err(Duration::from_secs_f64((1.0 - now_left) / PER_SECOND));
        }
        places.insert(from, (now_left - 1.0, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let failures = Failures::default();
        let (now, here, there) = (Instant::now(), "10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        for _ in 0..20 {
            assert_eq!(failures.count_at(here, now), Ok(()));
        }
        assert_eq!(failures.count_at(here, now), Err(Duration::from_secs(1)));
        assert_eq!(failures.count_at(there, now), Ok(()));
        assert_eq!(failures.count_at(here, now + Duration::from_secs(1)), Ok(()));
    }
}
