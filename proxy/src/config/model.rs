//! The checked, inert model of listeners, routes, clusters, endpoints and secrets. Field names follow Envoy's v3 API;
//! defaults are filled in, so a reader never asks what "unset" means.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use regex::bytes::Regex;

use crate::access_log::AccessLog;
use crate::route::RouteTable;

/// Everything the proxy runs on at one moment. A connection or request loads it once and keeps it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub listeners: BTreeMap<String, Arc<Listener>>,
    pub routes: BTreeMap<String, Arc<RouteTable>>,
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// By cluster name (or the cluster's EDS service name).
    pub endpoints: BTreeMap<String, Arc<LoadAssignment>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// A bootstrap file: what a proxy outside the mesh serves. Resources stand in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    pub node: Node,
    pub listeners: Vec<Arc<Listener>>,
    pub clusters: Vec<Arc<Cluster>>,
    pub secrets: Vec<(String, Arc<Secret>)>,
    /// `None`: no admin interface.
    pub admin: Option<SocketAddr>,
    /// Most downstream connections at a time, of all listeners together.
    pub max_connections: Option<usize>,
}

/// `envoy.config.core.v3.Node`: what a proxy is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub id: String,
    pub cluster: String,
}

// ---- listeners ----

/// `envoy.config.listener.v3.Listener`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub direction: Direction,
    pub filter_chains: Vec<Arc<FilterChain>>,
    pub default_filter_chain: Option<Arc<FilterChain>>,
    pub tls_inspector: bool,
    pub http_inspector: bool,
    /// How long the inspectors may wait for bytes; zero is for ever (Envoy default 15 s).
    pub listener_filters_timeout: Duration,
    pub continue_on_listener_filters_timeout: bool,
    pub access_logs: Vec<AccessLog>,
    /// Connections that may wait to be accepted; `None` leaves it to the system.
    pub backlog: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    pub name: String,
    pub matches: FilterChainMatch,
    /// `None`: plaintext.
    pub tls: Option<Arc<DownstreamTls>>,
    pub filter: NetworkFilter,
}

/// All conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterChainMatch {
    pub destination_port: Option<u16>,
    pub prefix_ranges: Vec<IpNet>,
    pub source_prefix_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
    /// Lower case; exact, or `*.suffix`.
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    RawBuffer,
    Tls,
}

/// The filter that ends a chain.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkFilter {
    Http(Arc<HttpManager>),
    Tcp(Arc<TcpProxy>),
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    pub stat_prefix: String,
    pub cluster: ClusterChoice,
    /// Zero disables (Envoy default 1 h).
    pub idle_timeout: Duration,
    pub access_logs: Vec<AccessLog>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpManager {
    pub stat_prefix: String,
    pub codec: Codec,
    pub routes: RouteSource,
    pub filters: Vec<HttpFilter>,
    pub access_logs: Vec<AccessLog>,
    /// Whether the peer is the edge of trust: `x-forwarded-for` gets its address, and its claims are not believed.
    pub use_remote_address: bool,
    pub xff_num_trusted_hops: u32,
    pub forward_client_cert: ForwardClientCert,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
    /// The `server` header of answers (Istio: `istio-envoy`).
    pub server_name: String,
    pub generate_request_id: bool,
    /// Zero disables, here and in the others (Envoy defaults: idle 1 h, stream idle 5 min, headers and request none).
    pub idle_timeout: Duration,
    pub stream_idle_timeout: Duration,
    pub request_timeout: Duration,
    pub request_headers_timeout: Duration,
    pub max_request_headers_bytes: usize,
    pub max_request_headers_count: usize,
    /// Lower-case upgrade protocols that are let through (`websocket`, `connect`).
    pub upgrades: Vec<String>,
    pub accept_http_10: bool,
    pub max_concurrent_streams: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Told by ALPN or by the HTTP/2 preface.
    Auto,
    Http1,
    Http2,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    Inline(Arc<RouteTable>),
    /// By name, from the snapshot.
    Rds(String),
}

