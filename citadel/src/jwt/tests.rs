//! Tokens and the life of the keys that sign them, under a clock that is set by hand.

use std::collections::BTreeSet;

use api::weft::v1::MintRequest;
use api::weft::v1::jwt_server::Jwt as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;
use tonic::{Code, Request};

use super::*;
use crate::test_kit::{Mesh, issue};
use crate::{Authority as _, CurrentCertificate, Decisions, Issued, PeerCertificates};

const HOUR: Duration = Duration::from_secs(3600);

async fn open(mesh: &Mesh) -> JwtAuthority {
    JwtAuthority::open(&mesh.ca(), &mesh.trust_domain, None, mesh.store.clone(), mesh.time.clock()).await.unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Header and claims of a token that one of the keys signed.
fn verified(token: &str, keys: &JwtKeys) -> Option<(Value, Value)> {
    let parts: Vec<&str> = token.split('.').collect();
    let header: Value = serde_json::from_slice(&bytes(parts[0])).unwrap();
    let jwks = keys.jwks();
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"])?.clone();
    let point: Vec<u8> = [vec![4], bytes(key["x"].as_str()?), bytes(key["y"].as_str()?)].concat();
    let signed = format!("{}.{}", parts[0], parts[1]);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &bytes(parts[2])).ok()?;
    Some((header, serde_json::from_slice(&bytes(parts[1])).unwrap()))
}

#[tokio::test]
async fn a_token_names_its_workload_and_its_audience_for_five_minutes() {
    let mesh = Mesh::new();
    let authority = open(&mesh).await;
    let minted = authority.mint(&mesh.id("reviews"), &["ratings".to_owned()]).unwrap();
    let keys = authority.told().borrow().clone();
    let (header, claims) = verified(&minted.token, &keys).unwrap();
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("ES256"), Some("JWT")));
    assert_eq!(claims["sub"], "spiffe://cluster.local/ns/default/sa/reviews");
    assert_eq!(claims["aud"], json!(["ratings"]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(claims["exp"], minted.expires);
    assert!(!keys.jwks().to_string().contains("\"d\""));
    assert!(!format!("{minted:?}").contains(&minted.token));
}

#[tokio::test]
async fn a_token_without_an_audience_or_of_another_trust_domain_is_refused() {
    let mesh = Mesh::new();
    let authority = open(&mesh).await;
    let mint = |audience: &[String]| authority.mint(&mesh.id("reviews"), audience);
    assert!(matches!(mint(&[]), Err(JwtError::NoAudience)));
    assert!(matches!(mint(&[String::new()]), Err(JwtError::Audience)));
    assert!(matches!(mint(&["a".repeat(513)]), Err(JwtError::Audience)));
    assert!(matches!(mint(&vec!["a".to_owned(); 17]), Err(JwtError::Audience)));
    let foreign = "spiffe://other.mesh/ns/default/sa/reviews".parse().unwrap();
    assert!(matches!(authority.mint(&foreign, &["a".to_owned()]), Err(JwtError::ForeignTrustDomain { .. })));
}

#[tokio::test]
async fn keys_survive_a_restart_and_nobody_else_can_read_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let mesh = Mesh::new();
    let minted = open(&mesh).await.mint(&mesh.id("reviews"), &["a".to_owned()]).unwrap();
    let again = open(&mesh).await;
    assert!(verified(&minted.token, &again.told().borrow()).is_some());
    assert_eq!(again.told().borrow().jwks()["keys"].as_array().unwrap().len(), 1);
    let mode = std::fs::metadata(mesh.ca().join("jwt-keys.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for bad in ["garbage", "created 1\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(mesh.ca().join("jwt-keys.pem"), bad).unwrap();
        let ca = mesh.ca();
        let open = JwtAuthority::open(&ca, &mesh.trust_domain, None, mesh.store.clone(), mesh.time.clock());
        assert!(matches!(open.await.err(), Some(JwtError::Open(OpenError::Content { .. }))));
    }
}

#[tokio::test]
async fn each_key_is_told_of_before_it_signs_and_for_as_long_as_its_tokens_hold() {
    let mesh = Mesh::new();
    let authority = open(&mesh).await;
    let (mut signed_by, mut known) = (BTreeSet::new(), BTreeSet::new());
    let mut held: Vec<MintedJwt> = Vec::new();
    for _ in 0..24 * 5 {
        let minted = authority.mint(&mesh.id("reviews"), &["a".to_owned()]).unwrap();
        let kid = verified(&minted.token, &authority.told().borrow()).unwrap().0["kid"].as_str().unwrap().to_owned();
        assert!(signed_by.contains(&kid) || known.is_empty() || known.contains(&kid), "it was not told of before");
        signed_by.insert(kid);
        held.push(minted);
        let keys = authority.told().borrow().clone();
        known = keys.iter().map(|key| key.kid.clone()).collect();
        let now = mesh.time.clock().unix_seconds();
        held.retain(|minted| minted.expires > now);
        assert!(held.iter().all(|minted| verified(&minted.token, &keys).is_some()));
        assert!(known.len() <= 3, "{known:?}");
        mesh.time.advance(HOUR);
        authority.renew().await.unwrap();
    }
    assert!(signed_by.len() >= 4, "{signed_by:?}");
}

#[tokio::test]
async fn control_planes_tell_of_the_keys_of_each_other() {
    let (one, mut other) = (Mesh::new(), Mesh::new());
    other.store = one.store.clone();
    let (first, second) = (open(&one).await, open(&other).await);
    let minted = first.mint(&one.id("reviews"), &["a".to_owned()]).unwrap();
    assert!(verified(&minted.token, &second.told().borrow()).is_some());
    first.renew().await.unwrap();
    let minted = second.mint(&one.id("reviews"), &["a".to_owned()]).unwrap();
    assert!(verified(&minted.token, &first.told().borrow()).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_too_many_tokens_is_told_when_to_come_again_and_others_are_served() {
    let mesh = Mesh::new();
    let ca = mesh.authority();
    let attestor = CurrentCertificate::new(ca.trust_bundle(), mesh.time.clock());
    let own = mesh.trust_domain.workload("istio-system", "control-plane").unwrap();
    let denied = watch::channel(Arc::default()).1;
    let authority = Arc::new(open(&mesh).await);
    let service = JwtService::new(authority, attestor, mesh.members(), denied, own, Decisions::default());
    let mint = |of: &Issued| {
        let mut request = Request::new(MintRequest { audience: vec!["ratings".to_owned()] });
        request.extensions_mut().insert(PeerCertificates { chain: of.chain.clone().into(), address: None });
        service.mint(request)
    };
    let (flood, other) = (issue(&ca, &mesh.id("flood"), None).await, issue(&ca, &mesh.id("other"), None).await);
    for _ in 0..100 {
        mint(&flood).await.unwrap();
    }
    let refused = mint(&flood).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "50");
    // A new certificate is the same client's.
    let renewed = issue(&ca, &mesh.id("flood"), None).await;
    assert_eq!(mint(&renewed).await.unwrap_err().code(), Code::ResourceExhausted);
    mint(&other).await.unwrap();
    tokio::time::advance(Duration::from_millis(50)).await;
    mint(&flood).await.unwrap();
}
