//! A limit on new connections in a time (Envoy, `envoy.filters.network.local_ratelimit`).

use crate::stats::{Shard, label};
use crate::token_bucket::TokenBucket;

/// `envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit`.
#[derive(Debug, PartialEq)]
pub struct LocalRateLimit {
    pub stat_prefix: String,
    pub bucket: TokenBucket,
    pub enabled: bool,
}

impl LocalRateLimit {
    pub fn admit(&self, shard: &Shard) -> bool {
        if !self.enabled || self.bucket.take() {
            return true;
        }
        let mut labels = String::new();
        label(&mut labels, "envoy_local_network_ratelimit_prefix", &self.stat_prefix);
        shard.counter("envoy_local_rate_limit_rate_limited", &labels).add(1);
        false
    }
}
