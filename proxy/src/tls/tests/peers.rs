//! Which certificates are believed, and what a peer is told that is not.

use super::*;
use crate::config::{Snapshot, convert};
use crate::filter::test_kit::{filter, message};

/// What a client that shows this is told by a server that judges by these rules; `None` if it is let in.
async fn told(ca: &Ca, rules: Value, client: Option<&Issued>) -> Option<AlertDescription> {
    let server = ca.issue(&[dns("a.example")]);
    let required = json!({"require_client_certificate": true});
    let server = serves(all([server.shown(), json!({ "validation_context": rules })]), required);
    let shown = client.map_or(json!({}), Issued::shown);
    let client = connects(all([shown, json!({"validation_context": ca.pem()})]), json!({}));
    match shake(&client, &server).await {
        Ok(_) => None,
        Err([Some(rustls::Error::AlertReceived(alert)), _]) => Some(alert),
        Err(other) => panic!("{other:?}"),
    }
}

fn valid(from: SystemTime, to: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![dns("client.example")];
    (params.not_before, params.not_after) = (from.into(), to.into());
    params
}

/// CVE-2021-28683.
#[tokio::test]
async fn a_client_is_told_by_alert_what_is_wrong_with_its_certificate() {
    let (ca, now) = (Ca::new(), SystemTime::now());
    let good = ca.issue(&[dns("client.example")]);
    let stranger = Ca::new().issue(&[dns("client.example")]);
    let (past, future) = (ca.sign(&valid(now - 3 * DAY, now - DAY)), ca.sign(&valid(now + DAY, now + 2 * DAY)));
    let mut usage = valid(now - DAY, now + DAY);
    usage.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let server_only = ca.sign(&usage);
    for (client, expected) in [
        (Some(&good), None),
        (None, Some(AlertDescription::CertificateRequired)),
        (Some(&stranger), Some(AlertDescription::UnknownCA)),
        (Some(&past), Some(AlertDescription::CertificateExpired)),
        (Some(&future), Some(AlertDescription::CertificateExpired)),
        (Some(&server_only), Some(AlertDescription::UnsupportedCertificate)),
    ] {
        assert_eq!(told(&ca, ca.pem(), client).await, expected);
    }
    let lenient = all([ca.pem(), json!({"allow_expired_certificate": true})]);
    assert_eq!(told(&ca, lenient.clone(), Some(&past)).await, None);
    assert_eq!(told(&ca, lenient, Some(&stranger)).await, Some(AlertDescription::UnknownCA));
}

