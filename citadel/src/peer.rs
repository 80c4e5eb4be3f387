//! The other side of a TLS connection, as its certificates tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use api::{SpiffeId, SvidError, X509Svid};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::TrustBundle;

/// What a connection's peer presented at the handshake; every request on it carries this as an extension.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates {
    /// Leaf first; empty if the peer presented none. They chained to the trust bundle at the time of the handshake.
    pub chain: Arc<[CertificateDer<'static>]>,
    pub address: Option<SocketAddr>,
}

/// Why a certificate does not show who its holder is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Svid(#[from] SvidError),
    #[error("the certificate expired")]
    Expired,
    #[error("the certificate is not valid yet; are the clocks set?")]
    NotValidYet,
    #[error(
        "an authority in its chain is constrained to other names; constraints on URIs are not evaluated and so refuse \
         every SPIFFE ID: take them out of the authority's certificate"
    )]
    Constrained,
    #[error("the certificate does not chain to a root of this mesh: {0}")]
    Untrusted(webpki::Error),
}

impl PeerCertificates {
    /// The SPIFFE ID of the peer; `None` if it presented no certificate.
    pub fn identity(&self) -> Option<Result<SpiffeId, SvidError>> {
        self.chain.first().map(peer_identity)
    }
}

/// The SPIFFE ID in a certificate that keeps the rules of an X.509-SVID. The chain is not looked at.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<SpiffeId, SvidError> {
    Ok(X509Svid::parse(certificate)?.id)
}

/// Holds a client's chain to the rules of an SVID, and to the trust bundle, at one moment.
pub fn verify_peer(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Option<X509Svid>, PeerError> {
    let [leaf, intermediates @ ..] = chain else { return Ok(None) };
    let svid = X509Svid::parse(leaf)?;
    let anchors: Vec<TrustAnchor<'_>> =
        bundle.roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| {
            let time = UnixTime::since_unix_epoch(since);
            let usage = KeyUsage::client_auth();
            leaf.verify_for_usage(algorithms.all, &anchors, intermediates, time, usage, None, Some(&all_may_sign))?;
            Ok(())
        })
        .map_err(told)?;
    Ok(Some(svid))
}

fn all_may_sign(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let all = path.intermediate_certificates().all(|one| api::may_sign(&one.der()));
    if all { Ok(()) } else { Err(webpki::Error::EndEntityUsedAsCa) }
}

fn told(error: webpki::Error) -> PeerError {
    match error {
        webpki::Error::CertExpired { .. } => PeerError::Expired,
        webpki::Error::CertNotValidYet { .. } => PeerError::NotValidYet,
        webpki::Error::NameConstraintViolation => PeerError::Constrained,
        other => PeerError::Untrusted(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        KeyUsagePurpose, SanType,
    };

    use super::*;

    const OWN: &str = "spiffe://cluster.local/ns/default/sa/reviews";
    const HOUR: Duration = Duration::from_secs(3600);

    type Ca = CertifiedIssuer<'static, KeyPair>;
    type Change<'a> = &'a dyn Fn(&mut CertificateParams);

    fn authority(name: &str, above: Option<&Ca>, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        match above {
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
            Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
        }
    }

    fn leaf(issuer: &Ca, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(OWN)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - HOUR).into();
        params.not_after = (SystemTime::now() + HOUR).into();
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    /// What the control plane says of a client that shows this chain.
    fn judged(root: &Ca, chain: &[CertificateDer<'_>]) -> Result<String, PeerError> {
        let bundle = TrustBundle { roots: vec![root.der().clone()] };
        verify_peer(chain, &bundle, SystemTime::now()).map(|svid| svid.unwrap().id.to_string())
    }

    /// The list of the proxies' own tests (`proxy/src/identity/tls/tests.rs`).
    #[test]
    fn what_is_no_svid_is_refused_by_the_control_plane() {
        let root = authority("root", None, |_| {});
        assert_eq!(judged(&root, &[leaf(&root, |_| {})]).unwrap(), OWN);
        assert!(verify_peer(&[], &TrustBundle::default(), SystemTime::now()).unwrap().is_none());
        let now = SystemTime::now();
        let cases: [(&str, Change<'_>); 16] = [
            ("two identities", &|p| p.subject_alt_names.push(uri("spiffe://cluster.local/ns/default/sa/b"))),
            ("one twice", &|p| p.subject_alt_names.push(uri(OWN))),
            ("none", &|p| p.subject_alt_names.clear()),
            ("a common name only", &|p| {
                p.subject_alt_names.clear();
                p.distinguished_name.push(DnType::CommonName, OWN);
            }),
            ("a DNS name", &|p| p.subject_alt_names = vec![SanType::DnsName("reviews".try_into().unwrap())]),
            ("CA:true", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            ("keyCertSign", &|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            ("cRLSign", &|p| p.key_usages.push(KeyUsagePurpose::CrlSign)),
            ("no usage", &|p| p.key_usages.clear()),
            ("keyAgreement only", &|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
            ("for servers only", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            ("to sign code", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
            ("expired", &|p| p.not_after = (now - HOUR / 2).into()),
            ("not valid yet", &|p| p.not_before = (now + HOUR / 2).into()),
            ("too long", &|p| {
                p.subject_alt_names = vec![uri(&format!("spiffe://cluster.local/{}", "a".repeat(2048)))];
            }),
            ("names twice", &|p| {
                let twice = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
                p.custom_extensions = vec![twice];
            }),
        ];
        for (what, change) in cases {
            judged(&root, &[leaf(&root, change)]).expect_err(what);
        }
        for bad in [
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "https://cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/%61/sa/b",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b?x",
            "spiffe://cluster.local/ns/a/sa/b#x",
            "spiffe://user@cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:80/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b\0.evil",
        ] {
            let refused = judged(&root, &[leaf(&root, |p| p.subject_alt_names = vec![uri(bad)])]).expect_err(bad);
            assert!(matches!(refused, PeerError::Svid(_)), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_chain_leads_by_authorities_that_may_sign_to_a_root_of_the_mesh() {
        let root = authority("root", None, |_| {});
        let chain = |issuer: &Ca| vec![leaf(issuer, |_| {}), issuer.der().clone()];
        let good = authority("intermediate", Some(&root), |_| {});
        assert_eq!(judged(&root, &chain(&good)).unwrap(), OWN);
        judged(&root, &chain(&good)[..1]).expect_err("without the intermediate");
        judged(&authority("root", None, |_| {}), &chain(&good)).expect_err("of another root");
        let of_length_0 =
            authority("of length 0", Some(&root), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        assert_eq!(judged(&root, &chain(&of_length_0)).unwrap(), OWN);
        let below = authority("one more", Some(&of_length_0), |_| {});
        judged(&root, &[chain(&below), vec![of_length_0.der().clone()]].concat()).expect_err("too long");
        let workload = authority("workload", Some(&root), |p| {
            p.is_ca = IsCa::ExplicitNoCa;
            p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        });
        judged(&root, &chain(&workload)).expect_err("signed by a workload");
        let lists = authority("lists", Some(&root), |p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
        judged(&root, &chain(&lists)).expect_err("may sign lists only");
        let expired = authority("old", Some(&root), |p| p.not_after = (SystemTime::now() - HOUR).into());
        assert!(matches!(judged(&root, &chain(&expired)), Err(PeerError::Expired)));
    }
}
