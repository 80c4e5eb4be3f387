//! What has been read of Consul, and the events that tell what changed. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::client::NoAnswer;
use super::convert::{Context, Converted, convert};
use super::entry::Entry;
use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::Event;

/// All services as they were last read. It outlives the connection, so that a server that comes back changes only what
/// is different.
#[derive(Debug)]
pub(super) struct Book {
    context: Context,
    read: BTreeMap<String, Converted>,
    told: BTreeMap<ServiceKey, (Service, Vec<Endpoint>)>,
    /// Why a service's instances could not be read last.
    failures: BTreeMap<String, NoAnswer>,
    /// What concerns the whole registry.
    notes: BTreeSet<String>,
    told_findings: Vec<String>,
}

impl Book {
    pub fn new(context: Context) -> Self {
        Self {
            context,
            read: BTreeMap::new(),
            told: BTreeMap::new(),
            failures: BTreeMap::new(),
            notes: BTreeSet::new(),
            told_findings: Vec::new(),
        }
    }

    /// The instances of a service are these.
    pub fn instances(&mut self, name: &str, entries: Vec<Entry>) -> Vec<Event> {
        self.failures.remove(name);
        let converted = convert(&self.context, name, entries);
        let mut keys: BTreeSet<ServiceKey> = converted.services.keys().cloned().collect();
        if let Some(before) = self.read.insert(name.to_owned(), converted) {
            keys.extend(before.services.into_keys());
        }
        keys.into_iter().flat_map(|key| self.changed(key)).collect()
    }

    /// Services other than these are gone.
    pub fn retain(&mut self, names: &BTreeSet<String>) -> Vec<Event> {
        self.failures.retain(|name, _| names.contains(name));
        let gone: Vec<String> = self.read.keys().filter(|name| !names.contains(*name)).cloned().collect();
        let mut keys = BTreeSet::new();
        for name in gone {
            keys.extend(self.read.remove(&name).into_iter().flat_map(|read| read.services.into_keys()));
        }
        keys.into_iter().flat_map(|key| self.changed(key)).collect()
    }

    /// A service's instances cannot be read; those last read stay.
    pub fn failed(&mut self, name: &str, why: NoAnswer) {
        self.failures.insert(name.to_owned(), why);
    }

    /// The server is away, which says it all.
    pub fn lost(&mut self) {
        self.failures.retain(|_, why| !why.lost);
    }

    /// Says, or no longer says, something about the whole registry.
    pub fn note(&mut self, words: String, holds: bool) {
        if holds {
            self.notes.insert(words);
        } else {
            self.notes.remove(&words);
        }
    }

    /// All that is wrong, if that is not what was told last.
    pub fn findings(&mut self) -> Option<Event> {
        let failed = self.failures.iter().map(|(name, why)| format!("service {name}: cannot be read: {}", why.reason));
        let found = self.read.values().flat_map(|read| read.findings.iter().cloned());
        let now: Vec<String> = self.notes.iter().cloned().chain(failed).chain(found).collect();
        if now == self.told_findings {
            return None;
        }
        self.told_findings.clone_from(&now);
        Some(Event::Findings(now))
    }

    /// The events that tell a service as it is now.
    fn changed(&mut self, key: ServiceKey) -> Vec<Event> {
        let Some((service, endpoints)) = self.merged(&key) else {
            return self.told.remove(&key).map(|_| Event::ServiceGone(key)).into_iter().collect();
        };
        let before = self.told.get(&key);
        let mut events = Vec::new();
        if before.is_none_or(|(known, _)| *known != service) {
            events.push(Event::Service(service.clone()));
        }
        if before.is_none_or(|(_, known)| *known != endpoints) {
            events.push(Event::Endpoints(key.clone(), endpoints.clone()));
        }
        self.told.insert(key, (service, endpoints));
        events
    }

    /// Consul's names are not one to one with hosts (`Reviews`, `reviews`), so a host has what all of them say.
    fn merged(&self, key: &ServiceKey) -> Option<(Service, Vec<Endpoint>)> {
        let mut all = self.read.values().filter_map(|read| read.services.get(key));
        let (mut service, mut endpoints) = all.next()?.clone();
        for (other, more) in all {
            let known = |number| service.ports.iter().any(|port| port.number == number);
            let ports: Vec<_> = other.ports.iter().filter(|port| !known(port.number)).cloned().collect();
            service.ports.extend(ports);
            endpoints.extend(more.iter().cloned());
        }
        Some((service, endpoints))
    }
}