/// `forward_client_cert_details` and `set_current_client_cert_details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    KeepUnchanged,
    RejectRequest,
    UnescapeAndForward,
}

/// HTTP filters, in the order of the configuration. The router is always last and is not listed.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpFilter {
    /// `envoy.filters.http.fault`; the route's own setting replaces it.
    Fault(Option<Arc<Fault>>),
    /// `envoy.filters.http.cors`; its policy stands in the route.
    Cors,
}

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub delay: Option<(Duration, Fraction)>,
    pub abort: Option<(Abort, Fraction)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Http(u16),
    Grpc(u32),
}

/// Parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction(pub u32);

// ---- routes (the table and its matching are in `route/`) ----

/// Which cluster takes a request or connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterChoice {
    One(String),
    Weighted(Vec<WeightedCluster>),
    /// The cluster that this request header names.
    Header(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    pub name: String,
    pub weight: u32,
    pub mutation: HeaderMutation,
}

/// Changes to request and response headers, in Envoy's order: removed, then added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderMutation {
    pub request_add: Vec<HeaderAdd>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderAdd>,
    pub response_remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HeaderAdd {
    /// Lower case; `:path` and `host`/`:authority` are honoured.
    pub name: String,
    pub value: crate::access_log::Format,
    pub action: AppendAction,
    pub keep_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    AppendIfExistsOrAdd,
    AddIfAbsent,
    OverwriteIfExistsOrAdd,
    OverwriteIfExists,
}

/// A text that must be equal, begin, end, contain or fully match.
#[derive(Clone, Debug)]
pub enum StringMatch {
    Exact {
        text: String,
        ignore_case: bool,
    },
    Prefix {
        text: String,
        ignore_case: bool,
    },
    Suffix {
        text: String,
        ignore_case: bool,
    },
    Contains {
        text: String,
        ignore_case: bool,
    },
    /// Anchored at both ends.
    Regex(Regex),
}

