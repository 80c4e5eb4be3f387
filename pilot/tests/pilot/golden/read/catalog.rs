//! The services of a case: `services: [{host, namespace, ports: [{name, number, protocol}], endpoints: […]}]`.

use std::sync::Arc;

use api::Hostname;
use registry::{
    Address, Catalog, Endpoint, Event, Health, Location, Merger, Platform, Protocol, Provenance, Resolution, Service,
    ServiceKey, ServicePort, TlsMode, Visibility, Workload,
};
use serde_json::Value;

use super::value::Fields;

pub fn read(spec: &Value) -> Catalog {
    let mut merger = Merger::new(["test"]);
    for of in spec.list("services") {
        let service = service(of);
        let key = service.key.clone();
        let endpoints = of.list("endpoints").into_iter().map(|endpoint| read_endpoint(endpoint, &service)).collect();
        merger.apply(0, Event::Service(service));
        merger.apply(0, Event::Endpoints(key, endpoints));
    }
    merger.apply(0, Event::Synced);
    merger.catalog().clone()
}

fn service(of: &Value) -> Service {
    let namespace = of.some_text("namespace").unwrap_or_else(|| "default".into());
    let host = Hostname::resolve(&of.text("host"), &namespace, "cluster.local").unwrap();
    let ports = of.list("ports").into_iter().map(|port| ServicePort {
        name: port.text("name"),
        number: port.port("number").unwrap(),
        protocol: Protocol::named(&port.text("protocol")).unwrap(),
    });
    Service {
        guesses_port: false,
        key: ServiceKey::new(host, &namespace),
        aliases: of.texts("aliases").iter().map(|alias| Hostname::new(alias).unwrap()).collect(),
        ports: ports.collect(),
        addresses: of.texts("addresses").iter().map(|address| address.parse().unwrap()).collect(),
        location: if of.text("location") == "MESH_EXTERNAL" { Location::MeshExternal } else { Location::MeshInternal },
        resolution: match of.text("resolution").as_str() {
            "DNS" => Resolution::Dns,
            "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
            "NONE" => Resolution::Passthrough,
            _ => Resolution::Static,
        },
        visibility: match of.texts("exportTo") {
            names if names.is_empty() => Visibility::Public,
            names => Visibility::Namespaces(names),
        },
        subject_alt_names: of.texts("subjectAltNames"),
        labels: of.labels("labels"),
        created: of.number("created").unwrap_or_default().into(),
        provenance: Provenance {
            registry: of.some_text("registry").unwrap_or_else(|| "test".into()).into(),
            ..provenance()
        },
    }
}

fn read_endpoint(of: &Value, service: &Service) -> Endpoint {
    let address = of.text("address");
    let workload = Workload {
        name: of.text("workload"),
        hostname: of.text("hostname"),
        namespace: service.key.namespace.clone(),
        service_account: of.some_text("serviceAccount").unwrap_or_else(|| "default".into()),
        labels: of.labels("labels"),
        locality: of.text("locality").parse().unwrap(),
        network: String::new(),
        platform: Platform::Vm,
        cluster: "weft".into(),
    };
    Endpoint {
        silent_since: None,
        address: address.parse().map_or(Address::Name(address), Address::Ip),
        port: of.port("port").unwrap_or(service.ports[0].number),
        service_port: of.some_text("portName").unwrap_or_else(|| service.ports[0].name.clone()),
        health: match of.text("health").as_str() {
            "unhealthy" => Health::Unhealthy,
            "draining" => Health::Draining,
            _ => Health::Healthy,
        },
        weight: of.number("weight").unwrap_or(1),
        tls: if of.text("tls") == "disabled" { TlsMode::Disabled } else { TlsMode::Istio },
        workload: Arc::new(workload),
        provenance: provenance(),
    }
}

fn provenance() -> Provenance {
    Provenance { registry: "test".into(), object: String::new() }
}
