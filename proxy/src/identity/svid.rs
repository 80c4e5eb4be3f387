//! An identity in hand: certificate chain, private key, and the roots to judge others by.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{Denied, DenyList, SpiffeId, TrustDomain, X509Svid};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use webpki::KeyUsage;
use zeroize::Zeroizing;

use super::IdentityError;
use super::tls::{Failure, verify_chain};

/// A workload's X.509-SVID with its key and trust bundle, ready for handshakes.
pub struct Svid {
    leaf: X509Svid,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    certified: Arc<CertifiedKey>,
    /// PKCS#8 in DER, for programs of the workload that ask for it.
    key: Arc<Zeroizing<Vec<u8>>>,
    anchors: Arc<RootCertStore>,
    denied: Arc<DenyList>,
}

impl Svid {
    /// Checks that the parts belong together: the leaf is an SVID and is for the key (PKCS#8). `chain` is leaf first;
    /// roots at its end are left out, as the peer has its own.
    pub fn new(
        mut chain: Vec<CertificateDer<'static>>,
        key: &Zeroizing<Vec<u8>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        chain.retain(|certificate| !roots.contains(certificate));
        let leaf = chain.first().ok_or_else(|| IdentityError::BadAnswer("there is no leaf certificate".to_owned()))?;
        let leaf = X509Svid::parse(leaf).map_err(|error| IdentityError::BadAnswer(error.to_string()))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_slice()));
        let certified = CertifiedKey::new(chain.clone(), any_supported_type(&private)?);
        certified.keys_match()?;
        let anchors = Arc::new(anchors(&roots));
        let (certified, key) = (Arc::new(certified), Arc::new(key.clone()));
        Ok(Self { leaf, chain, roots, certified, key, anchors, denied: Arc::default() })
    }

    /// The same with other roots.
    pub(super) fn with_roots(&self, roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            leaf: self.leaf.clone(),
            chain: self.chain.clone(),
            certified: Arc::clone(&self.certified),
            key: Arc::clone(&self.key),
            anchors: Arc::new(anchors(&roots)),
            denied: Arc::clone(&self.denied),
            roots,
        }
    }

    /// The same, turning others away.
    pub(crate) fn with_denied(&self, denied: Arc<DenyList>) -> Self {
        Self {
            leaf: self.leaf.clone(),
            chain: self.chain.clone(),
            roots: self.roots.clone(),
            certified: Arc::clone(&self.certified),
            key: Arc::clone(&self.key),
            // The very same: what was verified under them stays known.
            anchors: Arc::clone(&self.anchors),
            denied,
        }
    }

    /// Whom to turn away although the roots vouch for them.
    pub fn denied(&self) -> &Arc<DenyList> {
        &self.denied
    }

    /// Whether others turn this one away.
    pub(super) fn is_denied(&self) -> Option<Denied> {
        self.denied.denies(&self.leaf)
    }

    /// Whether the root that comes first is above it, so that there is nothing newer to obtain.
    pub(super) fn is_of_first_root(&self) -> bool {
        let first = anchors(self.roots.get(..1).unwrap_or_default());
        // Its age is not what is asked for.
        let in_life = self.not_before() + Duration::from_secs(1);
        verify_chain(&self.chain, &first, self.trust_domain(), KeyUsage::client_auth(), in_life).is_ok()
    }

    pub fn id(&self) -> &SpiffeId {
        &self.leaf.id
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        self.leaf.id.trust_domain()
    }

    pub fn not_before(&self) -> SystemTime {
        self.leaf.not_before
    }

    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after
    }

    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// Leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The trust bundle.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// PKCS#8 in DER.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    pub(crate) fn anchors(&self) -> &Arc<RootCertStore> {
        &self.anchors
    }

    /// Whether peers that trust the same roots accept this identity now.
    pub(crate) fn verify(&self, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), Failure> {
        verify_chain(&self.chain, &self.anchors, trust_domain, KeyUsage::client_auth(), now).map(drop)
    }

    pub(crate) fn trusts(&self, pin: &[u8; 32]) -> bool {
        self.roots.iter().any(|root| fingerprint(root) == *pin)
    }
}

fn anchors(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(roots.iter().cloned());
    anchors
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    bytes
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Svid({}, serial {})", self.leaf.id, self.leaf.serial)
    }
}