// ---- clusters ----

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: String,
    pub discovery: Discovery,
    pub lb_policy: LbPolicy,
    pub connect_timeout: Duration,
    pub protocol: UpstreamProtocol,
    /// For endpoints that no entry of `transport_socket_matches` covers; `None` is plaintext.
    pub tls: Option<Arc<UpstreamTls>>,
    /// Tried in order against the endpoint's `envoy.transport_socket_match` metadata.
    pub transport_socket_matches: Vec<TransportSocketMatch>,
    pub circuit_breakers: CircuitBreakers,
    pub outlier_detection: Option<OutlierDetection>,
    /// Of pooled connections; zero disables (Envoy default 1 h).
    pub idle_timeout: Duration,
    /// Zero is no limit.
    pub max_requests_per_connection: u32,
    pub max_concurrent_streams: u32,
    /// Percent (0 to 100) of healthy hosts under which health is ignored.
    pub panic_threshold: f64,
    /// Whether the weights of localities count (`locality_weighted_lb_config`); else hosts alone do.
    pub locality_weighted: bool,
    /// How often names are looked up again (Envoy default 5 s).
    pub dns_refresh_rate: Duration,
    /// `filter_metadata.istio`: services this cluster stands for, for metrics: host, name, namespace.
    pub service: Option<ServiceRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    pub host: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    Static(Arc<LoadAssignment>),
    Eds { service_name: String },
    StrictDns(Arc<LoadAssignment>),
    LogicalDns(Arc<LoadAssignment>),
    OriginalDst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LbPolicy {
    RoundRobin,
    LeastRequest { choice_count: u32 },
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// HTTP/2 or HTTP/1.1 by ALPN of the upstream.
    Auto,
    /// What the downstream connection speaks.
    Downstream,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TransportSocketMatch {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub tls: Option<Arc<UpstreamTls>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierDetection {
    pub consecutive_5xx: u32,
    pub consecutive_gateway_failure: u32,
    pub consecutive_local_origin_failure: u32,
    pub split_external_local_origin_errors: bool,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    pub max_ejection_percent: u32,
    /// Percent of events that eject, per kind.
    pub enforcing_consecutive_5xx: u32,
    pub enforcing_consecutive_gateway_failure: u32,
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadAssignment {
    pub cluster_name: String,
    pub localities: Vec<LocalityEndpoints>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LocalityEndpoints {
    /// `region/zone/subzone`, as far as known.
    pub locality: String,
    /// 0 is preferred.
    pub priority: u32,
    /// Share among localities of a priority; `None` is no locality weighting.
    pub weight: Option<u32>,
    pub endpoints: Vec<Arc<Endpoint>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: EndpointAddress,
    /// At least 1.
    pub weight: u32,
    pub healthy: bool,
    /// `filter_metadata["envoy.transport_socket_match"]`.
    pub transport_labels: BTreeMap<String, String>,
    /// `filter_metadata["istio"]["workload"]`: what metrics say of the destination.
    pub workload: Option<Arc<WorkloadRef>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Socket(SocketAddr),
    /// A name and port, for DNS clusters.
    Name(String, u16),
    /// A path, or an abstract name with a leading `@`.
    Unix(String),
}

/// Who is at the other end, for metrics: Istio's `workload;namespace;canonical service;canonical revision;cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadRef {
    pub name: String,
    pub namespace: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
}

// ---- TLS ----

/// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
    pub resumption: ServerResumption,
}

/// How a returning client may skip a full handshake. Only certificates that are given are resumed; the mesh's never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerResumption {
    /// By session IDs and tickets.
    Any,
    /// By session IDs of TLS 1.2 alone: tickets are off, and TLS 1.3 knows nothing else.
    SessionIds,
    Off,
}

/// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: String,
    /// How many sessions are kept to be resumed; 0 is none.
    pub max_session_keys: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    pub certificate: Option<CertificateSource>,
    pub validation: Option<ValidationSource>,
    /// Of the peer's certificate: one must match where there are any.
    pub san_matchers: Vec<StringMatch>,
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V12,
    V13,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CertificateSource {
    /// A secret by name: `default` is the workload's own identity, kept by the agent in this process.
    Sds(String),
    Inline(Arc<Secret>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValidationSource {
    /// A secret by name: `ROOTCA` is the mesh's trust bundle, kept by the agent in this process.
    Sds(String),
    Inline(Arc<Secret>),
}

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// PEM chain, leaf first, and PEM key.
    Certificate { chain: Vec<u8>, key: Vec<u8> },
    /// PEM roots.
    TrustedCa(Vec<u8>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate { [redacted] }",
            Self::TrustedCa(_) => "TrustedCa",
        })
    }
}

impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Exact { text: a, ignore_case: x }, Self::Exact { text: b, ignore_case: y })
            | (Self::Prefix { text: a, ignore_case: x }, Self::Prefix { text: b, ignore_case: y })
            | (Self::Suffix { text: a, ignore_case: x }, Self::Suffix { text: b, ignore_case: y })
            | (Self::Contains { text: a, ignore_case: x }, Self::Contains { text: b, ignore_case: y }) => {
                a == b && x == y
            }
            _ => false,
        }
    }
}

impl StringMatch {
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact { text, ignore_case: false } => value == text.as_bytes(),
            Self::Exact { text, ignore_case: true } => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix { text, ignore_case } => {
                value.get(..text.len()).is_some_and(|head| same(head, text, *ignore_case))
            }
            Self::Suffix { text, ignore_case } => {
                value.len().checked_sub(text.len()).is_some_and(|start| same(&value[start..], text, *ignore_case))
            }
            Self::Contains { text, ignore_case } => {
                text.is_empty() || value.windows(text.len()).any(|part| same(part, text, *ignore_case))
            }
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn same(value: &[u8], text: &str, ignore_case: bool) -> bool {
    if ignore_case { value.eq_ignore_ascii_case(text.as_bytes()) } else { value == text.as_bytes() }
}
