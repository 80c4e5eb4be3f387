//! What the proxy runs on: a checked model of the xDS resources it understands, and the conversion from the wire.
//! A resource with a field that the model cannot hold is refused with the path of the field; nothing is ignored.

#[cfg(test)]
mod compatibility;
pub mod convert;
mod error;
mod model;
mod strict;
mod wire;

pub use error::ConfigError;
pub use model::*;
pub use wire::static_resources;
