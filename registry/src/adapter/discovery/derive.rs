//! What the mesh makes of hosts. Pure.
//!
//! Callers know a service by its name alone, whatever port its hosts listen on: it is HTTP on port 80, and each
//! endpoint has its host's own port.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Host, NAME, WEIGHT};
use crate::model::{
    Address, Endpoint, Health, Locality, Location, Platform, Protocol, Provenance, Resolution, Service, ServiceKey,
    ServicePort, TlsMode, Visibility, Workload,
};
use crate::told::Described;

const PORT: u16 = 80;
const PORT_NAME: &str = "http";

/// A service and its endpoints; `None` while it has no host.
pub(super) fn service<'a>(key: &ServiceKey, hosts: impl Iterator<Item = &'a Host>) -> Option<Described> {
    let endpoints: Vec<Endpoint> = hosts.map(|host| endpoint(key, host)).collect();
    let first = endpoints.first()?;
    let service = Service {
        guesses_port: true,
        key: key.clone(),
        aliases: Vec::new(),
        ports: vec![ServicePort { name: PORT_NAME.into(), number: PORT, protocol: Protocol::Http }],
        addresses: Vec::new(),
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        created: 0,
        provenance: Provenance { object: "service".into(), ..first.provenance.clone() },
    };
    Some((service, endpoints))
}

fn endpoint(key: &ServiceKey, host: &Host) -> Endpoint {
    let weight = host.tags.get(WEIGHT).and_then(Value::as_u64).unwrap_or(1);
    Endpoint {
        silent_since: None,
        address: Address::Ip(host.ip_address),
        port: host.port,
        service_port: PORT_NAME.into(),
        health: Health::Healthy,
        weight: u32::try_from(weight.clamp(1, 100)).unwrap_or(1),
        // Nothing says that a sidecar is there.
        tls: TlsMode::Disabled,
        workload: Arc::new(workload(key, host)),
        provenance: Provenance { registry: NAME.into(), object: format!("host {}", host.place()) },
    }
}

fn workload(key: &ServiceKey, host: &Host) -> Workload {
    let text = |tag: &str| match host.tags.get(tag) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let mut labels = BTreeMap::from([("app".to_owned(), host.service.clone())]);
    labels.insert("revision".into(), host.revision.clone());
    if let Some(Value::Bool(canary)) = host.tags.get("canary") {
        labels.insert("canary".into(), canary.to_string());
    }
    Workload {
        hostname: String::new(),
        name: text("instance_id"),
        namespace: key.namespace.clone(),
        service_account: host.service.clone(),
        labels,
        locality: Locality { region: text("region"), zone: text("az"), sub_zone: String::new() },
        network: String::new(),
        platform: Platform::Vm,
        cluster: NAME.into(),
    }
}
