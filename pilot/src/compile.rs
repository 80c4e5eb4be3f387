//! From inputs to snapshots: what proxies share is made once and kept, what is a proxy's own is made for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use registry::{Entry, ServiceKey};

use crate::audience::Audience;
use crate::diagnostic::{Diagnostic, Findings};
use crate::index::Index;
use crate::inputs::Inputs;
use crate::node::{Node, NodeKind};
use crate::resource::{Resource, ResourceMap, ResourceSet, Snapshot};
use crate::visibility::View;
use crate::{capture, clusters, gateway, http_proxy, inbound, name_table, names, telemetry};

/// What a proxy is to run on. Pure: the same inputs and node give the same snapshot. Whatever is wrong with the
/// configuration comes back as diagnostics and stops nothing.
pub fn compile(inputs: &Inputs, node: &Node) -> (Snapshot, Vec<Diagnostic>) {
    Compiled::new(inputs).snapshot(node)
}

/// Inputs, and all that was already compiled from them.
#[derive(Debug)]
pub struct Compiled {
    index: Index,
    /// Filled as proxies ask.
    outbound: Mutex<BTreeMap<Audience, Arc<Outbound>>>,
}

/// What all proxies of an audience share.
#[derive(Clone, Debug, Default)]
struct Outbound {
    clusters: Arc<ResourceMap>,
    endpoints: Arc<ResourceMap>,
    /// The explicit proxy's and those of captured requests; only for sidecars.
    routes: Arc<ResourceMap>,
    /// Of captured connections.
    listeners: Arc<ResourceMap>,
    /// What an agent answers over DNS; only for sidecars.
    names: Arc<ResourceMap>,
    diagnostics: Vec<Diagnostic>,
}

impl Compiled {
    pub fn new(inputs: &Inputs) -> Self {
        Self { index: Index::new(&inputs.in_force()), outbound: Mutex::default() }
    }

    /// The same for newer inputs. Where only endpoints changed, only what is made of them is made again.
    pub fn next(&self, inputs: &Inputs) -> Self {
        let before = &self.index.inputs;
        let inputs = &inputs.in_force();
        if !inputs.only_endpoints_differ(before) {
            return Self::new(inputs);
        }
        let index = self.index.with_catalog(inputs);
        let changed: Vec<&ServiceKey> = inputs.catalog.changed_endpoints(&before.catalog).collect();
        let known = self.lock().clone();
        let outbound = known.into_iter().map(|(audience, outbound)| {
            let outbound = outbound.with_endpoints(&View::of_names(&index, &audience), &changed);
            (audience, Arc::new(outbound))
        });
        let outbound = Mutex::new(outbound.collect());
        Self { index, outbound }
    }

    /// One proxy's snapshot.
    pub fn snapshot(&self, node: &Node) -> (Snapshot, Vec<Diagnostic>) {
        let audience = self.index.audience(node);
        let outbound = self.outbound(&audience);
        let mut findings = Findings::default();
        findings.extend(&self.index.config.diagnostics);
        findings.extend(&outbound.diagnostics);
        telemetry::complain(&View::of_names(&self.index, &audience), &mut findings);
        let own = match node.kind {
            NodeKind::Sidecar => sidecar(&View::of_names(&self.index, &audience), node, &mut findings),
            NodeKind::Router => gateway::compile(&View::new(&self.index, &audience), node, &mut findings),
        };
        let snapshot = Snapshot {
            clusters: ResourceSet::new(Arc::clone(&outbound.clusters), own.clusters),
            endpoints: ResourceSet::new(Arc::clone(&outbound.endpoints), []),
            listeners: ResourceSet::new(Arc::clone(&outbound.listeners), own.listeners),
            routes: ResourceSet::new(Arc::clone(&outbound.routes), own.routes),
            secrets: ResourceSet::new(Arc::default(), own.secrets),
            names: ResourceSet::new(Arc::clone(&outbound.names), []),
        };
        (snapshot, findings.into_vec())
    }

