//! The platforms that services are read from, one module each.

#[cfg(feature = "consul")]
mod consul;

#[cfg(feature = "consul")]
pub use consul::{Consul, ConsulEnvironment, ConsulError, ConsulOptions};
