//! The checked, inert model of listeners, routes, clusters, endpoints and secrets. Field names follow Envoy's v3 API;
//! defaults are filled in, so a reader never asks what "unset" means.

mod cluster;
mod health_check;
mod http;
mod http2;
mod http_rules;
mod listener;
mod load_balancing;
mod names;
mod route;
mod source;
mod text;
mod tls;

pub use cluster::*;
pub use health_check::*;
pub use http::*;
pub use http_rules::*;
pub use http2::*;
pub use listener::*;
pub use load_balancing::*;
pub use names::*;
pub use route::*;
pub use source::*;
pub use text::*;
pub use tls::*;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::route::RouteTable;

/// Everything the proxy runs on at one moment. A connection or request loads it once and keeps it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub listeners: BTreeMap<String, Arc<Listener>>,
    pub routes: BTreeMap<String, Arc<RouteTable>>,
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// By cluster name (or the cluster's EDS service name).
    pub endpoints: BTreeMap<String, Arc<LoadAssignment>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// What the agent answers over DNS; `None` until it was told.
    pub names: Option<Arc<NameTable>>,
}

/// A bootstrap file: what a proxy outside the mesh serves. Resources stand in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    pub node: Node,
    pub listeners: Vec<Arc<Listener>>,
    pub clusters: Vec<Arc<Cluster>>,
    pub secrets: Vec<(String, Arc<Secret>)>,
    /// What comes from elsewhere.
    pub dynamic: DynamicResources,
    /// `None`: no admin interface.
    pub admin: Option<SocketAddr>,
    /// Most downstream connections at a time, of all listeners together.
    pub max_connections: Option<usize>,
    pub runtime: Runtime,
    pub stats: crate::stats::StatsView,
    /// What the control plane is told of this proxy.
    pub introduction: api::envoy::config::core::v3::Node,
    /// The file itself, encoded.
    pub file: Bytes,
}

/// What `layered_runtime` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    pub max_connections: Option<usize>,
    /// Whether a request's path is taken without its fragment, and not refused for it.
    pub strips_fragments: bool,
}

/// `envoy.config.core.v3.Node`: what a proxy is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub id: String,
    pub cluster: String,
}
