//! Roots: of a trust bundle, and the operating system's.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::TlsError;
use crate::config::Secret;

/// The roots of a trust bundle.
pub fn roots(secret: &Secret) -> Result<Arc<RootCertStore>, TlsError> {
    let Secret::TrustedCa(pem) = secret else {
        return Err(TlsError::Unusable("a trust bundle was expected, and this is a certificate".to_owned()));
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Unusable(error.to_string()))?;
        store.add(certificate)?;
    }
    if store.is_empty() {
        return Err(TlsError::Unusable("the trust bundle holds no certificate".to_owned()));
    }
    Ok(Arc::new(store))
}

/// Where operating systems keep their bundle; the variable of OpenSSL comes first.
const PLACES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The operating system's roots. They are read once, and shared by all that trust them.
pub fn system() -> Result<Arc<RootCertStore>, TlsError> {
    static READ: OnceLock<Option<Arc<RootCertStore>>> = OnceLock::new();
    let read = || {
        let told = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let pem = told.into_iter().chain(PLACES.map(PathBuf::from)).find_map(|place| std::fs::read(place).ok())?;
        let mut store = RootCertStore::empty();
        // One that cannot be read must not take the others along.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        (!store.is_empty()).then(|| Arc::new(store))
    };
    READ.get_or_init(read).clone().ok_or_else(|| TlsError::Unusable("the system has no bundle of roots".to_owned()))
}
