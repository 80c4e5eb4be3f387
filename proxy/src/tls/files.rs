//! TLS with certificates that are given: gateways, and upstreams outside the mesh.

use std::sync::Arc;

use runtime::Clock;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::peers::PeerJudge;
use super::resolver::Certificates;
use super::tickets::{Sessions, Ticketer};
use super::{TlsError, provider};
use crate::config::{DownstreamTls, Secret, UpstreamTls};

/// Of a cluster. More would be memory for nothing.
const MOST_SESSIONS: u32 = 4096;

/// A certificate and its key, which belong together.
fn certified(secret: &Secret, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let Secret::Certificate { chain, key } = secret else {
        return Err(TlsError::Unusable("a certificate was expected, and this is a trust bundle".to_owned()));
    };
    let unusable = |error: rustls::pki_types::pem::Error| TlsError::Unusable(error.to_string());
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(unusable)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(unusable)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// Whether a certificate and its key are well-formed and belong together.
pub fn usable(secret: &Secret) -> Result<(), TlsError> {
    certified(secret, &default_provider()).map(drop)
}

pub fn server(
    certificates: &[Arc<Secret>],
    roots: Option<Arc<RootCertStore>>,
    tls: &DownstreamTls,
) -> Result<ServerConfig, TlsError> {
    let provider = provider::provider(&tls.common);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&provider::versions(&tls.common))?;
    let judges = tls.common.validation.is_some();
    let builder = if judges {
        let judge = PeerJudge::new(roots, &tls.common.peers, Arc::clone(&provider))?;
        builder.with_client_cert_verifier(Arc::new(judge.insists(tls.require_client_certificate)))
    } else {
        builder.with_no_client_auth()
    };
    let certified = certificates.iter().map(|secret| certified(secret, &provider)).collect::<Result<_, _>>()?;
    let resolver = Certificates::new(certified, tls.full_scan_certs_on_sni_mismatch);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = provider::alpn(&tls.common);
    config.ignore_client_order = !tls.prefer_client_ciphers;
    resume(&mut config, tls, judges)?;
    Ok(config)
}

/// In TLS 1.3 sessions are resumed by tickets alone, as in BoringSSL.
fn resume(config: &mut ServerConfig, tls: &DownstreamTls, judges: bool) -> Result<(), TlsError> {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if judges {
        return Ok(());
    }
    config.session_storage = Sessions::storage(&tls.resumption, Clock::system());
    if let Some(ticketer) = Ticketer::new(&tls.resumption, Clock::system())? {
        config.ticketer = ticketer;
        config.send_tls13_tickets = 2;
    }
    Ok(())
}

pub fn client(
    certificate: Option<&Secret>,
    roots: Option<Arc<RootCertStore>>,
    tls: &UpstreamTls,
) -> Result<ClientConfig, TlsError> {
    let provider = provider::provider(&tls.common);
    let judge = PeerJudge::new(roots, &tls.common.peers, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&provider::versions(&tls.common))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge.by_server_name(tls.auto_sni_san_validation)));
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let certified = Arc::new(certified(certificate, &provider)?);
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
    };
    config.alpn_protocols = provider::alpn(&tls.common);
    config.resumption = match tls.max_session_keys {
        0 => Resumption::disabled(),
        sessions => Resumption::in_memory_sessions(sessions.min(MOST_SESSIONS) as usize),
    };
    Ok(config)
}
