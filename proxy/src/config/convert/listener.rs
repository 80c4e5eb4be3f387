//! Listeners.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as wire;
use core::TrafficDirection;

use super::{ReadFile, access_log, basics, filter_chain, listener_filter, socket};
use crate::config::error::{At, ConfigError};
use crate::config::{Direction, EndpointAddress, FilterChain, Listener, ListenerFilter, ListenerFilterKind};

pub(super) fn convert(wire: &wire::Listener, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Listener, ConfigError> {
    let chains = at.field("filter_chains");
    let filter_chains = wire.filter_chains.iter().enumerate();
    let filter_chains =
        filter_chains.map(|(index, chain)| filter_chain::convert(chain, &chains.index(index), read_file));
    let filter_chains = filter_chains.collect::<Result<Vec<_>, _>>()?;
    filter_chain::check_overlap(&filter_chains, &chains)?;
    let default = at.field("default_filter_chain");
    let default = wire.default_filter_chain.as_ref().map(|chain| filter_chain::convert(chain, &default, read_file));
    let default_filter_chain = default.transpose()?;
    if filter_chains.is_empty() && default_filter_chain.is_none() {
        return Err(chains.refuse("none", "a listener needs a filter chain"));
    }
    let (address, ipv4_compat) = address(wire.address.as_ref(), &at.field("address"))?;
    let mut filters = listener_filter::convert_all(&wire.listener_filters, &at.field("listener_filters"))?;
    add_tls_inspector(&filter_chains, &mut filters);
    Ok(Listener {
        name: wire.name.clone(),
        address,
        additional_addresses: additional_addresses(wire, ipv4_compat, &at.field("additional_addresses"))?,
        binds: binds(wire),
        socket: socket::convert(wire, ipv4_compat, at)?,
        use_original_dst: wire.use_original_dst == Some(true),
        direction: direction(wire.traffic_direction, &at.field("traffic_direction"))?,
        filter_chains,
        default_filter_chain,
        filters,
        listener_filters_timeout: basics::duration(
            wire.listener_filters_timeout.as_ref(),
            Duration::from_secs(15),
            &at.field("listener_filters_timeout"),
        )?,
        continue_on_listener_filters_timeout: wire.continue_on_listener_filters_timeout,
        access_logs: access_log::convert_all(&wire.access_log, &at.field("access_log"))?,
        accepts_at_a_time: match wire.max_connections_to_accept_per_socket_event {
            Some(0) => return Err(at.field("max_connections_to_accept_per_socket_event").refuse(0, "is at least 1")),
            limit => limit,
        },
        buffer_limit: wire.per_connection_buffer_limit_bytes.map_or(1 << 20, |limit| limit as usize),
        ignores_global_limit: wire.ignore_global_conn_limit,
    })
}

/// The older form of the field says the same.
#[expect(deprecated, reason = "control planes in use still send this field")]
fn binds(wire: &wire::Listener) -> bool {
    let older = wire.deprecated_v1.as_ref().and_then(|older| older.bind_to_port);
    wire.bind_to_port.or(older) != Some(false)
}

/// The address, and whether `::` is to take IPv4 too.
fn address(wire: Option<&core::Address>, at: &At<'_>) -> Result<(SocketAddr, bool), ConfigError> {
    let address = match basics::address(wire, at)? {
        EndpointAddress::Socket(address) => address,
        other => return Err(at.refuse(format_args!("{other:?}"), "a listener binds an IP address")),
    };
    let compat = match wire.and_then(|wire| wire.address.as_ref()) {
        Some(core::address::Address::SocketAddress(socket)) => socket.ipv4_compat,
        _ => false,
    };
    let any = matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified() || ip.to_ipv4_mapped().is_some());
    if compat && !any {
        let at = at.field("socket_address");
        return Err(at.field("ipv4_compat").refuse(address, "is for `::` and for IPv4 written as IPv6"));
    }
    Ok((address, compat))
}

fn additional_addresses(wire: &wire::Listener, ipv4_compat: bool, at: &At<'_>) -> Result<Vec<SocketAddr>, ConfigError> {
    let one = |(index, more): (usize, &wire::AdditionalAddress)| {
        let at = at.index(index);
        let at = at.field("address");
        let (address, compat) = address(more.address.as_ref(), &at)?;
        if address.is_ipv6() && compat != ipv4_compat {
            return Err(at.field("ipv4_compat").refuse(compat, "is the same for all addresses of a listener"));
        }
        Ok(address)
    };
    wire.additional_addresses.iter().enumerate().map(one).collect()
}

fn direction(wire: i32, at: &At<'_>) -> Result<Direction, ConfigError> {
    match TrafficDirection::try_from(wire) {
        Ok(TrafficDirection::Unspecified) => Ok(Direction::Unspecified),
        Ok(TrafficDirection::Inbound) => Ok(Direction::Inbound),
        Ok(TrafficDirection::Outbound) => Ok(Direction::Outbound),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}

/// Chains that ask for what only a ClientHello tells get its inspector, as Envoy gives it to them.
fn add_tls_inspector(chains: &[std::sync::Arc<FilterChain>], filters: &mut Vec<ListenerFilter>) {
    let has = filters.iter().any(|filter| filter.kind == ListenerFilterKind::TlsInspector);
    if !has && chains.iter().any(|chain| chain.matches.needs_tls_inspector()) {
        filters.push(ListenerFilter { kind: ListenerFilterKind::TlsInspector, disabled: None });
    }
}
