//! Listeners.

use std::net::SocketAddr;
use std::time::Duration;

use api::envoy::config::core::v3::TrafficDirection;
use api::envoy::config::listener::v3 as wire;
use api::envoy::extensions::filters::listener::{http_inspector::v3::HttpInspector, tls_inspector::v3::TlsInspector};
use wire::listener_filter::ConfigType;

use super::{ReadFile, access_log, basics, filter_chain};
use crate::config::error::{At, ConfigError};
use crate::config::{Direction, EndpointAddress, Listener};

pub(super) fn convert(wire: &wire::Listener, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Listener, ConfigError> {
    let chains = at.field("filter_chains");
    let filter_chains = wire.filter_chains.iter().enumerate();
    let filter_chains =
        filter_chains.map(|(index, chain)| filter_chain::convert(chain, &chains.index(index), read_file));
    let filter_chains = filter_chains.collect::<Result<Vec<_>, _>>()?;
    let default = at.field("default_filter_chain");
    let default = wire.default_filter_chain.as_ref().map(|chain| filter_chain::convert(chain, &default, read_file));
    let default_filter_chain = default.transpose()?;
    if filter_chains.is_empty() && default_filter_chain.is_none() {
        return Err(chains.refuse("none", "a listener needs a filter chain"));
    }
    let mut listener = Listener {
        name: wire.name.clone(),
        address: address(wire, &at.field("address"))?,
        direction: direction(wire.traffic_direction, &at.field("traffic_direction"))?,
        filter_chains,
        default_filter_chain,
        tls_inspector: false,
        http_inspector: false,
        listener_filters_timeout: basics::duration(
            wire.listener_filters_timeout.as_ref(),
            Duration::from_secs(15),
            &at.field("listener_filters_timeout"),
        )?,
        continue_on_listener_filters_timeout: wire.continue_on_listener_filters_timeout,
        access_logs: access_log::convert_all(&wire.access_log, &at.field("access_log"))?,
        backlog: wire.tcp_backlog_size,
    };
    inspectors(wire, at, &mut listener)?;
    Ok(listener)
}

fn address(wire: &wire::Listener, at: &At<'_>) -> Result<SocketAddr, ConfigError> {
    match basics::address(wire.address.as_ref(), at)? {
        EndpointAddress::Socket(address) => Ok(address),
        other => Err(at.refuse(format_args!("{other:?}"), "a listener binds an IP address")),
    }
}

fn direction(wire: i32, at: &At<'_>) -> Result<Direction, ConfigError> {
    match TrafficDirection::try_from(wire) {
        Ok(TrafficDirection::Unspecified) => Ok(Direction::Unspecified),
        Ok(TrafficDirection::Inbound) => Ok(Direction::Inbound),
        Ok(TrafficDirection::Outbound) => Ok(Direction::Outbound),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}

fn inspectors(wire: &wire::Listener, at: &At<'_>, listener: &mut Listener) -> Result<(), ConfigError> {
    let at = at.field("listener_filters");
    for (index, filter) in wire.listener_filters.iter().enumerate() {
        let at = at.index(index);
        match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) if basics::is_a::<TlsInspector>(any) => listener.tls_inspector = true,
            Some(ConfigType::TypedConfig(any)) if basics::is_a::<HttpInspector>(any) => listener.http_inspector = true,
            _ => return Err(at.refuse(&filter.name, "this listener filter is not supported")),
        }
    }
    Ok(())
}
