//! The services a client sees, one per host.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry::{Catalog, Entry, Service};

use crate::audience::Audience;
use crate::destination_rule::Rule;
use crate::index::Index;

/// What one audience sees.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub index: &'a Index,
    pub audience: &'a Audience,
    by_host: BTreeMap<&'a str, &'a Entry>,
}

impl<'a> View<'a> {
    pub fn new(index: &'a Index, audience: &'a Audience) -> Self {
        Self { index, audience, by_host: visible(&index.inputs.catalog, &audience.namespace) }
    }

    /// Visible services by host.
    pub fn services(&self) -> impl Iterator<Item = &'a Entry> {
        self.by_host.values().copied()
    }

    /// Whether this very service is the one seen under its host.
    pub fn sees(&self, entry: &Entry) -> bool {
        self.by_host.get(entry.service.host().as_str()).is_some_and(|seen| seen.service.key == entry.service.key)
    }

    /// The service of a host or alias; a name under a wildcard host belongs to the most specific one.
    pub fn service(&self, host: &str) -> Option<&'a Service> {
        if let Some(entry) = self.by_host.get(host) {
            return Some(&entry.service);
        }
        let entries = || self.by_host.values();
        let aliased = entries().find(|entry| entry.service.aliases.iter().any(|alias| alias.as_str() == host));
        let covering = || entries().filter(|entry| entry.service.host().covers(host));
        let entry = aliased.or_else(|| covering().max_by_key(|entry| entry.service.host().as_str().len()))?;
        Some(&entry.service)
    }

    pub fn rule(&self, service: &Service) -> Option<Arc<Rule>> {
        let (host, namespace) = (service.host().as_str(), service.namespace());
        self.index.config.rules.of(self.audience, host, namespace, self.index.mesh())
    }
}

/// Of services with the same host in several namespaces: the client's own, else the oldest.
fn visible<'a>(catalog: &'a Catalog, namespace: &str) -> BTreeMap<&'a str, &'a Entry> {
    let mut by_host: BTreeMap<&str, &Entry> = BTreeMap::new();
    let rank = |entry: &Entry| (entry.service.namespace() != namespace, entry.service.created);
    for entry in catalog.entries().filter(|entry| entry.service.visible_in(namespace)) {
        let best = by_host.entry(entry.service.host().as_str()).or_insert(entry);
        if rank(entry) < rank(best) {
            *best = entry;
        }
    }
    by_host
}
