//! X.509-SVIDs: reading a certificate as proof of a SPIFFE ID (X509-SVID standard, sections 2 to 5). This is the form
//! of the certificate alone; whether a trusted authority signed it is for whoever holds the trust bundle.
//!
//! It lives beside `SpiffeId` because both the authority and the data plane judge certificates, and must agree.

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::{SpiffeError, SpiffeId};

/// What a leaf certificate says, after it was found to keep the rules of an X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Svid {
    pub id: SpiffeId,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Lower-case hexadecimal, without separators.
    pub serial: String,
    /// Of the subject, where there is one.
    pub common_name: Option<String>,
}

/// Which rule of an X.509-SVID a certificate breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    #[error("the certificate cannot be read as X.509: {0}")]
    Unreadable(String),
    #[error("an SVID has exactly one URI in its subject alternative names, this certificate has {0}")]
    UriCount(usize),
    #[error("the URI of the certificate is no SPIFFE ID: {0}")]
    Id(#[from] SpiffeError),
    #[error("a workload's SVID is no certificate authority, this certificate has CA:true")]
    Authority,
    #[error("a workload's SVID must not allow {0} in its key usage")]
    SigningUsage(&'static str),
    #[error("an SVID allows digitalSignature in its key usage, this certificate does not")]
    NoDigitalSignature,
}

impl X509Svid {
    /// Reads a DER certificate and holds it to the rules. Does not look at the clock, the chain or the trust domain.
    pub fn parse(der: &[u8]) -> Result<Self, SvidError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(unreadable)?;
        if !rest.is_empty() {
            return Err(SvidError::Unreadable(format!("{} bytes follow it", rest.len())));
        }
        check_usage(&certificate)?;
        Ok(Self {
            id: only_uri(&certificate)?.parse()?,
            not_before: instant(certificate.validity().not_before),
            not_after: instant(certificate.validity().not_after),
            common_name: certificate.subject().iter_common_name().find_map(|name| Some(name.as_str().ok()?.to_owned())),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Whether the usage of an authority's certificate lets it sign others (RFC 5280 section 4.2.1.3): webpki looks at CA:true
/// only. What says nothing of its usage may be used for anything.
pub fn may_sign(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn unreadable(error: impl std::fmt::Display) -> SvidError {
    SvidError::Unreadable(error.to_string())
}

fn only_uri<'a>(certificate: &X509Certificate<'a>) -> Result<&'a str, SvidError> {
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let uris: Vec<&'a str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    match uris[..] {
        [uri] => Ok(uri),
        _ => Err(SvidError::UriCount(uris.len())),
    }
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), SvidError> {
    if certificate.basic_constraints().map_err(unreadable)?.is_some_and(|extension| extension.value.ca) {
        return Err(SvidError::Authority);
    }
    let usage = certificate.key_usage().map_err(unreadable)?.ok_or(SvidError::NoDigitalSignature)?.value;
    if usage.key_cert_sign() {
        return Err(SvidError::SigningUsage("keyCertSign"));
    }
    if usage.crl_sign() {
        return Err(SvidError::SigningUsage("cRLSign"));
    }
    if !usage.digital_signature() {
        return Err(SvidError::NoDigitalSignature);
    }
    Ok(())
}

/// Times before 1970 count as 1970.
fn instant(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.timestamp().try_into().unwrap_or(0))
}