#[tokio::test]
async fn names_hashes_and_depth_decide_beside_the_chain() {
    let ca = Ca::new();
    let good = ca.issue(&[dns("client.example"), SanType::Rfc822Name("c@example".try_into().unwrap())]);
    let other = ca.issue(&[dns("other.example")]);
    let hash = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex = hex::encode(hash(&good.der));
    let colons = hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
    let colons = colons.collect::<Vec<_>>().join(":");
    use base64::Engine as _;
    let spki = base64::engine::general_purpose::STANDARD.encode(hash(&good.spki));
    let named = |kind: &str, name: &str| json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}}]});
    for rules in [
        named("DNS", "client.example"),
        named("EMAIL", "c@example"),
        json!({"match_subject_alt_names": [{"suffix": "client.example"}]}),
        json!({"verify_certificate_hash": [hex]}),
        json!({"verify_certificate_hash": [colons]}),
        json!({ "verify_certificate_spki": [spki] }),
    ] {
        let rules = all([ca.pem(), rules]);
        assert_eq!(told(&ca, rules.clone(), Some(&good)).await, None, "{rules}");
        let refused = told(&ca, rules, Some(&other)).await;
        assert_eq!(refused, Some(AlertDescription::CertificateUnknown));
    }
    let stranger = Ca::new().issue(&[dns("client.example")]);
    let pinned = json!({"verify_certificate_hash": [hex::encode(hash(&stranger.der))]});
    assert_eq!(told(&ca, pinned.clone(), Some(&stranger)).await, None, "a pinned certificate needs no root");
    assert_eq!(told(&ca, all([ca.pem(), pinned]), Some(&stranger)).await, Some(AlertDescription::UnknownCA));

    let between = ca.intermediate();
    let mut deep = between.issue(&[dns("client.example")]);
    deep.chain += &between.0.pem();
    for (depth, expected) in [(2, None), (1, Some(AlertDescription::CertificateUnknown))] {
        let rules = all([ca.pem(), json!({ "max_verify_depth": depth })]);
        assert_eq!(told(&ca, rules, Some(&deep)).await, expected, "depth {depth}");
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_one_that_no_list_in_force_speaks_for() {
    let (ca, now) = (Ca::new(), SystemTime::now());
    let numbered = |ca: &Ca, serial: u64| {
        let mut params = valid(now - DAY, now + DAY);
        params.serial_number = Some(serial.into());
        ca.sign(&params)
    };
    let (revoked, good) = (numbered(&ca, 7), numbered(&ca, 8));
    let rules = all([ca.pem(), ca.crl(&[7], now + DAY)]);
    assert_eq!(told(&ca, rules.clone(), Some(&revoked)).await, Some(AlertDescription::CertificateRevoked));
    assert_eq!(told(&ca, rules.clone(), Some(&good)).await, None);
    let stale = all([ca.pem(), ca.crl(&[7], now - Duration::from_secs(60))]);
    assert_eq!(told(&ca, stale, Some(&good)).await, Some(AlertDescription::UnknownCA));
    let between = ca.intermediate();
    let mut deep = numbered(&between, 9);
    deep.chain += &between.0.pem();
    assert_eq!(told(&ca, rules, Some(&deep)).await, Some(AlertDescription::UnknownCA), "no list of its own issuer");
    let leaf = all([ca.pem(), between.crl(&[], now + DAY), json!({"only_verify_leaf_cert_crl": true})]);
    assert_eq!(told(&ca, leaf.clone(), Some(&deep)).await, None);
    let whole = all([leaf, json!({"only_verify_leaf_cert_crl": false})]);
    assert_eq!(told(&ca, whole, Some(&deep)).await, Some(AlertDescription::UnknownCA), "no list for the authority");
}

#[tokio::test]
async fn whoever_comes_is_let_in_where_that_is_configured() {
    let (ca, stranger) = (Ca::new(), Ca::new().issue(&[dns("x.example")]));
    let rules = all([ca.pem(), json!({"trust_chain_verification": "ACCEPT_UNTRUSTED"})]);
    assert_eq!(told(&ca, rules, Some(&stranger)).await, None);
}

#[tokio::test]
async fn a_server_is_held_to_the_name_that_was_asked_for_where_that_is_configured() {
    let ca = Ca::new();
    let client = |more| connects(json!({"validation_context": ca.pem()}), more);
    let other = serves(ca.issue(&[dns("b.example")]).shown(), json!({}));
    let wild = serves(ca.issue(&[dns("*.example")]).shown(), json!({}));
    let strict = client(json!({"auto_sni_san_validation": true, "sni": "a.example"}));
    assert!(shake(&client(json!({})), &other).await.is_ok(), "without rules any name will do");
    assert!(shake(&strict, &wild).await.is_ok());
    assert!(shake(&strict, &other).await.is_err());
}

#[test]
fn kinds_of_names_are_kept_apart() {
    let ca = Ca::new();
    let names = json!({"match_typed_subject_alt_names": [{"san_type": "IP_ADDRESS", "matcher": {"exact": "::1"}}]});
    let tls = upstream(json!({"validation_context": all([ca.pem(), names])}), json!({})).unwrap();
    assert_eq!(tls.common.peers.names[0].kind, SanKind::Ip);
}

/// CVE-2020-8664: as long as the authority is not there, nobody is let in.
#[test]
fn without_the_authority_that_is_to_come_no_connection_is_served() {
    let certificate = Ca::new().issue(&[dns("a.example")]).shown();
    let late = json!({"validation_context_sds_secret_config": {"name": "late", "sds_config": {"ads": {}}}});
    let context = json!({"common_tls_context": all([certificate, late]), "require_client_certificate": true});
    let tcp = filter("t", "network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "s", "cluster": "c"}));
    let listener = json!({"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"transport_socket": socket("Downstream", context), "filters": [tcp]}]});
    let no_files = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let listener = convert::listener(&message(&listener), &no_files).unwrap();
    let tls = listener.filter_chains[0].tls.as_ref().unwrap();
    assert!(TlsSettings { identity: None }.server(tls, &Snapshot::default()).is_err());
}

/// CVE-2022-21656 and -21657: constraints of an authority and the usage of a certificate count.
#[tokio::test]
async fn an_authority_signs_only_the_names_that_it_may() {
    let ca = Ca::new();
    let mut params = Ca::params();
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("good.example".into())],
        excluded_subtrees: vec![],
    });
    let between = Ca(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ca.0).unwrap());
    for (name, good) in [("a.good.example", true), ("a.bad.example", false), ("*.example", false)] {
        let mut issued = between.issue(&[dns(name)]);
        issued.chain += &between.0.pem();
        assert_eq!(told(&ca, ca.pem(), Some(&issued)).await.is_none(), good, "{name}");
    }
}

/// RFC 5280 section 4.2.1.3, as Envoy's TLS holds to.
#[tokio::test]
async fn an_authority_that_is_not_for_certificates_signs_none() {
    let ca = Ca::new();
    for (usages, good) in [
        (vec![KeyUsagePurpose::KeyCertSign], true),
        (vec![], true),
        (vec![KeyUsagePurpose::CrlSign], false),
        (vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment], false),
    ] {
        let mut params = Ca::params();
        params.key_usages.clone_from(&usages);
        let between = Ca(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ca.0).unwrap());
        let mut issued = between.issue(&[dns("a.example")]);
        issued.chain += &between.0.pem();
        assert_eq!(told(&ca, ca.pem(), Some(&issued)).await.is_none(), good, "{usages:?}");
    }
}
