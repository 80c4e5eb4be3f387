//! What ended other control planes, sent to ours by somebody without a certificate or a token: it goes on, says no, and
//! grows by no more than it may.
//!
//! | bulletin | where |
//! |---|---|
//! | CVE-2021-31921, a gateway that passes on more than it should | `pilot/tests/pilot/golden/passed.rs` |
//! | CVE-2026-31838, one namespace reads another's configuration | here, and over xDS `pilot/tests/pilot/delta.rs` |
//! | others | by their names in the sources |

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use api::istio::v1::auth::IstioCertificateRequest;
use api::prost::Message as _;
use bytes::Bytes;
use http::{HeaderValue, Request};

use crate::control_plane::ControlPlane;
use crate::strangers::{connect, memory};

/// Kibibytes.
const MOST: u64 = 64 << 10;
/// What is served where xDS is.
const CALLS: [&str; 9] = [
    "istio.v1.auth.IstioCertificateService/CreateCertificate",
    "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    "weft.v1.Telemetry/Report",
    "weft.v1.Membership/Follow",
    "weft.v1.Trust/Follow",
    "weft.v1.Jwt/Mint",
    "weft.v1.Jwt/FollowKeys",
    "weft.v1.NoSuchService/NoSuchMethod",
];

/// A control plane that must outlive the test.
struct Watched {
    control_plane: ControlPlane,
    before: u64,
}

impl Watched {
    fn start() -> Self {
        let mut control_plane = ControlPlane::new();
        control_plane.start(&[]);
        let before = memory(control_plane.pid());
        Self { control_plane, before }
    }

    fn address(&self, of: &str) -> SocketAddr {
        crate::mesh::address(self.control_plane.address()[of].as_str().unwrap())
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.control_plane.path().join("token")).unwrap().trim().to_owned()
    }

    /// It is the same process, serves, and nothing in it panicked.
    fn is_well(&self) {
        let log = std::fs::read_to_string(self.control_plane.log()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        assert!(crate::mesh::is_alive(self.control_plane.pid()), "{log}");
        self.control_plane.ok(&["services"]);
        let grown = memory(self.control_plane.pid()).saturating_sub(self.before);
        assert!(grown < MOST, "memory grew by {grown} KiB");
    }

    /// The status of gRPC that a stranger's call ends with, or that of HTTP.
    async fn call(&self, method: &str, authorization: Option<&[u8]>, body: Vec<u8>) -> String {
        let (mut calls, connection) = connect(self.address("xds")).await;
        tokio::spawn(connection);
        calls = calls.ready().await.unwrap();
        let mut request =
            Request::post(format!("https://control-plane/{method}")).header("content-type", "application/grpc");
        if let Some(value) = authorization {
            request = request.header("authorization", HeaderValue::from_bytes(value).unwrap());
        }
        let (answer, mut sent) = calls.send_request(request.body(()).unwrap(), false).unwrap();
        // It may have refused before all is sent.
        let _ = sent.send_data(Bytes::from(body), true);
        let answer = match tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer") {
            Ok(answer) => answer,
            Err(error) => return format!("reset: {error}"),
        };
        let status = |headers: &http::HeaderMap| Some(headers.get("grpc-status")?.to_str().unwrap().to_owned());
        if let Some(status) = status(answer.headers()) {
            return status;
        }
        let http = answer.status();
        let mut body = answer.into_body();
        while let Some(Ok(_)) = body.data().await {}
        let trailers = body.trailers().await.ok().flatten();
        trailers.as_ref().and_then(status).unwrap_or_else(|| http.to_string())
    }
}

/// As gRPC sends it.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// A message within a message, again and again, by this field.
fn nested(field: u32, depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::with_capacity(message.len() + 8);
        api::prost::encoding::encode_key(field, api::prost::encoding::WireType::LengthDelimited, &mut outer);
        api::prost::encoding::encode_varint(message.len() as u64, &mut outer);
        outer.extend_from_slice(&message);
        message = outer;
    }
    message
}

/// ISTIO-SECURITY-2022-003: a request with a crafted word about who asks ended istiod.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cve_2022_23635_no_evidence_of_a_stranger_ends_the_control_plane() {
    let watched = Watched::start();
    let long = [&b"Bearer "[..], &[b'a'; 7000]].concat();
    let dots = [&b"Bearer "[..], &[b'.'; 7000]].concat();
    let evidence: [&[u8]; 18] = [
        b"",
        b" ",
        b"Bearer",
        b"Bearer ",
        b"bearer x",
        b"Bearer .",
        b"Bearer ..",
        b"Bearer a.b",
        b"Bearer a.b.c.d",
        b"Bearer e30.e30.",
        b"Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIn0.",
        b"Bearer weft_join_",
        b"Bearer weft_join_.......",
        b"Bearer weft_join_\xff\xfe",
        b"Bearer \x80\x81",
        b"Basic Og==",
        &long,
        &dots,
    ];
    let request = IstioCertificateRequest { csr: "x".into(), ..Default::default() }.encode_to_vec();
    for method in CALLS {
        for value in [None].into_iter().chain(evidence.into_iter().map(Some)) {
            let status = watched.call(method, value, framed(&request)).await;
            assert_ne!(status, "0", "{method}: {value:?}");
        }
    }
    watched.is_well();
}

