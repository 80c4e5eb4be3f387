//! The state behind the catalog: what each registry told, and the merge of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::automatic::Allocation;
use super::disagreement::disagreement;
use super::{Catalog, Entry, RegistryState, RegistryStatus, ports};
use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::Event;

/// What one registry has told.
#[derive(Debug, Default)]
struct Told {
    services: BTreeMap<ServiceKey, Arc<Service>>,
    endpoints: BTreeMap<ServiceKey, Vec<Endpoint>>,
    /// It has been out of reach for too long: none of it counts until the registry is back.
    forgotten: bool,
    /// What it told since it was read anew, until it has told all.
    anew: Option<Anew>,
}

#[derive(Debug, Default)]
struct Anew {
    services: BTreeSet<ServiceKey>,
    endpoints: BTreeSet<ServiceKey>,
}

/// What each registry told, and the catalog that follows.
#[derive(Debug)]
pub struct Merger {
    told: Vec<Told>,
    catalog: Catalog,
    /// Where registries describe a service differently.
    differences: BTreeMap<ServiceKey, Vec<String>>,
    allocation: Allocation,
    /// In Unix seconds.
    now: u64,
}

impl Merger {
    /// For registries of these names, the earlier deciding over the later.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let registries: Vec<_> = names.into_iter().map(RegistryStatus::new).collect();
        let told = registries.iter().map(|_| Told::default()).collect();
        let catalog = Catalog { registries, ..Catalog::default() };
        Self { told, catalog, differences: BTreeMap::new(), allocation: Allocation::default(), now: 0 }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The time, in Unix seconds, at which the events that follow happened.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// Takes one event of the registry at `index`; true if the catalog changed.
    pub fn apply(&mut self, index: usize, event: Event) -> bool {
        self.note_anew(index, &event);
        let changed = match event {
            Event::Service(service) => {
                let key = service.key.clone();
                let services = &mut self.told[index].services;
                if services.get(&key).is_some_and(|known| **known == service) {
                    return false;
                }
                services.insert(key.clone(), Arc::new(service));
                self.merge_service(&key) | self.merge_endpoints(&key)
            }
            Event::ServiceGone(key) => {
                let told = &mut self.told[index];
                let known = told.services.remove(&key).is_some() | told.endpoints.remove(&key).is_some();
                known && (self.merge_service(&key) | self.merge_endpoints(&key))
            }
            Event::Endpoints(key, endpoints) => {
                let known = &mut self.told[index].endpoints;
                if known.get(&key).map_or(endpoints.is_empty(), |before| *before == endpoints) {
                    return false;
                }
                known.insert(key.clone(), endpoints);
                self.merge_endpoints(&key)
            }
            Event::Findings(findings) => {
                let known = &mut self.catalog.registries[index].findings;
                let changed = **known != *findings;
                *known = findings.into();
                changed
            }
            Event::Synced => {
                let swept = self.sweep(index);
                self.set_state(index, RegistryState::Synced) | self.set_forgotten(index, false) | swept
            }
            Event::Lost(reason) => self.set_state(index, RegistryState::Stale(reason)),
        };
        self.count(index, changed)
    }

    /// Takes out what the registry at `index` told, until it is back; true if the catalog changed.
    pub fn forget(&mut self, index: usize) -> bool {
        let changed = self.set_forgotten(index, true);
        self.count(index, changed)
    }

    /// The registry at `index` tells all it knows anew: what it told before stands until it has.
    pub fn begin_anew(&mut self, index: usize) {
        self.told[index].anew = Some(Anew::default());
    }

    /// Marks the registry at `index` as paused or not; true if the catalog changed.
    pub fn pause(&mut self, index: usize, paused: bool) -> bool {
        let changed = std::mem::replace(&mut self.catalog.registries[index].paused, paused) != paused;
        self.count(index, changed)
    }

