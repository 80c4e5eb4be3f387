//! Judges the certificate of a peer outside the mesh as Envoy's validation context says: the chain where there are
//! roots, its names where there are matchers, its hash where there are hashes, and nothing where nothing is configured.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::known::{Known, Shown};
use super::{TlsError, names};
use crate::config::PeerRules;
use crate::identity::tls::Failure;

/// What is wrong with a certificate whose chain is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("none of the certificate's names is expected")]
    Name,
    #[error("the certificate is another than the pinned one")]
    Hash,
    #[error("more authorities stand behind the certificate than are allowed")]
    Depth,
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(rejected))))
    }
}

/// What a peer is.
#[derive(Clone, Copy, Debug)]
enum Role {
    Server,
    Client,
}

/// Verifies servers and clients.
#[derive(Debug)]
pub struct PeerJudge {
    /// `None`: the chain is not looked at.
    roots: Option<Arc<RootCertStore>>,
    rules: PeerRules,
    /// Whether the name asked for by SNI is the one that counts.
    by_server_name: bool,
    revocations: Vec<CertRevocationList<'static>>,
    /// Of a client: whether it must show a certificate.
    insists: bool,
    /// What clients are told of whose certificates count.
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    known: Known,
}

impl PeerJudge {
    pub fn new(
        roots: Option<Arc<RootCertStore>>,
        rules: &PeerRules,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut revocations = Vec::new();
        for list in rules.crl.iter().flat_map(|pem| CertificateRevocationListDer::pem_slice_iter(pem)) {
            let list = list.map_err(|error| TlsError::Unusable(format!("a revocation list: {error}")))?;
            let list = OwnedCertRevocationList::from_der(&list);
            let list = list.map_err(|error| TlsError::Unusable(format!("a revocation list: {error}")))?;
            revocations.push(CertRevocationList::Owned(list));
        }
        if rules.crl.is_some() && revocations.is_empty() {
            return Err(TlsError::Unusable("there is no revocation list where one is expected".to_owned()));
        }
        let hints = roots.as_ref().map(|roots| roots.subjects()).unwrap_or_default();
        let rules = rules.clone();
        Ok(Self {
            roots,
            rules,
            by_server_name: false,
            revocations,
            insists: false,
            hints,
            provider,
            known: Known::default(),
        })
    }

    /// Of servers: whether the name asked for by SNI is the only one that counts.
    pub fn by_server_name(self, by_server_name: bool) -> Self {
        Self { by_server_name, ..self }
    }

    /// Of clients: whether they must show a certificate.
    pub fn insists(self, insists: bool) -> Self {
        Self { insists, ..self }
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        name: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.rules.accept_untrusted {
            return Ok(());
        }
        if let Some(roots) = &self.roots {
            self.known_or_good(roots, leaf, intermediates, role, now)?;
        }
        match name.filter(|_| self.by_server_name) {
            Some(name) if !names::is_for(leaf, &name.to_str()) => return Err(Rejected::Name.into()),
            Some(_) => {}
            None if self.rules.names.is_empty() => {}
            None if !names::any_matches(&self.rules.names, leaf) => return Err(Rejected::Name.into()),
            None => {}
        }
        if self.is_pinned(leaf) { Ok(()) } else { Err(Rejected::Hash.into()) }
    }

    /// Revocation and what has expired are looked at each time.
    fn known_or_good(
        &self,
        roots: &Arc<RootCertStore>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.revocations.is_empty() || self.rules.allow_expired {
            return self.chain(roots, leaf, intermediates, role, now);
        }
        let shown = Shown::new(role as u8, leaf, intermediates);
        if !self.known.is_good(roots, shown, now) {
            self.chain(roots, leaf, intermediates, role, now)?;
            self.known.add(roots, shown, leaf, intermediates, now);
        }
        Ok(())
    }

    fn chain(
        &self,
        roots: &RootCertStore,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let usage = match role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let lists: Vec<_> = self.revocations.iter().collect();
        let depth =
            if self.rules.crl_of_leaf_only { RevocationCheckDepth::EndEntity } else { RevocationCheckDepth::Chain };
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(depth).with_status_policy(UnknownStatusPolicy::Deny);
            options.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        let now = if self.rules.allow_expired { before_expiry(leaf, intermediates, now) } else { now };
        let certificate = EndEntityCert::try_from(leaf).map_err(Failure::from)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let path = certificate
            .verify_for_usage(algorithms, &roots.roots, intermediates, now, usage, revocation, Some(&all_may_sign))
            .map_err(Failure::from)?;
        let authorities = path.intermediate_certificates().count() + 1;
        match self.rules.max_depth {
            Some(most) if authorities > most as usize => Err(Rejected::Depth.into()),
            _ => Ok(()),
        }
    }

    /// Whether the certificate or its key is one of those that are pinned, where there are any.
    fn is_pinned(&self, leaf: &CertificateDer<'_>) -> bool {
        let PeerRules { spki_hashes, certificate_hashes, .. } = &self.rules;
        if spki_hashes.is_empty() && certificate_hashes.is_empty() {
            return true;
        }
        let is_in = |hashes: &[[u8; 32]], bytes: &[u8]| {
            let hash = digest(&SHA256, bytes);
            hashes.iter().any(|pinned| pinned == hash.as_ref())
        };
        let key = || X509Certificate::from_der(leaf).map(|(_, parsed)| is_in(spki_hashes, parsed.public_key().raw));
        is_in(certificate_hashes, leaf) || key().unwrap_or(false)
    }
}

/// Whether the authorities between a leaf and its root are for signing certificates, by their usage.
pub fn all_may_sign(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let all = path.intermediate_certificates().all(|one| api::may_sign(&one.der()));
    if all { Ok(()) } else { Err(webpki::Error::EndEntityUsedAsCa) }
}

/// The last moment at which none of these had expired, if that is over.
fn before_expiry(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> UnixTime {
    let ends = std::iter::once(leaf).chain(intermediates).filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        u64::try_from(parsed.validity().not_after.timestamp()).ok()
    });
    let end = ends.min().unwrap_or(u64::MAX);
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().min(end)))
}

impl ServerCertVerifier for PeerJudge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Server, Some(name), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerJudge {
    fn client_auth_mandatory(&self) -> bool {
        self.insists
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Client, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
