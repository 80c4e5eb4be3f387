//! The abstract service model, the registries that feed it, and the catalog that merges them. Knows neither
//! configuration kinds nor xDS.

mod adapter;
mod agents;
mod catalog;
mod memory;
mod model;
mod ownership;
mod remembered;
mod source;
mod told;

pub use adapter::kubernetes;
pub use adapter::{CheckIn, Discovery, DiscoveryOptions, Host, Place, Refused};
#[cfg(feature = "consul")]
pub use adapter::{Consul, ConsulEnvironment, ConsulError, ConsulOptions};
pub use agents::{Agents, AgentsOptions, Attachment, RegisteredPort, Registration, Taken};
pub use catalog::{
    Automatic, Catalog, Entry, Merger, Orders, Policy, RegistryState, RegistryStatus, Steer, SteerError, Steering, run,
    run_steered,
};
pub use memory::MemoryRegistry;
pub use model::{
    Address, Credential, Credentials, Endpoint, Health, KeyAccess, Locality, Location, Platform, Protocol, Provenance,
    Resolution, Service, ServiceKey, ServicePort, TlsMode, Visibility, Workload,
};
pub use ownership::{ForeignAddress, NotOwn, foreign_addresses, own_host, speaks_for};
pub use remembered::Remembered;
pub use source::{Event, EventStream, Registry};
