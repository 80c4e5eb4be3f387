//! Turns services and configuration into what each proxy runs on, and hands it out over xDS. The compile is pure: no
//! I/O, no clock, and it cannot fail. Knows nothing of where services or configuration came from.

mod compile;
mod diagnostic;
mod discovery;
mod inputs;
mod mesh;
mod names;
mod node;
mod resource;

pub use compile::{Compiled, compile};
pub use diagnostic::{Code, Diagnostic};
pub use discovery::{
    Attachments, Discovery, Metrics, Options, Peer, ProxyStatus, PushDurations, SyncState, TypeStatus,
};
pub use inputs::Inputs;
pub use mesh::{MeshConfig, OutboundPolicy};
pub use node::{Node, NodeError, NodeKind, Served};
pub use resource::{Kind, Resource, ResourceMap, ResourceSet, Snapshot};
