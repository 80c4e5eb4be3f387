//! The platforms that services come from.

use std::collections::BTreeMap;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use registry::{Catalog, RegistryState, RegistryStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(registries))
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RegistryView {
    pub name: String,
    /// `syncing`, `synced` or `stale`
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
    let mut items = all(&catalog);
    if !known.namespaces().is_empty() {
        narrow(&mut items, &catalog, &known);
    }
    let conflicts = conflicts(&catalog, &known);
    Json(Registries { items, conflicts, revision: state.kept.feed.revision() })
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

pub fn all(catalog: &Catalog) -> Vec<RegistryView> {
    catalog.registries.iter().map(RegistryView::of).collect()
}

impl RegistryView {
    fn of(registry: &RegistryStatus) -> Self {
        let (state, reason) = match &registry.state {
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
