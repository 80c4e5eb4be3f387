//! Attestation by the current certificate: who holds a valid SVID may have the next one of the same identity.

use std::sync::Arc;

use async_trait::async_trait;
use runtime::Clock;
use tokio::sync::watch;

use crate::{Attestation, Attestor, Evidence, Refusal, TrustBundle, verify_peer};

/// Judges the client certificate of the connection. It was verified at the handshake, but the connection may have
/// outlived it, so it is verified again at each request.
pub struct CurrentCertificate {
    bundle: watch::Receiver<Arc<TrustBundle>>,
    clock: Clock,
}

impl CurrentCertificate {
    pub fn new(bundle: watch::Receiver<Arc<TrustBundle>>, clock: Clock) -> Self {
        Self { bundle, clock }
    }
}

#[async_trait]
impl Attestor for CurrentCertificate {
    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal> {
        let Some(peer) = evidence.peer else { return Ok(None) };
        let bundle = self.bundle.borrow().clone();
        let svid = verify_peer(&peer.chain, &bundle, self.clock.now()).map_err(Refusal::unauthenticated)?;
        Ok(svid.map(|svid| Attestation::CurrentCertificate {
            id: svid.id,
            serial: svid.serial,
            member: svid.common_name,
        }))
    }
}
