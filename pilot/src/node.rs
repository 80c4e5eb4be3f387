//! Who a proxy says it is: the node of its first discovery request, with Istio's metadata keys.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use api::envoy::config::core::v3 as core;
use api::prost_types::{Struct, Value, value};
use registry::{KeyAccess, Locality, Protocol};

/// A proxy that asks for its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The whole id: `sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local`.
    pub id: String,
    pub kind: NodeKind,
    /// The third part of the id, by which people know the proxy: `reviews-v1.default`.
    pub name: String,
    /// At least one; the first is where its own listeners bind.
    pub addresses: Vec<IpAddr>,
    pub workload: String,
    pub namespace: String,
    pub service_account: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub locality: Locality,
    pub cluster: String,
    /// The port of its explicit HTTP proxy.
    pub http_proxy_port: u16,
    /// Where the explicit HTTP proxy listens, if not at the first address.
    pub http_proxy_address: Option<IpAddr>,
    /// What the workload serves; only weft's own sidecars say so.
    pub services: Vec<Served>,
    /// Whether they become endpoints because the node serves them; otherwise a platform tells of them.
    pub registers: bool,
    /// The port at which a node proxy takes connections for this workload and others of its machine, and hands them on.
    pub node_proxy_port: Option<u16>,
    /// How the machine's connections are brought to it, if they are.
    pub capture: Option<Capture>,
    /// Gateways: a declared port → the port that is really bound.
    pub port_map: BTreeMap<u16, u16>,
    /// Gateways: the address to bind, else all.
    pub bind: Option<IpAddr>,
    /// `weft/0.1.0`, `envoy/1.36.0`.
    pub user_agent: String,
    pub features: Features,
    /// Gateways: whether they may have private keys. Never what the proxy says.
    pub keys: KeyAccess,
}

/// What not every proxy can do. An Envoy can; weft's own declares what it can as `client_features`, so that it is never
/// sent what it would have to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Features {
    /// `weft.consistent_hash`: ring hash, Maglev and hash policies.
    pub consistent_hash: bool,
    /// `weft.slow_start`: new endpoints get their share little by little.
    pub slow_start: bool,
    /// `weft.system_roots`: the operating system's certificates by that word, not by file.
    pub system_roots: bool,
    /// `weft.route_stats`: statistics of a route under a prefix of its own.
    pub route_stats: bool,
    /// `weft.reports_spans`: spans go to the control plane with the proxy's reports. Only weft's own can.
    pub reports_spans: bool,
    /// `weft.telemetry`: access logs with expressions, and over OTLP.
    pub telemetry: bool,
    /// `weft.dynamic_forward_proxy`: clusters that go wherever a request asks. Only where the explicit HTTP proxy is on
    /// loopback: elsewhere it would let out whoever reaches it.
    pub dynamic_forward_proxy: bool,
    /// `weft.telemetry` too, and settings of Istio's metrics; of others only proxies of Istio's build know them.
    pub istio_stats: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    Sidecar,
    /// A gateway (`router~` in ids).
    Router,
}

/// Connections of programs that know nothing of the proxy (Istio `INTERCEPTION_MODE`): those that go out come to port
/// 15001, those that come in to port 15006.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capture {
    pub interception: Interception,
    /// Whether those over IPv6 come too.
    pub ipv6: bool,
}

/// By what the system brings a connection that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interception {
    Redirect,
    Tproxy,
}

/// A port that the workload serves, and where its application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// A service's short name in the workload's namespace, or its whole host.
    pub service: String,
    pub port: u16,
    pub protocol: Protocol,
    pub target: SocketAddr,
}

/// Why a node is no proxy of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("the first request carries no node")]
    Missing,
    #[error("node id {0:?} is not <type>~<ip>~<name>~<domain>")]
    Id(String),
    #[error("node type {0:?} is neither \"sidecar\" nor \"router\"")]
    Kind(String),
    #[error("node {0:?} has no valid IP address in its id or in INSTANCE_IPS")]
    Address(String),
    #[error("node metadata {key}: {reason}")]
    Metadata { key: &'static str, reason: String },
}

const HTTP_PROXY_PORT: u16 = 15088;

