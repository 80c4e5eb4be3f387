//! TLS contexts and secrets.

use std::sync::Arc;
use std::time::Duration;

use rustls::{CipherSuite, NamedGroup};

use super::StringMatch;

/// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
    pub resumption: ServerResumption,
    /// Whether the client's order of cipher suites counts, rather than the server's.
    pub prefer_client_ciphers: bool,
    /// Whether all certificates are looked through where none is for the name that is asked for.
    pub full_scan_certs_on_sni_mismatch: bool,
}

impl DownstreamTls {
    /// Whether only certificates, or roots, that stand in the contexts themselves are others.
    pub fn differs_in_certificates_alone(&self, other: &Self) -> bool {
        let mut same = self.clone();
        for (one, other) in same.common.certificates.iter_mut().zip(&other.common.certificates) {
            if let (CertificateSource::Inline(one), CertificateSource::Inline(other)) = (one, other) {
                one.clone_from(other);
            }
        }
        if let (Some(ValidationSource::Inline(one)), Some(ValidationSource::Inline(other))) =
            (&mut same.common.validation, &other.common.validation)
        {
            one.clone_from(other);
        }
        same == *other
    }
}

/// How a returning client may skip a full handshake. It may not where clients' certificates are judged, for a resumed
/// session would outlive an expired certificate, a removed root or a changed rule; and never in the mesh.
#[derive(Clone, PartialEq)]
pub struct ServerResumption {
    /// By session IDs of TLS 1.2.
    pub stateful: bool,
    pub tickets: Tickets,
    /// How long a session may be resumed (Envoy: 2 h if not set).
    pub timeout: Duration,
}

#[derive(Clone, PartialEq)]
pub enum Tickets {
    Off,
    /// With a key that this process makes for itself.
    Own,
    /// With keys that others have too: the first encrypts, all decrypt. Each 80 bytes: 16 name it.
    Shared(Vec<[u8; 80]>),
}

impl std::fmt::Debug for ServerResumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tickets = match &self.tickets {
            Tickets::Off => "off".to_owned(),
            Tickets::Own => "own key".to_owned(),
            Tickets::Shared(keys) => format!("{} keys [redacted]", keys.len()),
        };
        write!(f, "ServerResumption {{ stateful: {}, tickets: {tickets}, {:?} }}", self.stateful, self.timeout)
    }
}

/// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: String,
    /// Whether the endpoint's own name is asked for, where it has one.
    pub auto_host_sni: bool,
    /// Whether the certificate has to be for the name asked for by SNI, which is then the only name that counts.
    pub auto_sni_san_validation: bool,
    /// How many sessions are kept to be resumed; 0 is none.
    pub max_session_keys: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    /// The first is shown where none fits better.
    pub certificates: Vec<CertificateSource>,
    /// `None`: peers are not asked for a certificate, or are believed whatever they show.
    pub validation: Option<ValidationSource>,
    pub peers: PeerRules,
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Of TLS 1.2, the preferred first; `None` is all there are.
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// Of the key exchange, the preferred first; `None` is all there are, X25519MLKEM768 first.
    pub groups: Option<Vec<NamedGroup>>,
}

impl CommonTls {
    /// Secrets by which certificates are named.
    pub fn certificate_names(&self) -> impl Iterator<Item = &String> {
        self.certificates.iter().filter_map(|source| match source {
            CertificateSource::Sds(name) => Some(name),
            CertificateSource::Inline(_) => None,
        })
    }

    /// All secrets that it names.
    pub fn secret_names(&self) -> impl Iterator<Item = &String> {
        self.certificate_names().chain(self.roots_name())
    }

    /// The secret by which roots are named.
    pub fn roots_name(&self) -> Option<&String> {
        match &self.validation {
            Some(ValidationSource::Sds(name)) => Some(name),
            _ => None,
        }
    }
}

/// What a peer's certificate must be besides signed by a root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerRules {
    /// One must match where there are any.
    pub names: Vec<SanMatch>,
    /// SHA-256 of the public key, or of the certificate: one of all these must match where there are any.
    pub spki_hashes: Vec<[u8; 32]>,
    pub certificate_hashes: Vec<[u8; 32]>,
    /// Whether a peer is let in whatever it shows; nobody then believes who it says it is.
    pub accept_untrusted: bool,
    pub allow_expired: bool,
    /// Most authorities in the chain, the root included.
    pub max_depth: Option<u32>,
    /// PEM of revocation lists.
    pub crl: Option<Arc<[u8]>>,
    pub crl_of_leaf_only: bool,
}

/// `envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct SanMatch {
    pub kind: SanKind,
    pub matcher: StringMatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Any,
    Dns,
    Uri,
    Email,
    Ip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V12,
    V13,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CertificateSource {
    /// A secret by name: `default` is the workload's own identity, kept by the agent in this process.
    Sds(String),
    Inline(Arc<Secret>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValidationSource {
    /// A secret by name: `ROOTCA` is the mesh's trust bundle, kept by the agent in this process.
    Sds(String),
    Inline(Arc<Secret>),
    /// The operating system's roots.
    System,
    /// No roots: the rules alone decide.
    NoRoots,
}

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// PEM chain, leaf first, and PEM key.
    Certificate { chain: Vec<u8>, key: Vec<u8> },
    /// PEM roots.
    TrustedCa(Vec<u8>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate { [redacted] }",
            Self::TrustedCa(_) => "TrustedCa",
        })
    }
}
