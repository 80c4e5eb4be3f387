//! Handshakes between good and bad identities, each failure told by its cause.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::SvidError;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::super::test_kit::{Ca, RATINGS, REVIEWS, shape};
use super::*;
use crate::identity::Svid;

const HOUR: Duration = Duration::from_secs(3600);

type Connected = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

fn good(id: &str) -> CertificateParams {
    shape(id, SystemTime::now() - Duration::from_secs(60), HOUR)
}

fn live(svid: Svid) -> (watch::Sender<Arc<Svid>>, watch::Receiver<Arc<Svid>>) {
    watch::channel(Arc::new(svid))
}

fn server(ca: &Ca, allowed: Allowed) -> ServerConfig {
    let (_, svids) = live(ca.svid(&good(REVIEWS)).unwrap());
    server_config(svids, ClientAuth::Required(allowed), &TlsOptions::default()).unwrap()
}

fn client(ca: &Ca, allowed: Allowed) -> ClientConfig {
    let (_, svids) = live(ca.svid(&good(RATINGS)).unwrap());
    client_config(svids, allowed, &TlsOptions::default()).unwrap()
}

/// Shakes hands; each side's failure by itself.
async fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<Connected, (Option<Failure>, Option<Failure>)> {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("outbound_.9080_._.reviews.default.svc.cluster.local").unwrap();
    let (client, server) =
        tokio::join!(TlsConnector::from(client).connect(name, near), TlsAcceptor::from(server).accept(far));
    match (client, server) {
        (Ok(client), Ok(server)) => Ok((client, server)),
        (client, server) => {
            Err((client.err().map(|error| Failure::of_io(&error)), server.err().map(|error| Failure::of_io(&error))))
        }
    }
}

/// Why the server refuses a client that presents this.
async fn as_client(ca: &Ca, certified: Arc<CertifiedKey>) -> Option<Failure> {
    let mut config = client(ca, Allowed::Any);
    config.client_auth_cert_resolver = Arc::new(Presents(certified));
    shake(Arc::new(config), Arc::new(server(ca, Allowed::Any))).await.err().and_then(|(_, server)| server)
}

/// Why the client refuses a server that presents this.
async fn as_server(ca: &Ca, certified: Arc<CertifiedKey>) -> Option<Failure> {
    let mut config = server(ca, Allowed::Any);
    config.cert_resolver = Arc::new(Presents(certified));
    shake(Arc::new(client(ca, Allowed::Any)), Arc::new(config)).await.err().and_then(|(client, _)| client)
}

/// Presents a certificate whatever is wrong with it.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesServerCert for Presents {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl rustls::client::ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct PresentsNothing;

