//! Tokens that prove an identity, and those that prove none.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::ManualClock;
use serde_json::{Value, json};

use super::*;
use crate::RefusalKind;
use crate::jwt::SigningKey;

const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Keys in hand, and how often they were asked for.
#[derive(Default)]
struct Held {
    jwks: std::sync::Mutex<Option<Value>>,
    asked: AtomicUsize,
}

#[async_trait]
impl KeySource for Held {
    async fn read(&self) -> Result<Vec<u8>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let jwks = self.jwks.lock().unwrap().clone();
        jwks.map(|jwks| jwks.to_string().into_bytes()).ok_or_else(|| "keys.test: refused".to_owned())
    }
}

struct Issuing {
    key: SigningKey,
    time: ManualClock,
    held: Arc<Held>,
    attestor: IssuerToken,
}

fn issuers() -> Issuers {
    let rule = |claims: Value, account: &str| json!({ "namespace": "ci", "serviceAccount": account, "claims": claims });
    serde_json::from_value(json!({ "issuers": [{
        "issuer": ISSUER,
        "audiences": ["weft"],
        "jwksUri": "https://token.actions.githubusercontent.com/.well-known/jwks",
        "identities": [
            rule(json!({ "repository": "acme/shop", "ref": ["refs/heads/main", "refs/tags/v*"] }), "deployer"),
            rule(json!({ "google[compute_engine][project_id]": "acme", "email_verified": "true" }), "machine"),
            rule(json!({ "groups": "*-admins" }), "admin"),
        ],
    }] }))
    .unwrap()
}

fn issuing() -> Issuing {
    let key = SigningKey::generate(0).unwrap();
    let time = ManualClock::at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let held = Arc::new(Held::default());
    *held.jwks.lock().unwrap() = Some(json!({ "keys": [key.public()] }));
    let of_each = |issuer| (issuer, held.clone() as Arc<dyn KeySource>);
    let attestor = IssuerToken::new(issuers().issuers.into_iter().map(of_each).collect(), time.clock());
    Issuing { key, time, held, attestor }
}

fn encoded(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

impl Issuing {
    /// A token with these claims besides those that every good one has; `null` takes one away.
    fn token(&self, more: Value) -> String {
        let now = self.time.clock().unix_seconds();
        let mut claims = json!({ "iss": ISSUER, "aud": "weft", "sub": "repo:acme/shop", "iat": now, "exp": now + 300 });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let signed = encoded(&json!({ "alg": "ES256", "kid": self.key.id() }), &claims);
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn good(&self) -> String {
        self.token(json!({ "repository": "acme/shop", "ref": "refs/heads/main" }))
    }

    async fn attest(&self, token: &str) -> Result<Option<String>, RefusalKind> {
        let evidence = Evidence { bearer: Some(token), peer: None, expired: &[], key_fingerprint: "" };
        match self.attestor.attest(&evidence).await {
            Ok(Some(Attestation::IssuerToken { namespace, service_account, .. })) => {
                Ok(Some(format!("{namespace}/{service_account}")))
            }
            Ok(other) => Ok(other.map(|other| format!("{other:?}"))),
            Err(refusal) => Err(refusal.kind),
        }
    }
}

#[tokio::test]
async fn the_first_rule_that_fits_decides_on_the_identity() {
    let issuing = issuing();
    let cases = [
        (json!({ "repository": "acme/shop", "ref": "refs/heads/main" }), Ok("ci/deployer")),
        (json!({ "repository": "acme/shop", "ref": "refs/tags/v1.2" }), Ok("ci/deployer")),
        (json!({ "repository": "acme/shop", "ref": "refs/heads/mine" }), Err(RefusalKind::Denied)),
        (json!({ "repository": "evil/acme/shop", "ref": "refs/heads/main" }), Err(RefusalKind::Denied)),
        (json!({ "repository": "acme/shop" }), Err(RefusalKind::Denied)),
        (json!({ "google": { "compute_engine": { "project_id": "acme" } }, "email_verified": true }), Ok("ci/machine")),
        (json!({ "google": { "compute_engine": "acme" }, "email_verified": true }), Err(RefusalKind::Denied)),
        (json!({ "groups": ["staff", "mesh-admins"] }), Ok("ci/admin")),
        (json!({ "groups": "mesh-admins-not" }), Err(RefusalKind::Denied)),
        (json!({}), Err(RefusalKind::Denied)),
    ];
    for (claims, expected) in cases {
        let expected = expected.map(|id: &str| Some(id.to_owned()));
        assert_eq!(issuing.attest(&issuing.token(claims.clone())).await, expected, "{claims}");
    }
}

#[tokio::test]
async fn a_token_that_is_over_early_or_for_others_proves_nothing() {
    let issuing = issuing();
    let now = issuing.time.clock().unix_seconds();
    for (change, good) in [
        (json!({}), true),
        (json!({ "exp": now - 59 }), true),
        (json!({ "exp": now - 60 }), false),
        (json!({ "exp": null }), false),
        (json!({ "exp": "never" }), false),
        (json!({ "exp": -1 }), false),
        (json!({ "nbf": now + 60 }), true),
        (json!({ "nbf": now + 61 }), false),
        (json!({ "iat": now + 3600 }), false),
        (json!({ "aud": ["vault", "weft"] }), true),
        (json!({ "aud": "vault" }), false),
        (json!({ "aud": "weft2" }), false),
        (json!({ "aud": null }), false),
    ] {
        let mut claims = json!({ "repository": "acme/shop", "ref": "refs/heads/main" });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let expected = if good { Ok(Some("ci/deployer".to_owned())) } else { Err(RefusalKind::Unauthenticated) };
        assert_eq!(issuing.attest(&issuing.token(claims)).await, expected, "{change}");
    }
}

#[tokio::test]
async fn no_token_is_believed_that_the_issuer_did_not_sign() {
    let (issuing, other) = (issuing(), issuing());
    let good = issuing.good();
    assert!(issuing.attest(&good).await.is_ok());
    // Of another key, under the name of ours.
    let signed = good.rsplit_once('.').unwrap().0;
    let foreign = URL_SAFE_NO_PAD.encode(other.key.sign(signed.as_bytes()).unwrap());
    assert_eq!(issuing.attest(&format!("{signed}.{foreign}")).await, Err(RefusalKind::Unauthenticated));
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
    // No signature, and the public key as a secret (RFC 8725 section 3.1).
    for algorithm in ["none", "HS256", "RS256", "ES384"] {
        let signed = encoded(&json!({ "alg": algorithm, "kid": issuing.key.id() }), &claims);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, issuing.key.public().x.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signed.as_bytes()));
        for signature in ["", &signature] {
            let told = issuing.attest(&format!("{signed}.{signature}")).await;
            assert_eq!(told, Err(RefusalKind::Unauthenticated), "{algorithm}");
        }
    }
    // Every change of a byte.
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(!matches!(issuing.attest(&good[..at]).await, Ok(Some(_))), "cut at {at}");
        let proved = issuing.attest(&changed).await;
        assert!(!matches!(proved, Ok(Some(_))), "byte {at}: {proved:?}");
    }
}

