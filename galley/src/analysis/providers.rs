//! Finds providers of telemetry that are named and that the mesh's settings do not have.

use super::{Found, Scene, finding};
use crate::diagnostic::code;
use crate::kind::Kind;
use crate::kinds::{MeshConfig, Telemetry};

pub(super) fn run(scene: &Scene<'_>) -> Vec<Found> {
    let mesh = scene.snapshot.mesh_config();
    let declared = |name: &str| mesh.is_some_and(|mesh| mesh.spec.provider(name).is_some());
    let mut found = Vec::new();
    for config in &scene.snapshot.telemetries {
        for (path, name, built_in) in named(&config.spec) {
            if name.eq_ignore_ascii_case(built_in) || declared(name) {
                continue;
            }
            let message = format!(
                "Referenced provider not found: {name:?}; the extensionProviders of the MeshConfig have none of that \
                 name, and {built_in:?} is there without them"
            );
            found.push(finding(code::REFERENCE_NOT_FOUND, Kind::Telemetry, &config.meta, &path, message));
        }
    }
    found
}

/// Every provider that is named, its place, and the one that there is without being configured.
fn named<'s>(spec: &'s Telemetry) -> Vec<(String, &'s str, &'static str)> {
    let mut all = Vec::new();
    for (index, entry) in spec.tracing.iter().enumerate() {
        let path = format!("spec.tracing[{index}].providers[0].name");
        all.extend(entry.provider.as_deref().map(|name| (path, name, MeshConfig::TRACES)));
    }
    let mut several = |section: &str, index: usize, names: &'s [String], built_in| {
        let at = |place| format!("spec.{section}[{index}].providers[{place}].name");
        all.extend(names.iter().enumerate().map(|(place, name)| (at(place), name.as_str(), built_in)));
    };
    for (index, entry) in spec.metrics.iter().enumerate() {
        several("metrics", index, &entry.providers, MeshConfig::PROMETHEUS);
    }
    for (index, entry) in spec.access_logging.iter().enumerate() {
        several("accessLogging", index, &entry.providers, MeshConfig::FILE_LOG);
    }
    all
}
