//! What Consul answers about instances, as far as it is read: types of our own, since those of the client library
//! refuse the tagged addresses and the proxy settings of today's servers.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One instance of a service with its node and its checks (`/v1/health/service/:service`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub node: Node,
    pub service: Instance,
    #[serde(default)]
    pub checks: Option<Vec<Check>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Node {
    pub node: String,
    pub address: String,
    pub datacenter: String,
    pub tagged_addresses: Option<BTreeMap<String, String>>,
    pub meta: Option<BTreeMap<String, String>>,
    /// Since Consul 1.17.
    pub locality: Option<Place>,
    /// Of Consul Enterprise.
    pub partition: Option<String>,
    /// Of its last change.
    pub modify_index: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Instance {
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub service: String,
    pub tags: Option<Vec<String>>,
    pub address: String,
    pub port: u32,
    pub meta: Option<BTreeMap<String, String>>,
    pub weights: Option<Weights>,
    pub tagged_addresses: Option<BTreeMap<String, TaggedAddress>>,
    /// Empty for an ordinary service, else `connect-proxy`, `mesh-gateway` and the like.
    pub kind: String,
    pub connect: Option<Connect>,
    /// Of Consul Enterprise.
    pub namespace: Option<String>,
    /// A Unix socket in the place of address and port, since Consul 1.10.
    pub socket_path: String,
    pub locality: Option<Place>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaggedAddress {
    pub address: String,
    pub port: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Weights {
    pub passing: i64,
    pub warning: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Connect {
    pub native: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Place {
    pub region: String,
    pub zone: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Check {
    #[serde(rename = "CheckID")]
    pub id: String,
    pub status: String,
    pub node: String,
    /// Empty for a check of the whole node.
    pub service_name: String,
}

/// What a node carries (`/v1/catalog/node/:node`), as far as it tells what changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Occupied {
    pub node: Node,
    pub services: Option<BTreeMap<String, Listed>>,
}

/// A service instance of a node, by its ID.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub service: String,
    pub modify_index: u64,
}

/// A node of the catalog (`/v1/catalog/nodes`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Named {
    pub node: String,
}

impl Instance {
    /// Sidecar proxies and gateways are the way to a service, not one by themselves.
    pub fn is_service(&self) -> bool {
        self.kind.is_empty()
    }

    pub fn meta(&self, key: &str) -> Option<&str> {
        let value = self.meta.as_ref()?.get(key)?.trim();
        (!value.is_empty()).then_some(value)
    }
}
