//! What pilot compiles for each group, put together as one bootstrap file: names of secrets become files, names of
//! routes become the routes, and the log says which rule decided.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use api::envoy::config::core::v3 as core;
use api::prost::Message as _;
use pilot::{Kind, Node, Resource};
use prost_reflect::{DynamicMessage, SerializeOptions};
use registry::{
    Catalog, Event, Location, Merger, Protocol, Provenance, Resolution, Service, ServiceKey, ServicePort, Visibility,
};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::judged;
use crate::proxies::Program;
use crate::table::{GRPC_PORT, Group, HTTP_PORT, NOBODY, PROVIDER, PROVIDER_PORT, SILENT, TCP_PORT};

pub struct Bootstrap<'a> {
    program: Program,
    certificates: &'a Certificates,
    http: SocketAddr,
    tcp: SocketAddr,
    /// Where those are who are asked, by the clusters that proxies reach them by.
    asked: BTreeMap<String, SocketAddr>,
    log: &'a Path,
    listeners: Vec<Value>,
    clusters: BTreeMap<String, Value>,
}

impl<'a> Bootstrap<'a> {
    pub fn new(
        program: Program,
        certificates: &'a Certificates,
        http: SocketAddr,
        tcp: SocketAddr,
        log: &'a Path,
    ) -> Self {
        let mut own = Self {
            program,
            certificates,
            http,
            tcp,
            asked: BTreeMap::new(),
            log,
            listeners: Vec::new(),
            clusters: BTreeMap::new(),
        };
        own.asks(PROVIDER, PROVIDER_PORT, crate::upstream::provider());
        own
    }

    /// Who is behind a port of a provider.
    pub fn asks(&mut self, host: &str, port: u16, address: SocketAddr) {
        self.asked.insert(format!("outbound|{port}||{host}"), address);
    }

    pub fn text(&self) -> String {
        let clusters: Vec<_> = self.clusters.values().collect();
        json!({"static_resources": {"listeners": self.listeners, "clusters": clusters}}).to_string()
    }

    pub fn add(&mut self, group: &Group, address: IpAddr) {
        let (compiled, _) = pilot::compile(&judged::inputs(group), &self.node(group, address));
        let routes: BTreeMap<_, _> =
            compiled.of(Kind::Route).iter().map(|route| (route.name.to_string(), message(route))).collect();
        let own = |name: &str| group.gateway || name.starts_with("inbound|") || name.contains(&address.to_string());
        for listener in compiled.of(Kind::Listener).iter() {
            let mut value = message(listener);
            let port = value["address"]["socket_address"]["port_value"].as_u64().unwrap();
            if ![HTTP_PORT, TCP_PORT].map(u64::from).contains(&port) || !own(&listener.name) {
                continue;
            }
            self.ground(&mut value, &routes);
            value["name"] = json!(format!("{address}:{port}"));
            self.listeners.push(value);
        }
        for cluster in compiled.of(Kind::Cluster).iter() {
            let mut made = message(cluster);
            match self.asked.get(&*cluster.name) {
                Some(address) => told(&mut made, *address),
                None if cluster.name.starts_with("inbound|") => {}
                None => continue,
            }
            let known = self.clusters.insert(cluster.name.to_string(), made.clone());
            assert!(known.is_none_or(|known| known == made), "{} is not the same in every group", cluster.name);
        }
    }

