//! What a trust bundle's roots are, for people.

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::TrustBundle;

/// A root certificate in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootDescription {
    /// SHA-256 of the DER, in hexadecimal.
    pub fingerprint: String,
    pub subject: String,
    /// In hexadecimal.
    pub serial: String,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
}

impl TrustBundle {
    /// Each root, in the order of the bundle.
    pub fn describe(&self) -> Vec<RootDescription> {
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let one = |der: &rustls::pki_types::CertificateDer<'static>| {
            let fingerprint = hex::encode(digest(&SHA256, der));
            let Ok((_, root)) = X509Certificate::from_der(der) else {
                return RootDescription { fingerprint, ..RootDescription::default() };
            };
            RootDescription {
                fingerprint,
                subject: root.subject().to_string(),
                serial: hex::encode(root.raw_serial()),
                not_before: seconds(root.validity().not_before),
                not_after: seconds(root.validity().not_after),
            }
        };
        self.roots.iter().map(one).collect()
    }
}
