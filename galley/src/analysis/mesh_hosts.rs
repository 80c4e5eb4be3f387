//! Finds VirtualServices that claim the same host in the mesh: only the oldest is in force.

use std::collections::{BTreeMap, BTreeSet};

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
    claims.iter().flat_map(|(host, claimants)| conflicts(scene, host, claimants)).collect()
}

/// A finding for each claimant that meets an older one.
fn conflicts(scene: &Scene<'_>, host: &Hostname, claimants: &[&Config<VirtualService>]) -> Vec<Found> {
    let owners = scene.owners(host);
    let mut found = Vec::new();
    for (index, later) in claimants.iter().enumerate() {
        let older = claimants[..index].iter().find(|older| meet(scene, &owners, older, later));
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

/// Whether callers of some namespace heed both: a rule for a host of others is for those of its own only.
fn meet(scene: &Scene<'_>, owners: &BTreeSet<&str>, a: &Config<VirtualService>, b: &Config<VirtualService>) -> bool {
    let own_callers = |config: &Config<VirtualService>| {
        let namespace = config.meta.namespace.clone();
        let narrow = !owners.is_empty() && !owners.iter().any(|owner| scene.is_for_all(&namespace, owner));
        narrow.then_some(namespace)
    };
    let sees_both = |name: &str| a.spec.export_to.visible_in(name) && b.spec.export_to.visible_in(name);
    match (own_callers(a), own_callers(b)) {
        (Some(one), Some(other)) => one == other && sees_both(&one),
        (Some(only), None) | (None, Some(only)) => sees_both(&only),
        (None, None) => share_callers(&a.spec.export_to, &b.spec.export_to),
    }
}

/// Whether some namespace sees both.
fn share_callers(a: &ExportTo, b: &ExportTo) -> bool {
    match (a, b) {
        (ExportTo::Namespaces(names), other) | (other, ExportTo::Namespaces(names)) => {
            names.iter().any(|name| other.visible_in(name))
        }
        (ExportTo::All, ExportTo::All) => true,
        _ => false,
    }
}
