//! Envoy's own metrics by their owner: those of listeners, and failed handshakes by cause, are here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cluster::{self, ClusterStats};
use super::exposition::{Exposition, label};
use super::http::{self, HttpStats};
use super::value::{Counter, Gauge};

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
    managers: Mutex<HashMap<String, Arc<HttpStats>>>,
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

    pub fn http(&self, prefix: &str) -> Arc<HttpStats> {
        named(&self.managers, prefix)
    }

    /// Connections that listeners have now.
    pub fn connections(&self) -> u64 {
        lock(&self.listeners).values().map(|listener| listener.cx_active.get()).sum()
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
            cluster::write(name, stats, out);
        }
        for (name, stats) in lock(&table.listeners).iter() {
            let mut labels = String::new();
            label(&mut labels, "envoy_listener_address", name);
            out.counter("envoy_listener_downstream_cx_total", &labels, stats.cx_total.get());
            let gone = stats.cx_total.get().saturating_sub(stats.cx_active.get());
            out.counter("envoy_listener_downstream_cx_destroy", &labels, gone);
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
        }
        for (prefix, stats) in lock(&table.managers).iter() {
            http::write(prefix, stats, out);
        }
        for cause in HandshakeFailure::ALL {
            let mut labels = String::new();
            label(&mut labels, "cause", cause.as_str());
            out.counter("weft_proxy_handshake_failures_total", &labels, table.handshakes[cause as usize].get());
        }
    }
}
