//! The REST API: reads views of the control plane, takes configuration and hands out join tokens. Knows nothing of the
//! proxy's internals.
//!
//! What must hold: nothing but the liveness answer, the console's own files and the documentation of the API is given to
//! who does not show a token or a session, each is held to what it may do, and without TLS the API is reached over
//! loopback only.

mod access;
mod audit;
mod auth;
mod authz;
mod bundle;
pub mod catalogue;
mod certificates;
mod compression;
mod console;
mod control_plane;
mod denials;
mod endpoints;
mod etag;
mod events;
mod extract;
mod feed;
mod follow;
mod graph;
mod history;
mod idempotency;
mod identities;
mod issued;
mod kept;
mod limiter;
mod list;
mod listen;
mod log_level;
mod members;
mod metrics;
mod objects;
mod openapi;
mod overview;
mod problem;
mod proxies;
mod registration;
mod registries;
mod router;
mod scope;
mod sd;
mod series;
mod serve;
mod services;
mod session;
mod state;
mod tap;
mod tls;
mod tokens;
mod traces;
mod trouble;
mod version;
mod why;
mod workloads;
mod wri;

pub use audit::{Audit, Record as AuditRecord};
pub use auth::Door;
pub use bundle::{BundleTls, serve_bundle};
pub use follow::follow;
pub use kept::Kept;
pub use limiter::Rate;
pub use listen::{ListenError, bind, bind_any, serve, serve_metrics};
pub use problem::{Finding, Problem};
pub use registration::{CheckIns, serve_registration};
pub use router::router;
pub use state::State;
pub use tls::ApiTls;
