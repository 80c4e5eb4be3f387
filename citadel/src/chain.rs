//! Certificates for people: what each of a chain says, and whether the chain holds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{TrustBundle, verify_peer};

/// A certificate in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateDescription {
    /// SHA-256 of the DER, in hexadecimal.
    pub fingerprint: String,
    pub subject: String,
    pub issuer: String,
    /// In hexadecimal.
    pub serial: String,
    /// URIs and DNS names.
    pub names: Vec<String>,
    pub is_authority: bool,
    /// `ECDSA P-256`, `RSA 2048`
    pub key: String,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
}

/// The certificates of a PEM file, in its order; what else is in the file is passed over.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("the PEM cannot be read: {error}"))?;
    if all.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(all)
}

/// What a certificate says; an error where it is none.
pub fn describe(der: &CertificateDer<'_>) -> Result<CertificateDescription, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| format!("it is no X.509: {error}"))?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Ok(CertificateDescription {
        fingerprint: hex::encode(digest(&SHA256, der)),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: hex::encode(certificate.raw_serial()),
        names: names(&certificate),
        is_authority: certificate.is_ca(),
        key: key(&certificate),
        not_before: seconds(certificate.validity().not_before),
        not_after: seconds(certificate.validity().not_after),
    })
}

/// Whether a chain, leaf first, leads to a root of the bundle now; the error says why not.
pub fn judge(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'static>], now: SystemTime) -> Result<(), String> {
    let bundle = TrustBundle { roots: roots.to_vec() };
    // A root at the end of a chain proves nothing.
    let chain: Vec<_> = chain.iter().filter(|certificate| !roots.contains(certificate)).cloned().collect();
    match verify_peer(&chain, &bundle, now) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("there is no certificate below the roots".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl CertificateDescription {
    /// How long it is still valid; none if it is over.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        (UNIX_EPOCH + Duration::from_secs(self.not_after)).duration_since(now).ok().filter(|left| !left.is_zero())
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let all = names.into_iter().flat_map(|names| &names.value.general_names);
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => Some((*text).to_owned()),
        _ => None,
    };
    all.filter_map(text).collect()
}

fn key(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        _ => certificate.public_key().algorithm.algorithm.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::{Mesh, issue};

    #[tokio::test]
    async fn a_chain_tells_what_is_in_it_and_whether_it_holds() {
        let mesh = Mesh::new();
        let issued = issue(&mesh.authority(), &mesh.id("reviews"), None).await;
        let pem: String = issued.chain.iter().map(|one| crate::self_signed::pem(one)).collect();
        let chain = certificates(pem.as_bytes()).unwrap();
        let told: Vec<_> = chain.iter().map(|one| describe(one).unwrap()).collect();
        assert_eq!((told.len(), told[0].serial == issued.serial), (3, true));
        assert_eq!(told[0].names, [mesh.id("reviews").to_string()]);
        assert_eq!((told[0].key.as_str(), told[0].is_authority, told[1].is_authority), ("ECDSA P-256", false, true));
        assert_eq!((&told[0].issuer, &told[1].issuer), (&told[1].subject, &told[2].subject));
        let (now, roots) = (mesh.time.clock().now(), &chain[2..]);
        assert_eq!(judge(&chain, roots, now), Ok(()));
        assert!(judge(&chain, roots, now + Duration::from_secs(7200)).unwrap_err().contains("expired"));
        let other = issue(&Mesh::new().authority(), &mesh.id("reviews"), None).await;
        assert!(judge(&chain, &other.chain[2..], now).unwrap_err().contains("does not chain"));
        assert!(certificates(b"nothing").is_err() && describe(&CertificateDer::from(vec![1])).is_err());
    }
}