    /// Made by the first proxy of an audience; those that come meanwhile wait for it.
    fn outbound(&self, audience: &Audience) -> Arc<Outbound> {
        let mut known = self.lock();
        let make = || Arc::new(Outbound::new(&View::new(&self.index, audience)));
        Arc::clone(known.entry(audience.clone()).or_insert_with(make))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Audience, Arc<Outbound>>> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What only one proxy has.
#[derive(Default)]
pub(crate) struct Own {
    pub clusters: Vec<Resource>,
    pub listeners: Vec<Resource>,
    pub routes: Vec<Resource>,
    /// Gateways only: the certificates that their servers show.
    pub secrets: Vec<Resource>,
}

fn sidecar(view: &View<'_>, node: &Node, findings: &mut Findings) -> Own {
    let (clusters, mut listeners) = inbound::compile(view, node, findings);
    let proxy = http_proxy::listener(view, node);
    listeners.push(telemetry::resource(view, false, proxy));
    Own { clusters, listeners, ..Own::default() }
}

impl Outbound {
    fn new(view: &View<'_>) -> Self {
        let mut findings = Findings::default();
        let (mut clusters, mut endpoints) = (ResourceMap::new(), ResourceMap::new());
        for entry in view.services() {
            add(view, entry, &mut clusters, &mut endpoints, &mut findings);
        }
        let (mut routes, mut table_of_names) = (ResourceMap::new(), ResourceMap::new());
        if view.audience.kind == NodeKind::Sidecar {
            let table = http_proxy::route_table(view, &mut findings);
            insert(&mut routes, Resource::encode(&table.name, &table));
            insert(&mut table_of_names, name_table::compile(view));
            if http_proxy::elsewhere::is_open(view) {
                insert(&mut clusters, Resource::encode(names::FORWARD, &http_proxy::elsewhere::cluster()));
            }
        }
        let mut listeners = ResourceMap::new();
        if let Some(capture) = view.audience.capture {
            let captured = capture::outbound(view, capture, &mut findings);
            captured.clusters.into_iter().for_each(|resource| insert(&mut clusters, resource));
            captured.listeners.into_iter().for_each(|resource| insert(&mut listeners, resource));
            captured.routes.into_iter().for_each(|resource| insert(&mut routes, resource));
        }
        Self {
            clusters: Arc::new(clusters),
            endpoints: Arc::new(endpoints),
            routes: Arc::new(routes),
            listeners: Arc::new(listeners),
            names: Arc::new(table_of_names),
            diagnostics: findings.into_vec(),
        }
    }

    /// Clusters are made again too: they name the identities of their endpoints.
    fn with_endpoints(&self, view: &View<'_>, changed: &[&ServiceKey]) -> Self {
        let mut next = self.clone();
        let entries = changed.iter().filter_map(|key| view.index.inputs.catalog.get(key));
        let entries: Vec<_> = entries.filter(|entry| view.sees(entry)).collect();
        if !self.names.is_empty() && entries.iter().any(|entry| name_table::is_headless(entry)) {
            let all = View::new(view.index, view.audience);
            insert(Arc::make_mut(&mut next.names), name_table::compile(&all));
        }
        for entry in entries {
            let clusters = Arc::make_mut(&mut next.clusters);
            add(view, entry, clusters, Arc::make_mut(&mut next.endpoints), &mut Findings::default());
        }
        next
    }
}

fn add(
    view: &View<'_>,
    entry: &Entry,
    clusters: &mut ResourceMap,
    endpoints: &mut ResourceMap,
    findings: &mut Findings,
) {
    let made = clusters::of_service(view, entry, findings);
    made.clusters.into_iter().for_each(|resource| insert(clusters, resource));
    made.assignments.into_iter().for_each(|resource| insert(endpoints, resource));
}

/// Keeps the resource that is there where the new one is equal.
fn insert(map: &mut ResourceMap, resource: Resource) {
    if map.get(&resource.name) != Some(&resource) {
        map.insert(resource.name.clone(), resource);
    }
}
