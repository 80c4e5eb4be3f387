//! Tokens that are right in everything but one thing, each beside the token that is right in that thing as well: the one
//! is refused, the other gets in. Keys are RSA's and of a curve, each under a name and without an algorithm, so that it
//! is the proxy that must not take one for the other.

use std::io;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::client::{signed, unsigned};
use crate::door::{Door, get};

/// Who signs tokens.
struct Signer {
    issuer: &'static str,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Curve(EcdsaKeyPair),
}

impl Signer {
    fn rsa(issuer: &'static str) -> Self {
        Self { issuer, key: Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    fn curve(issuer: &'static str) -> Self {
        Self { issuer, key: Key::Curve(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    /// Somebody else with a key of the same kind, who says to be this one.
    fn impostor(&self) -> Self {
        match self.key {
            Key::Rsa(_) => Self::rsa(self.issuer),
            Key::Curve(_) => Self::curve(self.issuer),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS256",
            Key::Curve(_) => "ES256",
        }
    }

    fn key_id(&self) -> String {
        format!("{}-key", self.issuer)
    }

    fn head(&self, more: Value) -> Value {
        extended(json!({"alg": self.algorithm(), "kid": self.key_id()}), more)
    }

    fn claims(&self, more: Value) -> Value {
        extended(json!({"iss": self.issuer, "sub": "alice", "exp": now() + 3600}), more)
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Key::Curve(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        }
    }

    /// With its key, whatever the head says.
    fn sign(&self, head: &Value, claims: &Value) -> String {
        self.sign_text(&unsigned(head, claims))
    }

    fn sign_text(&self, text: &str) -> String {
        with_signature(text, &self.signature(text.as_bytes()))
    }

    fn good(&self) -> String {
        self.sign(&self.head(json!({})), &self.claims(json!({})))
    }

    /// As a key of a set, without an algorithm.
    fn public(&self) -> Value {
        let kid = self.key_id();
        match &self.key {
            Key::Rsa(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": kid, "n": encode(n), "e": encode(e)})
            }
            Key::Curve(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(x), "y": encode(y)})
            }
        }
    }

    /// `SubjectPublicKeyInfo`.
    fn der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.key {
            Key::Rsa(key) => key.public_key().as_der().unwrap(),
            Key::Curve(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// What somebody may take for its secret who knows but one kind of key.
    fn spellings(&self) -> Vec<(&'static str, Vec<u8>)> {
        let bare = match &self.key {
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
            Key::Curve(key) => key.public_key().as_ref().to_vec(),
        };
        let (der, public) = (self.der(), self.public());
        let coordinate = public.get("n").or(public.get("x")).unwrap().as_str().unwrap().to_owned();
        vec![
            ("PEM", pem("PUBLIC KEY", &der).into_bytes()),
            ("PEM without its last line end", pem("PUBLIC KEY", &der).trim_end().into()),
            ("PEM of PKCS #1", pem("RSA PUBLIC KEY", &bare).into_bytes()),
            ("DER", der),
            ("the bare key", bare),
            ("JWK", public.to_string().into_bytes()),
            ("the set", set(&public).into_bytes()),
            ("its number as text", coordinate.clone().into_bytes()),
            ("its number", URL_SAFE_NO_PAD.decode(coordinate).unwrap()),
            ("nothing", Vec::new()),
        ]
    }

    fn rule(&self) -> Value {
        json!({"issuer": self.issuer, "jwks": set(&self.public())})
    }
}

fn set(key: &Value) -> String {
    json!({"keys": [key]}).to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn with_signature(text: &str, signature: &[u8]) -> String {
    format!("{text}.{}", encode(signature))
}

fn extended(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn bearer(token: &str) -> String {
    get("/token", &format!("authorization: Bearer {token}\r\n"))
}

/// A workload that knows some signers.
struct Guarded {
    door: Door,
    signers: Vec<Signer>,
}

impl Guarded {
    fn open(last: u8) -> Self {
        let signers = vec![Signer::rsa("rsa"), Signer::curve("curve"), Signer::rsa("other")];
        Self { door: Door::with(last, signers.iter().map(Signer::rule).collect()), signers }
    }

    /// Of each kind of key one.
    fn each(&self) -> &[Signer] {
        &self.signers[..2]
    }

    /// `right` differs in what is tested alone.
    fn tells(&self, what: &str, forged: &str, right: &str) {
        assert_ne!(forged, right, "{what}");
        assert_eq!(self.door.plain(&bearer(right)), [200], "right: {what}");
        assert_eq!(self.door.plain(&bearer(forged)), [401], "forged: {what}");
    }
}

#[test]
fn no_key_that_a_token_brings_along_is_taken() {
    let guarded = Guarded::open(11);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", server.local_addr().unwrap());
    for signer in guarded.each() {
        let forger = signer.impostor();
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let brought = [
            ("jwk", forger.public()),
            ("jku", json!(url)),
            ("x5u", json!(url)),
            ("x5c", json!([STANDARD.encode(certificate.der())])),
            ("x5t", json!(encode([1; 20]))),
        ];
        for (name, value) in brought {
            let head = signer.head(json!({name: value}));
            let claims = signer.claims(json!({}));
            let what = format!("{name} of {}", signer.issuer);
            guarded.tells(&what, &forger.sign(&head, &claims), &signer.sign(&head, &claims));
            let nameless = without(head, "kid");
            guarded.tells(&what, &forger.sign(&nameless, &claims), &signer.sign(&nameless, &claims));
        }
    }
    assert_eq!(server.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody fetches keys from there");
}

#[test]
fn a_key_is_one_of_its_issuer_and_has_the_name_that_the_token_gives() {
    let guarded = Guarded::open(12);
    let [rsa, curve, other] = &guarded.signers[..] else { unreachable!() };
    for signer in guarded.each() {
        let right = signer.good();
        for kid in ["../../etc/passwd", "/dev/null", "nobody", "' or '1'='1", "rsa-key\u{0}", "RSA-KEY", "other-key"] {
            let head = signer.head(json!({"kid": kid}));
            guarded.tells(kid, &signer.sign(&head, &signer.claims(json!({}))), &right);
        }
        guarded.tells(
            "no text",
            &signer.sign(&signer.head(json!({"kid": 1})), &signer.claims(json!({}))),
            &signer.sign(&without(signer.head(json!({})), "kid"), &signer.claims(json!({}))),
        );
    }
    // Each key signs for its own issuer: of the same kind, and of another.
    for (signs, of) in [(other, rsa), (rsa, other), (curve, rsa), (rsa, curve)] {
        let claims = |iss: &Signer| iss.claims(json!({}));
        for head in
            [signs.head(json!({})), signs.head(json!({"kid": of.key_id()})), without(signs.head(json!({})), "kid")]
        {
            let right = of.sign(&of.head(json!({})), &claims(of));
            guarded.tells("the key of another issuer", &signs.sign(&head, &claims(of)), &right);
        }
        guarded.tells("no name", &signs.sign(&signs.head(json!({})), &claims(of)), &signs.good());
    }
    let subject = |iss: &str| rsa.sign(&rsa.head(json!({})), &rsa.claims(json!({"iss": iss})));
    for issuer in ["nobody", "RSA", "rsa ", "rsa/", "", "rsa\u{0}"] {
        guarded.tells(issuer, &subject(issuer), &subject("rsa"));
    }
}

#[test]
fn no_public_key_is_taken_for_a_secret() {
    let guarded = Guarded::open(13);
    for signer in guarded.each() {
        for (spelling, secret) in signer.spellings() {
            for (name, algorithm) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                for head in [signer.head(json!({"alg": name})), json!({"alg": name, "typ": "JWT"})] {
                    let text = unsigned(&head, &signer.claims(json!({})));
                    let mac = hmac::sign(&hmac::Key::new(algorithm, &secret), text.as_bytes());
                    let what = format!("{name} by {spelling} of {}", signer.issuer);
                    guarded.tells(&what, &with_signature(&text, mac.as_ref()), &signer.good());
                }
            }
        }
    }
    // That a secret does sign where it is one.
    let claims = json!({"iss": "issuer", "sub": "alice", "exp": now() + 3600});
    let good = signed(&json!({"alg": "HS256"}), &claims);
    for algorithm in ["HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA"] {
        guarded.tells(algorithm, &signed(&json!({"alg": algorithm}), &claims), &good);
    }
}

#[test]
fn no_algorithm_is_none_and_none_is_another() {
    let guarded = Guarded::open(14);
    for signer in guarded.each() {
        let claims = signer.claims(json!({}));
        let right = signer.good();
        let own = |alg: Value| signer.sign(&signer.head(json!({"alg": alg})), &claims);
        for alg in ["none", "None", "nOnE", "NONE", "", "HS1", "rs256", "RS256 ", "PS256", "RS512", "ES384", "EdDSA"] {
            guarded.tells(alg, &own(json!(alg)), &right);
            let text = unsigned(&signer.head(json!({"alg": alg})), &claims);
            guarded.tells(alg, &format!("{text}."), &right);
            guarded.tells(alg, &text, &right);
            guarded.tells(alg, &with_signature(&text, b"x"), &right);
        }
        for alg in [json!(null), json!(["RS256", "ES256"]), json!({"alg": "none"}), json!(0)] {
            guarded.tells("no text", &own(alg), &right);
        }
        guarded.tells("none at all", &signer.sign(&without(signer.head(json!({})), "alg"), &claims), &right);
    }
}

#[test]
fn no_signature_is_good_but_that_of_the_token() {
    let guarded = Guarded::open(15);
    for signer in guarded.each() {
        let (right, text) = (signer.good(), unsigned(&signer.head(json!({})), &signer.claims(json!({}))));
        let size = signer.signature(text.as_bytes()).len();
        let one = |at: usize| {
            let mut bytes = vec![0; size];
            bytes[at] = 1;
            bytes
        };
        let order = [
            0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
            0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51_u8,
        ];
        // CVE-2022-21449: r and s of zero, and of the order, which is the same.
        let mut bad = vec![
            ("nothing", Vec::new()),
            ("zeros", vec![0; size]),
            ("one", one(size - 1)),
            ("r of one, s of zero", one(size / 2 - 1)),
            ("the order twice", [order, order].concat()),
            ("ones", vec![0xff; size]),
            ("a byte", vec![0]),
            ("DER of two zeros", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
            ("half of it", signer.signature(text.as_bytes())[..size / 2].to_vec()),
            ("one byte more", [signer.signature(text.as_bytes()), vec![0]].concat()),
            ("that of other claims", signer.signature(b"other")),
        ];
        if let Key::Curve(key) = &signer.key {
            let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.to_pkcs8v1().unwrap().as_ref());
            let der = der.unwrap().sign(&SystemRandom::new(), text.as_bytes()).unwrap();
            bad.push(("its own in DER", der.as_ref().to_vec()));
        }
        for (what, signature) in bad {
            guarded.tells(&format!("{what}, {}", signer.issuer), &with_signature(&text, &signature), &right);
        }
        let parts: Vec<&str> = right.split('.').collect();
        let mallory = unsigned(&signer.head(json!({})), &signer.claims(json!({"sub": "alice", "role": "admin"})));
        guarded.tells("that of another token", &format!("{mallory}.{}", parts[2]), &right);
    }
}

#[test]
fn a_token_is_good_for_its_time_and_as_long_as_it_says() {
    let guarded = Guarded::open(16);
    for signer in guarded.each() {
        let of = |more: Value| signer.sign(&signer.head(json!({})), &signer.claims(more));
        let (past, future) = (now() - 3600, now() + 3600);
        let forever = signer.sign(&signer.head(json!({})), &without(signer.claims(json!({})), "exp"));
        guarded.tells("without an end", &forever, &signer.good());
        for (what, forged, right) in [
            ("expired", json!({"exp": past}), json!({"exp": future})),
            ("not yet valid", json!({"nbf": future}), json!({"nbf": past})),
            ("an end that is a text", json!({"exp": future.to_string()}), json!({"exp": future})),
            ("an end at the beginning", json!({"exp": 0}), json!({"exp": future})),
            ("an end before that", json!({"exp": -1}), json!({"exp": future})),
            ("an end that no number holds", json!({"exp": 1e30}), json!({"exp": future})),
            ("an end that is none", json!({"exp": null}), json!({"exp": future})),
            ("a beginning that is a text", json!({"nbf": past.to_string()}), json!({"nbf": past})),
            ("an issuer that is none", json!({"iss": null}), json!({"iss": signer.issuer})),
            ("a list of issuers", json!({"iss": [signer.issuer]}), json!({"iss": signer.issuer})),
            ("a list of subjects", json!({"sub": ["alice"]}), json!({"sub": "alice"})),
        ] {
            guarded.tells(what, &of(forged), &of(right));
        }
        let bob = of(json!({"sub": "bob"}));
        assert_eq!(guarded.door.plain(&bearer(&bob)), [403], "a good token of somebody else");
    }
}

#[test]
fn a_token_has_three_parts_and_says_nothing_twice() {
    let guarded = Guarded::open(17);
    for signer in guarded.each() {
        let right = signer.good();
        let parts: Vec<&str> = right.split('.').collect();
        let (head, claims, signature) = (parts[0], parts[1], parts[2]);
        for token in [
            format!("{head}..{claims}.{signature}"),
            format!("{head}.{claims}..{signature}"),
            format!(".{right}"),
            format!("{right}."),
            format!("{right}.{signature}"),
            format!("{right}.{claims}.{signature}"),
            format!("{head}.{signature}"),
            format!("{head}.{claims}"),
            format!("{head}{claims}{signature}"),
            format!("{head}.{claims}.{signature}!"),
        ] {
            guarded.tells(&token, &token, &right);
        }
        let text = |head: &str, claims: &str| signer.sign_text(&format!("{}.{}", encode(head), encode(claims)));
        let head = signer.head(json!({})).to_string();
        let end = now() + 3600;
        let claims = |subject: &str| format!(r#"{{"iss":"{}","exp":{end},{subject}}}"#, signer.issuer);
        let right = text(&head, &claims(r#""sub":"alice""#));
        for doubled in [
            r#""sub":"alice","sub":"bob""#,
            r#""sub":"bob","sub":"alice""#,
            r#""sub":"alice","exp":99999999999"#,
            r#""sub":"alice","iss":"other""#,
            r#""sub":"alice","s\u0075b":"alice""#,
        ] {
            guarded.tells(doubled, &text(&head, &claims(doubled)), &right);
        }
        let twice = format!(r#"{{"alg":"none",{}"#, &head[1..]);
        guarded.tells("the algorithm twice", &text(&twice, &claims(r#""sub":"alice""#)), &right);
        for critical in [json!(["exp"]), json!(["b64"]), json!([]), json!("x")] {
            let head = signer.head(json!({"crit": critical, "exp": end, "b64": true}));
            let claims = signer.claims(json!({}));
            guarded.tells("crit", &signer.sign(&head, &claims), &signer.sign(&without(head, "crit"), &claims));
        }
        let deep = format!(r#""sub":"alice","x":{}{}"#, "[".repeat(3000), "]".repeat(3000));
        guarded.tells("claims within claims", &text(&head, &claims(&deep)), &right);
        // What fills the head does not get as far.
        let huge = |size| signer.sign(&signer.head(json!({})), &signer.claims(json!({"x": "y".repeat(size)})));
        assert_eq!(guarded.door.plain(&bearer(&huge(10_000))), [200]);
        assert_eq!(guarded.door.plain(&bearer(&huge(100_000))), [431]);
    }
}

#[test]
fn a_token_is_found_in_one_place_and_no_bad_one_hides_behind_a_good_one() {
    let guarded = Guarded::open(18);
    for signer in guarded.each() {
        let good = signer.good();
        let bad = signer.impostor().good();
        guarded.tells("another key", &bad, &good);
        let twice = |first: &str, second: &str| {
            get("/token", &format!("authorization: Bearer {first}\r\nauthorization: Bearer {second}\r\n"))
        };
        for (what, request) in [
            ("a bad token behind a good one", twice(&good, &bad)),
            ("a good token behind a bad one", twice(&bad, &good)),
            (
                "a bad token in the query",
                get(&format!("/token?access_token={bad}"), &format!("authorization: Bearer {good}\r\n")),
            ),
            (
                "a good token in the query",
                get(&format!("/token?access_token={good}"), &format!("authorization: Bearer {bad}\r\n")),
            ),
        ] {
            assert_eq!(guarded.door.plain(&request), [401], "{what}");
        }
        assert_eq!(guarded.door.plain(&get(&format!("/token?access_token={good}"), "")), [200]);
        for (what, request) in [
            ("a token in a cookie", get("/token", &format!("cookie: access_token={good}\r\n"))),
            ("a token of another scheme", get("/token", &format!("authorization: Basic {good}\r\n"))),
            ("a token in another header", get("/token", &format!("x-authorization: Bearer {good}\r\n"))),
        ] {
            assert_eq!(guarded.door.plain(&request), [403], "{what}");
        }
    }
}
