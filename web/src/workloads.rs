//! What runs: the workloads behind the endpoints, and those that only a proxy speaks for, such as gateways.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use registry::{Health, TlsMode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::Asked;
use crate::feed::{News, Topic};
use crate::list::{self, List, LiveQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(workloads))
}

/// Something that runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Workload {
    /// `default/reviews-v1`
    pub id: String,
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    /// Its SPIFFE ID, if it is in the mesh.
    pub identity: Option<String>,
    pub version: String,
    pub labels: BTreeMap<String, String>,
    pub platform: &'static str,
    /// The cluster that it runs in.
    pub cluster: String,
    /// `region/zone/subzone`
    pub locality: String,
    /// `healthy`, `unhealthy`, `draining` or `unknown`: the worst of its endpoints
    pub health: &'static str,
    /// Which services it serves.
    pub serves: Vec<Serves>,
    /// The id of its connected proxy.
    pub proxy: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Serves {
    /// The service's host.
    pub service: String,
    pub service_port: String,
    pub address: String,
    pub port: u16,
    pub health: &'static str,
}

/// The workloads of all services, and the proxies that serve none.
#[utoipa::path(get, path = "/workloads", params(LiveQuery),
    responses((status = 200, description = "A page of workloads", body = List<Workload>)))]
async fn workloads(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Response, Problem> {
    let concerns = |news: &News| matches!(news.topic, Topic::Endpoints | Topic::Services | Topic::Proxies);
    let seen = || all(&state).into_iter().filter(|workload| known.sees(&workload.namespace));
    list::live(&state, &query, concerns, seen).await
}

pub fn all(state: &State) -> Vec<Workload> {
    let mut found = BTreeMap::new();
    let catalog = state.catalog();
    for entry in catalog.entries() {
        for endpoint in entry.endpoints.iter() {
            take(&mut found, state, entry.service.host().as_str(), endpoint);
        }
    }
    let mut proxies: Vec<(String, String, String)> = Vec::new();
    for (node, _) in state.discovery.nodes() {
        let id = format!("{}/{}", node.namespace, node.workload);
        let identity = node.service_account.as_ref();
        let identity = identity.and_then(|account| state.trust_domain.workload(&node.namespace, account).ok());
        found.entry(id.clone()).or_insert_with(|| Workload {
            id: id.clone(),
            namespace: node.namespace.clone(),
            name: node.workload.clone(),
            service_account: node.service_account.clone().unwrap_or_default(),
            identity: identity.map(|id| id.to_string()),
            version: node.labels.get("version").cloned().unwrap_or_default(),
            labels: node.labels.clone(),
            platform: "vm",
            cluster: node.cluster.clone(),
            locality: node.locality.to_string(),
            health: "unknown",
            serves: Vec::new(),
            proxy: None,
        });
        proxies.push((id, node.name.clone(), node.id.clone()));
    }
    for (id, name, _) in proxies {
        if let Some(workload) = found.get_mut(&id) {
            workload.proxy = Some(name);
        }
    }
    found.into_values().collect()
}

fn take(found: &mut BTreeMap<String, Workload>, state: &State, host: &str, endpoint: &registry::Endpoint) {
    let workload = &endpoint.workload;
    let id = format!("{}/{}", workload.namespace, workload.name);
    let known = found.entry(id.clone()).or_insert_with(|| {
        let identity = (endpoint.tls == TlsMode::Istio)
            .then(|| state.trust_domain.workload(&workload.namespace, &workload.service_account).ok())
            .flatten();
        Workload {
            id,
            namespace: workload.namespace.to_string(),
            name: workload.name.clone(),
            service_account: workload.service_account.clone(),
            identity: identity.map(|id| id.to_string()),
            version: workload.canonical_revision().to_owned(),
            labels: workload.labels.clone(),
            platform: workload.platform.as_str(),
            cluster: workload.cluster.clone(),
            locality: workload.locality.to_string(),
            health: Health::Healthy.as_str(),
            serves: Vec::new(),
            proxy: None,
        }
    });
    if endpoint.health != Health::Healthy {
        known.health = endpoint.health.as_str();
    }
    known.serves.push(Serves {
        service: host.to_owned(),
        service_port: endpoint.service_port.clone(),
        address: endpoint.address.to_string(),
        port: endpoint.port,
        health: endpoint.health.as_str(),
    });
}
