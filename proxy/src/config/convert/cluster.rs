//! Clusters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::cluster::v3 as wire;
use api::envoy::config::core::v3::socket_address::PortSpecifier;
use wire::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbConfig};

use super::{
    ReadFile, basics, circuit_breakers, endpoint, forward_proxy, health_check, lb_policy, metadata, outlier_detection,
    proxy_protocol, reach, socket, source, subset, tls, upstream_http,
};
use crate::config::error::{At, ConfigError};
use crate::config::{
    Cluster, Discovery, DnsFamily, EndpointAddress, LoadAssignment, OriginalDst, TransportSocketMatch,
};

pub(super) fn convert(wire: &wire::Cluster, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Cluster, ConfigError> {
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let mut http = upstream_http::convert(&wire.typed_extension_protocol_options, at)?;
    let timeout = at.field("connect_timeout");
    let breakers = circuit_breakers::convert(wire, &at.field("circuit_breakers"))?;
    let (lb_policy, locality_weighted) = lb_policy::convert(wire, at)?;
    let options = wire.upstream_connection_options.as_ref();
    let common = wire.common_lb_config.as_ref();
    let panic = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    let socket = proxy_protocol::unwrap(wire.transport_socket.as_ref(), &at.field("transport_socket"))?;
    let tls = tls::upstream(socket.inner.as_ref(), &socket.at(&at.field("transport_socket")), read_file)?;
    let secure = tls.is_some() || !wire.transport_socket_matches.is_empty();
    Ok(Cluster {
        name: wire.name.clone(),
        discovery: match &wire.cluster_discovery_type {
            Some(ClusterDiscoveryType::ClusterType(custom)) => {
                forward_proxy::cluster(custom, wire, secure.then_some(&mut http), at)?
            }
            _ => discovery(wire, at)?,
        },
        lb_policy,
        subsets: subset::convert(wire.lb_subset_config.as_ref(), &at.field("lb_subset_config"))?,
        connect_timeout: basics::duration(wire.connect_timeout.as_ref(), Duration::from_secs(5), &timeout)?,
        protocol: http.protocol,
        tls: tls.map(|tls| if http.auto_san_validation { tls::by_server_name(&tls) } else { tls }),
        auto_sni: http.auto_sni,
        proxy_protocol: socket.settings,
        transport_socket_matches: socket_matches(wire, &at.field("transport_socket_matches"), read_file)?,
        circuit_breakers: breakers.default,
        high_circuit_breakers: breakers.high,
        outlier_detection: outlier_detection::convert(wire.outlier_detection.as_ref(), &at.field("outlier_detection"))?,
        health_check: health_check::convert(&wire.health_checks, &at.field("health_checks"))?,
        ignore_unchecked_hosts: common.is_some_and(|common| common.ignore_new_hosts_until_first_hc),
        close_on_host_change: common.is_some_and(|common| common.close_connections_on_host_set_change),
        idle_timeout: http.idle_timeout,
        max_requests_per_connection: max_requests(wire, http.max_requests_per_connection),
        http2: http.http2,
        proper_case: http.proper_case,
        max_connection_duration: http.max_connection_duration,
        tcp_keepalive: options.and_then(|options| options.tcp_keepalive.as_ref()).map(socket::keepalive),
        source_address: source_address(wire, &at.field("upstream_bind_config"))?,
        panic_threshold: panic.map_or(50.0, |percent| percent.value).clamp(0.0, 100.0),
        locality_weighted,
        dns_refresh_rate: dns_refresh_rate(wire, at)?,
        dns_family: dns_family(wire.dns_lookup_family, &at.field("dns_lookup_family"))?,
        reach: reach::convert(wire.metadata.as_ref(), &at.field("metadata"))?,
        service: metadata::service(wire.metadata.as_ref()),
    })
}

fn discovery(wire: &wire::Cluster, at: &At<'_>) -> Result<Discovery, ConfigError> {
    let kind = match wire.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => kind,
        _ => DiscoveryType::Static as i32,
    };
    match DiscoveryType::try_from(kind) {
        Ok(DiscoveryType::Static) => Ok(Discovery::Static(addresses(assignment(wire, at)?, at)?)),
        Ok(DiscoveryType::StrictDns) => Ok(Discovery::StrictDns(assignment(wire, at)?)),
        Ok(DiscoveryType::LogicalDns) => Ok(Discovery::LogicalDns(single(assignment(wire, at)?, at)?)),
        Ok(DiscoveryType::Eds) => eds(wire, &at.field("eds_cluster_config")),
        Ok(DiscoveryType::OriginalDst) => original_dst(wire, at).map(Discovery::OriginalDst),
        Err(_) => Err(at.field("type").refuse(kind, "is not known")),
    }
}

