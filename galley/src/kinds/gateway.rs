//! Gateway: which ports and hosts a gateway proxy serves (Istio `gateway.proto`).

use registry::Protocol;

use super::shared::Labels;

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
