//! Which watches hear nothing, and since when. A connection that stands and is silent is noticed by its signs of life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Deaf {
    next: AtomicU64,
    since: Mutex<HashMap<u64, Instant>>,
}

impl Deaf {
    /// A number for a watch.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn hears(&self, watch: u64) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(&watch);
    }

    /// From the moment of the first of several breaks.
    pub fn is_cut(&self, watch: u64) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).entry(watch).or_insert_with(Instant::now);
    }

    pub fn longest(&self) -> Duration {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.values().map(Instant::elapsed).max().unwrap_or_default()
    }
}
