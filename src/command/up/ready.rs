//! When a mesh is ready: the control plane answers, every proxy is ready and on the latest configuration, the programs
//! behind them listen, and the sample's page comes through the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::plan::{GATEWAY, State, Workload, readiness};
use super::probe;
use crate::command::api::{ApiOptions, Client};
use crate::command::data_dir::DataDir;
use crate::command::proxy_status::is_synced;

const POLL: Duration = Duration::from_millis(100);
/// How long the sample's page is waited for once nothing else is.
const PAGE: Duration = Duration::from_secs(10);

/// Resolves once the control plane, whose process `is_current` knows, has said where it is and answers there.
pub async fn control_plane(state: &State, data: &DataDir, is_current: impl Fn(u32) -> bool) {
    let url = format!("http://{}/healthz", state.api);
    let told = || data.address().ok().flatten().is_some_and(|address| is_current(address.pid));
    while !told() || !probe::is_ok(&url).await {
        tokio::time::sleep(POLL).await;
    }
}

/// Resolves once everything carries traffic; `say` hears what is waited for. What the operator's own rules make of the
/// sample's page is no reason to wait for ever: then it is told what became of it.
pub async fn everything(state: &State, data: &DataDir, say: impl Fn(&str)) -> Option<String> {
    let mut last = None;
    loop {
        match waiting(state, data).await? {
            Waiting::For(what) => {
                say(&what);
                last = None;
            }
            Waiting::ForPage(url, status) => {
                if last.get_or_insert_with(Instant::now).elapsed() >= PAGE {
                    let told =
                        status.map_or_else(|| "is not answered".to_owned(), |status| format!("answers {status}"));
                    return Some(format!("{url} {told}, although every proxy has its configuration; see `weft check`"));
                }
                say(&format!("waiting for {url}"));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What is not ready yet.
enum Waiting {
    For(String),
    /// Nothing else is waited for; with what it answers.
    ForPage(String, Option<StatusCode>),
}

async fn waiting(state: &State, data: &DataDir) -> Option<Waiting> {
    let proxies = || [(GATEWAY, state.gateway)].into_iter().chain(state.workloads.iter().map(named));
    for (name, address) in proxies() {
        if !probe::is_ok(&readiness(address)).await {
            return Some(Waiting::For(format!("waiting for {name} to be ready")));
        }
    }
    // A sidecar is ready before its program, and the page comes even where parts of it are missing.
    for workload in &state.workloads {
        if !probe::listens(workload.program()).await {
            return Some(Waiting::For(format!("waiting for the program of {} to listen", workload.name)));
        }
    }
    let silent = || Some(Waiting::For("waiting for the control plane".into()));
    let Some(endpoints) = listing(data, "endpoints").await else { return silent() };
    // Before all are known there are requests that no route leads on, which the graph would have to tell of.
    if let Some(missing) = state.workloads.iter().find(|workload| !is_served(&endpoints, workload)) {
        return Some(Waiting::For(format!("waiting for {} to be served", missing.name)));
    }
    let Some(listing) = listing(data, "proxies").await else { return silent() };
    let items = listing["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_all = |name: &str| items.iter().any(|proxy| proxy["workload"] == name && is_synced(proxy));
    if let Some((name, _)) = proxies().find(|(name, _)| !has_all(name)) {
        return Some(Waiting::For(format!("waiting for {name} to take its configuration")));
    }
    let page = format!("http://{}/productpage", state.gateway);
    let status = if state.workloads.is_empty() { Some(StatusCode::OK) } else { probe::status(&page).await };
    (status != Some(StatusCode::OK)).then_some(Waiting::ForPage(page, status))
}

fn named(workload: &Workload) -> (&str, SocketAddr) {
    (&workload.name, workload.address)
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
