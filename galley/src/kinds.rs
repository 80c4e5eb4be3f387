//! The configuration kinds: what each holds once it is parsed and checked, one file per kind.

pub(crate) mod authorization_policy;
pub(crate) mod check;
pub(crate) mod destination_rule;
pub(crate) mod gateway;
pub(crate) mod mesh_config;
pub(crate) mod peer_authentication;
pub(crate) mod request_authentication;
pub(crate) mod service_entry;
mod shared;
pub(crate) mod telemetry;
pub(crate) mod virtual_service;
pub(crate) mod workload_entry;
pub(crate) mod workload_group;

pub use authorization_policy::{
    AccessAction, AccessCondition, AccessOperation, AccessRule, AccessSource, AddressAttribute, AuthorizationPolicy,
    PathTemplate, TextAttribute, Values,
};
pub use destination_rule::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, DestinationRule, Distribute, Failover, H2Upgrade,
    HashCookie, HashKey, HashRing, HttpPool, KeepAlive, LbAlgorithm, LoadBalancer, LocalityLb, OutlierDetection,
    PortPolicy, ProxyProtocol, RetryBudget, SimpleLb, Subset, TcpKeepalive, TcpPool, TrafficPolicy, Tunnel, Warmup,
    ZoneAware,
};
pub use gateway::{CertificateFiles, Gateway, GatewayHost, Server, ServerPort, ServerTls, ServerTlsMode, TlsVersion};
pub use mesh_config::{
    AskedBody, AskedBy, Authorizer, ClientCertificates, DefaultProviders, Exporter, InfluxAuth, LogFormat, MeshConfig,
    OtlpTransport, Outbound, PathForm, Provider, ProviderKind, ServicePort, StatsdTags, Topology,
};
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use request_authentication::{ClaimHeader, JwtHeader, JwtKeys, JwtRule, KeysUri, RequestAuthentication};
pub use service_entry::{EntryPort, ServiceEntry};
pub use shared::{ExportTo, Labels, Pattern, Percent, StringMatch, selects};
pub use telemetry::{
    AccessLogging, IstioMetric, Metrics, MetricsOverride, TagOverride, TagSource, Telemetry, Tracing, WorkloadMode,
};
pub use virtual_service::{
    Abort, AbortStatus, Cors, Delay, Delegate, Destination, DirectBody, DirectResponse, Fault, HeaderMatch, HeaderOps,
    Headers, HttpAction, HttpDestination, HttpMatch, HttpRoute, L4Match, Mirror, Redirect, RedirectPath, RedirectPort,
    RegexRewrite, Retries, Rewrite, TcpRoute, TlsRoute, UnmatchedPreflights, VirtualService, WeightedDestination,
};
pub use workload_entry::WorkloadEntry;
pub use workload_group::{Probe, ProbeMethod, WorkloadGroup};
