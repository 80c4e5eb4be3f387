//! Gateway: which ports and hosts a gateway proxy serves (Istio `gateway.proto`).

use registry::Protocol;

use super::check::{self, Scope, Wildcard};
use super::shared::Labels;
use crate::reader::{Object, Place};

mod tls;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// Proxies of any namespace that carry these labels; empty: all gateway proxies.
    pub selector: Labels,
    pub servers: Vec<Server>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub name: String,
    pub port: ServerPort,
    /// An address, `unix://…`, or empty.
    pub bind: String,
    pub hosts: Vec<GatewayHost>,
    pub tls: Option<ServerTls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPort {
    /// 0 only for a server on a Unix socket.
    pub number: u16,
    pub protocol: Protocol,
    pub name: String,
}

/// A host served, and the namespace that VirtualServices for it must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayHost {
    /// `None`: any namespace. `.` is already replaced by the gateway's own.
    pub namespace: Option<String>,
    /// A full name, a wildcard or `*`.
    pub host: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Plain HTTP requests are answered with 301 to https.
    pub https_redirect: bool,
    pub mode: ServerTlsMode,
    /// One or two names of secrets.
    pub credential_names: Vec<String>,
    /// Certificates from files, when no credential is named.
    pub certificates: Vec<CertificateFiles>,
    pub ca_certificates: String,
    pub ca_credential_name: String,
    pub ca_crl: String,
    pub subject_alt_names: Vec<String>,
    pub verify_certificate_spki: Vec<String>,
    pub verify_certificate_hash: Vec<String>,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
    /// Only suites that Envoy knows, without duplicates.
    pub cipher_suites: Vec<String>,
    pub insecure_skip_verify: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: String,
    pub private_key: String,
    pub ca_certificates: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTlsMode {
    #[default]
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

impl Server {
    /// Whether the server ends TLS itself (as opposed to passing it on by SNI).
    pub fn terminates_tls(&self) -> bool {
        matches!(self.port.protocol, Protocol::Https | Protocol::Tls)
            && self
                .tls
                .as_ref()
                .is_some_and(|tls| !matches!(tls.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough))
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>, scope: &Scope<'_>) -> Gateway {
    let mut names: Vec<String> = Vec::new();
    let mut written = 0;
    let servers = o.each("servers", |place| {
        written += 1;
        let server = place.object(|o| server(o, scope))??;
        if !server.port.name.is_empty() && names.contains(&server.port.name) {
            place.error(format!("the port name {:?} is there twice", server.port.name));
        }
        names.push(server.port.name.clone());
        Some(server)
    });
    if written == 0 {
        o.error_at("servers", "at least one server is required");
    }
    Gateway { selector: o.field("selector").map(|place| check::labels(&place)).unwrap_or_default(), servers }
}

fn server(o: &Object<'_>, scope: &Scope<'_>) -> Option<Server> {
    let (name, bind) = (o.text("name"), o.text("bind"));
    let unix = bind.starts_with("unix://");
    if !bind.is_empty() && !unix && !check::is_address(&bind) {
        o.error_at("bind", format!("{bind:?} is neither an IP address nor unix://…"));
    }
    let port = o.required("port").and_then(|place| place.object(|o| port(o, unix))).flatten();
    let hosts = o.each("hosts", |place| host(place, scope));
    if hosts.is_empty() {
        o.error_at("hosts", "at least one host is required");
    }
    o.refuse("defaultEndpoint", "is not implemented (nor in Istio); remove it");
    let tls = o.read("tls", |place| place.object(|o| tls::read(o, port.as_ref())));
    let port = port?;
    if matches!(port.protocol, Protocol::Https | Protocol::Tls) && !o.has("tls") {
        o.place().error(format!("tls is required on a port of protocol {}", port.protocol.as_str()));
    }
    Some(Server { name, port, bind, hosts, tls })
}

fn port(o: &Object<'_>, unix: bool) -> Option<ServerPort> {
    o.refuse("targetPort", "has no effect in a Gateway; remove it");
    let protocol = o.required("protocol").and_then(|place| check::protocol(&place));
    if matches!(protocol, Some(Protocol::Udp | Protocol::Auto)) {
        o.error_at("protocol", "a gateway serves HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS");
    }
    let name = o.required_text("name");
    let number = o.required("number")?;
    let number = if unix { number.within(0, 0) } else { number.within(1, 65_535) };
    Some(ServerPort { number: u16::try_from(number?).ok()?, protocol: protocol?, name })
}

/// `[namespace/]host`.
fn host(place: &Place<'_>, scope: &Scope<'_>) -> Option<GatewayHost> {
    let text = place.text()?;
    let (namespace, host) = text.split_once('/').unwrap_or(("*", &text));
    if !matches!(namespace, "*" | ".") && check::host_rule(namespace, Wildcard::None).is_err() {
        place.error(format!("{namespace:?} is none of \"*\", \".\" and a namespace"));
    }
    if !check::is_address(host) {
        if let Err(why) = check::host_rule(host, Wildcard::WholeLabel) {
            place.error(why);
        } else if !host.contains(['.', '*']) {
            place.error(format!("{host:?} is a short name; a gateway's host is a full name"));
        }
    }
    let namespace = match namespace {
        "*" => None,
        "." => Some(scope.namespace.to_owned()),
        name => Some(name.to_owned()),
    };
    Some(GatewayHost { namespace, host: host.to_owned() })
}
