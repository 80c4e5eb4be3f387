//! Reads a case's input: Istio's objects, and services with their endpoints in a section of kind `Catalog`. It takes
//! what the cases use and trusts them; checking is not its business.

mod catalog;
mod destination_rule;
mod gateway;
mod value;
mod virtual_service;

use std::sync::Arc;

use api::TrustDomain;
use galley::kinds::{MtlsMode, PeerAuthentication};
use galley::{Config, Meta};
use pilot::{Inputs, MeshConfig, OutboundPolicy};
use serde_json::Value;
use value::Fields;

pub fn inputs(yaml: &str) -> Inputs {
    let mut config = galley::Snapshot { version: 1, ..Default::default() };
    let mut mesh = MeshConfig::new(TrustDomain::new("cluster.local").unwrap());
    let mut catalog = Arc::default();
    for (age, document) in yaml.split("\n---\n").enumerate() {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let spec = object.at("spec");
        let meta = meta(&object, age as u64);
        match object.text("kind").as_str() {
            "MeshConfig" if object.has("apiVersion") => config.mesh_configs.extend(checked(document).mesh_configs),
            "Telemetry" => config.telemetries.extend(checked(document).telemetries),
            "Catalog" => catalog = Arc::new(catalog::read(spec)),
            "MeshConfig" => mesh_config(spec, &mut mesh),
            "VirtualService" => {
                let spec = virtual_service::read(spec, &meta.namespace);
                config.virtual_services.push(Arc::new(Config { meta, spec }));
            }
            "DestinationRule" => {
                let spec = destination_rule::read(spec, &meta.namespace);
                config.destination_rules.push(Arc::new(Config { meta, spec }));
            }
            "Gateway" => {
                let spec = gateway::read(spec, &meta.namespace);
                config.gateways.push(Arc::new(Config { meta, spec }));
            }
            "PeerAuthentication" => {
                let spec = peer_authentication(spec);
                config.peer_authentications.push(Arc::new(Config { meta, spec }));
            }
            "AuthorizationPolicy" | "RequestAuthentication" => {
                let checked = checked(document);
                config.authorization_policies.extend(checked.authorization_policies);
                config.request_authentications.extend(checked.request_authentications);
            }
            other => panic!("kind {other:?}"),
        }
    }
    Inputs { catalog, config: Arc::new(config), mesh: Arc::new(mesh), credentials: Arc::default(), ready: true }
}

/// What a document says, read as in a mesh.
fn checked(document: &str) -> galley::Snapshot {
    galley::Snapshot::parse(document, "input.yaml").unwrap()
}

/// Objects are as old as they stand early in the file.
fn meta(object: &Value, age: u64) -> Meta {
    let meta = object.at("metadata");
    let namespace = meta.some_text("namespace").unwrap_or_else(|| "default".into());
    Meta { name: meta.text("name"), namespace, created: age, ..Meta::default() }
}

fn mesh_config(spec: &Value, mesh: &mut MeshConfig) {
    mesh.access_log = spec.some_text("accessLogFile");
    let aliases = spec.at("trustDomainAliases").as_array().into_iter().flatten();
    mesh.trust_domain_aliases = aliases.map(|name| TrustDomain::new(name.as_str().unwrap()).unwrap()).collect();
    if spec.text("outboundTrafficPolicy") == "REGISTRY_ONLY" {
        mesh.outbound_policy = OutboundPolicy::RegistryOnly;
    }
}

fn peer_authentication(spec: &Value) -> PeerAuthentication {
    let mode = |value: &Value| match value.text("mode").as_str() {
        "STRICT" => MtlsMode::Strict,
        "PERMISSIVE" => MtlsMode::Permissive,
        "DISABLE" => MtlsMode::Disable,
        _ => MtlsMode::Unset,
    };
    let ports = spec.at("portLevelMtls").as_object().into_iter().flatten();
    PeerAuthentication {
        selector: spec.has("selector").then(|| spec.at("selector").labels("matchLabels")),
        mode: mode(spec.at("mtls")),
        port_level: ports.map(|(port, value)| (port.parse().unwrap(), mode(value))).collect(),
    }
}
