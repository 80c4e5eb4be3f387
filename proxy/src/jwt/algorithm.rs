//! The signature algorithms (RFC 7518 section 3.1, RFC 8037). `none` is not among them.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self as sign, RsaParameters, VerificationAlgorithm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
    EdDsa,
}

/// The modulus and exponent of an RSA key.
pub(super) type RsaKey = PublicKeyComponents<Vec<u8>>;

impl Algorithm {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &sign::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &sign::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &sign::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &sign::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &sign::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &sign::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }

    /// Of the keys that are points on a curve.
    pub(super) fn curve(self) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match self {
            Self::Es256 => &sign::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &sign::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &sign::ECDSA_P521_SHA512_FIXED,
            Self::EdDsa => &sign::ED25519,
            _ => return None,
        })
    }

    pub(super) fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}
