//! What a proxy is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::TrustDomain;
use api::envoy::config::core::v3::{BuildVersion, Locality, Node, node};
use api::envoy::r#type::v3::SemanticVersion;
use api::prost_types::value::Kind;
use api::prost_types::{ListValue, Struct, Value};

use crate::config::WorkloadRef;
use crate::dns::DnsSettings;
use crate::identity::TokenFile;
use crate::users::Users;
use crate::workload_api::WorkloadApi;

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside one workload.
    Sidecar,
    /// At the edge of the mesh.
    Gateway,
}

/// A service of the workload, as the sidecar takes it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Short name or full hostname.
    pub service: String,
    pub port: u16,
    /// `http`, `http2`, `grpc`, `tcp`, …
    pub protocol: String,
    /// Where the application listens.
    pub target: SocketAddr,
}

/// The system brings the machine's connections to the proxy: those that go out to port 15001, those that come in to
/// port 15006.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    pub interception: Interception,
    /// Whether those over IPv6 come too.
    pub ipv6: bool,
}

/// By what connections that come in are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interception {
    Redirect,
    Tproxy,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub role: Role,
    /// The workload's name, unique in its namespace: `reviews-v1`.
    pub workload: String,
    pub namespace: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`, or empty.
    pub locality: String,
    pub cluster_id: String,
    pub trust_domain: TrustDomain,
    /// Domain of service names: `cluster.local`.
    pub domain: String,
    /// The workload's address: inbound listeners bind it.
    pub address: IpAddr,
    pub services: Vec<Served>,
    /// Whether the mesh learns of the services from this proxy; otherwise from the platform that they are registered in.
    pub registers: bool,
    /// Port of the outbound HTTP proxy; sidecars only.
    pub http_proxy_port: u16,
    /// Where the outbound HTTP proxy listens: it carries the workload's identity, so not where others reach it.
    pub http_proxy_address: IpAddr,
    /// Which users of the machine may change the proxy by its admin interface; `None`: whoever reaches it.
    pub users: Option<Users>,
    /// Which users of the machine may use the outbound HTTP proxy; `None`: whoever reaches it.
    pub way_out: Option<Users>,
    pub capture: Option<Capture>,
    /// The port of the node proxy that has this workload's ports and hands its connections to it.
    pub node_proxy_port: Option<u16>,
    /// Declared port of a gateway and the one really bound, where they differ.
    pub port_map: BTreeMap<u16, u16>,
    /// `https://host:port` of the control plane.
    pub control_plane: String,
    /// Needed until the first certificate was obtained.
    pub token: Option<String>,
    /// In place of a join token: the platform's.
    pub token_file: Option<TokenFile>,
    /// Where key, certificate and the last configuration are kept.
    pub state_dir: PathBuf,
    pub workers: usize,
    pub admin: SocketAddr,
    pub readiness: SocketAddr,
    /// Where the metrics can be read from elsewhere, and nothing else.
    pub metrics: SocketAddr,
    /// `None`: no DNS server.
    pub dns: Option<DnsSettings>,
    /// Where programs of the workload get its identity; `None`: nowhere.
    pub workload_api: Option<WorkloadApi>,
    /// How long connections may take to end when the proxy stops.
    pub drain: std::time::Duration,
}

/// What the control plane may send that not every version of this proxy understood.
const FEATURES: [&str; 6] = [
    "weft.consistent_hash",
    "weft.slow_start",
    "weft.system_roots",
    "weft.reports_spans",
    "weft.telemetry",
    "weft.dynamic_forward_proxy",
];

fn own_version() -> SemanticVersion {
    let part = |text: &str| text.parse().unwrap_or(0);
    SemanticVersion {
        major_number: part(env!("CARGO_PKG_VERSION_MAJOR")),
        minor_number: part(env!("CARGO_PKG_VERSION_MINOR")),
        patch: part(env!("CARGO_PKG_VERSION_PATCH")),
    }
}

/// What a proxy says of its version.
pub fn user_agent() -> node::UserAgentVersionType {
    let version = BuildVersion { version: Some(own_version()), metadata: None };
    node::UserAgentVersionType::UserAgentBuildVersion(version)
}

