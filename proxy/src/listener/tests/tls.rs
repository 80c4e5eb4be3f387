//! What a listener counts of handshakes.

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;

struct Issued {
    chain: String,
    key: String,
}

fn issue(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Issued {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    Issued { chain: leaf.pem(), key: key.serialize_pem() }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Connects, and reads until the server has nothing more to say.
async fn come(address: SocketAddr, ca: &CertifiedIssuer<'static, KeyPair>, shown: Option<&Issued>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let chain = CertificateDer::pem_slice_iter(shown.chain.as_bytes()).map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap()).unwrap()
        }
    };
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, tcp).await else { return };
    let _ = stream.write_all(GET).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn handshakes_are_counted_by_what_they_chose_and_failures_by_their_cause() {
    let (ca, address) = (authority(), free());
    let server = issue(&ca, "a.example");
    let context = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"inline_string": server.chain},
                "private_key": {"inline_string": server.key}}],
            "validation_context": {"trusted_ca": {"inline_string": ca.pem()}, "match_typed_subject_alt_names":
                [{"san_type": "DNS", "matcher": {"exact": "good.example"}}]}}});
    let socket = format!("[{{transport_socket: {{name: t, typed_config: {context}}}, filters:");
    let plane = start(&[listener("l", address, "").replace("[{filters:", &socket)]).await;
    let (good, other) = (issue(&ca, "good.example"), issue(&ca, "other.example"));
    let stranger = issue(&authority(), "good.example");
    for shown in [Some(&good), Some(&other), Some(&stranger), None] {
        come(address, &ca, shown).await;
    }
    assert!(!answer(address, b"").await.contains("HTTP"), "plaintext is no handshake");
    let metrics = plane.stats.exposition();
    let own = format!("envoy_listener_address=\"{}\"", address.to_string().replace(':', "_"));
    for (name, labels) in [
        ("handshake", ""),
        ("fail_verify_san", ""),
        ("fail_verify_error", ""),
        ("fail_verify_no_cert", ""),
        ("connection_error", ""),
        ("versions", ",envoy_ssl_version=\"TLSv1.3\""),
        ("curves", ",envoy_ssl_curve=\"X25519MLKEM768\""),
    ] {
        let line = format!("envoy_listener_ssl_{name}{{{own}{labels}}} 1\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    plane.stop();
}
