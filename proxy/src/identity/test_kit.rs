//! A scripted mesh for the tests: certificates of any shape, and a signer whose answers are written down beforehand.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use futures_util::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::control_plane::{Credential, Signer};
use super::{IdentityError, Svid};

pub const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";
pub const RATINGS: &str = "spiffe://cluster.local/ns/default/sa/ratings";

pub fn trust_domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

/// A root that signs leaves itself.
pub struct Ca(CertifiedIssuer<'static, KeyPair>, Vec<CertificateDer<'static>>);

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(), Vec::new())
    }

    /// An authority below this one, which sends its own certificate along.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap();
        let own = issuer.der().clone();
        Self(issuer, [vec![own], self.1.clone()].concat())
    }

    /// An authority below this one that may (`permits`) or may not sign URIs of one host.
    pub fn constrained(&self, permits: bool, host: &str) -> Self {
        // NameConstraints { permittedSubtrees [0] { GeneralSubtree { uniformResourceIdentifier [6] } } }
        let tagged = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let subtrees = if permits { 0xa0 } else { 0xa1 };
        let constraints = tagged(0x30, &tagged(subtrees, &tagged(0x30, &tagged(0x86, host.as_bytes()))));
        let mut extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
        extension.set_criticality(true);
        self.below(&format!("for {host}"), |params| params.custom_extensions = vec![extension])
    }

    pub fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// An identity whose certificate has this shape, good or bad.
    pub fn svid(&self, params: &CertificateParams) -> Result<Svid, IdentityError> {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap().der().clone();
        Svid::new(vec![leaf], &Zeroizing::new(key.serialize_der()), vec![self.root()])
    }

    /// The same, for presenting in handshakes what `Svid` would refuse to hold.
    pub fn certified(&self, params: &CertificateParams) -> Arc<rustls::sign::CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let chain = std::iter::once(leaf).chain(self.1.iter().cloned()).collect();
        Arc::new(rustls::sign::CertifiedKey::new(chain, key))
    }

    fn sign(&self, csr: &str, id: &str, now: SystemTime, life: Duration) -> Vec<CertificateDer<'static>> {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        request.params = shape(id, now, life);
        vec![request.signed_by(&self.0).unwrap().der().clone(), self.root()]
    }
}

/// A good SVID's contents.
pub fn shape(id: &str, from: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = from.into();
    params.not_after = (from + life).into();
    params
}

/// Signs for reviews, or fails while it is away; remembers what was asked.
#[derive(Clone)]
pub struct ScriptedSigner {
    pub ca: Arc<Ca>,
    pub life: Duration,
    pub clock: Clock,
    pub script: Arc<Mutex<Script>>,
}

#[derive(Default)]
pub struct Script {
    pub away: bool,
    pub loses_answers: bool,
    /// When each request came.
    pub asked: Vec<SystemTime>,
    /// The public key of each request.
    pub keys: Vec<Vec<u8>>,
    pub credentials: Vec<Credential>,
}

impl ScriptedSigner {
    pub fn new(life: Duration, clock: Clock) -> Self {
        Self { ca: Arc::new(Ca::new("root")), life, clock, script: Arc::default() }
    }

    pub fn set_away(&self, away: bool) {
        self.script.lock().unwrap().away = away;
    }

    pub fn asked(&self) -> Vec<SystemTime> {
        self.script.lock().unwrap().asked.clone()
    }
}

impl Signer for ScriptedSigner {
    fn sign(
        &self,
        csr: String,
        credential: Credential,
    ) -> BoxFuture<'_, Result<Vec<CertificateDer<'static>>, IdentityError>> {
        use rcgen::PublicKeyData as _;
        let mut script = self.script.lock().unwrap();
        let request = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        script.asked.push(self.clock.now());
        script.keys.push(request.public_key.der_bytes().to_vec());
        script.credentials.push(credential);
        let answer = if script.away || script.loses_answers {
            Err(IdentityError::Unreachable { address: "scripted".to_owned(), cause: "away".to_owned() })
        } else {
            Ok(self.ca.sign(&csr, REVIEWS, self.clock.now(), self.life))
        };
        Box::pin(std::future::ready(answer))
    }
}
