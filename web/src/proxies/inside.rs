//! What one proxy runs on: its configuration, how it is laid out, which objects made it, and what happened to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::envoy::config::cluster::v3::Cluster;
use api::envoy::config::core::v3::Metadata;
use api::envoy::config::route::v3::RouteConfiguration;
use api::prost::Message as _;
use api::prost_types::value;
use axum::Json;
use axum::extract::State as Shared;
use galley::kinds::{MtlsMode, selects};
use pilot::{Kind, Node, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{dump, find};
use crate::extract::{Asked, At};
use crate::kept::millis;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(config))
        .routes(routes!(layout))
        .routes(routes!(policies))
        .routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConfigQuery {
    /// Only these types, with commas between: `clusters`, `endpoints`, `listeners`, `routes`, `names`.
    types: Option<String>,
}

/// What a proxy was last given.
#[derive(Serialize, ToSchema)]
#[schema(as = ProxyConfig)]
struct Config {
    id: String,
    /// Encoded, in bytes.
    size_bytes: usize,
    /// By type: each resource with its name and version, as protobuf's JSON; secrets are redacted.
    #[schema(value_type = Object)]
    resources: BTreeMap<&'static str, Vec<Value>>,
}

/// The whole configuration that a proxy was last given.
#[utoipa::path(get, path = "/proxies/{id}/_config", params(("id" = String, Path), ConfigQuery),
    responses((status = 200, description = "Its resources", body = Config)))]
async fn config(
    Shared(state): Shared<State>,
    At(id): At<String>,
    Asked(query): Asked<ConfigQuery>,
) -> Result<Json<Config>, Problem> {
    let status = find(&state, &id)?;
    let snapshot = state.discovery.snapshot(&status.node).unwrap_or_default();
    let mut kinds = TYPES.to_vec();
    if let Some(wanted) = &query.types {
        let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
        if let Some(unknown) = wanted.iter().find(|word| !TYPES.iter().any(|(name, _)| name == *word)) {
            let known = TYPES.map(|(name, _)| name).join(", ");
            return Err(Problem::malformed(format!("there is no type {unknown:?}; there are {known}")));
        }
        kinds.retain(|(name, _)| wanted.contains(name));
    }
    let resources = kinds.into_iter().map(|(name, kind)| (name, dump::resources(&snapshot, kind))).collect();
    Ok(Json(Config { id: status.id, size_bytes: dump::size(&snapshot), resources }))
}

const TYPES: [(&str, Kind); 5] = [
    ("clusters", Kind::Cluster),
    ("endpoints", Kind::Endpoint),
    ("listeners", Kind::Listener),
    ("routes", Kind::Route),
    ("names", Kind::NameTable),
];

/// How a proxy stands between its workload and the mesh.
#[derive(Serialize, ToSchema)]
struct Layout {
    id: String,
    kind: &'static str,
    addresses: Vec<String>,
    labels: BTreeMap<String, String>,
    /// How connections are captured: `none`, `redirect` or `tproxy`.
    capture: &'static str,
    /// What it takes for its own workload.
    inbounds: Vec<Inbound>,
    /// What it reaches for it.
    outbounds: Vec<Outbound>,
    listeners: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Inbound {
    service: String,
    port: u16,
    protocol: &'static str,
    /// Where the application listens.
    target: String,
    /// `strict`, `permissive` or `disable`: whether callers must use mutual TLS.
    mtls: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Outbound {
    host: String,
    port: u16,
    /// Empty for the whole service.
    subset: String,
    cluster: String,
    /// How many endpoints it was told of; unknown where it resolves names itself.
    endpoints: Option<usize>,
}

/// What a proxy takes in and what it reaches.
#[utoipa::path(get, path = "/proxies/{id}/_layout", params(("id" = String, Path)),
    responses((status = 200, description = "Its ways in and out", body = Layout)))]
async fn layout(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<Layout>, Problem> {
    let status = find(&state, &id)?;
    let (node, snapshot) = inside(&state, &status.node)?;
    let inputs = state.inputs.borrow().clone();
    let inbounds = node.services.iter().map(|served| Inbound {
        service: served.service.clone(),
        port: served.port,
        protocol: served.protocol.as_str(),
        target: served.target.to_string(),
        mtls: mode(pilot::mtls_mode(&inputs, &node.namespace, &node.labels, served.port)),
    });
    Ok(Json(Layout {
        id: status.id,
        kind: node.kind.as_str(),
        addresses: node.addresses.iter().map(ToString::to_string).collect(),
        labels: node.labels.clone(),
        capture: match node.capture.map(|capture| capture.interception) {
            None => "none",
            Some(pilot::Interception::Redirect) => "redirect",
            Some(pilot::Interception::Tproxy) => "tproxy",
        },
        inbounds: inbounds.collect(),
        outbounds: outbounds(&snapshot),
        listeners: snapshot.listeners.iter().map(|resource| resource.name.to_string()).collect(),
    }))
}

fn outbounds(snapshot: &Snapshot) -> Vec<Outbound> {
    let named = snapshot.clusters.iter().filter_map(|resource| {
        let [direction, port, subset, host] = split(&resource.name)?;
        let cluster = resource.name.to_string();
        (direction == "outbound").then(|| Outbound {
            host: host.to_owned(),
            port: port.parse().unwrap_or(0),
            subset: subset.to_owned(),
            endpoints: crate::why::endpoints(snapshot, &cluster).map(|endpoints| endpoints.len()),
            cluster,
        })
    });
    named.collect()
}

/// The parts of `outbound|9080|v1|reviews.default.svc.cluster.local`.
pub fn split(cluster: &str) -> Option<[&str; 4]> {
    let parts: Vec<&str> = cluster.split('|').collect();
    parts.try_into().ok()
}

pub fn mode(mode: MtlsMode) -> &'static str {
    match mode {
        MtlsMode::Strict => "strict",
        MtlsMode::Disable => "disable",
        MtlsMode::Permissive | MtlsMode::Unset => "permissive",
    }
}

