//! Load assignments.

use std::sync::Arc;

use api::envoy::config::core::v3::HealthStatus as WireHealth;
use api::envoy::config::endpoint::v3 as wire;
use wire::lb_endpoint::HostIdentifier;

use super::{basics, metadata};
use crate::config::error::{At, ConfigError};
use crate::config::{CheckTarget, Endpoint, EndpointAddress, HealthStatus, LoadAssignment, LocalityEndpoints};

pub(super) fn convert(wire: &wire::ClusterLoadAssignment, at: &At<'_>) -> Result<LoadAssignment, ConfigError> {
    let factor = wire.policy.as_ref().and_then(|policy| policy.overprovisioning_factor);
    if factor == Some(0) {
        return Err(at.field("policy").field("overprovisioning_factor").refuse(0, "is more than 0"));
    }
    let at = at.field("endpoints");
    let localities = wire.endpoints.iter().enumerate().map(|(index, group)| locality(group, &at.index(index)));
    let localities = localities.collect::<Result<_, _>>()?;
    let cluster_name = wire.cluster_name.clone();
    Ok(LoadAssignment { cluster_name, localities, overprovisioning_factor: factor.unwrap_or(140) })
}

fn locality(wire: &wire::LocalityLbEndpoints, at: &At<'_>) -> Result<LocalityEndpoints, ConfigError> {
    if wire.priority > 127 {
        return Err(at.field("priority").refuse(wire.priority, "is at most 127"));
    }
    let name = wire.locality.as_ref().map(|locality| {
        let parts = [&locality.region, &locality.zone, &locality.sub_zone];
        parts.map(String::as_str).join("/").trim_end_matches('/').to_owned()
    });
    let hosts = at.field("lb_endpoints");
    let endpoints = wire.lb_endpoints.iter().enumerate().map(|(index, host)| endpoint(host, &hosts.index(index)));
    Ok(LocalityEndpoints {
        locality: name.unwrap_or_default(),
        priority: wire.priority,
        weight: wire.load_balancing_weight,
        endpoints: endpoints.collect::<Result<_, _>>()?,
    })
}

fn endpoint(wire: &wire::LbEndpoint, at: &At<'_>) -> Result<Arc<Endpoint>, ConfigError> {
    let Some(HostIdentifier::Endpoint(endpoint)) = &wire.host_identifier else {
        return Err(at.field("endpoint").missing());
    };
    if wire.load_balancing_weight == Some(0) {
        return Err(at.field("load_balancing_weight").refuse(0, "is at least 1"));
    }
    let address = basics::address(endpoint.address.as_ref(), &at.field("endpoint").field("address"))?;
    let health = match WireHealth::try_from(wire.health_status) {
        Ok(WireHealth::Unknown | WireHealth::Healthy) => HealthStatus::Healthy,
        Ok(WireHealth::Unhealthy | WireHealth::Draining | WireHealth::Timeout) => HealthStatus::Unhealthy,
        Ok(WireHealth::Degraded) => HealthStatus::Degraded,
        Err(_) => return Err(at.field("health_status").refuse(wire.health_status, "is not known")),
    };
    // An endpoint that is a name goes by it (Envoy).
    let hostname = match (&endpoint.hostname, &address) {
        (own, _) if !own.is_empty() => Some(own.as_str().into()),
        (_, EndpointAddress::Name(name, _)) => Some(name.as_str().into()),
        _ => None,
    };
    Ok(Arc::new(Endpoint {
        address,
        weight: wire.load_balancing_weight.unwrap_or(1),
        health,
        hostname,
        lb_metadata: metadata::lb(wire.metadata.as_ref()),
        check: check_target(endpoint.health_check_config.as_ref(), &at.field("endpoint"))?,
        transport_labels: metadata::transport_labels(wire.metadata.as_ref()),
        workload: metadata::workload(wire.metadata.as_ref()).map(Arc::new),
    }))
}

fn check_target(
    wire: Option<&wire::endpoint::HealthCheckConfig>,
    at: &At<'_>,
) -> Result<Option<Box<CheckTarget>>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let port = basics::port(wire.port_value, &at.field("health_check_config").field("port_value"))?;
    let port = Some(port).filter(|port| *port > 0);
    let disabled = wire.disable_active_health_check;
    Ok(Some(Box::new(CheckTarget { port, hostname: wire.hostname.clone(), disabled })))
}