/// ISTIO-SECURITY-2022-007: a message that is too long, or no message, ended istiod.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cve_2022_39278_no_message_of_a_stranger_ends_the_control_plane() {
    let watched = Watched::start();
    let csr = |csr: Vec<u8>| framed(&nested_text(1, &csr));
    let pem = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n").into_bytes()
    };
    let messages: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("an empty message", framed(&[])),
        ("half a frame", vec![0, 0, 0]),
        ("a frame that promises more", vec![0, 0xff, 0xff, 0xff, 0xff, 1]),
        ("compressed by nothing", vec![1, 0, 0, 0, 1, 0]),
        ("an unknown flag", vec![0xff, 0, 0, 0, 0]),
        ("a number without an end", framed(&[0x08; 1]).into_iter().chain([0xff; 20]).collect()),
        ("a varint of twenty bytes", framed(&[&[0x08][..], &[0xff; 20]].concat())),
        ("field 0", framed(&[0x00, 0x00])),
        ("an unknown kind of field", framed(&[0x0f, 0x00])),
        ("a group that never ends", framed(&[0x0b; 10_000])),
        ("a length beyond the end", framed(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("no UTF-8", framed(&[0x0a, 2, 0xff, 0xfe])),
        ("messages within messages", framed(&nested(1, 5000))),
        ("nodes within nodes", framed(&nested(2, 5000))),
        ("metadata within metadata", framed(&nested(3, 5000))),
        ("a field again and again", framed(&[0x0a, 0].repeat(100_000))),
        ("a long message", framed(&vec![0x0a; 3 << 20])),
        ("no PEM", csr(b"x".to_vec())),
        ("PEM without an end", csr(b"-----BEGIN CERTIFICATE REQUEST-----\n".repeat(1000))),
        ("PEM of nothing", csr(pem(b""))),
        ("PEM of sequences in sequences", csr(pem(&[0x30, 0x80].repeat(20_000)))),
        ("PEM of a length beyond the end", csr(pem(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]))),
        ("PEM of zeros", csr(pem(&[0; 50_000]))),
        (
            "PEM with NULs",
            csr(b"-----BEGIN CERTIFICATE REQUEST-----\n\0\0\n-----END CERTIFICATE REQUEST-----".to_vec()),
        ),
    ];
    for method in CALLS {
        for (what, message) in &messages {
            let status = watched.call(method, None, message.clone()).await;
            assert_ne!(status, "0", "{method}: {what}");
        }
    }
    watched.is_well();
}

fn nested_text(field: u32, text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    api::prost::encoding::encode_key(field, api::prost::encoding::WireType::LengthDelimited, &mut message);
    api::prost::encoding::encode_varint(text.len() as u64, &mut message);
    message.extend_from_slice(text);
    message
}

