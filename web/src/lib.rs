//! The REST API: reads views of the control plane, takes configuration and hands out join tokens. Knows nothing of the
//! proxy's internals.
//!
//! What must hold: nothing but the liveness answer and the console's own files is given without an API token, and the API is
//! reached over loopback only.

mod auth;
mod console;
mod listen;
mod members;
mod metrics;
mod objects;
mod problem;
mod proxies;
mod registration;
mod router;
mod services;
mod state;
mod tokens;
mod trouble;

pub use listen::{ListenError, bind, serve, serve_metrics};
pub use problem::{Finding, Problem};
pub use registration::serve_registration;
pub use router::router;
pub use state::State;
