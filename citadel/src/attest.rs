//! Who asks for a certificate: evidence in, attestation out. Each kind of evidence has a file.

mod current_certificate;
mod expired_certificate;
pub(crate) mod issuer_token;
mod join_token;
mod service_account;

use std::time::Duration;

use api::{SpiffeId, TrustDomain};
use async_trait::async_trait;
use rustls::pki_types::CertificateDer;

pub use self::current_certificate::CurrentCertificate;
pub use self::expired_certificate::ExpiredCertificate;
pub use self::issuer_token::{IdentityRule, IssuerConfig, IssuerToken, Issuers, KeySource};
pub use self::join_token::JoinToken;
pub use self::service_account::{ServiceAccount, TokenReview, TokenReviews};
use crate::{PeerCertificates, Redeemed};

/// What came with a signing request.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The text after `authorization: Bearer`.
    pub bearer: Option<&'a str>,
    pub peer: Option<&'a PeerCertificates>,
    /// Certificates of a workload that expired, leaf first.
    pub expired: &'a [CertificateDer<'static>],
    /// Of the key that is to be certified.
    pub key_fingerprint: &'a str,
}

/// What the evidence proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    JoinToken(Redeemed),
    /// `member` is the common name.
    CurrentCertificate {
        id: SpiffeId,
        serial: String,
        member: Option<String>,
    },
    ExpiredCertificate {
        id: SpiffeId,
        serial: String,
        member: Option<String>,
        expired_for: Duration,
    },
    /// A JWT of an issuer, for `subject`, and what a rule of the operator says that it is worth.
    IssuerToken {
        issuer: String,
        subject: String,
        namespace: String,
        service_account: String,
    },
    /// Of a Kubernetes cluster.
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

/// One way to tell who asks.
#[async_trait]
pub trait Attestor: Send + Sync {
    /// Whether others may have to be asked about the evidence, who may be slow to answer.
    fn asks_others(&self, _evidence: &Evidence<'_>) -> bool {
        false
    }

    /// `None` if the evidence holds nothing of this attestor's kind.
    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal>;
}

/// Why somebody gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no evidence, or it does not hold.
    Unauthenticated,
    /// It is known who asks, and the answer is no.
    Denied,
    /// It cannot be told now; ask again.
    Unavailable,
}

impl Refusal {
    pub fn unauthenticated(message: impl ToString) -> Self {
        Self { kind: RefusalKind::Unauthenticated, message: message.to_string() }
    }

    pub fn denied(message: impl ToString) -> Self {
        Self { kind: RefusalKind::Denied, message: message.to_string() }
    }

    pub fn unavailable(message: impl ToString) -> Self {
        Self { kind: RefusalKind::Unavailable, message: message.to_string() }
    }
}

/// The identity that an attestation entitles to: the only place where it is decided. `reserved` is the control plane's
/// own identity, which nobody obtains from outside.
pub fn identity(
    trust_domain: &TrustDomain,
    reserved: &SpiffeId,
    attestation: &Attestation,
) -> Result<SpiffeId, Refusal> {
    let id = match attestation {
        Attestation::JoinToken(Redeemed { namespace, service_account, .. })
        | Attestation::IssuerToken { namespace, service_account, .. } => {
            trust_domain.workload(namespace, service_account).map_err(Refusal::denied)?
        }
        Attestation::ServiceAccount { namespace, name } => {
            trust_domain.workload(namespace, name).map_err(Refusal::denied)?
        }
        Attestation::CurrentCertificate { id, .. } | Attestation::ExpiredCertificate { id, .. } => id.clone(),
    };
    if id.trust_domain() != trust_domain {
        return Err(Refusal::denied(format!("{id} is not of this mesh, whose trust domain is {trust_domain}")));
    }
    if id == *reserved {
        return Err(Refusal::denied(format!("{id} is the control plane's own identity; use another service account")));
    }
    Ok(id)
}

impl Attestation {
    /// Of the certificate that was shown, if one was.
    pub fn serial(&self) -> Option<&str> {
        match self {
            Self::JoinToken(_) | Self::IssuerToken { .. } | Self::ServiceAccount { .. } => None,
            Self::CurrentCertificate { serial, .. } | Self::ExpiredCertificate { serial, .. } => Some(serial),
        }
    }

    /// For the ledger.
    pub fn describe(&self) -> String {
        match self {
            Self::JoinToken(Redeemed { token, .. }) => format!("join token {token}"),
            Self::IssuerToken { issuer, subject, .. } => format!("token of {issuer} for {subject}"),
            Self::ServiceAccount { namespace, name } => format!("service account {namespace}/{name}"),
            Self::CurrentCertificate { serial, .. } => format!("certificate {serial}"),
            Self::ExpiredCertificate { serial, expired_for, .. } => {
                format!("certificate {serial}, expired for {} s", expired_for.as_secs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(attestation: Attestation) -> Result<String, RefusalKind> {
        let ours = TrustDomain::new("cluster.local").unwrap();
        let reserved = ours.workload("istio-system", "control-plane").unwrap();
        identity(&ours, &reserved, &attestation).map(|id| id.to_string()).map_err(|refusal| refusal.kind)
    }

    fn token(namespace: &str, service_account: &str) -> Attestation {
        let (namespace, service_account) = (namespace.to_owned(), service_account.to_owned());
        Attestation::JoinToken(Redeemed { token: "t".to_owned(), namespace, service_account, ..Redeemed::default() })
    }

    fn certificate(id: &str) -> Attestation {
        Attestation::CurrentCertificate { id: id.parse().unwrap(), serial: "01".to_owned(), member: None }
    }

    #[test]
    fn the_attested_identity_is_granted_and_no_other() {
        let reviews = "spiffe://cluster.local/ns/default/sa/reviews";
        assert_eq!(decide(token("default", "reviews")).as_deref(), Ok(reviews));
        assert_eq!(decide(certificate(reviews)).as_deref(), Ok(reviews));
        assert_eq!(decide(certificate("spiffe://other.mesh/ns/default/sa/reviews")), Err(RefusalKind::Denied));
        assert_eq!(decide(token("istio-system", "control-plane")), Err(RefusalKind::Denied));
        assert_eq!(decide(token("default", "../reviews")), Err(RefusalKind::Denied));
        let of = |namespace: &str, account: &str| (namespace.to_owned(), account.to_owned());
        for (account, granted) in [("reviews", true), ("control-plane", false), ("../reviews", false)] {
            let (namespace, name) = of(if granted { "default" } else { "istio-system" }, account);
            let cluster = Attestation::ServiceAccount { namespace: namespace.clone(), name: name.clone() };
            let (issuer, subject) = of("https://issuer", "somebody");
            let issued = Attestation::IssuerToken { issuer, subject, namespace, service_account: name };
            for decided in [decide(cluster), decide(issued)] {
                assert_eq!(decided.as_deref() == Ok(reviews), granted, "{account}: {decided:?}");
            }
        }
    }
}
