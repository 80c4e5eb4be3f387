//! What proxies tell of their traffic: Telemetries from the widest scope to the narrowest, over the providers of the
//! mesh's settings (Istio, Telemetry API).

mod access_log;
mod metrics;
mod provider;
mod tracing;

use std::sync::Arc;

pub(crate) use provider::{Reached, reach};

use api::envoy::config::accesslog::v3 as accesslog;
use api::envoy::config::listener::v3 as listener;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use galley::Config;
use galley::kinds::{Labels, MeshConfig, Telemetry, selects};

use crate::diagnostic::Findings;
use crate::listener::TCP_PROXY;
use crate::resource::Resource;
use crate::visibility::View;

/// Telemetries by scope, oldest first, and the providers that they name.
#[derive(Debug, Default)]
pub(crate) struct Telemetries {
    root_namespace: String,
    all: Vec<Arc<Config<Telemetry>>>,
    mesh: Option<Arc<Config<MeshConfig>>>,
}

impl Telemetries {
    pub fn new(config: &galley::Snapshot, root_namespace: &str) -> Self {
        let mesh = config.mesh_config().cloned();
        Self { root_namespace: root_namespace.to_owned(), all: config.telemetries.clone(), mesh }
    }

    /// Labels that proxies are told apart by.
    pub fn labels(&self) -> impl Iterator<Item = &String> {
        self.all.iter().filter_map(|telemetry| telemetry.spec.selector.as_ref()).flat_map(Labels::keys)
    }

    /// Whether anything is said at all.
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.mesh.is_none()
    }

    /// What holds for a workload: of the mesh, of its namespace, of its own; the oldest of each.
    fn of(&self, namespace: &str, labels: &Labels) -> Vec<&Config<Telemetry>> {
        let in_namespace = |of: &'_ str| {
            let of = of.to_owned();
            self.all.iter().filter(move |telemetry| telemetry.meta.namespace == of)
        };
        let is_wide = |telemetry: &&Arc<Config<Telemetry>>| is_wide(&telemetry.spec);
        let of_mesh = in_namespace(&self.root_namespace).find(is_wide);
        let of_namespace = in_namespace(namespace).find(is_wide).filter(|_| namespace != self.root_namespace);
        let own = in_namespace(namespace).find(|telemetry| {
            !is_wide(telemetry) && telemetry.spec.selector.as_ref().is_some_and(|wanted| selects(wanted, labels))
        });
        [of_mesh, of_namespace, own].into_iter().flatten().map(|telemetry| &**telemetry).collect()
    }
}

fn is_wide(telemetry: &Telemetry) -> bool {
    telemetry.selector.as_ref().is_none_or(Labels::is_empty)
}

/// The part of a connection manager that tells of the traffic of its side.
pub(crate) struct Observed {
    pub access_logs: Vec<accesslog::AccessLog>,
    pub tracing: Option<http::http_connection_manager::Tracing>,
    pub request_ids: Option<http::RequestIdExtension>,
    /// What is said of metrics.
    pub filter: Option<http::HttpFilter>,
}

/// What all of it is made from: one kind of proxy, one side of it.
struct Scene<'a> {
    view: &'a View<'a>,
    /// Of the mesh, of the namespace, of the workload.
    scopes: Vec<&'a Config<Telemetry>>,
    mesh: Option<&'a MeshConfig>,
    /// Whether the proxy is the server of a call.
    server: bool,
}

impl<'a> Scene<'a> {
    fn new(view: &'a View<'a>, server: bool) -> Self {
        let telemetries = &view.index.config.telemetries;
        let mesh = telemetries.mesh.as_ref().map(|mesh| &mesh.spec);
        let scopes = telemetries.of(&view.audience.namespace, &view.audience.labels);
        Self { view, scopes, mesh, server }
    }
}

pub(crate) fn observe(view: &View<'_>, server: bool) -> Observed {
    let scene = Scene::new(view, server);
    // Nothing that is wrong is told here: it would be told for each listener.
    let mut findings = Findings::default();
    let (tracing, request_ids) = tracing::compile(&scene, &mut findings);
    let filter = metrics::compile(&scene, &mut findings).map(|settings| metrics::http_filter(&settings));
    Observed { access_logs: access_log::compile(&scene, &mut findings), tracing, request_ids, filter }
}

/// A listener as it is sent: chains that speak no HTTP are told what becomes of their metrics.
pub(crate) fn resource(view: &View<'_>, server: bool, mut listener: listener::Listener) -> Resource {
    if let Some(filter) = observe_metrics(view, server) {
        let chains = listener.filter_chains.iter_mut().chain(listener.default_filter_chain.as_mut());
        for chain in chains.filter(|chain| chain.filters.last().is_some_and(|last| last.name == TCP_PROXY)) {
            chain.filters.insert(chain.filters.len() - 1, filter.clone());
        }
    }
    Resource::encode(&listener.name, &listener)
}

/// What is said of metrics of TCP.
fn observe_metrics(view: &View<'_>, server: bool) -> Option<listener::Filter> {
    let settings = metrics::compile(&Scene::new(view, server), &mut Findings::default())?;
    Some(metrics::network_filter(&settings))
}

/// The access log of a side.
pub(crate) fn access_logs(view: &View<'_>, server: bool) -> Vec<accesslog::AccessLog> {
    access_log::compile(&Scene::new(view, server), &mut Findings::default())
}

/// What is wrong with what a proxy is to tell.
pub(crate) fn complain(view: &View<'_>, findings: &mut Findings) {
    if view.index.config.telemetries.is_empty() {
        return;
    }
    for server in [false, true] {
        let scene = Scene::new(view, server);
        tracing::compile(&scene, findings);
        metrics::compile(&scene, findings);
        access_log::compile(&scene, findings);
    }
}
