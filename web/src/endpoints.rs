//! Where traffic can go: every endpoint of every service.

use std::collections::BTreeMap;

use axum::extract::State as Shared;
use axum::response::Response;
use axum::{Extension, Json};
use registry::{Catalog, Entry, Health, Provenance, TlsMode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::{Asked, At};
use crate::feed::{News, Topic};
use crate::list::{self, List, ListQuery, LiveQuery};
use crate::problem::Problem;
use crate::services::{find, short_name};
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(endpoints)).routes(routes!(of_service))
}

/// An address and port that takes traffic for a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Endpoint {
    /// The service's host.
    pub service: String,
    pub service_name: String,
    pub namespace: String,
    /// The name of the service's port.
    pub service_port: String,
    pub address: String,
    pub port: u16,
    /// `healthy`, `unhealthy` or `draining`
    pub health: &'static str,
    /// Whose word that is: `registry` (the platform's checks), `agent` (what the workload's own proxy finds), `heartbeat`
    /// (it was heard of, or has been silent for too long) or `declared` (nobody checks). What single proxies leave out by
    /// outlier detection is in their `_stats`.
    pub health_source: &'static str,
    /// When its proxy was last heard of, in Unix seconds; null where it has none.
    pub last_heartbeat: Option<u64>,
    pub weight: u32,
    /// Whether it takes mutual TLS.
    pub mtls: bool,
    /// The SPIFFE ID that its callers expect there.
    pub identity: Option<String>,
    pub workload: String,
    pub version: String,
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`
    pub locality: String,
    pub platform: &'static str,
    /// Whether what is known of it may be out of date: the registry that told of it is out of reach, or its own agent
    /// is silent.
    pub stale: bool,
    /// Since when, in Unix seconds, nothing has been heard of its agent, which said no goodbye.
    pub silent_since: Option<u64>,
    pub registry: String,
    /// What it is called there.
    pub object: String,
}

/// Whether what is known of an endpoint may be out of date.
pub fn is_stale(catalog: &Catalog, endpoint: &registry::Endpoint) -> bool {
    endpoint.silent_since.is_some() || catalog.is_stale(&endpoint.provenance.registry)
}

/// Whether an entry is of the service that is asked for, by whichever of its names.
fn takes(query: &LiveQuery, entry: &Entry) -> bool {
    let Some(name) = &query.service else { return true };
    let called =
        |host: &str| host.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let is_alias = |alias: &api::Hostname| alias.as_str() == name;
    called(entry.service.host().as_str()) || entry.service.aliases.iter().any(is_alias)
}

/// The endpoints of all services, or of those that are asked for.
#[utoipa::path(get, path = "/endpoints", params(LiveQuery),
    responses((status = 200, description = "A page of endpoints", body = List<Endpoint>)))]
async fn endpoints(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    let concerns = |news: &News| matches!(news.topic, Topic::Services | Topic::Endpoints);
    let all = || {
        let catalog = state.catalog();
        let entries = catalog.entries().filter(|entry| takes(&query, entry));
        let entries = entries.filter(|entry| known.sees(entry.service.namespace()));
        let heard = heard(&state);
        entries.flat_map(|entry| of_entry(&state, &catalog, &heard, entry)).collect::<Vec<_>>()
    };
    list::live(&state, &LiveQuery { service: None, ..query.clone() }, concerns, all).await
}

/// The endpoints of one service.
#[utoipa::path(get, path = "/services/{namespace}/{name}/_endpoints",
    params(("namespace" = String, Path), ("name" = String, Path), ListQuery),
    responses((status = 200, description = "A page of endpoints", body = List<Endpoint>)))]
async fn of_service(
    Shared(state): Shared<State>,
    At((namespace, name)): At<(String, String)>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List<Value>>, Problem> {
    let catalog = state.catalog();
    let entry = find(&state, &catalog, &namespace, &name)?;
    list::page(&state, &query, of_entry(&state, &catalog, &heard(&state), entry))
}

/// When the proxies of workloads were last heard of, by namespace, name and address: replicas may share a name.
type Heard = BTreeMap<(String, String, String), mixer::Seen>;

fn heard(state: &State) -> Heard {
    state.mixer.seen(|reporter| {
        let address = reporter.node.split('~').nth(1)?.to_owned();
        Some((reporter.workload.namespace.clone(), reporter.workload.name.clone(), address))
    })
}

fn of_entry(state: &State, catalog: &Catalog, heard: &Heard, entry: &Entry) -> Vec<Endpoint> {
    let of = |endpoint: &registry::Endpoint| {
        let mut shown = Endpoint::of(state, catalog, entry, endpoint);
        let workload = &endpoint.workload;
        let workload = (workload.namespace.to_string(), workload.name.clone(), endpoint.address.to_string());
        shown.last_heartbeat = heard.get(&workload).map(|seen| seen.at).or(endpoint.silent_since);
        shown
    };
    entry.endpoints.iter().map(of).collect()
}

/// Whose word the health of an endpoint is.
fn health_source(endpoint: &registry::Endpoint) -> &'static str {
    let is_given_up = endpoint.silent_since.is_some() && endpoint.health == Health::Unhealthy;
    match &*endpoint.provenance.registry {
        "agents" if is_given_up => "heartbeat",
        "agents" => "agent",
        "discovery" => "heartbeat",
        Provenance::DECLARED => "declared",
        _ => "registry",
    }
}

impl Endpoint {
    fn of(state: &State, catalog: &Catalog, entry: &Entry, endpoint: &registry::Endpoint) -> Self {
        let (service, workload) = (&entry.service, &endpoint.workload);
        let host = service.host().as_str();
        let identity = (endpoint.tls == TlsMode::Istio)
            .then(|| state.trust_domain.workload(&workload.namespace, &workload.service_account).ok())
            .flatten();
        Self {
            service: host.to_owned(),
            service_name: short_name(host, service.namespace(), &state.domain()).to_owned(),
            namespace: service.namespace().to_owned(),
            service_port: endpoint.service_port.clone(),
            address: endpoint.address.to_string(),
            port: endpoint.port,
            health: endpoint.health.as_str(),
            health_source: health_source(endpoint),
            last_heartbeat: None,
            weight: endpoint.weight,
            mtls: endpoint.tls == TlsMode::Istio,
            identity: identity.map(|id| id.to_string()),
            workload: workload.name.clone(),
            version: workload.canonical_revision().to_owned(),
            labels: workload.labels.clone(),
            locality: workload.locality.to_string(),
            platform: workload.platform.as_str(),
            stale: is_stale(catalog, endpoint),
            silent_since: endpoint.silent_since,
            registry: endpoint.provenance.registry.to_string(),
            object: endpoint.provenance.object.clone(),
        }
    }
}
