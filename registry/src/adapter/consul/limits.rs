//! How much is asked of one Consul at a time.
//!
//! Each service has a long query of its own as long as they fit in the connections allowed. Beyond that they take
//! turns, each blocking for so short a time that every service has its turn in some seconds.

use std::time::Duration;

use tokio::sync::{Semaphore, watch};

/// Queries that read the state now, at a time.
const READS: usize = 16;
/// The connection that follows the names of the services, and one to spare.
const KEPT: usize = 2;
/// How long it takes, where services take turns, until each has had one.
const ROUND: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(250);

pub(super) struct Limits {
    pub reads: Semaphore,
    pub polls: Semaphore,
    places: usize,
    longest: Duration,
    /// How long a query blocks now.
    wait: watch::Sender<Duration>,
}

impl Limits {
    /// For a server that takes this many queries at a time.
    pub fn new(queries: usize, longest: Duration) -> Self {
        let reads = READS.min(queries / 4).max(1);
        let places = queries.saturating_sub(reads + KEPT).max(1);
        Self {
            reads: Semaphore::new(reads),
            polls: Semaphore::new(places),
            places,
            longest,
            wait: watch::Sender::new(longest),
        }
    }

    /// So many services are to be followed from now on; the longest that a change may go unseen, where they take turns.
    pub fn services(&self, count: usize) -> Option<Duration> {
        let crowded = count > self.places;
        let turn = ROUND.mul_f64(self.places as f64 / count.max(1) as f64).max(SHORTEST);
        let wait = if crowded { turn.min(self.longest) } else { self.longest };
        self.wait.send_if_modified(|known| std::mem::replace(known, wait) != wait);
        crowded.then(|| wait * count.div_ceil(self.places) as u32)
    }

    /// How long a query blocks, to be followed.
    pub fn wait(&self) -> watch::Receiver<Duration> {
        self.wait.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_take_turns_only_where_there_are_too_many() {
        let limits = Limits::new(150, Duration::from_secs(55));
        assert_eq!(limits.services(132), None);
        assert_eq!(*limits.wait().borrow(), Duration::from_secs(55));
        let unseen = limits.services(1_000).unwrap();
        assert!(unseen >= ROUND && unseen < ROUND * 2, "{unseen:?}");
        assert!(*limits.wait().borrow() < Duration::from_secs(1));
    }
}
