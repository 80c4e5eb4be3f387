//! What a connection begins with, before it is known what it is.

use crate::listener::sniff;
use crate::proxy_protocol::{self, Parsed};

pub fn client_hello(data: &[u8]) {
    let told = sniff::client_hello(data);
    // A name is told only in small letters, so that it is matched as it is written.
    let name = told.ok().flatten().and_then(|told| told.server_name);
    assert!(name.is_none_or(|name| !name.bytes().any(|b| b.is_ascii_uppercase())));
    let _ = sniff::http_version(data);
}

pub fn proxy_protocol(data: &[u8]) {
    if let Ok(Parsed::Incomplete(more)) = proxy_protocol::parse(data) {
        assert!(more > data.len(), "what is not whole needs more than there is");
    }
}
