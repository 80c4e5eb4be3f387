//! What a service, a port, an endpoint and a workload are, whatever platform they live on. Plain values: whether
//! something changed is `==`.

mod credential;
mod hostname;
mod key_access;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use api::Hostname;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::credential::{Credential, Credentials};
pub use self::key_access::KeyAccess;

/// The name under which registries agree that they speak of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    #[serde(with = "hostname")]
    pub host: Hostname,
    pub namespace: Arc<str>,
}

/// A service as its callers know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub key: ServiceKey,
    /// Other hostnames for the same service (`reviews.service.consul`).
    #[serde(with = "hostname::list")]
    pub aliases: Vec<Hostname>,
    pub ports: Vec<ServicePort>,
    /// Whether nobody said which port callers use: what stands there follows from where instances listen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guesses_port: bool,
    /// Virtual addresses: what callers connect to, not where endpoints are.
    pub addresses: Vec<IpNet>,
    pub location: Location,
    pub resolution: Resolution,
    pub visibility: Visibility,
    /// Names a server certificate may carry besides those of the endpoints' identities.
    pub subject_alt_names: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Unix seconds; the older of two conflicting services wins, 0 is oldest.
    pub created: u64,
    pub provenance: Provenance,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    pub name: String,
    pub number: u16,
    pub protocol: Protocol,
}

/// What is spoken on a port (Istio, protocol selection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Udp,
    Mongo,
    Redis,
    Mysql,
    /// Not declared: found out per connection.
    Auto,
}

/// Whether the endpoints belong to the mesh (and speak its mutual TLS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    MeshInternal,
    MeshExternal,
}

/// How a caller finds endpoint addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// From the endpoints in the catalog.
    Static,
    /// Every address that DNS gives for the endpoints' names (or the host).
    Dns,
    /// One address that DNS gives, looked up anew for new connections.
    DnsRoundRobin,
    /// The address that the caller dialled.
    Passthrough,
    /// DNS for whatever name under a wildcard host the caller asked for.
    DynamicDns,
}

/// Which namespaces may see a service (`exportTo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    Public,
    Namespaces(Vec<String>),
    Nobody,
}

/// Where a value came from, to be shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The registry's name: `static`, `agents`, `consul`, a cluster's name.
    pub registry: Arc<str>,
    /// The object inside it: `ServiceEntry default/reviews`, `agent reviews-v1`.
    pub object: String,
}

impl Provenance {
    /// The registry of what configuration declares.
    pub const DECLARED: &str = "static";

    /// Whether somebody only wrote it down: no platform tells of it, and no workload came to serve it.
    pub fn is_declared(&self) -> bool {
        &*self.registry == Self::DECLARED
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Address {
    Ip(IpAddr),
    /// A DNS name, resolved by the caller.
    Name(String),
    /// A path (absolute, or abstract with a leading `@`).
    Unix(String),
}

/// An address and port that takes traffic for one port of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: Address,
    /// Where the endpoint listens; 0 for a Unix socket.
    pub port: u16,
    /// The name of the service's port it serves.
    pub service_port: String,
    pub health: Health,
    /// Relative share of traffic, at least 1.
    pub weight: u32,
    pub tls: TlsMode,
    pub workload: Arc<Workload>,
    pub provenance: Provenance,
    /// Since when, in Unix seconds, nothing has been heard of the agent that told of it, which said no goodbye.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    Healthy,
    Unhealthy,
    /// Takes no new work, finishes what it has.
    Draining,
}

/// Whether an endpoint's side of the connection speaks the mesh's mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    Istio,
    Disabled,
}

/// The thing that runs behind endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub name: String,
    /// Below the name of a headless service, the DNS knows the workload by this one: a pod of a StatefulSet has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    pub namespace: Arc<str>,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    pub locality: Locality,
    pub network: String,
    pub platform: Platform,
    /// The cluster or control domain the workload belongs to, as metrics name it.
    pub cluster: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Platform {
    Vm,
    Kubernetes,
    Consul,
    /// Declared by configuration, nothing known of the machine.
    Static,
}

impl Service {
    pub fn host(&self) -> &Hostname {
        &self.key.host
    }

    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    pub fn visible_in(&self, namespace: &str) -> bool {
        match &self.visibility {
            Visibility::Public => true,
            Visibility::Namespaces(names) => names.iter().any(|name| name == namespace),
            Visibility::Nobody => false,
        }
    }
}

impl Workload {
    /// The name that a workload's `app` label gives it, else its own (Istio, canonical service).
    pub fn canonical_name(&self) -> &str {
        ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]
            .iter()
            .find_map(|label| self.labels.get(*label))
            .map_or(&self.name, |value| value)
    }

    /// The revision that a workload's `version` label gives it, else `latest` (Istio, canonical revision).
    pub fn canonical_revision(&self) -> &str {
        ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]
            .iter()
            .find_map(|label| self.labels.get(*label))
            .map_or("latest", |value| value)
    }
}

impl ServiceKey {
    pub fn new(host: Hostname, namespace: &str) -> Self {
        Self { host, namespace: namespace.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.host)
    }
}

impl Protocol {
    /// The protocol that an operator's word names, in any case; `None` for a word that Istio does not know.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "http" | "http_proxy" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            "" => Self::Auto,
            _ => return None,
        })
    }

    /// The protocol that a port's name declares by its prefix before the first `-`, else by well-known server-first
    /// ports, else undeclared (Istio `pkg/config/kube/conversion.go`).
    pub fn of_port(name: &str, number: u16) -> Self {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Self::GrpcWeb;
        }
        let prefix = lower.split('-').next().unwrap_or_default();
        match Self::named(prefix) {
            Some(Self::Auto) | None if matches!(number, 25 | 53 | 3306 | 27017) => Self::Tcp,
            Some(protocol) => protocol,
            None => Self::Auto,
        }
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether upstream connections are HTTP/2 from the start.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-WEB",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Mongo => "MONGO",
            Self::Redis => "REDIS",
            Self::Mysql => "MYSQL",
            Self::Auto => "auto",
        }
    }
}

impl Platform {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Kubernetes => "kubernetes",
            Self::Consul => "consul",
            Self::Static => "static",
        }
    }
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

impl FromStr for Locality {
    type Err = std::convert::Infallible;

    /// `region/zone/subzone`, the later parts optional.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Ok(Self { region: next(), zone: next(), sub_zone: next() })
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        for part in [&self.zone, &self.sub_zone] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_name_declares_its_protocol() {
        assert_eq!(Protocol::of_port("http-web", 80), Protocol::Http);
        assert_eq!(Protocol::of_port("GRPC-web-x", 80), Protocol::GrpcWeb);
        assert_eq!(Protocol::of_port("grpc", 80), Protocol::Grpc);
        assert_eq!(Protocol::of_port("web", 80), Protocol::Auto);
        assert_eq!(Protocol::of_port("", 3306), Protocol::Tcp);
    }

    #[test]
    fn a_locality_reads_back() {
        for text in ["", "eu", "eu/a", "eu/a/rack1"] {
            assert_eq!(text.parse::<Locality>().unwrap().to_string(), text);
        }
    }
}
