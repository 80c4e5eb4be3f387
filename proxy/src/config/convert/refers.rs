//! What listeners and clusters refer to, and where that comes from: endpoints, route tables, secrets.

use api::envoy::config::cluster::v3 as cds;
use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as lds;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::extensions::transport_sockets::tls::v3 as tls;
use core::transport_socket::ConfigType as SocketConfig;
use http::http_connection_manager::RouteSpecifier;
use lds::filter::ConfigType;
use tls::common_tls_context::ValidationContextType;

use super::{basics, source};
use crate::config::error::{At, ConfigError};
use crate::config::{Reference, ResourceKind};

/// What a cluster refers to. It has been converted before, so that nothing in it is new.
pub fn of_cluster(wire: &cds::Cluster) -> Result<Vec<Reference>, ConfigError> {
    let at = At::root("cluster");
    let mut found = Vec::new();
    if let Some(eds) = &wire.eds_cluster_config
        && wire.cluster_discovery_type == Some(cds::cluster::ClusterDiscoveryType::Type(EDS))
    {
        let name = if eds.service_name.is_empty() { &wire.name } else { &eds.service_name };
        found.push(reference(ResourceKind::Endpoint, name, eds.eds_config.as_ref(), &at)?);
    }
    let matched = wire.transport_socket_matches.iter().filter_map(|matched| matched.transport_socket.as_ref());
    for socket in wire.transport_socket.iter().chain(matched) {
        socket_secrets(socket, &mut found, &at)?;
    }
    Ok(found)
}

const EDS: i32 = cds::cluster::DiscoveryType::Eds as i32;

/// What a listener refers to.
pub fn of_listener(wire: &lds::Listener) -> Result<Vec<Reference>, ConfigError> {
    let at = At::root("listener");
    let mut found = Vec::new();
    for chain in wire.filter_chains.iter().chain(&wire.default_filter_chain) {
        if let Some(socket) = &chain.transport_socket {
            socket_secrets(socket, &mut found, &at)?;
        }
        for filter in &chain.filters {
            if let Some(ConfigType::TypedConfig(any)) = &filter.config_type
                && basics::is_a::<http::HttpConnectionManager>(any)
                && let Some(RouteSpecifier::Rds(rds)) =
                    basics::unpack::<http::HttpConnectionManager>(any, &at)?.route_specifier
            {
                let name = &rds.route_config_name;
                found.push(reference(ResourceKind::Route, name, rds.config_source.as_ref(), &at)?);
            }
        }
    }
    Ok(found)
}

fn reference(
    kind: ResourceKind,
    name: &str,
    wire: Option<&core::ConfigSource>,
    at: &At<'_>,
) -> Result<Reference, ConfigError> {
    let source = wire.map(|wire| source::convert(Some(wire), at)).transpose()?;
    Ok(Reference { kind, name: name.to_owned(), source })
}

fn socket_secrets(socket: &core::TransportSocket, found: &mut Vec<Reference>, at: &At<'_>) -> Result<(), ConfigError> {
    let Some(SocketConfig::TypedConfig(any)) = &socket.config_type else { return Ok(()) };
    let context = if basics::is_a::<tls::DownstreamTlsContext>(any) {
        basics::unpack::<tls::DownstreamTlsContext>(any, at)?.common_tls_context
    } else if basics::is_a::<tls::UpstreamTlsContext>(any) {
        basics::unpack::<tls::UpstreamTlsContext>(any, at)?.common_tls_context
    } else {
        None
    };
    let Some(context) = context else { return Ok(()) };
    let validation = match &context.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => Some(config),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined.validation_context_sds_secret_config.as_ref()
        }
        _ => None,
    };
    for config in context.tls_certificate_sds_secret_configs.iter().chain(validation) {
        found.push(reference(ResourceKind::Secret, &config.name, config.sds_config.as_ref(), at)?);
    }
    Ok(())
}
