//! What the proxy says of itself: whether it is ready, its version, its memory.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Admin, Answer, json as answer_json, text};
use crate::bootstrap::proto_json;

impl Admin {
    /// Envoy's `ServerInfo.State`.
    fn state(&self) -> &'static str {
        let failing = self.data_plane.failing.load(Ordering::Relaxed);
        // Listeners that were told to drain change nothing while the proxy is not to end.
        match *self.ready.borrow() {
            _ if failing => "DRAINING",
            true => "LIVE",
            false if self.data_plane.is_draining() => "DRAINING",
            false => "PRE_INITIALIZING",
        }
    }

    pub fn ready(&self) -> Answer {
        let state = self.state();
        let status = if state == "LIVE" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        text(status, format!("{state}\n"))
    }

    pub(super) fn server_info(&self) -> Answer {
        let uptime = format!("{}s", self.started.elapsed().as_secs());
        let mut node = proto_json::packed(&api::any(&self.node));
        if let Value::Object(fields) = &mut node {
            fields.remove("@type");
        }
        answer_json(&json!({
            "version": concat!("weft/", env!("CARGO_PKG_VERSION")),
            "state": self.state(),
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": "disabled",
            "command_line_options": {"concurrency": self.concurrency, "mode": "Serve", "restart_epoch": 0},
            "node": node,
        }))
    }
}

/// Envoy's `admin.v3.Memory`, as far as the kernel tells it; numbers of 64 bits are text in protobuf's JSON.
pub fn memory() -> Answer {
    // Pages: all of the process, and those in memory.
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = pages.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
    let bytes = |pages: Option<u64>| (pages.unwrap_or(0) * PAGE).to_string();
    let (heap, resident) = (bytes(pages.next()), bytes(pages.next()));
    answer_json(&json!({"allocated": resident, "heap_size": heap, "total_physical_bytes": resident}))
}

const PAGE: u64 = 4096;