#[tokio::test]
async fn a_token_or_a_set_of_keys_in_which_a_name_stands_twice_proves_nothing() {
    let issuing = issuing();
    let signed = |claims: &str| {
        let header = json!({ "alg": "ES256", "kid": issuing.key.id() }).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(issuing.key.sign(signed.as_bytes()).unwrap()))
    };
    let claims = |more: &str| {
        let end = issuing.time.clock().unix_seconds() + 300;
        format!(r#"{{"iss":"{ISSUER}","aud":"weft","sub":"x","exp":{end},"groups":"mesh-admins"{more}}}"#)
    };
    assert_eq!(issuing.attest(&signed(&claims(""))).await, Ok(Some("ci/admin".to_owned())));
    for more in [r#","groups":"mesh-admins""#, r#","sub":"y""#, r#","a":[{"b":1,"b":1}]"#] {
        assert_eq!(issuing.attest(&signed(&claims(more))).await, Ok(None), "{more}");
    }
    let key = serde_json::to_string(&issuing.key.public()).unwrap();
    assert!(keys::Jwks::parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).is_ok());
    let twice = format!(r#"{{"keys":[],"keys":[{key}]}}"#);
    let told = keys::Jwks::parse(twice.as_bytes()).err().unwrap();
    assert!(told.contains("\"keys\" stands twice in one mapping at line 1"), "{told}");
}

#[tokio::test]
async fn what_is_no_token_of_a_known_issuer_is_left_to_others() {
    let issuing = issuing();
    let foreign = issuing.token(json!({ "iss": "https://elsewhere" }));
    for bearer in ["weft_join_a_b_c", "", "a.b", "a.b.c.d", &foreign, &"a.".repeat(9000)] {
        assert_eq!(issuing.attest(bearer).await, Ok(None), "{bearer:.40}");
    }
    assert_eq!(issuing.held.asked.load(Ordering::Relaxed), 0, "nobody's keys are asked for");
}

