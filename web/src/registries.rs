//! The platforms that services come from.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use registry::{Catalog, RegistryState, RegistryStatus, Steer, SteerError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::At;
use crate::problem::Problem;
use crate::state::State;

/// So long a platform may take to tell all it knows.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(registries))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(resync))
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RegistryView {
    pub name: String,
    /// `syncing`, `synced`, `stale` or `paused`
    pub state: &'static str,
    /// Why it is stale.
    pub reason: Option<String>,
    /// Since when it is in this state; Unix seconds, 0 if not known.
    pub since: u64,
    pub services: usize,
    pub endpoints: usize,
    /// Whether it was away so long that nothing it told counts.
    pub forgotten: bool,
    /// What the platform says and the mesh cannot use.
    pub findings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Registries {
    items: Vec<RegistryView>,
    /// What registries disagree about.
    conflicts: Vec<Conflict>,
    revision: u64,
}

#[derive(Serialize, ToSchema)]
struct Conflict {
    service: String,
    message: String,
}

/// The platforms that services come from, and how each is. For a token for namespaces the counts and conflicts are those
/// of these namespaces, and findings, which may be about any, are left out.
#[utoipa::path(get, path = "/registries",
    responses((status = 200, description = "All registries", body = Registries)))]
async fn registries(Shared(state): Shared<State>, Extension(known): Extension<Known>) -> Json<Registries> {
    let catalog = state.catalog();
    let items = seen(&catalog, &known);
    let conflicts = conflicts(&catalog, &known);
    Json(Registries { items, conflicts, revision: state.kept.feed.revision() })
}

/// Leaves the news of a platform aside until it is resumed, or this control plane ends. What it told stands.
#[utoipa::path(post, path = "/registries/{name}/_pause", params(("name" = String, Path)),
    responses((status = 200, description = "The registry", body = RegistryView)))]
async fn pause(state: Shared<State>, name: At<String>) -> Result<Json<RegistryView>, Problem> {
    steer(state, name, Steer::Pause).await
}

/// Reads a platform anew that was paused, and takes its news again.
#[utoipa::path(post, path = "/registries/{name}/_resume", params(("name" = String, Path)),
    responses((status = 200, description = "The registry, once it has told all it knows", body = RegistryView)))]
async fn resume(state: Shared<State>, name: At<String>) -> Result<Json<RegistryView>, Problem> {
    steer(state, name, Steer::Resume).await
}

/// Reads a platform anew: what it does not tell any more is taken out once it has told all it knows.
#[utoipa::path(post, path = "/registries/{name}/_resync", params(("name" = String, Path)),
    responses((status = 200, description = "The registry, once it has told all it knows", body = RegistryView)))]
async fn resync(state: Shared<State>, name: At<String>) -> Result<Json<RegistryView>, Problem> {
    steer(state, name, Steer::Resync).await
}

async fn steer(Shared(state): Shared<State>, At(name): At<String>, what: Steer) -> Result<Json<RegistryView>, Problem> {
    let late = |_| Problem::late(format!("{name} did not tell all it knows within {} s", PATIENCE.as_secs()));
    let done = tokio::time::timeout(PATIENCE, state.steering.steer(&name, what)).await.map_err(late)?;
    done.map_err(|error| match error {
        SteerError::Unknown(..) => Problem::not_found(error),
        SteerError::Declared => Problem::unprocessable(error),
        SteerError::Paused(_) => Problem::conflict(error),
        SteerError::Lost(..) | SteerError::Ended => Problem::unavailable(error),
    })?;
    let view = all(&state.catalog()).into_iter().find(|registry| registry.name == name);
    view.map(Json).ok_or_else(|| Problem::not_found(format!("there is no registry {name:?}")))
}

/// Counts what the caller may see only.
fn narrow(items: &mut [RegistryView], catalog: &Catalog, known: &Known) {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for entry in catalog.entries().filter(|entry| known.sees(entry.service.namespace())) {
        counts.entry(&entry.service.provenance.registry).or_default().0 += 1;
        for endpoint in entry.endpoints.iter() {
            counts.entry(&endpoint.provenance.registry).or_default().1 += 1;
        }
    }
    for item in items {
        (item.services, item.endpoints) = counts.get(item.name.as_str()).copied().unwrap_or_default();
        item.findings.clear();
    }
}

/// As the caller may see them.
pub fn seen(catalog: &Catalog, known: &Known) -> Vec<RegistryView> {
    let mut items = all(catalog);
    if !known.namespaces().is_empty() {
        narrow(&mut items, catalog, known);
    }
    items
}

pub fn all(catalog: &Catalog) -> Vec<RegistryView> {
    catalog.registries.iter().map(RegistryView::of).collect()
}

impl RegistryView {
    fn of(registry: &RegistryStatus) -> Self {
        let (state, reason) = match &registry.state {
            _ if registry.paused => ("paused", Some("an operator left its news aside".to_owned())),
            RegistryState::Syncing => ("syncing", None),
            RegistryState::Synced => ("synced", None),
            RegistryState::Stale(reason) => ("stale", Some(reason.clone())),
        };
        Self {
            name: registry.name.to_string(),
            state,
            reason,
            since: registry.since,
            services: registry.services,
            endpoints: registry.endpoints,
            forgotten: registry.forgotten,
            findings: registry.findings.to_vec(),
        }
    }
}

fn conflicts(catalog: &Catalog, known: &Known) -> Vec<Conflict> {
    let of_entry = |entry: &registry::Entry| {
        let service = entry.service.host().as_str().to_owned();
        let shown = |words: &String| Conflict { service: service.clone(), message: words.clone() };
        entry.conflicts.iter().map(shown).collect::<Vec<_>>()
    };
    catalog.entries().filter(|entry| known.sees(entry.service.namespace())).flat_map(of_entry).collect()
}
