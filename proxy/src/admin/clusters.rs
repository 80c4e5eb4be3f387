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
use crate::load_balancer::Health;
use crate::upstream::ClusterReport;
use crate::xds::{Origin, Resources};

/// How a host is, over all workers.
#[derive(Clone, Copy, Default)]
struct Now {
    active: u32,
    ejected: bool,
    /// What the active check says; `None` where there is none.
    checked: Option<Checked>,
    /// Of the last worker that has them: of answers and of connections.
    success: [Option<f64>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Checked {
    Healthy,
    Degraded,
    Failed,
    /// Not checked yet, in a cluster that leaves such hosts aside.
    Pending,
}

/// A cluster and what is known of it.
struct Known<'a> {
    cluster: &'a Cluster,
    from_elsewhere: bool,
    /// The mean success rate of the hosts and the least that is let pass, of answers and of connections, of the last
    /// worker that has them.
    rates: [Option<(f64, f64)>; 2],
    hosts: Vec<(&'a LocalityEndpoints, &'a Endpoint, Now)>,
}

impl Admin {
    pub(super) async fn clusters(&self, query: &Query<'_>) -> Answer {
        let filter = match query.regex("filter") {
            Ok(filter) => filter,
            Err(answer) => return answer,
        };
        let snapshot = self.data_plane.snapshots().borrow().clone();
        let reports = self.data_plane.clusters().await;
        let resources = self.resources.resources().await.unwrap_or_default();
        let shown = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
        let clusters = snapshot.clusters.values().filter(|cluster| shown(&cluster.name));
        let known = clusters.map(|cluster| self.known(cluster, &snapshot, &reports, &resources));
        if query.is_json() {
            let all: Vec<Value> = known.map(|one| as_json(&one)).collect();
            return answer_json(&json!({"cluster_statuses": all}));
        }
        let mut out = String::new();
        known.for_each(|one| as_lines(&one, &mut out));
        text(StatusCode::OK, out)
    }

    fn known<'a>(
        &self,
        cluster: &'a Cluster,
        snapshot: &'a Snapshot,
        reports: &'a [ClusterReport],
        resources: &Resources,
    ) -> Known<'a> {
        let reports: Vec<_> = reports.iter().filter(|report| report.cluster == cluster.name).collect();
        let mut hosts: HashMap<&EndpointAddress, Now> = HashMap::new();
        for host in reports.iter().flat_map(|report| &report.hosts) {
            let now = hosts.entry(&host.address).or_default();
            now.active += host.active;
            now.ejected |= host.ejected;
            now.success = [0, 1].map(|kind| host.success[kind].or(now.success[kind]));
        }
        let checks = cluster.health_check.as_ref().map(|_| self.data_plane.checked(&cluster.name));
        let now = |endpoint: &Endpoint| {
            let checks = checks.as_ref().filter(|_| endpoint.check.as_ref().is_none_or(|check| !check.disabled));
            let checked = checks.map(|checks| match checks.of(&endpoint.address).map(|finding| finding.health) {
                Some(Health::Healthy) => Checked::Healthy,
                Some(Health::Degraded) => Checked::Degraded,
                None if cluster.ignore_unchecked_hosts => Checked::Pending,
                _ => Checked::Failed,
            });
            Now { checked, ..hosts.get(&endpoint.address).copied().unwrap_or_default() }
        };
        let localities =
            assignment(cluster, snapshot, &reports).into_iter().flat_map(|assignment| &assignment.localities);
        let hosts =
            localities.flat_map(|locality| locality.endpoints.iter().map(move |endpoint| (locality, &**endpoint)));
        Known {
            cluster,
            rates: [0, 1].map(|kind| reports.iter().filter_map(|report| report.rates[kind]).next_back()),
            from_elsewhere: is_from_elsewhere(cluster, resources),
            hosts: hosts.map(|(locality, endpoint)| (locality, endpoint, now(endpoint))).collect(),
        }
    }
}

/// Names are shown as they were resolved, once they were.
fn assignment<'a>(
    cluster: &'a Cluster,
    snapshot: &'a Snapshot,
    reports: &[&'a ClusterReport],
) -> Option<&'a LoadAssignment> {
    match &cluster.discovery {
        Discovery::Static(given) => Some(&**given),
        Discovery::StrictDns(given) | Discovery::LogicalDns(given) => {
            let mut resolved = reports.iter().map(|report| &*report.assignment);
            Some(resolved.rfind(|found| found.endpoints().next().is_some()).unwrap_or(given))
        }
        Discovery::Eds { service_name } => snapshot.endpoints.get(service_name).map(|given| &**given),
        _ => None,
    }
}

fn is_from_elsewhere(cluster: &Cluster, resources: &Resources) -> bool {
    let held = resources.get(&(ResourceKind::Cluster, cluster.name.clone()));
    held.is_some_and(|held| held.origin != Origin::Static)
}