    fn note_anew(&mut self, index: usize, event: &Event) {
        let Some(anew) = &mut self.told[index].anew else { return };
        match event {
            Event::Service(service) => _ = anew.services.insert(service.key.clone()),
            Event::Endpoints(key, _) => _ = anew.endpoints.insert(key.clone()),
            Event::ServiceGone(key) => {
                anew.services.remove(key);
                anew.endpoints.remove(key);
            }
            _ => {}
        }
    }

    /// Takes out what was not told anew; true if the catalog changed.
    fn sweep(&mut self, index: usize) -> bool {
        let told = &mut self.told[index];
        let Some(anew) = told.anew.take() else { return false };
        let silent = told.endpoints.keys().filter(|key| !anew.endpoints.contains(*key)).cloned().collect::<Vec<_>>();
        let gone = told.services.keys().filter(|key| !anew.services.contains(*key)).cloned().collect::<Vec<_>>();
        for key in silent.iter().chain(&gone) {
            told.endpoints.remove(key);
        }
        for key in &gone {
            told.services.remove(key);
        }
        let services = gone.iter().fold(false, |changed, key| self.merge_service(key) | changed);
        silent.iter().chain(&gone).fold(services, |changed, key| self.merge_endpoints(key) | changed)
    }

    fn count(&mut self, index: usize, changed: bool) -> bool {
        let (told, status) = (&self.told[index], &mut self.catalog.registries[index]);
        status.services = told.services.len();
        status.endpoints = told.endpoints.values().map(Vec::len).sum();
        self.catalog.version += u64::from(changed);
        changed
    }

    fn set_state(&mut self, index: usize, state: RegistryState) -> bool {
        let status = &mut self.catalog.registries[index];
        if status.state == state {
            return false;
        }
        // Another reason for the same loss does not make it younger.
        if !matches!((&status.state, &state), (RegistryState::Stale(_), RegistryState::Stale(_))) {
            status.since = self.now;
        }
        status.state = state;
        true
    }

    fn set_forgotten(&mut self, index: usize, forgotten: bool) -> bool {
        if self.told[index].forgotten == forgotten {
            return false;
        }
        self.told[index].forgotten = forgotten;
        self.catalog.registries[index].forgotten = forgotten;
        let keys: Vec<ServiceKey> = self.told[index].services.keys().cloned().collect();
        for key in keys {
            self.merge_service(&key);
            self.merge_endpoints(&key);
        }
        true
    }

    /// True if the service as published changed.
    fn merge_service(&mut self, key: &ServiceKey) -> bool {
        let counted = self.told.iter().filter(|told| !told.forgotten);
        let descriptions: Vec<&Arc<Service>> = counted.filter_map(|told| told.services.get(key)).collect();
        let Some((first, others)) = descriptions.split_first() else {
            self.differences.remove(key);
            self.catalog.aliases.retain(|_, target| target != key);
            let gone = self.catalog.entries.remove(key);
            self.allocate(key, gone.as_ref().map(|entry| &*entry.service));
            return gone.is_some();
        };
        let mut merged = Arc::clone(first);
        let (ports, mut conflicts) = ports::merge(&descriptions);
        if merged.ports != ports {
            Arc::make_mut(&mut merged).ports = ports;
        }
        for other in others {
            add_description(&mut merged, other, &mut conflicts);
        }
        let before = self.catalog.entries.get(key).cloned();
        let before = before.as_ref();
        // A name under which callers know the service stays for as long as anybody serves it: moving the last endpoint
        // from one platform to another must not break them.
        for alias in before.iter().flat_map(|entry| &entry.service.aliases) {
            add_alias(&mut merged, alias);
        }
        for alias in &merged.aliases {
            self.catalog.aliases.entry(alias.clone()).or_insert_with(|| key.clone());
        }
        let changed = before.is_none_or(|entry| *entry.service != *merged);
        let service = before.filter(|_| !changed).map_or(merged, |entry| entry.service.clone());
        let endpoints = before.map_or_else(|| [].into(), |entry| entry.endpoints.clone());
        // Those of endpoints are found when the endpoints are merged anew, right after this.
        let shown = before.map_or_else(|| [].into(), |entry| entry.conflicts.clone());
        let entry = Entry { service, automatic: self.allocation.of(key), endpoints, conflicts: shown };
        self.catalog.entries.insert(key.clone(), entry);
        if changed {
            self.allocate(key, before.map(|entry| &*entry.service));
        }
        match conflicts.is_empty() {
            true => self.differences.remove(key).is_some() | changed,
            false => self.differences.insert(key.clone(), conflicts.clone()) != Some(conflicts) || changed,
        }
    }

