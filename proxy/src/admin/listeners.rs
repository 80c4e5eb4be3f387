//! `/listeners`: Envoy's `admin.v3.Listeners`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Admin, Answer, Query, json as answer_json, text};

impl Admin {
    pub(super) fn listeners(&self, query: &Query<'_>) -> Answer {
        let snapshot = self.data_plane.snapshots().borrow().clone();
        if query.is_json() {
            let one = |listener: &crate::config::Listener| {
                let mut status = json!({"name": listener.name, "local_address": socket(listener.address)});
                if !listener.additional_addresses.is_empty() {
                    let more = listener.additional_addresses.iter().copied().map(socket);
                    status["additional_local_addresses"] = more.collect();
                }
                status
            };
            let all: Vec<Value> = snapshot.listeners.values().map(|listener| one(listener)).collect();
            return answer_json(&json!({"listener_statuses": all}));
        }
        let mut out = String::new();
        for listener in snapshot.listeners.values() {
            for address in listener.addresses() {
                let _ = writeln!(out, "{}::{address}", listener.name);
            }
        }
        text(StatusCode::OK, out)
    }
}

/// Envoy's `core.v3.Address`.
pub fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
