//! Listeners, filter chains, and the filters that are not HTTP.

use std::net::IpAddr;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use api::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use api::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use api::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use api::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use api::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use api::prost::Name;
use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};

use crate::node::Node;
use crate::telemetry;
use crate::visibility::View;
use crate::wire;

pub(crate) const RAW: &str = "raw_buffer";
pub(crate) const TLS: &str = "tls";

/// A listener on an address and port of its own.
pub(crate) fn listener(
    name: String,
    address: IpAddr,
    port: u16,
    direction: core::TrafficDirection,
    chains: Vec<listener::FilterChain>,
) -> listener::Listener {
    let inspects = chains.iter().any(|chain| chain.filter_chain_match.is_some());
    listener::Listener {
        name,
        address: Some(wire::socket_address(&address.to_string(), port)),
        filter_chains: chains,
        listener_filters: inspects.then(tls_inspector).into_iter().collect(),
        traffic_direction: direction as i32,
        ..Default::default()
    }
}

/// The same, handed its connections by the node proxy where there is one.
pub(crate) fn of_node(node: &Node, made: listener::Listener) -> listener::Listener {
    listener::Listener { bind_to_port: node.node_proxy_port.map(|_| false), ..made }
}

pub(crate) fn tls_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default())
}

/// Each connection begins with a header that says whose it is.
pub(crate) fn proxy_protocol() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.proxy_protocol", &ProxyProtocol::default())
}

pub(crate) fn http_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", &HttpInspector {})
}

/// Learns where a captured connection was meant to go.
pub(crate) fn original_dst() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", &OriginalDst {})
}

fn listener_filter<M: Name>(name: &str, config: &M) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.into(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(api::any(config))),
        ..Default::default()
    }
}

pub(crate) fn network_filter<M: Name>(name: &str, config: &M) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(api::any(config))),
    }
}

/// A chain for connections of one transport (`raw_buffer`, `tls`), and of these ALPN names if any.
pub(crate) fn chain_for(
    name: String,
    transport: &str,
    alpn: &[&str],
    filter: listener::Filter,
    socket: Option<core::TransportSocket>,
) -> listener::FilterChain {
    let matches = listener::FilterChainMatch {
        transport_protocol: transport.to_owned(),
        application_protocols: alpn.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    };
    listener::FilterChain {
        filter_chain_match: Some(matches),
        filters: vec![filter],
        transport_socket: socket,
        name,
        ..Default::default()
    }
}

/// A chain for every connection.
pub(crate) fn chain(name: String, filter: listener::Filter) -> listener::FilterChain {
    listener::FilterChain { filters: vec![filter], name, ..Default::default() }
}

/// The filter at the end of a chain that speaks no HTTP.
pub(crate) const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";

/// Forwards connections, of which the proxy is the server or not, to one cluster, or to several by weight.
pub(crate) fn tcp_proxy(
    view: &View<'_>,
    server: bool,
    stat_prefix: &str,
    mut clusters: Vec<(String, u32)>,
) -> listener::Filter {
    let specifier = if clusters.len() == 1 {
        ClusterSpecifier::Cluster(clusters.remove(0).0)
    } else {
        let weighted = clusters.into_iter().filter(|(_, weight)| *weight > 0);
        let clusters = weighted.map(|(name, weight)| ClusterWeight { name, weight, ..Default::default() });
        ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: clusters.collect() })
    };
    let proxy = tcp::TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        access_log: telemetry::access_logs(view, server),
        cluster_specifier: Some(specifier),
        ..Default::default()
    };
    network_filter(TCP_PROXY, &proxy)
}