impl rustls::client::ResolvesClientCert for PresentsNothing {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = good(REVIEWS);
    change(&mut params);
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[tokio::test]
async fn two_workloads_of_a_mesh_know_each_other() {
    let ca = Ca::new("root");
    let connected = shake(Arc::new(client(&ca, Allowed::Any)), Arc::new(server(&ca, Allowed::Any))).await;
    let (near, far) = connected.ok().unwrap();
    assert_eq!(peer_id(far.get_ref().1.peer_certificates()).unwrap().to_string(), RATINGS);
    assert_eq!(peer_id(near.get_ref().1.peer_certificates()).unwrap().to_string(), REVIEWS);
}

#[tokio::test]
async fn whoever_is_denied_is_refused_by_both_sides() {
    let ca = Ca::new("root");
    let denying = |own: &str, id: &str| {
        let mut list = api::DenyList::default();
        list.add(api::weft::v1::denied::Who::Identity(id.to_owned()), "");
        live(ca.svid(&good(own)).unwrap().with_denied(Arc::new(list))).1
    };
    let refusing =
        server_config(denying(REVIEWS, RATINGS), ClientAuth::Required(Allowed::Any), &TlsOptions::default()).unwrap();
    let (_, refused) = shake(Arc::new(client(&ca, Allowed::Any)), Arc::new(refusing)).await.err().unwrap();
    assert_eq!(refused, Some(Failure::Revoked));
    let refusing = client_config(denying(RATINGS, REVIEWS), Allowed::Any, &TlsOptions::default()).unwrap();
    let (refused, _) = shake(Arc::new(refusing), Arc::new(server(&ca, Allowed::Any))).await.err().unwrap();
    assert_eq!(refused, Some(Failure::Revoked));
}

#[tokio::test]
async fn what_is_no_svid_is_refused_by_both_sides_and_told_by_cause() {
    let ca = Ca::new("root");
    let now = SystemTime::now();
    let cases: Vec<(&str, CertificateParams, Failure)> = vec![
        ("two URIs", changed(|p| p.subject_alt_names.push(uri(RATINGS))), SvidError::UriCount(2).into()),
        ("no URI", changed(|p| p.subject_alt_names.clear()), SvidError::UriCount(0).into()),
        (
            "a DNS name only",
            changed(|p| p.subject_alt_names = vec![SanType::DnsName("reviews".try_into().unwrap())]),
            SvidError::UriCount(0).into(),
        ),
        ("CA:true", changed(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), SvidError::Authority.into()),
        (
            "keyCertSign",
            changed(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            SvidError::SigningUsage("keyCertSign").into(),
        ),
        (
            "cRLSign",
            changed(|p| p.key_usages.push(KeyUsagePurpose::CrlSign)),
            SvidError::SigningUsage("cRLSign").into(),
        ),
        ("no key usage", changed(|p| p.key_usages.clear()), SvidError::NoDigitalSignature.into()),
        ("expired", shape(REVIEWS, now - 2 * HOUR, HOUR), Failure::Expired),
        ("not valid yet", shape(REVIEWS, now + HOUR, HOUR), Failure::NotYetValid),
        (
            "another usage",
            changed(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
            Failure::WrongUsage,
        ),
    ];
    for (what, params, wanted) in cases {
        assert_eq!(as_client(&ca, ca.certified(&params)).await.as_ref(), Some(&wanted), "{what}, as a client");
        assert_eq!(as_server(&ca, ca.certified(&params)).await.as_ref(), Some(&wanted), "{what}, as a server");
    }
    let long = format!("spiffe://cluster.local/{}", "a".repeat(2048));
    for bad in [
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "https://cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "spiffe:///ns/a/sa/b",
        &long,
        "spiffe://Cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/%61/sa/b",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe://cluster.local/ns/./sa/b",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/a/sa/b/",
        "spiffe://cluster.local/ns/a/sa/b?x",
        "spiffe://cluster.local/ns/a/sa/b#x",
        "spiffe://user@cluster.local/ns/a/sa/b",
        "spiffe://cluster.local:80/ns/a/sa/b",
        // CVE-2025-66220, CVE-2026-47778.
        "spiffe://cluster.local/ns/a/sa/b\0.evil",
        "spiffe://cluster.local\0.evil/ns/a/sa/b",
    ] {
        let params = changed(|p| p.subject_alt_names = vec![uri(bad)]);
        assert_eq!(as_client(&ca, ca.certified(&params)).await.unwrap().kind(), "bad_svid", "{bad}");
        assert_eq!(as_server(&ca, ca.certified(&params)).await.unwrap().kind(), "bad_svid", "{bad}");
    }
}

#[tokio::test]
async fn each_side_of_a_connection_needs_its_own_usage() {
    let ca = Ca::new("root");
    let serves = ca.certified(&changed(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]));
    assert_eq!(as_server(&ca, serves.clone()).await, None);
    assert_eq!(as_client(&ca, serves).await, Some(Failure::WrongUsage));
}

#[tokio::test]
async fn strangers_are_told_apart() {
    let (ca, other) = (Ca::new("root"), Ca::new("root"));
    let stranger = other.certified(&good(REVIEWS));
    assert_eq!(as_client(&ca, stranger.clone()).await, Some(Failure::UnknownAuthority));
    assert_eq!(as_server(&ca, stranger).await, Some(Failure::UnknownAuthority));
    let foreign = good("spiffe://other.mesh/ns/default/sa/reviews");
    for certified in [ca.certified(&foreign), other.certified(&foreign)] {
        assert_eq!(as_client(&ca, certified.clone()).await.unwrap().kind(), "foreign_trust_domain");
        assert_eq!(as_server(&ca, certified).await.unwrap().kind(), "foreign_trust_domain");
    }
}

#[tokio::test]
async fn only_the_allowed_identities_are_let_in() {
    let ca = Ca::new("root");
    let ratings: api::SpiffeId = RATINGS.parse().unwrap();
    let default = Allowed::Prefix("spiffe://cluster.local/ns/default/".to_owned());
    let other = Allowed::Prefix("spiffe://cluster.local/ns/other/".to_owned());
    let nobody = Allowed::Matching(Arc::new(|_| false));
    for (allowed, let_in) in [
        (Allowed::Ids([ratings.clone()].into()), true),
        (default, true),
        (Allowed::Ids([].into()), false),
        (other, false),
        (nobody, false),
    ] {
        let what = format!("{allowed:?}");
        let refused = shake(Arc::new(client(&ca, Allowed::Any)), Arc::new(server(&ca, allowed))).await.err();
        let failure = refused.and_then(|(_, server)| server);
        assert_eq!(failure, (!let_in).then(|| Failure::NotAllowed(ratings.clone())), "{what}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_only_where_that_is_optional() {
    let ca = Ca::new("root");
    let anonymous = || {
        let mut config = client(&ca, Allowed::Any);
        config.client_auth_cert_resolver = Arc::new(PresentsNothing);
        Arc::new(config)
    };
    let refused = shake(anonymous(), Arc::new(server(&ca, Allowed::Any))).await.err().unwrap();
    assert_eq!(refused.1, Some(Failure::NoCertificate));
    let (_, svids) = live(ca.svid(&good(REVIEWS)).unwrap());
    let optional = server_config(svids, ClientAuth::Optional(Allowed::Any), &TlsOptions::default()).unwrap();
    let (_, far) = shake(anonymous(), Arc::new(optional)).await.ok().unwrap();
    assert_eq!(peer_id(far.get_ref().1.peer_certificates()), None);
}

#[tokio::test]
async fn a_renewal_is_used_by_the_next_handshake_and_disturbs_no_open_connection() {
    let ca = Ca::new("root");
    let (sender, svids) = live(ca.svid(&good(REVIEWS)).unwrap());
    let server = Arc::new(server_config(svids, ClientAuth::Required(Allowed::Any), &TlsOptions::default()).unwrap());
    let client = Arc::new(client(&ca, Allowed::Any));
    let presented = |connected: &Connected| connected.0.get_ref().1.peer_certificates().unwrap()[0].clone();

    let mut open = shake(client.clone(), server.clone()).await.ok().unwrap();
    sender.send_replace(Arc::new(ca.svid(&good(REVIEWS)).unwrap()));
    let next = shake(client, server).await.ok().unwrap();
    assert_ne!(presented(&open), presented(&next));

    open.0.write_all(b"still here").await.unwrap();
    open.0.flush().await.unwrap();
    let mut answer = [0; 10];
    open.1.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"still here");
}

#[tokio::test]
async fn a_change_of_the_trust_bundle_counts_from_the_next_handshake() {
    let (ca, other) = (Ca::new("root"), Ca::new("another root"));
    let (sender, svids) = live(ca.svid(&good(REVIEWS)).unwrap());
    let server = Arc::new(server_config(svids, ClientAuth::Required(Allowed::Any), &TlsOptions::default()).unwrap());
    let client = Arc::new(client(&ca, Allowed::Any));
    assert!(shake(client.clone(), server.clone()).await.is_ok());
    sender.send_replace(Arc::new(other.svid(&good(REVIEWS)).unwrap()));
    // No session of before is resumed: the client no longer trusts the server, nor the server the client.
    assert_eq!(shake(client, server).await.err().unwrap().0, Some(Failure::UnknownAuthority));
}

/// Why either side refuses what an authority below the root signed: the server a client, the client a server.
async fn below(ca: &Ca, authority: &Ca, params: &CertificateParams) -> [Option<Failure>; 2] {
    [as_client(ca, authority.certified(params)).await, as_server(ca, authority.certified(params)).await]
}

/// X509-SVID sections 3.2, 4.1, 4.2 and 5.2: what stands between a leaf and its root.
#[tokio::test]
async fn who_signs_must_be_an_authority_that_may_and_no_workload() {
    let ca = Ca::new("root");
    let good = good(REVIEWS);
    let refused = |name: &str, change: fn(&mut CertificateParams)| ca.below(name, change);
    let own = "spiffe://cluster.local".try_into().unwrap();
    for fine in [
        refused("plain", |_| {}),
        ca.below("named", |p| p.subject_alt_names = vec![SanType::URI(own)]),
        refused("of any usage", |p| p.key_usages.clear()),
        ca.below("first", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))).below("second", |_| {}),
    ] {
        assert_eq!(below(&ca, &fine, &good).await, [None, None]);
    }
    let workload = |p: &mut CertificateParams| {
        *p = shape(REVIEWS, SystemTime::now() - Duration::from_secs(60), HOUR);
        p.distinguished_name.push(rcgen::DnType::CommonName, "a workload");
    };
    let cases = [
        ("a workload signs", refused("a workload", workload)),
        (
            "may sign lists only",
            refused("no keyCertSign", |p| {
                p.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature]
            }),
        ),
        ("signs for another authority", refused("of length 0", |_| {}).below("one more", |_| {})),
        ("expired", refused("expired", |p| p.not_after = (SystemTime::now() - HOUR).into())),
        ("not valid yet", refused("early", |p| p.not_before = (SystemTime::now() + HOUR).into())),
        ("for mail only", {
            refused("mail", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection])
        }),
    ];
    for (what, authority) in cases {
        let [client, server] = below(&ca, &authority, &good).await;
        assert!(client.is_some() && server.is_some(), "{what}: {client:?}, {server:?}");
    }
    // Without what stands between, and with it from elsewhere.
    let authority = refused("plain", |_| {});
    let mut alone = Arc::unwrap_or_clone(authority.certified(&good));
    alone.cert.truncate(1);
    assert_eq!(as_client(&ca, Arc::new(alone.clone())).await, Some(Failure::UnknownAuthority));
    alone.cert.push(Ca::new("root").below("plain", |_| {}).certified(&good).cert[1].clone());
    assert_eq!(as_server(&ca, Arc::new(alone)).await, Some(Failure::UnknownAuthority));
}

