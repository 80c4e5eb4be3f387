//! Bearer secrets: random text to hand out once, of which only a hash is kept.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use subtle::ConstantTimeEq as _;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^24 is over 2^142.
const SECRET_LENGTH: usize = 24;
/// 62^12 is over 2^71: enough never to meet one twice. An ID is no secret.
const ID_LENGTH: usize = 12;

#[derive(Debug, thiserror::Error)]
#[error("the system's source of randomness failed")]
pub struct NoRandomness;

/// A new ID and secret.
pub fn generate() -> Result<(String, String), NoRandomness> {
    Ok((random_text(ID_LENGTH)?, random_text(SECRET_LENGTH)?))
}

/// What is kept of a secret. The secret is random and long, so a plain hash cannot be searched.
pub fn hash(secret: &str) -> String {
    sha256(secret.as_bytes())
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// Whether a secret has this hash, in time that does not tell how much of it fits.
pub fn matches(secret: &str, kept: &str) -> bool {
    equal(&hash(secret), kept)
}

/// Whether two texts are the same, in time that does not tell how much of them is.
pub fn equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Whether a text has the shape of an ID made here, so that it may be part of a store key.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Uniform base-62 text: bytes from 248 up would favour the first letters, so they are drawn again.
fn random_text(length: usize) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(*byte % 62)]));
        text.extend(fair.take(length - text.len()));
    }
    Ok(text)
}
