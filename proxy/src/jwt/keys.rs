//! Sets of keys (RFC 7517), and the check of a signature. A key that cannot be read is left out; a set without a
//! readable key verifies nothing.

use std::fmt;

use api::prost_types::{Struct, value::Kind};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::algorithm::RsaKey;
use super::{Algorithm, BASE64URL, Status, Token, json, token};

#[derive(Debug)]
pub struct Jwks(Vec<Key>);

struct Key {
    /// Empty: for tokens that name any key.
    id: String,
    /// The algorithm that it says it is for.
    named: Option<Algorithm>,
    material: Material,
}

enum Material {
    Rsa(RsaKey),
    /// Of an elliptic curve, Ed25519 among them, which decides on the algorithm.
    Point(Algorithm, ParsedPublicKey),
    Secret(Vec<u8>),
}

impl Jwks {
    /// Reads a set of keys, or an object of X.509 certificates by key id. `None` if there is no readable key in it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let object = json::parse(text)?;
        let keys: Vec<Key> = match object.fields.get("keys").map(|value| &value.kind) {
            Some(Some(Kind::ListValue(list))) => {
                let objects = list.values.iter().filter_map(|value| match &value.kind {
                    Some(Kind::StructValue(object)) => Some(object),
                    _ => None,
                });
                objects.filter_map(Key::parse).collect()
            }
            Some(_) => return None,
            None => object.fields.iter().map(|(id, value)| certificate(id, &value.kind)).collect::<Option<_>>()?,
        };
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Whether one of the keys signed the token. A token or key that names no id fits any.
    pub fn verify(&self, token: &Token) -> Result<(), Status> {
        let mut failure = Status::NoMatchingKey;
        for key in &self.0 {
            let same = token.key_id.is_empty() || key.id.is_empty() || token.key_id == key.id;
            if !same || key.named.is_some_and(|named| named != token.algorithm) {
                continue;
            }
            failure = Status::VerificationFailed;
            if token.algorithm == Algorithm::EdDsa && token.signature.len() != 64 && key.allows(Algorithm::EdDsa) {
                return Err(Status::Ed25519SignatureLength);
            }
            if key.signed(token) {
                return Ok(());
            }
        }
        Err(failure)
    }
}

impl Key {
    fn parse(object: &Struct) -> Option<Self> {
        let field = |name| token::text(object, name);
        let bytes = |name| BASE64URL.decode(field(name)?).ok();
        let named = match field("alg") {
            Some(name) => Some(Algorithm::parse(&name)?),
            None => None,
        };
        let material = match field("kty")?.as_str() {
            "RSA" => Material::Rsa(rsa(&bytes("n")?, &bytes("e")?)?),
            "EC" => {
                let (algorithm, size) = curve(field("crv").as_deref(), named)?;
                Material::Point(algorithm, point(algorithm, size, &bytes("x")?, &bytes("y")?)?)
            }
            "OKP" if field("crv")? == "Ed25519" => {
                Material::Point(Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, bytes("x")?).ok()?)
            }
            "oct" => Material::Secret(bytes("k").filter(|key| !key.is_empty())?),
            _ => return None,
        };
        let key = Self { id: field("kid").unwrap_or_default(), named, material };
        named.is_none_or(|named| key.allows(named)).then_some(key)
    }

    /// Whether its type fits an algorithm. A public key is never taken for a secret, nor the other way round.
    fn allows(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Rsa(_) => algorithm.rsa().is_some(),
            Material::Point(own, _) => *own == algorithm,
            Material::Secret(_) => algorithm.hmac().is_some(),
        }
    }

    fn signed(&self, token: &Token) -> bool {
        let (message, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        match &self.material {
            Material::Rsa(key) => {
                token.algorithm.rsa().is_some_and(|parameters| key.verify(parameters, message, signature).is_ok())
            }
            Material::Point(own, key) => *own == token.algorithm && key.verify_sig(message, signature).is_ok(),
            Material::Secret(secret) => token
                .algorithm
                .hmac()
                .is_some_and(|algorithm| hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()),
        }
    }
}

/// From 2048 bits on, with an exponent in use.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<RsaKey> {
    let trimmed = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let key = RsaKey { n: trimmed(modulus), e: trimmed(exponent) };
    let usual = matches!(key.e.as_slice(), [3] | [1, 0, 1]);
    let fits = (256..=1024).contains(&key.n.len());
    (usual && fits && key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).is_ok()).then_some(key)
}

/// The algorithm of a curve and the bytes of a coordinate. Without either, P-256 is meant.
fn curve(name: Option<&str>, named: Option<Algorithm>) -> Option<(Algorithm, usize)> {
    let of_name = match name {
        Some("P-256") => Some(Algorithm::Es256),
        Some("P-384") => Some(Algorithm::Es384),
        Some("P-521") => Some(Algorithm::Es512),
        Some(_) => return None,
        None => None,
    };
    match of_name.or(named).unwrap_or(Algorithm::Es256) {
        Algorithm::Es256 => Some((Algorithm::Es256, 32)),
        Algorithm::Es384 => Some((Algorithm::Es384, 48)),
        Algorithm::Es512 => Some((Algorithm::Es512, 66)),
        _ => None,
    }
}

/// An uncompressed point (SEC 1 section 2.3.3); `None` if it is not on the curve.
fn point(algorithm: Algorithm, size: usize, x: &[u8], y: &[u8]) -> Option<ParsedPublicKey> {
    let mut encoded = vec![4];
    for coordinate in [x, y] {
        let start = coordinate.iter().take_while(|byte| **byte == 0).count();
        let padding = size.checked_sub(coordinate.len() - start)?;
        encoded.resize(encoded.len() + padding, 0);
        encoded.extend_from_slice(&coordinate[start..]);
    }
    ParsedPublicKey::new(algorithm.curve()?, encoded).ok()
}

/// The RSA key of a PEM certificate (Google's form of a key set).
fn certificate(id: &str, value: &Option<Kind>) -> Option<Key> {
    let Some(Kind::StringValue(text)) = value else { return None };
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    let PublicKey::RSA(key) = certificate.public_key().parsed().ok()? else { return None };
    let material = Material::Rsa(rsa(key.modulus, key.exponent)?);
    Some(Key { id: id.to_owned(), named: None, material })
}

/// No key is printed: some are secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("named", &self.named).finish_non_exhaustive()
    }
}