fn as_lines(known: &Known<'_>, out: &mut String) {
    let (cluster, name) = (known.cluster, &known.cluster.name);
    let limits = &cluster.circuit_breakers;
    let _ = writeln!(out, "{name}::observability_name::{name}");
    if cluster.outlier_detection.is_some() {
        for (origin, rates) in ["", "local_origin_"].iter().zip(known.rates) {
            let (mean, least) = rates.unwrap_or((UNKNOWN, UNKNOWN));
            let _ = writeln!(out, "{name}::outlier::{origin}success_rate_average::{mean}");
            let _ = writeln!(out, "{name}::outlier::{origin}success_rate_ejection_threshold::{least}");
        }
    }
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
    let _ = writeln!(out, "{name}::added_via_api::{}", known.from_elsewhere);
    if let Some(service_name) = eds_service_name(cluster) {
        let _ = writeln!(out, "{name}::eds_service_name::{service_name}");
    }
    for (locality, endpoint, now) in &known.hosts {
        let host = format!("{name}::{}", shown(&endpoint.address));
        let [region, zone, sub_zone] = parts(locality);
        for (field, value) in [
            ("rq_active", now.active.to_string()),
            ("hostname", endpoint.hostname.as_deref().unwrap_or_default().to_owned()),
            ("health_flags", flags(endpoint, *now)),
            ("weight", endpoint.weight.to_string()),
            ("region", region.to_owned()),
            ("zone", zone.to_owned()),
            ("sub_zone", sub_zone.to_owned()),
            ("canary", "false".to_owned()),
            ("priority", locality.priority.to_string()),
            ("success_rate", now.success[0].unwrap_or(UNKNOWN).to_string()),
            ("local_origin_success_rate", now.success[1].unwrap_or(UNKNOWN).to_string()),
        ] {
            let _ = writeln!(out, "{host}::{field}::{value}");
        }
    }
}

/// Shown for a rate where there is none.
const UNKNOWN: f64 = -1.0;

fn as_json(known: &Known<'_>) -> Value {
    let cluster = known.cluster;
    let host = |(locality, endpoint, now): &(&LocalityEndpoints, &Endpoint, Now)| {
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
        for (flag, is_set) in [
            ("failed_active_health_check", matches!(now.checked, Some(Checked::Failed | Checked::Pending))),
            ("failed_outlier_check", now.ejected),
            ("failed_active_degraded_check", now.checked == Some(Checked::Degraded)),
            ("pending_active_hc", now.checked == Some(Checked::Pending)),
        ] {
            if is_set {
                status["health_status"][flag] = true.into();
            }
        }
        if let Some(hostname) = &endpoint.hostname {
            status["hostname"] = (&**hostname).into();
        }
        for (field, rate) in ["success_rate", "local_origin_success_rate"].iter().zip(now.success) {
            if let Some(rate) = rate {
                status[field] = json!({"value": rate});
            }
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
        "host_statuses": known.hosts.iter().map(host).collect::<Vec<_>>(),
        "circuit_breakers": {"thresholds": [
            thresholds(None, limits),
            thresholds(Some("HIGH"), &cluster.high_circuit_breakers),
        ]},
    });
    if known.from_elsewhere {
        status["added_via_api"] = true.into();
    }
    for (origin, rates) in ["", "local_origin_"].iter().zip(known.rates) {
        if let Some((_, least)) = rates {
            status[format!("{origin}success_rate_ejection_threshold")] = json!({"value": least});
        }
    }
    if let Some(service_name) = eds_service_name(cluster) {
        status["eds_service_name"] = service_name.into();
    }
    status
}

/// What the service is called in EDS.
fn eds_service_name(cluster: &Cluster) -> Option<&str> {
    match &cluster.discovery {
        Discovery::Eds { service_name } => Some(service_name),
        _ => None,
    }
}

fn parts(locality: &LocalityEndpoints) -> [&str; 3] {
    let mut parts = locality.locality.splitn(3, '/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// In the order of Envoy's `HealthFlag`s.
fn flags(endpoint: &Endpoint, now: Now) -> String {
    let flags = [
        // Until its first check a host counts as failed.
        (matches!(now.checked, Some(Checked::Failed | Checked::Pending)), "/failed_active_hc"),
        (now.ejected, "/failed_outlier_check"),
        (endpoint.health == HealthStatus::Unhealthy, "/failed_eds_health"),
        (now.checked == Some(Checked::Degraded), "/degraded_active_hc"),
        (endpoint.health == HealthStatus::Degraded, "/degraded_eds_health"),
        (now.checked == Some(Checked::Pending), "/pending_active_hc"),
    ];
    let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
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
