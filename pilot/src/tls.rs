//! TLS contexts: the mesh's own mutual TLS on both sides, and what DestinationRules and Gateways ask for.

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::tls::v3 as tls;
use galley::kinds::{ClientTls, ClientTlsMode, ServerTls, ServerTlsMode, TlsVersion};
use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use tls::subject_alt_name_matcher::SanType;
use tls::tls_parameters::TlsProtocol;

use crate::mesh::MeshConfig;
use crate::wire;

/// The secret that is the workload's own identity.
const OWN_CERTIFICATE: &str = "default";
/// The secret that is the mesh's trust bundle.
const TRUST_BUNDLE: &str = "ROOTCA";
/// What callers inside the mesh offer, and by which inbound chains know them.
pub(crate) const ISTIO_ALPN: [&str; 5] =
    ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// Where Debian, its kin and most container images keep the roots they trust.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const SOCKET: &str = "envoy.transport_sockets.tls";

/// What the mesh's mutual TLS to one cluster needs to know.
pub(crate) struct Mutual<'a> {
    pub sni: &'a str,
    /// Identities and names of which the server must have one; empty is any of the trust bundle.
    pub sans: &'a [String],
    pub http2: bool,
}

/// The mesh's mutual TLS as a caller.
pub(crate) fn mutual_upstream(mutual: &Mutual<'_>) -> core::TransportSocket {
    let mut common = mesh_common(mutual.sans.iter().map(wire_san).collect());
    common.alpn_protocols = if mutual.http2 { names(["istio", "h2"]) } else { names(["istio"]) };
    let context =
        tls::UpstreamTlsContext { common_tls_context: Some(common), sni: mutual.sni.to_owned(), ..Default::default() };
    wire::transport_socket(SOCKET, &context)
}

/// The mesh's mutual TLS as a server: callers of the trust domain only, under any of its names.
pub(crate) fn mutual_downstream(mesh: &MeshConfig) -> core::TransportSocket {
    let caller = |domain| tls::SubjectAltNameMatcher {
        san_type: SanType::Uri as i32,
        matcher: Some(wire::prefix(format!("spiffe://{domain}/"))),
        ..Default::default()
    };
    let domains = std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
    let mut common = mesh_common(domains.map(caller).collect());
    common.alpn_protocols = names(["h2", "http/1.1", "istio"]);
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(true),
        ..Default::default()
    };
    wire::transport_socket(SOCKET, &context)
}

fn secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: name.to_owned(), sds_config: Some(wire::ads()) }
}

