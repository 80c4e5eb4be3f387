//! Envoy's own metrics of clusters and listeners, and failed handshakes by cause.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exposition::{Exposition, label};
use super::value::{Counter, Gauge};

/// `envoy_cluster_*`.
#[derive(Debug, Default)]
pub struct ClusterStats {
    pub rq_total: Counter,
    pub rq_active: Gauge,
    pub rq_retry: Counter,
    pub rq_timeout: Counter,
    pub rq_pending_overflow: Counter,
    /// By class: index 0 is 1xx.
    pub rq_xx: [Counter; 5],
    pub cx_connect_fail: Counter,
    pub none_healthy: Counter,
}

/// `envoy_listener_*`.
#[derive(Debug, Default)]
pub struct ListenerStats {
    pub cx_total: Counter,
    pub cx_active: Gauge,
    /// Connections refused because there are as many as the whole proxy may have.
    pub cx_overflow: Counter,
    pub no_filter_chain_match: Counter,
    /// Connections whose listener filters did not end in time.
    pub pre_cx_timeout: Counter,
    /// Connections that a listener filter ended because of what it read, and those the client ended before.
    pub filter_error: Counter,
    pub filter_remote_close: Counter,
    pub handshake_timeout: Counter,
    pub tls: TlsStats,
    /// Connections without the PROXY protocol header that is expected, or with a bad one.
    pub proxy_protocol_error: Counter,
    /// Requests refused by the codec.
    pub rq_refused: Counter,
}

/// Why a TLS handshake with a client failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    NoCertificate,
    Certificate,
    Protocol,
    Io,
    Timeout,
}

/// `envoy_listener_ssl_*`.
#[derive(Debug, Default)]
pub struct TlsStats {
    pub handshake: Counter,
    pub session_reused: Counter,
    /// Handshakes in which the client showed no certificate, and did not have to.
    pub no_certificate: Counter,
    pub connection_error: Counter,
    pub fail_verify_no_cert: Counter,
    pub fail_verify_error: Counter,
    pub fail_verify_san: Counter,
    pub fail_verify_cert_hash: Counter,
    /// How many handshakes chose a version, a suite, a group.
    chosen: Mutex<BTreeMap<(Choice, String), u64>>,
}

/// What a handshake chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    Version,
    Cipher,
    Group,
}

impl Choice {
    /// The metric and its label.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Version => ("envoy_listener_ssl_versions", "envoy_ssl_version"),
            Self::Cipher => ("envoy_listener_ssl_ciphers", "envoy_ssl_cipher"),
            Self::Group => ("envoy_listener_ssl_curves", "envoy_ssl_curve"),
        }
    }
}

impl TlsStats {
    /// Counts what a handshake chose. There are few to choose from.
    pub fn chose(&self, choice: Choice, name: &str) {
        *lock(&self.chosen).entry((choice, name.to_owned())).or_default() += 1;
    }
}

fn tls(stats: &TlsStats, labels: &str, out: &mut Exposition) {
    for (name, counter) in [
        ("envoy_listener_ssl_handshake", &stats.handshake),
        ("envoy_listener_ssl_session_reused", &stats.session_reused),
        ("envoy_listener_ssl_no_certificate", &stats.no_certificate),
        ("envoy_listener_ssl_connection_error", &stats.connection_error),
        ("envoy_listener_ssl_fail_verify_no_cert", &stats.fail_verify_no_cert),
        ("envoy_listener_ssl_fail_verify_error", &stats.fail_verify_error),
        ("envoy_listener_ssl_fail_verify_san", &stats.fail_verify_san),
        ("envoy_listener_ssl_fail_verify_cert_hash", &stats.fail_verify_cert_hash),
    ] {
        out.counter(name, labels, counter.get());
    }
    for ((choice, chosen), count) in lock(&stats.chosen).iter() {
        let ((metric, name), mut labels) = (choice.names(), labels.to_owned());
        label(&mut labels, name, chosen);
        out.counter(metric, &labels, *count);
    }
}

