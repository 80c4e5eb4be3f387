//! Circuit breakers (Envoy `CircuitBreakers`), as one worker keeps them: how many requests, retries and connections a
//! cluster may have under way.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cluster::Cluster;
use crate::config::{self, CircuitBreakers, UpstreamProtocol};
use crate::stats::ClusterStats;

/// A circuit breaker stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("overflow")]
pub struct Overflow;

/// What is under way.
pub struct Limits {
    requests: Cell<u32>,
    retries: Cell<u32>,
    pending: Cell<u32>,
    /// Where the number of connections is limited.
    connections: Option<Arc<Semaphore>>,
}

impl Limits {
    pub(super) fn new(config: &config::Cluster, breakers: &CircuitBreakers) -> Self {
        let limit = breakers.max_connections;
        let unlimited = limit as usize > Semaphore::MAX_PERMITS >> 8 || limit == u32::MAX;
        Self {
            requests: Cell::new(0),
            retries: Cell::new(0),
            pending: Cell::new(0),
            // Requests share a connection in HTTP/2, so that their number does not tell that of connections.
            connections: (!unlimited && config.protocol != UpstreamProtocol::Http2)
                .then(|| Arc::new(Semaphore::new(limit as usize))),
        }
    }
}

/// A place under the cluster's limits, given back on drop.
pub struct Permit {
    cluster: Rc<Cluster>,
    high: bool,
    _connection: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let requests = &self.cluster.limits_of(self.high).0.requests;
        requests.set(requests.get().saturating_sub(1));
        self.cluster.stats.rq_active.down();
        self.cluster.stats.rq_open.set(0);
    }
}

impl Cluster {
    /// What counts for requests of a priority. Few routes ask for the high one.
    fn limits_of(&self, high: bool) -> (&Limits, &CircuitBreakers) {
        if !high {
            return (&self.limits, &self.config.circuit_breakers);
        }
        let breakers = &self.config.high_circuit_breakers;
        (self.high_limits.get_or_init(|| Box::new(Limits::new(&self.config, breakers))), breakers)
    }

    /// A place for a request, waiting for a connection if the cluster limits those.
    pub async fn admit(self: &Rc<Self>, high: bool) -> Result<Permit, Overflow> {
        let (limits, breakers) = self.limits_of(high);
        if limits.requests.get() >= breakers.max_requests {
            if !high {
                self.stats.rq_open.set(1);
            }
            self.stats.rq_pending_overflow.add(1);
            return Err(Overflow);
        }
        let connection = match &limits.connections {
            None => None,
            Some(connections) => {
                Some(self.connection(connections, &limits.pending, breakers.max_pending_requests).await?)
            }
        };
        limits.requests.set(limits.requests.get() + 1);
        self.stats.rq_active.up();
        Ok(Permit { cluster: Rc::clone(self), high, _connection: connection })
    }

    async fn connection(
        &self,
        all: &Arc<Semaphore>,
        pending: &Cell<u32>,
        max_pending: u32,
    ) -> Result<OwnedSemaphorePermit, Overflow> {
        if let Ok(permit) = Arc::clone(all).try_acquire_owned() {
            return Ok(permit);
        }
        self.stats.cx_overflow.add(1);
        if pending.get() >= max_pending {
            self.stats.rq_pending_overflow.add(1);
            return Err(Overflow);
        }
        let _waiting = (Held::on(pending), Waiting::count(&self.stats));
        Arc::clone(all).acquire_owned().await.map_err(|_| Overflow)
    }

    /// Counts a retry under way; `None` if there are too many.
    pub fn begin_retry(&self, high: bool) -> Option<impl Drop + '_> {
        let (limits, breakers) = self.limits_of(high);
        let most = breakers.retry_budget.map_or(breakers.max_retries, |budget| {
            let share = (f64::from(limits.requests.get()) * budget.percent / 100.0) as u32;
            share.max(budget.min_retry_concurrency)
        });
        let room = limits.retries.get() < most;
        if !room {
            self.stats.rq_retry_overflow.add(1);
        }
        room.then(|| {
            self.stats.rq_retry.add(1);
            Held::on(&limits.retries)
        })
    }
}

/// Counts a request that waits for a connection.
struct Waiting<'a>(&'a ClusterStats);

impl<'a> Waiting<'a> {
    fn count(stats: &'a ClusterStats) -> Self {
        stats.rq_pending_total.add(1);
        stats.rq_pending_active.up();
        Self(stats)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.rq_pending_active.down();
    }
}

/// Adds one to a count for as long as it lives.
struct Held<'a>(&'a Cell<u32>);

impl<'a> Held<'a> {
    fn on(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
