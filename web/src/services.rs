//! What the catalog knows: services, endpoints, registries.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State as Shared};
use registry::{Catalog, Endpoint, Entry, Health, Location, RegistryState, Resolution, TlsMode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::state::State;

#[derive(Deserialize)]
pub struct Filter {
    namespace: Option<String>,
    /// A whole host, or the part before its first dots: `reviews`, `reviews.default`.
    service: Option<String>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let host = entry.service.host().as_str();
        self.namespace.as_ref().is_none_or(|namespace| namespace == entry.service.namespace())
            && self.service.as_ref().is_none_or(|name| {
                host.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }
}

pub async fn services(Shared(state): Shared<State>, Query(filter): Query<Filter>) -> Json<Value> {
    let catalog = state.catalog();
    let items: Vec<Value> = catalog.entries().filter(|entry| filter.takes(entry)).map(service).collect();
    Json(json!({ "items": items, "revision": catalog.version }))
}

pub async fn endpoints(Shared(state): Shared<State>, Query(filter): Query<Filter>) -> Json<Value> {
    let catalog = state.catalog();
    let entries = catalog.entries().filter(|entry| filter.takes(entry));
    let items: Vec<Value> = entries
        .flat_map(|entry| {
            entry.endpoints.iter().map(|found| endpoint(&state, &catalog, entry, found)).collect::<Vec<_>>()
        })
        .collect();
    Json(json!({ "items": items, "revision": catalog.version }))
}

pub async fn registries(Shared(state): Shared<State>) -> Json<Value> {
    let catalog = state.catalog();
    let items: Vec<Value> = catalog
        .registries
        .iter()
        .map(|registry| {
            let (word, reason) = match &registry.state {
                RegistryState::Syncing => ("syncing", None),
                RegistryState::Synced => ("synced", None),
                RegistryState::Stale(reason) => ("stale", Some(reason)),
            };
            json!({
                "name": registry.name,
                "state": word,
                "reason": reason,
                "since": registry.since,
                "services": registry.services,
                "endpoints": registry.endpoints,
                "forgotten": registry.forgotten,
                "findings": *registry.findings,
            })
        })
        .collect();
    Json(json!({ "items": items, "conflicts": conflicts(&catalog), "revision": catalog.version }))
}

/// What registries disagree about.
fn conflicts(catalog: &Catalog) -> Vec<Value> {
    let of_entry = |entry: &Entry| {
        let host = entry.service.host().as_str().to_owned();
        let shown = |words: &String| json!({ "service": host, "message": words });
        entry.conflicts.iter().map(shown).collect::<Vec<_>>()
    };
    catalog.entries().flat_map(of_entry).collect()
}

/// How many endpoints each platform has.
fn by_platform(entry: &Entry) -> BTreeMap<&'static str, Value> {
    let mut counts: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    for endpoint in entry.endpoints.iter() {
        let count = counts.entry(endpoint.workload.platform.as_str()).or_default();
        count.0 += usize::from(endpoint.health == Health::Healthy);
        count.1 += 1;
    }
    counts.into_iter().map(|(name, (healthy, total))| (name, json!({ "healthy": healthy, "total": total }))).collect()
}

fn service(entry: &Entry) -> Value {
    let service = &entry.service;
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| json!({ "name": port.name, "port": port.number, "protocol": port.protocol.as_str() }))
        .collect();
    let mut registries: Vec<&str> = vec![&service.provenance.registry];
    registries.extend(entry.endpoints.iter().map(|endpoint| &*endpoint.provenance.registry));
    registries.sort_unstable();
    registries.dedup();
    let healthy = entry.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy).count();
    json!({
        "host": service.host().as_str(),
        "namespace": service.namespace(),
        "aliases": service.aliases.iter().map(|alias| alias.as_str()).collect::<Vec<_>>(),
        "ports": ports,
        "addresses": service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "automatic_addresses": automatic(entry),
        "location": match service.location {
            Location::MeshInternal => "internal",
            Location::MeshExternal => "external",
        },
        "resolution": match service.resolution {
            Resolution::Static => "static",
            Resolution::Dns => "dns",
            Resolution::DnsRoundRobin => "dns-round-robin",
            Resolution::Passthrough => "passthrough",
            Resolution::DynamicDns => "dynamic-dns",
        },
        "endpoints": { "total": entry.endpoints.len(), "healthy": healthy },
        "platforms": by_platform(entry),
        "registries": registries,
        "conflicts": *entry.conflicts,
    })
}

/// What the mesh gave a service without addresses: callers that are captured reach it there.
fn automatic(entry: &Entry) -> Vec<String> {
    entry.automatic.iter().flat_map(|given| [given.v4.to_string(), given.v6.to_string()]).collect()
}

fn endpoint(state: &State, catalog: &Catalog, entry: &Entry, endpoint: &Endpoint) -> Value {
    let workload = &endpoint.workload;
    let identity = (endpoint.tls == TlsMode::Istio)
        .then(|| state.trust_domain.workload(&workload.namespace, &workload.service_account).ok())
        .flatten();
    json!({
        "service": entry.service.host().as_str(),
        "namespace": entry.service.namespace(),
        "service_port": endpoint.service_port,
        "address": endpoint.address.to_string(),
        "port": endpoint.port,
        "health": endpoint.health.as_str(),
        "weight": endpoint.weight,
        "mtls": endpoint.tls == TlsMode::Istio,
        "identity": identity.map(|id| id.to_string()),
        "workload": workload.name,
        "labels": workload.labels,
        "locality": workload.locality.to_string(),
        "platform": workload.platform.as_str(),
        "stale": catalog.is_stale(&endpoint.provenance.registry),
        "registry": endpoint.provenance.registry,
        "object": endpoint.provenance.object,
    })
}
