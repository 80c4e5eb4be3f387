//! A key that signs tokens: ECDSA on P-256 (RFC 7518 section 3.4).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub struct SigningKey {
    id: String,
    /// Unix seconds.
    created: u64,
    pair: EcdsaKeyPair,
}

/// The half of a key that verifies: a JSON Web Key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    pub kty: String,
    pub crv: String,
    pub kid: String,
    pub x: String,
    pub y: String,
}

impl SigningKey {
    pub fn generate(created: u64) -> Result<Self, Unspecified> {
        Ok(Self::of(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?, created))
    }

    /// From PKCS#8 in DER.
    pub fn parse(der: &[u8], created: u64) -> Result<Self, KeyRejected> {
        Ok(Self::of(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)?, created))
    }

    fn of(pair: EcdsaKeyPair, created: u64) -> Self {
        let hash = digest(&SHA256, pair.public_key().as_ref());
        Self { id: URL_SAFE_NO_PAD.encode(&hash.as_ref()[..15]), created, pair }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn created(&self) -> u64 {
        self.created
    }

    /// PKCS#8 in DER.
    pub fn private(&self) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        Ok(Zeroizing::new(self.pair.to_pkcs8v1()?.as_ref().to_vec()))
    }

    pub fn public(&self) -> PublicKey {
        // An uncompressed point: a byte 4, and two coordinates of 32 bytes (SEC 1 section 2.3.3).
        let point = self.pair.public_key().as_ref();
        let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        PublicKey {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            kid: self.id.clone(),
            x: coordinate(1),
            y: coordinate(33),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec())
    }
}

/// No key is printed.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("created", &self.created).finish_non_exhaustive()
    }
}