    fn node(&self, group: &Group, address: IpAddr) -> Node {
        let kind = if group.gateway { "router" } else { "sidecar" };
        let namespace = group.namespace();
        let services = json!([
            {"service": "shop", "port": HTTP_PORT, "protocol": "http", "target": self.http.to_string()},
            {"service": "shop", "port": TCP_PORT, "protocol": "tcp", "target": self.tcp.to_string()},
        ]);
        let mut metadata = json!({"NAMESPACE": namespace, "LABELS": group.labels(), "INTERCEPTION_MODE": "NONE"});
        if group.gateway {
            metadata["WEFT_BIND"] = json!(address.to_string());
        } else {
            metadata["WEFT_SERVICES"] = services;
        }
        let user_agent = if self.program == Program::Weft { "weft" } else { "envoy" };
        let node = json!({
            "id": format!("{kind}~{address}~shop.{namespace}~{namespace}.svc.cluster.local"),
            "user_agent_name": user_agent, "metadata": metadata,
        });
        let descriptor = api::descriptor_pool().get_message_by_name("envoy.config.core.v3.Node").unwrap();
        let message = DynamicMessage::deserialize(descriptor, node).unwrap();
        Node::parse(&core::Node::decode(message.encode_to_vec().as_slice()).unwrap()).unwrap()
    }

    /// Replaces what a server would be asked for.
    fn ground(&self, value: &mut Value, routes: &BTreeMap<String, Value>) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.ground(value, routes)),
            Value::Object(fields) => {
                let file = |name| json!({"filename": self.certificates.path(name)});
                if fields.remove("tls_certificate_sds_secret_configs").is_some() {
                    let own = json!([{"certificate_chain": file("own.pem"), "private_key": file("own.key")}]);
                    fields.insert("tls_certificates".into(), own);
                }
                if let Some(mut combined) = fields.remove("combined_validation_context") {
                    let mut context = combined["default_validation_context"].take();
                    context["trusted_ca"] = file("ca.pem");
                    fields.insert("validation_context".into(), context);
                }
                if let Some(rds) = fields.remove("rds") {
                    fields.insert("route_config".into(), routes[rds["route_config_name"].as_str().unwrap()].clone());
                }
                if fields.contains_key("http_filters") {
                    fields.insert("access_log".into(), self.access_log());
                }
                fields.values_mut().for_each(|value| self.ground(value, routes));
            }
            _ => {}
        }
    }

    fn access_log(&self) -> Value {
        const FORMAT: &str = "%REQ(X-CASE)% %RESPONSE_CODE_DETAILS% \
                              %DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%\n";
        json!([{"name": "envoy.access_loggers.file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": self.log, "log_format": {"text_format_source": {"inline_string": FORMAT}}}}])
    }
}

/// A cluster as if its endpoint had been told.
fn told(cluster: &mut Value, address: SocketAddr) {
    let socket = json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let name = cluster["name"].clone();
    let fields = cluster.as_object_mut().unwrap();
    fields.remove("eds_cluster_config");
    fields.remove("transport_socket_matches");
    fields.insert("type".into(), json!("STATIC"));
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": socket}}]}]);
    fields.insert("load_assignment".into(), json!({"cluster_name": name, "endpoints": endpoints}));
}

fn message(resource: &Resource) -> Value {
    let name = resource.any.type_url.rsplit('/').next().unwrap();
    let descriptor = api::descriptor_pool().get_message_by_name(name).unwrap();
    let message = DynamicMessage::decode(descriptor, resource.any.value.as_slice()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

/// What a registry knows: those who are asked.
pub fn catalog() -> Catalog {
    let mut merger = Merger::new(["test"]);
    let port = |name: &str, number, protocol| ServicePort { name: name.into(), number, protocol };
    for host in [PROVIDER, SILENT, NOBODY] {
        merger.apply(
            0,
            Event::Service(Service {
                key: ServiceKey::new(api::Hostname::new(host).unwrap(), "default"),
                aliases: Vec::new(),
                ports: vec![port("http", PROVIDER_PORT, Protocol::Http), port("grpc", GRPC_PORT, Protocol::Grpc)],
                addresses: Vec::new(),
                location: Location::MeshInternal,
                resolution: Resolution::Static,
                visibility: Visibility::Public,
                subject_alt_names: Vec::new(),
                labels: Default::default(),
                created: 0,
                guesses_port: false,
                provenance: Provenance { registry: "test".into(), object: String::new() },
            }),
        );
    }
    merger.apply(0, Event::Synced);
    merger.catalog().clone()
}
