//! Merges what all registries tell into one immutable catalog, published by a single swap.
//!
//! Registries are ranked by the order they were given in: where two describe the same service differently, the earlier
//! decides and the difference is kept as a conflict to be shown; ports only the later declares are added, and what a
//! registry that declares none knows serves those. The same address and port seen twice is one endpoint, the earlier
//! registry's.

mod automatic;
mod disagreement;
mod follow;
mod merger;
mod ports;
mod steering;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::Hostname;
use ipnet::IpNet;

use crate::model::{Endpoint, Service, ServiceKey};

pub use automatic::Automatic;
pub use follow::{Policy, run, run_steered};
pub use merger::Merger;
#[cfg(feature = "consul")]
pub(crate) use ports::agree;
pub use steering::{Orders, Steer, SteerError, Steering};

/// Everything known, at one moment. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with every published change.
    pub version: u64,
    entries: BTreeMap<ServiceKey, Entry>,
    aliases: BTreeMap<Hostname, ServiceKey>,
    pub registries: Vec<RegistryStatus>,
}

/// One service with its endpoints. The parts are shared between catalogs for as long as they do not change, so
/// `Arc::ptr_eq` tells whether they did.
#[derive(Clone, Debug)]
pub struct Entry {
    pub service: Arc<Service>,
    /// Addresses that the mesh gave to a service that has none.
    pub automatic: Option<Automatic>,
    pub endpoints: Arc<[Endpoint]>,
    /// What registries disagree about, in an operator's words.
    pub conflicts: Arc<[String]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RegistryStatus {
    pub name: Arc<str>,
    pub state: RegistryState,
    /// Since when it is in this state, in Unix seconds; 0 where nobody looked at a clock.
    pub since: u64,
    pub services: usize,
    pub endpoints: usize,
    /// Whether what it told was taken out, because it has been out of reach for too long.
    pub forgotten: bool,
    /// Whether its news are left aside, as an operator wished.
    pub paused: bool,
    /// What it knows and the mesh cannot use.
    pub findings: Arc<[String]>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RegistryState {
    /// Has not yet told all it knows.
    Syncing,
    Synced,
    /// Out of reach, for this reason; what it told stays in force.
    Stale(String),
}

impl Catalog {
    /// All services, by host and namespace.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub fn get(&self, key: &ServiceKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Every service of that hostname (or alias) in whatever namespace.
    pub fn by_host(&self, host: &Hostname) -> impl Iterator<Item = &Entry> {
        let host = self.aliases.get(host).map_or(host, |key| &key.host).clone();
        let start = ServiceKey::new(host.clone(), "");
        self.entries.range(start..).take_while(move |(key, _)| key.host == host).map(|(_, entry)| entry)
    }

    /// Whether every registry has told all it knows at least once.
    pub fn synced(&self) -> bool {
        self.registries.iter().all(|registry| registry.state != RegistryState::Syncing)
    }

    /// Whether any service was added, removed or described anew since `old`.
    pub fn services_differ(&self, old: &Catalog) -> bool {
        self.entries.len() != old.entries.len()
            || self.entries.iter().any(|(key, entry)| {
                old.entries.get(key).is_none_or(|before| {
                    !Arc::ptr_eq(&before.service, &entry.service) || before.automatic != entry.automatic
                })
            })
    }

    /// Whether what a registry of this name told may be out of date.
    pub fn is_stale(&self, registry: &str) -> bool {
        let mut named = self.registries.iter().filter(|status| &*status.name == registry);
        named.any(|status| status.paused || matches!(status.state, RegistryState::Stale(_)))
    }

    /// Services present in both whose endpoints are not those of `old`.
    pub fn changed_endpoints<'a>(&'a self, old: &'a Catalog) -> impl Iterator<Item = &'a ServiceKey> {
        self.entries.iter().filter_map(|(key, entry)| {
            let before = old.entries.get(key)?;
            (!Arc::ptr_eq(&before.endpoints, &entry.endpoints)).then_some(key)
        })
    }
}

impl Entry {
    /// What callers connect to: the service's own addresses, else those that the mesh gave it; none where callers find
    /// endpoints by themselves.
    pub fn virtual_addresses(&self) -> Vec<IpNet> {
        match &self.automatic {
            Some(given) => vec![IpNet::from(IpAddr::V4(given.v4)), IpNet::from(IpAddr::V6(given.v6))],
            None => self.service.addresses.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
