//! Filter chains: what they match and the filter that ends them.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::CidrRange;
use api::envoy::config::listener::v3 as wire;
use api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use api::prost_types::Any;
use ipnet::IpNet;
use wire::filter::ConfigType;
use wire::filter_chain_match::ConnectionSourceType;

use super::{ReadFile, basics, http_manager, istio_stats, network_filter, tcp_proxy, tls};
use crate::config::error::{At, ConfigError};
use crate::config::{FilterChain, FilterChainMatch, NetworkFilter, SourceType, TransportProtocol};
use crate::network_filter::ConnectionFilter;
use crate::stats::MetricRules;

pub(super) fn convert(
    wire: &wire::FilterChain,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Arc<FilterChain>, ConfigError> {
    let matches = wire.filter_chain_match.as_ref();
    let matches = matches.map(|matches| conditions(matches, &at.field("filter_chain_match"))).transpose()?;
    let (before, filter) = filters(&wire.filters, &at.field("filters"), read_file)?;
    Ok(Arc::new(FilterChain {
        name: wire.name.clone(),
        matches: matches.unwrap_or_default(),
        tls: tls::downstream(wire.transport_socket.as_ref(), &at.field("transport_socket"), read_file)?,
        handshake_timeout: basics::duration(
            wire.transport_socket_connect_timeout.as_ref(),
            Duration::from_secs(15),
            &at.field("transport_socket_connect_timeout"),
        )?,
        before,
        filter,
    }))
}

fn conditions(wire: &wire::FilterChainMatch, at: &At<'_>) -> Result<FilterChainMatch, ConfigError> {
    let destination = at.field("destination_port");
    let sources = at.field("source_ports");
    let source_ports = wire.source_ports.iter().enumerate();
    let source_ports = source_ports.map(|(index, port)| basics::port(*port, &sources.index(index)));
    Ok(FilterChainMatch {
        destination_port: wire.destination_port.map(|port| basics::port(port, &destination)).transpose()?,
        prefix_ranges: ranges(&wire.prefix_ranges, &at.field("prefix_ranges"))?,
        direct_source_prefix_ranges: ranges(
            &wire.direct_source_prefix_ranges,
            &at.field("direct_source_prefix_ranges"),
        )?,
        source_type: source_type(wire.source_type, &at.field("source_type"))?,
        source_prefix_ranges: ranges(&wire.source_prefix_ranges, &at.field("source_prefix_ranges"))?,
        source_ports: source_ports.collect::<Result<_, _>>()?,
        server_names: server_names(&wire.server_names, &at.field("server_names"))?,
        transport_protocol: match wire.transport_protocol.as_str() {
            "" => None,
            "raw_buffer" => Some(TransportProtocol::RawBuffer),
            "tls" => Some(TransportProtocol::Tls),
            other => return Err(at.field("transport_protocol").refuse(other, "is `raw_buffer` or `tls`")),
        },
        application_protocols: wire.application_protocols.clone(),
    })
}

fn source_type(wire: i32, at: &At<'_>) -> Result<SourceType, ConfigError> {
    match ConnectionSourceType::try_from(wire) {
        Ok(ConnectionSourceType::Any) => Ok(SourceType::Any),
        Ok(ConnectionSourceType::SameIpOrLoopback) => Ok(SourceType::SameIpOrLoopback),
        Ok(ConnectionSourceType::External) => Ok(SourceType::External),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}

/// Two chains that could take the same connection with equal right are refused, as Envoy refuses them.
pub(super) fn check_overlap(chains: &[Arc<FilterChain>], at: &At<'_>) -> Result<(), ConfigError> {
    for (index, chain) in chains.iter().enumerate() {
        if let Some(other) = chains[..index].iter().position(|other| other.matches.overlaps(&chain.matches)) {
            let at = at.index(index);
            return Err(at.field("filter_chain_match").refuse(
                format_args!("{:?}", chain.name),
                format!("chain {other} has the same match, so it could never be told which of them takes a connection"),
            ));
        }
    }
    Ok(())
}

fn server_names(wire: &[String], at: &At<'_>) -> Result<Vec<String>, ConfigError> {
    let one = |(index, name): (usize, &String)| {
        if name.strip_prefix("*.").unwrap_or(name).contains('*') {
            return Err(at.index(index).refuse(name, "a wildcard is the first label"));
        }
        Ok(name.to_ascii_lowercase())
    };
    wire.iter().enumerate().map(one).collect()
}

fn ranges(wire: &[CidrRange], at: &At<'_>) -> Result<Vec<IpNet>, ConfigError> {
    wire.iter().enumerate().map(|(index, range)| basics::range(range, &at.index(index))).collect()
}

/// The filters of a chain: the last one ends it.
fn filters(
    wire: &[wire::Filter],
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<(Vec<ConnectionFilter>, NetworkFilter), ConfigError> {
    let (wire, metrics) = istio_stats::extract(wire, at, |filter| match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    })?;
    let Some((last, before)) = wire.split_last() else {
        return Err(at.refuse("no filter", "a chain has a filter that ends it"));
    };
    let before = before.iter().enumerate().map(|(index, one)| {
        let at = at.index(index);
        let typed = at.field("typed_config");
        let filter = network_filter::convert(config(one, &typed)?, &typed)?;
        filter.ok_or_else(|| at.refuse(&one.name, "this network filter is not supported before the last one"))
    });
    Ok((before.collect::<Result<_, _>>()?, end(last, metrics, &at.index(wire.len() - 1), read_file)?))
}

fn config<'a>(wire: &'a wire::Filter, at: &At<'_>) -> Result<&'a Any, ConfigError> {
    match &wire.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any),
        _ => Err(at.missing()),
    }
}

fn end(
    wire: &wire::Filter,
    metrics: Option<Arc<MetricRules>>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<NetworkFilter, ConfigError> {
    let typed = at.field("typed_config");
    let any = config(wire, &typed)?;
    if basics::is_a::<HttpConnectionManager>(any) {
        http_manager::convert(&basics::unpack(any, &typed)?, &typed, read_file)
            .map(|m| NetworkFilter::Http(Arc::new(m)))
    } else if basics::is_a::<api::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy>(any) {
        let proxy = tcp_proxy::convert(&basics::unpack(any, &typed)?, metrics, &typed)?;
        Ok(NetworkFilter::Tcp(Arc::new(proxy)))
    } else {
        Err(at.refuse(&wire.name, "this network filter cannot end a chain"))
    }
}
