//! Why a handshake failed, by cause. `kind` is the label that metrics count by.

use std::io;
use std::sync::Arc;

use api::{SpiffeId, SvidError, TrustDomain};
use rustls::{AlertDescription, CertificateError, Error, OtherError};

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    #[error("the peer presented no certificate")]
    NoCertificate,
    #[error("the peer's certificate is no SVID: {0}")]
    BadSvid(#[from] SvidError),
    #[error("{found} is of another trust domain than {ours}")]
    ForeignTrustDomain { found: SpiffeId, ours: TrustDomain },
    #[error("the certificate expired")]
    Expired,
    #[error("the certificate is not valid yet; are the clocks set?")]
    NotYetValid,
    #[error("the certificate does not chain to a trusted root")]
    UnknownAuthority,
    #[error("{0} is not allowed here")]
    NotAllowed(SpiffeId),
    #[error("the certificate may not be used for this side of a connection")]
    WrongUsage,
    #[error("the certificate was revoked")]
    Revoked,
    #[error("no list in force says that the certificate is not revoked")]
    UnknownRevocation,
    /// The peer ended the handshake; its own log tells why.
    #[error("the peer ended the handshake with the alert {0:?}")]
    RefusedByPeer(AlertDescription),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// A metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::BadSvid(_) => "bad_svid",
            Self::ForeignTrustDomain { .. } => "foreign_trust_domain",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownAuthority => "unknown_authority",
            Self::NotAllowed(_) => "not_allowed",
            Self::WrongUsage => "wrong_usage",
            Self::Revoked => "revoked",
            Self::UnknownRevocation => "unknown_revocation",
            Self::RefusedByPeer(_) => "refused_by_peer",
            Self::Other(_) => "other",
        }
    }

    /// The cause in what rustls returns.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::RefusedByPeer(*alert),
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            other => Self::Other(other.to_string()),
        }
    }

    /// The cause in what tokio-rustls returns.
    pub fn of_io(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        inner.map_or_else(|| Self::Other(error.to_string()), Self::of)
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::WrongUsage,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::UnknownRevocation,
            CertificateError::Other(OtherError(inner)) => {
                inner.downcast_ref::<Self>().cloned().unwrap_or_else(|| Self::Other(inner.to_string()))
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<webpki::Error> for Failure {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::CertExpired { .. } => Self::Expired,
            webpki::Error::CertNotValidYet { .. } => Self::NotYetValid,
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::UnknownAuthority,
            webpki::Error::CertRevoked => Self::Revoked,
            webpki::Error::UnknownRevocationStatus | webpki::Error::CrlExpired { .. } => Self::UnknownRevocation,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            other => Self::Other(format!("the certificate cannot be verified: {other}")),
        }
    }
}

/// The error that makes rustls send the alert that fits.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Expired => CertificateError::Expired,
            Failure::NotYetValid => CertificateError::NotValidYet,
            Failure::UnknownAuthority => CertificateError::UnknownIssuer,
            Failure::WrongUsage => CertificateError::InvalidPurpose,
            Failure::Revoked => CertificateError::Revoked,
            Failure::UnknownRevocation => CertificateError::UnknownRevocationStatus,
            Failure::NoCertificate => return Self::NoCertificatesPresented,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        Self::InvalidCertificate(error)
    }
}
