//! Where a route leads: the cluster, what is known of its endpoints, and whether they are reached by mutual TLS.

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::config::endpoint::v3 as endpoint;
use api::prost::Message as _;
use api::prost_types::value;
use pilot::Snapshot;
use serde::Serialize;
use utoipa::ToSchema;

use crate::proxies::inside::{Policy, object_of, shown, split};

/// One of the clusters that a route leads to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Target {
    pub cluster: String,
    /// Its share of the requests: 0 to 1.
    pub share: f64,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Empty for the whole service.
    pub subset: Option<String>,
    /// How one of its endpoints is chosen.
    pub load_balancer: Option<String>,
    /// Whether its endpoints are reached by mutual TLS: `always`, `where offered`, `tls` (one-sided) or `never`
    pub mtls: &'static str,
    /// The DestinationRule that shaped it.
    pub policy: Option<Policy>,
    /// Those that the caller's proxy was told of; unknown where it resolves names itself.
    pub endpoints: Option<Vec<Reached>>,
}

/// An endpoint, as the caller's proxy was told of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reached {
    pub address: String,
    /// `healthy`, `unhealthy`, `draining` or `unknown`
    pub health: &'static str,
    pub weight: u32,
    /// `region/zone/subzone`
    pub locality: String,
    /// Those of priority 0 are used while enough of them are healthy.
    pub priority: u32,
    pub mtls: bool,
}

impl Target {
    pub fn of(snapshot: &Snapshot, name: &str, share: f64) -> Self {
        let found = snapshot.clusters.get(name);
        let cluster = found.and_then(|found| cluster::Cluster::decode(found.any.value.as_slice()).ok());
        let parts = split(name).filter(|[direction, ..]| *direction == "outbound");
        let made = cluster.as_ref().and_then(|cluster| object_of(cluster.metadata.as_ref()));
        let policy = made.and_then(|made| shown([(made, [format!("cluster {name}")].into())].into()).pop());
        Self {
            cluster: name.to_owned(),
            share,
            host: parts.map(|[.., host]| host.to_owned()),
            port: parts.and_then(|[_, port, ..]| port.parse().ok()),
            subset: parts.map(|[_, _, subset, _]| subset.to_owned()),
            load_balancer: cluster.as_ref().map(load_balancer),
            mtls: cluster.as_ref().map_or("never", mtls),
            policy,
            endpoints: endpoints(snapshot, name),
        }
    }
}

/// Where a cluster sends requests that is for whatever is outside the mesh.
pub fn outside(snapshot: &Snapshot, cluster: &str) -> Option<&'static str> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    const ORIGINAL: i32 = DiscoveryType::OriginalDst as i32;
    let resource = snapshot.clusters.get(cluster)?;
    match cluster::Cluster::decode(resource.any.value.as_slice()).ok()?.cluster_discovery_type? {
        ClusterDiscoveryType::ClusterType(_) => {
            Some("outside the mesh, resolved by name: the caller's own proxy looks the host up")
        }
        ClusterDiscoveryType::Type(ORIGINAL) => Some("outside the mesh, at the address that the caller dialled"),
        ClusterDiscoveryType::Type(_) => None,
    }
}

/// The endpoints of a cluster that its proxy was told of.
pub fn endpoints(snapshot: &Snapshot, cluster: &str) -> Option<Vec<Reached>> {
    let resource = snapshot.endpoints.get(cluster)?;
    let told = endpoint::ClusterLoadAssignment::decode(resource.any.value.as_slice()).ok()?;
    let localities = told.endpoints.iter();
    Some(localities.flat_map(|place| place.lb_endpoints.iter().map(|each| reached(place, each))).collect())
}

fn reached(place: &endpoint::LocalityLbEndpoints, each: &endpoint::LbEndpoint) -> Reached {
    use core::HealthStatus;
    let address = match &each.host_identifier {
        Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref().map(written),
        _ => None,
    };
    let locality = place.locality.clone().unwrap_or_default();
    let parts = [locality.region, locality.zone, locality.sub_zone];
    Reached {
        address: address.unwrap_or_default(),
        health: match each.health_status() {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy | HealthStatus::Timeout => "unhealthy",
            HealthStatus::Draining | HealthStatus::Degraded => "draining",
            // What is sent without a status is taken for healthy.
            HealthStatus::Unknown => "healthy",
        },
        weight: each.load_balancing_weight.unwrap_or(1),
        locality: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
        priority: place.priority,
        mtls: takes_mtls(each.metadata.as_ref()),
    }
}

fn written(address: &core::Address) -> String {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    match &address.address {
        Some(Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) if socket.address.contains(':') => {
                format!("[{}]:{port}", socket.address)
            }
            Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => socket.address.clone(),
        },
        Some(Address::Pipe(pipe)) => format!("unix:{}", pipe.path),
        _ => String::new(),
    }
}

fn takes_mtls(metadata: Option<&core::Metadata>) -> bool {
    let fields = metadata.and_then(|metadata| metadata.filter_metadata.get("envoy.transport_socket_match"));
    let mode = fields.and_then(|fields| fields.fields.get("tlsMode")).and_then(|mode| mode.kind.as_ref());
    matches!(mode, Some(value::Kind::StringValue(mode)) if mode == "istio")
}

fn mtls(cluster: &cluster::Cluster) -> &'static str {
    use api::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
    use core::transport_socket::ConfigType;
    if !cluster.transport_socket_matches.is_empty() {
        return "where offered";
    }
    let Some(ConfigType::TypedConfig(config)) =
        cluster.transport_socket.as_ref().and_then(|socket| socket.config_type.as_ref())
    else {
        return "never";
    };
    let context = UpstreamTlsContext::decode(config.value.as_slice()).unwrap_or_default();
    let common = context.common_tls_context.unwrap_or_default();
    let own = !common.tls_certificate_sds_secret_configs.is_empty() || !common.tls_certificates.is_empty();
    if own { "always" } else { "tls" }
}

fn load_balancer(cluster: &cluster::Cluster) -> String {
    cluster.lb_policy().as_str_name().to_lowercase().replace('_', " ")
}
