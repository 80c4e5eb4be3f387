//! Listeners and their filter chains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{ClusterChoice, DownstreamTls, HttpManager};
use crate::access_log::AccessLog;

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
