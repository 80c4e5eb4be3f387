//! Tokens good and bad, against keys that fit and keys that do not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::test_kit::{SECRET, encode, key_of, raw_token, rsa_key, secret_key, set, token};
use super::*;

const ALGORITHMS: [&str; 13] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA",
];

fn keys(set: &Value) -> Jwks {
    Jwks::parse(set.to_string().as_bytes()).expect("a key set")
}

fn parse(payload: &str) -> Result<Token, Status> {
    Token::parse(&raw_token(r#"{"alg":"HS256"}"#, payload, "HS256"))
}

fn with(mut key: Value, name: &str, value: impl Into<Value>) -> Value {
    key[name] = value.into();
    key
}

#[test]
fn every_algorithm_verifies_with_its_key_and_with_no_other_algorithm() {
    for algorithm in ALGORITHMS {
        let jwks = keys(&set(key_of(algorithm)));
        let good = Token::parse(&token(algorithm, &json!({"sub": "me"}))).unwrap();
        assert_eq!(jwks.verify(&good), Ok(()), "{algorithm}");
        for other in ALGORITHMS.iter().filter(|other| **other != algorithm) {
            let mut claims_other = good.clone();
            claims_other.algorithm = Algorithm::parse(other).unwrap();
            assert!(jwks.verify(&claims_other).is_err(), "{algorithm} taken as {other}");
        }
    }
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    for algorithm in ["RS256", "ES256", "HS256", "EdDSA"] {
        let jwks = keys(&set(key_of(algorithm)));
        let good = Token::parse(&token(algorithm, &json!({"sub": "me"}))).unwrap();
        let mut changed = good.clone();
        changed.signed = changed.signed.replace('.', ".A");
        assert_eq!(jwks.verify(&changed), Err(Status::VerificationFailed));
        let mut cut = good.clone();
        cut.signature.pop();
        assert!(jwks.verify(&cut).is_err());
        let mut empty = good;
        empty.signature.clear();
        assert!(jwks.verify(&empty).is_err());
    }
}

#[test]
fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let jwks = keys(&set(with(rsa_key(), "alg", "RS256")));
    let key = rsa_key();
    for secret in [key["n"].as_str().unwrap(), &key.to_string()] {
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode("{}"));
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let forged = format!("{signed}.{}", encode(aws_lc_rs::hmac::sign(&hmac, signed.as_bytes())));
        let token = Token::parse(&forged).unwrap();
        assert_eq!(jwks.verify(&token), Err(Status::NoMatchingKey));
        assert_eq!(keys(&set(key.clone())).verify(&token), Err(Status::VerificationFailed), "of a key without alg");
    }
}

#[test]
fn no_signature_is_no_algorithm() {
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":""}"#, r#"{"alg":"HS1"}"#] {
        let text = format!("{}.{}.{}", encode(header), encode("{}"), encode("x"));
        assert_eq!(Token::parse(&text), Err(Status::UnknownAlgorithm), "{header}");
    }
    for header in ["{}", r#"{"alg":1}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#] {
        let text = format!("{}.{}.{}", encode(header), encode("{}"), encode("x"));
        assert_eq!(Token::parse(&text), Err(Status::NoAlgorithm), "{header}");
    }
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode("{}"));
    assert_eq!(Token::parse(&unsigned), Err(Status::BadFormat));
}

