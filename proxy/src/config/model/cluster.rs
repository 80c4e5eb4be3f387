//! Clusters and their endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use runtime::Reach;

use super::{
    CheckTarget, HealthCheck, Http2Options, Keepalive, LbMetadata, LbPolicy, SubsetRules, TlvChoice, UpstreamTls,
};

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub name: String,
    pub discovery: Discovery,
    pub lb_policy: LbPolicy,
    pub subsets: Option<Arc<SubsetRules>>,
    pub connect_timeout: Duration,
    pub protocol: UpstreamProtocol,
    /// For endpoints that no entry of `transport_socket_matches` covers; `None` is plaintext.
    pub tls: Option<Arc<UpstreamTls>>,
    /// Whether the name of a request is the one asked for by SNI (`auto_sni`).
    pub auto_sni: Option<AutoSni>,
    /// What connections begin with, before TLS.
    pub proxy_protocol: Option<UpstreamProxyProtocol>,
    /// Tried in order against the endpoint's `envoy.transport_socket_match` metadata.
    pub transport_socket_matches: Vec<TransportSocketMatch>,
    pub circuit_breakers: CircuitBreakers,
    /// Of requests whose route has priority HIGH.
    pub high_circuit_breakers: CircuitBreakers,
    pub outlier_detection: Option<OutlierDetection>,
    pub health_check: Option<Arc<HealthCheck>>,
    /// Whether hosts that have not been checked yet are left out of the reckoning of health.
    pub ignore_unchecked_hosts: bool,
    /// Whether all connections are given up when a host comes, goes or changes its health.
    pub close_on_host_change: bool,
    /// Of pooled connections; zero disables (Envoy default 1 h).
    pub idle_timeout: Duration,
    /// Zero is no limit.
    pub max_requests_per_connection: u32,
    pub http2: Http2Options,
    /// Whether names of headers go to HTTP/1.1 hosts as `Content-Type`.
    pub proper_case: bool,
    /// After which a connection takes no more requests.
    pub max_connection_duration: Option<Duration>,
    pub tcp_keepalive: Option<Keepalive>,
    /// Where connections come from (`upstream_bind_config.source_address`).
    pub source_address: Option<SocketAddr>,
    /// Percent (0 to 100) of healthy hosts under which health is ignored.
    pub panic_threshold: f64,
    /// Whether the weights of localities count (`locality_weighted_lb_config`); else hosts alone do.
    pub locality_weighted: bool,
    /// How often names are looked up again (Envoy default 5 s).
    pub dns_refresh_rate: Duration,
    pub dns_family: DnsFamily,
    /// What its names may stand for, where that is limited.
    pub reach: Option<Arc<Reach>>,
    /// `filter_metadata.istio`: services this cluster stands for, for metrics: host, name, namespace.
    pub service: Option<ServiceRef>,
}

/// `envoy.config.core.v3.UpstreamHttpProtocolOptions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoSni {
    /// Asked before the authority, where a request has it.
    pub header: Option<String>,
}

/// `envoy.config.core.v3.ProxyProtocolConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamProxyProtocol {
    pub version: crate::proxy_protocol::Version,
    /// Of the TLVs that came with the downstream connection.
    pub pass_through: TlvChoice,
    pub added: Vec<(u8, Vec<u8>)>,
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
    OriginalDst(OriginalDst),
    DynamicForwardProxy(Arc<DnsCache>),
}

/// `envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig`: names that requests ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsCache {
    /// A filter and a cluster belong together by it.
    pub name: String,
    pub family: DnsFamily,
    /// How long what was found is good, whatever its time to live (Envoy default 60 s).
    pub refresh: Duration,
    /// After how long a name is looked up again that was not found: the first time, and at most.
    pub failure_refresh: (Duration, Duration),
    /// How long a name is kept that nobody asks for (Envoy default 5 min).
    pub host_ttl: Duration,
    /// How many names a worker keeps (Envoy default 1024).
    pub max_hosts: usize,
    /// `None`: as long as the system's resolver takes.
    pub query_timeout: Option<Duration>,
    /// How many requests of a worker may wait for lookups (Envoy default 1024).
    pub max_pending_requests: u32,
    /// The addresses that names are not followed to.
    pub refused: Option<AddressFilter>,
}

