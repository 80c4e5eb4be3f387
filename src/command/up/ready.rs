//! When a mesh is ready: the control plane answers, every proxy is ready and on the latest configuration, and the
//! sample's page comes through the gateway.

use std::time::Duration;

use serde_json::Value;

use super::plan::{GATEWAY, State, Workload, readiness};
use super::probe;
use crate::command::api::{ApiOptions, Client};
use crate::command::data_dir::DataDir;
use crate::command::proxy_status::is_synced;

const POLL: Duration = Duration::from_millis(100);

/// Resolves once the control plane, whose process `is_current` knows, has said where it is and answers there.
pub async fn control_plane(state: &State, data: &DataDir, is_current: impl Fn(u32) -> bool) {
    let url = format!("http://{}/healthz", state.api);
    let told = || data.address().ok().flatten().is_some_and(|address| is_current(address.pid));
    while !told() || !probe::is_ok(&url).await {
        tokio::time::sleep(POLL).await;
    }
}

/// Resolves once everything carries traffic; `say` hears what is waited for.
pub async fn everything(state: &State, data: &DataDir, say: impl Fn(&str)) {
    while let Some(waiting) = waiting(state, data).await {
        say(&waiting);
        tokio::time::sleep(POLL).await;
    }
}

/// What is not ready yet.
async fn waiting(state: &State, data: &DataDir) -> Option<String> {
    let proxies = [(GATEWAY, state.gateway)].into_iter();
    for (name, address) in proxies.chain(state.workloads.iter().map(|w| (w.name.as_str(), w.address))) {
        if !probe::is_ok(&readiness(address)).await {
            return Some(format!("waiting for {name} to be ready"));
        }
    }
    let Some(endpoints) = listing(data, "endpoints").await else { return Some("waiting for the control plane".into()) };
    // Before all are known there are requests that no route leads on, which the graph would have to tell of.
    if let Some(missing) = state.workloads.iter().find(|workload| !is_served(&endpoints, workload)) {
        return Some(format!("waiting for {} to be served", missing.name));
    }
    let Some(listing) = listing(data, "proxies").await else { return Some("waiting for the control plane".into()) };
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let synced = items.iter().filter(|proxy| is_synced(proxy)).count();
    let expected = state.workloads.len() + 1;
    if synced < expected {
        return Some(format!("waiting for proxies to take their configuration: {synced} of {expected}"));
    }
    let page = format!("http://{}/productpage", state.gateway);
    let shown = state.workloads.is_empty() || probe::is_ok(&page).await;
    (!shown).then(|| format!("waiting for {page}"))
}

async fn listing(data: &DataDir, what: &str) -> Option<Value> {
    Client::open(data, &ApiOptions::default()).ok()?.list(what).await.ok()
}

/// Whether callers are sent to a workload.
fn is_served(endpoints: &Value, workload: &Workload) -> bool {
    let items = endpoints["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = workload.address.ip().to_string();
    items.iter().any(|endpoint| endpoint["address"] == address.as_str() && endpoint["health"] == "healthy")
}
