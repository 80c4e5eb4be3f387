//! Who is granted which identity, and what hostile requests get instead.

use api::X509Svid;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::Code;

use super::*;
use crate::test_kit::{Mesh, csr, issue, renew};
use crate::{
    CurrentCertificate, Denials, DeniedKind, Ended, ExpiredCertificate, IssuerConfig, IssuerToken, JoinToken,
    KeySource, NewDenial, Outcome,
};

const GRACE: Duration = Duration::from_secs(72 * 3600);

fn signing(mesh: &Mesh) -> Signing {
    let authority = Arc::new(mesh.authority());
    let attestors: Vec<Box<dyn Attestor>> = vec![
        Box::new(JoinToken::new(mesh.tokens())),
        Box::new(CurrentCertificate::new(authority.trust_bundle(), mesh.time.clock())),
        Box::new(ExpiredCertificate::new(authority.trust_bundle(), mesh.time.clock(), GRACE)),
    ];
    let control_plane = mesh.trust_domain.workload("istio-system", "control-plane").unwrap();
    Signing::new(authority, attestors, mesh.members(), control_plane)
}

fn request(csr: &str) -> Request<IstioCertificateRequest> {
    Request::new(IstioCertificateRequest { csr: csr.to_owned(), ..Default::default() })
}

fn with_token(csr: &str, token: &str) -> Request<IstioCertificateRequest> {
    let mut request = request(csr);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn with_certificate(csr: &str, chain: &[CertificateDer<'static>]) -> Request<IstioCertificateRequest> {
    let mut request = request(csr);
    request.extensions_mut().insert(PeerCertificates { chain: chain.into(), address: None });
    request
}

async fn granted(signing: &Signing, request: Request<IstioCertificateRequest>) -> Result<String, Code> {
    let chain = chain(signing, request).await?;
    Ok(X509Svid::parse(&chain[0]).unwrap().id.to_string())
}

async fn chain(
    signing: &Signing,
    request: Request<IstioCertificateRequest>,
) -> Result<Vec<CertificateDer<'static>>, Code> {
    let answer = signing.create_certificate(request).await.map_err(|status| status.code())?.into_inner();
    assert_eq!(answer.cert_chain.len(), 3, "leaf, intermediate, root");
    Ok(answer.cert_chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect())
}

/// The certificates in the request itself, as one sends them that expired.
fn with_expired(csr: &str, chain: &[CertificateDer<'static>]) -> Request<IstioCertificateRequest> {
    let mut request = request(csr);
    for certificate in chain {
        let value = tonic::metadata::MetadataValue::from_bytes(certificate);
        request.metadata_mut().append_bin(EXPIRED, value);
    }
    request
}

#[tokio::test]
async fn an_expired_certificate_gets_the_next_for_the_same_key_within_the_grace() {
    let mesh = Mesh::new();
    let (signing, key) = (signing(&mesh), KeyPair::generate().unwrap());
    let own = csr(&key, &[]);
    let joined = chain(&signing, with_token(&own, &mesh.token("reviews").await)).await.unwrap();
    mesh.time.advance(Duration::from_secs(48 * 3600));
    let answer = granted(&signing, with_expired(&own, &joined)).await;
    assert_eq!(answer.as_deref(), Ok("spiffe://cluster.local/ns/default/sa/reviews"));
    let another = csr(&KeyPair::generate().unwrap(), &[]);
    assert_eq!(granted(&signing, with_expired(&another, &joined)).await, Err(Code::PermissionDenied));
    let ledger = mesh.authority().ledger().entries().await.unwrap();
    assert!(ledger.iter().any(|entry| entry.attested_by.contains("expired for 169")), "{ledger:?}");
    mesh.time.advance(GRACE);
    assert_eq!(granted(&signing, with_expired(&own, &joined)).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn an_expired_certificate_of_another_authority_gets_nothing() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let foreign = chain(&self::signing(&other), with_token(&own, &other.token("reviews").await)).await.unwrap();
    mesh.time.advance(Duration::from_secs(2 * 3600));
    assert_eq!(granted(&signing(&mesh), with_expired(&own, &foreign)).await, Err(Code::Unauthenticated));
}

#[tokio::test]
async fn who_left_gets_no_certificate_by_the_current_or_an_expired_one() {
    let mesh = Mesh::new();
    let signing = signing(&mesh);
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let joined = chain(&signing, with_token(&own, &mesh.token("reviews").await)).await.unwrap();
    let renewed = chain(&signing, with_certificate(&own, &joined)).await.unwrap();
    let member = X509Svid::parse(&renewed[0]).unwrap().common_name.unwrap();
    assert_eq!(X509Svid::parse(&joined[0]).unwrap().common_name.as_ref(), Some(&member), "members stay who they are");
    mesh.members().end(&member, Ended::Left).await.unwrap();
    assert_eq!(granted(&signing, with_certificate(&own, &renewed)).await, Err(Code::PermissionDenied));
    mesh.time.advance(Duration::from_secs(2 * 3600));
    assert_eq!(granted(&signing, with_expired(&own, &renewed)).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn who_is_denied_is_not_renewed_whatever_he_shows() {
    let mesh = Mesh::new();
    let denials =
        Denials::open(mesh.store.clone(), mesh.time.clock(), mesh.id("control-plane"), &[], GRACE).await.unwrap();
    let signing = signing(&mesh).refusing(denials.watch());
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let first = chain(&signing, with_token(&own, &mesh.token("reviews").await)).await.unwrap();
    let second = chain(&signing, with_certificate(&own, &first)).await.unwrap();
    let (old, new) = (X509Svid::parse(&first[0]).unwrap(), X509Svid::parse(&second[0]).unwrap());

    let deny = async |kind, value: &str| {
        let (value, reason) = (value.to_owned(), "key leaked".to_owned());
        let order = NewDenial { kind, value, reason, lasts: None };
        denials.deny(order).await.unwrap().id
    };
    // By its serial number one certificate is worth nothing, also once it expired; the next one is.
    deny(DeniedKind::Serial, &old.serial).await;
    assert_eq!(granted(&signing, with_certificate(&own, &first)).await, Err(Code::PermissionDenied));
    assert!(granted(&signing, with_certificate(&own, &second)).await.is_ok());
    let identity = deny(DeniedKind::Identity, &old.id.to_string()).await;
    let refused = signing.create_certificate(with_certificate(&own, &second)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("key leaked")), (Code::PermissionDenied, true));
    assert_eq!(granted(&signing, with_token(&own, &mesh.token("reviews").await)).await, Err(Code::PermissionDenied));
    denials.allow(&identity).await.unwrap();
    assert!(granted(&signing, with_certificate(&own, &second)).await.is_ok());
    deny(DeniedKind::Agent, &new.common_name.unwrap()).await;
    assert_eq!(granted(&signing, with_certificate(&own, &second)).await, Err(Code::PermissionDenied));
    mesh.time.advance(Duration::from_secs(2 * 3600));
    for expired in [&first, &second] {
        assert_eq!(granted(&signing, with_expired(&own, expired)).await, Err(Code::PermissionDenied));
    }
}

#[tokio::test]
async fn who_is_no_member_is_not_renewed_once_one_of_its_certificates_is_denied() {
    let mesh = Mesh::new();
    let denials =
        Denials::open(mesh.store.clone(), mesh.time.clock(), mesh.id("control-plane"), &[], GRACE).await.unwrap();
    let signing = signing(&mesh).refusing(denials.watch());
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let [first, other] = [
        issue(&mesh.authority(), &mesh.id("reviews"), None).await,
        issue(&mesh.authority(), &mesh.id("reviews"), None).await,
    ];
    let second = chain(&signing, with_certificate(&own, &first.chain)).await.unwrap();
    let order = NewDenial {
        kind: DeniedKind::Serial,
        value: first.serial.clone(),
        reason: "key leaked".to_owned(),
        lasts: None,
    };
    denials.deny(order).await.unwrap();
    // Issued at that very moment, so that the list does not have it.
    let third = renew(&mesh.authority(), &first).await;
    for denied in [&first.chain, &second, &third.chain] {
        let refused = signing.create_certificate(with_certificate(&own, denied)).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().contains("key leaked")), (Code::PermissionDenied, true));
    }
    assert!(granted(&signing, with_certificate(&own, &other.chain)).await.is_ok(), "another one of its identity");
}

#[tokio::test]
async fn each_certificate_and_each_refusal_is_told() {
    let mesh = Mesh::new();
    let (decisions, mut decided) = Decisions::channel();
    let authority = Arc::new(mesh.authority().telling(decisions.clone()));
    let attestors: Vec<Box<dyn Attestor>> = vec![Box::new(JoinToken::new(mesh.tokens()))];
    let reserved = mesh.trust_domain.workload("istio-system", "control-plane").unwrap();
    let signing = Signing::new(authority, attestors, mesh.members(), reserved).telling(decisions);
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let joined = chain(&signing, with_token(&own, &mesh.token("reviews").await)).await.unwrap();
    let member = X509Svid::parse(&joined[0]).unwrap().common_name.unwrap();
    mesh.members().end(&member, Ended::Evicted).await.unwrap();
    let mut bad = with_token(&own, "weft_join_abcdefghijkl_secretsecretsecretsecret_00");
    let address = "192.0.2.7:5".parse().ok();
    bad.extensions_mut().insert(PeerCertificates { chain: Arc::new([]), address });
    assert!(granted(&signing, bad).await.is_err());

    let mut told = Vec::new();
    decided.rest(&mut told).await;
    assert_eq!(told.len(), 2);
    // Whoever writes it down is gone: what nobody would learn of is not handed out.
    assert_eq!(granted(&signing, with_token(&own, &mesh.token("ratings").await)).await, Err(Code::Unavailable));
    assert_eq!((&told[0].identity, &told[0].member), (&mesh.id("reviews").to_string(), &Some(member)));
    assert!(told[0].attested_by.starts_with("join token "), "{told:?}");
    assert!(matches!(&told[0].outcome, Outcome::Issued { what, .. } if what.len() == 32), "{told:?}");
    assert_eq!((told[1].identity.as_str(), told[1].from), ("", "192.0.2.7".parse().ok()));
    assert!(matches!(&told[1].outcome, Outcome::Refused { code: Code::Unauthenticated, .. }), "{told:?}");
    assert!(!format!("{told:?}").contains("secretsecret"), "a token is told: {told:?}");
}

#[tokio::test]
async fn the_names_in_a_request_do_not_matter() {
    let mesh = Mesh::new();
    let key = KeyPair::generate().unwrap();
    let greedy = csr(&key, &["spiffe://cluster.local/ns/istio-system/sa/control-plane", "spiffe://other/ns/a/sa/b"]);
    let answer = granted(&signing(&mesh), with_token(&greedy, &mesh.token("reviews").await)).await;
    assert_eq!(answer.as_deref(), Ok("spiffe://cluster.local/ns/default/sa/reviews"));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key_only() {
    let mesh = Mesh::new();
    let (signing, token) = (signing(&mesh), mesh.token("reviews").await);
    let (own, foreign) = (csr(&KeyPair::generate().unwrap(), &[]), csr(&KeyPair::generate().unwrap(), &[]));
    assert!(granted(&signing, with_token(&own, &token)).await.is_ok());
    assert!(granted(&signing, with_token(&own, &token)).await.is_ok());
    assert_eq!(granted(&signing, with_token(&foreign, &token)).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn a_current_certificate_gets_the_next_until_it_expires() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let current = issue(&authority, &mesh.id("reviews"), None).await.chain;
    let (signing, csr) = (signing(&mesh), csr(&KeyPair::generate().unwrap(), &[]));
    let answer = granted(&signing, with_certificate(&csr, &current)).await;
    assert_eq!(answer.as_deref(), Ok("spiffe://cluster.local/ns/default/sa/reviews"));
    mesh.time.advance(Duration::from_secs(3700));
    assert_eq!(granted(&signing, with_certificate(&csr, &current)).await, Err(Code::Unauthenticated));
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_nothing() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let foreign = issue(&other.authority(), &other.id("reviews"), None).await.chain;
    let csr = csr(&KeyPair::generate().unwrap(), &[]);
    assert_eq!(granted(&signing(&mesh), with_certificate(&csr, &foreign)).await, Err(Code::Unauthenticated));
}

#[tokio::test]
async fn nobody_becomes_the_control_plane() {
    let mesh = Mesh::new();
    let id = mesh.trust_domain.workload("istio-system", "control-plane").unwrap();
    let chain = issue(&mesh.authority(), &id, None).await.chain;
    let csr = csr(&KeyPair::generate().unwrap(), &[]);
    assert_eq!(granted(&signing(&mesh), with_certificate(&csr, &chain)).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn without_evidence_there_is_no_certificate() {
    let mesh = Mesh::new();
    let (signing, csr) = (signing(&mesh), csr(&KeyPair::generate().unwrap(), &[]));
    assert_eq!(granted(&signing, request(&csr)).await, Err(Code::Unauthenticated));
    assert_eq!(granted(&signing, with_certificate(&csr, &[])).await, Err(Code::Unauthenticated));
    assert_eq!(granted(&signing, with_token(&csr, "weft_pat_a_b")).await, Err(Code::Unauthenticated));
}

#[tokio::test]
async fn a_request_that_cannot_be_signed_does_not_use_up_the_token() {
    let mesh = Mesh::new();
    let (signing, token) = (signing(&mesh), mesh.token("reviews").await);
    let good = csr(&KeyPair::generate().unwrap(), &[]);
    let ed25519 = csr(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), &[]);
    for bad in ["", "nonsense", &forged(&good), &ed25519, &"A".repeat(17_000)] {
        assert_eq!(granted(&signing, with_token(bad, &token)).await, Err(Code::InvalidArgument), "{bad:.60}");
    }
    let mut negative = with_token(&good, &token);
    negative.get_mut().validity_duration = -1;
    assert_eq!(granted(&signing, negative).await, Err(Code::InvalidArgument));
    assert!(granted(&signing, with_token(&good, &token)).await.is_ok());
}

/// The request with its last byte, in the signature, changed.
fn forged(csr: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let body: String = csr.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = STANDARD.decode(body).unwrap();
    *der.last_mut().unwrap() ^= 1;
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn other_strong_keys_are_certified_too() {
    let mesh = Mesh::new();
    let signing = signing(&mesh);
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_RSA_SHA256] {
        let csr = csr(&KeyPair::generate_for(algorithm).unwrap(), &[]);
        let token = mesh.token("reviews").await;
        assert!(granted(&signing, with_token(&csr, &token)).await.is_ok(), "{algorithm:?}");
    }
}

const ISSUER: &str = "https://issuer.test";

/// An issuer's keys that never come.
#[derive(Default)]
struct Hanging(tokio::sync::Notify);

#[tonic::async_trait]
impl KeySource for Hanging {
    async fn read(&self) -> Result<Vec<u8>, String> {
        self.0.notify_one();
        std::future::pending().await
    }
}

fn issuer() -> IssuerConfig {
    serde_json::from_value(serde_json::json!({
        "issuer": ISSUER, "audiences": ["weft"], "jwksUri": "https://keys.test/",
        "identities": [{ "namespace": "ci", "serviceAccount": "deployer", "claims": { "sub": "deployer" } }],
    }))
    .unwrap()
}

/// What anybody can write who knows the issuer's name.
fn unsigned() -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"iss":"{ISSUER}"}}"#);
    format!("{}.{}.AA", part(r#"{"alg":"ES256","kid":"any"}"#), part(&claims))
}

/// Time goes on as soon as nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_issuer_that_does_not_answer_holds_up_no_join_and_no_renewal() {
    use futures_util::FutureExt as _;
    let (mesh, keys) = (Mesh::new(), Arc::new(Hanging::default()));
    let mut signing = signing(&mesh);
    let issuers = vec![(issuer(), Arc::clone(&keys) as Arc<dyn KeySource>)];
    signing.attestors.insert(0, Box::new(IssuerToken::new(issuers, mesh.time.clock())));
    let own = csr(&KeyPair::generate().unwrap(), &[]);
    let mut flood = Vec::new();
    for number in 0..400_u32 {
        let mut asked = with_token(&own, &unsigned());
        let address = format!("192.0.2.{}:5", number % 4).parse().ok();
        asked.extensions_mut().insert(PeerCertificates { chain: Arc::new([]), address });
        let mut signed = Box::pin(signing.create_certificate(asked));
        assert!(signed.as_mut().now_or_never().is_none(), "{number} waits for the issuer");
        flood.push(signed);
    }
    keys.0.notified().await;
    let served = async {
        let joined = chain(&signing, with_token(&own, &mesh.token("reviews").await)).await.unwrap();
        chain(&signing, with_certificate(&own, &joined)).await.unwrap();
        // One of those addresses is an honest client's too.
        let mut joining = with_token(&own, &mesh.token("ratings").await);
        let address = "192.0.2.1:6".parse().ok();
        joining.extensions_mut().insert(PeerCertificates { chain: Arc::new([]), address });
        chain(&signing, joining).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(3600), served).await.unwrap();
    assert!(flood.iter_mut().all(|signed| signed.as_mut().now_or_never().is_none()));
}
