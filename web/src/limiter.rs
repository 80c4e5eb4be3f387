//! How many requests a caller may make: a bucket of tokens each, so that one script cannot starve the rest.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use crate::problem::Problem;
use crate::state::State;

/// How many callers are told apart; the fullest buckets are forgotten first.
const MOST_CALLERS: usize = 4096;

/// The rate that a caller may keep up, and how far ahead of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

impl Rate {
    /// So many a second, and five times as many at once.
    pub fn of(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, burst: 5.0 * per_second }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::of(200)
    }
}

/// Buckets by caller.
pub(crate) struct Limiter {
    rate: Rate,
    seed: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    pub fn new(rate: Rate) -> Self {
        Self { rate, seed: RandomState::new(), buckets: Mutex::default() }
    }

    /// Takes one token and says how many are left, or how long until there is one.
    fn take(&self, caller: u64, now: Instant) -> Result<f64, Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() + 1 >= MOST_CALLERS && !buckets.contains_key(&caller) {
            let rate = self.rate;
            buckets.retain(|_, bucket| bucket.refilled(rate, now) < rate.burst);
        }
        // Whoever has no room for a bucket of their own shares one.
        let known = buckets.contains_key(&caller);
        let key = if known || buckets.len() + 1 < MOST_CALLERS { caller } else { 0 };
        let bucket = buckets.entry(key).or_insert(Bucket { left: self.rate.burst, at: now });
        bucket.left = bucket.refilled(self.rate, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.rate.per_second));
        }
        bucket.left -= 1.0;
        Ok(bucket.left)
    }

    /// Who presents what is told apart, whether it is valid or not; the text itself is not kept.
    fn caller(&self, headers: &HeaderMap) -> u64 {
        let presented = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE));
        presented.map_or(1, |value| self.seed.hash_one(value.as_bytes()))
    }
}

impl Bucket {
    fn refilled(&self, rate: Rate, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + elapsed * rate.per_second).min(rate.burst)
    }
}

pub(crate) async fn limit(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let limiter = &state.kept.limiter;
    let (mut response, left) = match limiter.take(limiter.caller(request.headers()), Instant::now()) {
        Ok(left) => (next.run(request).await, left),
        Err(wait) => (refuse(wait), 0.0),
    };
    limiter.rate.tell(left, response.headers_mut());
    response
}

impl Rate {
    /// Tells a caller what is left of how much (IETF draft-ietf-httpapi-ratelimit-headers-10).
    fn tell(self, left: f64, headers: &mut HeaderMap) {
        let seconds = |requests: f64| (requests / self.per_second).ceil() as u64;
        let policy = format!("\"caller\";q={};w={}", self.burst, seconds(self.burst));
        let state = format!("\"caller\";r={};t={}", left.floor(), seconds(self.burst - left));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn refuse(wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    let mut response = Problem::too_many(format!("too many requests; come back in {seconds} s")).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_much_waits_and_others_do_not() {
        let limiter = Limiter::new(Rate { per_second: 2.0, burst: 3.0 });
        let now = Instant::now();
        for left in [2.0, 1.0, 0.0] {
            assert_eq!(limiter.take(7, now), Ok(left));
        }
        assert_eq!(limiter.take(7, now), Err(Duration::from_millis(500)));
        assert_eq!(limiter.take(8, now), Ok(2.0));
        assert_eq!(limiter.take(7, now + Duration::from_millis(500)), Ok(0.0));
    }

    #[test]
    fn a_caller_is_told_what_is_left() {
        let mut headers = HeaderMap::new();
        Rate { per_second: 200.0, burst: 1000.0 }.tell(599.5, &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"caller\";q=1000;w=5");
        assert_eq!(headers["ratelimit"], "\"caller\";r=599;t=3");
    }

    #[test]
    fn callers_beyond_the_bound_share_a_bucket() {
        let limiter = Limiter::new(Rate { per_second: 1.0, burst: 2.0 });
        let now = Instant::now();
        let refused = (10..10 + 2 * MOST_CALLERS as u64).filter(|caller| limiter.take(*caller, now).is_err()).count();
        assert!(refused > MOST_CALLERS / 2, "{refused}");
        assert!(limiter.buckets.lock().len() <= MOST_CALLERS);
    }
}