/// A request of HTTP/1.1 by parts, until the server has said enough; its status.
fn post(to: SocketAddr, path: &str, lines: &str, mut parts: impl Iterator<Item = Vec<u8>>) -> u16 {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n").unwrap();
    // Sent until nobody takes it.
    let _ = parts.try_for_each(|part| stream.write_all(&part));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// ISTIO-SECURITY-2022-004: a body that nests without end, or has none, ended istiod by its port for webhooks. Ours is
/// the API: for strangers, and for those who may apply configuration.
#[test]
fn cve_2022_24726_no_body_ends_the_control_plane() {
    let watched = Watched::start();
    let api = watched.address("api");
    let token = format!("authorization: Bearer {}\r\n", watched.token());
    let deep =
        |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times)).into_bytes();
    let object = |spec: &[u8]| {
        let head =
            br#"{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"name":"a"},"spec":"#;
        [&head[..], spec, b"}"].concat()
    };
    let laughs: String = (1..12).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "))
    });
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("lists in lists", deep("[", "]", 200_000)),
        ("lists that never end", b"[".repeat(500_000)),
        ("objects in objects", object(&deep("{\"a\":", "1}", 100_000))),
        ("a list of YAML in a list", b"- ".repeat(200_000)),
        (
            "maps of YAML in maps",
            (0..2000).flat_map(|depth| format!("{}a:\n", " ".repeat(depth)).into_bytes()).collect(),
        ),
        ("aliases of aliases", laughs.into_bytes()),
        (
            "a long text by many names",
            format!("a: &a {}\nb: [{}]\n", "x".repeat(200_000), "*a, ".repeat(200_000)).into(),
        ),
        ("an alias of itself", b"a: &a [*a]\n".to_vec()),
        ("a number without measure", object(format!("1{}", "0".repeat(100_000)).as_bytes())),
        ("no UTF-8", vec![0xff; 100_000]),
        ("NULs", vec![0; 100_000]),
        ("documents without number", b"---\n".repeat(100_000)),
    ];
    // Strangers last: whoever shows no token too often is told to wait.
    for who in [&*token, ""] {
        for (what, body) in &bodies {
            for kind in ["application/json", "application/yaml"] {
                let lines = format!("{who}content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
                for path in ["/api/v1/_apply", "/api/v1/destinationrules", "/api/v1/_session", "/api/v1/_authz"] {
                    let status = post(api, path, &lines, [body.clone()].into_iter());
                    // Documents that say nothing are nothing to apply.
                    let fine = !who.is_empty() && path.ends_with("_apply") && what.starts_with("documents");
                    assert!((400..500).contains(&status) || fine, "{path}: {what} as {kind}: {status}");
                }
            }
        }
        // A gibibyte that is promised, and chunks that never end.
        let lines = format!("{who}content-type: application/yaml\r\n");
        let promised = format!("{lines}content-length: {}\r\n", 1 << 30);
        let status = post(api, "/api/v1/_apply", &promised, (0..256).map(|_| vec![b'a'; 1 << 20]));
        assert!(status == 413 || who.is_empty() && matches!(status, 401 | 429), "{status}");
        let chunk = [b"100000\r\n".to_vec(), vec![b'a'; 1 << 20], b"\r\n".to_vec()].concat();
        let chunked = format!("{lines}transfer-encoding: chunked\r\n");
        let status = post(api, "/api/v1/_apply", &chunked, (0..256).map(|_| chunk.clone()));
        assert!(status == 413 || who.is_empty() && matches!(status, 401 | 429), "{status}");
    }
    watched.is_well();
}

/// ISTIO-SECURITY-2026-001: who reached a debug endpoint read every namespace's configuration. What needs no token tells
/// figures and nothing else.
#[test]
fn cve_2026_31838_nothing_is_told_of_the_configuration_without_a_token() {
    let watched = Watched::start();
    assert!(watched.control_plane.apply("planted.shop.svc.cluster.local").status.success());
    let (api, metrics) = (watched.address("api"), watched.address("metrics"));
    let get = |at, path: &str, lines: &[(&str, &str)]| crate::mesh::get(at, "localhost", path, lines).unwrap();
    let paths = [
        "/",
        "/debug",
        "/debug/",
        "/debug/adsz",
        "/debug/syncz",
        "/debug/configz",
        "/debug/config_dump?proxyID=a.shop",
        "/debug/endpointz",
        "/debug/registryz",
        "/debug/pprof/",
        "/config_dump",
        "/certs",
        "/clusters",
        "/stats",
        "/ready",
        "/version",
        "/api/v1/proxies",
        "/api/v1/destinationrules",
        "/api/v1/destinationrules/default/a",
        "/api/v1/history",
        "/api/v1/services",
        "/api/v1/tokens",
        "/api/v1/openapi.json",
        "/metrics/../api/v1/destinationrules",
        "/metrics/%2e%2e/api/v1/destinationrules",
        "//api/v1/destinationrules",
    ];
    for path in paths {
        for at in [api, metrics] {
            let answer = get(at, path, &[]);
            assert!(!answer.body.contains("planted"), "{at}{path}: {answer:?}");
            let of_api = path.starts_with("/api/v1/") && !path.ends_with("openapi.json");
            assert!(!of_api || matches!(answer.status, 401 | 404), "{at}{path}: {answer:?}");
            assert!(!path.starts_with("/debug") || answer.status != 200 || is_console(&answer.body), "{at}{path}");
        }
    }
    let figures = get(metrics, "/metrics", &[]);
    assert!(figures.status == 200 && !figures.body.contains("planted"), "{figures:?}");
    let told =
        get(api, "/api/v1/destinationrules/default/a", &[("authorization", &format!("Bearer {}", watched.token()))]);
    assert!(told.status == 200 && told.body.contains("planted"), "{told:?}");
}

/// The console's page, which says nothing before somebody signs in.
fn is_console(body: &str) -> bool {
    body.starts_with("<!doctype html>") || body.starts_with("<!DOCTYPE html>")
}
