//! The services a client sees, one per host.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Hostname;
use registry::{Entry, Service};

use crate::audience::Audience;
use crate::destination_rule::Rule;
use crate::index::Index;
use crate::inputs::Inputs;
use crate::mesh::MeshConfig;

/// What one audience sees.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub index: &'a Index,
    pub audience: &'a Audience,
    by_host: BTreeMap<&'a str, &'a Entry>,
}

impl<'a> View<'a> {
    pub fn new(index: &'a Index, audience: &'a Audience) -> Self {
        let mut view = Self::of_names(index, audience);
        let mut by_host: BTreeMap<&str, &Entry> = BTreeMap::new();
        let entries = index.inputs.catalog.entries();
        for entry in entries.filter(|entry| entry.service.visible_in(&audience.namespace)) {
            let best = by_host.entry(entry.service.host().as_str()).or_insert(entry);
            if view.rank(entry) < view.rank(best) {
                *best = entry;
            }
        }
        view.by_host = by_host;
        view
    }

    /// A view for `named`, `sees` and `rule` alone, which costs nothing to make: it lists no services.
    pub fn of_names(index: &'a Index, audience: &'a Audience) -> Self {
        Self { index, audience, by_host: BTreeMap::new() }
    }

    /// Visible services by host.
    pub fn services(&self) -> impl Iterator<Item = &'a Entry> {
        self.by_host.values().copied()
    }

    /// The service of exactly this host or alias.
    pub fn named(&self, host: &str) -> Option<&'a Entry> {
        named(&self.index.inputs, &self.audience.namespace, host)
    }

    /// The service of a host or alias; a name under a wildcard host belongs to the most specific one.
    pub fn service(&self, host: &str) -> Option<&'a Service> {
        let covering = || {
            let wildcards = self.services().filter(|entry| entry.service.host().is_wildcard());
            let covering = wildcards.filter(|entry| entry.service.host().covers(host));
            covering.max_by_key(|entry| entry.service.host().as_str().len())
        };
        self.named(host).or_else(covering).map(|entry| &*entry.service)
    }

    /// Whether this very service is the one seen under its host.
    pub fn sees(&self, entry: &Entry) -> bool {
        self.named(entry.service.host().as_str()).is_some_and(|seen| seen.service.key == entry.service.key)
    }

    pub fn rule(&self, service: &Service) -> Option<Arc<Rule>> {
        let (host, namespace) = (service.host().as_str(), service.namespace());
        self.index.config.rules.of(self.audience, host, namespace, self.index.mesh())
    }

    /// The name of a service in its namespace, if its host is one of its namespace.
    pub fn short_name<'s>(&self, service: &'s Service) -> Option<&'s str> {
        short_name(service, &self.index.mesh().domain)
    }

    /// The namespaces of the services that anybody knows by a name in any spelling, seen from here or not.
    pub fn owners(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let catalog = &self.index.inputs.catalog;
        let hosts = Hostname::spelled(name, &self.index.mesh().domain);
        hosts.flat_map(move |host| catalog.by_host(&host).collect::<Vec<_>>()).map(|entry| entry.service.namespace())
    }

    /// How a service stands against another that claims the same address.
    pub fn standing(&self, service: &Service) -> Standing {
        standing(service, &self.audience.namespace)
    }

    fn rank(&self, entry: &Entry) -> Rank {
        rank(entry, &self.audience.namespace, &self.index.mesh().domain)
    }
}

/// The service of exactly this host or alias, as clients of a namespace see it.
pub(crate) fn named<'a>(inputs: &'a Inputs, namespace: &str, host: &str) -> Option<&'a Entry> {
    let host = Hostname::new(host).ok()?;
    let visible = inputs.catalog.by_host(&host).filter(|entry| entry.service.visible_in(namespace));
    visible.min_by_key(|entry| rank(entry, namespace, &inputs.mesh.domain))
}

/// Whether a service is who its host says, whatever rules a namespace has for its own calls: a platform tells of it, or the
/// namespace that the host names declares it, or the root namespace does.
pub(crate) fn is_genuine(entry: &Entry, mesh: &MeshConfig) -> bool {
    let service = &*entry.service;
    !service.provenance.is_declared()
        || short_name(service, &mesh.domain).is_some()
        || service.namespace() == mesh.root_namespace
}

type Rank = (bool, bool, bool, u64);

/// Of services with the same host in several namespaces the client's own comes first, then that of the namespace that
/// the host names, then what runs somewhere before what is only declared, then the oldest.
fn rank(entry: &Entry, namespace: &str, domain: &str) -> Rank {
    let service = &*entry.service;
    let Standing { declared, foreign, created } = standing(service, namespace);
    (foreign, short_name(service, domain).is_none(), declared, created)
}

fn standing(service: &Service, namespace: &str) -> Standing {
    Standing {
        declared: service.provenance.is_declared(),
        foreign: service.namespace() != namespace,
        created: service.created,
    }
}

/// Who has an address: what runs somewhere before what is only declared, then the client's own namespace, then the
/// oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    declared: bool,
    foreign: bool,
    created: u64,
}

fn short_name<'s>(service: &'s Service, domain: &str) -> Option<&'s str> {
    let below = service.host().as_str().strip_suffix(domain)?.strip_suffix(".svc.")?;
    below.strip_suffix(service.namespace())?.strip_suffix('.').filter(|short| !short.is_empty())
}