impl Node {
    /// Reads what an xDS client sends; keys that are missing take Istio's defaults.
    pub fn parse(node: &core::Node) -> Result<Self, NodeError> {
        let parts: Vec<&str> = node.id.split('~').collect();
        let [kind, ip, name, domain] = parts[..] else { return Err(NodeError::Id(node.id.clone())) };
        let kind = match kind {
            "sidecar" => NodeKind::Sidecar,
            "router" => NodeKind::Router,
            other => return Err(NodeError::Kind(other.to_owned())),
        };
        let empty = Struct::default();
        let metadata = Metadata(node.metadata.as_ref().unwrap_or(&empty));
        let addresses = addresses(metadata.text("INSTANCE_IPS"), ip);
        if addresses.is_empty() {
            return Err(NodeError::Address(node.id.clone()));
        }
        let namespace = metadata.text("NAMESPACE").unwrap_or_else(|| namespace_in(name, domain));
        let capture = metadata.capture(&addresses)?;
        let http_proxy_address = metadata.address("WEFT_HTTP_PROXY_ADDRESS")?;
        let mut features = Features::of(node);
        features.dynamic_forward_proxy &= http_proxy_address.unwrap_or(addresses[0]).is_loopback();
        Ok(Self {
            id: node.id.clone(),
            kind,
            name: name.to_owned(),
            addresses,
            workload: metadata
                .text("WORKLOAD_NAME")
                .unwrap_or_else(|| name.split('.').next().unwrap_or(name).to_owned()),
            namespace,
            service_account: metadata.text("SERVICE_ACCOUNT").filter(|account| !account.is_empty()),
            labels: metadata.labels(),
            locality: locality(node.locality.as_ref()),
            cluster: metadata.text("CLUSTER_ID").unwrap_or_default(),
            http_proxy_port: metadata.port("HTTP_PROXY_PORT")?.unwrap_or(HTTP_PROXY_PORT),
            http_proxy_address,
            services: metadata.services()?,
            registers: metadata.flag("WEFT_REGISTERS", true)?,
            node_proxy_port: metadata.port("WEFT_NODE_PROXY_PORT")?,
            capture,
            port_map: metadata.port_map()?,
            bind: metadata.address("WEFT_BIND")?,
            user_agent: user_agent(node),
            features,
            keys: KeyAccess::default(),
        })
    }

    /// Where the proxy's own listeners bind.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Whether every label of a selector is this proxy's. An empty selector selects all.
    pub fn has_labels(&self, selector: &BTreeMap<String, String>) -> bool {
        selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl Features {
    fn of(node: &core::Node) -> Self {
        let can = |feature: &str| {
            node.user_agent_name != "weft" || node.client_features.iter().any(|declared| declared == feature)
        };
        Self {
            consistent_hash: can("weft.consistent_hash"),
            slow_start: can("weft.slow_start"),
            system_roots: can("weft.system_roots"),
            route_stats: can("weft.route_stats"),
            reports_spans: node.user_agent_name == "weft" && can("weft.reports_spans"),
            telemetry: can("weft.telemetry"),
            dynamic_forward_proxy: can("weft.dynamic_forward_proxy"),
            istio_stats: node.user_agent_name == "weft" && can("weft.telemetry"),
        }
    }
}

impl NodeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

fn addresses(instance_ips: Option<String>, ip: &str) -> Vec<IpAddr> {
    let declared = instance_ips.unwrap_or_default();
    let mut addresses: Vec<IpAddr> = declared.split(',').filter_map(|text| text.trim().parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(ip.parse::<IpAddr>());
    }
    addresses
}

/// The namespace that an id tells: the first label of its domain, else what follows the workload's name.
fn namespace_in(name: &str, domain: &str) -> String {
    let of_domain = domain.split('.').next().filter(|label| !label.is_empty());
    let namespace = of_domain.or_else(|| name.rsplit_once('.').map(|(_, namespace)| namespace));
    namespace.unwrap_or("default").to_owned()
}

fn locality(locality: Option<&core::Locality>) -> Locality {
    locality.map_or_else(Locality::default, |l| Locality {
        region: l.region.clone(),
        zone: l.zone.clone(),
        sub_zone: l.sub_zone.clone(),
    })
}

fn user_agent(node: &core::Node) -> String {
    use core::node::UserAgentVersionType;
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map_or_else(String::new, |v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)),
        None => String::new(),
    };
    if version.is_empty() { node.user_agent_name.clone() } else { format!("{}/{version}", node.user_agent_name) }
}

