//! The connected proxies and how far each is.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State as Shared;
use pilot::ProxyStatus;
use serde_json::{Map, Value, json};

use crate::state::State;

pub async fn proxies(Shared(state): Shared<State>) -> Json<Value> {
    let items: Vec<Value> = state.discovery.proxies().iter().map(proxy).collect();
    Json(json!({ "items": items }))
}

fn proxy(status: &ProxyStatus) -> Value {
    let types: Map<String, Value> = status
        .types
        .iter()
        .map(|(name, of_type)| {
            let value =
                json!({ "state": of_type.state.as_str(), "error": of_type.error, "resources": of_type.resources });
            ((*name).to_owned(), value)
        })
        .collect();
    let connected = status.connected_at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "id": status.id,
        "node": status.node,
        "kind": status.kind.as_str(),
        "namespace": status.namespace,
        "workload": status.workload,
        "version": status.version,
        "address": status.address.map(|address| address.to_string()),
        "connected_at": connected,
        "identity": status.identity.as_ref().map(ToString::to_string),
        "types": types,
        "diagnostics": status.diagnostics.iter().map(|found| json!({
            "code": found.code.as_str(),
            "object": found.object,
            "message": found.message,
        })).collect::<Vec<_>>(),
    })
}
