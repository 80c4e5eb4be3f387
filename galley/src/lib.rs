//! Configuration of the mesh: kinds, parsing, checks, analysis across objects, sources and the store behind `apply`.
//! Knows neither xDS nor proxies.

pub mod analysis;
mod changes;
mod diagnostic;
mod directory;
mod document;
mod galley;
pub mod history;
mod kind;
pub mod kinds;
pub mod kubernetes;
mod object;
mod preview;
mod reader;
mod snapshot;
mod state;
mod static_registry;
mod yaml;

pub use changes::{Change, Follower};
pub use diagnostic::{Diagnostic, Rejection, Severity, code};
pub use document::check;
pub use galley::{Applied, Applying, Galley, GalleyOptions, NoWayBack, Problem};
pub use history::Author;
pub use kind::Kind;
pub use object::{Object, ObjectKey};
pub use snapshot::{Config, Meta, Provenance, Snapshot};
