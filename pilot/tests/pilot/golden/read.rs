//! Reads a case's input: Istio's objects, checked as in a mesh, and services with their endpoints in a section of kind
//! `Catalog`, which is trusted.

mod catalog;
mod value;

use std::sync::Arc;

use api::TrustDomain;
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
        match object.text("kind").as_str() {
            "Catalog" => catalog = Arc::new(catalog::read(spec)),
            "MeshConfig" if !object.has("apiVersion") => mesh_config(spec, &mut mesh),
            kind => {
                let (checked, age) = (checked(kind, document, object.has("apiVersion")), age as u64);
                config.mesh_configs.extend(checked.mesh_configs);
                config.telemetries.extend(checked.telemetries);
                config.authorization_policies.extend(checked.authorization_policies);
                config.request_authentications.extend(checked.request_authentications);
                config.peer_authentications.extend(of_age(checked.peer_authentications, age));
                config.virtual_services.extend(of_age(checked.virtual_services, age));
                config.destination_rules.extend(of_age(checked.destination_rules, age));
                config.gateways.extend(of_age(checked.gateways, age));
            }
        }
    }
    Inputs { catalog, config: Arc::new(config), mesh: Arc::new(mesh), credentials: Arc::default(), ready: true }
}

/// What a document says, read as in a mesh.
fn checked(kind: &str, document: &str, versioned: bool) -> galley::Snapshot {
    let group = match kind {
        "VirtualService" | "DestinationRule" | "Gateway" => "networking.istio.io/v1",
        "PeerAuthentication" | "AuthorizationPolicy" | "RequestAuthentication" => "security.istio.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        _ if versioned => "",
        other => panic!("kind {other:?}"),
    };
    let text = if versioned { document.to_owned() } else { format!("apiVersion: {group}\n{document}") };
    galley::Snapshot::parse(&text, "input.yaml").unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// Objects are as old as they stand early in the file.
fn of_age<T: Clone>(objects: Vec<Arc<Config<T>>>, age: u64) -> impl Iterator<Item = Arc<Config<T>>> {
    objects.into_iter().map(move |object| {
        let meta = Meta { created: age, ..object.meta.clone() };
        Arc::new(Config { meta, spec: object.spec.clone() })
    })
}

fn mesh_config(spec: &Value, mesh: &mut MeshConfig) {
    mesh.access_log = spec.some_text("accessLogFile");
    let aliases = spec.at("trustDomainAliases").as_array().into_iter().flatten();
    mesh.trust_domain_aliases = aliases.map(|name| TrustDomain::new(name.as_str().unwrap()).unwrap()).collect();
    if spec.text("outboundTrafficPolicy") == "REGISTRY_ONLY" {
        mesh.outbound_policy = OutboundPolicy::RegistryOnly;
    }
}
