//! What Envoy tells of the process itself (Envoy, server statistics).

use std::time::Instant;

use super::exposition::{Exposition, label};

/// What a scrape says of the whole proxy.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub started: Instant,
    pub concurrency: usize,
    pub listeners: usize,
    pub clusters: usize,
}

pub fn write(server: &Server, connections: u64, out: &mut Exposition) {
    for (name, value) in [
        ("envoy_server_live", 1),
        ("envoy_server_uptime", server.started.elapsed().as_secs()),
        ("envoy_server_concurrency", server.concurrency as u64),
        ("envoy_server_total_connections", connections),
        ("envoy_server_memory_physical_size", resident_bytes()),
        ("envoy_listener_manager_total_listeners_active", server.listeners as u64),
        ("envoy_cluster_manager_active_clusters", server.clusters as u64),
    ] {
        out.gauge(name, "", value);
    }
    let mut build = String::new();
    label(&mut build, "component", "proxy");
    label(&mut build, "tag", env!("CARGO_PKG_VERSION"));
    out.gauge("istio_build", &build, 1);
}

/// `VmRSS` of `/proc/self/status`; 0 where there is no such file.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
}
