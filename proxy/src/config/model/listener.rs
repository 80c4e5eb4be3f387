//! Listeners and their filter chains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{ClusterChoice, DownstreamTls, HttpManager, LbMetadata};
use crate::access_log::AccessLog;
use crate::network_filter::ConnectionFilter;
use crate::stats::MetricRules;

/// `envoy.config.listener.v3.Listener`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub additional_addresses: Vec<SocketAddr>,
    /// Whether its addresses are bound; one that does not bind is handed connections by another (`bind_to_port`).
    pub binds: bool,
    pub socket: SocketSettings,
    /// Whether a connection is handed to the listener of the address that it was meant for.
    pub use_original_dst: bool,
    pub direction: Direction,
    pub filter_chains: Vec<Arc<FilterChain>>,
    pub default_filter_chain: Option<Arc<FilterChain>>,
    /// In the order in which they look at a connection.
    pub filters: Vec<ListenerFilter>,
    /// How long the listener filters may wait for bytes; zero is for ever (Envoy default 15 s).
    pub listener_filters_timeout: Duration,
    pub continue_on_listener_filters_timeout: bool,
    pub access_logs: Vec<AccessLog>,
    /// Connections taken at a time before others have their turn; `None` is no limit.
    pub accepts_at_a_time: Option<u32>,
    /// Bytes that a connection may hold of what has not been passed on (`per_connection_buffer_limit_bytes`).
    pub buffer_limit: usize,
    /// Whether its connections do not count against the limit of the whole proxy.
    pub ignores_global_limit: bool,
}

impl Listener {
    /// What Envoy's metrics call it: its address, with the colons replaced.
    pub fn stat_name(&self) -> String {
        self.address.to_string().replace(':', "_")
    }

    /// Where it takes connections, or is found by those that hand them over.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.address).chain(self.additional_addresses.iter().copied())
    }

    /// Whether it is to be found under this address.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.addresses().any(|own| own == address)
    }
}

/// What its sockets are told. Another setting needs another socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketSettings {
    /// Connections that may wait to be accepted; `None` leaves it to the system.
    pub backlog: Option<u32>,
    /// Takes connections to addresses that are not this machine's (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// Binds an address that this machine does not have yet (`IP_FREEBIND`).
    pub freebind: bool,
    /// Whether workers share one socket rather than having one each.
    pub shared: bool,
    /// Whether `::` takes IPv4 too.
    pub ipv4_compat: bool,
    pub keepalive: Option<Keepalive>,
    pub options: Vec<SocketOption>,
}

/// `envoy.config.core.v3.TcpKeepalive`; what is not set is the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}

/// `envoy.config.core.v3.SocketOption`, as far as options are known by their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    KeepAlive(bool),
    KeepAliveTime(Duration),
    KeepAliveInterval(Duration),
    KeepAliveProbes(u32),
    UserTimeout(Duration),
    NoDelay(bool),
    ReceiveBuffer(usize),
    SendBuffer(usize),
    Mark(u32),
    Priority(u32),
    TypeOfService(u32),
    TrafficClass(u32),
    MaxSegment(u32),
}

/// `envoy.config.listener.v3.ListenerFilter`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerFilter {
    pub kind: ListenerFilterKind,
    /// Connections that the filter does not look at.
    pub disabled: Option<Predicate>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ListenerFilterKind {
    /// Learns where a redirected connection was meant to go.
    OriginalDst,
    ProxyProtocol(Arc<ProxyProtocol>),
    TlsInspector,
    HttpInspector,
}

/// `envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether a connection may come without a header.
    pub optional: bool,
    pub disallowed: Vec<crate::proxy_protocol::Version>,
    /// Which TLVs are kept, to be sent upstream.
    pub pass_through: TlvChoice,
}

/// `envoy.config.core.v3.ProxyProtocolPassThroughTLVs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlvChoice {
    #[default]
    None,
    All,
    Kinds(Vec<u8>),
}

impl TlvChoice {
    pub fn keeps(&self, kind: u8) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Kinds(kinds) => kinds.contains(&kind),
        }
    }
}

/// `envoy.config.listener.v3.ListenerFilterChainMatchPredicate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    Any,
    /// The port a connection was meant for: from, and below.
    DestinationPort(i32, i32),
    Not(Box<Predicate>),
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
}

impl Predicate {
    pub fn holds(&self, destination: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::DestinationPort(from, below) => (*from..*below).contains(&i32::from(destination.port())),
            Self::Not(inner) => !inner.holds(destination),
            Self::And(all) => all.iter().all(|one| one.holds(destination)),
            Self::Or(any) => any.iter().any(|one| one.holds(destination)),
        }
    }
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
    /// How long a TLS handshake may take; zero is for ever (`transport_socket_connect_timeout`, 15 s if not set).
    pub handshake_timeout: Duration,
    /// Filters that a connection passes first, in order.
    pub before: Vec<ConnectionFilter>,
    pub filter: NetworkFilter,
}

impl FilterChain {
    /// Whether the other has the same certificates by name, or others in their place, and is the same else.
    pub fn differs_in_certificates_alone(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => one.differs_in_certificates_alone(other),
            (None, None) => true,
            _ => false,
        };
        tls && Self { tls: other.tls.clone(), ..self.clone() } == *other
    }
}

/// All conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterChainMatch {
    pub destination_port: Option<u16>,
    pub prefix_ranges: Vec<IpNet>,
    /// Of the peer that a PROXY protocol header came from.
    pub direct_source_prefix_ranges: Vec<IpNet>,
    pub source_type: SourceType,
    pub source_prefix_ranges: Vec<IpNet>,
    pub source_ports: Vec<u16>,
    /// Lower case; exact, or `*.suffix`.
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
}

impl FilterChainMatch {
    /// Whether it asks for what only a ClientHello tells.
    pub fn needs_tls_inspector(&self) -> bool {
        match self.transport_protocol {
            Some(TransportProtocol::Tls) => true,
            Some(TransportProtocol::RawBuffer) => false,
            None => !self.server_names.is_empty() || !self.application_protocols.is_empty(),
        }
    }

    /// Whether some connection fits both equally well: they share a value in each of their conditions.
    pub fn overlaps(&self, other: &Self) -> bool {
        fn share<T: PartialEq>(one: &[T], other: &[T]) -> bool {
            (one.is_empty() && other.is_empty()) || one.iter().any(|value| other.contains(value))
        }
        self.destination_port == other.destination_port
            && self.transport_protocol == other.transport_protocol
            && self.source_type == other.source_type
            && share(&self.prefix_ranges, &other.prefix_ranges)
            && share(&self.direct_source_prefix_ranges, &other.direct_source_prefix_ranges)
            && share(&self.source_prefix_ranges, &other.source_prefix_ranges)
            && share(&self.source_ports, &other.source_ports)
            && share(&self.server_names, &other.server_names)
            && share(&self.application_protocols, &other.application_protocols)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
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
    /// The subset of the cluster; a weighted cluster has its own.
    pub metadata_match: Option<Arc<LbMetadata>>,
    /// Whether policies that hash take the client's address.
    pub hash_source_ip: bool,
    /// Zero disables (Envoy default 1 h).
    pub idle_timeout: Duration,
    /// How long a connection may last once it is connected upstream; zero is for ever.
    pub max_duration: Duration,
    /// At least 1.
    pub max_connect_attempts: u32,
    pub access_logs: Vec<AccessLog>,
    /// What is said of Istio's metrics; `None` where they are as they always are.
    pub metrics: Option<Arc<MetricRules>>,
}
