//! A limit on the connections of a chain (Envoy, `envoy.filters.network.connection_limit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::stats::{Gauge, Shard, label};

/// `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`.
#[derive(Debug)]
pub struct ConnectionLimit {
    pub stat_prefix: String,
    pub max_connections: u64,
    /// Before a connection over the limit is closed.
    pub delay: Duration,
    pub enabled: bool,
    /// Connections of all workers.
    pub active: Arc<AtomicU64>,
}

/// How many there are is not part of the settings.
impl PartialEq for ConnectionLimit {
    fn eq(&self, other: &Self) -> bool {
        let settings = |limit: &Self| (limit.max_connections, limit.delay, limit.enabled);
        settings(self) == settings(other) && self.stat_prefix == other.stat_prefix
    }
}

/// A place under the limit, given back on drop.
pub struct Held {
    active: Arc<AtomicU64>,
    gauge: Arc<Gauge>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Relaxed);
        self.gauge.down();
    }
}

impl ConnectionLimit {
    /// A place; `None`, after the delay, if there is none.
    pub async fn admit(&self, shard: &Shard) -> Option<Held> {
        let mut labels = String::new();
        label(&mut labels, "envoy_connection_limit_prefix", &self.stat_prefix);
        let most = if self.enabled { self.max_connections } else { u64::MAX };
        let take = |active| (active < most).then_some(active + 1);
        if self.active.fetch_update(Relaxed, Relaxed, take).is_ok() {
            let gauge = shard.gauge("envoy_connection_limit_active_connections", &labels);
            gauge.up();
            return Some(Held { active: Arc::clone(&self.active), gauge });
        }
        shard.counter("envoy_connection_limit_limited_connections", &labels).add(1);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        None
    }
}