fn original_dst(wire: &wire::Cluster, at: &At<'_>) -> Result<OriginalDst, ConfigError> {
    if wire.load_assignment.is_some() {
        return Err(at.field("load_assignment").refuse("set", "an ORIGINAL_DST cluster has no endpoints of its own"));
    }
    let Some(LbConfig::OriginalDstLbConfig(config)) = &wire.lb_config else { return Ok(OriginalDst::default()) };
    let at = at.field("original_dst_lb_config");
    let name = match config.http_header_name.as_str() {
        "" => "x-envoy-original-dst-host".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    let port_at = at.field("upstream_port_override");
    let port = config.upstream_port_override.map(|port| basics::port(port, &port_at)).transpose()?;
    Ok(OriginalDst { header: config.use_http_header.then_some(name), port: port.filter(|port| *port > 0) })
}

/// Names would never be looked up.
fn addresses(assignment: Arc<LoadAssignment>, at: &At<'_>) -> Result<Arc<LoadAssignment>, ConfigError> {
    let at = at.field("load_assignment");
    let at = at.field("endpoints");
    for (group, locality) in assignment.localities.iter().enumerate() {
        for (index, endpoint) in locality.endpoints.iter().enumerate() {
            if let EndpointAddress::Name(name, _) = &endpoint.address {
                let at = at.index(group);
                let at = at.field("lb_endpoints");
                let at = at.index(index);
                let at = at.field("endpoint");
                let rule = "a STATIC cluster has IP addresses; for names set the type to STRICT_DNS or LOGICAL_DNS";
                return Err(at.field("address").refuse(name, rule));
            }
        }
    }
    Ok(assignment)
}

/// All addresses of the one name are one host.
fn single(assignment: Arc<LoadAssignment>, at: &At<'_>) -> Result<Arc<LoadAssignment>, ConfigError> {
    let endpoints: usize = assignment.localities.iter().map(|locality| locality.endpoints.len()).sum();
    if endpoints == 1 {
        return Ok(assignment);
    }
    let at = at.field("load_assignment");
    let at = at.field("endpoints");
    Err(at.refuse(
        format_args!("{endpoints} endpoints"),
        "a LOGICAL_DNS cluster has exactly one; STRICT_DNS takes several",
    ))
}

fn assignment(wire: &wire::Cluster, at: &At<'_>) -> Result<Arc<LoadAssignment>, ConfigError> {
    let at = at.field("load_assignment");
    let assignment = wire.load_assignment.as_ref().ok_or_else(|| at.missing())?;
    endpoint::convert(assignment, &at).map(Arc::new)
}

/// Names are looked up at this rate whatever their time to live.
#[expect(deprecated, reason = "control planes in use still send this field")]
fn dns_refresh_rate(wire: &wire::Cluster, at: &At<'_>) -> Result<Duration, ConfigError> {
    basics::duration(wire.dns_refresh_rate.as_ref(), Duration::from_secs(5), &at.field("dns_refresh_rate"))
}

pub(super) fn dns_family(wire: i32, at: &At<'_>) -> Result<DnsFamily, ConfigError> {
    match DnsLookupFamily::try_from(wire) {
        Ok(DnsLookupFamily::Auto) => Ok(DnsFamily::V6OrV4),
        Ok(DnsLookupFamily::V4Preferred) => Ok(DnsFamily::V4OrV6),
        Ok(DnsLookupFamily::V4Only) => Ok(DnsFamily::V4),
        Ok(DnsLookupFamily::V6Only) => Ok(DnsFamily::V6),
        Ok(DnsLookupFamily::All) => Ok(DnsFamily::All),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}

/// The protocol's options say it, and where they do not, the old field.
#[expect(deprecated, reason = "control planes in use still send this field")]
fn max_requests(wire: &wire::Cluster, of_options: Option<u32>) -> u32 {
    of_options.or(wire.max_requests_per_connection).unwrap_or(0)
}

fn eds(wire: &wire::Cluster, at: &At<'_>) -> Result<Discovery, ConfigError> {
    let config = wire.eds_cluster_config.as_ref().ok_or_else(|| at.missing())?;
    source::convert(config.eds_config.as_ref(), &at.field("eds_config"))?;
    let name = if config.service_name.is_empty() { &wire.name } else { &config.service_name };
    Ok(Discovery::Eds { service_name: name.clone() })
}

fn socket_matches(
    wire: &wire::Cluster,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Vec<TransportSocketMatch>, ConfigError> {
    let one = |(index, wire): (usize, &wire::cluster::TransportSocketMatch)| {
        let at = at.index(index);
        Ok(TransportSocketMatch {
            name: wire.name.clone(),
            labels: wire.r#match.as_ref().map(metadata::labels_of).unwrap_or_default(),
            tls: tls::upstream(wire.transport_socket.as_ref(), &at.field("transport_socket"), read_file)?,
        })
    };
    wire.transport_socket_matches.iter().enumerate().map(one).collect()
}

fn source_address(wire: &wire::Cluster, at: &At<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(source) = wire.upstream_bind_config.as_ref().and_then(|config| config.source_address.as_ref()) else {
        return Ok(None);
    };
    let at = at.field("source_address");
    let port = match source.port_specifier {
        Some(PortSpecifier::PortValue(port)) => basics::port(port, &at.field("port_value"))?,
        Some(PortSpecifier::NamedPort(_)) => return Err(at.field("named_port").refuse("set", "is not supported")),
        None => 0,
    };
    match source.address.parse() {
        Ok(ip) => Ok(Some(SocketAddr::new(ip, port))),
        Err(_) => Err(at.field("address").refuse(&source.address, "is an IP address")),
    }
}
