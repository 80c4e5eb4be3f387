//! What the DNS server counts, under the names of Istio's agent where it has one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::stats::Exposition;

#[derive(Debug, Default)]
pub struct Counters {
    /// Questions that came.
    pub requests: Count,
    /// Of these: answered from the mesh's names.
    pub local: Count,
    /// Answered as upstream had answered before.
    pub cached: Count,
    /// Handed on.
    pub upstream_requests: Count,
    /// Handed on, and answered by no nameserver.
    pub upstream_failures: Count,
    /// What could not be read, or came back to where it was sent from.
    pub malformed: Count,
    pub looped: Count,
    /// Not taken because too many were under way.
    pub overflow: Count,
}

/// Counts up, from any thread.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub fn write(&self, out: &mut Exposition) {
        for (name, count) in [
            ("istio_agent_dns_requests_total", &self.requests),
            ("istio_agent_dns_upstream_requests_total", &self.upstream_requests),
            ("istio_agent_dns_upstream_failures_total", &self.upstream_failures),
            ("weft_proxy_dns_local_answers_total", &self.local),
            ("weft_proxy_dns_cached_answers_total", &self.cached),
            ("weft_proxy_dns_malformed_total", &self.malformed),
            ("weft_proxy_dns_loops_total", &self.looped),
            ("weft_proxy_dns_overflow_total", &self.overflow),
        ] {
            out.counter(name, "", count.get());
        }
    }
}
