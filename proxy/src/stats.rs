//! What the proxy counts. Each worker counts in a shard of its own, with plain adds on cells that only it writes; a
//! scrape sums the shards. Names and labels are Istio's and Envoy's, so that their dashboards work.

mod cluster;
mod envoy;
mod exposition;
mod filter;
mod health;
mod http;
mod istio;
pub mod names;
mod peer;
mod rules;
mod server;
mod told;
mod value;
mod view;
mod virtual_cluster;

pub use cluster::ClusterStats;
pub use envoy::{Choice, HandshakeFailure, ListenerStats, TlsStats};
pub use exposition::{Exposition, label};
pub use health::{CheckStats, OutlierStats};
pub use http::HttpStats;
pub use istio::{Reporter, RequestLabels, RequestSeries, TcpLabels, TcpSeries};
pub use peer::{HEADER as PEER_HEADER, PeerCache, decode_peer, encode_peer};
pub use rules::{Metric, MetricRule, MetricRules, Shape};
pub use server::Server;
pub use told::{Collector, service, workload};
pub use value::{Counter, Gauge, Histogram};
pub use view::{Shown, StatsView, Tag, TagRule, only};
pub use virtual_cluster::VirtualClusters;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::dns;

/// All shards of a proxy.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    shards: Arc<Mutex<Vec<Arc<Shard>>>>,
    /// Of the agent's DNS server, where it runs one.
    dns: Arc<OnceLock<Arc<dns::Counters>>>,
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Shard {
    istio: istio::Table,
    envoy: envoy::Table,
    filters: filter::Table,
}

impl Stats {
    /// A shard for a worker that starts.
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        self.lock().push(Arc::clone(&shard));
        shard
    }

    /// Shows these among the metrics.
    pub fn with_dns(&self, counters: Arc<dns::Counters>) {
        let _ = self.dns.set(counters);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics in Prometheus' text format, summed over the shards.
    pub fn exposition(&self) -> String {
        self.exposition_of(None)
    }

    /// The same with what is to be said of the whole proxy.
    pub fn exposition_of(&self, server: Option<&Server>) -> String {
        let shards = self.lock().clone();
        let mut out = exposition::Exposition::default();
        istio::write(shards.iter().map(|shard| &shard.istio), &mut out);
        envoy::write(shards.iter().map(|shard| &shard.envoy), &mut out);
        shards.iter().for_each(|shard| shard.filters.write(&mut out));
        if let Some(dns) = self.dns.get() {
            dns.write(&mut out);
        }
        if let Some(server) = server {
            let connections = shards.iter().map(|shard| shard.envoy.connections()).sum();
            server::write(server, connections, &mut out);
        }
        out.finish()
    }
}

impl Shard {
    /// The series of requests with these labels.
    pub fn requests(&self, labels: &RequestLabels<'_>, shape: Option<&Shape>) -> Arc<RequestSeries> {
        self.istio.requests(labels, shape)
    }

    /// The series of TCP connections with these labels.
    pub fn connections(&self, labels: &TcpLabels<'_>, shape: Option<&Shape>) -> Arc<TcpSeries> {
        self.istio.connections(labels, shape)
    }

    pub fn cluster(&self, name: &str) -> Arc<ClusterStats> {
        self.envoy.cluster(name)
    }

    /// The counters of HTTP connection managers with this `stat_prefix`.
    pub fn http(&self, prefix: &str) -> Arc<HttpStats> {
        self.envoy.http(prefix)
    }

    pub fn listener(&self, name: &str) -> Arc<ListenerStats> {
        self.envoy.listener(name)
    }

    /// A counter of a filter, by the metric's name and what stands between its braces.
    pub fn counter(&self, metric: &str, labels: &str) -> Arc<Counter> {
        self.filters.counter(metric, labels)
    }

    /// A gauge of a filter.
    pub fn gauge(&self, metric: &str, labels: &str) -> Arc<Gauge> {
        self.filters.gauge(metric, labels)
    }

    pub fn handshake_failed(&self, cause: HandshakeFailure) {
        self.envoy.handshake_failed(cause);
    }
}

#[cfg(test)]
mod tests;
