//! What is said of a proxy's metrics (Istio, `Telemetry.metrics`): the settings of the filter `istio.stats`, for
//! proxies of weft, which count without it.

use std::collections::{BTreeMap, BTreeSet};

use api::envoy::config::listener::v3 as listener;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::stats::{MetricConfig, PluginConfig};
use galley::kinds::{IstioMetric, MeshConfig, Metrics, ProviderKind, TagOverride};

use super::Scene;
use crate::diagnostic::{Code, Findings};

const FILTER: &str = "istio.stats";

/// What becomes of one metric.
#[derive(Default)]
struct Change<'a> {
    disabled: bool,
    tags: BTreeMap<&'a str, &'a TagOverride>,
}

/// By provider's name in lower case. A provider that is there with no changes counts everything.
type Changes<'a> = BTreeMap<String, BTreeMap<IstioMetric, Change<'a>>>;

/// `None` where metrics are as they always are.
pub(super) fn compile(scene: &Scene<'_>, findings: &mut Findings) -> Option<PluginConfig> {
    let entries: Vec<&Metrics> = scene.scopes.iter().flat_map(|scope| &scope.spec.metrics).collect();
    let defaults = scene.mesh.and_then(|mesh| mesh.defaults.metrics.clone());
    if entries.is_empty() && defaults.is_none() {
        return None;
    }
    let defaults = defaults.unwrap_or_else(|| vec![MeshConfig::PROMETHEUS.to_owned()]);
    let merged = merge(scene, &entries, &defaults);
    let of_prometheus =
        merged.iter().filter(|(name, _)| is_prometheus(scene, name, findings)).map(|(_, changes)| changes);
    let mut of_prometheus = of_prometheus.peekable();
    let settings = match of_prometheus.peek() {
        None => PluginConfig { metrics: vec![MetricConfig { drop: true, ..Default::default() }], ..Default::default() },
        Some(changes) if changes.is_empty() => return None,
        Some(changes) => {
            let metrics = changes.iter().map(|(metric, change)| config(*metric, change));
            PluginConfig { metrics: metrics.collect(), ..Default::default() }
        }
    };
    if !scene.view.audience.features.istio_stats {
        let message = "what is said of metrics reaches proxies of weft of this version only; others count as always";
        findings.add(Code::Unsupported, scene.object(), message);
        return None;
    }
    Some(settings)
}

/// Of several entries each later one is above those before it. Providers that are named take the place of those of the
/// wider scopes.
fn merge<'a>(scene: &Scene<'_>, entries: &[&'a Metrics], defaults: &[String]) -> Changes<'a> {
    let in_force = entries.iter().rev().map(|entry| &entry.providers).find(|names| !names.is_empty());
    let in_force: BTreeSet<String> = lower(in_force.map_or(defaults, Vec::as_slice)).collect();
    let mut merged: Changes<'_> = in_force.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
    let mut silent: BTreeSet<String> = BTreeSet::new();
    let mut of_parent = defaults;
    for entry in entries {
        let named = if entry.providers.is_empty() { of_parent } else { &entry.providers };
        of_parent = named;
        for name in lower(named).filter(|name| in_force.contains(name)) {
            let changes = merged.entry(name.clone()).or_default();
            for change in entry.overrides.iter().filter(|change| change.mode.covers(scene.server)) {
                if change.metric.is_none() && change.disabled == Some(true) {
                    silent.insert(name.clone());
                    continue;
                }
                silent.remove(&name);
                let metrics = change.metric.map_or(&IstioMetric::ALL[..], |metric| {
                    let place = IstioMetric::ALL.iter().position(|known| *known == metric).unwrap_or_default();
                    &IstioMetric::ALL[place..=place]
                });
                for metric in metrics {
                    let known = changes.entry(*metric).or_default();
                    known.disabled = change.disabled.unwrap_or(known.disabled);
                    known.tags.extend(change.tags.iter().map(|(name, tag)| (name.as_str(), tag)));
                }
            }
        }
    }
    merged.retain(|name, _| !silent.contains(name));
    merged
}

fn lower(names: &[String]) -> impl Iterator<Item = String> + '_ {
    names.iter().map(|name| name.to_ascii_lowercase())
}

/// Exporters of the control plane are told of the whole mesh; no proxy has a part in it.
fn is_prometheus(scene: &Scene<'_>, name: &str, findings: &mut Findings) -> bool {
    match scene.mesh.and_then(|mesh| mesh.provider(name)) {
        None if name == MeshConfig::PROMETHEUS => true,
        None => {
            scene.provider(name, findings);
            false
        }
        Some(provider) => match &provider.kind {
            ProviderKind::Prometheus => true,
            ProviderKind::Exporter(_) => {
                let exported = scene.mesh.is_some_and(|mesh| mesh.exporters().any(|(known, _)| known == provider.name));
                if !exported {
                    let message = format!(
                        "provider {name:?} is told of the whole mesh by the control plane: name it among the \
                         defaultProviders.metrics of the MeshConfig"
                    );
                    findings.add(Code::Unsupported, scene.object(), message);
                }
                false
            }
            _ => {
                scene.unfit(provider, "metrics", findings);
                false
            }
        },
    }
}

fn config(metric: IstioMetric, change: &Change<'_>) -> MetricConfig {
    let mut config = MetricConfig { name: metric.as_str().to_owned(), drop: change.disabled, ..Default::default() };
    for (name, tag) in &change.tags {
        match tag {
            TagOverride::Remove => config.tags_to_remove.push((*name).to_owned()),
            TagOverride::Upsert(value) => drop(config.dimensions.insert((*name).to_owned(), value.clone())),
        }
    }
    config
}

pub(super) fn http_filter(settings: &PluginConfig) -> http::HttpFilter {
    crate::http_manager::http_filter(FILTER, settings)
}

pub(super) fn network_filter(settings: &PluginConfig) -> listener::Filter {
    crate::listener::network_filter(FILTER, settings)
}
