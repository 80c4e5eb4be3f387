//! Whoever can reach the control plane's port, without a certificate: what it may hold there is bounded.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::anyone::Anyone;
use crate::control_plane::ControlPlane;

/// What a stranger asks for, and never finishes.
const SIGNING: &str = "https://control-plane/istio.v1.auth.IstioCertificateService/CreateCertificate";
const MOST_CALLS: usize = 100;
/// So many of them with a long message.
const LONG_CALLS: usize = 40;
/// Of a message, in bytes: as much as others take.
const LONG: u32 = 4 << 20;
/// Kibibytes; long messages on so many calls are more than twice as much.
const MOST: u64 = 64 << 10;
/// The status of gRPC.
const OUT_OF_RANGE: &str = "11";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stranger_can_neither_hold_calls_without_number_nor_stay() {
    let mut control_plane = ControlPlane::new();
    control_plane.start(&[]);
    let address = control_plane.address();
    let (xds, pid) = (crate::mesh::address(address["xds"].as_str().unwrap()), control_plane.pid());
    let before = memory(pid);

    // A long message is refused by its length, and nothing of it is kept.
    let (mut calls, connection) = connect(xds).await;
    tokio::spawn(connection);
    calls = calls.ready().await.unwrap();
    let mut asked = Vec::new();
    for _ in 0..LONG_CALLS {
        calls = calls.ready().await.unwrap();
        let (answer, mut message) = ask(&mut calls, "x");
        let length = LONG.to_be_bytes();
        message.send_data([&[0][..], &length[..], &vec![0; LONG as usize - 1][..]].concat().into(), false).unwrap();
        asked.push((answer, message));
    }
    for (answer, _message) in asked {
        let status = answer.await.unwrap().headers().get("grpc-status").cloned();
        assert_eq!(status.unwrap(), OUT_OF_RANGE);
    }
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < MOST, "memory grew by {grown} KiB");
    drop(calls);

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
}

pub type Driven = std::pin::Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

/// A connection to whoever is there, without a certificate.
pub async fn tls(address: SocketAddr) -> TlsStream<TcpStream> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let trusting = builder.dangerous().with_custom_certificate_verifier(Anyone::new());
    tls_as(address, trusting.with_no_client_auth()).await.unwrap()
}

/// The same as somebody.
pub async fn tls_as(address: SocketAddr, mut config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("control-plane").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

pub async fn connect(address: SocketAddr) -> (SendRequest<bytes::Bytes>, Driven) {
    let (calls, connection) = h2::client::handshake(tls(address).await).await.unwrap();
    (calls, Box::pin(connection))
}

/// A call whose body never comes.
fn ask(calls: &mut SendRequest<bytes::Bytes>, header: &str) -> (ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let request = Request::post(SIGNING).header("content-type", "application/grpc").header("x-much", header);
    calls.send_request(request.body(()).unwrap(), false).unwrap()
}

/// The most that the process ever held.
pub fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
