//! All configuration in force at one moment, published whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kinds::{DestinationRule, Gateway, Labels, PeerAuthentication, ServiceEntry, VirtualService, WorkloadEntry};

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
    pub peer_authentications: Vec<Arc<Config<PeerAuthentication>>>,
}

impl Default for Provenance {
    fn default() -> Self {
        Self::Store { author: String::new() }
    }
}
