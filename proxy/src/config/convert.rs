//! From the wire to the model: one function for each kind of resource, one file for each subject.

mod access_log;
mod basics;
mod bootstrap;
mod circuit_breakers;
mod cluster;
mod endpoint;
mod filter_chain;
mod forward_proxy;
mod grpc_service;
mod hash_policy;
mod header_case;
mod health_check;
mod http2;
mod http_filter;
mod http_manager;
mod istio_stats;
mod lb_policy;
mod listener;
mod listener_filter;
mod log_filter;
mod matcher;
mod metadata;
mod mutation;
mod name_table;
mod network_filter;
mod otlp_log;
mod outlier_detection;
mod proxy_protocol;
mod rate_limit;
mod rbac;
mod reach;
mod redirect;
mod refers;
mod retry;
mod rewrite;
mod route;
mod route_match;
mod secret;
mod socket;
mod source;
mod subset;
mod tcp_proxy;
mod tls;
mod tls_parameters;
mod tls_validation;
mod tracing;
mod upstream_http;
mod watched;

pub use refers::{of_cluster, of_listener};
pub use watched::watched_directories;

use std::io;

use api::envoy::config::bootstrap::v3 as boot;
use api::envoy::config::{cluster::v3 as cds, endpoint::v3 as eds, listener::v3 as lds, route::v3 as rds};
use api::envoy::extensions::transport_sockets::tls::v3 as sds;
use api::istio::networking::nds::v1 as nds;
use api::prost::Message as _;
use bytes::Bytes;

use super::error::{At, ConfigError};
use super::{Bootstrap, Cluster, Listener, LoadAssignment, NameTable, Secret, strict};
use crate::route::RouteTable;

/// Reads a file that a data source names.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

/// All that an encoded bootstrap file holds. Files it names are read now; later changes of them are not seen. Fields
/// that are not supported are all told.
pub fn bootstrap(file: Bytes, read_file: ReadFile<'_>) -> Result<Bootstrap, Vec<ConfigError>> {
    let at = At::file();
    strict::check_all::<boot::Bootstrap>(&file, &at)?;
    let wire = boot::Bootstrap::decode(&*file).map_err(|error| vec![at.refuse("the file", error.to_string())])?;
    bootstrap::convert(&wire, file, &at, read_file).map_err(|error| vec![error])
}

/// Files are read now; later changes of them are not seen.
pub fn listener(wire: &lds::Listener, read_file: ReadFile<'_>) -> Result<Listener, ConfigError> {
    let at = At::root("listener");
    strict::check(wire, &at)?;
    listener::convert(wire, &at, read_file)
}

pub fn route_table(wire: &rds::RouteConfiguration) -> Result<RouteTable, ConfigError> {
    let at = At::root("route_config");
    strict::check(wire, &at)?;
    route::table(wire, &at)
}

/// Files are read now; later changes of them are not seen.
pub fn cluster(wire: &cds::Cluster, read_file: ReadFile<'_>) -> Result<Cluster, ConfigError> {
    let at = At::root("cluster");
    strict::check(wire, &at)?;
    cluster::convert(wire, &at, read_file)
}

pub fn load_assignment(wire: &eds::ClusterLoadAssignment) -> Result<LoadAssignment, ConfigError> {
    let at = At::root("load_assignment");
    strict::check(wire, &at)?;
    endpoint::convert(wire, &at)
}

/// Files are read now; later changes of them are not seen.
pub fn secret(wire: &sds::Secret, read_file: ReadFile<'_>) -> Result<Secret, ConfigError> {
    let at = At::root("secret");
    strict::check(wire, &at)?;
    secret::convert(wire, &at, read_file)
}

/// No message of Envoy's: every field of it is honoured.
pub fn name_table(wire: &nds::NameTable) -> Result<NameTable, ConfigError> {
    name_table::convert(wire, &At::root("name_table"))
}

#[cfg(test)]
pub fn rbac_rules(wire: &api::envoy::config::rbac::v3::Rbac) -> Result<crate::rbac::Rules, ConfigError> {
    let at = At::root("rules");
    strict::check(wire, &at)?;
    rbac::rules(wire, &at)
}

#[cfg(test)]
mod tests;
