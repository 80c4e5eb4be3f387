//! JSON Web Tokens (RFC 7515, 7517, 7518, 7519, 8037): a token taken apart, a set of keys, and whether one of them
//! signed the other. Pure: knows no HTTP and no clock. What is accepted, and in which words it is refused, follows
//! Envoy's verification library; a key verifies the algorithms of its own type and no others.

mod algorithm;
mod json;
mod keys;
mod status;
#[cfg(test)]
pub mod test_kit;
mod token;

pub use algorithm::Algorithm;
pub use json::to_json;
pub use keys::Jwks;
pub use status::Status;
pub use token::Token;

use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64url, written without padding and read with or without it.
pub const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
