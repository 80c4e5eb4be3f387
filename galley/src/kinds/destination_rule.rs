//! DestinationRule: how a destination's endpoints are chosen, connected to and secured (Istio
//! `destination_rule.proto`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{self, Scope, Wildcard};
use super::shared::{ExportTo, Labels, Percent};
use crate::reader::Object;

mod balance;
mod policy;
mod pool;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationRule {
    /// As written: short name, full name or wildcard.
    pub host: String,
    pub traffic_policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    pub export_to: ExportTo,
    /// Clients that this rule is for; `None`: all.
    pub workload_selector: Option<Labels>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subset {
    pub name: String,
    pub labels: Labels,
    pub traffic_policy: Option<TrafficPolicy>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<ClientTls>,
    /// Each replaces the four fields above for its port altogether.
    pub port_level: Vec<PortPolicy>,
    pub tunnel: Option<Tunnel>,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub retry_budget: Option<RetryBudget>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPolicy {
    pub port: u16,
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<ClientTls>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadBalancer {
    pub algorithm: LbAlgorithm,
    pub locality: Option<LocalityLb>,
    pub zone_aware: Option<ZoneAware>,
    pub warmup: Option<Warmup>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LbAlgorithm {
    Simple(SimpleLb),
    ConsistentHash(ConsistentHash),
}

/// `UNSPECIFIED` and the deprecated `LEAST_CONN` are read as `LeastRequest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SimpleLb {
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
    Passthrough,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConsistentHash {
    pub key: HashKey,
    pub ring: HashRing,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HashKey {
    Header(String),
    Cookie(HashCookie),
    SourceIp,
    QueryParameter(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HashCookie {
    pub name: String,
    pub path: String,
    /// `None`: only read, never made.
    pub ttl: Option<Duration>,
    pub attributes: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashRing {
    RingHash { minimum_size: u64 },
    Maglev { table_size: u64 },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalityLb {
    /// `None`: as the mesh says (on).
    pub enabled: Option<bool>,
    pub distribute: Vec<Distribute>,
    pub failover: Vec<Failover>,
    /// Labels, or `label=value`.
    pub failover_priority: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribute {
    pub from: String,
    /// Locality to weight; the weights make 100.
    pub to: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZoneAware {
    pub enabled: Option<bool>,
    pub failover: Vec<Failover>,
    pub failover_priority: Vec<String>,
    pub min_cluster_size: Option<u32>,
}

/// How a new endpoint's share grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Warmup {
    pub duration: Duration,
    pub minimum_percent: f64,
    pub aggression: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionPool {
    pub tcp: Option<TcpPool>,
    pub http: Option<HttpPool>,
}

/// `None` everywhere: the default. A zero count is read as not set, as Istio does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub keepalive: Option<TcpKeepalive>,
    pub max_connection_duration: Option<Duration>,
    /// Zero: never.
    pub idle_timeout: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpKeepalive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpPool {
    pub http1_max_pending_requests: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub h2_upgrade: H2Upgrade,
    pub use_client_protocol: bool,
    pub max_concurrent_streams: Option<u32>,
    pub http2_keep_alive: Option<KeepAlive>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H2Upgrade {
    #[default]
    Default,
    DoNotUpgrade,
    Upgrade,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeepAlive {
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutlierDetection {
    /// `None`: Envoy's default (5). Zero: off.
    pub consecutive_5xx_errors: Option<u32>,
    pub consecutive_gateway_errors: Option<u32>,
    pub split_external_local_origin_errors: bool,
    pub consecutive_local_origin_failures: Option<u32>,
    pub interval: Option<Duration>,
    pub base_ejection_time: Option<Duration>,
    /// `None`: 10.
    pub max_ejection_percent: Option<u32>,
    pub min_health_percent: u32,
    /// Status codes that count as errors besides 5xx.
    pub http_error_codes: Vec<u16>,
}

/// How connections to the destination are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    pub mode: ClientTlsMode,
    pub client_certificate: String,
    pub private_key: String,
    pub ca_certificates: String,
    pub ca_crl: String,
    pub credential_name: String,
    pub subject_alt_names: Vec<String>,
    pub sni: String,
    pub insecure_skip_verify: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTlsMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// `CONNECT` or `POST`.
    pub protocol: String,
    pub target_host: String,
    pub target_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    pub percent: Percent,
    pub min_retry_concurrency: u32,
    pub budget_interval: Duration,
}

impl Default for LbAlgorithm {
    fn default() -> Self {
        Self::Simple(SimpleLb::default())
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>, scope: &Scope<'_>) -> DestinationRule {
    let mut names: Vec<String> = Vec::new();
    let rule = DestinationRule {
        host: o.required("host").and_then(|place| check::host(&place, Wildcard::PartOfLabel)).unwrap_or_default(),
        traffic_policy: o.read("trafficPolicy", policy::read),
        subsets: o.each("subsets", |place| {
            let subset = place.object(subset)?;
            if names.contains(&subset.name) {
                place.error(format!("the subset {:?} is there twice", subset.name));
            }
            names.push(subset.name.clone());
            Some(subset)
        }),
        export_to: check::export_to(o, scope, false),
        workload_selector: o.read("workloadSelector", |place| check::selector(place, "matchLabels", 4096)),
    };
    let own = ExportTo::Namespaces(vec![scope.namespace.to_owned()]);
    if rule.workload_selector.is_some() && o.has("exportTo") && rule.export_to != own {
        o.error_at("exportTo", "a rule with a workloadSelector is for its own namespace: use \".\"");
    }
    rule
}

fn subset(o: &Object<'_>) -> Subset {
    Subset {
        name: o.required("name").and_then(|place| check::dns_label(&place)).unwrap_or_default(),
        labels: o.field("labels").map(|place| check::labels(&place)).unwrap_or_default(),
        traffic_policy: o.read("trafficPolicy", policy::read),
    }
}
