//! MeshConfig: settings of the whole mesh that may change while it runs, with the names and forms of Istio's mesh
//! configuration (`mesh/v1alpha1/config.proto`): who takes telemetry, by name, and who does unless something else is
//! said.

mod authorizer;
mod exporter;
mod provider;
mod topology;

pub use authorizer::{AskedBody, AskedBy, Authorizer};
pub use exporter::{Exporter, InfluxAuth, StatsdTags};
pub use provider::{LogFormat, OtlpTransport, Provider, ProviderKind, ServicePort};
pub use topology::{ClientCertificates, Topology};

use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshConfig {
    pub providers: Vec<Provider>,
    pub defaults: DefaultProviders,
    /// `None`: as the policies of a workload need it.
    pub paths: Option<PathForm>,
    /// What becomes of requests to hosts that the mesh does not know (Istio `outboundTrafficPolicy.mode`).
    pub outbound: Option<Outbound>,
    /// What stands in front of gateways (Istio `defaultConfig.gatewayTopology`).
    pub topology: Topology,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    AllowAny,
    RegistryOnly,
}

/// In which form a request's path is brought before rules, routes and applications see it (Istio
/// `ProxyPathNormalization`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// As it came.
    Raw,
    /// RFC 3986 section 6.2.2, and backslashes are slashes.
    Base,
    /// Besides, doubled slashes are one.
    Merged,
    /// Besides, escaped slashes and backslashes are plain ones.
    Decoded,
}

/// Names of providers; `None` where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultProviders {
    pub tracing: Option<Vec<String>>,
    pub metrics: Option<Vec<String>>,
    pub access_logging: Option<Vec<String>>,
}

impl MeshConfig {
    /// There is one, of this name.
    pub const NAME: &str = "mesh";
    /// In the root namespace.
    pub const NAMESPACE: &str = "istio-system";
    /// Providers that there are without being configured: the access log on standard output, what Prometheus scrapes
    /// of proxies, and the control plane's own store of traces.
    pub const FILE_LOG: &str = "envoy";
    pub const PROMETHEUS: &str = "prometheus";
    pub const TRACES: &str = "weft";

    /// A provider by its name, in any case.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name.eq_ignore_ascii_case(name))
    }

    /// Where the control plane sends the metrics of the whole mesh.
    pub fn exporters(&self) -> impl Iterator<Item = (&str, &Exporter)> {
        let named = self.defaults.metrics.iter().flatten().filter_map(|name| self.provider(name));
        named.filter_map(|provider| match &provider.kind {
            ProviderKind::Exporter(exporter) => Some((provider.name.as_str(), exporter)),
            _ => None,
        })
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> MeshConfig {
    let mut names: Vec<String> = Vec::new();
    let providers = o.each("extensionProviders", |place| {
        let provider = provider::read(place)?;
        if names.iter().any(|name| name.eq_ignore_ascii_case(&provider.name)) {
            place.error(format!("a provider named {:?} is there already", provider.name));
        }
        names.push(provider.name.clone());
        Some(provider)
    });
    let paths = o.read("pathNormalization", |place| place.object(path_form)).flatten();
    const MODES: [(&str, Outbound); 2] = [("REGISTRY_ONLY", Outbound::RegistryOnly), ("ALLOW_ANY", Outbound::AllowAny)];
    let outbound = o.read("outboundTrafficPolicy", |place| place.object(|o| o.choice("mode", &MODES))).flatten();
    let gateways = |o: &Object<'_>| o.read("gatewayTopology", |place| place.object(topology::read));
    let topology = o.read("defaultConfig", |place| place.object(gateways)).flatten().unwrap_or_default();
    let mut mesh = MeshConfig { providers, defaults: DefaultProviders::default(), paths, outbound, topology };
    if let Some(defaults) = o.read("defaultProviders", |place| place.object(|o| defaults(o, &mesh))) {
        mesh.defaults = defaults;
    }
    mesh
}

fn path_form(o: &Object<'_>) -> Option<PathForm> {
    const FORMS: [(&str, Option<PathForm>); 5] = [
        ("DEFAULT", None),
        ("NONE", Some(PathForm::Raw)),
        ("BASE", Some(PathForm::Base)),
        ("MERGE_SLASHES", Some(PathForm::Merged)),
        ("DECODE_AND_MERGE_SLASHES", Some(PathForm::Decoded)),
    ];
    o.choice("normalization", &FORMS).flatten()
}

fn defaults(o: &Object<'_>, mesh: &MeshConfig) -> DefaultProviders {
    let list = |name: &'static str, fits: fn(&ProviderKind) -> bool, built_in: &[&str]| {
        o.has(name).then(|| o.each(name, |place| named(place, mesh, fits, built_in)))
    };
    DefaultProviders {
        tracing: list("tracing", ProviderKind::takes_spans, &[MeshConfig::TRACES]),
        metrics: list("metrics", ProviderKind::takes_metrics, &[MeshConfig::PROMETHEUS]),
        access_logging: list("accessLogging", ProviderKind::takes_logs, &[MeshConfig::FILE_LOG]),
    }
}

fn named(place: &Place<'_>, mesh: &MeshConfig, fits: fn(&ProviderKind) -> bool, built_in: &[&str]) -> Option<String> {
    let name = place.text()?;
    match mesh.provider(&name) {
        Some(provider) if !fits(&provider.kind) => {
            place.error(format!("provider {name:?} is {} and takes none of this", provider.kind.as_str()));
        }
        None if !built_in.contains(&name.as_str()) => {
            place.error(format!("no provider {name:?} is among extensionProviders, and none is built in"));
        }
        _ => {}
    }
    Some(name)
}
