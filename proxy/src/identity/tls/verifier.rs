//! Judges the peer's certificate: the rules of an SVID, the trust domain, the chain to the live trust bundle, and who
//! is allowed. Host names play no part: the SPIFFE ID is the name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{DenyList, SpiffeId, TrustDomain, X509Svid};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use tokio::sync::watch;
use webpki::{EndEntityCert, KeyUsage};

use super::super::Svid;
use super::super::svid::fingerprint;
use super::super::token::Pins;
use super::Failure;
use crate::tls::{Known, Shown, all_may_sign};

/// Which identities are accepted. All but `Any` may name some of another trust domain, below the same roots.
#[derive(Clone)]
pub enum Allowed {
    Any,
    Ids(BTreeSet<SpiffeId>),
    /// The text of the ID starts so.
    Prefix(String),
    Matching(Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>),
}

/// By what the peer's chain is judged.
#[derive(Clone)]
pub(super) enum Trust {
    /// The bundle and the trust domain of the live identity.
    Live(watch::Receiver<Arc<Svid>>),
    /// A root with one of these SHA-256, which the peer itself must send, and a trust domain.
    Pinned(Pins, TrustDomain),
}

/// Verifies servers and clients.
pub struct PeerVerifier {
    trust: Trust,
    allowed: Allowed,
    insist: bool,
    algorithms: WebPkiSupportedAlgorithms,
    known: Known,
}

/// The SPIFFE ID of the peer of a connection whose handshake succeeded.
pub fn peer_id(certificates: Option<&[CertificateDer<'_>]>) -> Option<SpiffeId> {
    Some(X509Svid::parse(certificates?.first()?).ok()?.id)
}

/// Holds a chain, leaf first, to everything but who is allowed.
pub fn verify_chain(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    trust_domain: &TrustDomain,
    usage: KeyUsage,
    now: SystemTime,
) -> Result<X509Svid, Failure> {
    let (leaf, intermediates) = chain.split_first().ok_or(Failure::NoCertificate)?;
    let svid = svid_of(leaf, trust_domain)?;
    verify_path(leaf, intermediates, roots, usage, now)?;
    Ok(svid)
}

/// Whether certificates lead to a root now.
fn verify_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    usage: KeyUsage,
    now: SystemTime,
) -> Result<(), Failure> {
    let time = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let algorithms = default_provider().signature_verification_algorithms;
    EndEntityCert::try_from(leaf)?.verify_for_usage(
        algorithms.all,
        &roots.roots,
        intermediates,
        time,
        usage,
        None,
        Some(&all_may_sign),
    )?;
    Ok(())
}

/// The SVID in a leaf. Before the chain: of a foreign mesh, its name tells more than that its root is unknown.
fn svid_of(leaf: &CertificateDer<'_>, trust_domain: &TrustDomain) -> Result<X509Svid, Failure> {
    let svid = X509Svid::parse(leaf)?;
    if svid.id.trust_domain() != trust_domain {
        return Err(Failure::ForeignTrustDomain { found: svid.id, ours: trust_domain.clone() });
    }
    Ok(svid)
}

impl PeerVerifier {
    /// Judges by the live identity. `insist`: a client must present a certificate.
    pub fn new(svids: watch::Receiver<Arc<Svid>>, allowed: Allowed, insist: bool) -> Self {
        Self::with(Trust::Live(svids), allowed, insist)
    }

    pub(super) fn with(trust: Trust, allowed: Allowed, insist: bool) -> Self {
        let algorithms = default_provider().signature_verification_algorithms;
        Self { trust, allowed, insist, algorithms, known: Known::default() }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        of_client: bool,
        now: UnixTime,
    ) -> Result<(), Failure> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(leaf).chain(intermediates).map(|c| CertificateDer::from(c.as_ref())).collect();
        let (roots, trust_domain, denied) = self.trust.now(&chain);
        let shown = Shown::new(u8::from(of_client), leaf, intermediates);
        let svid = X509Svid::parse(leaf)?;
        let allowed = self.allowed.contains(&svid.id);
        // Another name of the mesh's trust domain is one that the configuration names.
        if *svid.id.trust_domain() != trust_domain && !(allowed && self.allowed.names()) {
            return Err(Failure::ForeignTrustDomain { found: svid.id, ours: trust_domain });
        }
        if !self.known.is_good(&roots, shown, now) {
            let usage = if of_client { KeyUsage::client_auth() } else { KeyUsage::server_auth() };
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
            verify_path(leaf, intermediates, &roots, usage, time)?;
            self.known.add(&roots, shown, leaf, intermediates, now);
        }
        if denied.denies(&svid).is_some() {
            return Err(Failure::Revoked);
        }
        if allowed { Ok(()) } else { Err(Failure::NotAllowed(svid.id)) }
    }
}

impl Trust {
    fn now(&self, chain: &[CertificateDer<'_>]) -> (Arc<RootCertStore>, TrustDomain, Arc<DenyList>) {
        match self {
            Self::Live(svids) => {
                let svid = svids.borrow();
                (svid.anchors().clone(), svid.trust_domain().clone(), svid.denied().clone())
            }
            Self::Pinned(pins, trust_domain) => {
                let pinned = chain.iter().filter(|certificate| pins.contains(&fingerprint(certificate)));
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(pinned.map(|root| root.clone().into_owned()));
                (Arc::new(roots), trust_domain.clone(), Arc::default())
            }
        }
    }
}

impl Allowed {
    /// Whether it says who, and not only that it may be anybody.
    fn names(&self) -> bool {
        !matches!(self, Self::Any)
    }

    pub fn contains(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Any => true,
            Self::Ids(ids) => ids.contains(id),
            Self::Prefix(prefix) => id.to_string().starts_with(prefix),
            Self::Matching(matches) => matches(id),
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, false, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.insist
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, true, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::Ids(ids) => f.debug_tuple("Ids").field(ids).finish(),
            Self::Prefix(prefix) => f.debug_tuple("Prefix").field(prefix).finish(),
            Self::Matching(_) => f.write_str("Matching"),
        }
    }
}
