//! The part of a WebSocket's handshake that only HTTP/1.1 has (RFC 6455 section 4): over HTTP/2 there is neither a key
//! nor its acceptance (RFC 8441 section 5), so who stands between the two versions makes them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const KEY: &str = "sec-websocket-key";
pub const ACCEPT: &str = "sec-websocket-accept";

pub fn fresh_key() -> String {
    STANDARD.encode(rand::random::<[u8; 16]>())
}

/// What a server answers to a key.
pub fn accept(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_as_rfc_6455_shows() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(fresh_key(), fresh_key());
        assert_eq!(STANDARD.decode(fresh_key()).unwrap().len(), 16);
    }
}
