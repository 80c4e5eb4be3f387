//! From ServiceEntry and WorkloadEntry to services and endpoints.

use std::sync::Arc;

use api::Hostname;
use registry::{
    Address, Endpoint, Health, Location, Platform, Provenance, Resolution, Service, ServiceKey, ServicePort, TlsMode,
    Visibility, Workload,
};

use super::{Declared, StaticRegistry};
use crate::kinds::{ExportTo, Labels, ServiceEntry, WorkloadEntry, selects};
use crate::snapshot::{Config, Meta, Snapshot};

/// The label by which a workload says that it speaks the mesh's mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// All services; of two entries for one host and namespace the older describes it, and both give endpoints.
pub(crate) fn declared(snapshot: &Snapshot, domain: &str) -> Declared {
    let mut declared = Declared::new();
    for entry in &snapshot.service_entries {
        let hosts = entry.spec.hosts.iter();
        for host in hosts.filter_map(|host| Hostname::resolve(host, &entry.meta.namespace, domain).ok()) {
            let endpoints = endpoints(entry, &host, snapshot);
            let key = ServiceKey::new(host, &entry.meta.namespace);
            let known = declared.entry(key.clone()).or_insert_with(|| (service(entry, key), Vec::new()));
            known.1.extend(endpoints);
        }
    }
    declared
}

fn service(entry: &Config<ServiceEntry>, key: ServiceKey) -> Service {
    let spec = &entry.spec;
    let port = |port: &crate::kinds::EntryPort| ServicePort {
        name: port.name.clone(),
        number: port.number,
        protocol: port.protocol,
    };
    Service {
        guesses_port: false,
        key,
        aliases: Vec::new(),
        ports: spec.ports.iter().map(port).collect(),
        addresses: spec.addresses.clone(),
        location: spec.location,
        resolution: spec.resolution,
        visibility: match &spec.export_to {
            ExportTo::All => Visibility::Public,
            ExportTo::Namespaces(names) => Visibility::Namespaces(names.clone()),
            ExportTo::Nobody => Visibility::Nobody,
        },
        subject_alt_names: spec.subject_alt_names.clone(),
        labels: entry.meta.labels.clone(),
        created: entry.meta.created,
        provenance: provenance("ServiceEntry", &entry.meta),
    }
}

fn provenance(kind: &str, meta: &Meta) -> Provenance {
    Provenance { registry: StaticRegistry::NAME.into(), object: format!("{kind} {}/{}", meta.namespace, meta.name) }
}

fn endpoints(entry: &Config<ServiceEntry>, host: &Hostname, snapshot: &Snapshot) -> Vec<Endpoint> {
    if let Some(selector) = &entry.spec.workload_selector {
        return selected(entry, selector, snapshot);
    }
    let dns = matches!(entry.spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if entry.spec.endpoints.is_empty() && dns {
        let by_name = WorkloadEntry { address: Some(Address::Name(host.to_string())), ..WorkloadEntry::default() };
        return of_workload(entry, &by_name, &entry.meta, &by_name.labels, Platform::Static);
    }
    let inline = entry.spec.endpoints.iter();
    inline.flat_map(|endpoint| of_workload(entry, endpoint, &entry.meta, &endpoint.labels, Platform::Static)).collect()
}

fn selected(entry: &Config<ServiceEntry>, selector: &Labels, snapshot: &Snapshot) -> Vec<Endpoint> {
    let same_namespace = |workload: &&Arc<Config<WorkloadEntry>>| workload.meta.namespace == entry.meta.namespace;
    let workloads = snapshot.workload_entries.iter().filter(same_namespace);
    workloads
        .flat_map(|workload| {
            let mut labels = workload.meta.labels.clone();
            labels.extend(workload.spec.labels.clone());
            match selects(selector, &labels) {
                true => of_workload(entry, &workload.spec, &workload.meta, &labels, Platform::Vm),
                false => Vec::new(),
            }
        })
        .collect()
}

/// An endpoint for each port of the service.
fn of_workload(
    entry: &Config<ServiceEntry>,
    spec: &WorkloadEntry,
    meta: &Meta,
    labels: &Labels,
    platform: Platform,
) -> Vec<Endpoint> {
    let Some(address) = &spec.address else { return Vec::new() };
    let internal = entry.spec.location == Location::MeshInternal;
    let speaks_tls = internal && labels.get(TLS_MODE).is_some_and(|mode| mode == "istio");
    let workload = Arc::new(Workload {
        hostname: String::new(),
        name: meta.name.clone(),
        namespace: meta.namespace.as_str().into(),
        service_account: spec.service_account.clone(),
        labels: labels.clone(),
        locality: spec.locality.clone(),
        network: spec.network.clone(),
        platform,
        cluster: "weft".to_owned(),
    });
    let kind = if platform == Platform::Vm { "WorkloadEntry" } else { "ServiceEntry" };
    let unix = matches!(address, Address::Unix(_));
    let endpoint = |port: &crate::kinds::EntryPort| Endpoint {
        silent_since: None,
        address: address.clone(),
        port: match spec.ports.get(&port.name) {
            _ if unix => 0,
            Some(port) => *port,
            None => port.target_port.unwrap_or(port.number),
        },
        service_port: port.name.clone(),
        health: Health::Healthy,
        weight: spec.weight.max(1),
        tls: if speaks_tls { TlsMode::Istio } else { TlsMode::Disabled },
        workload: workload.clone(),
        provenance: provenance(kind, meta),
    };
    entry.spec.ports.iter().map(endpoint).collect()
}
