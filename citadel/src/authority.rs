//! What every certificate authority does, whatever keeps its keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::SpiffeId;
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use store::StoreError;
use tokio::sync::watch;

use crate::{SubjectKey, Unseen};

/// As many roots as a mesh trusts.
pub(crate) const MOST_ROOTS: usize = 16;

/// Signs SVIDs, and tells which roots vouch for them.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Signs an SVID for an identity that was already decided, and enters it in the ledger.
    async fn issue(&self, request: IssueRequest) -> Result<Issued, IssueError>;

    /// Where no member has the certificate of a serial number: that of the one that its holder joined with.
    async fn lineage(&self, serial: &str) -> Result<Option<String>, StoreError>;

    /// The roots to trust, now and after each change.
    fn trust_bundle(&self) -> watch::Receiver<Arc<TrustBundle>>;
}

/// An order for one SVID.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    pub id: SpiffeId,
    pub key: SubjectKey,
    /// A wish; the authority's own lifetime is the upper bound.
    pub ttl: Option<Duration>,
    /// The member that it is for, which becomes the subject's common name.
    pub member: Option<String>,
    /// How the identity was attested, for the ledger. Holds no secret.
    pub attested_by: String,
    /// The serial number of the certificate by which it was attested, whose lineage it continues.
    pub renews: Option<String>,
    /// From where it was asked for.
    pub from: Option<IpAddr>,
}

/// A signed SVID.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf, intermediate, root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Lower-case hexadecimal.
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// The root certificates that vouch for a trust domain. The first is the one that signs now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundle {
    pub roots: Vec<CertificateDer<'static>>,
}

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("this authority signs for {ours} only, not for {asked}")]
    ForeignTrustDomain { ours: String, asked: SpiffeId },
    #[error(
        "the root certificate expired; give it new dates with `weft ca renew-root`, or where --ca-dir is given put files \
         there that hold"
    )]
    RootExpired,
    #[error("nothing is signed while this control plane is at odds with another one: {0}")]
    AtOdds(String),
    #[error("the certificate cannot be signed: {0}")]
    Signing(String),
    #[error("the certificate cannot be entered in the ledger, so it was not handed out: {0}")]
    Ledger(#[from] StoreError),
    #[error(transparent)]
    Unseen(#[from] Unseen),
}

impl TrustBundle {
    /// SHA-256 of the DER of the root that signs now, in hexadecimal: what a join token pins.
    pub fn pin(&self) -> String {
        self.roots.first().map(|root| hex::encode(digest(&SHA256, root))).unwrap_or_default()
    }
}
