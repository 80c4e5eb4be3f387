//! Presents the live identity in handshakes, whatever name or issuer the peer asks for.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::super::Svid;

/// Both sides' certificate: the SVID at the moment of the handshake.
#[derive(Clone, Debug)]
pub struct CertResolver {
    svids: watch::Receiver<Arc<Svid>>,
}

impl CertResolver {
    pub fn new(svids: watch::Receiver<Arc<Svid>>) -> Self {
        Self { svids }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        self.svids.borrow().certified()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for CertResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
