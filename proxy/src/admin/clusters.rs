//! `/clusters`: Envoy's `admin.v3.Clusters`, as lines or as JSON. What a host counts is known by cluster only, so that
//! a host's own numbers are those of this moment.

use std::collections::HashMap;
use std::fmt::Write as _;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::listeners::socket;
use super::{Admin, Answer, Query, json as answer_json, text};
use crate::config::{
    CircuitBreakers, Cluster, Discovery, Endpoint, EndpointAddress, HealthStatus, LoadAssignment, LocalityEndpoints,
    ResourceKind, Snapshot,
};
use crate::upstream::HostReport;
use crate::xds::{Origin, Resources};

/// What is under way on a host, over all workers.
#[derive(Clone, Copy, Default)]
struct Now {
    active: u32,
    ejected: bool,
}

type Hosts = HashMap<(String, EndpointAddress), Now>;

impl Admin {
    pub(super) async fn clusters(&self, query: &Query<'_>) -> Answer {
        let filter = match query.regex("filter") {
            Ok(filter) => filter,
            Err(answer) => return answer,
        };
        let snapshot = self.data_plane.snapshots().borrow().clone();
        let hosts = by_host(self.data_plane.hosts().await);
        let resources = self.resources.resources().await.unwrap_or_default();
        let shown = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
        let clusters = snapshot.clusters.values().filter(|cluster| shown(&cluster.name));
        if query.is_json() {
            let all: Vec<Value> = clusters.map(|one| as_json(one, &snapshot, &hosts, &resources)).collect();
            return answer_json(&json!({"cluster_statuses": all}));
        }
        let mut out = String::new();
        for cluster in clusters {
            as_lines(cluster, &snapshot, &hosts, &resources, &mut out);
        }
        text(StatusCode::OK, out)
    }
}

fn by_host(reports: Vec<HostReport>) -> Hosts {
    let mut hosts = Hosts::new();
    for report in reports {
        let now = hosts.entry((report.cluster, report.address)).or_default();
        now.active += report.active;
        now.ejected |= report.ejected;
    }
    hosts
}

fn assignment<'a>(cluster: &'a Cluster, snapshot: &'a Snapshot) -> Option<&'a LoadAssignment> {
    match &cluster.discovery {
        Discovery::Static(given) | Discovery::StrictDns(given) | Discovery::LogicalDns(given) => Some(&**given),
        Discovery::Eds { service_name } => snapshot.endpoints.get(service_name).map(|given| &**given),
        _ => None,
    }
}

fn is_from_elsewhere(cluster: &Cluster, resources: &Resources) -> bool {
    let held = resources.get(&(ResourceKind::Cluster, cluster.name.clone()));
    held.is_some_and(|held| held.origin != Origin::Static)
}

fn endpoints<'a>(
    cluster: &'a Cluster,
    snapshot: &'a Snapshot,
    hosts: &'a Hosts,
) -> impl Iterator<Item = (&'a LocalityEndpoints, &'a Endpoint, Now)> {
    let localities = assignment(cluster, snapshot).into_iter().flat_map(|assignment| &assignment.localities);
    localities.flat_map(|locality| locality.endpoints.iter().map(move |endpoint| (locality, &**endpoint))).map(
        |(locality, endpoint)| {
            let now = hosts.get(&(cluster.name.clone(), endpoint.address.clone()));
            (locality, endpoint, now.copied().unwrap_or_default())
        },
    )
}

