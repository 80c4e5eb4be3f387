//! Roots: of a trust bundle, and the operating system's.

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

/// The operating system's roots. They are read once, and shared by all that trust them.
pub fn system() -> Result<Arc<RootCertStore>, TlsError> {
    static READ: OnceLock<Option<Arc<RootCertStore>>> = OnceLock::new();
    let read = || {
        let pem = runtime::files::system_roots()?;
        let mut store = RootCertStore::empty();
        // One that cannot be read must not take the others along.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        (!store.is_empty()).then(|| Arc::new(store))
    };
    READ.get_or_init(read).clone().ok_or_else(|| TlsError::Unusable("the system has no bundle of roots".to_owned()))
}