/// Which objects made a proxy's configuration.
#[derive(Serialize, ToSchema)]
pub struct Policies {
    pub items: Vec<Policy>,
}

/// An object, and what of the configuration it made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Policy {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// Where in the configuration it shows: a route table, a cluster, the ports of the workload.
    pub shown_in: Vec<String>,
    /// Where the object is in this API.
    pub link: String,
}

/// The objects that made a proxy's configuration.
#[utoipa::path(get, path = "/proxies/{id}/_policies", params(("id" = String, Path)),
    responses((status = 200, description = "Its objects", body = Policies)))]
async fn policies(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<Policies>, Problem> {
    let status = find(&state, &id)?;
    let (node, snapshot) = inside(&state, &status.node)?;
    let mut found = made_by(&snapshot);
    let config = state.galley.snapshots().borrow().clone();
    let root = state.inputs.borrow().mesh.root_namespace.clone();
    for policy in &config.peer_authentications {
        let of_scope = policy.meta.namespace == node.namespace || policy.meta.namespace == root;
        let takes = policy.spec.selector.as_ref().is_none_or(|wanted| selects(wanted, &node.labels));
        if of_scope && takes && !node.services.is_empty() {
            let key = ("peer-authentication".to_owned(), policy.meta.namespace.clone(), policy.meta.name.clone());
            found.entry(key).or_default().insert("inbound".into());
        }
    }
    Ok(Json(Policies { items: shown(found) }))
}

/// Objects by (kind, namespace, name), with where each shows.
pub type Found = BTreeMap<(String, String, String), BTreeSet<String>>;

pub fn shown(found: Found) -> Vec<Policy> {
    let policy = |((kind, namespace, name), places): ((String, String, String), BTreeSet<String>)| {
        let kind = galley::Kind::named(&kind)?;
        let link = format!("/api/v1/{}/{namespace}/{name}", kind.plural());
        Some(Policy { kind: kind.as_str(), namespace, name, shown_in: places.into_iter().collect(), link })
    };
    found.into_iter().filter_map(policy).collect()
}

/// What the configuration itself says of the objects that made it.
pub fn made_by(snapshot: &Snapshot) -> Found {
    let mut found = Found::new();
    let mut add = |metadata: Option<&Metadata>, place: &str| {
        if let Some(object) = object_of(metadata) {
            found.entry(object).or_default().insert(place.to_owned());
        }
    };
    for resource in snapshot.routes.iter() {
        let Ok(table) = RouteConfiguration::decode(resource.any.value.as_slice()) else { continue };
        for host in &table.virtual_hosts {
            host.routes.iter().for_each(|route| add(route.metadata.as_ref(), &format!("route table {}", table.name)));
        }
    }
    for resource in snapshot.clusters.iter() {
        let Ok(cluster) = Cluster::decode(resource.any.value.as_slice()) else { continue };
        add(cluster.metadata.as_ref(), &format!("cluster {}", cluster.name));
    }
    found
}

/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`, in parts.
pub fn object_of(metadata: Option<&Metadata>) -> Option<(String, String, String)> {
    let istio = metadata?.filter_metadata.get("istio")?;
    let Some(value::Kind::StringValue(path)) = istio.fields.get("config")?.kind.as_ref() else { return None };
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces").skip(1).map(str::to_owned);
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((kind, namespace, name))
}

/// What happened with a proxy lately.
#[derive(Serialize, ToSchema)]
struct Events {
    /// The newest first.
    items: Vec<EventView>,
}

#[derive(Serialize, ToSchema)]
struct EventView {
    /// Unix milliseconds.
    at: u64,
    /// `connected`, `disconnected`, `sent`, `accepted` or `refused`
    what: &'static str,
    /// `CDS`, `EDS`, `LDS`, `RDS`
    #[serde(rename = "type")]
    of_type: Option<&'static str>,
    /// The proxy's words, where it refused.
    detail: Option<String>,
}

/// What was sent to a proxy lately and what it said; also of one that is not connected any more.
#[utoipa::path(get, path = "/proxies/{id}/_events", params(("id" = String, Path)),
    responses((status = 200, description = "The newest first", body = Events)))]
async fn events(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<Events>, Problem> {
    let name = find(&state, &id).map_or(id.clone(), |status| status.id);
    let events = state.discovery.events(&name);
    let events = events.ok_or_else(|| Problem::not_found(format!("no proxy {id:?} was ever connected")))?;
    let view = |event: pilot::ProxyEvent| EventView {
        at: millis(event.at),
        what: event.what.as_str(),
        of_type: event.of_type,
        detail: event.detail,
    };
    Ok(Json(Events { items: events.into_iter().rev().map(view).collect() }))
}

/// Who a connected proxy says it is, and what it runs on.
pub fn inside(state: &State, node: &str) -> Result<(Arc<Node>, Arc<Snapshot>), Problem> {
    let all = state.discovery.nodes();
    let found = all.into_iter().find(|(known, _)| known.id == node);
    found.ok_or_else(|| Problem::not_found(format!("the proxy {node} has just disconnected")))
}
