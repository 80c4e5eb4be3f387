//! The graph of services over a window of time, as the API shows it.

mod failing;
mod nodes;
mod split;
mod sum;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use registry::Catalog;
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::{Manner, SLOT_MS, begin_of, slot_of};
use crate::intake::{EdgeKey, Protocol};
use crate::mixer::{Edge, State};
use crate::names::UNKNOWN;
pub use failing::{FailingEdge, ailing, failing};
use nodes::Nodes;
pub use nodes::namespace;
use sum::{Sum, denied};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GraphQuery {
    /// Length of the window in seconds; at most an hour.
    pub window_seconds: u64,
    /// The end of the window in Unix milliseconds; now without it.
    pub at: Option<u64>,
    /// Edges that touch one of these namespaces; all without any.
    pub namespaces: Vec<String>,
    /// Whether the versions of a service are nodes of their own.
    pub by_version: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Graph {
    /// Unix milliseconds.
    pub at: u64,
    pub window_seconds: u64,
    pub nodes: Vec<NodeView>,
    pub edges: Vec<EdgeView>,
    pub reporting: Reporting,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct NodeView {
    pub id: String,
    /// `service`, `version`, `workload`, `gateway`, `external` or `unknown`.
    pub kind: &'static str,
    /// The node of the service that this is a version of.
    pub part_of: Option<String>,
    pub namespace: String,
    pub name: String,
    pub host: Option<String>,
    pub platforms: Vec<String>,
    pub versions: Vec<VersionView>,
    pub endpoints: Option<ReadyEndpoints>,
    pub requests_per_second: f64,
    pub error_ratio: Option<f64>,
    /// Requests of members of the mesh that its policies turned away.
    pub denied_per_second: f64,
    pub latency_ms: Latency,
    /// `healthy`, `degraded`, `failing`, `idle` or `unknown`.
    pub health: &'static str,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EdgeView {
    pub id: String,
    pub source: String,
    pub destination: String,
    pub protocol: &'static str,
    pub requests_per_second: f64,
    pub error_ratio: Option<f64>,
    pub latency_ms: Latency,
    pub bytes_per_second: ByteRates,
    /// Of TCP; null for requests.
    pub connections_per_second: Option<f64>,
    /// Of what came to the other side; null where nothing did.
    pub mtls_ratio: Option<f64>,
    pub denied_per_second: f64,
    /// Answers a second by status.
    pub codes: BTreeMap<u16, f64>,
    pub versions: Vec<VersionView>,
    pub principals: Principals,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VersionView {
    pub version: String,
    pub requests_per_second: f64,
    pub error_ratio: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ByteRates {
    pub sent: f64,
    pub received: f64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Principals {
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "text")]
    pub source: Option<Arc<str>>,
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "text")]
    pub destination: Option<Arc<str>>,
}

fn text<S: serde::Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReadyEndpoints {
    pub ready: usize,
    pub total: usize,
}

/// Which proxies the figures come from.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Reporting {
    pub known: usize,
    pub fresh: usize,
    pub stale: Vec<String>,
}

const LONGEST_WINDOW: u64 = 3600;
const SHORTEST_WINDOW: u64 = 10;
/// What callers without a proxy seem to send, beside what proxies say that they sent in plain text, is noise below this.
const NOISE: f64 = 0.1;

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Slots, both included.
    pub first: u32,
    pub last: u32,
    /// The time that reports cover of it.
    pub seconds: f64,
}

/// What the graph is made of, as it was at one moment. A proxy is stale if it was not heard of for so many milliseconds.
pub fn read(state: &State, query: &GraphQuery, now: u64, stale_ms: u64) -> Reading {
    let at = query.at.unwrap_or(now).min(now);
    let window_seconds = query.window_seconds.clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
    let window = window(state, at, window_seconds, now, stale_ms);
    let gateways = state.proxies.values().filter(|proxy| proxy.reporter.gateway);
    Reading {
        at,
        window_seconds,
        window,
        namespaces: query.namespaces.clone(),
        by_version: query.by_version,
        edges: state.edges.iter().filter_map(|(key, edge)| read_whole(key, edge, window, query.by_version)).collect(),
        gateways: gateways.map(|proxy| state.names.workload(&proxy.reporter.workload)).collect(),
        reporting: reporting(state, now, stale_ms),
    }
}

pub struct Reading {
    at: u64,
    window_seconds: u64,
    window: Window,
    namespaces: Vec<String>,
    by_version: bool,
    edges: Vec<EdgeSum>,
    gateways: BTreeSet<Arc<str>>,
    reporting: Reporting,
}

/// What passed over an edge within the window.
struct EdgeSum {
    key: Arc<EdgeKey>,
    sum: Sum,
    principals: Principals,
    /// Whether it is what the caller's side tells.
    by_source: bool,
    /// How the requests went, where versions are told apart.
    manners: Vec<(Manner, f64)>,
}