    /// Gives a service that changed its automatic addresses, and others theirs that have to move for it.
    fn allocate(&mut self, key: &ServiceKey, before: Option<&Service>) {
        let now = self.catalog.entries.get(key).map(|entry| &*entry.service);
        let mut moved = self.allocation.changed(key, before, now);
        moved.push(key.clone());
        for key in moved {
            if let Some(entry) = self.catalog.entries.get_mut(&key) {
                entry.automatic = self.allocation.of(&key);
            }
        }
    }

    /// True if the published endpoints changed (they do not while the service is unknown), or what is in conflict.
    fn merge_endpoints(&mut self, key: &ServiceKey) -> bool {
        let Some(entry) = self.catalog.entries.get_mut(key) else { return false };
        let mut merged: Vec<Endpoint> = Vec::new();
        let mut seen = BTreeMap::new();
        let mut conflicts: BTreeSet<String> = self.differences.get(key).into_iter().flatten().cloned().collect();
        for told in self.told.iter().filter(|told| !told.forgotten) {
            let own = told.services.get(key);
            for endpoint in told.endpoints.get(key).into_iter().flatten() {
                let service_port = published_port(&entry.service, own, &endpoint.service_port);
                let place = (&endpoint.address, endpoint.port, service_port.to_owned());
                match seen.get(&place) {
                    Some(first) => conflicts.extend(disagreement(&merged[*first], endpoint)),
                    None => {
                        merged.push(Endpoint { service_port: place.2.clone(), ..endpoint.clone() });
                        seen.insert(place, merged.len() - 1);
                    }
                }
            }
        }
        drop(seen);
        let conflicts: Vec<String> = conflicts.into_iter().collect();
        let mut changed = false;
        if *entry.conflicts != *conflicts {
            entry.conflicts = conflicts.into();
            changed = true;
        }
        if *entry.endpoints != *merged {
            entry.endpoints = merged.into();
            changed = true;
        }
        changed
    }
}

impl RegistryStatus {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            state: RegistryState::Syncing,
            paused: false,
            since: 0,
            services: 0,
            endpoints: 0,
            forgotten: false,
            findings: Arc::default(),
        }
    }
}

/// The name that the published service gives to a port that a registry knows by its own name.
fn published_port<'a>(published: &'a Service, own: Option<&Arc<Service>>, name: &'a str) -> &'a str {
    let own = own.and_then(|own| Some((own, own.ports.iter().find(|port| port.name == name)?)));
    own.and_then(|(own, port)| ports::served(&published.ports, own, port)).map_or(name, |port| port.name.as_str())
}

/// Adds to a service what a later registry says of it.
fn add_description(merged: &mut Arc<Service>, other: &Service, conflicts: &mut Vec<String>) {
    let (first, second) = (merged.provenance.registry.clone(), &other.provenance.registry);
    if merged.location != other.location {
        conflicts.push(format!("location: {first} and {second} differ; {first} decides"));
    }
    for alias in &other.aliases {
        add_alias(merged, alias);
    }
}

fn add_alias(merged: &mut Arc<Service>, alias: &api::Hostname) {
    if !merged.aliases.contains(alias) {
        Arc::make_mut(merged).aliases.push(alias.clone());
    }
}