#[tokio::test]
async fn names_that_stand_twice_or_beside_the_identity_do_no_good() {
    let ca = Ca::new("root");
    let now = SystemTime::now();
    // A name beside the identity is no second one.
    let beside = changed(|p| p.subject_alt_names.push(SanType::DnsName("reviews".try_into().unwrap())));
    assert_eq!(below(&ca, &ca, &beside).await, [None, None]);
    const NAMES: &[u64] = &[2, 5, 29, 17];
    let names = |uri: &str| {
        let uri = [&[0x86, u8::try_from(uri.len()).unwrap()], uri.as_bytes()].concat();
        let names = [&[0x30, u8::try_from(uri.len()).unwrap()], &*uri].concat();
        rcgen::CustomExtension::from_oid_content(NAMES, names)
    };
    let bad = [
        ("the extension twice", changed(|p| p.custom_extensions = vec![names(RATINGS)])),
        ("the same URI twice", changed(|p| p.subject_alt_names.push(uri(REVIEWS)))),
        ("a URI of another kind beside it", changed(|p| p.subject_alt_names.push(uri("https://reviews.example")))),
        ("an identity as DNS name", {
            changed(|p| p.subject_alt_names = vec![SanType::DnsName(REVIEWS.try_into().unwrap())])
        }),
        ("an identity as common name", {
            changed(|p| {
                p.subject_alt_names.clear();
                p.distinguished_name.push(rcgen::DnType::CommonName, REVIEWS);
            })
        }),
        ("for agreement on keys only", changed(|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement])),
        ("ended as it began", shape(REVIEWS, now - HOUR, Duration::ZERO)),
    ];
    for (what, params) in bad {
        let [client, server] = below(&ca, &ca, &params).await;
        assert!(client.is_some() && server.is_some(), "{what}: {client:?}, {server:?}");
    }
}

