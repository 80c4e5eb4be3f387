//! Everything that is wrong now, in one list: refused files, findings of the compile, refusals of proxies, registries
//! out of reach or at odds.

use axum::Json;
use axum::extract::State as Shared;
use pilot::{ProxyStatus, SyncState};
use registry::{Catalog, RegistryState};
use serde_json::{Value, json};

use crate::problem::Finding;
use crate::state::State;

pub async fn problems(Shared(state): Shared<State>) -> Json<Value> {
    let mut items: Vec<Value> = state.galley.problems().iter().map(file).collect();
    for proxy in state.discovery.proxies() {
        items.extend(refusals(&proxy));
        items.extend(findings(&proxy));
    }
    items.extend(registries(&state.catalog()));
    let mut seen = std::collections::BTreeSet::new();
    items.retain(|item| seen.insert(item.to_string()));
    Json(json!({ "items": items }))
}

fn file(problem: &galley::Problem) -> Value {
    json!({
        "source": "configuration",
        "object": problem.file,
        "message": problem.to_string(),
        "finding": Finding::from(problem),
    })
}

fn refusals(proxy: &ProxyStatus) -> Vec<Value> {
    let refused = proxy.types.iter().filter(|(_, of_type)| of_type.state == SyncState::Nacked);
    refused
        .map(|(name, of_type)| {
            let words = of_type.error.as_deref().unwrap_or("without a reason");
            json!({ "source": "proxy", "object": proxy.id, "message": format!("refused {name}: {words}") })
        })
        .collect()
}

/// The same finding concerns many proxies; it is shown once.
fn findings(proxy: &ProxyStatus) -> Vec<Value> {
    let findings = proxy.diagnostics.iter();
    findings
        .map(|found| {
            json!({ "source": "compile", "object": found.object, "code": found.code.as_str(), "message": found.message })
        })
        .collect()
}

fn registries(catalog: &Catalog) -> Vec<Value> {
    let stale = catalog.registries.iter().filter_map(|registry| match &registry.state {
        RegistryState::Stale(reason) => {
            Some(json!({ "source": "registry", "object": registry.name, "message": reason }))
        }
        _ => None,
    });
    let conflicts = catalog.entries().flat_map(|entry| {
        entry.conflicts.iter().map(
            |conflict| json!({ "source": "registry", "object": entry.service.host().as_str(), "message": conflict }),
        )
    });
    stale.chain(conflicts).collect()
}
