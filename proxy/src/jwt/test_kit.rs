//! Keys that sign, and the sets that hold their public halves.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sign, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use serde_json::{Value, json};

use super::BASE64URL;

pub const SECRET: &[u8] = b"a secret that is long enough for HMAC";

static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());
static CURVES: LazyLock<[EcdsaKeyPair; 3]> = LazyLock::new(|| {
    [
        EcdsaKeyPair::generate(&sign::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        EcdsaKeyPair::generate(&sign::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        EcdsaKeyPair::generate(&sign::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap(),
    ]
});

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL.encode(bytes)
}

/// The key set of one key.
pub fn set(key: Value) -> Value {
    json!({"keys": [key]})
}

pub fn secret_key() -> Value {
    json!({"kty": "oct", "k": encode(SECRET)})
}

pub fn rsa_key() -> Value {
    let public = RSA.public_key();
    let (n, e) = (public.modulus(), public.exponent());
    json!({"kty": "RSA", "n": encode(n.big_endian_without_leading_zero()), "e": encode(e.big_endian_without_leading_zero())})
}

pub fn curve_key(curve: usize) -> Value {
    let point = &CURVES[curve].public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let name = ["P-256", "P-384", "P-521"][curve];
    json!({"kty": "EC", "crv": name, "x": encode(x), "y": encode(y)})
}

pub fn ed25519_key() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": encode(ED25519.public_key().as_ref())})
}

/// The key that verifies an algorithm.
pub fn key_of(algorithm: &str) -> Value {
    match algorithm {
        "ES256" => curve_key(0),
        "ES384" => curve_key(1),
        "ES512" => curve_key(2),
        "EdDSA" => ed25519_key(),
        _ if algorithm.starts_with("HS") => secret_key(),
        _ => rsa_key(),
    }
}

/// A token of these claims, signed as the algorithm says.
pub fn token(algorithm: &str, claims: &Value) -> String {
    raw_token(&json!({"alg": algorithm}).to_string(), &claims.to_string(), algorithm)
}

pub fn raw_token(header: &str, payload: &str, algorithm: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(payload));
    let signature = encode(signature(algorithm, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn signature(algorithm: &str, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let rsa = |encoding: &'static dyn sign::RsaEncoding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(encoding, &random, message, &mut signature).unwrap();
        signature
    };
    let hmac = |algorithm| hmac::sign(&hmac::Key::new(algorithm, SECRET), message).as_ref().to_vec();
    match algorithm {
        "RS256" => rsa(&sign::RSA_PKCS1_SHA256),
        "RS384" => rsa(&sign::RSA_PKCS1_SHA384),
        "RS512" => rsa(&sign::RSA_PKCS1_SHA512),
        "PS256" => rsa(&sign::RSA_PSS_SHA256),
        "PS384" => rsa(&sign::RSA_PSS_SHA384),
        "PS512" => rsa(&sign::RSA_PSS_SHA512),
        "ES256" => CURVES[0].sign(&random, message).unwrap().as_ref().to_vec(),
        "ES384" => CURVES[1].sign(&random, message).unwrap().as_ref().to_vec(),
        "ES512" => CURVES[2].sign(&random, message).unwrap().as_ref().to_vec(),
        "EdDSA" => ED25519.sign(message).as_ref().to_vec(),
        "HS256" => hmac(hmac::HMAC_SHA256),
        "HS384" => hmac(hmac::HMAC_SHA384),
        "HS512" => hmac(hmac::HMAC_SHA512),
        other => panic!("{other} signs nothing"),
    }
}
