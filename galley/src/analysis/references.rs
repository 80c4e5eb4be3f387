//! Finds hosts, subsets and gateways that are named and nowhere declared.

use api::Hostname;

use super::{Found, Scene, finding};
use crate::diagnostic::code;
use crate::kind::Kind;
use crate::kinds::{Destination, HttpAction, VirtualService};
use crate::snapshot::Meta;

pub(super) fn run(scene: &Scene<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for config in &scene.snapshot.virtual_services {
        for (path, destination) in destinations(&config.spec) {
            found.extend(check_destination(scene, &config.meta, &path, destination));
        }
        for (index, gateway) in
            config.spec.gateways.iter().enumerate().filter(|(_, name)| *name != VirtualService::MESH)
        {
            let exists = scene.snapshot.gateways.iter().any(|known| {
                gateway.split_once('/') == Some((known.meta.namespace.as_str(), known.meta.name.as_str()))
            });
            if !exists {
                let message = format!("Referenced gateway not found: {gateway:?}");
                let path = format!("spec.gateways[{index}]");
                found.push(finding(code::REFERENCE_NOT_FOUND, Kind::VirtualService, &config.meta, &path, message));
            }
        }
    }
    for config in &scene.snapshot.destination_rules {
        let host = Hostname::resolve(&config.spec.host, &config.meta.namespace, scene.domain);
        if host.is_ok_and(|host| !scene.knows(&host)) {
            let message = format!("Referenced host not found: {:?}", config.spec.host);
            found.push(finding(code::REFERENCE_NOT_FOUND, Kind::DestinationRule, &config.meta, "spec.host", message));
        }
    }
    found
}

/// Every destination of a VirtualService, and its place.
fn destinations(spec: &VirtualService) -> Vec<(String, &Destination)> {
    let mut all = Vec::new();
    for (index, rule) in spec.http.iter().enumerate() {
        if let HttpAction::Route(route) = &rule.action {
            let entries = route.iter().enumerate();
            all.extend(entries.map(|(n, entry)| (format!("spec.http[{index}].route[{n}]"), &entry.destination)));
        }
        let mirrors = rule.mirrors.iter();
        all.extend(mirrors.map(|mirror| (format!("spec.http[{index}].mirror"), &mirror.destination)));
    }
    for (index, rule) in spec.tls.iter().enumerate() {
        all.extend(rule.route.iter().map(|entry| (format!("spec.tls[{index}].route"), &entry.destination)));
    }
    for (index, rule) in spec.tcp.iter().enumerate() {
        all.extend(rule.route.iter().map(|entry| (format!("spec.tcp[{index}].route"), &entry.destination)));
    }
    all
}

fn check_destination(scene: &Scene<'_>, meta: &Meta, path: &str, destination: &Destination) -> Option<Found> {
    let host = Hostname::resolve(&destination.host, &meta.namespace, scene.domain).ok()?;
    let message = if !scene.knows(&host) {
        format!("Referenced host not found: {:?}", destination.host)
    } else {
        let subset = destination.subset.as_ref()?;
        if declares(scene, meta, &host, subset) {
            return None;
        }
        format!("Referenced host+subset in destinationrule not found: \"{}+{subset}\"", destination.host)
    };
    let path = format!("{path}.destination");
    Some(finding(code::REFERENCE_NOT_FOUND, Kind::VirtualService, meta, &path, message))
}

/// Whether a DestinationRule that the object can see declares the subset.
fn declares(scene: &Scene<'_>, meta: &Meta, host: &Hostname, subset: &str) -> bool {
    scene.snapshot.destination_rules.iter().any(|rule| {
        let covers = Hostname::resolve(&rule.spec.host, &rule.meta.namespace, scene.domain)
            .is_ok_and(|declared| declared.covers(host.as_str()));
        covers
            && rule.spec.export_to.visible_in(&meta.namespace)
            && rule.spec.subsets.iter().any(|declared| declared.name == subset)
    })
}
