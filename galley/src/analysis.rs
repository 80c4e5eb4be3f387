//! Analysis across objects: what each alone is right about and all together are not. Pure; nothing is refused for it.

mod mesh_hosts;
mod providers;
mod references;

use std::collections::BTreeSet;

use api::Hostname;

use crate::diagnostic::{Diagnostic, Severity};
use crate::kind::Kind;
use crate::object::ObjectKey;
use crate::snapshot::{Meta, Provenance, Snapshot};

/// What analysers look at.
pub struct Scene<'s> {
    pub snapshot: &'s Snapshot,
    /// Hosts of all services known, from every registry.
    pub hosts: &'s BTreeSet<Hostname>,
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
    /// Providers of telemetry that the mesh's settings do not have (IST0101).
    Providers,
}

impl Analyser {
    pub const ALL: [Self; 3] = [Self::References, Self::MeshHosts, Self::Providers];

    pub fn run(self, scene: &Scene<'_>) -> Vec<Found> {
        match self {
            Self::References => references::run(scene),
            Self::MeshHosts => mesh_hosts::run(scene),
            Self::Providers => providers::run(scene),
        }
    }
}

/// The findings of all analysers.
pub fn analyse(scene: &Scene<'_>) -> Vec<Found> {
    Analyser::ALL.into_iter().flat_map(|analyser| analyser.run(scene)).collect()
}

impl Scene<'_> {
    fn knows(&self, host: &Hostname) -> bool {
        self.hosts.contains(host)
            || self.hosts.iter().any(|known| known.is_wildcard() && known.covers(host.as_str()))
            || host.is_wildcard() && self.hosts.iter().any(|known| host.covers(known.as_str()))
    }
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
