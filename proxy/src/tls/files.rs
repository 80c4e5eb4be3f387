//! TLS with certificates that are given: gateways, and upstreams outside the mesh.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::TlsError;
use crate::config::{DownstreamTls, Secret, ServerResumption, StringMatch, UpstreamTls};
use crate::identity::tls::TlsOptions;

/// Of a cluster. More would be memory for nothing.
const MOST_SESSIONS: u32 = 4096;

/// The roots of a trust bundle.
pub fn roots(secret: &Secret) -> Result<Arc<RootCertStore>, TlsError> {
    let Secret::TrustedCa(pem) = secret else {
        return Err(TlsError::Unusable("a trust bundle was expected, and this is a certificate".to_owned()));
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Unusable(error.to_string()))?;
        store.add(certificate)?;
    }
    Ok(Arc::new(store))
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(secret: &Secret) -> Result<Pair, TlsError> {
    let Secret::Certificate { chain, key } = secret else {
        return Err(TlsError::Unusable("a certificate was expected, and this is a trust bundle".to_owned()));
    };
    let unusable = |error: rustls::pki_types::pem::Error| TlsError::Unusable(error.to_string());
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(unusable)?;
    Ok((chain, PrivateKeyDer::from_pem_slice(key).map_err(unusable)?))
}

/// Whether a certificate and its key are well-formed and belong together.
pub fn usable(secret: &Secret) -> Result<(), TlsError> {
    let (chain, key) = pair(secret)?;
    rustls::sign::CertifiedKey::from_der(chain, key, &provider())?;
    Ok(())
}

pub fn server(
    certificate: &Secret,
    roots: Option<Arc<RootCertStore>>,
    tls: &DownstreamTls,
    options: &TlsOptions,
) -> Result<ServerConfig, TlsError> {
    if !tls.common.san_matchers.is_empty() {
        return Err(TlsError::Mixed("subject alternative names of clients outside the mesh"));
    }
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&options.versions)?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = if tls.require_client_certificate { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| TlsError::Unusable(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = pair(certificate)?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = options.alpn.clone();
    match tls.resumption {
        ServerResumption::Any => {}
        ServerResumption::SessionIds => config.send_tls13_tickets = 0,
        ServerResumption::Off => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(config)
}

pub fn client(
    certificate: Option<&Secret>,
    roots: Option<Arc<RootCertStore>>,
    tls: &UpstreamTls,
    options: &TlsOptions,
) -> Result<ClientConfig, TlsError> {
    let inner = match roots {
        None => None,
        Some(roots) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
            Some(verifier.map_err(|error| TlsError::Unusable(error.to_string()))?)
        }
    };
    let verifier = Arc::new(Verifier { inner, matchers: tls.common.san_matchers.clone(), provider: provider() });
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&options.versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = pair(certificate)?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = options.alpn.clone();
    config.resumption = match tls.max_session_keys {
        0 => Resumption::disabled(),
        sessions => Resumption::in_memory_sessions(sessions.min(MOST_SESSIONS) as usize),
    };
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Verifies a server as Envoy does: the chain where there are roots, its names where there are matchers, and nothing
/// where neither is configured.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    matchers: Vec<StringMatch>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(inner) = &self.inner {
            match inner.verify_server_cert(leaf, intermediates, name, ocsp, now) {
                // The names are the matchers' to judge.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        let named = self.matchers.is_empty() || {
            let names = subject_alt_names(leaf);
            self.matchers.iter().any(|matcher| names.iter().any(|name| matcher.matches(name.as_bytes())))
        };
        if named { Ok(ServerCertVerified::assertion()) } else { Err(CertificateError::NotValidForName.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// DNS names, URIs and addresses of a certificate.
fn subject_alt_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}