#[test]
fn a_key_is_chosen_by_its_id_and_the_id_is_only_a_name() {
    let jwks =
        keys(&json!({"keys": [with(secret_key(), "kid", "one"), {"kty": "oct", "kid": "two", "k": encode("x")}]}));
    let of = |kid: &str| Token::parse(&raw_token(&format!(r#"{{"alg":"HS256","kid":{kid}}}"#), "{}", "HS256"));
    assert_eq!(jwks.verify(&of(r#""one""#).unwrap()), Ok(()));
    assert_eq!(jwks.verify(&of(r#""two""#).unwrap()), Err(Status::VerificationFailed));
    for id in [r#""three""#, r#""../../one""#, r#""one' OR '1'='1""#] {
        assert_eq!(jwks.verify(&of(id).unwrap()), Err(Status::NoMatchingKey), "{id}");
    }
    assert_eq!(jwks.verify(&of(r#""""#).unwrap()), Ok(()), "any key will do");
    assert_eq!(of("1"), Err(Status::KeyIdNotText));
}

#[test]
fn what_is_no_token_is_told_apart() {
    for text in ["", ".", "..", "a.b", "a.b.c.d", "abc", "a..b.c", ".a.b.c", "a.b.c.", "a.b.", ".b.c", "a..c"] {
        assert_eq!(Token::parse(text), Err(Status::BadFormat), "{text}");
    }
    let header = encode(r#"{"alg":"HS256"}"#);
    assert_eq!(Token::parse("!.e30.eA"), Err(Status::HeaderBase64));
    assert_eq!(Token::parse("abc.e30.eA"), Err(Status::HeaderJson));
    assert_eq!(Token::parse(&format!("{header}.!.eA")), Err(Status::PayloadBase64));
    assert_eq!(Token::parse(&format!("{header}.e30.!")), Err(Status::SignatureBase64));
    for payload in
        ["", "[]", "1", "{", "{}x", "{\"a\":1,\"a\":2}", r#"{"a":{"b":1,"b":1}}"#, r#"{"exp":1e400}"#, "\u{0}"]
    {
        let text = format!("{header}.{}.eA", encode(payload));
        let expected = if payload.is_empty() { Status::BadFormat } else { Status::PayloadJson };
        assert_eq!(Token::parse(&text), Err(expected), "{payload}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse(&format!(r#"{{"a":{deep}}}"#)), Err(Status::PayloadJson));
}

/// RFC 7515 section 4.1.11.
#[test]
fn what_must_be_understood_is_not() {
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
    ] {
        assert_eq!(Token::parse(&raw_token(header, "{}", "HS256")), Err(Status::CriticalHeader), "{header}");
    }
    assert!(Token::parse(&raw_token(r#"{"alg":"HS256","exp":1}"#, "{}", "HS256")).is_ok());
}

#[test]
fn claims_have_the_types_they_must_have() {
    for (payload, status) in [
        (r#"{"iss":1}"#, Status::IssuerNotText),
        (r#"{"iss":null}"#, Status::IssuerNotText),
        (r#"{"sub":{}}"#, Status::SubjectNotText),
        (r#"{"jti":1}"#, Status::IdNotText),
        (r#"{"aud":1}"#, Status::AudienceNotText),
        (r#"{"aud":["a",1]}"#, Status::AudienceNotText),
        (r#"{"exp":"5"}"#, Status::ExpiryNotNumber),
        (r#"{"exp":-1}"#, Status::ExpiryRange),
        (r#"{"exp":1e30}"#, Status::ExpiryRange),
        (r#"{"nbf":"x"}"#, Status::NotBeforeNotNumber),
        (r#"{"nbf":-1}"#, Status::NotBeforeRange),
        (r#"{"iat":"x"}"#, Status::IssuedAtNotNumber),
        (r#"{"iat":-1}"#, Status::IssuedAtRange),
    ] {
        assert_eq!(parse(payload), Err(status), "{payload}");
    }
    assert_eq!(parse(r#"{"aud":"a"}"#).unwrap().audiences, ["a"]);
    assert_eq!(parse(r#"{"aud":["a","b"]}"#).unwrap().audiences, ["a", "b"]);
}

#[test]
fn time_is_kept_within_the_skew_of_clocks() {
    let token = parse(r#"{"nbf":1000,"exp":2000}"#).unwrap();
    for (now, outcome) in [
        (939, Err(Status::NotYetValid)),
        (940, Ok(())),
        (2060, Ok(())),
        (2061, Err(Status::Expired)),
        (u64::MAX, Err(Status::Expired)),
    ] {
        assert_eq!(token.check_time(now, 60), outcome, "{now}");
    }
    assert_eq!(parse("{}").unwrap().check_time(u64::MAX, 60), Ok(()), "without `exp` it does not expire");
    let far = parse(r#"{"exp":18446744073709549568}"#).unwrap();
    assert_eq!(far.check_time(5, u64::MAX), Ok(()));
}

#[test]
fn keys_that_cannot_be_used_are_left_out() {
    for bad in [
        json!({}),
        json!({"kty": 1}),
        json!({"kty": "oct"}),
        json!({"kty": "oct", "k": ""}),
        json!({"kty": "oct", "k": "!"}),
        with(secret_key(), "alg", "RS256"),
        with(rsa_key(), "alg", "HS256"),
        with(rsa_key(), "alg", "none"),
        with(rsa_key(), "e", encode([1])),
        with(rsa_key(), "n", encode([7; 128])),
        with(rsa_key(), "n", ""),
        with(key_of("ES256"), "crv", "P-384"),
        with(key_of("ES256"), "crv", "secp256k1"),
        with(key_of("ES256"), "alg", "ES384"),
        with(key_of("ES256"), "x", encode([9; 32])),
        with(key_of("ES256"), "x", encode([9; 33])),
        with(key_of("EdDSA"), "x", encode([9; 31])),
        with(key_of("EdDSA"), "crv", "X25519"),
    ] {
        assert!(Jwks::parse(set(bad.clone()).to_string().as_bytes()).is_none(), "{bad}");
        let beside = json!({"keys": [bad, secret_key()]});
        assert!(keys(&beside).verify(&Token::parse(&token("HS256", &json!({}))).unwrap()).is_ok());
    }
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1]}"#, r#"{"a":"b"}"#] {
        assert!(Jwks::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn a_key_set_may_be_of_certificates() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
    let jwks = keys(&json!({"one": certificate.pem()}));
    let mut token = Token::parse(&token("RS256", &json!({}))).unwrap();
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    let mut signature = vec![0; pair.public_modulus_len()];
    let encoding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
    pair.sign(encoding, &random, token.signed.as_bytes(), &mut signature).unwrap();
    assert_eq!(jwks.verify(&token), Err(Status::VerificationFailed), "signed by another key");
    token.signature = signature;
    assert_eq!(jwks.verify(&token), Ok(()));
}

#[test]
fn no_secret_is_printed() {
    let printed = format!("{:?}", keys(&set(secret_key())));
    assert!(!printed.contains(&encode(SECRET)) && !printed.contains("97, 32"), "{printed}");
}

proptest! {
    #[test]
    fn nothing_that_a_client_sends_brings_it_down(text in "[A-Za-z0-9_.=-]{0,80}", payload in ".{0,60}", set in ".{0,60}") {
        let _ = Token::parse(&text);
        let _ = Token::parse(&format!("{}.{}.eA", encode(r#"{"alg":"HS256"}"#), encode(payload)));
        let _ = Jwks::parse(set.as_bytes());
    }
}
