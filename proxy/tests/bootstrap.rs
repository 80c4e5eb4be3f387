//! The bootstrap files of `examples/envoy/`, served: what clients get through each.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use proxy::{Format, ProxyError, parse_bootstrap, run_static};
use runtime::shutdown::{self, Signal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[path = "bootstrap/admin.rs"]
mod admin;
#[path = "bootstrap/ads.rs"]
mod ads;
#[path = "bootstrap/dynamic.rs"]
mod dynamic;
#[path = "bootstrap/many.rs"]
mod many;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/envoy")
}

/// A loopback address that no other test has, so that the ports of the files are free.
fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(64);
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, NEXT.fetch_add(1, Ordering::Relaxed), high, low])
}

/// An example whose addresses are this one.
fn example(name: &str, address: IpAddr) -> String {
    std::fs::read_to_string(examples().join(name)).unwrap().replace("127.0.0.1", &address.to_string())
}

struct Proxy {
    stop: Signal,
    ended: JoinHandle<Result<(), ProxyError>>,
}

impl Proxy {
    async fn start(text: &str) -> Self {
        let bootstrap = parse_bootstrap(text, Format::Yaml).unwrap();
        let (stop, asked) = shutdown::channel();
        let (ready, mut told) = watch::channel(false);
        let ended = tokio::spawn(run_static(bootstrap, 2, asked, ready));
        told.wait_for(|ready| *ready).await.expect("the proxy starts");
        Self { stop, ended }
    }

    async fn stop(self) {
        self.stop.shutdown();
        self.ended.await.unwrap().unwrap();
    }
}

/// An HTTP server whose answers tell its name, and the path that it saw.
async fn upstream(name: &'static str, address: IpAddr, port: u16) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(name, stream));
        }
    });
}

async fn answer(name: &str, mut stream: TcpStream) {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
        let body = format!("{name} saw {}", head.split(' ').nth(1).unwrap());
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// The whole answer to one request.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The end of the connection may be abrupt; what matters is the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(at: impl Into<SocketAddr>, path: &str, headers: &str) -> String {
    exchange(TcpStream::connect(at.into()).await.unwrap(), path, headers).await
}

fn assert_all(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "{part:?} is not in:\n{answer}");
    }
}

#[tokio::test]
async fn the_router_routes_redirects_answers_and_refuses() {
    let address = address();
    upstream("first", address, 10001).await;
    upstream("second", address, 10002).await;
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let http = (address, 10000);
    assert_all(&get(http, "/api/a", "").await, &["HTTP/1.1 200", "first saw /api/a"]);
    assert_all(&get(http, "/api/a", "x-route: canary\r\n").await, &["HTTP/1.1 200", "second saw /api/a"]);
    assert_all(&get(http, "/items/12", "").await, &["HTTP/1.1 200", "second saw /i/12"]);
    assert_all(&get(http, "/items/twelve", "").await, &["HTTP/1.1 404"]);
    assert_all(&get(http, "/old/x", "").await, &["HTTP/1.1 302", "location: http://shop.example/api/x"]);
    let hello = get(http, "/hello", "").await;
    assert_all(&hello, &["HTTP/1.1 200", "x-answered-by: proxy", "server: envoy", "hello from the proxy"]);
    proxy.stop().await;
    assert!(TcpStream::connect(http).await.is_err(), "a stopped proxy listens no more");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let address = address();
    let text = example("router.yaml", address).replace("connections: 10000", "connections: 1");
    let proxy = Proxy::start(&text).await;
    let http = (address, 10000);
    let mut first = TcpStream::connect(http).await.unwrap();
    let request = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    first.write_all(request).await.unwrap();
    assert!(first.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut second = TcpStream::connect(http).await.unwrap();
    let _ = second.write_all(request).await;
    assert!(!matches!(second.read(&mut [0; 1024]).await, Ok(1..)), "a second connection is not served");
    drop(first);
    while get(http, "/hello", "").await.is_empty() {
        tokio::task::yield_now().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn weighted_clusters_share_the_requests() {
    let address = address();
    upstream("v1", address, 10001).await;
    upstream("v2", address, 10002).await;
    let proxy = Proxy::start(&example("weighted.yaml", address)).await;
    let mut second = 0;
    for _ in 0..200 {
        let answer = get((address, 10000), "/", "").await;
        let version = if answer.contains("v2 saw /") { "v2" } else { "v1" };
        assert_all(&answer, &["HTTP/1.1 200", &format!("x-version: {version}"), &format!("{version} saw /")]);
        second += usize::from(version == "v2");
    }
    assert!((1..80).contains(&second), "a tenth of 200 was expected, not {second}");
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_go_through_both_ways() {
    let address = address();
    let target = TcpListener::bind((address, 10001)).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = target.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    });
    let proxy = Proxy::start(&example("tcp.yaml", address)).await;
    let mut client = TcpStream::connect((address, 10000)).await.unwrap();
    client.write_all(b"\x00\xffstressed").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"desserts\xff\x00");
    proxy.stop().await;
}

/// Writes a certificate for a name, as `NAME.pem` and `NAME-key.pem`.
fn certificate(directory: &Path, file: &str, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(directory.join(format!("{file}.pem")), made.cert.pem()).unwrap();
    std::fs::write(directory.join(format!("{file}-key.pem")), made.signing_key.serialize_pem()).unwrap();
    CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()
}

async fn over_tls(at: (IpAddr, u16), name: &str, root: &CertificateDer<'static>) -> std::io::Result<String> {
    Ok(exchange(tls_stream(at, name, root).await?, "/over-tls", "").await)
}

async fn tls_stream(
    at: (IpAddr, u16),
    name: &str,
    root: &CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(at).await?;
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await
}

#[tokio::test]
async fn tls_ends_with_the_certificate_for_the_name() {
    let (address, files) = (address(), tempfile::tempdir().unwrap());
    let shop = certificate(files.path(), "shop", "shop.example");
    let fallback = certificate(files.path(), "fallback", "other.example");
    upstream("app", address, 10001).await;
    let text = example("tls.yaml", address).replace("certs/", &format!("{}/", files.path().display()));
    let proxy = Proxy::start(&text).await;
    let https = (address, 10443);
    let answer = over_tls(https, "shop.example", &shop).await.unwrap();
    assert_all(&answer, &["HTTP/1.1 200", "app saw /over-tls"]);
    assert_all(&over_tls(https, "other.example", &fallback).await.unwrap(), &["app saw /over-tls"]);
    over_tls(https, "other.example", &shop).await.expect_err("the fallback has a certificate of its own");
    proxy.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start() {
    let address = address();
    let _taken = TcpListener::bind((address, 10000)).await.unwrap();
    let bootstrap = parse_bootstrap(&example("tcp.yaml", address), Format::Yaml).unwrap();
    let (_stop, asked) = shutdown::channel();
    let error = run_static(bootstrap, 1, asked, watch::Sender::new(false)).await.unwrap_err().to_string();
    assert_all(&error, &["tcp", &format!("{address}:10000")]);
}

#[test]
fn every_example_is_accepted() {
    let files = tempfile::tempdir().unwrap();
    for name in ["shop", "fallback"] {
        certificate(files.path(), name, "shop.example");
    }
    let certificates = format!("{}/", files.path().display());
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("certs/", &certificates);
        let checked = parse_bootstrap(&text, Format::of(&path));
        assert!(checked.is_ok(), "{}: {}", path.display(), checked.unwrap_err());
    }
}
