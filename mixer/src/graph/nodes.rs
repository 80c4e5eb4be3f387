//! The nodes of the graph: every service of the mesh, and whoever else had to do with its traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use registry::{Catalog, Entry, Health, Location};

use super::sum::Sum;
use super::{EdgeView, Latency, NodeView, ReadyEndpoints, Window, rounded};
use crate::intake::{EdgeKey, Protocol};
use crate::names;

/// From this share of errors on a service is degraded, and from that on failing.
const DEGRADED: f64 = 0.01;
const FAILING: f64 = 0.1;
/// The same for requests of members of the mesh that policies turn away. A few may well be meant.
const DENIES_SOME: f64 = 0.05;
const DENIES_MANY: f64 = 0.5;

pub struct Nodes<'a> {
    found: BTreeMap<Arc<str>, Found<'a>>,
    gateways: BTreeSet<Arc<str>>,
}

#[derive(Default)]
struct Found<'a> {
    entry: Option<&'a Entry>,
    /// What it was asked; TCP counts here for nothing but the existence of the node.
    asked: Sum,
    /// What it asked of others.
    asks: f64,
    touched: bool,
}

/// The namespace in a node's id.
pub fn namespace(id: &str) -> &str {
    let id = id.strip_prefix(names::PREFIX).unwrap_or(id);
    id.split_once('/').map_or("", |(namespace, _)| namespace)
}

impl<'a> Nodes<'a> {
    pub fn of(catalog: &'a Catalog, gateways: BTreeSet<Arc<str>>) -> Self {
        let mut found: BTreeMap<Arc<str>, Found<'a>> = BTreeMap::new();
        for entry in catalog.entries() {
            found.entry(names::id(&entry.service).into()).or_default().entry = Some(entry);
        }
        Self { found, gateways }
    }

    pub fn add(&mut self, key: &EdgeKey, sum: &Sum) {
        let of_requests = key.protocol != Protocol::Tcp;
        let source = self.found.entry(Arc::clone(&key.source)).or_default();
        source.touched = true;
        source.asks += if of_requests { sum.requests } else { 0.0 };
        let destination = self.found.entry(Arc::clone(&key.destination)).or_default();
        destination.touched = true;
        if of_requests {
            destination.asked.merge_from(key, sum);
        }
    }

    pub fn finish(self, edges: &[EdgeView], namespaces: &[String], window: Window) -> Vec<NodeView> {
        let failing = failing_connections(edges);
        let Self { found, gateways } = self;
        let wanted = |id: &str, found: &Found<'_>| {
            let internal = found.entry.is_some_and(|entry| entry.service.location == Location::MeshInternal);
            let own = namespaces.is_empty() || namespaces.iter().any(|of| of == namespace(id));
            found.touched || (internal && own)
        };
        let shown = found.into_iter().filter(|(id, found)| wanted(id, found));
        shown.map(|(id, found)| view(&id, &found, &gateways, &failing, window)).collect()
    }
}

/// The share of TCP connections to a node that did not come about, by node.
fn failing_connections(edges: &[EdgeView]) -> BTreeMap<&str, f64> {
    let tcp = edges.iter().filter(|edge| edge.connections_per_second.is_some_and(|rate| rate > 0.0));
    let mut worst: BTreeMap<&str, f64> = BTreeMap::new();
    for edge in tcp {
        let known = worst.entry(&edge.destination).or_default();
        *known = known.max(edge.error_ratio.unwrap_or_default());
    }
    worst
}

fn view(
    id: &str,
    found: &Found<'_>,
    gateways: &BTreeSet<Arc<str>>,
    failing: &BTreeMap<&str, f64>,
    window: Window,
) -> NodeView {
    let kind = match id {
        id if gateways.contains(id) => "gateway",
        id if id == names::UNKNOWN => "unknown",
        id if id.starts_with("external:") => "external",
        id if id.starts_with(names::PREFIX) => "workload",
        _ => "service",
    };
    let is_asked = found.asked.requests > 0.0;
    let requests = if is_asked { found.asked.requests } else { found.asks };
    let error_ratio = found.asked.error_ratio();
    let endpoints = found.entry.map(endpoints);
    let by_traffic = health_of_traffic(0.0, found.asked.denied_ratio().unwrap_or_default());
    let worst = error_ratio.into_iter().chain(failing.get(id).copied()).reduce(f64::max);
    NodeView {
        kind,
        namespace: namespace(id).to_owned(),
        name: id.rsplit(['/', ':']).next().unwrap_or_default().to_owned(),
        host: found.entry.map(|entry| entry.service.host().to_string()),
        platforms: found.entry.map(platforms).unwrap_or_default(),
        versions: found.asked.versions(window),
        requests_per_second: rounded(requests / window.seconds),
        error_ratio,
        denied_per_second: rounded(found.asked.denied / window.seconds),
        latency_ms: if is_asked { found.asked.latency() } else { Latency::default() },
        health: worse(by_traffic, health(worst, endpoints, found.touched, kind)),
        endpoints,
        part_of: None,
        id: id.to_owned(),
    }
}

/// What requests alone make of a service, if it is not healthy by them: the share that fails, and the share that is
/// denied.
pub fn health_of_traffic(errors: f64, denied: f64) -> Option<&'static str> {
    match () {
        () if errors >= FAILING || denied >= DENIES_MANY => Some("failing"),
        () if errors >= DEGRADED || denied >= DENIES_SOME => Some("degraded"),
        () => None,
    }
}

pub fn worse(one: Option<&'static str>, other: &'static str) -> &'static str {
    match one {
        Some(one) if other != "failing" => one,
        _ => other,
    }
}

pub fn health(errors: Option<f64>, endpoints: Option<ReadyEndpoints>, touched: bool, kind: &str) -> &'static str {
    let (errors_known, errors) = (errors.is_some(), errors.unwrap_or_default());
    let none_ready = endpoints.is_some_and(|endpoints| endpoints.total > 0 && endpoints.ready == 0);
    let some_missing = endpoints.is_some_and(|endpoints| endpoints.ready < endpoints.total);
    match () {
        () if errors >= FAILING || none_ready => "failing",
        () if errors >= DEGRADED || some_missing => "degraded",
        () if errors_known || (touched && kind == "gateway") => "healthy",
        () if kind == "service" || kind == "gateway" => "idle",
        () => "unknown",
    }
}

fn endpoints(entry: &Entry) -> ReadyEndpoints {
    let ready = entry.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy).count();
    ReadyEndpoints { ready, total: entry.endpoints.len() }
}

fn platforms(entry: &Entry) -> Vec<String> {
    let of = |endpoint: &registry::Endpoint| match &*endpoint.provenance.registry {
        "discovery" => "discovery",
        _ => endpoint.workload.platform.as_str(),
    };
    let platforms: BTreeSet<&str> = entry.endpoints.iter().map(of).collect();
    platforms.into_iter().map(str::to_owned).collect()
}
