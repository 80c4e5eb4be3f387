//! What a root is trusted for: its name and its key (RFC 5280, section 6.1.1). New dates make no other root of it.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::sha256;

/// Name and key in DER.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor(Vec<u8>);

impl Anchor {
    /// What is no certificate is itself.
    pub fn of(root: &CertificateDer<'_>) -> Self {
        match X509Certificate::from_der(root) {
            Ok((_, root)) => Self([root.subject().as_raw(), root.public_key().raw].concat()),
            Err(_) => Self(root.to_vec()),
        }
    }

    /// Its SHA-256 in hexadecimal.
    pub fn pin(&self) -> String {
        sha256(&self.0)
    }
}