/// A node's metadata, read key by key.
struct Metadata<'a>(&'a Struct);

impl<'a> Metadata<'a> {
    fn value(&self, key: &str) -> Option<&'a value::Kind> {
        self.0.fields.get(key)?.kind.as_ref()
    }

    fn text(&self, key: &str) -> Option<String> {
        text(self.value(key)?)
    }

    fn structure(&self, key: &str) -> Option<&'a Struct> {
        match self.value(key)? {
            value::Kind::StructValue(fields) => Some(fields),
            _ => None,
        }
    }

    fn port(&self, key: &'static str) -> Result<Option<u16>, NodeError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let port = text.parse().map_err(|_| NodeError::Metadata { key, reason: format!("{text:?} is no port") })?;
        Ok(Some(port))
    }

    fn flag(&self, key: &'static str, usual: bool) -> Result<bool, NodeError> {
        match self.text(key).as_deref() {
            None => Ok(usual),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(NodeError::Metadata { key, reason: format!("{other:?} is neither true nor false") }),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let fields = self.structure("LABELS").map(|labels| &labels.fields);
        let labels = fields.into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), text(value.kind.as_ref()?)?))).collect()
    }

    /// IPv6 is captured where the node says so, and else where it has such an address.
    fn capture(&self, addresses: &[IpAddr]) -> Result<Option<Capture>, NodeError> {
        const MODE: &str = "INTERCEPTION_MODE";
        const IPV6: &str = "WEFT_CAPTURE_IPV6";
        let bad = |key, reason| NodeError::Metadata { key, reason };
        let mode = self.text(MODE).unwrap_or_default();
        let interception = match mode.as_str() {
            "" | "NONE" => return Ok(None),
            "REDIRECT" => Interception::Redirect,
            "TPROXY" => Interception::Tproxy,
            _ => return Err(bad(MODE, format!("{mode:?} is none of NONE, REDIRECT and TPROXY"))),
        };
        let ipv6 = self.flag(IPV6, addresses.iter().any(IpAddr::is_ipv6))?;
        Ok(Some(Capture { interception, ipv6 }))
    }

    fn services(&self) -> Result<Vec<Served>, NodeError> {
        let Some(value::Kind::ListValue(list)) = self.value("WEFT_SERVICES") else { return Ok(Vec::new()) };
        list.values.iter().map(served).collect()
    }

    fn port_map(&self) -> Result<BTreeMap<u16, u16>, NodeError> {
        const KEY: &str = "WEFT_PORT_MAP";
        let entries = self.structure(KEY).into_iter().flat_map(|map| &map.fields);
        let bad = |reason| NodeError::Metadata { key: KEY, reason };
        entries
            .map(|(declared, bound)| {
                let bound = bound.kind.as_ref().and_then(text).unwrap_or_default();
                let port = |text: &str| text.parse().map_err(|_| bad(format!("{text:?} is no port")));
                Ok((port(declared)?, port(&bound)?))
            })
            .collect()
    }

    fn address(&self, key: &'static str) -> Result<Option<IpAddr>, NodeError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let reason = format!("{text:?} is no IP address");
        text.parse().map(Some).map_err(|_| NodeError::Metadata { key, reason })
    }
}

/// Strings, and numbers as integers.
fn text(kind: &value::Kind) -> Option<String> {
    match kind {
        value::Kind::StringValue(text) => Some(text.clone()),
        value::Kind::NumberValue(number) => Some(format!("{number}")),
        _ => None,
    }
}

fn served(value: &Value) -> Result<Served, NodeError> {
    let bad = |reason: String| NodeError::Metadata { key: "WEFT_SERVICES", reason };
    let Some(value::Kind::StructValue(fields)) = &value.kind else {
        return Err(bad("an entry is no object".into()));
    };
    let fields = Metadata(fields);
    let field = |key: &str| fields.text(key).ok_or_else(|| bad(format!("an entry has no {key:?}")));
    let protocol = fields.text("protocol").unwrap_or_default();
    Ok(Served {
        service: field("service")?,
        port: field("port")?.parse().map_err(|_| bad("\"port\" is no port".into()))?,
        protocol: Protocol::named(&protocol).ok_or_else(|| bad(format!("{protocol:?} is no protocol")))?,
        target: field("target")?.parse().map_err(|_| bad("\"target\" is no address:port".into()))?,
    })
}

#[cfg(test)]
mod tests;
