//! TLS of the control plane's own port: it serves its own SVID, and asks clients for theirs without insisting.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{DenyList, SpiffeId};
use rcgen::KeyPair;
use runtime::Clock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio::sync::watch;

use crate::{Authority, IssueError, IssueRequest, Issued, SubjectKey, TrustBundle};

/// In the ledger: who asked for the control plane's own certificates.
pub const ITSELF: &str = "the control plane itself";
/// How long after a failed renewal the next is tried, at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The TLS configuration in force. It is replaced when the SVID is renewed and when the trust bundle changes, so new
/// connections see the new one and open connections go on; renewal ends when the last clone is dropped.
#[derive(Clone)]
pub struct ServerTls {
    configs: watch::Receiver<Arc<ServerConfig>>,
    denied: watch::Receiver<Arc<DenyList>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("the control plane gets no certificate of its own: {0}")]
    Issue(#[from] IssueError),
    #[error("the control plane's key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the control plane's TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the control plane's client verification cannot be set up: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl ServerTls {
    /// What the next handshake should use.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.configs.borrow().clone()
    }

    /// Cuts the connections of whoever is put on the list. New ones of theirs are taken, so that they are told why.
    pub fn cutting(self, denied: watch::Receiver<Arc<DenyList>>) -> Self {
        Self { denied, ..self }
    }

    pub(crate) fn denied(&self) -> watch::Receiver<Arc<DenyList>> {
        self.denied.clone()
    }
}

/// Obtains the control plane's SVID and keeps it fresh in the background.
pub async fn server_tls(
    authority: Arc<dyn Authority>,
    id: SpiffeId,
    clock: Clock,
) -> Result<ServerTls, ServerTlsError> {
    let mut renewal = Renewal { bundle: authority.trust_bundle(), authority, id, clock };
    let (config, pause) = renewal.renew().await?;
    let (sender, receiver) = watch::channel(config);
    tokio::spawn(async move { renewal.run(sender, pause).await });
    Ok(ServerTls { configs: receiver, denied: watch::channel(Arc::default()).1 })
}

struct Renewal {
    authority: Arc<dyn Authority>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    id: SpiffeId,
    clock: Clock,
}

impl Renewal {
    async fn run(mut self, configs: watch::Sender<Arc<ServerConfig>>, mut pause: Duration) {
        let mut life = pause;
        loop {
            tokio::select! {
                () = configs.closed() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.bundle.changed() => {}
            }
            match self.renew().await {
                Ok((config, half_life)) => {
                    configs.send_replace(config);
                    (pause, life) = (half_life, half_life);
                }
                Err(error) => {
                    pause = (life / 10).min(MAX_PAUSE);
                    tracing::warn!(%error, retry_s = pause.as_secs_f32(), "the control plane's certificate is not renewed");
                }
            }
        }
    }

    /// A configuration with a fresh SVID, and when to replace it.
    async fn renew(&mut self) -> Result<(Arc<ServerConfig>, Duration), ServerTlsError> {
        let key = KeyPair::generate()?;
        let attested_by = ITSELF.to_owned();
        let request = IssueRequest {
            id: self.id.clone(),
            key: SubjectKey::of(&key),
            ttl: None,
            member: None,
            attested_by,
            renews: None,
            from: None,
        };
        // Roots that change while this is signed may be no longer those above it: it is replaced again.
        self.bundle.mark_unchanged();
        let issued = self.authority.issue(request).await?;
        let bundle = self.bundle.borrow().clone();
        let half_life = issued.not_after.duration_since(self.clock.now()).unwrap_or_default() / 2;
        Ok((Arc::new(config(issued, &key, &bundle, &self.clock)?), half_life))
    }
}

fn config(issued: Issued, key: &KeyPair, bundle: &TrustBundle, clock: &Clock) -> Result<ServerConfig, ServerTlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundle.roots.iter().cloned());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(TlsTime(clock.clone())))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Clients(clients)))
        .with_single_cert(issued.chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session is not verified anew, so it would outlive a certificate or a root.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// What rustls holds clients to, and that their authorities are for signing certificates.
#[derive(Debug)]
struct Clients(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !intermediates.iter().all(|one| api::may_sign(one)) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        self.0.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Our clock as rustls asks for it.
struct TlsTime(Clock);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

impl fmt::Debug for TlsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa};
    use rcgen::{KeyUsagePurpose, SanType};

    use super::*;
    use crate::SelfSigned;
    use crate::test_kit::Mesh;

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn authority(above: Option<&Ca>, usages: &[KeyUsagePurpose]) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{usages:?}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        match above {
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
            Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
        }
    }

    #[test]
    fn a_client_is_believed_only_by_authorities_that_are_for_certificates() {
        let root = authority(None, &[KeyUsagePurpose::KeyCertSign]);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let judged = |between: &Ca| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI("spiffe://a/b".try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), between).unwrap();
            let chain = [between.der().clone()];
            Clients(Arc::clone(&clients)).verify_client_cert(leaf.der(), &chain, UnixTime::now())
        };
        assert!(judged(&authority(Some(&root), &[KeyUsagePurpose::KeyCertSign])).is_ok());
        assert!(judged(&authority(Some(&root), &[])).is_ok());
        let refused = judged(&authority(Some(&root), &[KeyUsagePurpose::CrlSign])).unwrap_err();
        assert_eq!(refused, CertificateError::InvalidPurpose.into());
    }

    #[tokio::test(start_paused = true)]
    async fn the_serving_certificate_is_replaced_at_half_its_life_again_and_again() {
        let mesh = Mesh::new();
        let clock = Clock::with_tokio(SystemTime::now());
        let authority = SelfSigned::open(&mesh.ca(), &mesh.trust_domain, mesh.store.clone(), clock.clone()).unwrap();
        let authority = Arc::new(authority.with_ttl(Duration::from_secs(20)));
        let mut tls = server_tls(authority, mesh.id("control-plane"), clock.clone()).await.unwrap();
        for _ in 0..3 {
            let (before, start) = (tls.current(), clock.now());
            tls.configs.changed().await.unwrap();
            let waited = clock.now().duration_since(start).unwrap();
            assert!(waited >= Duration::from_secs(9) && waited <= Duration::from_secs(11), "{waited:?}");
            assert!(!Arc::ptr_eq(&before, &tls.current()));
        }
    }
}
