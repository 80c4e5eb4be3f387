//! Certificate signing requests. Only the public key is taken from one, after its owner proved to hold the private
//! key; the names in it are never looked at.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{PublicKeyData as _, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as ParsedKey;

/// The longest request that is read, PEM included. One for a 4096-bit RSA key has under 2 KiB.
const MAX_LENGTH: usize = 16 * 1024;
const MIN_RSA_BITS: usize = 2048;

/// A public key that may be certified: P-256, P-384, or RSA of at least 2048 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey {
    spki: Vec<u8>,
}

/// Why a signing request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("the signing request has {0} bytes, more than the {MAX_LENGTH} that are read")]
    TooLong(usize),
    #[error("the signing request is no PEM text of a CERTIFICATE REQUEST")]
    Pem,
    #[error("the signing request cannot be read: {0}")]
    Unreadable(String),
    #[error("the signature of the signing request does not fit its key, so the key's possession is not proved")]
    Possession,
    #[error("the key of the signing request is {0}; P-256, P-384 and RSA from {MIN_RSA_BITS} bits are allowed")]
    Key(String),
}

impl SubjectKey {
    /// The public key of a PEM-encoded PKCS#10 request.
    pub fn from_csr_pem(pem: &str) -> Result<Self, CsrError> {
        if pem.len() > MAX_LENGTH {
            return Err(CsrError::TooLong(pem.len()));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| CsrError::Pem)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| CsrError::Unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CsrError::Unreadable(format!("{} bytes follow it", rest.len())));
        }
        let key = &request.certification_request_info.subject_pki;
        check_strength(key)?;
        request.verify_signature().map_err(|_| CsrError::Possession)?;
        Ok(Self { spki: key.raw.to_vec() })
    }

    /// The public half of a key of our own.
    pub(crate) fn of(key: &rcgen::KeyPair) -> Self {
        Self { spki: key.subject_public_key_info() }
    }

    /// A SubjectPublicKeyInfo that was certified before.
    pub(crate) fn of_spki(spki: &[u8]) -> Self {
        Self { spki: spki.to_vec() }
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, &self.spki))
    }

    pub(crate) fn to_rcgen(&self) -> Result<SubjectPublicKeyInfo, rcgen::Error> {
        SubjectPublicKeyInfo::from_der(&self.spki)
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({})", self.fingerprint())
    }
}

fn check_strength(key: &ParsedKey<'_>) -> Result<(), CsrError> {
    let parsed = key.parsed().map_err(|error| CsrError::Unreadable(error.to_string()))?;
    match parsed {
        PublicKey::EC(point) if matches!(point.key_size(), 256 | 384) => Ok(()),
        PublicKey::EC(point) => Err(CsrError::Key(format!("a {}-bit elliptic-curve key", point.key_size()))),
        PublicKey::RSA(rsa) if rsa.key_size() >= MIN_RSA_BITS => Ok(()),
        PublicKey::RSA(rsa) => Err(CsrError::Key(format!("an RSA key of {} bits", rsa.key_size()))),
        _ => Err(CsrError::Key("of another kind".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn made_by_openssl(key: &[&str]) -> Result<SubjectKey, CsrError> {
        let output = Command::new("openssl")
            .args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=reviews", "-newkey"])
            .args(key)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        SubjectKey::from_csr_pem(&String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn openssls_requests_are_read_and_weak_or_odd_keys_told() {
        let curve = |name| made_by_openssl(&["ec", "-pkeyopt", name]);
        assert!(curve("ec_paramgen_curve:prime256v1").is_ok());
        assert!(made_by_openssl(&["rsa:2048"]).is_ok());
        for weak in [made_by_openssl(&["rsa:1024"]), curve("ec_paramgen_curve:secp521r1")] {
            assert!(matches!(weak, Err(CsrError::Key(_))), "{weak:?}");
        }
        // As long as P-256, but another curve.
        assert!(curve("ec_paramgen_curve:secp256k1").is_err());
    }

    #[test]
    fn no_change_of_a_request_gets_another_key_certified() {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let good = SubjectKey::from_csr_pem(&request.pem().unwrap()).unwrap();
        let pem = |der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
        };
        let der = request.der().to_vec();
        assert_eq!(SubjectKey::from_csr_pem(&pem(&der)), Ok(good.clone()));
        for at in 0..der.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] ^= change;
                let taken = SubjectKey::from_csr_pem(&pem(&changed));
                assert!(taken.as_ref().map_or(true, |taken| *taken == good), "byte {at} ^ {change:#x}: {taken:?}");
            }
            assert!(SubjectKey::from_csr_pem(&pem(&der[..at])).is_err(), "cut at {at}");
        }
        assert!(SubjectKey::from_csr_pem(&pem(&[&der[..], &[0]].concat())).is_err());
    }
}
