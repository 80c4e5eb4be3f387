//! A registration as the store keeps it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{RegisteredPort, Registration};
use crate::model::Protocol;

#[derive(Serialize, Deserialize)]
struct Page {
    workload: String,
    namespace: String,
    service_account: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    address: IpAddr,
    #[serde(default)]
    locality: String,
    #[serde(default)]
    cluster: String,
    ports: Vec<PortLine>,
}

#[derive(Serialize, Deserialize)]
struct PortLine {
    service: String,
    port: u16,
    protocol: String,
}

/// Cannot fail: the page is made of texts and numbers.
pub(super) fn write(registration: &Registration) -> Vec<u8> {
    let page = Page {
        workload: registration.workload.clone(),
        namespace: registration.namespace.clone(),
        service_account: registration.service_account.clone(),
        labels: registration.labels.clone(),
        address: registration.address,
        locality: registration.locality.to_string(),
        cluster: registration.cluster.clone(),
        ports: registration.ports.iter().map(line).collect(),
    };
    serde_json::to_vec(&page).unwrap_or_default()
}

/// `None` for bytes that no version of this registry wrote.
pub(super) fn read(bytes: &[u8]) -> Option<Registration> {
    let page: Page = serde_json::from_slice(bytes).ok()?;
    Some(Registration {
        workload: page.workload,
        namespace: page.namespace,
        service_account: page.service_account,
        labels: page.labels,
        address: page.address,
        locality: page.locality.parse().unwrap_or_default(),
        cluster: page.cluster,
        ports: page.ports.into_iter().map(port).collect::<Option<_>>()?,
    })
}

fn line(port: &RegisteredPort) -> PortLine {
    let protocol = if port.protocol == Protocol::Auto { "" } else { port.protocol.as_str() };
    PortLine { service: port.service.clone(), port: port.port, protocol: protocol.to_owned() }
}

fn port(line: PortLine) -> Option<RegisteredPort> {
    Some(RegisteredPort { service: line.service, port: line.port, protocol: Protocol::named(&line.protocol)? })
}
