//! What the catalog knows of services.

mod details;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State as Shared;
use axum::response::Response;
use axum::{Extension, Json};
use registry::{Catalog, Entry, Health, Location, Resolution};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::endpoints::is_stale as is_stale_endpoint;
use crate::extract::{Asked, At};
use crate::feed::{News, Topic};
use crate::list::{self, List, LiveQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(services)).routes(routes!(service)).merge(details::routes())
}

/// A service, as callers in the mesh know it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Service {
    /// One name for it everywhere: `wri:service:default:reviews`.
    pub wri: String,
    /// `reviews`: what its host begins with, or the whole host where that is outside the mesh's domain.
    pub name: String,
    pub namespace: String,
    /// `reviews.default.svc.cluster.local`
    pub host: String,
    pub aliases: Vec<String>,
    pub ports: Vec<Port>,
    pub addresses: Vec<String>,
    /// What the mesh gave a service without addresses: callers that are captured reach it there.
    pub automatic_addresses: Vec<String>,
    /// `internal` or `external`
    pub location: &'static str,
    /// `static`, `dns`, `dns-round-robin`, `passthrough` or `dynamic-dns`
    pub resolution: &'static str,
    pub endpoints: Count,
    /// The versions of its workloads.
    pub versions: Vec<String>,
    pub platforms: BTreeMap<&'static str, PlatformCount>,
    pub registries: Vec<String>,
    /// Whether a registry that tells of it is out of reach.
    pub stale: bool,
    /// `healthy`, `degraded` (some endpoints are not, or some requests fail or are denied), `failing` (no endpoint is, or
    /// many requests fail or are denied) or `unknown` (it has no endpoint)
    pub health: &'static str,
    pub labels: BTreeMap<String, String>,
    /// What registries disagree about.
    pub conflicts: Vec<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Port {
    pub name: String,
    pub port: u16,
    pub protocol: &'static str,
}

/// How many endpoints there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Count {
    pub total: usize,
    pub healthy: usize,
}

/// How many endpoints a platform has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlatformCount {
    pub total: usize,
    pub healthy: usize,
    /// Those of which what is known may be out of date.
    pub stale: usize,
}

/// The services of all registries. `labels` finds those whose own labels or those of one of its endpoints meet it.
#[utoipa::path(get, path = "/services", params(LiveQuery),
    responses((status = 200, description = "A page of services", body = List<Service>)))]
async fn services(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    let concerns = |news: &News| matches!(news.topic, Topic::Services | Topic::Endpoints);
    let holds = query.labels.as_deref().map(list::by_labels).transpose()?;
    let wanted = |entry: &&Entry| {
        let mut sets =
            std::iter::once(&entry.service.labels).chain(entry.endpoints.iter().map(|one| &one.workload.labels));
        known.sees(entry.service.namespace()) && holds.as_ref().is_none_or(|holds| sets.any(holds))
    };
    let seen = || {
        let catalog = state.catalog();
        let entries = catalog.entries().filter(wanted);
        entries.map(|entry| Service::of(&state, &catalog, entry)).collect::<Vec<_>>()
    };
    list::live_by_labels(&state, &query, concerns, seen).await
}

/// One service.
#[utoipa::path(get, path = "/services/{namespace}/{name}",
    params(("namespace" = String, Path), ("name" = String, Path, description = "Its name, or its whole host")),
    responses((status = 200, description = "The service", body = Service)))]
async fn service(
    Shared(state): Shared<State>,
    At((namespace, name)): At<(String, String)>,
) -> Result<Json<Service>, Problem> {
    one(&state, &namespace, &name).map(Json)
}

pub fn one(state: &State, namespace: &str, name: &str) -> Result<Service, Problem> {
    let catalog = state.catalog();
    let entry = find(state, &catalog, namespace, name)?;
    Ok(Service::of(state, &catalog, entry))
}

/// The entry of a service by its short name or its host.
pub fn find<'c>(state: &State, catalog: &'c Catalog, namespace: &str, name: &str) -> Result<&'c Entry, Problem> {
    let of_namespace = |entry: &&Entry| entry.service.namespace() == namespace;
    let called = |entry: &&Entry| {
        let host = entry.service.host().as_str();
        host == name || short_name(host, namespace, &state.domain()) == name
    };
    let missing = || Problem::not_found(format!("there is no service {name:?} in namespace {namespace:?}"));
    catalog.entries().filter(of_namespace).find(called).ok_or_else(missing)
}

