//! Attestation by a certificate that expired while its workload slept or the control plane was away: for a while it
//! still tells who asks, if the request is for the very key that it certifies. The request is signed with that key, so
//! who sends it has it; and who only repeats it gains a certificate for a key that he does not have.

use std::sync::Arc;
use std::time::Duration;

use api::X509Svid;
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::{Attestation, Attestor, Evidence, Refusal, TrustBundle, verify_peer};

/// Judges the certificates that came in the request itself.
pub struct ExpiredCertificate {
    bundle: watch::Receiver<Arc<TrustBundle>>,
    clock: Clock,
    grace: Duration,
}

impl ExpiredCertificate {
    /// `grace`: for how long after its end a certificate is taken.
    pub fn new(bundle: watch::Receiver<Arc<TrustBundle>>, clock: Clock, grace: Duration) -> Self {
        Self { bundle, clock, grace }
    }

    fn judge(&self, chain: &[CertificateDer<'_>], key_fingerprint: &str) -> Result<Attestation, Refusal> {
        let now = self.clock.now();
        let leaf = chain.first().ok_or_else(|| Refusal::unauthenticated("the expired certificate is missing"))?;
        let svid = X509Svid::parse(leaf).map_err(Refusal::unauthenticated)?;
        let expired_for = now.duration_since(svid.not_after).unwrap_or_default();
        if expired_for > self.grace {
            return Err(Refusal::denied(format!(
                "the certificate expired {} ago, and is taken for {} only; join again with a new token",
                rough(expired_for),
                rough(self.grace)
            )));
        }
        // Its chain held when it was alive; what happened to its issuers since does not matter.
        let alive = now.min(svid.not_after - Duration::from_secs(1));
        verify_peer(chain, &self.bundle.borrow().clone(), alive).map_err(Refusal::unauthenticated)?;
        if key_of(leaf).as_deref() != Some(key_fingerprint) {
            return Err(Refusal::denied("an expired certificate is renewed for its own key only"));
        }
        tracing::warn!(
            identity = %svid.id, serial = svid.serial, expired_s = expired_for.as_secs(),
            "a workload came back with an expired certificate, and is let in for its key"
        );
        Ok(Attestation::ExpiredCertificate { id: svid.id, serial: svid.serial, member: svid.common_name, expired_for })
    }
}

#[async_trait]
impl Attestor for ExpiredCertificate {
    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal> {
        if evidence.expired.is_empty() {
            return Ok(None);
        }
        self.judge(evidence.expired, evidence.key_fingerprint).map(Some)
    }
}

/// SHA-256 of the certified key, in hexadecimal.
fn key_of(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(hex::encode(digest(&SHA256, certificate.public_key().raw)))
}

fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
