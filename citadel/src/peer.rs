//! The other side of a TLS connection, as its certificates tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use api::{SpiffeId, SvidError, X509Svid};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::TrustBundle;

/// What a connection's peer presented at the handshake; every request on it carries this as an extension.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates {
    /// Leaf first; empty if the peer presented none. They chained to the trust bundle at the time of the handshake.
    pub chain: Arc<[CertificateDer<'static>]>,
    pub address: Option<SocketAddr>,
}

/// Why a certificate does not show who its holder is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Svid(#[from] SvidError),
    #[error("the certificate expired")]
    Expired,
    #[error("the certificate is not valid yet; are the clocks set?")]
    NotValidYet,
    #[error("the certificate does not chain to a root of this mesh: {0}")]
    Untrusted(webpki::Error),
}

impl PeerCertificates {
    /// The SPIFFE ID of the peer; `None` if it presented no certificate.
    pub fn identity(&self) -> Option<Result<SpiffeId, SvidError>> {
        self.chain.first().map(peer_identity)
    }
}

/// The SPIFFE ID in a certificate that keeps the rules of an X.509-SVID. The chain is not looked at.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<SpiffeId, SvidError> {
    Ok(X509Svid::parse(certificate)?.id)
}

/// Holds a client's chain to the rules of an SVID, and to the trust bundle, at one moment.
pub fn verify_peer(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Option<X509Svid>, PeerError> {
    let [leaf, intermediates @ ..] = chain else { return Ok(None) };
    let svid = X509Svid::parse(leaf)?;
    let anchors: Vec<TrustAnchor<'_>> =
        bundle.roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| {
            let time = UnixTime::since_unix_epoch(since);
            leaf.verify_for_usage(algorithms.all, &anchors, intermediates, time, KeyUsage::client_auth(), None, None)?;
            Ok(())
        })
        .map_err(told)?;
    Ok(Some(svid))
}

fn told(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::CertExpired { .. } => PeerError::Expired,
        webpki::Error::CertNotValidYet { .. } => PeerError::NotValidYet,
        other => PeerError::Untrusted(other),
    }
}