impl Reading {
    pub fn build(self, catalog: &Catalog) -> Graph {
        let Self { at, window_seconds, window, namespaces, by_version, edges, gateways, reporting } = self;
        let plain = plain(&edges);
        let mut nodes = Nodes::of(catalog, gateways);
        let mut views = Vec::with_capacity(edges.len());
        let mut manners = HashMap::new();
        for mut edge in edges {
            let sent = plain.get(&edge.key.destination).copied().unwrap_or_default();
            if &*edge.key.source == UNKNOWN && !discount(&mut edge.sum, sent) {
                continue;
            }
            if !namespaces.is_empty() && !touches(&edge.key, &namespaces) {
                continue;
            }
            nodes.add(&edge.key, &edge.sum);
            let told = std::mem::take(&mut edge.manners);
            let view = view(edge, window);
            if by_version {
                manners.insert(view.id.clone(), told);
            }
            views.push(view);
        }
        views.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let nodes = nodes.finish(&views, &namespaces, window);
        let graph = Graph { at, window_seconds, nodes, edges: views, reporting };
        if by_version { split::by_version(graph, &manners, catalog) } else { graph }
    }
}

/// What callers' sides sent in plain text, by destination: the one who takes it cannot tell from whom it is, so it is
/// taken off from what came from nobody known.
fn plain(edges: &[EdgeSum]) -> HashMap<Arc<str>, f64> {
    let mut plain = HashMap::new();
    for edge in edges.iter().filter(|edge| edge.by_source) {
        *plain.entry(Arc::clone(&edge.key.destination)).or_default() += edge.sum.plain();
    }
    plain
}

/// The slots of the window. Its end is where reports end: half a pause before now, on the whole.
fn window(state: &State, at: u64, seconds: u64, now: u64, stale_ms: u64) -> Window {
    let last = slot_of(at);
    let first = (last + 1).saturating_sub(u32::try_from(seconds.div_ceil(SLOT_MS / 1000)).unwrap_or(u32::MAX));
    let fresh = state.proxies.values().map(|proxy| proxy.last_report).filter(|heard| heard + stale_ms > now);
    let (sum, count) = fresh.fold((0_u128, 0_u128), |(sum, count), heard| (sum + u128::from(heard), count + 1));
    let told = u64::try_from(sum.checked_div(count).unwrap_or_default()).unwrap_or(at);
    let end = begin_of(last + 1).min(if count == 0 { at } else { told });
    let begin = begin_of(first).max(if state.since == u64::MAX { 0 } else { state.since });
    Window { first, last, seconds: (end.saturating_sub(begin) as f64 / 1000.0).max(1.0) }
}

/// An edge, and how its requests went where versions are told apart.
fn read_whole(key: &Arc<EdgeKey>, edge: &Edge, window: Window, by_version: bool) -> Option<EdgeSum> {
    let mut read = read_edge(key, edge, window)?;
    if by_version {
        let history = if read.by_source { &edge.by_source } else { &edge.by_destination };
        read.manners = sum::manners(history, window);
    }
    Some(read)
}

/// What the caller's side tells, else the other side's; denials from whichever side knows of them.
fn read_edge(key: &Arc<EdgeKey>, edge: &Edge, window: Window) -> Option<EdgeSum> {
    let mut sum = Sum::of(&edge.by_source, window);
    let by_source = !sum.is_empty();
    if by_source {
        sum.denied = sum.denied.max(denied(&edge.by_destination, window));
    } else {
        sum = Sum::of(&edge.by_destination, window);
    }
    let principals =
        Principals { source: edge.source_principal.clone(), destination: edge.destination_principal.clone() };
    (!sum.is_empty()).then(|| EdgeSum { key: Arc::clone(key), sum, principals, by_source, manners: Vec::new() })
}

/// Takes off what proxies told of already; whether anything is left.
fn discount(sum: &mut Sum, plain: f64) -> bool {
    if plain <= 0.0 {
        return true;
    }
    let left = (sum.requests - plain).max(0.0);
    let share = if sum.requests > 0.0 { left / sum.requests } else { 0.0 };
    sum.scale(share);
    share > NOISE
}

fn touches(key: &EdgeKey, namespaces: &[String]) -> bool {
    [&key.source, &key.destination].iter().any(|id| namespaces.iter().any(|of| nodes::namespace(id) == of))
}

fn view(edge: EdgeSum, window: Window) -> EdgeView {
    let EdgeSum { key, sum, principals, .. } = edge;
    let rate = |count: f64| rounded(count / window.seconds);
    EdgeView {
        id: format!("{}>{}>{}", key.source, key.destination, key.protocol.as_str()),
        source: key.source.to_string(),
        destination: key.destination.to_string(),
        protocol: key.protocol.as_str(),
        requests_per_second: if key.protocol == Protocol::Tcp { 0.0 } else { rate(sum.requests) },
        error_ratio: sum.error_ratio(),
        latency_ms: sum.latency(),
        bytes_per_second: ByteRates { sent: rate(sum.received), received: rate(sum.sent) },
        connections_per_second: (key.protocol == Protocol::Tcp).then(|| rate(sum.requests)),
        mtls_ratio: sum.mtls_ratio(),
        denied_per_second: rate(sum.denied),
        codes: sum.codes.iter().map(|(code, count)| (*code, rate(*count))).collect(),
        versions: sum.versions(window),
        principals,
    }
}

fn reporting(state: &State, now: u64, stale_ms: u64) -> Reporting {
    let is_fresh = |heard: u64| heard + stale_ms > now;
    let (fresh, stale): (Vec<_>, Vec<_>) = state.proxies.values().partition(|proxy| is_fresh(proxy.last_report));
    let mut stale: Vec<String> = stale.iter().map(|proxy| proxy.reporter.node.clone()).collect();
    stale.sort_unstable();
    Reporting { known: state.proxies.len(), fresh: fresh.len(), stale }
}

/// As many digits as an eye can use.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