/// `envoy.type.matcher.v3.AddressMatcher`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFilter {
    pub ranges: Vec<IpNet>,
    /// Whether all others are meant.
    pub invert: bool,
}

impl AddressFilter {
    pub fn takes(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.ranges.iter().any(|range| range.contains(&ip)) != self.invert
    }
}

/// `Cluster.OriginalDstLbConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginalDst {
    /// The request header that may say where to go instead, in lower case.
    pub header: Option<String>,
    /// The port to go to, whatever it was.
    pub port: Option<u16>,
}

/// `dns_lookup_family`: which addresses of a name are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6, and IPv4 where there is none (AUTO).
    #[default]
    V6OrV4,
    V4OrV6,
    V4,
    V6,
    All,
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
    pub labels: Labels,
    pub tls: Option<Arc<UpstreamTls>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitBreakers {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
    /// In place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// `RetryBudget`: retries that may be under way, as a percentage of requests, and how many always may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    pub percent: f64,
    pub min_retry_concurrency: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierDetection {
    /// How many failures in a row, zero for never, and the percentage of such cases that eject; so for the next two.
    pub consecutive_5xx: (u32, u32),
    pub consecutive_gateway_failure: (u32, u32),
    pub consecutive_local_origin_failure: (u32, u32),
    pub split_external_local_origin_errors: bool,
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    /// A random part of this is added.
    pub max_ejection_time_jitter: Duration,
    pub max_ejection_percent: u32,
    pub always_eject_one_host: bool,
    /// `successful_active_health_check_uneject_host`.
    pub readmit_on_passed_check: bool,
    pub success_rate: SuccessRate,
    pub failure_percentage: FailurePercentage,
}

/// Hosts whose success rate is that far below the mean, in thousandths of the standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Percent of such cases that eject; zero is off.
    pub enforcing: u32,
    pub enforcing_local_origin: u32,
    pub minimum_hosts: u32,
    pub request_volume: u32,
    pub stdev_factor: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { enforcing: 100, enforcing_local_origin: 100, minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 }
    }
}

/// Hosts of whose requests at least that percentage failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    pub threshold: u32,
    /// Percent of such cases that eject; zero is off.
    pub enforcing: u32,
    pub enforcing_local_origin: u32,
    pub minimum_hosts: u32,
    pub request_volume: u32,
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { threshold: 85, enforcing: 0, enforcing_local_origin: 0, minimum_hosts: 5, request_volume: 50 }
    }
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadAssignment {
    pub cluster_name: String,
    pub localities: Vec<LocalityEndpoints>,
    /// Percent (Envoy default 140).
    pub overprovisioning_factor: u32,
}

impl Default for LoadAssignment {
    fn default() -> Self {
        Self { cluster_name: String::new(), localities: Vec::new(), overprovisioning_factor: 140 }
    }
}

impl LoadAssignment {
    /// All endpoints, in order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.localities.iter().flat_map(|locality| &locality.endpoints)
    }
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
    pub health: HealthStatus,
    /// The name by which the endpoint was given, or goes.
    pub hostname: Option<Box<str>>,
    pub lb_metadata: Option<Arc<LbMetadata>>,
    /// What active health checks do differently here.
    pub check: Option<Box<CheckTarget>>,
    /// `filter_metadata["envoy.transport_socket_match"]`.
    pub transport_labels: Labels,
    /// `filter_metadata["istio"]["workload"]`: what metrics say of the destination.
    pub workload: Option<Arc<WorkloadRef>>,
}

impl Endpoint {
    /// An endpoint of which nothing but its address is known.
    pub fn at(address: EndpointAddress) -> Self {
        Self {
            address,
            weight: 1,
            health: HealthStatus::Healthy,
            hostname: None,
            lb_metadata: None,
            check: None,
            transport_labels: Labels::default(),
            workload: None,
        }
    }
}

/// Names and values, by name. Every endpoint has them, so they take no more room than they must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl<'a> FromIterator<(&'a str, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, String)>>(labels: I) -> Self {
        let sorted: BTreeMap<&str, String> = labels.into_iter().collect();
        Self(sorted.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// What discovery says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Socket(SocketAddr),
    /// A name and port, for DNS clusters.
    Name(String, u16),
    /// A path, or an abstract name with a leading `@`.
    Unix(String),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
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
