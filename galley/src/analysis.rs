//! Analysis across objects: what each alone is right about and all together are not. Pure; nothing is refused for it.

mod foreign_hosts;
mod mesh_hosts;
mod providers;
mod references;

use std::collections::BTreeSet;

use api::Hostname;
use registry::ServiceKey;

use crate::diagnostic::{Diagnostic, Severity};
use crate::kind::Kind;
use crate::kinds::MeshConfig;
use crate::object::ObjectKey;
use crate::snapshot::{Meta, Provenance, Snapshot};

/// What analysers look at.
pub struct Scene<'s> {
    pub snapshot: &'s Snapshot,
    /// All services known, from every registry.
    pub services: &'s BTreeSet<ServiceKey>,
    /// The mesh's DNS domain.
    pub domain: &'s str,
}

/// A finding, and the object that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub object: ObjectKey,
    pub diagnostic: Diagnostic,
}

/// The analysers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analyser {
    /// Hosts, subsets and gateways that nothing declares (IST0101).
    References,
    /// Two VirtualServices that claim one host in the mesh (IST0109).
    MeshHosts,
    /// VirtualServices for hosts of other namespaces (WFT1109).
    ForeignHosts,
    /// Providers of telemetry that the mesh's settings do not have (IST0101).
    Providers,
}

impl Analyser {
    pub const ALL: [Self; 4] = [Self::References, Self::MeshHosts, Self::ForeignHosts, Self::Providers];

    pub fn run(self, scene: &Scene<'_>) -> Vec<Found> {
        match self {
            Self::References => references::run(scene),
            Self::MeshHosts => mesh_hosts::run(scene),
            Self::ForeignHosts => foreign_hosts::run(scene),
            Self::Providers => providers::run(scene),
        }
    }
}

/// The findings of all analysers.
pub fn analyse(scene: &Scene<'_>) -> Vec<Found> {
    Analyser::ALL.into_iter().flat_map(|analyser| analyser.run(scene)).collect()
}

impl<'s> Scene<'s> {
    fn knows(&self, host: &Hostname) -> bool {
        self.of_host(host).next().is_some() || self.services.iter().any(|known| overlap(&known.host, host))
    }

    /// The services of exactly this host, in whatever namespace.
    fn of_host(&self, host: &Hostname) -> impl Iterator<Item = &'s ServiceKey> + use<'s> {
        let host = host.clone();
        self.services.range(ServiceKey::new(host.clone(), "")..).take_while(move |known| known.host == host)
    }

    /// The namespaces that serve a host in any spelling, or any of those that a wildcard covers.
    fn owners(&self, host: &Hostname) -> BTreeSet<&'s str> {
        let spelled = Hostname::spelled(host.as_str(), self.domain).flat_map(|host| self.of_host(&host));
        let covered = self.services.iter().filter(|known| host.is_wildcard() && host.covers(known.host.as_str()));
        spelled.chain(covered).map(|known| &*known.namespace).collect()
    }

    /// Whether all callers heed rules of a namespace for a host of another, and not its own callers only.
    fn is_for_all(&self, namespace: &str, owner: &str) -> bool {
        namespace == owner || namespace == MeshConfig::NAMESPACE
    }
}

fn overlap(known: &Hostname, host: &Hostname) -> bool {
    known.is_wildcard() && known.covers(host.as_str()) || host.is_wildcard() && host.covers(known.as_str())
}

/// A finding about an object as a whole.
fn finding(code: &'static str, kind: Kind, meta: &Meta, path: &str, message: String) -> Found {
    let object = ObjectKey::new(kind, &meta.namespace, &meta.name);
    let file = match &meta.provenance {
        Provenance::File(path) => format!("{} ({object})", path.display()),
        Provenance::Cluster(_) | Provenance::Store { .. } => object.to_string(),
    };
    let path = path.to_owned();
    let diagnostic =
        Diagnostic { code, severity: Severity::Warning, file, line: 0, column: 0, path, message, suggestion: None };
    Found { object, diagnostic }
}

#[cfg(test)]
mod tests;