fn text(value: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

fn number(value: u16) -> Value {
    Value { kind: Some(Kind::NumberValue(value.into())) }
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}

impl Settings {
    /// How the proxy introduces itself (Istio, node metadata).
    pub fn node(&self) -> Node {
        let kind = match self.role {
            Role::Sidecar => "sidecar",
            Role::Gateway => "router",
        };
        let (workload, namespace, domain) = (&self.workload, &self.namespace, &self.domain);
        let mut locality = self.locality.splitn(3, '/').map(str::to_owned);
        let mut next = || locality.next().unwrap_or_default();
        Node {
            id: format!("{kind}~{}~{workload}.{namespace}~{namespace}.svc.{domain}", self.address),
            cluster: format!("{}.{namespace}", self.own().canonical_service),
            metadata: Some(self.metadata()),
            locality: Some(Locality { region: next(), zone: next(), sub_zone: next() }),
            user_agent_name: "weft".to_owned(),
            user_agent_version_type: Some(user_agent()),
            client_features: FEATURES.map(str::to_owned).to_vec(),
            ..Node::default()
        }
    }

    fn metadata(&self) -> Struct {
        let mut fields = vec![
            ("NAMESPACE", text(&self.namespace)),
            ("SERVICE_ACCOUNT", text(&self.service_account)),
            ("WORKLOAD_NAME", text(&self.workload)),
            ("LABELS", object(self.labels.iter().map(|(name, value)| (name.as_str(), text(value))))),
            ("INSTANCE_IPS", text(self.address.to_string())),
            ("CLUSTER_ID", text(&self.cluster_id)),
            ("INTERCEPTION_MODE", text(self.capture.map_or("NONE", |capture| capture.interception.as_str()))),
        ];
        fields.extend(self.capture.map(|capture| ("WEFT_CAPTURE_IPV6", text(capture.ipv6.to_string()))));
        match self.role {
            Role::Sidecar => {
                fields.push(("HTTP_PROXY_PORT", text(self.http_proxy_port.to_string())));
                if self.http_proxy_address != self.address {
                    fields.push(("WEFT_HTTP_PROXY_ADDRESS", text(self.http_proxy_address.to_string())));
                }
                if let Some(port) = self.node_proxy_port {
                    fields.push(("WEFT_NODE_PROXY_PORT", text(port.to_string())));
                }
                let services = self.services.iter().map(Served::value).collect();
                if !self.registers {
                    fields.push(("WEFT_REGISTERS", text("false")));
                }
                fields.push(("WEFT_SERVICES", Value { kind: Some(Kind::ListValue(ListValue { values: services })) }));
            }
            Role::Gateway => {
                fields.push(("WEFT_BIND", text(self.address.to_string())));
                let ports: Vec<_> = self.port_map.iter().map(|(from, to)| (from.to_string(), number(*to))).collect();
                fields.push(("WEFT_PORT_MAP", object(ports.iter().map(|(from, to)| (from.as_str(), to.clone())))));
            }
        }
        Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// Below which path of a node proxy's admin interface this workload's is.
    pub fn path_at_node(&self) -> String {
        format!("/workloads/{}/{}", self.namespace, self.workload)
    }

    /// This workload as metrics name it.
    pub fn own(&self) -> WorkloadRef {
        let label = |names: [&str; 2]| names.iter().find_map(|name| self.labels.get(*name).cloned());
        WorkloadRef {
            name: self.workload.clone(),
            namespace: self.namespace.clone(),
            canonical_service: label(["service.istio.io/canonical-name", "app"])
                .unwrap_or_else(|| self.workload.clone()),
            canonical_revision: label(["service.istio.io/canonical-revision", "version"])
                .unwrap_or_else(|| "latest".to_owned()),
            cluster: self.cluster_id.clone(),
        }
    }
}

impl Interception {
    fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
        }
    }
}

impl Served {
    fn value(&self) -> Value {
        object([
            ("service", text(&self.service)),
            ("port", number(self.port)),
            ("protocol", text(&self.protocol)),
            ("target", text(self.target.to_string())),
        ])
    }
}
