//! The platforms that services are read from, one module each.

#[cfg(feature = "consul")]
mod consul;
mod discovery;
pub mod kubernetes;

#[cfg(feature = "consul")]
pub use consul::{Consul, ConsulEnvironment, ConsulError, ConsulOptions};
pub use discovery::{CheckIn, Discovery, DiscoveryOptions, Host, Place, Refused};
