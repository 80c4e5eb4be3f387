//! The authority on disk, judged by rustls and openssl, through restarts, damage and time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer as _, GeneralName};

use super::*;
use crate::test_kit::{Mesh, issue};
use crate::{PeerError, verify_peer};

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(certificate).unwrap().1
}

fn mode(mesh: &Mesh, name: &str) -> u32 {
    fs::metadata(mesh.ca().join(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_keys_are_for_the_owner_alone_and_survive_a_restart() {
    let mesh = Mesh::new();
    let first = mesh.authority();
    assert_eq!(mode(&mesh, ""), 0o700);
    assert_eq!((mode(&mesh, "root-key.pem"), mode(&mesh, "intermediate-key.pem")), (0o600, 0o600));
    let again = mesh.authority();
    assert_eq!(first.trust_bundle().borrow().pin(), again.trust_bundle().borrow().pin());
    assert_eq!(first.keys().intermediate.certificate, again.keys().intermediate.certificate);
}

#[tokio::test]
async fn an_svid_has_one_critical_uri_and_only_the_usages_of_a_workload() {
    let mesh = Mesh::new();
    let issued = issue(&mesh.authority(), &mesh.id("reviews"), None).await;
    let leaf = parsed(&issued.chain[0]);
    let names = leaf.tbs_certificate.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical, "the subject is empty, so the name must be critical");
    assert_eq!(names.value.general_names, [GeneralName::URI("spiffe://cluster.local/ns/default/sa/reviews")]);
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature and nothing else");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any && !extended.code_signing);
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(issued.chain.len(), 3);
}

#[tokio::test]
async fn rustls_and_openssl_accept_the_chain() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let issued = issue(&authority, &mesh.id("reviews"), None).await;
    let bundle = authority.trust_bundle().borrow().clone();
    let svid = verify_peer(&issued.chain, &bundle, mesh.time.clock().now()).unwrap().unwrap();
    assert_eq!(svid.id, mesh.id("reviews"));

    let leaf = mesh.dir.path().join("leaf.pem");
    fs::write(&leaf, pem(&issued.chain[0])).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
        .arg(mesh.ca().join("root.pem"))
        .arg("-untrusted")
        .arg(mesh.ca().join("intermediate.pem"))
        .arg(&leaf)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// rustls refuses every chain below a constraint on URIs, which it does not evaluate: the SPIFFE ID's trust domain is
/// held to at each handshake instead, and what can be written down is.
#[tokio::test]
async fn an_intermediate_signs_no_further_authority_and_no_server_names() {
    let mesh = Mesh::new();
    let issued = issue(&mesh.authority(), &mesh.id("reviews"), None).await;
    let (intermediate, root) = (parsed(&issued.chain[1]), parsed(&issued.chain[2]));
    assert_eq!(intermediate.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
    assert_eq!(root.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(1));
    let constraints = intermediate.name_constraints().unwrap().unwrap();
    let excluded = constraints.value.excluded_subtrees.as_deref().unwrap();
    assert!(constraints.critical && constraints.value.permitted_subtrees.is_none());
    let kinds = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(name) => format!("DNS {name:?}"),
        GeneralName::IPAddress(range) => format!("{} bytes", range.len()),
        other => format!("{other:?}"),
    };
    let shown: Vec<String> = excluded.iter().map(|subtree| kinds(&subtree.base)).collect();
    assert_eq!(shown, ["DNS \"\"", "8 bytes", "32 bytes"]);
}

#[tokio::test]
async fn a_certificate_ends_when_its_lifetime_does() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let issued = issue(&authority, &mesh.id("reviews"), None).await;
    let bundle = authority.trust_bundle().borrow().clone();
    let judge = |chain: &[_]| verify_peer(chain, &bundle, mesh.time.clock().now());
    mesh.time.advance(Duration::from_secs(3595));
    assert!(judge(&issued.chain).is_ok());
    mesh.time.advance(Duration::from_secs(10));
    assert!(matches!(judge(&issued.chain), Err(PeerError::Expired)));
}

#[tokio::test]
async fn short_lifetimes_are_whole_and_wishes_only_shorten() {
    let mesh = Mesh::new();
    let authority = mesh.authority().with_ttl(Duration::from_secs(20));
    // A nanosecond after a whole second, where the most is rounded.
    let nanos = mesh.time.clock().now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    mesh.time.advance(Duration::from_nanos(u64::from(1_000_000_001 - nanos)));
    let now = mesh.time.clock().now();
    for (wish, wanted) in [(None, 20), (Some(7), 7), (Some(1), 5), (Some(86_400), 20)] {
        let issued = issue(&authority, &mesh.id("reviews"), wish.map(Duration::from_secs)).await;
        let left = issued.not_after.duration_since(now).unwrap();
        assert!(left >= Duration::from_secs(wanted) && left <= Duration::from_secs(wanted + 1), "{wish:?}: {left:?}");
        let half = issued.not_before + issued.not_after.duration_since(issued.not_before).unwrap() / 2;
        assert!(issued.not_before <= now && now < half, "half of its life is over before it begins");
    }
}

#[tokio::test]
async fn the_intermediate_is_renewed_at_half_its_life_under_the_same_root() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let before = issue(&authority, &mesh.id("reviews"), None).await;
    mesh.time.advance(Duration::from_secs(3 * 24 * 3600));
    assert_eq!(issue(&authority, &mesh.id("reviews"), None).await.chain[1], before.chain[1]);
    mesh.time.advance(Duration::from_secs(24 * 3600));
    let after = issue(&authority, &mesh.id("reviews"), None).await;
    assert_ne!(after.chain[1], before.chain[1]);
    assert_eq!(after.chain[2], before.chain[2]);
    let bundle = authority.trust_bundle().borrow().clone();
    assert!(verify_peer(&after.chain, &bundle, mesh.time.clock().now()).is_ok());
    assert!(after.not_before >= parsed_start(&after.chain[1]));
    // A start long after the intermediate expired makes a new one.
    mesh.time.advance(Duration::from_secs(30 * 24 * 3600));
    let reopened = issue(&mesh.authority(), &mesh.id("reviews"), None).await;
    assert!(verify_peer(&reopened.chain, &bundle, mesh.time.clock().now()).is_ok());
}

