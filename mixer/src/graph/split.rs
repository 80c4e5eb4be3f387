//! The graph with the versions of a service apart, as Kiali's graph of versioned apps has it: `default/reviews@v2`
//! beside the node of the whole service, whose part it is. A service of one version stays as it is.
//!
//! Which versions called each other is known for the last five minutes; what is older is shared out as those were.
//! A call that came to no workload leads to the service. How long calls took is known of an edge as a whole only.

use std::collections::{BTreeMap, HashMap};

use registry::{Catalog, Entry, Health};

use super::nodes::{health, health_of_traffic, worse};
use super::sum::ratio;
use super::{ByteRates, EdgeView, Graph, Latency, NodeView, ReadyEndpoints, VersionView, rounded};
use crate::edge::Manner;
use crate::names;

/// The versions of a service by the id of its node, with their endpoints.
type Services<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Option<ReadyEndpoints>>>;

/// Splits what has several versions. `manners` tells of each edge how its requests went.
pub fn by_version(graph: Graph, manners: &HashMap<String, Vec<(Manner, f64)>>, catalog: &Catalog) -> Graph {
    let entries: HashMap<String, &Entry> = catalog.entries().map(|entry| (names::id(&entry.service), entry)).collect();
    let mut services = Services::new();
    for node in graph.nodes.iter().filter(|node| matches!(node.kind, "service" | "gateway")) {
        services.insert(&node.id, entries.get(&node.id).map(|entry| of_catalog(entry)).unwrap_or_default());
    }
    for edge in &graph.edges {
        for (manner, _) in manners.get(&edge.id).into_iter().flatten() {
            for (id, version) in [(&edge.source, &manner.from), (&edge.destination, &manner.version)] {
                if let Some(versions) = services.get_mut(id.as_str()).filter(|_| !version.is_empty()) {
                    versions.entry(version).or_default();
                }
            }
        }
    }
    services.retain(|_, versions| versions.len() > 1);
    let apart = |edge: &EdgeView| match manners.get(&edge.id) {
        Some(told) => parts(edge, told, &services),
        None => vec![edge.clone()],
    };
    let mut edges: Vec<EdgeView> = graph.edges.iter().flat_map(apart).collect();
    edges.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let nodes = graph.nodes.iter().flat_map(|node| {
        let versions = services.get(node.id.as_str()).into_iter().flatten();
        let of_version = |(version, ready): (&&str, &Option<ReadyEndpoints>)| one(node, version, *ready, &edges);
        std::iter::once(node.clone()).chain(versions.map(of_version).collect::<Vec<_>>())
    });
    Graph { nodes: nodes.collect(), edges, ..graph }
}

fn of_catalog(entry: &Entry) -> BTreeMap<&str, Option<ReadyEndpoints>> {
    let mut versions: BTreeMap<&str, Option<ReadyEndpoints>> = BTreeMap::new();
    for endpoint in entry.endpoints.iter() {
        let known = versions.entry(endpoint.workload.canonical_revision()).or_default().get_or_insert_default();
        known.total += 1;
        known.ready += usize::from(endpoint.health == Health::Healthy);
    }
    versions
}

fn id(service: &str, version: &str, services: &Services<'_>) -> String {
    match services.contains_key(service) && !version.is_empty() {
        true => format!("{service}@{version}"),
        false => service.to_owned(),
    }
}

/// What of an edge one pair of versions has.
#[derive(Default)]
struct Part {
    requests: f64,
    errors: f64,
    judged: f64,
    mutual_tls: f64,
    refused: f64,
    codes: BTreeMap<u16, f64>,
    /// Requests and errors of each version that answered.
    versions: BTreeMap<String, (f64, f64)>,
}

const FORBIDDEN: u16 = 403;

