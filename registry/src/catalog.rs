//! Merges what all registries tell into one immutable catalog, published by a single swap.
//!
//! Registries are ranked by the order they were given in: where two describe the same service differently, the earlier
//! decides and the difference is kept as a conflict to be shown; ports only the later knows are added. The same
//! address and port seen twice is one endpoint, the earlier registry's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Hostname;
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::{Event, Registry};

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
    pub endpoints: Arc<[Endpoint]>,
    /// What registries disagree about, in an operator's words.
    pub conflicts: Arc<[String]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RegistryStatus {
    pub name: Arc<str>,
    pub state: RegistryState,
    pub services: usize,
    pub endpoints: usize,
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
                old.entries.get(key).is_none_or(|before| !Arc::ptr_eq(&before.service, &entry.service))
            })
    }

    /// Services present in both whose endpoints are not those of `old`.
    pub fn changed_endpoints<'a>(&'a self, old: &'a Catalog) -> impl Iterator<Item = &'a ServiceKey> {
        self.entries.iter().filter_map(|(key, entry)| {
            let before = old.entries.get(key)?;
            (!Arc::ptr_eq(&before.endpoints, &entry.endpoints)).then_some(key)
        })
    }
}

/// What one registry has told.
#[derive(Debug, Default)]
struct Told {
    services: BTreeMap<ServiceKey, Arc<Service>>,
    endpoints: BTreeMap<ServiceKey, Vec<Endpoint>>,
}

/// The state behind the catalog: what each registry told, and the merge of it.
#[derive(Debug)]
pub struct Merger {
    told: Vec<Told>,
    catalog: Catalog,
}

impl Merger {
    /// For registries of these names, the earlier deciding over the later.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let registries: Vec<_> = names
            .into_iter()
            .map(|name| RegistryStatus { name: name.into(), state: RegistryState::Syncing, services: 0, endpoints: 0 })
            .collect();
        let told = registries.iter().map(|_| Told::default()).collect();
        Self { told, catalog: Catalog { registries, ..Catalog::default() } }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Takes one event of the registry at `index`; true if the catalog changed.
    pub fn apply(&mut self, index: usize, event: Event) -> bool {
        let changed = match event {
            Event::Service(service) => {
                let key = service.key.clone();
                let services = &mut self.told[index].services;
                if services.get(&key).is_some_and(|known| **known == service) {
                    return false;
                }
                services.insert(key.clone(), Arc::new(service));
                self.merge_service(&key);
                self.merge_endpoints(&key);
                true
            }
            Event::ServiceGone(key) => {
                let told = &mut self.told[index];
                let known = told.services.remove(&key).is_some() | told.endpoints.remove(&key).is_some();
                if known {
                    self.merge_service(&key);
                    self.merge_endpoints(&key);
                }
                known
            }
            Event::Endpoints(key, endpoints) => {
                let known = &mut self.told[index].endpoints;
                if known.get(&key).map_or(endpoints.is_empty(), |before| *before == endpoints) {
                    return false;
                }
                known.insert(key.clone(), endpoints);
                self.merge_endpoints(&key)
            }
            Event::Synced => self.set_state(index, RegistryState::Synced),
            Event::Lost(reason) => self.set_state(index, RegistryState::Stale(reason)),
        };
        if changed {
            self.catalog.version += 1;
            let (told, status) = (&self.told[index], &mut self.catalog.registries[index]);
            status.services = told.services.len();
            status.endpoints = told.endpoints.values().map(Vec::len).sum();
        }
        changed
    }

    fn set_state(&mut self, index: usize, state: RegistryState) -> bool {
        let known = &mut self.catalog.registries[index].state;
        let changed = *known != state;
        *known = state;
        changed
    }

    fn merge_service(&mut self, key: &ServiceKey) {
        let mut descriptions = self.told.iter().filter_map(|told| told.services.get(key));
        let Some(first) = descriptions.next() else {
            self.catalog.entries.remove(key);
            self.catalog.aliases.retain(|_, target| target != key);
            return;
        };
        let mut merged = Arc::clone(first);
        let mut conflicts = Vec::new();
        for other in descriptions {
            add_description(&mut merged, other, &mut conflicts);
        }
        for alias in &merged.aliases {
            self.catalog.aliases.entry(alias.clone()).or_insert_with(|| key.clone());
        }
        let endpoints = self.catalog.entries.remove(key).map_or_else(|| [].into(), |entry| entry.endpoints);
        let entry = Entry { service: merged, endpoints, conflicts: conflicts.into() };
        self.catalog.entries.insert(key.clone(), entry);
    }

    /// True if the published endpoints changed (they do not while the service is unknown).
    fn merge_endpoints(&mut self, key: &ServiceKey) -> bool {
        let Some(entry) = self.catalog.entries.get_mut(key) else { return false };
        let mut seen = BTreeSet::new();
        let merged: Vec<Endpoint> = self
            .told
            .iter()
            .filter_map(|told| told.endpoints.get(key))
            .flatten()
            .filter(|endpoint| seen.insert((&endpoint.address, endpoint.port, &endpoint.service_port)))
            .cloned()
            .collect();
        if *entry.endpoints == *merged {
            return false;
        }
        entry.endpoints = merged.into();
        true
    }
}

/// Adds to a service what a later registry says of it.
fn add_description(merged: &mut Arc<Service>, other: &Service, conflicts: &mut Vec<String>) {
    let (first, second) = (merged.provenance.registry.clone(), &other.provenance.registry);
    for port in &other.ports {
        match merged.port(port.number) {
            None => Arc::make_mut(merged).ports.push(port.clone()),
            Some(known) if known.protocol != port.protocol => conflicts.push(format!(
                "port {}: {first} says {}, {second} says {}; {first} decides",
                port.number,
                known.protocol.as_str(),
                port.protocol.as_str(),
            )),
            Some(_) => {}
        }
    }
    if merged.location != other.location {
        conflicts.push(format!("location: {first} and {second} differ; {first} decides"));
    }
    for alias in &other.aliases {
        if !merged.aliases.contains(alias) {
            Arc::make_mut(merged).aliases.push(alias.clone());
        }
    }
}

/// Follows all registries and publishes each change of the merged catalog, until their streams end. Events that are
/// ready together are published together.
pub async fn run(registries: Vec<Arc<dyn Registry>>, publish: watch::Sender<Arc<Catalog>>) {
    let mut merger = Merger::new(registries.iter().map(|registry| registry.name()));
    let streams =
        registries.iter().enumerate().map(|(index, registry)| registry.watch().map(move |event| (index, event)));
    let mut events = futures_util::stream::select_all(streams.map(Box::pin)).ready_chunks(1024);
    while let Some(batch) = events.next().await {
        let mut changed = false;
        for (index, event) in batch {
            changed |= merger.apply(index, event);
        }
        if changed {
            publish.send_replace(Arc::new(merger.catalog().clone()));
        }
    }
}

#[cfg(test)]
mod tests;
