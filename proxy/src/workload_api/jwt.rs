//! Whether a token is a JWT-SVID that a workload may believe (SPIFFE JWT-SVID, sections 2 to 5).

use api::prost_types::Struct;
use api::prost_types::value::Kind;
use api::{SpiffeId, TrustDomain};

use crate::jwt::{Algorithm, Jwks, Token};

/// How far clocks may be apart, in seconds.
const SKEW: u64 = 60;
/// Longer is none of ours, nor anybody's.
const LONGEST: usize = 64 * 1024;

/// A token that holds.
#[derive(Debug, PartialEq)]
pub struct Validated {
    pub id: SpiffeId,
    pub claims: Struct,
}

/// `now` in Unix seconds. The error says which rule the token breaks.
pub fn validate(
    text: &str,
    audience: &str,
    trust_domain: &TrustDomain,
    keys: &str,
    now: u64,
) -> Result<Validated, String> {
    if text.len() > LONGEST {
        return Err("it is too long".to_owned());
    }
    if text.split('.').count() != 3 {
        return Err("it has not the form of a signed token".to_owned());
    }
    let token = Token::parse(text).map_err(|status| status.to_string())?;
    if matches!(token.algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 | Algorithm::EdDsa) {
        return Err("its algorithm is none that a JWT-SVID may have".to_owned());
    }
    if let Some(kind) = token.header.fields.get("typ")
        && !matches!(&kind.kind, Some(Kind::StringValue(kind)) if kind == "JWT" || kind == "JOSE")
    {
        return Err("its header's typ is neither JWT nor JOSE".to_owned());
    }
    if token.key_id.is_empty() {
        return Err("it does not name the key that signed it".to_owned());
    }
    if token.expires == 0 {
        return Err("it does not say when it expires".to_owned());
    }
    if !token.audiences.iter().any(|known| known == audience) {
        return Err(format!("it is not for {audience:?}"));
    }
    let id: SpiffeId = token.subject.parse().map_err(|error| format!("its subject: {error}"))?;
    if id.trust_domain() != trust_domain {
        return Err(format!("it is of the trust domain {}, whose keys are not known here", id.trust_domain()));
    }
    let keys = Jwks::parse(keys.as_bytes()).ok_or("the keys of the trust domain are not known")?;
    keys.verify(&token).map_err(|status| status.to_string())?;
    token.check_time(now, SKEW).map_err(|status| status.to_string())?;
    Ok(Validated { id, claims: token.payload })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::BASE64URL;

    const NOW: u64 = 1_700_000_000;

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        fn keys(&self) -> String {
            let point = self.0.public_key().as_ref();
            let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y }] }).to_string()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64URL.encode(signature.as_ref()))
        }
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "kid": "k", "typ": "JWT" })
    }

    fn claims() -> Value {
        json!({ "sub": "spiffe://cluster.local/ns/default/sa/reviews", "aud": ["ratings", "x"], "exp": NOW + 300 })
    }

    fn judge(signer: &Signer, token: &str) -> Result<Validated, String> {
        validate(token, "ratings", &TrustDomain::new("cluster.local").unwrap(), &signer.keys(), NOW)
    }

    #[test]
    fn a_good_token_tells_who_it_is_and_what_it_claims() {
        let signer = Signer::new();
        let validated = judge(&signer, &signer.sign(&header(), &claims())).unwrap();
        assert_eq!(validated.id.to_string(), "spiffe://cluster.local/ns/default/sa/reviews");
        assert!(validated.claims.fields.contains_key("exp"));
        let jose = signer.sign(&json!({ "alg": "ES256", "kid": "k", "typ": "JOSE" }), &claims());
        let untyped = signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims());
        assert!(judge(&signer, &jose).is_ok() && judge(&signer, &untyped).is_ok());
    }

    #[test]
    fn a_token_that_breaks_a_rule_is_refused() {
        let signer = Signer::new();
        let with = |name: &str, value: Value| {
            let mut changed = claims();
            changed[name] = value;
            signer.sign(&header(), &changed)
        };
        let headed = |name: &str, value: Value| {
            let mut changed = header();
            changed[name] = value;
            signer.sign(&changed, &claims())
        };
        let without = |name: &str| {
            let mut changed = claims();
            changed.as_object_mut().unwrap().remove(name);
            signer.sign(&header(), &changed)
        };
        let good = signer.sign(&header(), &claims());
        let stripped = good.rsplit_once('.').unwrap().0.to_owned();
        for (what, token) in [
            ("empty", String::new()),
            ("two parts", stripped.clone()),
            ("no signature", format!("{stripped}.")),
            ("another's signature", Signer::new().sign(&header(), &claims())),
            ("four parts", format!("{good}.x")),
            ("no algorithm at all", headed("alg", json!("none"))),
            ("a secret's algorithm", headed("alg", json!("HS256"))),
            ("another curve's", headed("alg", json!("ES384"))),
            ("a type of its own", headed("typ", json!("at+jwt"))),
            ("an unknown key", headed("kid", json!("other"))),
            ("no key", headed("kid", json!(""))),
            ("another audience", with("aud", json!("productpage"))),
            ("no audience", without("aud")),
            ("no subject", without("sub")),
            ("a subject that is no SPIFFE ID", with("sub", json!("reviews"))),
            ("another trust domain", with("sub", json!("spiffe://other.mesh/ns/default/sa/reviews"))),
            ("no end", without("exp")),
            ("an end that is no number", with("exp", json!("soon"))),
            ("ended", with("exp", json!(NOW - 61))),
            ("not begun", with("nbf", json!(NOW + 61))),
            ("too long", with("x", json!("a".repeat(LONGEST)))),
        ] {
            assert!(judge(&signer, &token).is_err(), "{what}");
        }
        assert!(validate(&good, "ratings", &TrustDomain::new("cluster.local").unwrap(), "{}", NOW).is_err());
    }
}
