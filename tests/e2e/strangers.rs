//! Whoever can reach the control plane's port, without a certificate: what it may hold there is bounded.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::control_plane::ControlPlane;

/// What a stranger asks for, and never finishes.
const SIGNING: &str = "https://control-plane/istio.v1.auth.IstioCertificateService/CreateCertificate";
const MOST_CALLS: usize = 100;
/// Kibibytes.
const MOST: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stranger_can_neither_hold_calls_without_number_nor_stay() {
    let mut control_plane = ControlPlane::new();
    control_plane.start(&[]);
    let address = control_plane.address();
    let (xds, pid) = (crate::mesh::address(address["xds"].as_str().unwrap()), control_plane.pid());
    let before = memory(pid);

    let (mut calls, connection) = connect(xds).await;
    let driven = tokio::spawn(connection);
    // The limit arrives with the server's settings.
    calls = calls.ready().await.unwrap();
    let (refused, _open) = ask(&mut calls, &"x".repeat(10 << 10));
    assert_eq!(refused.await.unwrap().status(), 431, "headers of 10 KiB are too many");
    assert!(calls.current_max_send_streams() <= MOST_CALLS, "{} at a time", calls.current_max_send_streams());
    let mut open = Vec::new();
    for _ in 0..MOST_CALLS {
        calls = calls.ready().await.unwrap();
        open.push(ask(&mut calls, &"x".repeat(6 << 10)));
    }
    // It is cut off, though it answers each ping, and its calls with it.
    driven.await.unwrap().unwrap_err();
    assert!(control_plane.weft(&["services"]).status.success());
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < MOST, "memory grew by {grown} KiB");
}

type Driven = std::pin::Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

async fn connect(address: SocketAddr) -> (SendRequest<bytes::Bytes>, Driven) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let trusting = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let mut config = trusting.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("control-plane").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (calls, connection) = h2::client::handshake(stream).await.unwrap();
    (calls, Box::pin(connection))
}

/// A call whose body never comes.
fn ask(calls: &mut SendRequest<bytes::Bytes>, header: &str) -> (ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let request = Request::post(SIGNING).header("content-type", "application/grpc").header("x-much", header);
    calls.send_request(request.body(()).unwrap(), false).unwrap()
}

/// The most that the process ever held.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The stranger does not care whom it talks to.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