/// `reviews` of `reviews.default.svc.cluster.local`; a host outside the mesh's domain whole.
pub fn short_name<'h>(host: &'h str, namespace: &str, domain: &str) -> &'h str {
    let short = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc."));
    let short = short.and_then(|rest| rest.strip_suffix(namespace)).and_then(|rest| rest.strip_suffix('.'));
    short.filter(|name| !name.is_empty() && !name.contains('.')).unwrap_or(host)
}

impl Service {
    pub fn of(state: &State, catalog: &Catalog, entry: &Entry) -> Self {
        let service = &entry.service;
        let (host, namespace) = (service.host().as_str(), service.namespace());
        let mut registries = BTreeSet::from([service.provenance.registry.to_string()]);
        registries.extend(entry.endpoints.iter().map(|endpoint| endpoint.provenance.registry.to_string()));
        let versions: BTreeSet<&str> =
            entry.endpoints.iter().map(|endpoint| endpoint.workload.canonical_revision()).collect();
        let endpoints = count(entry);
        let ports = service.ports.iter();
        let name = short_name(host, namespace, &state.domain()).to_owned();
        Self {
            wri: crate::wri::of("service", namespace, &name),
            name,
            namespace: namespace.to_owned(),
            host: host.to_owned(),
            aliases: service.aliases.iter().map(|alias| alias.as_str().to_owned()).collect(),
            ports: ports
                .map(|port| Port { name: port.name.clone(), port: port.number, protocol: port.protocol.as_str() })
                .collect(),
            addresses: service.addresses.iter().map(ToString::to_string).collect(),
            automatic_addresses: automatic(entry),
            location: match service.location {
                Location::MeshInternal => "internal",
                Location::MeshExternal => "external",
            },
            resolution: resolution(service.resolution),
            endpoints,
            versions: versions.into_iter().map(str::to_owned).collect(),
            platforms: by_platform(catalog, entry),
            stale: is_stale(catalog, &registries),
            registries: registries.into_iter().collect(),
            health: health_of(state, entry),
            labels: service.labels.clone(),
            conflicts: entry.conflicts.to_vec(),
        }
    }
}

/// The worse of what its endpoints and what the last requests to it make of a service.
pub fn health_of(state: &State, entry: &Entry) -> &'static str {
    let of_endpoints = health(count(entry));
    match state.kept.failing.ailing().get(&mixer::id(&entry.service)) {
        Some(of_traffic) if of_endpoints != "failing" => of_traffic,
        _ => of_endpoints,
    }
}

/// What the figures of its endpoints make of a service.
pub fn health(endpoints: Count) -> &'static str {
    match (endpoints.healthy, endpoints.total) {
        (_, 0) => "unknown",
        (0, _) => "failing",
        (healthy, total) if healthy < total => "degraded",
        _ => "healthy",
    }
}

pub fn count(entry: &Entry) -> Count {
    let healthy = entry.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy).count();
    Count { total: entry.endpoints.len(), healthy }
}

fn resolution(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Static => "static",
        Resolution::Dns => "dns",
        Resolution::DnsRoundRobin => "dns-round-robin",
        Resolution::Passthrough => "passthrough",
        Resolution::DynamicDns => "dynamic-dns",
    }
}

fn is_stale(catalog: &Catalog, registries: &BTreeSet<String>) -> bool {
    registries.iter().any(|registry| catalog.is_stale(registry))
}

fn by_platform(catalog: &Catalog, entry: &Entry) -> BTreeMap<&'static str, PlatformCount> {
    let mut counts: BTreeMap<&'static str, PlatformCount> = BTreeMap::new();
    for endpoint in entry.endpoints.iter() {
        let count = counts.entry(endpoint.workload.platform.as_str()).or_default();
        count.total += 1;
        count.healthy += usize::from(endpoint.health == Health::Healthy);
        count.stale += usize::from(is_stale_endpoint(catalog, endpoint));
    }
    counts
}

fn automatic(entry: &Entry) -> Vec<String> {
    entry.automatic.iter().flat_map(|given| [given.v4.to_string(), given.v6.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_mesh_has_a_short_name() {
        let short = |host| short_name(host, "default", "cluster.local");
        assert_eq!(short("reviews.default.svc.cluster.local"), "reviews");
        assert_eq!(short("reviews.other.svc.cluster.local"), "reviews.other.svc.cluster.local");
        assert_eq!(short("api.example.com"), "api.example.com");
    }
}