#[derive(Debug, Default)]
pub struct Table {
    clusters: Mutex<HashMap<String, Arc<ClusterStats>>>,
    listeners: Mutex<HashMap<String, Arc<ListenerStats>>>,
    handshakes: [Counter; 5],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named<T: Default>(table: &Mutex<HashMap<String, Arc<T>>>, name: &str) -> Arc<T> {
    Arc::clone(lock(table).entry(name.to_owned()).or_default())
}

impl Table {
    pub fn cluster(&self, name: &str) -> Arc<ClusterStats> {
        named(&self.clusters, name)
    }

    pub fn listener(&self, name: &str) -> Arc<ListenerStats> {
        named(&self.listeners, name)
    }

    pub fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshakes[cause as usize].add(1);
    }
}

impl HandshakeFailure {
    const ALL: [Self; 5] = [Self::NoCertificate, Self::Certificate, Self::Protocol, Self::Io, Self::Timeout];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Io => "connection",
            Self::Timeout => "timeout",
        }
    }
}

/// Writes the series of all workers.
pub fn write<'a>(tables: impl Iterator<Item = &'a Table>, out: &mut Exposition) {
    for table in tables {
        for (name, stats) in lock(&table.clusters).iter() {
            cluster(name, stats, out);
        }
        for (name, stats) in lock(&table.listeners).iter() {
            let mut labels = String::new();
            label(&mut labels, "envoy_listener_address", name);
            out.counter("envoy_listener_downstream_cx_total", &labels, stats.cx_total.get());
            out.gauge("envoy_listener_downstream_cx_active", &labels, stats.cx_active.get());
            out.counter("envoy_listener_downstream_global_cx_overflow", &labels, stats.cx_overflow.get());
            out.counter("envoy_listener_no_filter_chain_match", &labels, stats.no_filter_chain_match.get());
            out.counter("envoy_listener_downstream_pre_cx_timeout", &labels, stats.pre_cx_timeout.get());
            out.counter("envoy_listener_downstream_listener_filter_error", &labels, stats.filter_error.get());
            let closed = stats.filter_remote_close.get();
            out.counter("envoy_listener_downstream_listener_filter_remote_close", &labels, closed);
            let late = stats.handshake_timeout.get();
            out.counter("envoy_listener_downstream_cx_transport_socket_connect_timeout", &labels, late);
            let refused = stats.proxy_protocol_error.get();
            out.counter("envoy_listener_downstream_cx_proxy_proto_error", &labels, refused);
            tls(&stats.tls, &labels, out);
            out.counter("envoy_listener_http_downstream_cx_protocol_error", &labels, stats.rq_refused.get());
        }
        for cause in HandshakeFailure::ALL {
            let mut labels = String::new();
            label(&mut labels, "cause", cause.as_str());
            out.counter("weft_proxy_handshake_failures_total", &labels, table.handshakes[cause as usize].get());
        }
    }
}

fn cluster(name: &str, stats: &ClusterStats, out: &mut Exposition) {
    let mut labels = String::new();
    label(&mut labels, "envoy_cluster_name", name);
    out.counter("envoy_cluster_upstream_rq_total", &labels, stats.rq_total.get());
    out.gauge("envoy_cluster_upstream_rq_active", &labels, stats.rq_active.get());
    out.counter("envoy_cluster_upstream_rq_retry", &labels, stats.rq_retry.get());
    out.counter("envoy_cluster_upstream_rq_timeout", &labels, stats.rq_timeout.get());
    out.counter("envoy_cluster_upstream_rq_pending_overflow", &labels, stats.rq_pending_overflow.get());
    out.counter("envoy_cluster_upstream_cx_connect_fail", &labels, stats.cx_connect_fail.get());
    out.counter("envoy_cluster_upstream_cx_none_healthy", &labels, stats.none_healthy.get());
    for (index, class) in stats.rq_xx.iter().enumerate() {
        let mut labels = labels.clone();
        label(&mut labels, "envoy_response_code_class", &(index + 1).to_string());
        out.counter("envoy_cluster_upstream_rq_xx", &labels, class.get());
    }
}