/// RUSTSEC-2026-0098 and -0099 are about name constraints that are not heeded; CVE-2026-35189 is about an extension
/// that costs more than it is worth. webpki evaluates no constraints on URIs, and refuses what is below them.
#[tokio::test]
async fn constraints_of_an_authority_are_heeded_and_strange_extensions_do_no_harm() {
    let ca = Ca::new("root");
    // As the mesh's own intermediate has them: on names of servers, of which an SVID has none.
    let servers = ca.below("no servers", |params| {
        let any = rcgen::GeneralSubtree::DnsName(String::new());
        params.name_constraints =
            Some(rcgen::NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: vec![any] });
    });
    assert_eq!(below(&ca, &servers, &good(REVIEWS)).await, [None, None]);
    let named = changed(|p| p.subject_alt_names.push(SanType::DnsName("reviews".try_into().unwrap())));
    for failure in below(&ca, &servers, &named).await {
        assert!(failure.unwrap().to_string().contains("NameConstraintViolation"));
    }
    for permits in [true, false] {
        for host in ["cluster.local", ".cluster.local", "other.mesh", "*.local", ""] {
            for failure in below(&ca, &ca.constrained(permits, host), &good(REVIEWS)).await {
                assert!(failure.unwrap().to_string().contains("NameConstraintViolation"), "{permits}, {host}");
            }
        }
    }
    let foreign = good("spiffe://other.mesh/ns/default/sa/reviews");
    for failure in below(&ca, &ca.constrained(true, "other.mesh"), &foreign).await {
        assert_eq!(failure.unwrap().kind(), "foreign_trust_domain");
    }
    const CRL_DISTRIBUTION_POINTS: &[u64] = &[2, 5, 29, 31];
    for content in [vec![0x30; 20_000], vec![0x30, 0x80, 0xff], Vec::new()] {
        let extension = rcgen::CustomExtension::from_oid_content(CRL_DISTRIBUTION_POINTS, content);
        let params = changed(|params| params.custom_extensions = vec![extension]);
        // Refused or not: neither side may come to harm.
        let _ = below(&ca, &ca, &params).await;
    }
}