fn parts(edge: &EdgeView, manners: &[(Manner, f64)], services: &Services<'_>) -> Vec<EdgeView> {
    let mut parts: BTreeMap<(String, String), Part> = BTreeMap::new();
    for (manner, count) in manners {
        let ends = (id(&edge.source, &manner.from, services), id(&edge.destination, &manner.version, services));
        let part = parts.entry(ends).or_default();
        part.requests += count;
        part.errors += if manner.error { *count } else { 0.0 };
        part.judged += if manner.reached { *count } else { 0.0 };
        part.mutual_tls += if manner.reached && manner.mutual_tls { *count } else { 0.0 };
        part.refused += if manner.code == FORBIDDEN { *count } else { 0.0 };
        if manner.code != 0 {
            *part.codes.entry(manner.code).or_default() += count;
        }
        if !manner.version.is_empty() {
            let of = part.versions.entry(manner.version.to_string()).or_default();
            *of = (of.0 + count, of.1 + if manner.error { *count } else { 0.0 });
        }
    }
    if parts.len() < 2 {
        let whole = |(source, destination)| {
            let id = format!("{source}>{destination}>{}", edge.protocol);
            EdgeView { id, source, destination, ..edge.clone() }
        };
        return parts.into_keys().next().map_or_else(|| vec![edge.clone()], |ends| vec![whole(ends)]);
    }
    let [all, refused] = parts.values().fold([0.0, 0.0], |[all, no], part| [all + part.requests, no + part.refused]);
    let view = |((source, destination), part): ((String, String), Part)| {
        let share = part.requests / all;
        let denied = if refused > 0.0 { part.refused / refused } else { share };
        let rate = |whole: f64| rounded(whole * share);
        let total = edge.requests_per_second + edge.connections_per_second.unwrap_or_default();
        EdgeView {
            id: format!("{source}>{destination}>{}", edge.protocol),
            source,
            destination,
            requests_per_second: rate(edge.requests_per_second),
            error_ratio: ratio(part.errors, part.requests),
            latency_ms: Latency::default(),
            bytes_per_second: ByteRates {
                sent: rate(edge.bytes_per_second.sent),
                received: rate(edge.bytes_per_second.received),
            },
            connections_per_second: edge.connections_per_second.map(rate),
            mtls_ratio: ratio(part.mutual_tls, part.judged),
            denied_per_second: rounded(edge.denied_per_second * denied),
            codes: part.codes.iter().map(|(code, count)| (*code, rounded(total * count / all))).collect(),
            versions: part
                .versions
                .into_iter()
                .map(|(version, (requests, errors))| VersionView {
                    version,
                    requests_per_second: rounded(total * requests / all),
                    error_ratio: ratio(errors, requests),
                })
                .collect(),
            ..edge.clone()
        }
    };
    parts.into_iter().map(view).collect()
}

/// The node of one version: what it was asked, else what it asked of others.
fn one(service: &NodeView, version: &str, endpoints: Option<ReadyEndpoints>, edges: &[EdgeView]) -> NodeView {
    let id = format!("{}@{version}", service.id);
    let asked: Vec<&EdgeView> = edges.iter().filter(|edge| edge.destination == id).collect();
    let requests: f64 = asked.iter().map(|edge| edge.requests_per_second).sum();
    let errors: f64 = asked.iter().map(|edge| edge.requests_per_second * edge.error_ratio.unwrap_or_default()).sum();
    let error_ratio = ratio(errors, requests);
    let asks = edges.iter().filter(|edge| edge.source == id);
    let touched = !asked.is_empty() || asks.clone().count() > 0;
    let rate = if requests > 0.0 { requests } else { asks.map(|edge| edge.requests_per_second).sum() };
    let denied = asked.iter().filter(|edge| edge.source != names::UNKNOWN);
    let denied: f64 = denied.map(|edge| edge.denied_per_second).sum();
    let by_traffic = health_of_traffic(0.0, ratio(denied.min(requests), requests).unwrap_or_default());
    let latency_ms = match asked[..] {
        [edge] => edge.latency_ms,
        _ => Latency::default(),
    };
    NodeView {
        kind: "version",
        part_of: Some(service.id.clone()),
        namespace: service.namespace.clone(),
        name: format!("{} {version}", service.name),
        host: service.host.clone(),
        platforms: service.platforms.clone(),
        versions: vec![VersionView { version: version.to_owned(), requests_per_second: rounded(rate), error_ratio }],
        requests_per_second: rounded(rate),
        error_ratio,
        denied_per_second: rounded(denied),
        latency_ms,
        health: worse(by_traffic, health(error_ratio, endpoints, touched, "service")),
        endpoints,
        id,
    }
}
