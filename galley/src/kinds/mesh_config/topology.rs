//! What stands in front of gateways (Istio `ProxyConfig.gatewayTopology`).

use crate::reader::Object;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// So many proxies of one's own stand in front, each of which adds whom it saw to `x-forwarded-for`. Zero: what
    /// clients say there counts for nothing.
    pub trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert`; `None`: it is replaced.
    pub client_certificates: Option<ClientCertificates>,
    /// Whether every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// Istio `Topology.ForwardClientCertDetails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// More of them than this is a mistake in writing.
const MOST: u32 = 32;

pub(super) fn read(o: &Object<'_>) -> Topology {
    const FORMS: [(&str, Option<ClientCertificates>); 6] = [
        ("UNDEFINED", None),
        ("SANITIZE", Some(ClientCertificates::Sanitize)),
        ("FORWARD_ONLY", Some(ClientCertificates::ForwardOnly)),
        ("APPEND_FORWARD", Some(ClientCertificates::AppendForward)),
        ("SANITIZE_SET", Some(ClientCertificates::SanitizeSet)),
        ("ALWAYS_FORWARD_ONLY", Some(ClientCertificates::AlwaysForwardOnly)),
    ];
    let trusted_proxies = o.count("numTrustedProxies").unwrap_or_default();
    if trusted_proxies > MOST {
        o.error_at(
            "numTrustedProxies",
            format!("{trusted_proxies} is more than {MOST}; say how many proxies stand in front"),
        );
    }
    Topology {
        trusted_proxies,
        client_certificates: o.choice("forwardClientCertDetails", &FORMS).flatten(),
        proxy_protocol: o.read("proxyProtocol", |place| place.object(|_| ())).is_some(),
    }
}