fn mesh_common(sans: Vec<tls::SubjectAltNameMatcher>) -> tls::CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: sans,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret(TRUST_BUNDLE)),
        ..Default::default()
    };
    tls::CommonTlsContext {
        // Both sides are proxies of the mesh: nothing older has to be spoken.
        tls_params: Some(versions(Some(TlsVersion::V1_3), Some(TlsVersion::V1_3))),
        tls_certificate_sds_secret_configs: vec![secret(OWN_CERTIFICATE)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

/// SIMPLE and MUTUAL of a DestinationRule, from files on the proxy's machine.
pub(crate) fn client(client: &ClientTls, http2: bool, system_roots: bool) -> core::TransportSocket {
    let files = client.mode == ClientTlsMode::Mutual && !client.client_certificate.is_empty();
    let certificates = files.then(|| certificate(&client.client_certificate, &client.private_key));
    let common = tls::CommonTlsContext {
        tls_certificates: certificates.into_iter().collect(),
        alpn_protocols: if http2 { names(["h2"]) } else { Vec::new() },
        validation_context_type: client_validation(client, system_roots).map(ValidationContextType::ValidationContext),
        ..Default::default()
    };
    let context =
        tls::UpstreamTlsContext { common_tls_context: Some(common), sni: client.sni.clone(), ..Default::default() };
    wire::transport_socket(SOCKET, &context)
}

/// Roots from the file given, else the operating system's: by that word, or from where they usually are.
fn client_validation(client: &ClientTls, system_roots: bool) -> Option<tls::CertificateValidationContext> {
    use tls::certificate_validation_context::SystemRootCerts;
    if client.insecure_skip_verify == Some(true) {
        return None;
    }
    let path = if client.ca_certificates.is_empty() && !system_roots { SYSTEM_ROOTS } else { &client.ca_certificates };
    let ca = (!path.is_empty()).then(|| wire::file(path));
    Some(tls::CertificateValidationContext {
        system_root_certs: ca.is_none().then_some(SystemRootCerts {}),
        trusted_ca: ca,
        crl: (!client.ca_crl.is_empty()).then(|| wire::file(&client.ca_crl)),
        match_typed_subject_alt_names: client.subject_alt_names.iter().map(wire_san).collect(),
        ..Default::default()
    })
}

/// Secrets by name: the certificates to show, and who may have signed those of clients.
#[derive(Default)]
pub(crate) struct SecretNames {
    pub certificates: Vec<String>,
    pub ca: Option<String>,
}

/// A Gateway server that ends TLS with certificates from files or from secrets. `None` where neither is named.
pub(crate) fn server(
    server: &ServerTls,
    secrets: &SecretNames,
    mesh: &MeshConfig,
    http: bool,
) -> Option<core::TransportSocket> {
    if server.mode == ServerTlsMode::IstioMutual {
        return Some(mutual_downstream(mesh));
    }
    let pairs = server.certificates.iter().filter(|files| !files.certificate.is_empty());
    let certificates: Vec<_> = pairs.map(|files| certificate(&files.certificate, &files.private_key)).collect();
    if certificates.is_empty() && secrets.certificates.is_empty() {
        return None;
    }
    let validation = || match &secrets.ca {
        None => ValidationContextType::ValidationContext(server_validation(server)),
        Some(name) => ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(server_validation(server)),
            validation_context_sds_secret_config: Some(secret(name)),
            ..Default::default()
        }),
    };
    let asks = matches!(server.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            cipher_suites: server.cipher_suites.clone(),
            ..versions(server.min_version, server.max_version)
        }),
        tls_certificates: certificates,
        tls_certificate_sds_secret_configs: secrets.certificates.iter().map(|name| secret(name)).collect(),
        alpn_protocols: if http { names(["h2", "http/1.1"]) } else { Vec::new() },
        validation_context_type: asks.then(validation),
        ..Default::default()
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(server.mode == ServerTlsMode::Mutual),
        ..Default::default()
    };
    Some(wire::transport_socket(SOCKET, &context))
}

fn server_validation(server: &ServerTls) -> tls::CertificateValidationContext {
    let of_pair = server.certificates.iter().map(|files| &files.ca_certificates).find(|ca| !ca.is_empty());
    let ca = if server.ca_certificates.is_empty() { of_pair } else { Some(&server.ca_certificates) };
    tls::CertificateValidationContext {
        trusted_ca: ca.map(|path| wire::file(path)),
        crl: (!server.ca_crl.is_empty()).then(|| wire::file(&server.ca_crl)),
        match_typed_subject_alt_names: server.subject_alt_names.iter().map(wire_san).collect(),
        verify_certificate_spki: server.verify_certificate_spki.clone(),
        verify_certificate_hash: server.verify_certificate_hash.clone(),
        ..Default::default()
    }
}

fn certificate(chain: &str, key: &str) -> tls::TlsCertificate {
    tls::TlsCertificate {
        certificate_chain: Some(wire::file(chain)),
        private_key: Some(wire::file(key)),
        ..Default::default()
    }
}

/// TLS 1.2 at least, unless told otherwise.
fn versions(min: Option<TlsVersion>, max: Option<TlsVersion>) -> tls::TlsParameters {
    let of = |version| match version {
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    tls::TlsParameters {
        tls_minimum_protocol_version: of(min.unwrap_or(TlsVersion::V1_2)) as i32,
        tls_maximum_protocol_version: max.map_or(TlsProtocol::TlsAuto, of) as i32,
        ..Default::default()
    }
}

/// A URI where it has a scheme, else a DNS name.
fn wire_san(name: &String) -> tls::SubjectAltNameMatcher {
    let san_type = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    tls::SubjectAltNameMatcher { san_type: san_type as i32, matcher: Some(wire::exact(name)), ..Default::default() }
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}
