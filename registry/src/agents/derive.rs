//! What services follow from registrations. Pure.

use std::sync::Arc;

use api::Hostname;

use super::{NAME, RegisteredPort, Registration};
use crate::model::{
    Address, Endpoint, Health, Location, Platform, Protocol, Provenance, Resolution, Service, ServiceKey, ServicePort,
    TlsMode, Visibility, Workload,
};

/// A registration, and what is known of its agent.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub registration: &'a Registration,
    /// In Unix seconds.
    pub silent_since: Option<u64>,
    /// Whether it is taken for gone.
    pub doubted: bool,
}

impl Known<'_> {
    fn health(&self) -> Health {
        if self.doubted { Health::Unhealthy } else { self.registration.health }
    }
}

/// The services that a registration names; a name that is no hostname is left out.
pub(super) fn services_of(registration: &Registration, domain: &str) -> Vec<ServiceKey> {
    let mut keys: Vec<_> = registration.ports.iter().filter_map(|port| key_of(registration, port, domain)).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn key_of(registration: &Registration, port: &RegisteredPort, domain: &str) -> Option<ServiceKey> {
    let host = Hostname::resolve(&port.service, &registration.namespace, domain).ok()?;
    Some(ServiceKey::new(host, &registration.namespace))
}

/// A service and its endpoints, from all registrations in a fixed order; `None` when none serves it. Where two declare
/// one port differently the first decides.
pub(super) fn service<'a>(
    key: &ServiceKey,
    registrations: impl Iterator<Item = Known<'a>>,
    domain: &str,
) -> Option<(Service, Vec<Endpoint>)> {
    let (mut ports, mut endpoints): (Vec<ServicePort>, Vec<Endpoint>) = Default::default();
    let mut first = None;
    for agent in registrations {
        let registration = agent.registration;
        let workload = Arc::new(workload(registration));
        for port in registration.ports.iter().filter(|port| key_of(registration, port, domain).as_ref() == Some(key)) {
            first.get_or_insert(registration);
            let known = ports.iter().position(|known| known.number == port.port);
            let index = known.unwrap_or_else(|| {
                ports.push(service_port(port));
                ports.len() - 1
            });
            endpoints.push(endpoint(agent, &workload, port.endpoint(), &ports[index].name));
        }
    }
    Some((describe(key, ports, first?), endpoints))
}

fn service_port(port: &RegisteredPort) -> ServicePort {
    if !port.name.is_empty() {
        return ServicePort { name: port.name.clone(), number: port.port, protocol: port.protocol };
    }
    let word =
        if port.protocol == Protocol::Auto { "auto".into() } else { port.protocol.as_str().to_ascii_lowercase() };
    ServicePort { name: format!("{word}-{}", port.port), number: port.port, protocol: port.protocol }
}

fn describe(key: &ServiceKey, mut ports: Vec<ServicePort>, first: &Registration) -> Service {
    ports.sort_by_key(|port| port.number);
    Service {
        guesses_port: false,
        key: key.clone(),
        aliases: Vec::new(),
        ports,
        addresses: Vec::new(),
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: Vec::new(),
        labels: Default::default(),
        created: 0,
        provenance: provenance(first),
    }
}

fn endpoint(known: Known<'_>, workload: &Arc<Workload>, port: u16, service_port: &str) -> Endpoint {
    let registration = known.registration;
    Endpoint {
        address: Address::Ip(registration.address),
        port,
        service_port: service_port.to_owned(),
        health: known.health(),
        weight: registration.weight.max(1),
        tls: TlsMode::Istio,
        workload: workload.clone(),
        provenance: provenance(registration),
        silent_since: known.silent_since,
    }
}

fn workload(registration: &Registration) -> Workload {
    Workload {
        hostname: String::new(),
        name: registration.workload.clone(),
        namespace: registration.namespace.as_str().into(),
        service_account: registration.service_account.clone(),
        labels: registration.labels.clone(),
        locality: registration.locality.clone(),
        network: registration.network.clone(),
        platform: Platform::Vm,
        cluster: registration.cluster.clone(),
    }
}

fn provenance(registration: &Registration) -> Provenance {
    Provenance { registry: NAME.into(), object: format!("agent {}.{}", registration.workload, registration.namespace) }
}
