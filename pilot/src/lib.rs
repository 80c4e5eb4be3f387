//! Turns services and configuration into what each proxy runs on, and hands it out over xDS. The compile is pure: no
//! I/O, no clock, and it cannot fail. Knows nothing of where services or configuration came from.

mod audience;
mod capture;
mod clusters;
mod compile;
mod destination_rule;
mod diagnostic;
mod discovery;
mod endpoints;
mod gateway;
mod http_manager;
mod http_proxy;
mod inbound;
mod index;
mod inputs;
mod listener;
mod mesh;
mod name_table;
mod names;
mod node;
mod policy;
mod resource;
mod routes;
mod telemetry;
mod tls;
mod virtual_service;
mod visibility;
mod wire;

pub use compile::{Compiled, compile};
pub use diagnostic::{Code, Diagnostic};
pub use discovery::{
    Attached, Attachments, Discovery, Happened, Metrics, Options, Peer, ProxyEvent, ProxyStatus, PushDurations,
    SyncState, TypeStatus,
};
pub use inputs::Inputs;
pub use mesh::{MeshConfig, OutboundPolicy};
pub use node::{Capture, Features, Interception, Node, NodeError, NodeKind, Served};
pub use policy::{judge, mtls_mode};
pub use resource::{Kind, Resource, ResourceMap, ResourceSet, Snapshot};
