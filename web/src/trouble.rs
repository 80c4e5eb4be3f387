//! Everything that is wrong now, in one list: refused files, objects at odds with others, findings of the compile,
//! refusals of proxies, registries out of reach or at odds.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State as Shared;
use galley::analysis::Found;
use pilot::{ProxyStatus, SyncState};
use registry::{Catalog, RegistryState};
use serde_json::{Value, json};

use crate::problem::Finding;
use crate::state::State;

pub async fn problems(Shared(state): Shared<State>) -> Json<Value> {
    let mut items: Vec<Value> = state.galley.problems().iter().map(file).collect();
    let across = state.galley.analyse(&state.known_hosts());
    items.extend(across.iter().map(analysed));
    let dangling = across.iter().filter(|found| found.diagnostic.code == galley::code::REFERENCE_NOT_FOUND);
    let dangling: BTreeSet<String> = dangling.map(|found| found.object.to_string()).collect();
    for proxy in state.discovery.proxies() {
        items.extend(refusals(&proxy));
        items.extend(findings(&proxy, &dangling));
    }
    items.extend(registries(&state.catalog()));
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.to_string()));
    Json(json!({ "items": items }))
}

fn file(problem: &galley::Problem) -> Value {
    json!({
        "source": "configuration",
        "severity": if problem.is_error() { "error" } else { "warning" },
        "object": problem.file,
        "message": problem.to_string(),
        "finding": Finding::from(problem),
    })
}

fn analysed(found: &Found) -> Value {
    json!({
        "source": "analysis",
        "severity": if found.diagnostic.is_error() { "error" } else { "warning" },
        "object": found.object.to_string(),
        "code": found.diagnostic.code,
        "message": format!("{}: {}", found.diagnostic.path, found.diagnostic.message),
    })
}

fn refusals(proxy: &ProxyStatus) -> Vec<Value> {
    let refused = proxy.types.iter().filter(|(_, of_type)| of_type.state == SyncState::Nacked);
    refused
        .map(|(name, of_type)| {
            let words = of_type.error.as_deref().unwrap_or("without a reason");
            let message = format!("refused {name}: {words}");
            json!({ "source": "proxy", "severity": "error", "object": proxy.id, "message": message })
        })
        .collect()
}

/// The same finding concerns many proxies; it is shown once. What the analysis said already is not said again.
fn findings(proxy: &ProxyStatus, dangling: &BTreeSet<String>) -> Vec<Value> {
    let said = |found: &pilot::Diagnostic| {
        matches!(found.code, pilot::Code::UnknownHost | pilot::Code::UnknownSubset) && dangling.contains(&found.object)
    };
    let findings = proxy.diagnostics.iter().filter(|found| !said(found));
    findings
        .map(|found| {
            json!({
                "source": "compile",
                "severity": "warning",
                "object": found.object,
                "code": found.code.as_str(),
                "message": found.message,
            })
        })
        .collect()
}

fn registries(catalog: &Catalog) -> Vec<Value> {
    let stale = catalog.registries.iter().filter_map(|registry| match &registry.state {
        RegistryState::Stale(reason) => {
            Some(json!({ "source": "registry", "severity": "warning", "object": registry.name, "message": reason }))
        }
        _ => None,
    });
    let conflicts = catalog.entries().flat_map(|entry| {
        let object = entry.service.host().as_str();
        let conflicts = entry.conflicts.iter();
        conflicts.map(
            move |words| json!({ "source": "registry", "severity": "warning", "object": object, "message": words }),
        )
    });
    let findings = catalog.registries.iter().flat_map(|registry| {
        let told = registry.findings.iter();
        told.map(move |words| json!({ "source": "registry", "severity": "warning", "object": registry.name, "message": words }))
    });
    stale.chain(findings).chain(conflicts).collect()
}
