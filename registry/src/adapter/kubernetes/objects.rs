//! What is read of Kubernetes' objects; everything else in them is skipped while it is parsed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer};

use super::follow::Versioned;

/// What an object is called and when it was.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Service {
    pub metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    pub r#type: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// The primary family comes first.
    #[serde(deserialize_with = "or_default")]
    pub ip_families: Vec<String>,
    pub external_name: String,
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ServicePort>,
    #[serde(deserialize_with = "or_default")]
    pub internal_traffic_policy: String,
    #[serde(deserialize_with = "or_default")]
    pub traffic_distribution: String,
    pub session_affinity: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub port: u16,
    pub protocol: String,
    #[serde(deserialize_with = "or_default")]
    pub app_protocol: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Meta,
    #[serde(default)]
    pub address_type: String,
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Vec<SliceEndpoint>,
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Conditions,
    pub target_ref: Option<TargetRef>,
    /// Of a pod whose `subdomain` is the service: always so for the pods of a StatefulSet.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub zone: String,
}

/// What is not said is to be read as ready (discovery.k8s.io/v1 EndpointConditions).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

/// A port without a number stands for all ports, which is of no use to a proxy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SlicePort {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pod {
    pub metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: PodSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub service_account_name: String,
}

/// Only its labels matter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    pub metadata: Meta,
}

/// Only its labels matter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Namespace {
    pub metadata: Meta,
}

impl Meta {
    /// `namespace/name`, and just `name` outside of namespaces.
    pub fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    pub fn created(&self) -> u64 {
        self.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second().max(0).cast_unsigned())
    }

    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Namespace and name.
pub type Key = (String, String);

macro_rules! versioned {
    ($($kind:ty),*) => {$(
        impl Versioned for $kind {
            fn resource_version(&self) -> &str {
                &self.metadata.resource_version
            }
        }
    )*};
}

versioned!(Service, EndpointSlice, Pod, Node, Namespace);

/// Servers may write null for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