fn parsed_start(certificate: &CertificateDer<'_>) -> SystemTime {
    let start = parsed(certificate).validity().not_before.timestamp();
    SystemTime::UNIX_EPOCH + Duration::from_secs(start.try_into().unwrap())
}

#[tokio::test]
async fn every_certificate_is_in_the_ledger_until_it_expires() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let issued = issue(&authority, &mesh.id("reviews"), None).await;
    let [entry] = &authority.ledger().entries().await.unwrap()[..] else { panic!("one entry is expected") };
    assert_eq!(
        (&entry.serial, entry.identity.as_str()),
        (&issued.serial, "spiffe://cluster.local/ns/default/sa/reviews")
    );
    assert_eq!(entry.attested_by, "test");
    assert_eq!(authority.ledger().prune().await.unwrap(), 0);
    mesh.time.advance(Duration::from_secs(3700));
    let next = issue(&authority, &mesh.id("ratings"), None).await;
    let left: Vec<String> = authority.ledger().entries().await.unwrap().into_iter().map(|entry| entry.serial).collect();
    assert_eq!(left, [next.serial]);
}

#[tokio::test]
async fn it_signs_for_its_own_trust_domain_only() {
    let mesh = Mesh::new();
    let key = crate::SubjectKey::of(&KeyPair::generate().unwrap());
    let id = "spiffe://other.mesh/ns/default/sa/reviews".parse().unwrap();
    let request =
        IssueRequest { id, key, ttl: None, member: None, attested_by: "test".to_owned(), renews: None, from: None };
    assert!(matches!(mesh.authority().issue(request).await, Err(IssueError::ForeignTrustDomain { .. })));
}

#[test]
fn a_damaged_directory_is_told_and_never_overwritten() {
    let mesh = Mesh::new();
    drop(mesh.authority());
    let open = |domain: &str| {
        let domain = TrustDomain::new(domain).unwrap();
        SelfSigned::open(&mesh.ca(), &domain, mesh.store.clone(), mesh.time.clock()).map(drop)
    };
    assert!(
        matches!(open("other.mesh"), Err(OpenError::TrustDomain { found, .. }) if found == "spiffe://cluster.local")
    );
    let root = fs::read(mesh.ca().join("root.pem")).unwrap();
    fs::copy(mesh.ca().join("intermediate-key.pem"), mesh.ca().join("root-key.pem")).unwrap();
    assert!(matches!(open("cluster.local"), Err(OpenError::Content { .. })));
    fs::remove_file(mesh.ca().join("root-key.pem")).unwrap();
    assert!(matches!(open("cluster.local"), Err(OpenError::KeyMissing { .. })));
    assert_eq!(fs::read(mesh.ca().join("root.pem")).unwrap(), root);
}

#[test]
fn an_expired_root_is_told() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    mesh.time.advance(Duration::from_secs(11 * 365 * 24 * 3600));
    assert!(matches!(authority.signer(mesh.time.clock().now()), Err(IssueError::RootExpired)));
    let again = SelfSigned::open(&mesh.ca(), &mesh.trust_domain, Arc::clone(&mesh.store) as _, mesh.time.clock());
    assert!(matches!(again.map(drop), Err(OpenError::Expired { .. })));
}