#[tokio::test]
async fn new_keys_are_found_and_unknown_ones_do_not_flood_the_issuer() {
    let mut issuing = issuing();
    assert!(issuing.attest(&issuing.good()).await.is_ok());
    issuing.key = SigningKey::generate(0).unwrap();
    *issuing.held.jwks.lock().unwrap() = Some(json!({ "keys": [issuing.key.public()] }));
    for _ in 0..5 {
        assert_eq!(issuing.attest(&issuing.good()).await, Err(RefusalKind::Unauthenticated));
    }
    assert_eq!(issuing.held.asked.load(Ordering::Relaxed), 1);
    issuing.time.advance(Duration::from_secs(10));
    assert!(issuing.attest(&issuing.good()).await.is_ok());
    assert_eq!(issuing.held.asked.load(Ordering::Relaxed), 2);
    // The issuer is away: its keys do for a day, and not for ever.
    *issuing.held.jwks.lock().unwrap() = None;
    issuing.time.advance(Duration::from_secs(3600));
    assert!(issuing.attest(&issuing.good()).await.is_ok());
    issuing.time.advance(Duration::from_secs(24 * 3600));
    assert_eq!(issuing.attest(&issuing.good()).await, Err(RefusalKind::Unavailable));
}

/// Keys that are a failure whenever the test says so.
struct Failing(tokio::sync::Semaphore, AtomicUsize);

#[async_trait]
impl KeySource for Failing {
    async fn read(&self) -> Result<Vec<u8>, String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.acquire().await.unwrap().forget();
        Err("keys.test: no answer".to_owned())
    }
}

#[tokio::test]
async fn an_issuer_that_fails_is_asked_once_in_a_while_and_nobody_waits_for_it_again() {
    use futures_util::FutureExt as _;
    let mut issuing = issuing();
    let failing = Arc::new(Failing(tokio::sync::Semaphore::new(0), AtomicUsize::new(0)));
    let of_each = |issuer| (issuer, failing.clone() as Arc<dyn KeySource>);
    issuing.attestor = IssuerToken::new(issuers().issuers.into_iter().map(of_each).collect(), issuing.time.clock());
    let good = issuing.good();
    // Whoever asked first goes away, and what was begun goes on.
    let mut first = Box::pin(issuing.attest(&good));
    let mut second = Box::pin(issuing.attest(&good));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(first);
    failing.0.add_permits(1);
    assert_eq!(second.await, Err(RefusalKind::Unavailable));
    let at_once = async || issuing.attest(&good).now_or_never();
    assert_eq!(at_once().await, Some(Err(RefusalKind::Unavailable)));
    assert_eq!(failing.1.load(Ordering::Relaxed), 1);
    // One finds out whether it is back.
    issuing.time.advance(Duration::from_secs(10));
    let mut finds_out = Box::pin(issuing.attest(&good));
    assert!(finds_out.as_mut().now_or_never().is_none());
    assert_eq!(at_once().await, Some(Err(RefusalKind::Unavailable)));
    failing.0.add_permits(1);
    assert_eq!(finds_out.await, Err(RefusalKind::Unavailable));
    assert_eq!(failing.1.load(Ordering::Relaxed), 2);
}

#[test]
fn a_file_that_would_let_everybody_in_is_refused_with_its_place() {
    let ours = TrustDomain::new("cluster.local").unwrap();
    assert_eq!(issuers().check(&ours), Ok(()));
    let told = |change: &dyn Fn(&mut IssuerConfig)| {
        let mut file = issuers();
        change(&mut file.issuers[0]);
        file.check(&ours).unwrap_err()
    };
    let claims = |text: &str| serde_json::from_str(text).unwrap();
    type Change<'a> = &'a dyn Fn(&mut IssuerConfig);
    let cases: [(Change<'_>, &str); 10] = [
        (&|issuer| issuer.issuer.clear(), "issuers[0].issuer is empty"),
        (&|issuer| issuer.audiences.clear(), "issuers[0].audiences: name what tokens must be for"),
        (&|issuer| issuer.jwks_uri = None, "issuers[0].jwksUri or jwksFile: give one of them"),
        (&|issuer| issuer.jwks_uri = Some("http://keys.test/".into()), "is no https:// URL"),
        (&|issuer| issuer.jwks_file = Some("keys.json".into()), "give one of them"),
        (&|issuer| issuer.identities.clear(), "issuers[0].identities is empty"),
        (&|issuer| issuer.identities[1].claims.clear(), "issuers[0].identities[1].claims is empty"),
        (&|issuer| issuer.identities[1].claims = claims(r#"{"sub":"*"}"#), "every token would do"),
        (&|issuer| issuer.identities[0].claims = claims(r#"{"sub":"a*b"}"#), "claims[sub]: a `*` is at the beginning"),
        (&|issuer| issuer.identities[2].namespace = "../x".into(), "identities[2].namespace"),
    ];
    for (change, words) in cases {
        let told = told(change);
        assert!(told.contains(words), "{told}");
    }
    let mut twice = issuers();
    twice.issuers.push(twice.issuers[0].clone());
    assert!(twice.check(&ours).unwrap_err().contains("issuers[1].issuer: "));
}
