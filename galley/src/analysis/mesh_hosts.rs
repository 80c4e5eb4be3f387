//! Finds VirtualServices that claim the same host in the mesh: only the oldest is in force.

use std::collections::BTreeMap;

use api::Hostname;

use super::{Found, Scene, finding};
use crate::diagnostic::code;
use crate::kind::Kind;
use crate::kinds::{ExportTo, VirtualService};
use crate::snapshot::Config;

pub(super) fn run(scene: &Scene<'_>) -> Vec<Found> {
    let mut claims: BTreeMap<Hostname, Vec<&Config<VirtualService>>> = BTreeMap::new();
    for config in scene.snapshot.virtual_services.iter().filter(|config| config.spec.in_mesh()) {
        for host in &config.spec.hosts {
            if let Ok(host) = Hostname::resolve(host, &config.meta.namespace, scene.domain) {
                claims.entry(host).or_default().push(config);
            }
        }
    }
    claims.iter().flat_map(|(host, claimants)| conflicts(host, claimants)).collect()
}

/// A finding for each claimant that meets an older one.
fn conflicts(host: &Hostname, claimants: &[&Config<VirtualService>]) -> Vec<Found> {
    let mut found = Vec::new();
    for (index, later) in claimants.iter().enumerate() {
        let older = claimants[..index].iter().find(|older| meet(older, later));
        if let Some(older) = older {
            let (namespace, name) = (&older.meta.namespace, &older.meta.name);
            let message = format!(
                "The VirtualService {namespace}/{name} defines the same host {host} in the mesh and is older: it is in \
                 force, this one is not"
            );
            found.push(finding(code::CONFLICTING_MESH_HOSTS, Kind::VirtualService, &later.meta, "spec.hosts", message));
        }
    }
    found
}

/// Whether some namespace sees both.
fn meet(a: &Config<VirtualService>, b: &Config<VirtualService>) -> bool {
    match (&a.spec.export_to, &b.spec.export_to) {
        (ExportTo::Namespaces(names), other) | (other, ExportTo::Namespaces(names)) => {
            names.iter().any(|name| other.visible_in(name))
        }
        (ExportTo::All, ExportTo::All) => true,
        _ => false,
    }
}
