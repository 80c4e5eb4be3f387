//! The ways to ask a program whether it serves: an HTTP request, a connection, a command.

use std::process::Stdio;
use std::sync::Arc;

use api::weft::v1 as wire;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use crate::config::PeerRules;
use crate::tls::PeerJudge;

/// Where a program is that names no host: on this machine (Istio's agent; Kubernetes would ask the pod's address, where
/// the sidecar is).
const HERE: &str = "localhost";

/// Asks once; the error is why the program does not serve.
pub async fn once(probe: &wire::Probe) -> Result<(), String> {
    match &probe.method {
        Some(wire::probe::Method::HttpGet(get)) => http(get).await,
        Some(wire::probe::Method::TcpSocket(socket)) => connect(&socket.host, socket.port).await.map(drop),
        Some(wire::probe::Method::Exec(exec)) => command(&exec.command).await,
        None => Ok(()),
    }
}

async fn connect(host: &str, port: u32) -> Result<TcpStream, String> {
    let host = if host.is_empty() { HERE } else { host };
    let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
    TcpStream::connect((host, port)).await.map_err(|error| format!("{host}:{port} cannot be connected to: {error}"))
}

async fn http(get: &wire::HttpGet) -> Result<(), String> {
    let stream = connect(&get.host, get.port).await?;
    if !get.https {
        return request(get, stream).await;
    }
    let name = if get.host.is_empty() { HERE } else { &get.host };
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(unverified()?));
    let stream = connector.connect(name, stream).await.map_err(|error| format!("no TLS handshake: {error}"))?;
    request(get, stream).await
}

/// Whose certificate it is does not matter to a probe (Kubernetes).
fn unverified() -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let judge =
        PeerJudge::new(None, &PeerRules::default(), Arc::clone(&provider)).map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(judge)).with_no_client_auth())
}

async fn request(
    get: &wire::HttpGet,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(), String> {
    let plain = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(plain)?;
    let host = if get.host.is_empty() { HERE } else { &get.host };
    let named = |name: &str| get.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let mut request = hyper::Request::get(if get.path.is_empty() { "/" } else { &get.path });
    if !named("host") {
        request = request.header(HOST, format!("{host}:{}", get.port));
    }
    if !named("user-agent") {
        request = request.header(USER_AGENT, "weft-probe");
    }
    for header in &get.headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    // Ends with the sender. Why it ended is told to the request.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(plain)?;
    match response.status().as_u16() {
        200..=399 => Ok(()),
        status => Err(format!("{} answers {status}", get.path)),
    }
}

async fn command(words: &[String]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.map_err(|error| format!("{program} cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}")) }
}
