//! Load assignments.

use std::sync::Arc;

use api::envoy::config::core::v3::HealthStatus;
use api::envoy::config::endpoint::v3 as wire;
use wire::lb_endpoint::HostIdentifier;

use super::{basics, metadata};
use crate::config::error::{At, ConfigError};
use crate::config::{Endpoint, LoadAssignment, LocalityEndpoints};

pub(super) fn convert(wire: &wire::ClusterLoadAssignment, at: &At<'_>) -> Result<LoadAssignment, ConfigError> {
    if let Some(factor) = wire.policy.as_ref().and_then(|policy| policy.overprovisioning_factor)
        && factor != 140
    {
        return Err(at.field("policy").field("overprovisioning_factor").refuse(factor, "only 140 is supported"));
    }
    let at = at.field("endpoints");
    let localities = wire.endpoints.iter().enumerate().map(|(index, group)| locality(group, &at.index(index)));
    let localities = localities.collect::<Result<_, _>>()?;
    Ok(LoadAssignment { cluster_name: wire.cluster_name.clone(), localities })
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
    let healthy = match HealthStatus::try_from(wire.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => true,
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout) => false,
        Ok(HealthStatus::Degraded) | Err(_) => {
            return Err(at.field("health_status").refuse(wire.health_status, "is not supported"));
        }
    };
    Ok(Arc::new(Endpoint {
        address,
        weight: wire.load_balancing_weight.unwrap_or(1),
        healthy,
        transport_labels: metadata::transport_labels(wire.metadata.as_ref()),
        workload: metadata::workload(wire.metadata.as_ref()).map(Arc::new),
    }))
}
