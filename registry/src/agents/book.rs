//! A registration as the store keeps it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{RegisteredPort, Registration};
use crate::model::{Health, Protocol};

#[derive(Serialize, Deserialize)]
struct Page {
    #[serde(default)]
    member: Option<String>,
    workload: String,
    namespace: String,
    service_account: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    address: IpAddr,
    #[serde(default)]
    locality: String,
    #[serde(default)]
    network: String,
    #[serde(default)]
    cluster: String,
    /// Not there in pages of before.
    #[serde(default)]
    weight: u32,
    #[serde(default)]
    unhealthy: bool,
    /// The control plane that it belongs to, where several share the store.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    owner: String,
    /// Since when its agent is taken for gone, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubted: Option<u64>,
    ports: Vec<PortLine>,
}

/// What is stored of a registration.
pub(super) struct Stored {
    pub registration: Registration,
    pub owner: String,
    /// Since when its agent is taken for gone, in Unix seconds.
    pub doubted: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct PortLine {
    service: String,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<u16>,
    #[serde(default)]
    name: String,
    protocol: String,
}

/// Cannot fail: the page is made of texts and numbers.
pub(super) fn write(registration: &Registration, owner: &str, doubted: Option<u64>) -> Vec<u8> {
    let page = Page {
        member: registration.member.clone(),
        workload: registration.workload.clone(),
        namespace: registration.namespace.clone(),
        service_account: registration.service_account.clone(),
        labels: registration.labels.clone(),
        address: registration.address,
        locality: registration.locality.to_string(),
        network: registration.network.clone(),
        cluster: registration.cluster.clone(),
        weight: registration.weight,
        unhealthy: registration.health == Health::Unhealthy,
        owner: owner.to_owned(),
        doubted,
        ports: registration.ports.iter().map(line).collect(),
    };
    serde_json::to_vec(&page).unwrap_or_default()
}

/// `None` for bytes that no version of this registry wrote.
pub(super) fn read(bytes: &[u8]) -> Option<Stored> {
    let page: Page = serde_json::from_slice(bytes).ok()?;
    let registration = Registration {
        member: page.member,
        workload: page.workload,
        namespace: page.namespace,
        service_account: page.service_account,
        labels: page.labels,
        address: page.address,
        locality: page.locality.parse().unwrap_or_default(),
        network: page.network,
        cluster: page.cluster,
        weight: page.weight.max(1),
        health: if page.unhealthy { Health::Unhealthy } else { Health::Healthy },
        ports: page.ports.into_iter().map(port).collect::<Option<_>>()?,
    };
    Some(Stored { registration, owner: page.owner, doubted: page.doubted })
}

fn line(port: &RegisteredPort) -> PortLine {
    let protocol = if port.protocol == Protocol::Auto { "" } else { port.protocol.as_str() };
    PortLine {
        service: port.service.clone(),
        port: port.port,
        shared: port.shared,
        name: port.name.clone(),
        protocol: protocol.to_owned(),
    }
}

fn port(line: PortLine) -> Option<RegisteredPort> {
    let protocol = Protocol::named(&line.protocol)?;
    Some(RegisteredPort { service: line.service, port: line.port, shared: line.shared, name: line.name, protocol })
}
