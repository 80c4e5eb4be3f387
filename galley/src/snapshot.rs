//! All configuration in force at one moment, published whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Rejection};
use crate::document::{self, Checked};
use crate::kinds::{
    AuthorizationPolicy, DestinationRule, Gateway, Labels, MeshConfig, PeerAuthentication, RequestAuthentication,
    ServiceEntry, Telemetry, VirtualService, WorkloadEntry, WorkloadGroup,
};

/// One object: what it is called and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config<K> {
    pub meta: Meta,
    pub spec: K,
}

/// Identity and origin of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    /// Unix seconds; the older of two that conflict wins.
    pub created: u64,
    /// The store's revision that wrote it; 0 for an object from a file.
    pub revision: u64,
    pub provenance: Provenance,
}

/// Where an object came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    File(PathBuf),
    /// Held by the Kubernetes cluster of this name.
    Cluster(Arc<str>),
    /// Applied through the API, by this author.
    Store {
        author: String,
    },
}

/// Lists are sorted oldest first, then by name, then by namespace: the order in which Istio settles conflicts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every published change.
    pub version: u64,
    pub virtual_services: Vec<Arc<Config<VirtualService>>>,
    pub destination_rules: Vec<Arc<Config<DestinationRule>>>,
    pub gateways: Vec<Arc<Config<Gateway>>>,
    pub service_entries: Vec<Arc<Config<ServiceEntry>>>,
    pub workload_entries: Vec<Arc<Config<WorkloadEntry>>>,
    pub workload_groups: Vec<Arc<Config<WorkloadGroup>>>,
    pub peer_authentications: Vec<Arc<Config<PeerAuthentication>>>,
    pub request_authentications: Vec<Arc<Config<RequestAuthentication>>>,
    pub authorization_policies: Vec<Arc<Config<AuthorizationPolicy>>>,
    pub telemetries: Vec<Arc<Config<Telemetry>>>,
    pub mesh_configs: Vec<Arc<Config<MeshConfig>>>,
}

impl Default for Provenance {
    fn default() -> Self {
        Self::Store { author: String::new() }
    }
}

impl Meta {
    /// The annotation of an AuthorizationPolicy that is only tried.
    pub(crate) const DRY_RUN: &str = "istio.io/dry-run";

    /// Whether what the object decides is only counted and noted, not enforced.
    pub fn is_dry_run(&self) -> bool {
        self.annotations.get(Self::DRY_RUN).is_some_and(|value| value == "true")
    }
}

impl Snapshot {
    /// What a text alone says, as if it came from one file. For tools and tests.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Rejection> {
        let (documents, diagnostics) = document::parse(text, origin);
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Rejection { diagnostics });
        }
        let checked = documents.into_iter().map(|document| {
            let meta = Meta {
                name: document.key.name,
                namespace: document.key.namespace,
                labels: document.labels,
                annotations: document.annotations,
                provenance: Provenance::File(origin.into()),
                ..Meta::default()
            };
            document.spec.with(meta)
        });
        Ok(Self::of(1, checked))
    }

    pub fn workload_group(&self, namespace: &str, name: &str) -> Option<&Arc<Config<WorkloadGroup>>> {
        self.workload_groups.iter().find(|group| (&*group.meta.namespace, &*group.meta.name) == (namespace, name))
    }

    /// The settings of the whole mesh.
    pub fn mesh_config(&self) -> Option<&Arc<Config<MeshConfig>>> {
        self.mesh_configs.first()
    }

    /// Sorts objects into their lists.
    pub(crate) fn of(version: u64, objects: impl Iterator<Item = Checked>) -> Self {
        let mut snapshot = Self { version, ..Self::default() };
        for object in objects {
            match object {
                Checked::VirtualService(config) => snapshot.virtual_services.push(config),
                Checked::DestinationRule(config) => snapshot.destination_rules.push(config),
                Checked::Gateway(config) => snapshot.gateways.push(config),
                Checked::ServiceEntry(config) => snapshot.service_entries.push(config),
                Checked::WorkloadEntry(config) => snapshot.workload_entries.push(config),
                Checked::WorkloadGroup(config) => snapshot.workload_groups.push(config),
                Checked::PeerAuthentication(config) => snapshot.peer_authentications.push(config),
                Checked::RequestAuthentication(config) => snapshot.request_authentications.push(config),
                Checked::AuthorizationPolicy(config) => snapshot.authorization_policies.push(config),
                Checked::Telemetry(config) => snapshot.telemetries.push(config),
                Checked::MeshConfig(config) => snapshot.mesh_configs.push(config),
            }
        }
        sort(&mut snapshot.virtual_services);
        sort(&mut snapshot.destination_rules);
        sort(&mut snapshot.gateways);
        sort(&mut snapshot.service_entries);
        sort(&mut snapshot.workload_entries);
        sort(&mut snapshot.workload_groups);
        sort(&mut snapshot.peer_authentications);
        sort(&mut snapshot.request_authentications);
        sort(&mut snapshot.authorization_policies);
        sort(&mut snapshot.telemetries);
        sort(&mut snapshot.mesh_configs);
        snapshot
    }
}

fn sort<K>(configs: &mut [Arc<Config<K>>]) {
    configs.sort_by(|a, b| {
        let key = |config: &Config<K>| (config.meta.created, config.meta.name.clone(), config.meta.namespace.clone());
        key(a).cmp(&key(b))
    });
}
