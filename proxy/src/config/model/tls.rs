//! TLS contexts and secrets.

use std::sync::Arc;

use super::StringMatch;

/// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
    pub resumption: ServerResumption,
}

impl DownstreamTls {
    /// Whether only certificates, or roots, that stand in the contexts themselves are others.
    pub fn differs_in_certificates_alone(&self, other: &Self) -> bool {
        let mut same = self.clone();
        if let (Some(CertificateSource::Inline(one)), Some(CertificateSource::Inline(other))) =
            (&mut same.common.certificate, &other.common.certificate)
        {
            one.clone_from(other);
        }
        if let (Some(ValidationSource::Inline(one)), Some(ValidationSource::Inline(other))) =
            (&mut same.common.validation, &other.common.validation)
        {
            one.clone_from(other);
        }
        same == *other
    }
}

/// How a returning client may skip a full handshake. Only certificates that are given are resumed; the mesh's never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerResumption {
    /// By session IDs and tickets.
    Any,
    /// By session IDs of TLS 1.2 alone: tickets are off, and TLS 1.3 knows nothing else.
    SessionIds,
    Off,
}

/// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    pub common: CommonTls,
    pub sni: String,
    /// How many sessions are kept to be resumed; 0 is none.
    pub max_session_keys: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CommonTls {
    pub certificate: Option<CertificateSource>,
    pub validation: Option<ValidationSource>,
    /// Of the peer's certificate: one must match where there are any.
    pub san_matchers: Vec<StringMatch>,
    pub alpn: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
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