fn as_lines(cluster: &Cluster, snapshot: &Snapshot, hosts: &Hosts, resources: &Resources, out: &mut String) {
    let name = &cluster.name;
    let limits = &cluster.circuit_breakers;
    let _ = writeln!(out, "{name}::observability_name::{name}");
    for (priority, limits) in [("default", limits), ("high", &cluster.high_circuit_breakers)] {
        for (limit, value) in [
            ("max_connections", limits.max_connections),
            ("max_pending_requests", limits.max_pending_requests),
            ("max_requests", limits.max_requests),
            ("max_retries", limits.max_retries),
        ] {
            let _ = writeln!(out, "{name}::{priority}_priority::{limit}::{value}");
        }
    }
    let _ = writeln!(out, "{name}::added_via_api::{}", is_from_elsewhere(cluster, resources));
    for (locality, endpoint, now) in endpoints(cluster, snapshot, hosts) {
        let host = format!("{name}::{}", shown(&endpoint.address));
        let [region, zone, sub_zone] = parts(locality);
        for (field, value) in [
            ("rq_active", now.active.to_string()),
            ("hostname", endpoint.hostname.as_deref().unwrap_or_default().to_owned()),
            ("health_flags", flags(endpoint, now)),
            ("weight", endpoint.weight.to_string()),
            ("region", region.to_owned()),
            ("zone", zone.to_owned()),
            ("sub_zone", sub_zone.to_owned()),
            ("canary", "false".to_owned()),
            ("priority", locality.priority.to_string()),
        ] {
            let _ = writeln!(out, "{host}::{field}::{value}");
        }
    }
}

fn as_json(cluster: &Cluster, snapshot: &Snapshot, hosts: &Hosts, resources: &Resources) -> Value {
    let host = |(locality, endpoint, now): (&LocalityEndpoints, &Endpoint, Now)| {
        let [region, zone, sub_zone] = parts(locality);
        let health = match endpoint.health {
            HealthStatus::Healthy => "HEALTHY",
            HealthStatus::Degraded => "DEGRADED",
            HealthStatus::Unhealthy => "UNHEALTHY",
        };
        let mut status = json!({
            "address": address(&endpoint.address),
            "stats": [{"type": "GAUGE", "name": "rq_active", "value": now.active.to_string()}],
            "health_status": {"eds_health_status": health},
            "weight": endpoint.weight,
            "locality": {"region": region, "zone": zone, "sub_zone": sub_zone},
        });
        if now.ejected {
            status["health_status"]["failed_outlier_check"] = true.into();
        }
        if let Some(hostname) = &endpoint.hostname {
            status["hostname"] = (&**hostname).into();
        }
        if locality.priority > 0 {
            status["priority"] = locality.priority.into();
        }
        status
    };
    let limits = &cluster.circuit_breakers;
    let mut status = json!({
        "name": cluster.name,
        "observability_name": cluster.name,
        "host_statuses": endpoints(cluster, snapshot, hosts).map(host).collect::<Vec<_>>(),
        "circuit_breakers": {"thresholds": [
            thresholds(None, limits),
            thresholds(Some("HIGH"), &cluster.high_circuit_breakers),
        ]},
    });
    if is_from_elsewhere(cluster, resources) {
        status["added_via_api"] = true.into();
    }
    if let Discovery::Eds { service_name } = &cluster.discovery
        && *service_name != cluster.name
    {
        status["eds_service_name"] = service_name.as_str().into();
    }
    status
}

fn parts(locality: &LocalityEndpoints) -> [&str; 3] {
    let mut parts = locality.locality.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn flags(endpoint: &Endpoint, now: Now) -> String {
    let health = match endpoint.health {
        HealthStatus::Healthy => "",
        HealthStatus::Degraded => "/degraded_eds_health",
        HealthStatus::Unhealthy => "/failed_eds_health",
    };
    let outlier = if now.ejected { "/failed_outlier_check" } else { "" };
    let flags = format!("{outlier}{health}");
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

fn shown(address: &EndpointAddress) -> String {
    match address {
        EndpointAddress::Socket(address) => address.to_string(),
        EndpointAddress::Name(name, port) => format!("{name}:{port}"),
        EndpointAddress::Unix(path) => path.clone(),
    }
}

fn address(address: &EndpointAddress) -> Value {
    match address {
        EndpointAddress::Socket(address) => socket(*address),
        EndpointAddress::Name(name, port) => json!({"socket_address": {"address": name, "port_value": port}}),
        EndpointAddress::Unix(path) => json!({"pipe": {"path": path}}),
    }
}

/// The default priority goes without saying.
fn thresholds(priority: Option<&str>, limits: &CircuitBreakers) -> Value {
    let mut told = json!({
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_requests,
        "max_retries": limits.max_retries,
    });
    if let Some(priority) = priority {
        told["priority"] = priority.into();
    }
    told
}
