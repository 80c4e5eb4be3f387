//! The platforms that services come from.

use axum::Json;
use axum::extract::State as Shared;
use registry::{Catalog, RegistryState, RegistryStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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

/// The platforms that services come from, and how each is.
#[utoipa::path(get, path = "/registries",
    responses((status = 200, description = "All registries", body = Registries)))]
async fn registries(Shared(state): Shared<State>) -> Json<Registries> {
    let catalog = state.catalog();
    Json(Registries { items: all(&catalog), conflicts: conflicts(&catalog), revision: state.kept.feed.revision() })
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

fn conflicts(catalog: &Catalog) -> Vec<Conflict> {
    let of_entry = |entry: &registry::Entry| {
        let service = entry.service.host().as_str().to_owned();
        let shown = |words: &String| Conflict { service: service.clone(), message: words.clone() };
        entry.conflicts.iter().map(shown).collect::<Vec<_>>()
    };
    catalog.entries().flat_map(of_entry).collect()
}
