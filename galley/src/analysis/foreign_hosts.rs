//! Finds VirtualServices for hosts of other namespaces: for a host that somebody serves, sidecars heed the rules of its
//! namespace, of the root namespace and of their own, so such a rule is for callers of its own namespace only.

use api::Hostname;

use super::{Found, Scene, finding};
use crate::diagnostic::code;
use crate::kind::Kind;
use crate::kinds::VirtualService;
use crate::snapshot::Config;

pub(super) fn run(scene: &Scene<'_>) -> Vec<Found> {
    let in_mesh = scene.snapshot.virtual_services.iter().filter(|config| config.spec.in_mesh());
    in_mesh.flat_map(|config| of_one(scene, config)).collect()
}

/// Whoever says by exportTo that only its own namespace is meant is told nothing.
fn of_one(scene: &Scene<'_>, config: &Config<VirtualService>) -> Vec<Found> {
    let namespace = config.meta.namespace.as_str();
    let mut found = Vec::new();
    for (index, text) in config.spec.hosts.iter().enumerate() {
        let Ok(host) = Hostname::resolve(text, namespace, scene.domain) else { continue };
        let owners = scene.owners(&host);
        if !host.is_wildcard() && owners.contains(namespace) {
            continue;
        }
        let others = owners.into_iter().filter(|owner| !scene.is_for_all(namespace, owner));
        let others: Vec<&str> = others.filter(|owner| config.spec.export_to.visible_in(owner)).collect();
        if others.is_empty() {
            continue;
        }
        let message = format!(
            "{host} is of namespace {}: only callers in namespace {namespace} heed this rule for it; apply it in the \
             namespace of the host, or say that no more is meant with exportTo: [\".\"]",
            others.join(", ")
        );
        let path = format!("spec.hosts[{index}]");
        found.push(finding(code::FOREIGN_HOST, Kind::VirtualService, &config.meta, &path, message));
    }
    found
}
